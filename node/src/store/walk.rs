//! Retention of buckets that nobody has open, and of whole partitions: a slow walk over all tables that drop rows, again and again.
//!
//! Invariant: one bucket, or one partition behind its last bucket, a step; opened only if something of it goes, and closed again. This module knows nothing of
//! how rows are dropped.

use std::sync::Arc;

use super::catalog::{Catalog, TableEntry};
use super::dropping::check_there;
use super::open::{Inner, Key, segment_policy};
use crate::bucket::{Bucket, retention};
use crate::error::Result;

impl Inner {
    /// Drops what retention no longer keeps of the next bucket; `false` at the end of a round.
    pub(super) fn walk(&self) -> Result<bool> {
        let catalog = self.catalog_seen();
        let Some((key, entry)) = self.walk_on(|last| next(&catalog, last))? else { return Ok(false) };
        let expired = self.expire_closed(entry, key).and_then(|()| match key.2 + 1 == entry.spec.buckets {
            true => self.expire_partition(entry, key.1, self.resources.driver.clock().wall_ms()),
            false => Ok(()),
        });
        match expired {
            // It was dropped meanwhile.
            Err(_) if check_there(&self.catalog_seen(), entry, key.1).is_err() => Ok(true),
            expired => expired.map(|()| true),
        }
    }

    fn expire_closed(&self, entry: &TableEntry, key: Key) -> Result<()> {
        if self.is_open(key)? {
            return Ok(());
        }
        let (_, partition_id, number) = key;
        let now_ms = self.resources.driver.clock().wall_ms();
        let dir = self.address(entry, partition_id, number)?.dir;
        if !retention::has_expired(&self.resources, &dir, &segment_policy(&entry.spec), now_ms)? {
            return Ok(());
        }
        let bucket: Arc<Bucket> = self.bucket(entry, partition_id, number)?;
        let dropped = bucket.retain(now_ms).and_then(|_| bucket.recycle());
        self.let_go(key, bucket)?;
        dropped.map(drop)
    }
}

/// The bucket behind the last one among those of tables with retention.
fn next(catalog: &Catalog, last: Option<Key>) -> Option<(Key, &TableEntry)> {
    let first = last.map_or((0, 0, 0), |(table_id, partition_id, bucket)| (table_id, partition_id, bucket + 1));
    for (&table_id, entry) in catalog.tables.range(first.0..) {
        if !segment_policy(&entry.spec).has_retention() {
            continue;
        }
        let partitions = if table_id == first.0 { first.1 } else { 0 };
        for &partition_id in entry.partitions.range(partitions..).map(|(id, _)| id) {
            let bucket = if (table_id, partition_id) == (first.0, first.1) { first.2 } else { 0 };
            if bucket < entry.spec.buckets {
                return Some(((table_id, partition_id, bucket), entry));
            }
        }
    }
    None
}
