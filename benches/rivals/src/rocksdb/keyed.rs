//! RocksDB with rows by their keys: a batch is one `WriteBatch` with `sync`; settled means flushed and compacted by `CompactRange` over all keys.

use super::library::{Database, Family, Settings};
use aquifer_benches::keyed::row::{Sum, split};
use aquifer_benches::keyed::shape::{CHEAP, Shape};
use aquifer_benches::keyed::{Batch, Keyed, Load, Scanned, Wanted};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often is looked whether compactions have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A memtable takes some more memory than its rows have bytes.
const MEMTABLE_OF_COMMIT: usize = 2;

struct Rows {
    shape: Shape,
    /// Records beside the rows, once there are some, and how many; dropped before the database.
    log: Mutex<Option<(Family, u64)>>,
    database: Database,
}

pub fn open(dir: &Path, load: &Load) -> io::Result<Box<dyn Keyed>> {
    if !load.durable {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "only with durable batches"));
    }
    let mut settings = Settings { cache_bytes: load.cache_bytes, ..Settings::default() };
    if let Some(rows) = load.commit_rows {
        settings.merges = false;
        settings.memtable_bytes = settings.memtable_bytes.max(MEMTABLE_OF_COMMIT * rows as usize * load.shape.row_bytes_max());
    }
    Ok(Box::new(Rows { shape: load.shape, log: Mutex::new(None), database: Database::open(dir, settings)? }))
}

impl Keyed for Rows {
    fn upsert(&self, batch: &Batch) -> io::Result<()> {
        self.database.write(batch.rows().iter().map(split))
    }

    fn append(&self, rows: &Batch) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (family, next) = match &mut *log {
            Some(log) => log,
            none => none.insert((self.database.family(c"log")?, 0)),
        };
        let keys = *next..;
        *next += rows.count() as u64;
        self.database.write_to(family, keys.map(u64::to_be_bytes).zip(rows.rows().iter()))
    }

    fn commit(&self) -> io::Result<()> {
        self.database.flush()
    }

    fn settle(&self) -> io::Result<()> {
        self.commit()?;
        self.database.compact();
        while self.database.figure(c"rocksdb.num-running-compactions")? + self.database.figure(c"rocksdb.compaction-pending")? > 0 {
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn scan(&self, wanted: Wanted) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        self.database.each(|_, value| {
            if wanted != Wanted::Cheap || self.shape.price_of(value) < CHEAP {
                scanned.add(self.shape.second_of(value));
            }
        })?;
        Ok(scanned)
    }

    fn lookup(&self, keys: &Batch) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        let keys = keys.rows();
        let mut found = |value: &[u8]| scanned.add(self.shape.second_of(value));
        match keys.count() {
            1 => keys.iter().try_for_each(|key| self.database.get(key, &mut found))?,
            _ => self.database.get_all(keys.iter(), found)?,
        }
        Ok(scanned)
    }

    fn sum(&self) -> io::Result<Sum> {
        let (mut sum, mut row) = (Sum::default(), Vec::new());
        self.database.each(|key, value| {
            row.clear();
            row.extend_from_slice(key);
            row.extend_from_slice(value);
            sum.add(&row);
        })?;
        Ok(sum)
    }
}
