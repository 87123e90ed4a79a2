//! Making a snapshot: buckets are opened, a cut goes through all of them, then one after the other brings its rows into runs and keeps them, then the list has it.
//!
//! Invariants: it gets into the list when all buckets keep their runs, or never; a number is never tried twice. What is left of one that came to nothing is released. This module
//! knows nothing of how a bucket keeps runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::catalog::TableEntry;
use super::super::table::Table;
use super::expire::next_place;
use super::list::{Edit, Record};
use super::{Snapshot, Turn, tags};
use crate::bucket::Bucket;
use crate::bucket::kept::{Keep, Kept, cut};
use crate::error::{Error, Kind, Result};
use crate::table::TableSpec;

/// How often a snapshot is begun again because the table was altered, or got another partition, while it was made.
const TRIES_MAX: u32 = 10;

/// How long background work leaves a bucket alone that somebody else flushes.
const BUSY_REST: Duration = Duration::from_millis(5);

/// Makes a snapshot of a table.
pub(super) fn make(table: &Table, tag: Option<&str>) -> Result<Snapshot> {
    if let Some(tag) = tag {
        tags::check(tag).map_err(|error| error.at("table", &table.name))?;
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let mut making = Making::begin(table, tag)?;
        match making.finish(table) {
            Err(error) if error.kind() == Kind::Conflict && tries < TRIES_MAX => {}
            made => return made.map_err(|error| error.at("table", &table.name)),
        }
    }
}

/// A snapshot that is being made.
pub(super) struct Making {
    spec: TableSpec,
    id: u64,
    time_ms: i64,
    tag: Option<String>,
    /// Partition, bucket, and how far it is; in order.
    buckets: Vec<((u32, u32), Arc<Bucket>, Keep)>,
    /// Those before keep their runs.
    at: usize,
    turn: Turn,
}

/// A snapshot whose buckets are opened, one after the other, to be cut together.
pub(super) struct Opening {
    tag: Option<String>,
    /// Partition and bucket, in order.
    places: Vec<((u32, u32), Arc<Bucket>)>,
    tries: u32,
    turn: Option<Turn>,
}

impl Opening {
    fn new(table: &Table, tag: Option<&str>, turn: Turn) -> Result<Self> {
        table.keyed_entry()?.spec.check_writable()?;
        Ok(Opening { tag: tag.map(str::to_string), places: Vec::new(), tries: 0, turn: Some(turn) })
    }

    /// As background work: `None` when somebody else makes one.
    pub(super) fn try_begin(table: &Table) -> Result<Option<Self>> {
        let Some(turn) = table.store.snapshots_of(&*table.keyed_entry()?)?.try_begin() else { return Ok(None) };
        Self::new(table, None, turn).map(Some).map_err(|error| error.at("table", &table.name))
    }

    /// Opens the next bucket, or cuts them when all are open: then the snapshot is begun.
    pub(super) fn step(&mut self, table: &Table) -> Result<Option<Making>> {
        let entry = table.keyed_entry()?;
        let stepped = match next_place(&entry, self.places.last().map(|(place, _)| *place)) {
            None => self.cut(table, &entry),
            Some((partition_id, bucket)) => match table.store.bucket(&entry, partition_id, bucket) {
                Ok(open) => {
                    self.places.push(((partition_id, bucket), open));
                    Ok(None)
                }
                // Its partition was dropped since: the next look at the table has it no more.
                Err(_) if !self.has_partition(table, partition_id)? => self.again().map(|()| None),
                Err(error) => Err(error),
            },
        };
        stepped.map_err(|error| error.at("table", &table.name))
    }

    fn has_partition(&self, table: &Table, partition_id: u32) -> Result<bool> {
        Ok(table.keyed_entry()?.partitions.contains_key(&partition_id))
    }

    fn again(&mut self) -> Result<()> {
        self.tries += 1;
        match self.tries < TRIES_MAX {
            true => Ok(()),
            false => Err(Error::conflict("partitions kept coming and going while a snapshot was made").hint("try again")),
        }
    }

