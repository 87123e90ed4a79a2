//! What the buckets of an open store share: driver, files, buffers, the commit page, budgets.
//!
//! Invariant: segment ids are unique in the store for ever (the epoch of the open stands in their upper half).
//! This module knows nothing of tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget::MemtableBudget;
use super::committer::{Calls, Committer};
use super::directories::Directories;
use super::spare::Spare;
use super::work::Board;
use crate::error::{Error, Result};
use crate::io::page::Page;
use crate::io::removed::Removed;
use crate::io::sync::{AtomicU32, Mutex, Ordering};
use crate::io::{Driver, FileCache, Mode, Pool};
use crate::log::cursor::Source;
use crate::log::fate::Fate;
use crate::log::view::RecentBudget;
use crate::lsm::pick::Rules;
use crate::lsm::run::{Blocks, Reach};

/// Sizes that the owner of the store chose.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open files.
    pub files_open_max: usize,
    /// Bytes of idle buffers kept for reuse.
    pub pool_bytes_max: usize,
    /// Bytes of newest frames kept for readers.
    pub recent_bytes_max: usize,
    /// Bytes of dropped segments kept to be recycled.
    pub spare_bytes_max: u64,
    /// Bytes that a scan or a replay reads ahead in a log.
    pub scan_bytes_max: usize,
    /// Bytes of all memtables together: see `budget`.
    pub memtable_bytes_max: usize,
    /// Bytes of blocks of runs that are kept in memory.
    pub block_bytes_max: usize,
    /// Bytes of a file of merged rows, about.
    pub run_bytes_max: u64,
}

/// See the head of this module.
pub struct Resources {
    /// The kernel.
    pub driver: Arc<dyn Driver>,
    /// Open segment files.
    pub files: Arc<FileCache>,
    /// Directories of sealed segments.
    pub directories: Directories,
    /// Buffers.
    pub pool: Pool,
    /// What followers in other processes watch.
    pub page: Page,
    /// Budget of frames in memory.
    pub recent: Arc<RecentBudget>,
    /// Dropped segments to be used again.
    pub spare: Spare,
    /// What background work there is.
    pub board: Board,
    /// Logs that wait for the ring thread.
    pub calls: Calls,
    /// Where the store lies.
    pub dir: PathBuf,
    /// This open, counted by the catalog; 0 for a follower.
    pub epoch: u32,
    /// Acknowledged means on the device.
    pub durable: bool,
    /// Blocks of runs that were read lately.
    pub blocks: Arc<Blocks>,
    /// Rows that are not in runs yet.
    pub memtables: MemtableBudget,
    /// When runs are merged.
    pub rules: Rules,
    removed: Removed,
    scan_bytes_max: usize,
    next_segment: AtomicU32,
    /// The ring's owner when there is no ring thread (the simulator).
    pub pumped: Mutex<Option<Committer>>,
}

impl Resources {
    /// Puts them together.
    pub fn new(driver: Arc<dyn Driver>, page: Page, dir: PathBuf, epoch: u32, durable: bool, limits: Limits) -> Result<Arc<Self>> {
        let removed_dir = removed_dir(&dir);
        let removed = Removed::open(&*driver, removed_dir.clone(), epoch > 0).map_err(|error| Error::io("list", &removed_dir, error))?;
        let spare = Spare::open(&*driver, dir.join("spare"), limits.spare_bytes_max, epoch > 0)?;
        let files = Arc::new(FileCache::new(limits.files_open_max, if epoch > 0 { Mode::Write } else { Mode::Read }));
        let pool = Pool::new(limits.pool_bytes_max);
        Ok(Arc::new(Resources {
            directories: Directories::new(driver.clone(), files.clone(), pool.clone()),
            files,
            pool,
            recent: RecentBudget::new(limits.recent_bytes_max),
            spare,
            board: Board::default(),
            calls: Calls::default(),
            page,
            dir,
            epoch,
            durable,
            blocks: Blocks::new(limits.block_bytes_max as u64),
            memtables: MemtableBudget::new(limits.memtable_bytes_max),
            rules: Rules { file_bytes: limits.run_bytes_max.max(1), ..Rules::default() },
            scan_bytes_max: limits.scan_bytes_max,
            removed,
            next_segment: AtomicU32::new(1),
            pumped: Mutex::new(None),
            driver,
        }))
    }

    /// How readers of logs get at segments.
    pub fn source(self: &Arc<Self>) -> Source {
        let resources = self.clone();
        Source {
            driver: self.driver.clone(),
            pool: self.pool.clone(),
            files: self.files.clone(),
            bytes_max: self.scan_bytes_max,
            directories: Arc::new(move |segment| resources.directories.get(segment)),
        }
    }

    /// How runs are read and written.
    pub fn reach(&self) -> Reach {
        Reach { driver: self.driver.clone(), files: self.files.clone(), pool: self.pool.clone(), blocks: self.blocks.clone() }
    }

    /// Removes a file that may be large. Its blocks go back to the device later, bit by bit: [`Resources::shrink`].
    ///
    /// # Errors
    /// Those of removing it.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.files.invalidate(path);
        let removed = self.removed.take(&*self.driver, path);
        self.board.ring();
        removed.map_err(|error| Error::io("remove", path, error))
    }

    /// As [`Resources::remove`], of a directory and everything in it.
    ///
    /// # Errors
    /// Those of removing it; none when it is not there.
    pub fn remove_tree(&self, dir: &Path) -> Result<()> {
        self.files.invalidate_below(dir);
        let removed = self.removed.take_tree(&*self.driver, dir);
        // Somebody may have opened one since.
        self.files.invalidate_below(dir);
        self.board.ring();
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir, error)),
            _ => Ok(()),
        }
    }

    /// Gives everything that was removed back at once: the device is full, or nobody is left to do it. Whether there was anything.
    pub fn clear_removed(&self) -> bool {
        self.removed.clear(&*self.driver)
    }

    /// Whether files that were removed have blocks left.
    pub fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Gives some blocks of files that were removed back to the device.
    ///
    /// # Errors
    /// Those of the device; the others go on.
    pub fn shrink(&self) -> Result<()> {
        self.removed.step(&*self.driver).map_err(|error| Error::io("remove", &removed_dir(&self.dir), error))
    }

    /// A name for a new segment or run.
    pub fn next_segment_id(&self) -> u64 {
        let count = self.next_segment.fetch_add(1, Ordering::Relaxed);
        assert!(count != 0 && self.epoch > 0, "segments are named by writers, fewer than 2^32 in one open");
        u64::from(self.epoch) << 32 | u64::from(count)
    }

    /// Waits for a group. Where one thread does everything, that thread pumps the ring meanwhile.
    pub fn wait_for(&self, fate: &Fate, awake: bool) -> Result<()> {
        if self.driver.is_single_threaded() {
            return self.pump_until(fate);
        }
        if awake { fate.wait_awake() } else { fate.wait() }
    }

    fn pump_until(&self, fate: &Fate) -> Result<()> {
        loop {
            if let Some(result) = fate.poll() {
                return result;
            }
            let mut pumped = self.pumped.lock();
            let committer = pumped.as_mut().ok_or_else(|| Error::internal("nobody drives the ring"))?;
            let progress = committer.step(crate::io::Wait::Completion)?;
            assert!(progress || fate.poll().is_some(), "a group waits and nothing is in flight");
        }
    }
}

/// Where files of a store wait to be given back to the device.
pub fn removed_dir(dir: &Path) -> PathBuf {
    dir.join("removed")
}
