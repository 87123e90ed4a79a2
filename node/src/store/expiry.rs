//! Partitions of which retention keeps nothing: they are dropped whole, so that a table partitioned by time does not gather empty ones.
//!
//! The rule: of a log table with the option `retention.ms`, a partition goes once the newest row of each of its buckets is older than that. Invariants: nothing
//! is dropped that cannot be read to its end; nobody writes to the table between the look and the drop. A table with a primary key keeps its partitions:
//! their rows are in runs, however old their changes are.

use super::catalog::TableEntry;
use super::inspect::ExpireReport;
use super::open::{Inner, segment_policy};
use crate::error::Result;

/// The newest row of a partition, and what goes with it.
struct Contents {
    newest_ms: i64,
    rows: u64,
}

impl Inner {
    /// Drops the partitions of a table that are over; writers wait meanwhile.
    pub(super) fn expire_partitions(&self, entry: &TableEntry, now_ms: i64) -> Result<ExpireReport> {
        let mut report = ExpireReport::default();
        let Some(keep_ms) = keeps_partitions_for(entry) else { return Ok(report) };
        let gate = self.gate(entry.spec.id)?;
        let _closed = gate.close();
        for (&partition_id, partition) in &self.entry(entry.spec.id, &entry.spec.name)?.partitions {
            if let Some(contents) = self.contents(entry, partition_id)?
                && is_over(contents.newest_ms, keep_ms, now_ms)
            {
                self.end_partition(entry.spec.id, &entry.spec.name, &partition.name)?;
                report.partitions += 1;
                report.rows += contents.rows;
            }
        }
        Ok(report)
    }

    /// Drops one partition if it is over and nobody writes to the table just now. For background work: it waits for nobody.
    pub(super) fn expire_partition(&self, entry: &TableEntry, partition_id: u32, now_ms: i64) -> Result<()> {
        let (Some(keep_ms), Some(partition)) = (keeps_partitions_for(entry), entry.partitions.get(&partition_id)) else { return Ok(()) };
        let key = (entry.spec.id, partition_id);
        // Rows only become newer: while the newest one known is kept, there is no need to look.
        if self.newest_seen(key)?.is_some_and(|newest_ms| !is_over(newest_ms, keep_ms, now_ms)) {
            return Ok(());
        }
        let gate = self.gate(entry.spec.id)?;
        let Some(_closed) = gate.try_close() else { return Ok(()) };
        let Some(contents) = self.contents(entry, partition_id)? else { return Ok(()) };
        if is_over(contents.newest_ms, keep_ms, now_ms) {
            return self.end_partition(entry.spec.id, &entry.spec.name, &partition.name);
        }
        self.see_newest(key, contents.newest_ms)
    }

    /// `None` when some of it is damaged.
    fn contents(&self, entry: &TableEntry, partition_id: u32) -> Result<Option<Contents>> {
        let mut contents = Contents { newest_ms: i64::MIN, rows: 0 };
        for number in 0..entry.spec.buckets {
            let key = (entry.spec.id, partition_id, number);
            let was_open = self.is_open(key)?;
            let bucket = self.bucket(entry, partition_id, number)?;
            let view = bucket.view();
            let is_whole = view.damage().is_none();
            contents.rows += view.end() - view.start();
            contents.newest_ms = contents.newest_ms.max(bucket.log.with_writer(|writer| writer.last_timestamp_ms()));
            if !was_open {
                self.let_go(key, bucket)?;
            }
            if !is_whole {
                return Ok(None);
            }
        }
        Ok(Some(contents))
    }
}

/// How long partitions of a table are kept behind their newest row; `None` keeps them.
fn keeps_partitions_for(entry: &TableEntry) -> Option<u64> {
    let policy = segment_policy(&entry.spec);
    policy.retention_ms.filter(|_| !policy.has_tree && !entry.spec.partition_by.is_empty())
}

fn is_over(newest_ms: i64, keep_ms: u64, now_ms: i64) -> bool {
    newest_ms.saturating_add_unsigned(keep_ms) < now_ms
}
