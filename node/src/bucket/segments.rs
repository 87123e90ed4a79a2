//! The life of a segment's file: prepared, sealed, dropped, used again.
//!
//! Invariants: see `bucket`. Every step can be cut off by a crash: what the manifest does not name is removed at the next open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committer::Calls;
use super::manifest::{Edit, FILE_NAME, State};
use super::resources::Resources;
use super::{Bucket, here};
use crate::error::{Error, Kind, Result};
use crate::format::directory::{Directory, WriterBatch, WriterState};
use crate::io::sync::Ordering;
use crate::io::{Driver, Entry, File, Frozen, Mode};
use crate::log::commit::{Effects, Log};
use crate::log::producers::Producers;
use crate::log::segment::Segment;

/// Bytes of a bucket's first segment; each later one has [`GROWTH`] times as many, up to the table's limit.
pub const FIRST_BYTES: u64 = 1 << 20;

/// See [`FIRST_BYTES`].
pub const GROWTH: u64 = 4;

/// Bytes of one step of zeroing: small enough that an append beside it waits little.
pub const ZERO_STEP_BYTES: usize = 256 << 10;

/// A new segment of at most this many bytes is zeroed even while a row waits for it; a larger one takes rows unzeroed.
const ZEROED_AT_ONCE_BYTES_MAX: u64 = 4 << 20;

/// File of a segment.
pub fn log_path(dir: &Path, segment_id: u64) -> PathBuf {
    dir.join(format!("{segment_id:016x}.log"))
}

/// Whether a file is named as [`log_path`] names segments.
pub fn is_log_name(name: &str) -> bool {
    let id = name.strip_suffix(".log").and_then(|stem| u64::from_str_radix(stem, 16).ok());
    id.is_some_and(|id| log_path(Path::new(""), id) == Path::new(name))
}

/// File of a segment's directory.
pub fn index_path(log_path: &Path) -> PathBuf {
    log_path.with_extension("index")
}

/// A segment's file that is being made ready, in steps.
pub struct Preparation {
    segment_id: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
    zeroed: u64,
    zeros: Frozen,
}

impl Preparation {
    /// Zeroes a little more; `false` when all is done.
    pub fn step(&mut self, resources: &Resources) -> Result<bool> {
        if self.zeroed >= self.bytes {
            return Ok(false);
        }
        let bytes = (self.bytes - self.zeroed).min(ZERO_STEP_BYTES as u64);
        let piece = self.zeros.slice(..bytes as usize);
        let written = resources.driver.write_at(&self.file, &[piece], self.zeroed, false);
        written.map_err(|error| Error::io("write", &self.path, error))?;
        self.zeroed += bytes;
        Ok(self.zeroed < self.bytes)
    }

    /// Bytes still to zero.
    pub fn left_bytes(&self) -> u64 {
        self.bytes - self.zeroed
    }
}

/// A log whose rows wait for a segment. If whoever prepares it dies, they fail.
struct Asked<'a>(&'a Log);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        drop(self.0.segment_ready(Err(Error::internal("the thread that prepared a segment died"))));
    }
}

/// The ring thread waits for the end of it, whatever comes of it.
struct Provided<'a>(&'a Calls);

impl Drop for Provided<'_> {
    fn drop(&mut self) {
        self.0.provided();
    }
}

impl Bucket {
    /// Bytes of the next segment: it grows with the log, and holds at least `need`.
    fn next_segment_bytes(&self, need: u64) -> u64 {
        let bytes_max = self.policy.lock().bytes_max;
        let active = self.log.with_writer(|writer| writer.active().map(|(segment, _)| segment.capacity_bytes()));
        let grown = active.map_or(FIRST_BYTES, |bytes| bytes.saturating_mul(GROWTH));
        grown.clamp(FIRST_BYTES, bytes_max.max(FIRST_BYTES)).max(need.next_multiple_of(FIRST_BYTES))
    }

