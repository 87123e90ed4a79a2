//! The driver over a real kernel: blocking calls are pwritev2, preadv2 and fdatasync; completion queues are rings or threads.
//!
//! Data files bypass the page cache where the file system can (`O_DIRECT`); where it cannot (tmpfs, some overlays) they are buffered
//! and keep the same rules of alignment.
//! Invariant: an error of the device is reported once and its call is not repeated.

#![expect(clippy::disallowed_methods, reason = "this is where files come from")]

use super::file::Handle;
use super::page::ANY_BOOT;
use super::remains::{self, Remains};
use super::threads::ThreadsQueue;
use super::transfer::{self, Transfer};
use super::uring::{self, UringQueue};
use super::{BLOCK_BYTES, Buffer, Clock, Driver, Entry, File, Frozen, Lock, Mode, Operation, Page, Queue, Role, lock};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernel's name for this start of the machine, as a number.
static BOOT: LazyLock<u64> = LazyLock::new(|| match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
    Ok(name) => boot_number(name.trim()),
    Err(_) => ANY_BOOT,
});

/// 64 of the 122 random bits of a UUID, which is what the name is.
fn boot_number(name: &str) -> u64 {
    let digits: String = name.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).map_or(ANY_BOOT, |number| number.max(ANY_BOOT))
}

/// What carries the completion queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    Uring,
    /// Threads that block.
    Threads,
}

/// A [`Driver`] over the kernel of this machine. Made by [`super::probe::choose`].
pub struct System {
    engine: Engine,
    reason: String,
    clock: Clock,
    call_bytes_max: usize,
}

impl System {
    /// A driver with this engine; `reason` says why this one. Nothing is probed.
    pub fn new(engine: Engine, reason: impl Into<String>) -> System {
        System { engine, reason: reason.into(), clock: Clock::system(), call_bytes_max: usize::MAX }
    }

    /// Asks the kernel for at most this many bytes a call, so that tests see operations go on after short calls.
    #[must_use]
    pub fn with_call_bytes_max(mut self, bytes: usize) -> System {
        self.call_bytes_max = (bytes - bytes % BLOCK_BYTES).max(BLOCK_BYTES);
        self
    }
}

impl Driver for System {
    fn name(&self) -> &'static str {
        match self.engine {
            Engine::Uring => "uring",
            Engine::Threads => "threads",
        }
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn is_single_threaded(&self) -> bool {
        false
    }

    fn open(&self, path: &Path, mode: Mode, direct: bool) -> io::Result<File> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(mode != Mode::Read).create_new(mode == Mode::Create);
        let descriptor = OwnedFd::from(options.open(path)?);
        // A new one has nothing to lose, and the files of the catalog are not removed bit by bit.
        if mode == Mode::Read || mode == Mode::Write && direct {
            remains::hold(&descriptor)?;
        }
        // Set after opening: an open that creates the file and then finds that O_DIRECT is not known would leave it behind.
        let is_direct = direct && bypass_cache(&descriptor)?;
        let handle = Handle::System { descriptor, direct: is_direct, syncs_apart: AtomicBool::new(false) };
        Ok(File::new(path.to_path_buf(), direct, handle))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_dir = metadata.is_dir();
            let bytes = if is_dir { 0 } else { metadata.len() };
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), bytes, is_dir });
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_gently(&self, path: &Path) -> io::Result<Option<Remains>> {
        Remains::of(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?;
        match retrying(|| rustix::fs::fsync(&dir)) {
            // This file system has nothing to sync for a directory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            outcome => outcome,
        }
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        length(file)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        retrying(|| rustix::fs::ftruncate(descriptor(file)?, bytes))
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match retrying(|| rustix::fs::fallocate(descriptor(file)?, FallocateFlags::empty(), 0, bytes)) {
            // Nothing to reserve with: the length is what callers rely on.
            Err(error) if is_unsupported(&error) && length(file)? < bytes => self.set_len(file, bytes),
            Err(error) if is_unsupported(&error) => Ok(()),
            outcome => outcome,
        }
    }

    fn read_at(&self, file: &File, buffer: &mut Buffer, len: usize, offset: u64) -> io::Result<usize> {
        read(file, buffer, len, offset, self.call_bytes_max)
    }

    fn write_at(&self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()> {
        write(file, pieces, offset, durable, self.call_bytes_max)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        retrying(|| rustix::fs::fdatasync(descriptor(file)?))
    }

    fn lock(&self, file: &File) -> io::Result<Option<Lock>> {
        if !lock::acquire(descriptor(file)?)? {
            return Ok(None);
        }
        Ok(Some(Lock(Box::new(Held(file.clone())))))
    }

    fn is_locked(&self, file: &File) -> io::Result<bool> {
        lock::is_held_elsewhere(descriptor(file)?)
    }

    fn page(&self, path: &Path, bytes: usize, writable: bool) -> io::Result<Page> {
        if writable { Page::create(path, bytes) } else { Page::open_read_only(path, bytes) }
    }

    fn queue(&self, depth: usize, role: Role) -> io::Result<Box<dyn Queue>> {
        if self.engine == Engine::Uring {
            match UringQueue::new(depth, role, self.call_bytes_max, self.clock.clone()) {
                Ok(queue) => return Ok(Box::new(queue)),
                // One ring too many for the locked memory or the descriptors of this process: this queue goes without.
                Err(error) if uring::is_shortage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Box::new(ThreadsQueue::new(depth, self.call_bytes_max, self.clock.clone())))
    }

    fn boot(&self) -> u64 {
        *BOOT
    }

    fn reason(&self) -> &str {
        &self.reason
    }
}

/// Gives the lock back when dropped.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(descriptor) = descriptor(&self.0) {
            // Releasing a held lock does not fail; were it to, the lock goes with the descriptor.
            let _ = lock::release(descriptor);
        }
    }
}

