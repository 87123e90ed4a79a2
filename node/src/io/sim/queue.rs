//! The completion queue of the simulator: waiting makes things happen.

use super::faults::Call;
use super::world::World;
use crate::io::file::Handle;
use crate::io::transfer::{check, total};
use crate::io::{Bell, Completion, Operation, Queue, Wait};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct SimQueue {
    world: Arc<Mutex<World>>,
    number: u64,
    capacity: usize,
    in_flight: usize,
    staged: Vec<(u64, Operation)>,
    finished: Vec<Completion>,
    rung: Arc<AtomicBool>,
}

impl SimQueue {
    pub(super) fn new(world: Arc<Mutex<World>>, number: u64, depth: usize) -> SimQueue {
        let rung = Arc::default();
        SimQueue { world, number, capacity: depth.max(1), in_flight: 0, staged: vec![], finished: vec![], rung }
    }

    fn hand_over(&mut self, world: &mut World) {
        for (token, operation) in self.staged.drain(..) {
            world.start(self.number, token, operation);
        }
    }
}

impl Queue for SimQueue {
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight == self.capacity {
            return Err(operation);
        }
        self.in_flight += 1;
        match without_disk(&operation) {
            Some(result) => self.finished.push(Completion { token, result, operation }),
            None => self.staged.push((token, operation)),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let world = self.world.clone();
        let mut world = world.lock();
        world.call(Call::Wait, Path::new(""))?;
        self.hand_over(&mut world);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()> {
        let shared = self.world.clone();
        let mut world = shared.lock();
        world.call(Call::Wait, Path::new(""))?;
        self.hand_over(&mut world);
        let now = world.now_ns();
        let deadline = match wait {
            Wait::BellOrCompletion(Some(timeout)) => Some(now.saturating_add(timeout.as_nanos() as u64)),
            _ => None,
        };
        loop {
            let before = done.len();
            done.append(&mut self.finished);
            done.append(&mut world.take_completed(self.number));
            self.in_flight -= done.len() - before;
            let waits = match wait {
                _ if done.len() > before => false,
                Wait::Nothing => false,
                Wait::Completion => self.in_flight > 0,
                Wait::BellOrCompletion(_) => !self.rung.swap(false, Ordering::SeqCst),
            };
            if !waits || !world.go_on(deadline)? {
                return Ok(());
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn bell(&self) -> Bell {
        let rung = self.rung.clone();
        Bell(Arc::new(move || rung.store(true, Ordering::SeqCst)))
    }
}

impl Drop for SimQueue {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        let mut waiting = self.in_flight - self.staged.len() - self.finished.len();
        while waiting > 0 {
            waiting -= world.take_completed(self.number).len();
            // After a crash nothing completes any more, and the operations stay with the old world.
            if waiting > 0 && world.happen().is_err() {
                return;
            }
        }
    }
}

/// The outcome of what needs no disk: a misfit, nothing to move, or a file that cannot be written to.
fn without_disk(operation: &Operation) -> Option<io::Result<usize>> {
    if let Err(error) = check(operation) {
        return Some(Err(error));
    }
    let (file, bytes, writes) = match operation {
        Operation::Read { file, len, .. } => (file, *len, false),
        Operation::Write { file, pieces, .. } => (file, total(pieces), true),
    };
    match file.handle() {
        Handle::Simulated { writable, .. } if *writable || !writes => (bytes == 0).then_some(Ok(0)),
        _ => Some(Err(io::Error::from_raw_os_error(libc::EBADF))),
    }
}
