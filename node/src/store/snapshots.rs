//! Snapshots of a table with a primary key: its rows as they were at one moment, kept under a number, and perhaps under a name.
//!
//! A snapshot is an entry in the table's list, and in each bucket runs that are kept for it. Invariants: what is in the list can be read, because buckets keep their
//! runs before it gets there, and release them after it left; what a bucket keeps and the list lacks, as after a crash in between, is released when the bucket is next
//! opened. This module knows nothing of files but the list's own.

mod expire;
mod list;
mod make;
mod tags;
mod tend;
mod travel;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::catalog::TableEntry;
use super::dropping::dropped;
use super::folding::fold;
use super::open::Inner;
use super::table::Table;
use super::table_dir;
use crate::bucket::Bucket;
use crate::bucket::ledger::{self, Ledger};
use crate::bucket::resources::Resources;
use crate::error::{Error, Result};
use crate::io::sync::{AtomicU32, Ordering, wait, wake_all};
pub(super) use expire::expire;
use list::{Edit, List, Record};
pub(super) use tend::due as tend;
pub(super) use travel::{At, check, steadily_at, until};

/// Name of the list in the table's directory.
const FILE_NAME: &str = "snapshots";

/// Directories whose names a new list makes besides the table's: `tables`, the store.
const DIRECTORIES_ABOVE: usize = 2;

/// Folds the edits of a list, as [`super::fold_edits`].
pub(super) fn fold_list(edits: &[u8]) -> Result<Vec<u8>> {
    fold::<List>(edits)
}

/// Which snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one with this number.
    Snapshot(u64),
    /// The one that has this tag.
    Tag(String),
    /// The newest that was made at or before this time, in milliseconds since 1970.
    AsOf(i64),
}

impl std::str::FromStr for Version {
    type Err = Error;

    /// A number, else a tag.
    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(id) => Ok(Version::Snapshot(id)),
            Err(_) => tags::check(text).map(|()| Version::Tag(text.to_string())),
        }
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Counts up from 1 in each table.
    pub id: u64,
    /// Its names. With one it does not expire.
    pub tags: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: i64,
    /// The version of the schema that its rows come in.
    pub schema_version: i16,
    /// Rows in its runs, all versions of a key: no fewer than it shows, and just those when each bucket had one run without deletes.
    pub run_rows: u64,
    /// Its runs.
    pub runs: u64,
    /// Bytes of their blocks. Snapshots share runs that did not change between them.
    pub bytes: u64,
    /// Up to where in its log each bucket is seen.
    pub ends: Vec<SnapshotEnd>,
}

/// Up to where a snapshot sees a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotEnd {
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket.
    pub bucket: u32,
    /// Offset behind the last row of its log that counts: changes from there on came later.
    pub offset: u64,
}

impl Snapshot {
    fn new(entry: &TableEntry, list: &List, record: &Record) -> Self {
        let end = |(partition, ends): (&u32, &Vec<u64>)| {
            let name = entry.partitions.get(partition)?.name.clone();
            let end =
                move |(bucket, offset): (usize, &u64)| SnapshotEnd { partition: name.clone(), bucket: bucket as u32, offset: *offset };
            Some(ends.iter().enumerate().map(end).collect::<Vec<_>>())
        };
        Snapshot {
            id: record.id,
            tags: list.tags_of(record.id),
            time_ms: record.time_ms,
            schema_version: record.schema_version,
            run_rows: record.rows,
            runs: record.runs,
            bytes: record.bytes,
            ends: record.ends.iter().filter_map(end).flatten().collect(),
        }
    }
}

impl Table {
    /// Makes a snapshot of all rows that are durable now, in all buckets at one moment, and tags it if a tag is given. Then older ones expire as the table's options
    /// have it.
    ///
    /// # Errors
    /// Invalid for a log table, and for a tag that is none; Conflict when the tag exists; Exhausted when the device is full; others of the device.
    pub fn create_snapshot(&self, tag: Option<&str>) -> Result<Snapshot> {
        let made = make::make(self, tag)?;
        // The snapshot is made; what does not expire now does so as background work.
        let _ = self.store.entry(self.id, &self.name).and_then(|entry| expire(&self.store, &entry));
        Ok(made)
    }

    /// All snapshots, older ones first.
    ///
    /// # Errors
    /// Invalid for a log table; Corrupt for a damaged list.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let entry = self.keyed_entry()?;
        let list = self.store.snapshot_list(&entry)?;
        Ok(list.snapshots.values().map(|record| Snapshot::new(&entry, &list, record)).collect())
    }

    /// One snapshot.
    ///
    /// # Errors
    /// NotFound when there is none, with those that there are; as [`Table::snapshots`].
    pub fn snapshot(&self, version: &Version) -> Result<Snapshot> {
        let entry = self.keyed_entry()?;
        let list = self.store.snapshot_list(&entry)?;
        let record = list.find(version).map_err(|error| error.at("table", &self.name))?;
        Ok(Snapshot::new(&entry, &list, record))
    }

    /// The table in the catalog, if it may have snapshots.
    fn keyed_entry(&self) -> Result<Arc<TableEntry>> {
        let entry = self.store.entry(self.id, &self.name)?;
        match entry.spec.primary_key.is_empty() {
            false => Ok(entry),
            true => {
                let keyless = Error::invalid("a table without a primary key has no snapshots").at("table", &self.name);
                Err(keyless.hint("its log has all rows: scan it as of a time, or tail it from an offset"))
            }
        }
    }
}

