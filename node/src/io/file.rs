//! An open file, and a bounded cache of them.
//!
//! Invariant: a cache holds at most its limit of descriptors and never closes one that somebody uses.
//! This module knows nothing of what is in the files.

use super::damages::Damages;
use super::{Driver, Mode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An open file of some [`Driver`]; closed when the last clone drops.
#[derive(Clone)]
pub struct File(Arc<Open>);

struct Open {
    path: PathBuf,
    aligned: bool,
    handle: Handle,
}

/// What a driver needs to reach the file.
pub(crate) enum Handle {
    /// A descriptor of the kernel.
    System {
        descriptor: OwnedFd,
        /// Whether the kernel bypasses its cache.
        direct: bool,
        /// Whether durable writes must be followed by a sync, because this file system does not know `RWF_DSYNC`.
        syncs_apart: AtomicBool,
    },
    /// A number in the simulator.
    Simulated {
        /// The start of the simulated machine.
        boot: u64,
        /// The file.
        inode: u64,
        /// This opening of it, to which locks belong.
        opening: u64,
        /// Whether it may be changed.
        writable: bool,
    },
}

impl File {
    pub(crate) fn new(path: PathBuf, aligned: bool, handle: Handle) -> File {
        File(Arc::new(Open { path, aligned, handle }))
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether it was opened for direct I/O: offsets, lengths and memory must be multiples of [`super::BLOCK_BYTES`].
    pub fn is_aligned(&self) -> bool {
        self.0.aligned
    }

    /// Whether I/O really bypasses the page cache: asked for, and known to the file system.
    pub fn is_direct(&self) -> bool {
        match &self.0.handle {
            Handle::System { direct, .. } => *direct,
            Handle::Simulated { .. } => self.0.aligned,
        }
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.0.path.display())
    }
}

/// Keeps files open, so that thousands of segments need few descriptors: the one that was not used for longest makes room.
pub struct FileCache {
    mode: Mode,
    limit: usize,
    state: Mutex<State>,
    damages: Damages,
}

#[derive(Default)]
struct State {
    files: HashMap<PathBuf, Cached>,
    uses: u64,
}

struct Cached {
    file: File,
    last_use: u64,
}

impl FileCache {
    /// A cache of at most `limit` open files, all opened to read or all to write. While users hold all of them, further files are opened for their user alone.
    pub fn new(limit: usize, mode: Mode) -> Self {
        assert_ne!(mode, Mode::Create, "a cache opens what exists");
        FileCache { mode, limit, state: Mutex::default(), damages: Damages::default() }
    }

    /// The file at `path`, opened if it is not open yet.
    pub fn open(&self, driver: &dyn Driver, path: &Path, direct: bool) -> io::Result<File> {
        if let Some(file) = self.state.lock().touch(path, direct) {
            return Ok(file);
        }
        // Without the lock: opening may wait for the device.
        let file = driver.open(path, self.mode, direct)?;
        let mut state = self.state.lock();
        if let Some(first) = state.touch(path, direct) {
            return Ok(first);
        }
        state.insert(path, file.clone(), self.limit);
        Ok(file)
    }

    /// Forgets the file at `path`, which was renamed, removed or recycled. Who holds it keeps the old one.
    pub fn invalidate(&self, path: &Path) {
        self.state.lock().files.remove(path);
        self.damages.forget(|damaged| damaged == path);
    }

    /// Forgets every file below `dir`, which was removed: an open one would keep its space.
    pub fn invalidate_below(&self, dir: &Path) {
        self.state.lock().files.retain(|path, _| !path.starts_with(dir));
        self.damages.forget(|damaged| damaged.starts_with(dir));
    }

    /// What of these files was found damaged.
    pub fn damages(&self) -> &Damages {
        &self.damages
    }

    /// Files kept open.
    pub fn len(&self) -> usize {
        self.state.lock().files.len()
    }

    /// Whether none is kept open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn touch(&mut self, path: &Path, direct: bool) -> Option<File> {
        let cached = self.files.get_mut(path).filter(|cached| cached.file.is_aligned() == direct)?;
        self.uses += 1;
        cached.last_use = self.uses;
        Some(cached.file.clone())
    }

    fn insert(&mut self, path: &Path, file: File, limit: usize) {
        self.files.remove(path);
        while self.files.len() >= limit {
            let idle = self.files.iter().filter(|(_, cached)| !cached.file.is_shared());
            let Some(oldest) = idle.min_by_key(|(_, cached)| cached.last_use).map(|(path, _)| path.clone()) else { return };
            self.files.remove(&oldest);
        }
        self.uses += 1;
        self.files.insert(path.to_path_buf(), Cached { file, last_use: self.uses });
    }
}
