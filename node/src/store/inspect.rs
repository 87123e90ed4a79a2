//! Looking at what is stored: figures of each bucket, and dropping what retention no longer keeps.
//!
//! Invariant: nothing here changes a row. This module knows nothing of damage: `verify` looks for it.

use std::sync::Arc;

use serde::Serialize;

use super::catalog::TableEntry;
use super::dropping::check_there;
use super::open::{Inner, no_such_table, segment_policy};
use super::snapshots;
use crate::bucket::Bucket;
use crate::bucket::follower::Follower;
use crate::error::{Error, Kind, Result};
use crate::log::cursor::{Cursor, Plan};
use crate::log::segment::Segment;
use crate::log::view::View;
use crate::lsm::run::RunMeta;
use crate::table::TableName;

/// What is stored of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketStats {
    /// The table.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket.
    pub bucket: u32,
    /// Offset of the oldest row.
    pub start_offset: u64,
    /// Offset behind the newest durable row.
    pub end_offset: u64,
    /// Rows of its log that can be read; of a table with a primary key they are changes, not rows.
    pub rows: u64,
    /// Segments with rows.
    pub segments: usize,
    /// Bytes of frames.
    pub bytes: u64,
    /// Bytes of newest rows in memory.
    pub recent_bytes: usize,
    /// Of a table with a primary key: how its tree is.
    pub tree: Option<TreeStats>,
    /// Why rows behind the end, which were acknowledged, cannot be read; `None` when all can.
    pub damage: Option<String>,
    /// Frames of its log and blocks of its runs that were found damaged: by reads and by `verify` in this process since it opened the store, or in the one that writes.
    pub damaged: u64,
}

/// How the tree of a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TreeStats {
    /// Sorted runs.
    pub runs: usize,
    /// Rows in them: a key may have one in each.
    pub run_rows: u64,
    /// Bytes of them.
    pub run_bytes: u64,
    /// Offset in the log up to which changes are in runs.
    pub flushed_to: u64,
    /// Whether runs should be merged.
    pub compaction_due: bool,
    /// What only the process that writes knows, and shows while it lives.
    pub writer: Option<WriterStats>,
}

/// How the writer of a bucket gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WriterStats {
    /// Bytes of changes in memory that are not in runs yet.
    pub memtable_bytes: u64,
    /// Memtables that wait to be flushed.
    pub flushes_waiting: u32,
    /// Milliseconds that writers were held back because flushes or compactions were behind, since the store was opened.
    pub stalled_ms: u64,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments checked.
    pub segments: u64,
    /// Rows checked.
    pub rows: u64,
    /// Bytes checked.
    pub bytes: u64,
}

/// What retention dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExpireReport {
    /// Rows that can no longer be read.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Partitions of which nothing was kept; their bytes are not counted.
    pub partitions: u64,
    /// Snapshots that can no longer be read.
    pub snapshots: u64,
}

/// One bucket as these functions walk over them.
pub(super) struct Place<'a> {
    pub(super) entry: &'a TableEntry,
    pub(super) partition_id: u32,
    pub(super) partition: &'a str,
    pub(super) bucket: u32,
}

impl Place<'_> {
    /// Whether its table or its partition was dropped, which its files may have told before the word of the catalog does.
    pub(super) fn is_gone(&self, store: &Inner) -> bool {
        let there = store.newest_catalog().and_then(|catalog| check_there(&catalog, self.entry, self.partition_id));
        there.is_err_and(|error| error.kind() == Kind::NotFound)
    }
}

pub(super) fn entries(store: &Inner, table: Option<&str>) -> Result<Vec<Arc<TableEntry>>> {
    let catalog = store.catalog()?;
    match table {
        None => Ok(catalog.shown().cloned().collect()),
        Some(name) => {
            let name: TableName = name.parse()?;
            Ok(vec![catalog.find(&name).cloned().ok_or_else(|| no_such_table(&catalog, &name))?])
        }
    }
}