/// The snapshots of a table that this process writes.
pub(super) struct Snapshots {
    resources: Arc<Resources>,
    held: Mutex<Held>,
    /// 1 while one is being made.
    making: AtomicU32,
}

struct Held {
    ledger: Ledger<List>,
    /// Snapshots that are being made, and those of which it is not known whether they got into the list: their runs stay.
    unsure: BTreeSet<u64>,
}

impl Snapshots {
    /// Whether buckets keep nothing for it. A number that was never given may be one that is just being made, in a bucket that has it only.
    fn is_gone(&self, id: u64) -> bool {
        let held = self.held.lock();
        !held.ledger.state().snapshots.contains_key(&id) && !held.unsure.contains(&id)
    }

    /// Releases what a bucket keeps for snapshots that are not in the list. That one is out of the list is made durable first: what was read of an edit whose
    /// write had failed may not be there any more after a power cut.
    fn release(&self, bucket: &Bucket) -> Result<()> {
        if bucket.kept_ids().into_iter().any(|id| self.is_gone(id)) {
            self.held.lock().ledger.settle(&*self.resources.driver, &self.resources.pool)?;
            bucket.release(|id| self.is_gone(id))?;
        }
        Ok(())
    }

    /// Waits until nobody makes one; then it is the caller's turn.
    fn begin(self: &Arc<Self>, is_alone: bool) -> Result<Turn> {
        while self.making.swap(1, Ordering::AcqRel) == 1 {
            if is_alone {
                return Err(Error::unavailable("another snapshot of the table is being made").hint("try again later"));
            }
            wait(&self.making, 1, None);
        }
        Ok(Turn(self.clone()))
    }

    /// As [`Snapshots::begin`], unless somebody else makes one.
    fn try_begin(self: &Arc<Self>) -> Option<Turn> {
        (self.making.swap(1, Ordering::AcqRel) == 0).then(|| Turn(self.clone()))
    }

    /// No more edits: the table was dropped.
    pub(super) fn close(&self) {
        self.held.lock().ledger.close();
    }
}

/// The right to make a snapshot.
struct Turn(Arc<Snapshots>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.making.store(0, Ordering::Release);
        wake_all(&self.0.making);
    }
}

impl Inner {
    /// The snapshots of a table, to change them.
    ///
    /// Errors: Invalid when the store is open read-only; NotFound when the table was dropped; Corrupt for a damaged list.
    pub(super) fn snapshots_of(&self, entry: &TableEntry) -> Result<Arc<Snapshots>> {
        let mut known = self.snapshots()?.lock();
        // The entry may be from before a drop, which comes here after it has changed the catalog.
        let catalog = self.catalog_seen();
        if !catalog.tables.contains_key(&entry.spec.id) {
            return Err(dropped(&catalog, &entry.spec.name));
        }
        if let Some(known) = known.get(&entry.spec.id) {
            return Ok(known.clone());
        }
        let dir = table_dir(&self.dir, entry.spec.id);
        let ledger = Ledger::open(&*self.resources.driver, &self.resources.pool, &dir, FILE_NAME, DIRECTORIES_ABOVE);
        let ledger = ledger.map_err(|error| error.at("table", &entry.spec.name))?;
        let held = Mutex::new(Held { ledger, unsure: BTreeSet::new() });
        let opened = Arc::new(Snapshots { resources: self.resources.clone(), held, making: AtomicU32::new(0) });
        known.insert(entry.spec.id, opened.clone());
        Ok(opened)
    }

    /// The list of a table's snapshots as it is now.
    fn snapshot_list(&self, entry: &TableEntry) -> Result<List> {
        if self.is_writable() {
            return Ok(self.snapshots_of(entry)?.held.lock().ledger.state().clone());
        }
        let path = table_dir(&self.dir, entry.spec.id).join(FILE_NAME);
        let read = ledger::read::<List>(&*self.resources.driver, &self.resources.pool, &path);
        Ok(read.map_err(|error| error.at("table", &entry.spec.name))?.map(|folded| folded.state).unwrap_or_default())
    }

    /// A bucket was opened: what it keeps and the list lacks was left by a crash. That it cannot be released now is no reason not to use the bucket.
    pub(super) fn release_left(&self, entry: &TableEntry, bucket: &Bucket) {
        if bucket.keeps_any() {
            let _ = self.snapshots_of(entry).and_then(|snapshots| snapshots.release(bucket));
        }
    }

    /// Makes edits of a table's list durable, and says of which state.
    fn edit_snapshots<R>(&self, entry: &TableEntry, make: impl FnOnce(&List) -> Result<(Vec<Edit>, R)>) -> Result<R> {
        let snapshots = self.snapshots_of(entry)?;
        let mut held = snapshots.held.lock();
        let (edits, made) = make(held.ledger.state())?;
        if !edits.is_empty() {
            held.ledger.append(&*self.resources.driver, &self.resources.pool, edits)?;
        }
        Ok(made)
    }
}
