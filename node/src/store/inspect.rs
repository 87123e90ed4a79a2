//! Looking at what is stored: figures, checks, and dropping what retention no longer keeps.
//!
//! Invariant: nothing here changes a row; damage is reported with its place and does not stop the check of the rest.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::catalog::TableEntry;
use super::dropping::check_there;
use super::keyed;
use super::open::{Inner, no_such_table};
use super::snapshots;
use super::table::Table;
use crate::bucket::Bucket;
use crate::bucket::follower::{Follower, WriterState};
use crate::error::{Error, Result};
use crate::log::cursor::{Cursor, Plan};
use crate::log::segment::Segment;
use crate::log::view::View;
use crate::log::walk;
use crate::lsm::pick::{Rules, pick};
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

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The table.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket.
    pub bucket: u32,
    /// The file, when it is one segment's.
    pub segment: Option<String>,
    /// Offset of the first row that cannot be read.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Something that a crash left and that is no damage: nothing of it was ever acknowledged, and the next writer of the bucket removes it
/// or writes over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The table.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket.
    pub bucket: u32,
    /// Where it is.
    pub file: String,
    /// How much of the file it is.
    pub bytes: u64,
    /// What it is.
    pub what: String,
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

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Tables checked.
    pub tables: u64,
    /// Buckets checked.
    pub buckets: u64,
    /// Segments checked.
    pub segments: u64,
    /// Runs of tables with a primary key checked.
    pub runs: u64,
    /// Batches with good checksums.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything that is damaged.
    pub problems: Vec<Problem>,
    /// What is left over and no damage. Looked for only while nobody writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
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
struct Place<'a> {
    entry: &'a TableEntry,
    partition_id: u32,
    partition: &'a str,
    bucket: u32,
}

impl Place<'_> {
    /// Whether neither its table nor its partition was dropped.
    fn is_there(&self, store: &Inner) -> bool {
        store.catalog().is_ok_and(|catalog| check_there(&catalog, self.entry, self.partition_id).is_ok())
    }

    fn problem(&self, error: &Error) -> Problem {
        let value = |name: &str| error.context().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Problem {
            table: self.entry.spec.name.to_string(),
            partition: self.partition.to_string(),
            bucket: self.bucket,
            segment: value("segment"),
            offset: value("offset").and_then(|offset| offset.parse().ok()),
            what: error.to_string(),
        }
    }
}

fn entries(store: &Inner, table: Option<&str>) -> Result<Vec<Arc<TableEntry>>> {
    let catalog = store.catalog()?;
    match table {
        None => Ok(catalog.shown().cloned().collect()),
        Some(name) => {
            let name: TableName = name.parse()?;
            Ok(vec![catalog.find(&name).cloned().ok_or_else(|| no_such_table(&catalog, &name))?])
        }
    }
}

fn each_bucket(entries: &[Arc<TableEntry>], mut visit: impl FnMut(Place<'_>) -> Result<()>) -> Result<()> {
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
struct Opened {
    view: Arc<View>,
    /// Up to here the view's segments hold every row.
    end: u64,
    /// Who brings the view up to date when another process writes.
    follower: Option<Arc<Follower>>,
}

fn open(store: &Inner, place: &Place<'_>) -> Result<Opened> {
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
fn with_ends(segments: &[Arc<Segment>], end: u64) -> impl Iterator<Item = (&Arc<Segment>, u64)> {
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
            Err(_) if !place.is_there(store) => return Ok(()),
            opened => opened?,
        };
        let Opened { view, end, follower } = opened;
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
        });
        Ok(())
    })?;
    Ok(all)
}

