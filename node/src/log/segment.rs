//! One segment: a file of frames, and what is known of it without reading it.
//!
//! A segment is *prepared* (allocated and zeroed, or recycled), then *active* (its first frame gives it a base offset), then *sealed* (the next one
//! took over; it never changes again). Invariant: `used` only grows, and everything below it is durable.
//! This module knows nothing of who writes or reads.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::format::directory::Directory;
use crate::io::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};

/// Base offset of a segment that holds no frame yet.
const NO_OFFSET: u64 = u64::MAX;

/// What is known of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Offset behind the last row.
    pub end_offset: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Smallest and largest commit timestamp, in milliseconds.
    pub timestamps_ms: (i64, i64),
}

/// A file of frames.
#[derive(Debug)]
pub struct Segment {
    id: u64,
    path: PathBuf,
    capacity_bytes: u64,
    base_offset: AtomicU64,
    used_bytes: AtomicU64,
    sealed: OnceLock<Sealed>,
    /// See [`Segment::epoch`].
    epoch: AtomicU32,
    /// The directory as far as it is known; empty for a segment that was sealed before or whose directory is in its file.
    pub directory: Mutex<Directory>,
}

impl Segment {
    /// A prepared segment without frames.
    pub fn prepared(id: u64, path: PathBuf, capacity_bytes: u64) -> Self {
        Segment {
            id,
            path,
            capacity_bytes,
            base_offset: AtomicU64::new(NO_OFFSET),
            used_bytes: AtomicU64::new(0),
            sealed: OnceLock::new(),
            epoch: AtomicU32::new(0),
            directory: Mutex::new(Directory::new(id)),
        }
    }

    /// A sealed segment, as the manifest tells it.
    pub fn sealed_at(id: u64, path: PathBuf, base_offset: u64, sealed: Sealed) -> Self {
        let segment = Self::prepared(id, path, sealed.bytes);
        segment.begin(base_offset);
        segment.advance(sealed.bytes);
        segment.seal(sealed);
        segment
    }

    /// Unique in the store; a recycled file gets a new one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that frames may take.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Offset of the first row; `None` before the first frame.
    pub fn base_offset(&self) -> Option<u64> {
        let offset = self.base_offset.load(Ordering::Acquire);
        (offset != NO_OFFSET).then_some(offset)
    }

    /// The first frame begins at this offset. A segment whose first write was given up may begin again.
    pub fn begin(&self, offset: u64) {
        assert_ne!(offset, NO_OFFSET, "an offset below the limit");
        assert_eq!(self.used_bytes(), 0, "a segment begins once: {}", self.path.display());
        self.base_offset.store(offset, Ordering::Release);
    }

    /// Durable bytes of frames.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Acquire)
    }

    /// Everything below `bytes` is durable.
    pub fn advance(&self, bytes: u64) {
        let before = self.used_bytes.swap(bytes, Ordering::AcqRel);
        assert!(before <= bytes && bytes <= self.capacity_bytes, "{before} -> {bytes} of {}", self.capacity_bytes);
    }

    /// Its directory while it is not sealed. Afterwards it may go away: then a reader gets it elsewhere.
    pub fn open_directory(&self) -> Option<MutexGuard<'_, Directory>> {
        let directory = self.directory.lock();
        self.sealed().is_none().then_some(directory)
    }

    /// Epoch of the last frame in its directory, as far as frames were read: one with a lower epoch is what a crash left behind the log's end.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A frame with this epoch, not below that of the one before, went into its directory. The caller holds that.
    pub fn note_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// What is known of it once sealed.
    pub fn sealed(&self) -> Option<&Sealed> {
        self.sealed.get()
    }

    /// Nothing will be written to it any more.
    pub fn seal(&self, sealed: Sealed) {
        assert_eq!(sealed.bytes, self.used_bytes(), "sealed at its durable end");
        assert!(self.sealed.set(sealed).is_ok(), "sealed once");
    }
}
