//! Tables with a primary key as readers see them: what is pinned of each bucket, and their rows merged.
//!
//! Invariants: a scan shows each bucket as it was when the scan began, each key once, in key order within a bucket; a run that another process replaced
//! meanwhile is noticed. This module knows nothing of files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use super::alive::{Alive, chosen};
use super::catalog::TableEntry;
use super::dropping::why_gone;
use super::open::{Inner, keyed};
use super::part::Part;
use super::scanner::ScanBatch;
use super::snapshots::{At, Version, steadily_at};
use super::split::{self, Held, Piece, PieceRows, Seen, Split, Whole};
use super::table::Table;
use crate::bucket::Bucket;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Kind, Result};
use crate::lsm::sorted::Sorted;
use crate::table::TableSpec;
use crate::table::filter::{Bound, Filter};
use crate::table::key_range::{KeyRange, KeyRanges};
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
            let tree = open.tree().ok_or_else(keyless)?;
            match tree.pin(open.view()) {
                // Whoever alters the table has not come to this bucket yet: waiting for that would be no shorter than doing it.
                Ok(pinned) if pinned.generation() < known => pin_altered(entry, &open),
                pinned => pinned,
            }
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

fn pin_altered(entry: &TableEntry, open: &Arc<Bucket>) -> Result<Pinned> {
    let keyed = keyed(&entry.spec)?.ok_or_else(keyless)?;
    open.keep_up(&keyed)?;
    open.tree().ok_or_else(keyless)?.pin(open.view())
}

/// As [`pin`], or Conflict when the bucket has other runs than these.
fn pin_with_runs(table: &Table, entry: &TableEntry, place: Place, is_lost: bool, runs: Option<&[u64]>) -> Result<Result<Pinned>> {
    let has_them = |pinned: &Pinned| runs.is_none_or(|runs| pinned.has_runs(runs));
    let mut pinned = pin(table, entry, place, is_lost)?;
    if !has_them(&pinned) {
        // Who follows may not have heard of the newest.
        pinned = pin(table, entry, place, true)?;
    }
    Ok(match has_them(&pinned) {
        true => Ok(pinned),
        false => Err(Error::conflict("rows may have been dropped since, which had not expired then")),
    })
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
    pinned: Arc<Pinned>,
    /// The keys that are read of it.
    ranges: KeyRanges,
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

impl Lane {
    /// The bucket of a piece of a split, as it was when the split was made: as this process holds it, or else as `pin` still finds it.
    fn of_piece(
        entry: &TableEntry,
        (piece, held): (&Piece, Option<&Held>),
        ranges: &KeyRanges,
        pin: &impl Fn(&Piece) -> Result<Pinned>,
    ) -> Result<Self> {
        let PieceRows::Keys { range, .. } = &piece.rows else { unreachable!("the split was checked") };
        piece.check_partition(entry)?;
        let pinned = match held {
            Some(held) => held.0.clone(),
            None => Arc::new(pin(piece)?),
        };
        let ranges = ranges.intersect(&KeyRanges::of(vec![range.clone()]));
        let Piece { partition_id, bucket, .. } = *piece;
        Ok(Lane { partition: Arc::from(piece.partition.as_str()), partition_id, bucket, pinned, ranges, rows: None })
    }
}

/// What a piece of a split of rows as they are is of, as long as that is there.
fn pin_piece(table: &Table, entry: &TableEntry, piece: &Piece, is_again: bool) -> Result<Pinned> {
    let PieceRows::Keys { before, runs, .. } = &piece.rows else { unreachable!("the split was checked") };
    let place = Place { partition_id: piece.partition_id, bucket: piece.bucket };
    let pinned = pin_with_runs(table, entry, place, is_again, runs.as_deref())?.and_then(|pinned| pinned.before(*before));
    let again = "make the splits again, and read them before the next flush, or make them of a snapshot";
    let explain = |error: Error| if error.kind() == Kind::Conflict { error.hint(again) } else { error };
    pinned.map_err(|error| explain(error).at("table", &table.name).at("bucket", piece.bucket))
}

/// What a piece of a split of a snapshot is of.
fn pin_piece_at(table: &Table, entry: &TableEntry, piece: &Piece, at: &At) -> Result<Pinned> {
    let PieceRows::Keys { before, .. } = &piece.rows else { unreachable!("the split was checked") };
    let pinned = at.pin(table, entry, Place { partition_id: piece.partition_id, bucket: piece.bucket })?;
    pinned.filter(|pinned| pinned.end() == *before).ok_or_else(|| {
        let other = Error::invalid(format!("snapshot {} does not end where a split of it does", at.id())).at("offset", before);
        other.at("table", &table.name).at("bucket", piece.bucket).hint("make the splits again")
    })
}

/// What a merged scan shows.
pub(super) struct Wanted<'a> {
    /// All columns without.
    pub(super) columns: Option<&'a [String]>,
    /// All rows without.
    pub(super) filter: Option<&'a str>,
    /// The buckets.
    pub(super) part: &'a Part,
    /// Not the buckets, but what this says.
    pub(super) split: Option<&'a Split>,
    /// Rows at most.
    pub(super) limit: Option<u64>,
    /// As they are, or as they were.
    pub(super) source: Source<'a>,
}