    /// Prepares a segment while a group waits for it. Whatever comes of it goes to the log.
    pub(in crate::bucket) fn prepare_now(self: &Arc<Self>, need: usize) -> Effects {
        let asked = Asked(&self.log);
        let segment = (|| {
            let mut preparation = self.begin_preparation(need as u64)?;
            if preparation.bytes <= ZEROED_AT_ONCE_BYTES_MAX {
                while preparation.step(&self.resources)? {}
            }
            self.end_preparation(preparation)
        })();
        std::mem::forget(asked);
        self.log.segment_ready(segment.map_err(|error| here(&self.address, error)))
    }

    /// As when a group waits for it, for the ring thread, which goes on with other logs meanwhile.
    pub fn provide(self: &Arc<Self>, bytes: usize) {
        let _provided = Provided(&self.resources.calls);
        let effects = self.prepare_now(bytes);
        self.apply(effects);
    }

    /// Starts to prepare the next segment, ahead of need; `None` when one stands ready or is being prepared.
    pub fn prepare_ahead(self: &Arc<Self>) -> Result<Option<Preparation>> {
        if self.is_closed() || !self.log.wants_segment() || self.prepares_ahead.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let begun = self.begin_preparation(0).map_err(|error| here(&self.address, error));
        if begun.is_err() {
            self.prepares_ahead.store(false, Ordering::Release);
        }
        begun.map(Some)
    }

    /// Removes the file of a preparation that is not finished.
    pub fn give_up_preparation(&self, preparation: Preparation) {
        let Preparation { path, file, .. } = preparation;
        drop(file);
        self.abandon(&path);
        self.prepares_ahead.store(false, Ordering::Release);
    }

