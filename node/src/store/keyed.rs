//! Tables with a primary key as readers see them: what is pinned of each bucket, and their rows merged.
//!
//! Invariants: a scan shows each bucket as it was when the scan began, each key once, in key order within a bucket; a run that another process replaced
//! meanwhile is noticed. This module knows nothing of files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use super::catalog::TableEntry;
use super::dropping::why_gone;
use super::open::{Inner, keyed};
use super::part::Part;
use super::scanner::ScanBatch;
use super::table::Table;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Kind, Result};
use crate::lsm::sorted::Sorted;
use crate::table::TableSpec;
use crate::table::filter::{Bound, Filter};
use crate::table::partition::Partitioner;

/// How often is looked again because a table was altered, or the runs that a manifest named were replaced meanwhile.
const TRIES_MAX: u32 = 100;

/// A bucket of a table.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) partition_id: u32,
    pub(super) bucket: u32,
}

/// What a reader sees of a bucket now; made anew from its manifest with `is_lost`.
///
/// Errors: NotFound when the table was altered since `entry`, or the runs of the manifest were replaced: it is worth while to look again.
pub(super) fn pin(table: &Table, entry: &TableEntry, place: Place, is_lost: bool) -> Result<Pinned> {
    let store = &table.store;
    let known = entry.spec.generation();
    let pinned = match store.is_writable() {
        true => {
            let open = store.bucket(entry, place.partition_id, place.bucket)?;
            open.tree().ok_or_else(keyless)?.pin(open.view())
        }
        false => {
            let pinned = pin_followed(store, entry, place, is_lost);
            // Rows that came behind a change may be among these, or be why there are none.
            if store.entry(table.id, &table.name)?.spec.generation() != known {
                return Err(being_altered(table));
            }
            pinned
        }
    };
    match pinned {
        Ok(pinned) if pinned.generation() != known => Err(being_altered(table)),
        pinned => pinned.map_err(|error| error.at("table", &table.name).at("bucket", place.bucket)),
    }
}

fn pin_followed(store: &Inner, entry: &TableEntry, place: Place, is_lost: bool) -> Result<Pinned> {
    let follower = store.follower(entry, place.partition_id, place.bucket)?;
    let writer = store.writer_state()?;
    follower.refresh(writer)?;
    if let Some(keyed) = keyed(&entry.spec)? {
        follower.alter(&keyed);
    }
    follower.tree(writer, is_lost)?.ok_or_else(keyless)?.pin(follower.view())
}

fn keyless() -> Error {
    Error::internal("a bucket of a table with a primary key has no tree")
}

fn being_altered(table: &Table) -> Error {
    Error::not_found("the table is being altered").at("table", &table.name).hint("try again")
}

/// Reads, and again when the table was altered or runs were replaced by the store's writer meanwhile. `read` gets the table as it is, and whether it is called
/// again.
pub(super) fn steadily<R>(table: &Table, mut read: impl FnMut(&TableEntry, bool) -> Result<R>) -> Result<R> {
    let mut tries = 0;
    loop {
        tries += 1;
        // Not one that was dropped: that is no reason to try again.
        let entry = table.store.entry(table.id, &table.name)?;
        match read(&entry, tries > 1) {
            Err(error) if error.kind() == Kind::NotFound && tries < TRIES_MAX => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// One bucket of a merged scan.
struct Lane {
    partition: Arc<str>,
    partition_id: u32,
    bucket: u32,
    pinned: Pinned,
    rows: Option<Sorted>,
}

/// A merged scan under way.
pub(super) struct MergedScan {
    table: Table,
    lanes: Vec<Lane>,
    at: usize,
    /// Of the columns that come out, their places in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
    filter: Option<Bound>,
}

impl MergedScan {
    /// Pins the buckets of a table that may hold a wanted row.
    pub(super) fn new(table: &Table, columns: Option<&[String]>, filter: Option<&str>, part: &Part) -> Result<Self> {
        steadily(table, |entry, is_again| MergedScan::begin(table, entry, columns, filter, part, is_again))
    }

    fn begin(
        table: &Table,
        entry: &TableEntry,
        columns: Option<&[String]>,
        filter: Option<&str>,
        part: &Part,
        is_again: bool,
    ) -> Result<Self> {
        let (schema, columns) = shown(&entry.spec, columns)?;
        let filter = filter.map(|text| text.parse::<Filter>().and_then(|filter| filter.bind(entry.spec.schema()))).transpose()?;
        let partitioner = Partitioner::new(entry.spec.schema(), &entry.spec.partition_by)?;
        let mut lanes = Vec::new();
        for (&partition_id, partition) in &entry.partitions {
            let may_hold = match &filter {
                Some(filter) if !partition.name.is_empty() => {
                    let key = partitioner.parse(&partition.name)?;
                    filter.may_match(&|column| partitioner.statistics(&key, column))
                }
                _ => true,
            };
            if !may_hold || !part.has_partition(&partition.name) {
                continue;
            }
            let name: Arc<str> = Arc::from(partition.name.as_str());
            for bucket in (0..entry.spec.buckets).filter(|bucket| part.has_bucket(*bucket)) {
                let pinned = pin(table, entry, Place { partition_id, bucket }, is_again)?;
                lanes.push(Lane { partition: name.clone(), partition_id, bucket, pinned, rows: None });
            }
        }
        Ok(MergedScan { table: table.clone(), lanes, at: 0, columns, schema, filter })
    }

    /// The columns that come out.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Up to where in its log each bucket is seen: a tail of changes that begins there continues this scan.
    pub(super) fn ends(&self) -> impl Iterator<Item = ((Arc<str>, u32), u64)> {
        self.lanes.iter().map(|lane| ((lane.partition.clone(), lane.bucket), lane.pinned.end()))
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<ScanBatch>> {
        while let Some(lane) = self.lanes.get_mut(self.at) {
            let rows = lane.rows.get_or_insert_with(|| lane.pinned.rows());
            let explain = |error: Error| match why_gone(&self.table, lane.partition_id, &lane.partition) {
                Some(gone) => gone.caused_by(error),
                None => error.at("bucket", lane.bucket),
            };
            let Some(tile) = rows.next_tile().map_err(explain)? else {
                lane.rows = None;
                self.at += 1;
                continue;
            };
            let batch = self.show(&tile.batch)?;
            if batch.num_rows() > 0 {
                let lane = &self.lanes[self.at];
                let end = lane.pinned.end();
                let (partition, bucket) = (lane.partition.clone(), lane.bucket);
                return Ok(Some(ScanBatch { partition, bucket, first_offset: end, next_offset: end, timestamp_ms: 0, batch }));
            }
        }
        Ok(None)
    }

    fn show(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let passed = self.filter.as_ref().map(|filter| filter.evaluate(rows)).transpose()?;
        let failed = |error| Error::internal("cannot choose rows and columns").caused_by(error);
        let shown = rows.project(&self.columns).map_err(failed)?;
        match passed {
            None => Ok(shown),
            Some(passed) => filter_record_batch(&shown, &passed).map_err(failed),
        }
    }
}

/// The columns that are asked for, and their places in the table.
fn shown(spec: &TableSpec, columns: Option<&[String]>) -> Result<(SchemaRef, Vec<usize>)> {
    let schema = spec.schema();
    let Some(names) = columns else { return Ok((schema.arrow().clone(), (0..schema.fields().len()).collect())) };
    let places = names.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>>>()?;
    let fields: Vec<_> = places.iter().map(|place| schema.arrow().fields()[*place].clone()).collect();
    Ok((Arc::new(Schema::new(fields)), places))
}

#[cfg(test)]
mod tests;