/// A merged scan under way.
pub(super) struct MergedScan {
    table: Table,
    /// The snapshot that is read.
    snapshot: Option<u64>,
    lanes: Vec<Lane>,
    at: usize,
    /// The columns that come out or that the filter tests, by their places in the table.
    read: Vec<usize>,
    schema: SchemaRef,
    filter: Option<Bound>,
    spec: TableSpec,
    alive: Option<Alive>,
    limit: Option<u64>,
}

impl MergedScan {
    /// Pins the buckets of a table that may hold a wanted row: as they are now, or as they were.
    pub(super) fn new(table: &Table, wanted: &Wanted<'_>) -> Result<Self> {
        let (version, is_now) = match wanted.source {
            Source::Now => (None, true),
            Source::AsItWas(version) => (Some(version), false),
            Source::InColumnsOfNow(version) => (Some(version), true),
        };
        if let Some((split, spec)) = wanted.split.and_then(|split| Some((split, split.was.as_deref()?))) {
            // This process holds all of it, whatever became of the snapshot.
            let entry = table.store.entry(table.id, &table.name)?;
            let seen = Seen { spec, now_ms: split.text.now_ms, snapshot: split.text.snapshot };
            return MergedScan::begin(
                table,
                (&entry, seen),
                wanted,
                |_| Ok(None),
                |_| Err(Error::internal("a piece of a split is not held")),
            );
        }
        match version {
            None => steadily(table, |entry, is_again| {
                let seen = Seen { spec: &entry.spec, now_ms: wanted.split.and_then(|split| split.text.now_ms), snapshot: None };
                let pin = |place| pin(table, entry, place, is_again).map(Some);
                MergedScan::begin(table, (entry, seen), wanted, pin, |piece| pin_piece(table, entry, piece, is_again))
            }),
            Some(version) => steadily_at(table, version, is_now, |entry, at| {
                wanted.split.map_or(Ok(()), |split| split.check_unaltered(&at.spec))?;
                let seen = Seen { spec: &at.spec, now_ms: Some(at.time_ms()), snapshot: Some(at.id()) };
                let pin = |place| at.pin(table, entry, place);
                MergedScan::begin(table, (entry, seen), wanted, pin, |piece| pin_piece_at(table, entry, piece, at))
            }),
        }
    }

    /// `pin` has nothing of a bucket that was not there.
    fn begin(
        table: &Table,
        (entry, Seen { spec, now_ms, snapshot }): (&TableEntry, Seen<'_>),
        wanted: &Wanted<'_>,
        pin: impl Fn(Place) -> Result<Option<Pinned>>,
        pin_piece: impl Fn(&Piece) -> Result<Pinned>,
    ) -> Result<Self> {
        let (schema, mut read) = shown(spec, wanted.columns)?;
        let filter = wanted.filter.map(|text| text.parse::<Filter>().and_then(|filter| filter.bind(spec.schema()))).transpose()?;
        let alive = Alive::of(table, spec, now_ms)?;
        read.extend(alive.iter().filter_map(|alive| spec.schema().index_of_id(alive.column())));
        let tested = filter.iter().flat_map(Bound::columns);
        read.extend(tested.filter_map(|column| spec.schema().index_of_id(column.id)));
        let ranges = filter.as_ref().map_or(Ok(KeyRanges::all()), |filter| filter.key_ranges(&spec.primary_key))?;
        let partitioner = Partitioner::new(spec.schema(), &spec.partition_by)?;
        let may_hold = |partition: &str| match &filter {
            Some(filter) if !partition.is_empty() => {
                let key = partitioner.parse(partition)?;
                Ok(filter.may_match(&|column| partitioner.statistics(&key, column)))
            }
            _ => Ok::<_, Error>(true),
        };
        let mut lanes = Vec::new();
        for (index, piece) in wanted.split.iter().flat_map(|split| split.text.pieces.iter().enumerate()) {
            if may_hold(&piece.partition)? {
                let split = wanted.split.expect("it has pieces");
                lanes.push(Lane::of_piece(entry, (piece, split.held.get(index)), &ranges, &pin_piece)?);
            }
        }
        for (&partition_id, partition) in entry.partitions.iter().filter(|_| wanted.split.is_none()) {
            if !wanted.part.has_partition(&partition.name) || !may_hold(&partition.name)? {
                continue;
            }
            let name: Arc<str> = Arc::from(partition.name.as_str());
            for bucket in (0..spec.buckets).filter(|bucket| wanted.part.has_bucket(*bucket)) {
                let Some(pinned) = pin(Place { partition_id, bucket })? else { continue };
                lanes.push(Lane {
                    partition: name.clone(),
                    partition_id,
                    bucket,
                    pinned: Arc::new(pinned),
                    ranges: ranges.clone(),
                    rows: None,
                });
            }
        }
        let (table, spec) = (table.clone(), spec.clone());
        Ok(MergedScan { table, snapshot, lanes, at: 0, read, schema, filter, alive, limit: wanted.limit, spec })
    }

    /// The table as it is read.
    pub(super) fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// What it is of, to be cut into splits.
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen { spec: &self.spec, now_ms: self.alive.as_ref().map(Alive::now_ms), snapshot: self.snapshot }
    }

