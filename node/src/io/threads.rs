//! A completion queue over threads that block, for kernels and containers without io_uring.
//!
//! Threads start when there is work that no idle one takes, up to [`WORKERS_MAX`] a queue, and end with the queue.
//! Invariant: an operation that was handed over is done before the queue is gone, so its buffers outlive it.

use super::{Bell, Clock, Completion, Operation, Queue, Wait, system};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most threads of one queue: what random reads need to keep a device busy.
const WORKERS_MAX: usize = 16;

/// The queue: the user's side.
pub(crate) struct ThreadsQueue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    staged: VecDeque<Job>,
    capacity: usize,
    in_flight: usize,
    clock: Clock,
}

type Job = (u64, Operation);

struct Shared {
    call_bytes_max: usize,
    state: Mutex<State>,
    /// Signals workers: jobs have come, or the end.
    work: Condvar,
    /// Signals the user: something is done, or the bell.
    ready: Condvar,
    rung: AtomicBool,
    /// Whether the user sleeps and the bell must wake it.
    sleeping: AtomicBool,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    done: Vec<Completion>,
    idle: usize,
    closing: bool,
}

impl ThreadsQueue {
    pub(crate) fn new(depth: usize, call_bytes_max: usize, clock: Clock) -> ThreadsQueue {
        let shared = Shared {
            call_bytes_max,
            state: Mutex::default(),
            work: Condvar::new(),
            ready: Condvar::new(),
            rung: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
        };
        ThreadsQueue { shared: Arc::new(shared), workers: vec![], staged: VecDeque::new(), capacity: depth.max(1), in_flight: 0, clock }
    }

    /// Starts threads for jobs that no idle one can take.
    fn employ(&mut self, missing: usize) {
        let room = WORKERS_MAX.min(self.capacity) - self.workers.len();
        for _ in 0..missing.min(room) {
            let shared = self.shared.clone();
            let name = "aquifer-io".to_string();
            match std::thread::Builder::new().name(name).spawn(move || shared.work_until_closed()) {
                Ok(worker) => self.workers.push(worker),
                // The process may have no more threads: those that are there do it, or else the caller does.
                Err(_) if self.workers.is_empty() => return self.shared.work_now(),
                Err(_) => return,
            }
        }
    }
}

impl Shared {
    fn perform(&self, (token, mut operation): Job) -> Completion {
        let result = system::execute(&mut operation, self.call_bytes_max);
        Completion { token, result, operation }
    }

    fn work_until_closed(&self) {
        let mut state = self.state.lock();
        loop {
            match state.jobs.pop_front() {
                Some(job) => {
                    let completion = MutexGuard::unlocked(&mut state, || self.perform(job));
                    state.done.push(completion);
                    self.ready.notify_one();
                }
                None if state.closing => return,
                None => {
                    state.idle += 1;
                    self.work.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }

    fn work_now(&self) {
        let mut state = self.state.lock();
        while let Some(job) = state.jobs.pop_front() {
            let completion = MutexGuard::unlocked(&mut state, || self.perform(job));
            state.done.push(completion);
        }
    }

    /// Sleeps until a completion, and with `heeds_bell` a ring, or the time-out; whether to look again.
    fn sleep(&self, state: &mut MutexGuard<'_, State>, heeds_bell: bool, timeout: Option<Duration>) -> bool {
        if heeds_bell {
            // This store and the ringer's load, and the ringer's store and this swap, are in one order: one of both sees the other.
            self.sleeping.store(true, Ordering::SeqCst);
            if self.rung.swap(false, Ordering::SeqCst) {
                self.sleeping.store(false, Ordering::SeqCst);
                return false;
            }
        }
        let timed_out = match timeout {
            Some(timeout) => self.ready.wait_for(state, timeout).timed_out(),
            None => {
                self.ready.wait(state);
                false
            }
        };
        self.sleeping.store(false, Ordering::SeqCst);
        let rung = heeds_bell && self.rung.swap(false, Ordering::SeqCst);
        !timed_out && !rung
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) {
            // Passing through the lock makes sure that the sleeper is in its wait and not on the way to it.
            drop(self.state.lock());
            self.ready.notify_one();
        }
    }
}

impl Queue for ThreadsQueue {
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight == self.capacity {
            return Err(operation);
        }
        self.in_flight += 1;
        self.staged.push_back((token, operation));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        let added = self.staged.len();
        state.jobs.append(&mut self.staged);
        let missing = state.jobs.len().saturating_sub(state.idle);
        drop(state);
        for _ in 0..added {
            self.shared.work.notify_one();
        }
        self.employ(missing);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()> {
        self.flush()?;
        let deadline = match wait {
            Wait::BellOrCompletion(Some(timeout)) => Some(self.clock.monotonic().saturating_add(timeout)),
            _ => None,
        };
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        while state.done.is_empty() {
            let (heeds_bell, timeout) = match wait {
                Wait::Nothing => break,
                Wait::Completion if self.in_flight == 0 => break,
                Wait::Completion => (false, None),
                Wait::BellOrCompletion(_) => (true, deadline.map(|deadline| deadline.saturating_sub(self.clock.monotonic()))),
            };
            if !shared.sleep(&mut state, heeds_bell, timeout) {
                break;
            }
        }
        self.in_flight -= state.done.len();
        done.append(&mut state.done);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn bell(&self) -> Bell {
        let shared = self.shared.clone();
        Bell(Arc::new(move || shared.ring()))
    }
}

impl Drop for ThreadsQueue {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker only panics on a defect, which it has reported already.
            let _ = worker.join();
        }
        // Bells may live on: they must not keep buffers.
        self.shared.state.lock().done.clear();
    }
}