fn tree_stats(store: &Inner, place: &Place<'_>, follower: Option<&Follower>) -> Result<TreeStats> {
    let (state, gauges) = match follower {
        Some(follower) => (follower.state()?, follower.gauges(store.writer_state()?)),
        None => {
            let bucket = store.bucket(place.entry, place.partition_id, place.bucket)?;
            (bucket.state(), bucket.tree().map(|tree| tree.gauges()))
        }
    };
    let bytes: Vec<u64> = state.runs.iter().map(RunMeta::bytes).collect();
    Ok(TreeStats {
        runs: bytes.len(),
        run_rows: state.runs.iter().map(|run| run.rows).sum(),
        run_bytes: bytes.iter().sum(),
        flushed_to: state.flushed_to,
        compaction_due: pick(&Rules::default(), &bytes).is_some(),
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

/// See [`super::Store::verify`].
pub(super) fn verify(store: &Arc<Inner>, table: Option<&str>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let entries = entries(store, table)?;
    let mut report = VerifyReport { tables: entries.len() as u64, ..VerifyReport::default() };
    each_bucket(&entries, |place| {
        report.buckets += 1;
        let Opened { view, end, follower } = match open(store, &place) {
            Ok(opened) => opened,
            Err(error) => {
                // Unless it was dropped meanwhile.
                if place.is_there(store) {
                    report.problems.push(place.problem(&error));
                }
                return Ok(());
            }
        };
        report.problems.extend(view.damage().iter().map(|error| place.problem(error)));
        let mut expected = view.start();
        for (segment, end) in with_ends(&view.segments(), end) {
            if segment.base_offset().is_some_and(|base| base > expected) {
                let gap =
                    Error::corrupt("rows are missing before a segment").at("segment", segment.path().display()).at("offset", expected);
                report.problems.push(place.problem(&gap));
            }
            expected = end;
            let mut found = check(store, segment, expected);
            // A writer may have dropped the segment meanwhile, and used its file again.
            if follower.as_ref().is_some_and(|follower| follower.kept_from().is_none_or(|kept| expected <= kept)) {
                found.1 = None;
            }
            report.segments += 1;
            report.batches += found.0.batches;
            report.rows += found.0.rows;
            report.bytes += found.0.bytes;
            report.problems.extend(found.1.iter().map(|error| place.problem(error)));
            progress(Progress { segments: report.segments, rows: report.rows, bytes: report.bytes });
        }
        if !place.entry.spec.primary_key.is_empty() {
            check_runs(store, &place, &mut report);
            progress(Progress { segments: report.segments, rows: report.rows, bytes: report.bytes });
        }
        if let Some(follower) = follower {
            note_leftovers(store, &place, &follower, &mut report);
        }
        Ok(())
    })?;
    Ok(report)
}

/// Notes what a crash left of a bucket, unless a writer was there meanwhile: its work under way looks the same.
fn note_leftovers(store: &Inner, place: &Place<'_>, follower: &Follower, report: &mut VerifyReport) {
    let writer = || store.writer_state().ok().filter(|writer| matches!(writer, WriterState::Absent(_)));
    let before = writer();
    match follower.leftovers() {
        _ if before.is_none() || before != writer() => {}
        Err(error) => report.problems.push(place.problem(&error)),
        Ok(found) => report.notes.extend(found.into_iter().map(|leftover| Note {
            table: place.entry.spec.name.to_string(),
            partition: place.partition.to_string(),
            bucket: place.bucket,
            file: leftover.file.display().to_string(),
            bytes: leftover.bytes,
            what: leftover.what.to_string(),
        })),
    }
}

/// Checks the runs of a bucket of a table with a primary key.
fn check_runs(store: &Arc<Inner>, place: &Place<'_>, report: &mut VerifyReport) {
    let table = Table::new(store.clone(), place.entry.spec.id, place.entry.spec.name.clone());
    let at = keyed::Place { partition_id: place.partition_id, bucket: place.bucket };
    let mut before = HashSet::new();
    let mut checked = match keyed::steadily(&table, |entry, is_again| keyed::pin(&table, entry, at, is_again)) {
        Ok(pinned) => pinned.check(&mut before),
        Err(error) => vec![Err(error)],
    };
    checked.extend(snapshots::check(&table, at, &mut before));
    for checked in checked {
        match checked {
            Ok(found) => {
                report.runs += 1;
                report.bytes += found.bytes;
            }
            Err(error) => report.problems.push(place.problem(&error)),
        }
    }
}

/// Checks the frames of a segment, and its directory against them.
fn check(store: &Inner, segment: &Segment, end: u64) -> (walk::Checked, Option<Error>) {
    let resources = &*store.resources;
    let file = match resources.files.open(&*resources.driver, segment.path(), true) {
        Ok(file) => file,
        Err(error) => {
            let missing = Error::io("open", segment.path(), error).at("segment", segment.path().display());
            return (walk::Checked::default(), Some(missing.at("offset", segment.base_offset().unwrap_or(0))));
        }
    };
    let (checked, walked, wrong) = walk::check(&*resources.driver, &file, &resources.pool, segment, end);
    (checked, wrong.or_else(|| resources.directories.check(segment, &walked).err()))
}
