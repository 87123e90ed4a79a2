//! The kernel as the engine sees it: files, durable writes, completion queues, clocks.
//!
//! One seam, [`Driver`], with three implementations: `uring` (io_uring) and `threads` (pwritev2 and preadv2 in a pool), which share their
//! blocking calls, and `sim` (a seeded disk in memory that reorders, tears, fails and crashes). Buffers are **owned**: they move into an operation and come
//! back with its completion, and nothing can be cancelled by dropping it, so the kernel never writes into freed memory.
//!
//! Invariant: a successful write is whole (the driver continues short ones), a successful durable write is on the device, and a failed
//! sync or write is reported once and never retried.
//! This module knows nothing of tables, logs or formats.

pub mod buffer;
pub mod clock;
mod damages;
pub mod file;
pub mod futex;
mod lock;
pub mod page;
pub mod probe;
mod remains;
pub mod removed;
pub mod sim;
mod slab;
pub mod sync;
pub mod system;
mod threads;
mod transfer;
mod uring;

#[cfg(test)]
mod conformance;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use buffer::{Buffer, Frozen, Pool};
pub use clock::Clock;
pub use damages::Damages;
pub use file::{File, FileCache};
pub use page::Page;
pub use remains::Remains;

/// Every block on disk starts at a multiple of this many bytes, and so do buffers and the lengths of direct reads and writes.
pub const BLOCK_BYTES: usize = 4096;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read an existing file.
    Read,
    /// Read and write an existing file.
    Write,
    /// Make a new file, which must not exist, to read and write.
    Create,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, without the directory.
    pub name: String,
    /// Its length in bytes; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The door to the operating system.
///
/// The calls here block the caller; in `sim` they run the simulation until they are done. Data files are opened for direct I/O where
/// the file system knows it: offsets, lengths and memory are then multiples of [`BLOCK_BYTES`] (`sim` refuses what `O_DIRECT` refuses).
pub trait Driver: Send + Sync {
    /// `uring`, `threads` or `sim`.
    fn name(&self) -> &'static str;

    /// The clocks that go with this driver.
    fn clock(&self) -> &Clock;

    /// Whether one thread does everything (the simulator): a waiter must then pump the work it waits for.
    fn is_single_threaded(&self) -> bool;

    /// Opens a file. `direct` asks for direct I/O (data files); small metadata files pass `false` and know no alignment.
    fn open(&self, path: &Path, mode: Mode, direct: bool) -> io::Result<File>;

    /// Entries of a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory and its parents. Each name is durable after [`Driver::sync_dir`] of the directory above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file within a file system, replacing what was there. Durable after [`Driver::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Driver::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// As [`Driver::remove`], for a file that may be large: its blocks are the caller's to give back bit by bit, if something comes back.
    fn remove_gently(&self, path: &Path) -> io::Result<Option<Remains>> {
        self.remove(path).map(|()| None)
    }

    /// Removes a directory and everything in it, at once.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Length of a file in bytes.
    fn len(&self, file: &File) -> io::Result<u64>;

    /// Sets the length of a file; new bytes read as zeros.
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()>;

    /// Reserves blocks for `[0, bytes)` and extends the length to it, without writing them.
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()>;

    /// Reads into `buffer` from its start until `len` bytes (at most its capacity) or the end of the file; returns how many, and sets the
    /// length of the buffer to it.
    fn read_at(&self, file: &File, buffer: &mut Buffer, len: usize, offset: u64) -> io::Result<usize>;

    /// Writes the pieces one behind the other. With `durable` they are on the device when it returns.
    fn write_at(&self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()>;

    /// Makes everything written to the file durable. Never call it again after an error: the kernel forgets what it lost.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Takes the lock for writing on a file until the returned guard is dropped; `None` when somebody else holds it.
    fn lock(&self, file: &File) -> io::Result<Option<Lock>>;

    /// Whether somebody (in this or another process) holds the lock through another opening of the file.
    fn is_locked(&self, file: &File) -> io::Result<bool>;

    /// Maps a page of `bytes`: made if it does not exist (`writable`), else an existing one to read.
    fn page(&self, path: &Path, bytes: usize, writable: bool) -> io::Result<Page>;

    /// A completion queue of `depth` operations in flight.
    fn queue(&self, depth: usize, role: Role) -> io::Result<Box<dyn Queue>>;

    /// A number of this start of the machine, never 0: what was in its memory before the last power cut is of another. [`page::ANY_BOOT`] where nobody knows.
    fn boot(&self) -> u64;

    /// Why this driver and not a faster one, for `doctor`.
    fn reason(&self) -> &str;
}

/// Who uses a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Created, used and dropped on one thread, which it belongs to for its whole life.
    Pinned,
    /// May move between threads, one at a time.
    Movable,
}

/// Holds a lock until it is dropped.
pub struct Lock(#[allow(dead_code, reason = "dropping it gives the lock back")] pub(crate) Box<dyn Send + Sync>);

/// An operation with its buffers.
#[derive(Debug)]
pub enum Operation {
    /// Read `len` bytes at `offset` into the start of `buffer`, which then has the length of what was read; fewer only at the end of
    /// the file.
    Read {
        /// From where.
        file: File,
        /// Into this, from its start; comes back with the completion.
        buffer: Buffer,
        /// Bytes.
        len: usize,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// Write the pieces one behind the other at `offset`.
    Write {
        /// To where.
        file: File,
        /// At most [`PIECES_MAX`].
        pieces: Vec<Frozen>,
        /// Bytes from the start of the file.
        offset: u64,
        /// On the device before it completes.
        durable: bool,
    },
}

/// Most pieces of one write.
pub const PIECES_MAX: usize = 256;

/// A finished operation: its token, how many bytes, and the operation itself with its buffers.
#[derive(Debug)]
pub struct Completion {
    /// What the submitter called it.
    pub token: u64,
    /// Bytes moved; a write is whole or an error.
    pub result: io::Result<usize>,
    /// The operation, to take the buffers from.
    pub operation: Operation,
}

/// What [`Queue::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Collect what is done, do not wait.
    Nothing,
    /// At least one completion; returns at once when nothing is in flight.
    Completion,
    /// A completion, a ring of the [`Bell`], or the time-out.
    BellOrCompletion(Option<Duration>),
}

/// A completion queue: operations go in with a token and come out in any order.
pub trait Queue: Send {
    /// Takes an operation; gives it back when `capacity` operations are in flight. Handed to the kernel at the next [`Queue::wait`] or
    /// [`Queue::flush`], whichever is first; dropping the queue forgets what was not handed over and waits for the rest.
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation>;

    /// Hands what was submitted to the kernel without waiting.
    fn flush(&mut self) -> io::Result<()>;

    /// Hands over what was submitted and appends completions to `done`. A signal is not an error.
    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()>;

    /// Operations not yet returned.
    fn in_flight(&self) -> usize;

    /// Most operations in flight.
    fn capacity(&self) -> usize;

    /// A bell that wakes [`Queue::wait`] from another thread. A ring while nobody waits is kept for the next wait.
    fn bell(&self) -> Bell;
}

/// Wakes the thread that waits in a [`Queue`].
#[derive(Clone)]
pub struct Bell(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl Bell {
    /// A bell that does this when it is rung.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Bell(Arc::new(ring))
    }

    /// Wakes the waiter, or the next one to come. Cheap when it is awake.
    pub fn ring(&self) {
        (self.0)();
    }
}
