//! The check of a store: every checksum, every invariant, and whether the catalog and the directories tell the same.
//!
//! Invariants: nothing is changed; damage is reported with its place and does not stop the check of the rest; what is dropped while it is checked is no damage.
//! This module knows nothing of bytes.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::catalog::Catalog;
use super::dropping::{left_directories, strays};
use super::inspect::{Opened, Place, Progress, each_bucket, entries, open, with_ends};
use super::keyed;
use super::open::Inner;
use super::snapshots;
use super::table::Table;
use crate::bucket::follower::{Follower, WriterState};
use crate::bucket::resources::removed_dir;
use crate::error::{Error, Result};
use crate::io::removed;
use crate::log::segment::Segment;
use crate::log::walk;

/// How often the catalog is read again because directories that it does not know may have been made since.
const LOOKS_MAX: u32 = 16;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The table; empty for what is of no table that is known.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket; `None` for what is of no single one.
    pub bucket: Option<u32>,
    /// The file, when it is one segment's.
    pub segment: Option<String>,
    /// Offset of the first row that cannot be read.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Something that is no damage: what a crash left of work that was never acknowledged, or a file that is not the store's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The table; empty for what is of no table that is known.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket; `None` for what is of no single one.
    pub bucket: Option<u32>,
    /// Where it is.
    pub file: String,
    /// How much of the file it is.
    pub bytes: u64,
    /// What it is.
    pub what: String,
    /// Whether whoever writes next leaves it as it is; else it is removed or written over then.
    pub stays: bool,
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

impl Place<'_> {
    fn problem(&self, error: &Error) -> Problem {
        Problem {
            table: self.entry.spec.name.to_string(),
            partition: self.partition.to_string(),
            bucket: Some(self.bucket),
            ..problem(error)
        }
    }
}

/// A problem of no bucket.
fn problem(error: &Error) -> Problem {
    let value = |name: &str| error.context().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    Problem {
        table: String::new(),
        partition: String::new(),
        bucket: None,
        segment: value("segment"),
        offset: value("offset").and_then(|offset| offset.parse().ok()),
        what: error.to_string(),
    }
}

/// See [`super::Store::verify`].
pub(super) fn verify(store: &Arc<Inner>, table: Option<&str>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let entries = entries(store, table)?;
    let mut report = VerifyReport { tables: entries.len() as u64, ..VerifyReport::default() };
    if table.is_none() {
        check_catalog(store, &mut report)?;
    }
    each_bucket(&entries, |place| {
        let (problems, notes) = (report.problems.len(), report.notes.len());
        report.buckets += 1;
        check_bucket(store, &place, &mut report, progress);
        // Whatever was found of files that were on their way out.
        if report.problems.len() > problems && place.is_gone(store) {
            report.problems.truncate(problems);
            report.notes.truncate(notes);
        }
        Ok(())
    })?;
    Ok(report)
}

fn check_bucket(store: &Arc<Inner>, place: &Place<'_>, report: &mut VerifyReport, progress: &mut dyn FnMut(Progress)) {
    let Opened { view, end, follower } = match open(store, place) {
        Ok(opened) => opened,
        Err(error) => return report.problems.push(place.problem(&error)),
    };
    report.problems.extend(view.damage().iter().map(|error| place.problem(error)));
    let mut expected = view.start();
    for (segment, end) in with_ends(&view.segments(), end) {
        if segment.base_offset().is_some_and(|base| base > expected) {
            let gap = Error::corrupt("rows are missing before a segment").at("segment", segment.path().display()).at("offset", expected);
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
        check_runs(store, place, report);
        progress(Progress { segments: report.segments, rows: report.rows, bytes: report.bytes });
    }
    if let Some(follower) = follower {
        note_leftovers(store, place, &follower, report);
    }
}

/// Looks for rows that the catalog does not know of, and for what it is not.
fn check_catalog(store: &Inner, report: &mut VerifyReport) -> Result<()> {
    let driver = &*store.resources.driver;
    let mut catalog = store.catalog()?;
    let mut left = left_directories(driver, &store.dir, &catalog);
    let made = |catalog: &Catalog| (catalog.next_table_id, catalog.serial);
    for _ in 0..LOOKS_MAX {
        // A table or partition may have been made since.
        let newest = store.newest_catalog()?;
        if left.is_ok() || made(&newest) == made(&catalog) {
            break;
        }
        left = left_directories(driver, &store.dir, &newest);
        catalog = newest;
    }
    let before = absent_writer(store);
    let torn = store.torn_catalog();
    let noted = left.as_ref().ok().into_iter().flatten().map(|path| (path.clone(), 0, "a table or partition that was dropped", false));
    let torn = torn?.map(|(path, bytes)| (path, bytes, "the catalog ends with an edit that was not written to its end", false));
    let foreign =
        strays(driver, &store.dir)?.into_iter().map(|(path, bytes)| (path, bytes, "nothing that a store has under this name", true));
    let removed_dir = removed_dir(&store.dir);
    let removed = removed::left(driver, &removed_dir).map_err(|error| Error::io("list", &removed_dir, error))?.into_iter();
    let removed =
        removed.map(|entry| (removed_dir.join(&entry.name), entry.bytes, "a file that was removed, and not yet given back", false));
    let noted: Vec<_> = torn.into_iter().chain(noted).chain(removed).chain(foreign).collect();
    if let Err(error) = &left {
        report.problems.push(problem(error));
    }
    if before.is_some() && before == absent_writer(store) {
        report.notes.extend(noted.into_iter().map(|(file, bytes, what, stays)| Note {
            table: String::new(),
            partition: String::new(),
            bucket: None,
            file: file.display().to_string(),
            bytes,
            what: what.to_string(),
            stays,
        }));
    }
    Ok(())
}

/// That nobody writes, and since when; `None` while somebody does, whose work under way looks like what a crash left.
fn absent_writer(store: &Inner) -> Option<WriterState> {
    store.writer_state().ok().filter(|writer| matches!(writer, WriterState::Absent(_)))
}

/// Notes what a crash left of a bucket, unless a writer was there meanwhile.
fn note_leftovers(store: &Inner, place: &Place<'_>, follower: &Follower, report: &mut VerifyReport) {
    let before = absent_writer(store);
    match follower.leftovers() {
        _ if before.is_none() || before != absent_writer(store) => {}
        Err(error) => report.problems.push(place.problem(&error)),
        Ok(found) => report.notes.extend(found.into_iter().map(|leftover| Note {
            table: place.entry.spec.name.to_string(),
            partition: place.partition.to_string(),
            bucket: Some(place.bucket),
            file: leftover.file.display().to_string(),
            bytes: leftover.bytes,
            what: leftover.what.to_string(),
            stays: false,
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
