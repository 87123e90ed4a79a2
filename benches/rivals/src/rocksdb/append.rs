//! RocksDB as a log: `Put` with `sync`, keys count up.

use super::library::{Database, Settings};
use aquifer_benches::case::{Case, Load};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

struct Records {
    database: Database,
    next: AtomicU64,
}

pub fn open(dir: &Path, _: Load) -> io::Result<Box<dyn Case>> {
    Ok(Box::new(Records { database: Database::open(dir, Settings { pipelined: true, ..Settings::default() })?, next: AtomicU64::new(0) }))
}

impl Case for Records {
    fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
        self.database.put(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes(), record)
    }

    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut stored = Vec::new();
        self.database.each(|_, value| stored.push(value.to_vec()))?;
        Ok(Some(stored))
    }
}
