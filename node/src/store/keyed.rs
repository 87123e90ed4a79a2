//! Tables with a primary key as readers see them: what is pinned of each bucket, and their rows merged.
//!
//! Invariants: a scan shows each bucket as it was when the scan began, each key once, in key order within a bucket; a run that another process replaced
//! meanwhile is noticed. This module knows nothing of files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use super::catalog::TableEntry;
use super::open::keyed;
use super::part::Part;
use super::scanner::ScanBatch;
use super::snapshots::{Version, steadily_at};
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
    let Place { partition_id, bucket } = place;
    let store = &table.store;
    let keyless = || Error::internal("a bucket of a table with a primary key has no tree");
    let pinned = match store.is_writable() {
        true => {
            let open = store.bucket(entry, partition_id, bucket)?;
            open.tree().ok_or_else(keyless)?.pin(open.view())
        }
        false => {
            let follower = store.follower(entry, partition_id, bucket)?;
            let writer = store.writer_state()?;
            follower.refresh(writer)?;
            if let Some(keyed) = keyed(&entry.spec)? {
                follower.alter(&keyed);
            }
            follower.tree(writer, is_lost)?.ok_or_else(keyless)?.pin(follower.view())
        }
    };
    match pinned {
        Ok(pinned) if pinned.schema().version() != entry.spec.schema().version() => {
            Err(Error::not_found("the table is being altered").at("table", &table.name).hint("try again"))
        }
        pinned => pinned.map_err(|error| error.at("table", &table.name).at("bucket", bucket)),
    }
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
    bucket: u32,
    pinned: Pinned,
    rows: Option<Sorted>,
}

/// Which rows of a table are read.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// As they are.
    Now,
    /// As they were at a snapshot, in the columns of then.
    AsItWas(&'a Version),
    /// As they were at a snapshot, in the columns that the table has now, and merged as it does now.
    InColumnsOfNow(&'a Version),
}

/// A merged scan under way.
pub(super) struct MergedScan {
    lanes: Vec<Lane>,
    at: usize,
    /// Of the columns that come out, their places in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
    filter: Option<Bound>,
    spec: TableSpec,
}

impl MergedScan {
    /// Pins the buckets of a table that may hold a wanted row: as they are now, or as they were.
    pub(super) fn new(table: &Table, columns: Option<&[String]>, filter: Option<&str>, part: &Part, source: Source<'_>) -> Result<Self> {
        let (version, is_now) = match source {
            Source::Now => (None, true),
            Source::AsItWas(version) => (Some(version), false),
            Source::InColumnsOfNow(version) => (Some(version), true),
        };
        match version {
            None => steadily(table, |entry, is_again| {
                let pin = |place| pin(table, entry, place, is_again).map(Some);
                MergedScan::begin(entry, &entry.spec, columns, filter, part, pin)
            }),
            Some(version) => steadily_at(table, version, is_now, |entry, at| {
                MergedScan::begin(entry, &at.spec, columns, filter, part, |place| at.pin(table, entry, place))
            }),
        }
    }

    /// `spec` says what is read; `pin` has nothing of a bucket that was not there.
    fn begin(
        entry: &TableEntry,
        spec: &TableSpec,
        columns: Option<&[String]>,
        filter: Option<&str>,
        part: &Part,
        pin: impl Fn(Place) -> Result<Option<Pinned>>,
    ) -> Result<Self> {
        let (schema, columns) = shown(spec, columns)?;
        let filter = filter.map(|text| text.parse::<Filter>().and_then(|filter| filter.bind(spec.schema()))).transpose()?;
        let partitioner = Partitioner::new(spec.schema(), &spec.partition_by)?;
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
                let Some(pinned) = pin(Place { partition_id, bucket })? else { continue };
                lanes.push(Lane { partition: name.clone(), bucket, pinned, rows: None });
            }
        }
        Ok(MergedScan { lanes, at: 0, columns, schema, filter, spec: spec.clone() })
    }

    /// The table as it is read.
    pub(super) fn spec(&self) -> &TableSpec {
        &self.spec
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
            let Some(tile) = rows.next_tile().map_err(|error| error.at("bucket", lane.bucket))? else {
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
