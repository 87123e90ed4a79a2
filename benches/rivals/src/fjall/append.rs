//! fjall as a log: each record is a batch that commits with `SyncData`, keys count up.

use aquifer_benches::case::{Case, Load};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

struct Fjall {
    database: Database,
    records: Keyspace,
    next: AtomicU64,
}

pub fn open(dir: &Path, _: Load) -> io::Result<Box<dyn Case>> {
    let database = Database::builder(dir).open().map_err(io::Error::other)?;
    let records = database.keyspace("records", KeyspaceCreateOptions::default).map_err(io::Error::other)?;
    Ok(Box::new(Fjall { database, records, next: AtomicU64::new(0) }))
}

impl Case for Fjall {
    fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.records, key, record);
        batch.commit().map_err(io::Error::other)
    }

    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let value = |entry: fjall::Guard| entry.value().map(|value| value.to_vec()).map_err(io::Error::other);
        self.records.iter().map(value).collect::<io::Result<Vec<_>>>().map(Some)
    }
}