pub(super) fn each_bucket(entries: &[Arc<TableEntry>], mut visit: impl FnMut(Place<'_>) -> Result<()>) -> Result<()> {
    for entry in entries {
        for (&partition_id, partition) in &entry.partitions {
            for bucket in 0..entry.spec.buckets {
                visit(Place { entry, partition_id, partition: &partition.name, bucket })?;
            }
        }
    }
    Ok(())
}

/// A bucket to look at.
pub(super) struct Opened {
    pub(super) view: Arc<View>,
    /// Up to here the view's segments hold every row.
    pub(super) end: u64,
    /// Who brings the view up to date when another process writes.
    pub(super) follower: Option<Arc<Follower>>,
}

pub(super) fn open(store: &Inner, place: &Place<'_>) -> Result<Opened> {
    if store.is_writable() {
        let view = store.bucket(place.entry, place.partition_id, place.bucket)?.view().clone();
        return Ok(Opened { end: view.end(), view, follower: None });
    }
    let follower = store.follower(place.entry, place.partition_id, place.bucket)?;
    let view = follower.view().clone();
    // Somebody else who follows may move the end on before the segments are known.
    let end = view.end();
    follower.refresh_segments(store.writer_state()?)?;
    Ok(Opened { view, end, follower: Some(follower) })
}

/// Bytes of frames in a segment whose rows end at `end`. One that another process writes is read as far as nobody has yet: its file is longer.
fn frame_bytes(store: &Arc<Inner>, view: &Arc<View>, segment: &Arc<Segment>, end: u64) -> u64 {
    let known = |segment: &Segment| segment.open_directory().map(|directory| (directory.next_offset(), directory.end()));
    match known(segment) {
        None => segment.used_bytes(),
        Some((next_offset, bytes)) if next_offset >= end => bytes,
        Some(_) => {
            // No row is decoded on the way.
            let decoder = Arc::new(|_| Err(Error::internal("nothing is decoded for figures")));
            let plan = Plan { decoder, may_match: Arc::new(|_, _, _| false), is_whole: false };
            Cursor::new(view, store.resources.source(), plan, end).learn(segment);
            known(segment).map_or_else(|| segment.used_bytes(), |(_, bytes)| bytes)
        }
    }
}

/// Each segment with the offset behind its last row: one that is not sealed ends where the next begins.
pub(super) fn with_ends(segments: &[Arc<Segment>], end: u64) -> impl Iterator<Item = (&Arc<Segment>, u64)> {
    let behind = segments.iter().skip(1).map(|next| next.base_offset()).chain([None]);
    segments.iter().zip(behind).map(move |(segment, behind)| {
        let known = segment.sealed().map(|sealed| sealed.end_offset).or(behind);
        (segment, known.unwrap_or(end))
    })
}

/// See [`super::Store::stats`].
pub(super) fn stats(store: &Arc<Inner>, table: Option<&str>) -> Result<Vec<BucketStats>> {
    let mut all = Vec::new();
    each_bucket(&entries(store, table)?, |place| {
        let opened = match open(store, &place) {
            // It was dropped meanwhile.
            Err(_) if place.is_gone(store) => return Ok(()),
            opened => opened?,
        };
        let Opened { view, end, follower } = opened;
        let damage = view.damage();
        let damaged = damaged(store, &place, follower.as_deref(), damage.as_ref())?;
        let tree = (!place.entry.spec.primary_key.is_empty()).then(|| tree_stats(store, &place, follower.as_deref())).transpose()?;
        let segments = view.segments();
        all.push(BucketStats {
            table: place.entry.spec.name.to_string(),
            partition: place.partition.to_string(),
            bucket: place.bucket,
            start_offset: view.start(),
            end_offset: view.end(),
            rows: view.end() - view.start(),
            segments: segments.len(),
            bytes: with_ends(&segments, end).map(|(segment, end)| frame_bytes(store, &view, segment, end)).sum(),
            recent_bytes: view.recent_bytes(),
            tree,
            damage: damage.map(|damage| damage.to_string()),
            damaged,
        });
        Ok(())
    })?;
    Ok(all)
}

/// How many places of a bucket were found damaged, of which one may be that behind which its log cannot be read.
fn damaged(store: &Inner, place: &Place<'_>, follower: Option<&Follower>, damage: Option<&Error>) -> Result<u64> {
    let damages = store.resources.files.damages();
    damage.into_iter().for_each(|damage| damages.note(damage));
    let found = damages.below(&store.address(place.entry, place.partition_id, place.bucket)?.dir);
    let found_by_writer = match follower {
        Some(follower) => follower.gauges(store.writer_state()?).map_or(0, |gauges| gauges.damaged),
        None => 0,
    };
    Ok(found.max(found_by_writer).max(u64::from(damage.is_some())))
}

fn tree_stats(store: &Inner, place: &Place<'_>, follower: Option<&Follower>) -> Result<TreeStats> {
    let (state, gauges, compaction_due) = match follower {
        Some(follower) => {
            let state = follower.state()?;
            let compaction_due = follower.is_compaction_due(&state, segment_policy(&place.entry.spec).expiry.is_some())?;
            (state, follower.gauges(store.writer_state()?), compaction_due)
        }
        None => {
            let bucket = store.bucket(place.entry, place.partition_id, place.bucket)?;
            let tree = bucket.tree();
            (bucket.state(), tree.map(|tree| tree.gauges()), tree.is_some_and(|tree| tree.is_compaction_due()))
        }
    };
    let bytes: Vec<u64> = state.runs.iter().map(RunMeta::bytes).collect();
    Ok(TreeStats {
        runs: bytes.len(),
        run_rows: state.runs.iter().map(|run| run.rows).sum(),
        run_bytes: bytes.iter().sum(),
        flushed_to: state.flushed_to,
        compaction_due,
        writer: gauges.map(|gauges| WriterStats {
            memtable_bytes: gauges.memory_bytes,
            flushes_waiting: gauges.waiting,
            stalled_ms: gauges.stalled_ms,
        }),
    })
}

/// See [`super::Store::expire`].
pub(super) fn expire(store: &Inner, table: &str) -> Result<ExpireReport> {
    let now_ms = store.resources.driver.clock().wall_ms();
    let mut report = ExpireReport::default();
    let entries = entries(store, Some(table))?;
    for entry in &entries {
        report.snapshots += snapshots::expire(store, entry)?;
    }
    each_bucket(&entries, |place| {
        let bucket = store.bucket(place.entry, place.partition_id, place.bucket)?;
        bucket.seal()?;
        let (rows, bytes) = bucket.retain(now_ms)?;
        bucket.recycle()?;
        report.rows += rows;
        report.bytes += bytes;
        Ok(())
    })?;
    for entry in &entries {
        let ExpireReport { rows, partitions, .. } = store.expire_partitions(entry, now_ms)?;
        report.rows += rows;
        report.partitions += partitions;
    }
    Ok(report)
}

/// Does something for each bucket of a table with a primary key.
pub(super) fn each_tree(store: &Inner, table: &str, work: impl Fn(&Arc<Bucket>) -> Result<()>) -> Result<()> {
    let entries = entries(store, Some(table))?;
    if let Some(keyless) = entries.iter().find(|entry| entry.spec.primary_key.is_empty()) {
        let no_runs = Error::invalid("a table without a primary key has no runs").at("table", &keyless.spec.name);
        return Err(no_runs.hint("its rows are durable in its log, and stay there"));
    }
    each_bucket(&entries, |place| work(&store.bucket(place.entry, place.partition_id, place.bucket)?))
}

/// See [`super::Store::settle`].
pub(super) fn settle(store: &Inner) -> Result<()> {
    each_bucket(&entries(store, None)?, |place| store.bucket(place.entry, place.partition_id, place.bucket)?.settle())
}