    /// The buckets, to be cut into splits.
    pub(super) fn wholes(&self) -> Vec<Whole> {
        let whole = |lane: &Lane| Whole {
            partition: lane.partition.to_string(),
            partition_id: lane.partition_id,
            bucket: lane.bucket,
            held: Some(Held(lane.pinned.clone())),
            places: lane.pinned.samples(&lane.ranges).into_iter().map(|(key, rows)| (split::Place::Key(key), rows)).collect(),
            rows: PieceRows::Keys {
                before: lane.pinned.end(),
                range: KeyRange::default(),
                // Those of a snapshot stay as they are.
                runs: self.alive.as_ref().filter(|_| self.snapshot.is_none()).map(|_| lane.pinned.run_ids().collect()),
            },
        };
        self.lanes.iter().map(whole).collect()
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
            let (partition_id, partition, bucket) = (lane.partition_id, lane.partition.clone(), lane.bucket);
            let table = &self.table;
            let here = |error: Error| match why_gone(table, partition_id, &partition) {
                Some(gone) => gone.caused_by(error),
                None => error.at("bucket", bucket),
            };
            let rows = match &mut lane.rows {
                Some(rows) => rows,
                None => {
                    let all = lane.pinned.rows(&self.read, &lane.ranges).map_err(here)?;
                    // A filter may have to see many rows for one that passes.
                    let limit =
                        self.limit.filter(|_| self.filter.is_none() && self.alive.is_none()).and_then(|limit| usize::try_from(limit).ok());
                    lane.rows.insert(all.limited(limit.unwrap_or(usize::MAX)))
                }
            };
            let Some(tile) = rows.next_tile().map_err(here)? else {
                lane.rows = None;
                self.at += 1;
                continue;
            };
            let rows = tile.shown().map_err(here)?;
            let kept = self.alive.as_ref().and_then(|alive| alive.kept(&rows));
            let rows = kept.map_or(Ok(rows.clone()), |kept| chosen(&rows, &kept))?;
            let batch = show(&rows, &self.schema, self.filter.as_ref())?;
            if batch.num_rows() > 0 {
                let end = lane.pinned.end();
                let (partition, bucket) = (lane.partition.clone(), lane.bucket);
                return Ok(Some(ScanBatch { partition, bucket, first_offset: end, next_offset: end, timestamp_ms: 0, batch }));
            }
        }
        Ok(None)
    }
}

/// The rows that pass, with the columns of `schema`.
fn show(rows: &RecordBatch, schema: &SchemaRef, filter: Option<&Bound>) -> Result<RecordBatch> {
    let passed = filter.map(|filter| filter.evaluate(rows)).transpose()?;
    let failed = |error| Error::internal("cannot choose rows and columns").caused_by(error);
    let places = schema.fields().iter().map(|field| rows.schema_ref().index_of(field.name())).collect::<std::result::Result<Vec<_>, _>>();
    let shown = rows.project(&places.map_err(failed)?).map_err(failed)?;
    match passed {
        None => Ok(shown),
        Some(passed) => filter_record_batch(&shown, &passed).map_err(failed),
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
