//! fjall with rows by their keys: a batch commits with `SyncData`; settled means that the memtable is flushed and one major compaction has run.

use aquifer_benches::keyed::row::{Sum, split};
use aquifer_benches::keyed::shape::{CHEAP, Shape};
use aquifer_benches::keyed::{Batch, Keyed, Load, Scanned, Wanted};
use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files that stand unmerged at most: with more it lets nobody write.
const UNMERGED_MAX: u64 = 20;

/// Files from which on it merges, where it should not.
const NEVER: u8 = u8::MAX;

/// A memtable takes some more memory than its rows have bytes.
const MEMTABLE_OF_COMMIT: u64 = 4;

struct Rows {
    shape: Shape,
    database: Database,
    rows: Keyspace,
    log: Keyspace,
    records: AtomicU64,
}

pub fn open(dir: &Path, load: &Load) -> io::Result<Box<dyn Keyed>> {
    if let Some(why) = refusal(load) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let mut builder = Database::builder(dir);
    if let Some(bytes) = load.cache_bytes {
        builder = builder.cache_size(bytes as u64);
    }
    let database = builder.open().map_err(io::Error::other)?;
    let settings = || match load.commit_rows {
        None => KeyspaceCreateOptions::default(),
        Some(rows) => KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE_OF_COMMIT * rows * load.shape.row_bytes_max() as u64)
            .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(NEVER))),
    };
    let rows = database.keyspace("rows", settings).map_err(io::Error::other)?;
    let log = database.keyspace("log", KeyspaceCreateOptions::default).map_err(io::Error::other)?;
    Ok(Box::new(Rows { shape: load.shape, database, rows, log, records: AtomicU64::new(0) }))
}

/// Why it does not take part.
fn refusal(load: &Load) -> Option<&'static str> {
    let is_many = load.commit_rows.is_some_and(|rows| load.rows.div_ceil(rows) > UNMERGED_MAX);
    let is_cold = load.cache_bytes.is_some_and(|bytes| load.rows * 100 > bytes as u64);
    match () {
        () if !load.durable => Some("only with durable batches"),
        () if is_many => Some("it stops writes at so many unmerged files"),
        () if is_cold => Some("it reads through the page cache only"),
        () => None,
    }
}

impl Keyed for Rows {
    fn upsert(&self, batch: &Batch) -> io::Result<()> {
        let mut changes = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in batch.rows().iter().map(split) {
            changes.insert(&self.rows, key, value);
        }
        changes.commit().map_err(io::Error::other)
    }

    fn append(&self, rows: &Batch) -> io::Result<()> {
        let mut records = self.database.batch().durability(Some(PersistMode::SyncData));
        for row in rows.rows().iter() {
            records.insert(&self.log, self.records.fetch_add(1, Ordering::Relaxed).to_be_bytes(), row);
        }
        records.commit().map_err(io::Error::other)
    }

    fn commit(&self) -> io::Result<()> {
        self.rows.rotate_memtable_and_wait().map_err(io::Error::other)
    }

    fn settle(&self) -> io::Result<()> {
        self.commit()?;
        self.rows.major_compact().map_err(io::Error::other)
    }

    fn scan(&self, wanted: Wanted) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        for entry in self.rows.iter() {
            let value = entry.value().map_err(io::Error::other)?;
            if wanted != Wanted::Cheap || self.shape.price_of(&value) < CHEAP {
                scanned.add(self.shape.second_of(&value));
            }
        }
        Ok(scanned)
    }

    fn lookup(&self, keys: &Batch) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        for key in keys.rows().iter() {
            if let Some(value) = self.rows.get(key).map_err(io::Error::other)? {
                scanned.add(self.shape.second_of(&value));
            }
        }
        Ok(scanned)
    }

    fn sum(&self) -> io::Result<Sum> {
        let (mut sum, mut row) = (Sum::default(), Vec::new());
        for entry in self.rows.iter() {
            let (key, value) = entry.into_inner().map_err(io::Error::other)?;
            row.clear();
            row.extend_from_slice(&key);
            row.extend_from_slice(&value);
            sum.add(&row);
        }
        Ok(sum)
    }
}