    /// Hands a segment prepared ahead to the log.
    pub fn finish_preparation(self: &Arc<Self>, preparation: Preparation) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        let segment = self.end_preparation(preparation).map_err(|error| here(&self.address, error));
        let added = segment.map(|segment| self.log.add_segment(segment));
        self.prepares_ahead.store(false, Ordering::Release);
        added
    }

    fn begin_preparation(&self, need: u64) -> Result<Preparation> {
        self.with_spare_room(|| self.begin_file(need))
    }

    /// Tries again on a full device, without the spare segments, whose lengths may be others than the one that is needed, and without what is still to be given back.
    fn with_spare_room<R>(&self, attempt: impl Fn() -> Result<R>) -> Result<R> {
        match attempt() {
            Err(error) if error.kind() == Kind::Exhausted => {
                let has_more = self.resources.clear_removed();
                match self.resources.spare.clear(&*self.resources.driver)? > 0 || has_more {
                    true => attempt(),
                    false => Err(error),
                }
            }
            tried => tried,
        }
    }

    fn begin_file(&self, need: u64) -> Result<Preparation> {
        self.settle()?;
        let resources = &*self.resources;
        let driver = &*resources.driver;
        let bytes = self.next_segment_bytes(need);
        let segment_id = resources.next_segment_id();
        let path = log_path(&self.address.dir, segment_id);
        let zeros = resources.pool.zeros(ZERO_STEP_BYTES);
        if let Some(bytes) = resources.spare.take(driver, need.max(FIRST_BYTES), bytes, &path)? {
            let file = resources.files.open(driver, &path, true).map_err(|error| Error::io("open", &path, error))?;
            return Ok(Preparation { segment_id, path, file, bytes, zeroed: bytes, zeros });
        }
        let made = driver.open(&path, Mode::Create, true).and_then(|file| {
            let allocated = driver.allocate(&file, bytes);
            allocated.map(|()| file)
        });
        match made {
            Ok(file) => Ok(Preparation { segment_id, path, file, bytes, zeroed: 0, zeros }),
            Err(error) => {
                self.abandon(&path);
                Err(Error::io("allocate", &path, error))
            }
        }
    }

    fn end_preparation(&self, preparation: Preparation) -> Result<Arc<Segment>> {
        let Preparation { segment_id, path, file, bytes, .. } = preparation;
        let driver = &*self.resources.driver;
        let named = driver.sync(&file).and_then(|()| driver.sync_dir(&self.address.dir));
        let known = named
            .map_err(|error| Error::io("sync", &path, error))
            .and_then(|()| self.with_spare_room(|| self.edit(Edit::Prepared { segment_id, bytes })));
        if let Err(error) = known {
            if error.kind() == Kind::Exhausted {
                self.abandon(&path);
            }
            return Err(error);
        }
        Ok(Arc::new(Segment::prepared(segment_id, path, bytes)))
    }

    /// Removes a file that came to nothing. If that fails too, the next open removes it.
    fn abandon(&self, path: &Path) {
        self.resources.files.invalidate(path);
        let _ = self.resources.driver.remove(path);
    }

    /// Writes the directories of full segments and tells the manifest. Returns how many.
    pub fn seal(&self) -> Result<usize> {
        if self.is_closed() {
            return Ok(0);
        }
        let _one_at_a_time = self.upkeep.lock();
        let mut segments = std::mem::take(&mut *self.to_seal.lock());
        if segments.is_empty() {
            return Ok(0);
        }
        // Writers that finish at the same time hand them over in any order.
        segments.sort_by_key(|segment| segment.base_offset());
        if let Err(error) = self.settle() {
            self.to_seal.lock().append(&mut segments);
            return Err(error);
        }
        for (index, segment) in segments.iter().enumerate() {
            let follows = segment.base_offset() == Some(self.manifest.lock().state().sealed_end());
            let sealed = if follows { self.seal_one(segment).map(|()| true) } else { Ok(false) };
            if let Ok(true) = sealed {
                continue;
            }
            self.to_seal.lock().extend_from_slice(&segments[index..]);
            // One that does not follow waits for the one before it, with which this is called again.
            return sealed.map(|_| index).map_err(|error| here(&self.address, error));
        }
        Ok(segments.len())
    }

    fn seal_one(&self, segment: &Segment) -> Result<()> {
        let sealed = segment.sealed().expect("only full segments are put here");
        let base_offset = segment.base_offset().expect("a full segment has rows");
        self.sync_rows(segment)?;
        let writers = self.log.with_writer(|writer| writer_states(writer.producers(), sealed.end_offset));
        let bytes = segment.directory.lock().encode(&writers);
        write_index(&self.resources, &index_path(segment.path()), &bytes)?;
        let last_dropped = self.manifest.lock().state().last_dropped;
        self.edit(Edit::Sealed {
            segment_id: segment.id(),
            base_offset,
            end_offset: sealed.end_offset,
            bytes: sealed.bytes,
            timestamps_ms: sealed.timestamps_ms,
        })?;
        // From here on readers get it from the file.
        *segment.directory.lock() = Directory::new(segment.id());
        if let Some(dropped) = last_dropped {
            // The new one remembers who wrote. If this fails, the next open removes it.
            let _ = self.resources.driver.remove(&index_path(&log_path(&self.address.dir, dropped)));
        }
        Ok(())
    }

    /// Makes the rows before `end_offset` durable where acknowledging them did not.
    ///
    /// # Errors
    /// Those of the device: the log takes no more rows then.
    pub fn sync_log(&self, end_offset: u64) -> Result<()> {
        let sealed_end = self.manifest.lock().state().sealed_end();
        let is_unsynced = |segment: &&Arc<Segment>| {
            let is_sealed = segment.sealed().is_some_and(|sealed| sealed.end_offset <= sealed_end);
            !is_sealed && segment.base_offset().is_some_and(|base| base < end_offset)
        };
        self.view().segments().iter().filter(is_unsynced).try_for_each(|segment| self.sync_rows(segment))
    }

    /// Makes the rows of a segment durable where acknowledging them did not: comes before the manifest builds on them. A sync that failed is the last,
    /// because the next would say yes to what this one has lost: the log takes no more rows, and recovery writes again what is there.
    fn sync_rows(&self, segment: &Segment) -> Result<()> {
        let Resources { driver, files, durable, .. } = &*self.resources;
        if *durable {
            return Ok(());
        }
        if let Some(poison) = self.log.with_writer(|writer| writer.poison().map(Error::replica)) {
            return Err(poison);
        }
        let file = files.open(&**driver, segment.path(), true).map_err(|error| Error::io("open", segment.path(), error))?;
        driver.sync(&file).map_err(|error| {
            let lost = Error::io("sync", segment.path(), error);
            self.log.poison(lost.replica());
            lost
        })
    }

    /// Gives the files of dropped segments away, as soon as no reader of this process holds them. Returns how many still wait.
    ///
    /// # Errors
    /// The first of the device; what it stopped waits, and the others are done.
    pub fn recycle(&self) -> Result<usize> {
        let _one_at_a_time = self.upkeep.lock();
        let (free, mut waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *self.dropped.lock()).into_iter().partition(|segment| Arc::strong_count(segment) == 1);
        let mut recycled = Ok(());
        for segment in free {
            if let Err(error) = self.recycle_one(&segment) {
                waiting.push(segment);
                recycled = recycled.and(Err(error));
            }
        }
        let count = waiting.len();
        self.dropped.lock().append(&mut waiting);
        recycled.map(|()| count)
    }

    fn recycle_one(&self, segment: &Segment) -> Result<()> {
        let driver = &*self.resources.driver;
        self.resources.files.invalidate(segment.path());
        self.resources.directories.forget(segment.id());
        // A seal that comes meanwhile removes it.
        if !self.manifest.lock().state().keeps_index(segment.id()) {
            remove_if_there(driver, &index_path(segment.path()))?;
        }
        let file = driver.open(segment.path(), Mode::Read, false).map_err(|error| Error::io("open", segment.path(), error))?;
        let bytes = driver.len(&file).map_err(|error| Error::io("look at", segment.path(), error))?;
        // Or it would be this process that reads it.
        drop(file);
        match self.resources.spare.give(driver, segment.path(), bytes)? {
            true => Ok(()),
            false => self.resources.remove(segment.path()),
        }
    }
}

