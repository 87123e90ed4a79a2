//! Another number of buckets for a table that has rows.
//!
//! A second table is filled beside the first, and one edit of the catalog puts it in its place. Invariants: nobody finds the second table before; until the
//! edit is durable the first is as it was, and what a crash leaves of the second goes with the next open; rows of one bucket keep their order wherever
//! they go to the same one; rows with a primary key, which were merged, are not merged again. This module knows nothing of where rows lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use serde::Serialize;

use super::catalog::{Edit, TableEntry};
use super::dropping::dropped;
use super::inspect::Progress;
use super::open::{Inner, no_such_table};
use super::scanner::ScanBatch;
use super::table::Table;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::table::rows::value_bytes;
use crate::table::{ChangeType, Changelog, TableName, TableSpec};

/// Small batches of a bucket are written together, up to so many rows.
const ROWS_TOGETHER: usize = 16 << 10;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RescaleReport {
    /// Rows that were put into the new buckets.
    pub rows: u64,
    /// Buckets of each partition before.
    pub buckets_before: u32,
    /// Buckets of each partition now.
    pub buckets: u32,
}

/// See [`super::Store::rescale_table`].
pub(super) fn rescale(store: &Arc<Inner>, name: &TableName, buckets: u32, progress: &mut dyn FnMut(Progress)) -> Result<RescaleReport> {
    let catalog = store.catalog()?;
    let old_id = catalog.find(name).ok_or_else(|| no_such_table(&catalog, name))?.spec.id;
    let gate = store.gate(old_id)?;
    let _closed = gate.close();
    let entry = store.entry(old_id, name)?;
    let spec = entry.spec.clone();
    spec.check_writable()?;
    // What is wrong as it stands is said before what stands in its way.
    TableSpec { buckets, ..spec.clone() }.check()?;
    let report = RescaleReport { rows: 0, buckets_before: spec.buckets, buckets };
    if spec.buckets == buckets {
        return Ok(report);
    }
    store.check_untagged(&entry, None)?;
    for bucket in store.open_buckets_of(old_id)? {
        bucket.quiesce()?;
    }
    let new_id = begin(store, &spec, buckets)?;
    let filled = fill(store, &spec, new_id, progress);
    let shown = filled.and_then(|rows| merge_as_before(store, &spec, new_id).and_then(|()| switch(store, &spec, new_id)).map(|()| rows));
    match shown {
        Ok(rows) => {
            // It is done; files of the old table that cannot be removed now are removed by the next open.
            let _ = store.end_table(old_id, name);
            Ok(RescaleReport { rows, ..report })
        }
        Err(error) => {
            // Why it came to nothing says more than what is left of it, which the next open removes.
            let _ = give_up(store, name, new_id);
            Err(error)
        }
    }
}

/// A table of other buckets that nobody finds. It takes rows as they are: they were merged, and a merge of one that is alone may make something else of it.
fn begin(store: &Inner, spec: &TableSpec, buckets: u32) -> Result<u32> {
    store.change(|catalog| {
        if let Some(other) = catalog.tables.values().find(|entry| entry.replaces == Some(spec.id)) {
            let twice = Error::conflict("the table is being rescaled").at("table", &spec.name).at("buckets", other.spec.buckets);
            return Err(twice.hint("wait until that is done"));
        }
        let new = TableSpec { id: catalog.next_table_id, buckets, merge: plain(spec), ..spec.clone() };
        new.check()?;
        let id = new.id;
        Ok((catalog.new_table(new, Some(spec.id))?, id))
    })
}

