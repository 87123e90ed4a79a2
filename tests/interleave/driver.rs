//! The simulated disk for several threads of an exploration: waiting for a completion lets others go on, waiting for a bell sleeps.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aquifer_tests::io::page::Page;
use aquifer_tests::io::sim::Sim;
use aquifer_tests::io::{Bell, Buffer, Clock, Completion, Driver, Entry, File, Frozen, Lock, Mode, Operation, Queue, Role, Wait};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

/// See the head of this module.
pub(crate) struct Disk(pub(crate) Arc<Sim>);

impl Driver for Disk {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn boot(&self) -> u64 {
        self.0.boot()
    }

    fn clock(&self) -> &Clock {
        self.0.clock()
    }

    fn is_single_threaded(&self) -> bool {
        false
    }

    fn open(&self, path: &Path, mode: Mode, direct: bool) -> io::Result<File> {
        self.0.open(path, mode, direct)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        self.0.len(file)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.0.set_len(file, bytes)
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.0.allocate(file, bytes)
    }

    fn read_at(&self, file: &File, buffer: &mut Buffer, len: usize, offset: u64) -> io::Result<usize> {
        self.0.read_at(file, buffer, len, offset)
    }

    fn write_at(&self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()> {
        thread::yield_now();
        let written = self.0.write_at(file, pieces, offset, durable);
        thread::yield_now();
        written
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.0.sync(file)
    }

    fn lock(&self, file: &File) -> io::Result<Option<Lock>> {
        self.0.lock(file)
    }

    fn is_locked(&self, file: &File) -> io::Result<bool> {
        self.0.is_locked(file)
    }

    fn page(&self, path: &Path, bytes: usize, writable: bool) -> io::Result<Page> {
        self.0.page(path, bytes, writable)
    }

    fn queue(&self, depth: usize, role: Role) -> io::Result<Box<dyn Queue>> {
        let rung = Arc::new((Mutex::new(false), Condvar::new()));
        Ok(Box::new(SleepingQueue { inner: self.0.queue(depth, role)?, rung }))
    }

    fn reason(&self) -> &str {
        self.0.reason()
    }
}

struct SleepingQueue {
    inner: Box<dyn Queue>,
    rung: Arc<(Mutex<bool>, Condvar)>,
}

impl Queue for SleepingQueue {
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        self.inner.submit(token, operation)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()> {
        if self.inner.in_flight() > 0 {
            thread::yield_now();
            return self.inner.wait(done, if wait == Wait::Nothing { wait } else { Wait::Completion });
        }
        if let Wait::BellOrCompletion(_) = wait {
            let (rung, bell) = &*self.rung;
            let mut rung = rung.lock().expect("a panic ends the exploration");
            while !*rung {
                rung = bell.wait(rung).expect("a panic ends the exploration");
            }
            *rung = false;
        }
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn bell(&self) -> Bell {
        let shared = self.rung.clone();
        Bell::new(move || {
            *shared.0.lock().expect("a panic ends the exploration") = true;
            shared.1.notify_all();
        })
    }
}