fn remove_if_there(driver: &dyn Driver, path: &Path) -> Result<()> {
    match driver.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Writes a directory beside its segment, durably: what it remembers of the writers is nowhere else.
fn write_index(resources: &Resources, path: &Path, bytes: &[u8]) -> Result<()> {
    let driver = &*resources.driver;
    remove_if_there(driver, path)?;
    let file = driver.open(path, Mode::Create, false).map_err(|error| Error::io("make", path, error))?;
    let piece = resources.pool.copy_of(bytes).freeze();
    let written = driver.write_at(&file, &[piece], 0, true).and_then(|()| driver.sync_dir(path.parent().expect("a file in a directory")));
    written.map_err(|error| Error::io("write", path, error))
}

/// What the directory of a segment remembers of the writers, as far as its end.
fn writer_states(producers: &Producers, end_offset: u64) -> Vec<WriterState> {
    let mut states = Vec::new();
    for (id, timestamp_ms, sent) in producers.iter() {
        let written = sent.filter(|sent| sent.first_offset < end_offset);
        let batches: Vec<_> =
            written.map(|sent| WriterBatch { sequence: sent.sequence, first_offset: sent.first_offset, offsets: sent.rows }).collect();
        if !batches.is_empty() {
            states.push(WriterState { writer_id: id, timestamp: timestamp_ms, batches });
        }
    }
    states.sort_by_key(|state| state.writer_id);
    states
}

/// Files in a bucket's directory that its manifest does not name: what a crash left of work that came to nothing.
pub fn orphans(driver: &dyn Driver, dir: &Path, state: &State) -> Result<Vec<Entry>> {
    let entries = match driver.list(dir) {
        // A bucket that never had a row has none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| Error::io("list", dir, error))?,
    };
    let is_known = |name: &str| {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let id = u64::from_str_radix(stem, 16).ok();
        id.is_some_and(|id| match extension {
            "log" => state.open.contains_key(&id) || state.sealed.iter().any(|segment| segment.segment_id == id),
            "run" => state.has_run(id),
            "index" => state.keeps_index(id),
            _ => false,
        })
    };
    Ok(entries.into_iter().filter(|entry| !entry.is_dir && entry.name != FILE_NAME && !is_known(&entry.name)).collect())
}

/// Removes [`orphans`].
pub fn remove_orphans(resources: &Resources, dir: &Path, state: &State) -> Result<()> {
    let driver = &*resources.driver;
    for entry in orphans(driver, dir, state)? {
        let path = dir.join(&entry.name);
        resources.remove(&path)?;
    }
    Ok(())
}