    /// `None` when there are other partitions than the buckets that were cut are of.
    fn cut(&mut self, table: &Table, entry: &TableEntry) -> Result<Option<Making>> {
        let store = &table.store;
        self.places.retain(|((partition_id, _), _)| entry.partitions.contains_key(partition_id));
        let opened: Vec<Arc<Bucket>> = self.places.iter().map(|(_, bucket)| bucket.clone()).collect();
        let turn = self.turn.as_ref().expect("a snapshot is cut once");
        // Before the list is locked: who has it locked waits for no bucket.
        let kept = opened.iter().filter_map(|bucket| bucket.last_kept()).max().unwrap_or(0);
        let id = {
            let mut held = turn.0.held.lock();
            if let Some(tag) = &self.tag {
                tags::check_free(held.ledger.state(), tag)?;
            }
            let id = 1 + held.ledger.state().last_id.max(kept).max(held.unsure.last().copied().unwrap_or(0));
            held.unsure.insert(id);
            id
        };
        let time_ms = store.resources.driver.clock().wall_ms();
        let keeps = cut(&opened, id);
        let is_whole = table.keyed_entry().map(|now| now.partitions.keys().eq(entry.partitions.keys()));
        match keeps.and_then(|keeps| Ok((keeps, is_whole?))) {
            Ok((keeps, true)) => {
                let places = std::mem::take(&mut self.places);
                let buckets = places.into_iter().zip(keeps).map(|((place, bucket), keep)| (place, bucket, keep)).collect();
                let turn = self.turn.take().expect("a snapshot is cut once");
                Ok(Some(Making { spec: entry.spec.clone(), id, time_ms, tag: self.tag.take(), buckets, at: 0, turn }))
            }
            // A partition came meanwhile, and perhaps rows in it that are older than the cut.
            Ok(_) => {
                turn.0.held.lock().unsure.remove(&id);
                self.again().map(|()| None)
            }
            Err(error) => {
                turn.0.held.lock().unsure.remove(&id);
                Err(error)
            }
        }
    }
}

impl Making {
    fn begin(table: &Table, tag: Option<&str>) -> Result<Self> {
        let store = &table.store;
        let snapshots = store.snapshots_of(&*table.keyed_entry()?)?;
        let turn = snapshots.begin(store.resources.driver.is_single_threaded())?;
        let mut opening = Opening::new(table, tag, turn).map_err(|error| error.at("table", &table.name))?;
        loop {
            if let Some(making) = opening.step(table)? {
                return Ok(making);
            }
        }
    }

    /// Does all of it.
    fn finish(&mut self, table: &Table) -> Result<Snapshot> {
        while let Some((_, _, keep)) = self.buckets.get_mut(self.at) {
            match keep.finish() {
                Ok(()) => self.at += 1,
                Err(error) => return Err(self.give_up(error)),
            }
        }
        self.commit(table)
    }

    /// Does a bounded piece of it, and says how long to rest before the next; `None` when it is done.
    pub(super) fn step(&mut self, table: &Table) -> Result<Option<Duration>> {
        let Some((_, _, keep)) = self.buckets.get_mut(self.at) else { return self.commit(table).map(|_| None) };
        match keep.step() {
            Ok(Kept::Done) => self.at += 1,
            Ok(Kept::More) => {}
            Ok(Kept::Busy) => return Ok(Some(BUSY_REST)),
            Err(error) => return Err(self.give_up(error)),
        }
        Ok(Some(Duration::ZERO))
    }

    /// Nothing of it got into the list: what buckets keep is released.
    fn give_up(&mut self, error: Error) -> Error {
        // Nobody wants runs to be kept for it any more.
        let buckets: Vec<Arc<Bucket>> = std::mem::take(&mut self.buckets).into_iter().map(|(_, bucket, _)| bucket).collect();
        self.turn.0.held.lock().unsure.remove(&self.id);
        for bucket in &buckets {
            // What cannot be released now is when the bucket is opened again.
            let _ = self.turn.0.release(bucket);
        }
        error
    }