/// The descriptor of a file that this driver opened.
pub(crate) fn descriptor(file: &File) -> Result<&OwnedFd, Errno> {
    match file.handle() {
        Handle::System { descriptor, .. } => Ok(descriptor),
        Handle::Simulated { .. } => Err(Errno::BADF),
    }
}

/// Length of a file in bytes.
pub(crate) fn length(file: &File) -> io::Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(descriptor(file)?)?.st_size).unwrap_or(0))
}

/// Does a blocking operation; a read sets the length of its buffer to what it read.
pub(crate) fn execute(operation: &mut Operation, call_bytes_max: usize) -> io::Result<usize> {
    match operation {
        Operation::Read { file, buffer, len, offset } => read(file, buffer, *len, *offset, call_bytes_max),
        Operation::Write { file, pieces, offset, durable } => {
            write(file, pieces, *offset, *durable, call_bytes_max).map(|()| transfer::total(pieces))
        }
    }
}

fn read(file: &File, buffer: &mut Buffer, len: usize, offset: u64, call_bytes_max: usize) -> io::Result<usize> {
    transfer::check_read(file, buffer, len, offset)?;
    let descriptor = descriptor(file)?;
    buffer.set_len(len);
    let mut transfer = Transfer::new(len, file.is_direct());
    let bytes = loop {
        let window = transfer.window(call_bytes_max);
        let at = offset + window.start as u64;
        let result = rustix::io::preadv2(descriptor, &mut [IoSliceMut::new(&mut buffer[window])], at, ReadWriteFlags::empty());
        if let Some(end) = transfer.read(result.map_err(Into::into), offset, || length(file)) {
            break end?;
        }
    };
    buffer.set_len(bytes);
    Ok(bytes)
}

fn write(file: &File, pieces: &[Frozen], offset: u64, durable: bool, call_bytes_max: usize) -> io::Result<()> {
    transfer::check_write(file, pieces, offset)?;
    let descriptor = descriptor(file)?;
    let len = transfer::total(pieces);
    if len == 0 {
        return Ok(());
    }
    let mut transfer = Transfer::new(len, file.is_direct());
    loop {
        let window = transfer.window(call_bytes_max);
        let at = offset + window.start as u64;
        let slices: Vec<_> = transfer::cut(pieces, window).map(IoSlice::new).collect();
        let flags = if durable && !syncs_apart(file) { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let result = rustix::io::pwritev2(descriptor, &slices, at, flags).map_err(io::Error::from);
        match result {
            Err(error) if !flags.is_empty() && is_unsupported(&error) => remember_to_sync_apart(file),
            result => {
                if let Some(end) = transfer.wrote(result) {
                    end?;
                    break;
                }
            }
        }
    }
    if durable && syncs_apart(file) {
        retrying(|| rustix::fs::fdatasync(descriptor))?;
    }
    Ok(())
}

/// Whether a durable write to this file is a write and then a sync.
pub(crate) fn syncs_apart(file: &File) -> bool {
    match file.handle() {
        Handle::System { syncs_apart, .. } => syncs_apart.load(Ordering::Relaxed),
        Handle::Simulated { .. } => false,
    }
}

/// Remembers that this file system does not know `RWF_DSYNC`.
pub(crate) fn remember_to_sync_apart(file: &File) {
    if let Handle::System { syncs_apart, .. } = file.handle() {
        syncs_apart.store(true, Ordering::Relaxed);
    }
}

/// Whether the kernel or the file system does not know the call.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Turns on O_DIRECT; whether the file system knows it.
fn bypass_cache(descriptor: &impl AsFd) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    match rustix::fs::fcntl_setfl(descriptor, flags | OFlags::DIRECT) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn retrying(mut call: impl FnMut() -> Result<(), Errno>) -> io::Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome.map_err(Into::into),
        }
    }
}
