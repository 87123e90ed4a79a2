//! A driver that does as another, and tells somebody before it writes or makes a file: who may wait, or panic.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::io::page::Page;
use crate::io::{Bell, Buffer, Clock, Completion, Driver, Entry, File, Frozen, Lock, Mode, Operation, Queue, Role, Wait};

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A file is made.
    Create,
    /// The calling thread writes.
    Write,
    /// A write is given to a queue.
    Submit,
}

pub(crate) type Hook = Arc<dyn Fn(Event, &Path) + Send + Sync>;

/// See the head of this module.
pub(crate) struct Planted {
    pub(crate) inner: Arc<dyn Driver>,
    pub(crate) hook: Hook,
}

impl Driver for Planted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn boot(&self) -> u64 {
        self.inner.boot()
    }

    fn clock(&self) -> &Clock {
        self.inner.clock()
    }

    fn is_single_threaded(&self) -> bool {
        self.inner.is_single_threaded()
    }

    fn open(&self, path: &Path, mode: Mode, direct: bool) -> io::Result<File> {
        if mode == Mode::Create {
            (self.hook)(Event::Create, path);
        }
        self.inner.open(path, mode, direct)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        self.inner.len(file)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.inner.set_len(file, bytes)
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.inner.allocate(file, bytes)
    }

    fn read_at(&self, file: &File, buffer: &mut Buffer, len: usize, offset: u64) -> io::Result<usize> {
        self.inner.read_at(file, buffer, len, offset)
    }

    fn write_at(&self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()> {
        (self.hook)(Event::Write, file.path());
        self.inner.write_at(file, pieces, offset, durable)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.inner.sync(file)
    }

    fn lock(&self, file: &File) -> io::Result<Option<Lock>> {
        self.inner.lock(file)
    }

    fn is_locked(&self, file: &File) -> io::Result<bool> {
        self.inner.is_locked(file)
    }

    fn page(&self, path: &Path, bytes: usize, writable: bool) -> io::Result<Page> {
        self.inner.page(path, bytes, writable)
    }

    fn queue(&self, depth: usize, role: Role) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(PlantedQueue { inner: self.inner.queue(depth, role)?, hook: self.hook.clone() }))
    }

    fn reason(&self) -> &str {
        self.inner.reason()
    }
}

struct PlantedQueue {
    inner: Box<dyn Queue>,
    hook: Hook,
}

impl Queue for PlantedQueue {
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        if let Operation::Write { file, .. } = &operation {
            (self.hook)(Event::Submit, file.path());
        }
        self.inner.submit(token, operation)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()> {
        self.inner.wait(done, wait)
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn bell(&self) -> Bell {
        self.inner.bell()
    }
}