    fn record(&self) -> Record {
        let mut ends: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let (mut rows, mut runs, mut bytes) = (0, 0, 0);
        for ((partition_id, _), bucket, keep) in &self.buckets {
            ends.entry(*partition_id).or_default().push(keep.end_offset());
            for run in bucket.kept_runs(self.id) {
                rows += run.rows - run.deletes.min(run.rows);
                runs += 1;
                bytes += run.bytes();
            }
        }
        let (schema_version, merge) = (self.spec.schema().version(), self.spec.merge.clone());
        Record { id: self.id, time_ms: self.time_ms, schema_version, merge, rows, runs, bytes, ends }
    }

    fn commit(&mut self, table: &Table) -> Result<Snapshot> {
        let store = &table.store;
        // No partition goes meanwhile that the tag is to keep.
        let gate = self.tag.as_ref().map(|_| store.gate(table.id)).transpose()?;
        let _within = gate.as_ref().map(|gate| gate.enter());
        let entry = match table.keyed_entry() {
            Ok(entry) => entry,
            Err(error) => return Err(self.give_up(error)),
        };
        if entry.spec.schemas != self.spec.schemas || entry.spec.merge != self.spec.merge {
            return Err(self.give_up(Error::conflict("the table was altered while a snapshot of it was made").hint("try again")));
        }
        let mut record = self.record();
        // Those that went before make it be begun again.
        if let Some(Err(lost)) = self.tag.as_ref().map(|_| tags::check_whole(&entry, &record)) {
            return Err(self.give_up(lost));
        }
        let mut held = self.turn.0.held.lock();
        let list = held.ledger.state();
        if let Some(Err(taken)) = self.tag.as_deref().map(|tag| tags::check_free(list, tag)) {
            drop(held);
            return Err(self.give_up(taken));
        }
        // A clock that was set back does not mix up times and numbers.
        record.time_ms = record.time_ms.max(list.snapshots.last_key_value().map_or(i64::MIN, |(_, last)| last.time_ms));
        let tagged = self.tag.iter().map(|tag| Edit::Tagged { tag: tag.clone(), id: self.id });
        let edits = std::iter::once(Edit::Created(record.clone())).chain(tagged).collect();
        // If this fails it is not known what the next open finds, so the runs stay.
        held.ledger.append(&*store.resources.driver, &store.resources.pool, edits)?;
        // What is durable now stands where an earlier one failed.
        held.unsure.clear();
        let made = Snapshot::new(&entry, held.ledger.state(), &record);
        drop(held);
        for (_, bucket, _) in &self.buckets {
            let _ = self.turn.0.release(bucket);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, Sim};
    use crate::store::{CreateTable, Options, Store, Version};
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    #[test]
    fn a_tag_is_not_given_to_a_snapshot_that_lost_a_partition_while_it_was_made() {
        let store = Store::open_with(Sim::new(1, Faults::default()), "/store", Options::default()).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_from_iter([("key", keys)]).unwrap();
        let table = store.create_table("t", CreateTable::like(rows.schema()).primary_key(&["key"]).partition_by("key")).unwrap();
        table.writer().unwrap().upsert(&rows).unwrap();
        let partitions = table.describe().unwrap().partitions;
        let mut making = Making::begin(&table, Some("kept")).unwrap();
        while making.at < making.buckets.len() {
            making.step(&table).unwrap();
        }
        store.drop_partition("t", &partitions[1]).unwrap();
        let lost = making.finish(&table).unwrap_err();
        assert!(lost.kind() == Kind::Conflict && lost.to_string().contains("a partition was dropped"), "{lost}");
        assert!(table.snapshots().unwrap().is_empty());
        drop(making);
        // Begun again, it is whole, and keeps what it has.
        let made = make(&table, Some("kept")).unwrap();
        assert_eq!(made.tags, ["kept"]);
        assert_eq!(store.drop_partition("t", &partitions[0]).unwrap_err().kind(), Kind::Conflict);
        // One without a tag keeps nothing, and gets none once a partition of it is gone.
        table.delete_tag("kept").unwrap();
        store.drop_partition("t", &partitions[0]).unwrap();
        let late = table.create_tag("late", &Version::Snapshot(made.id)).unwrap_err();
        assert!(late.kind() == Kind::Conflict && late.to_string().contains("--create --tag"), "{late}");
        assert!(table.snapshots().unwrap()[0].tags.is_empty());
    }
}