/// The options of a table that merges nothing, and whose log holds what that of `spec` does.
fn plain(spec: &TableSpec) -> BTreeMap<String, String> {
    spec.merge.iter().filter(|(name, _)| Changelog::has_option(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// From now on rows of the new table are merged as those of the old one are. Those that are there are in runs first, where they stay as they are.
fn merge_as_before(store: &Inner, spec: &TableSpec, new_id: u32) -> Result<()> {
    if plain(spec) == spec.merge {
        return Ok(());
    }
    let entry = store.entry(new_id, &spec.name)?;
    for &partition_id in entry.partitions.keys() {
        for bucket in 0..entry.spec.buckets {
            store.bucket(&entry, partition_id, bucket)?.settle_rows()?;
        }
    }
    let spec = TableSpec { merge: spec.merge.clone(), merge_changes: entry.spec.merge_changes + 1, ..entry.spec.clone() };
    store.change(|_| Ok((vec![Edit::TableAltered { spec: spec.clone() }], ())))?;
    store.apply_policy(&spec)
}

/// The one edit after which the new table is the table.
fn switch(store: &Inner, spec: &TableSpec, new_id: u32) -> Result<()> {
    store.change(|catalog| {
        let now = catalog.tables.get(&spec.id).ok_or_else(|| dropped(catalog, &spec.name))?;
        if now.spec != *spec {
            return Err(Error::conflict("the table was altered while it was rescaled").at("table", &spec.name).hint("do it again"));
        }
        Ok((vec![Edit::TableReplaced { table_id: spec.id, by: new_id }], ()))
    })
}

fn give_up(store: &Inner, name: &TableName, new_id: u32) -> Result<()> {
    store.change(|_| Ok((vec![Edit::TableDropped { table_id: new_id }], ())))?;
    store.end_table(new_id, name)
}

fn fill(store: &Arc<Inner>, spec: &TableSpec, new_id: u32, progress: &mut dyn FnMut(Progress)) -> Result<u64> {
    let table = |id| Table::new(store.clone(), id, spec.name.clone());
    let mut filling = Filling {
        writer: table(new_id).writer()?,
        is_keyed: !spec.primary_key.is_empty(),
        together: Vec::new(),
        from: None,
        done: Progress::default(),
    };
    for found in table(spec.id).scan().build()? {
        filling.take(found?)?;
        progress(filling.done);
    }
    filling.write()?;
    filling.writer.flush()?;
    sync(store, &*store.entry(new_id, &spec.name)?)?;
    progress(filling.done);
    Ok(filling.done.rows)
}

/// Makes the new rows durable where acknowledging them did not: the old ones, which may be, go.
fn sync(store: &Inner, entry: &TableEntry) -> Result<()> {
    if store.resources.durable {
        return Ok(());
    }
    for &partition_id in entry.partitions.keys() {
        for bucket in 0..entry.spec.buckets {
            let open = store.bucket(entry, partition_id, bucket)?;
            open.sync_log(open.view().end())?;
        }
    }
    Ok(())
}

/// Rows on their way from the old buckets to the new ones.
struct Filling {
    writer: Writer,
    is_keyed: bool,
    /// Of one bucket, one behind the other.
    together: Vec<RecordBatch>,
    /// The partition and bucket that these are of.
    from: Option<(Arc<str>, u32)>,
    done: Progress,
}

impl Filling {
    fn take(&mut self, found: ScanBatch) -> Result<()> {
        let from = Some((found.partition, found.bucket));
        let rows: usize = self.together.iter().map(RecordBatch::num_rows).sum();
        if self.from != from || rows + found.batch.num_rows() > ROWS_TOGETHER {
            self.write()?;
        }
        self.from = from;
        self.together.push(found.batch);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(first) = self.together.first() else { return Ok(()) };
        let rows = match self.together.len() {
            1 => first.clone(),
            _ => concat_batches(&first.schema(), &self.together)
                .map_err(|error| Error::internal("batches of one table do not join").caused_by(error))?,
        };
        self.together.clear();
        match self.is_keyed {
            // The new log tells of each row once.
            true => self.writer.send_changes(&rows, &vec![ChangeType::Insert; rows.num_rows()])?,
            false => self.writer.send(&rows)?,
        }
        // Answers are of no use, and would gather.
        self.writer.acks()?;
        self.done.rows += rows.num_rows() as u64;
        self.done.bytes += value_bytes(&rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
