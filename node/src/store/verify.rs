//! The check of a store: every checksum, every invariant, and whether the catalog and the directories tell the same.
//!
//! Invariants: nothing is changed; damage is reported with its place and does not stop the check of the rest; what is dropped while it is checked is no damage.
//! This module knows nothing of bytes.

mod problems;

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::catalog::Catalog;
use super::dropping::{left_directories, strays};
use super::inspect::{Opened, Place, Progress, each_bucket, entries, open, with_ends};
use super::keyed;
use super::open::{Inner, keyed as keyed_of};
use super::snapshots;
use super::table::Table;
pub use problems::Problem;
use problems::{Problems, problem};

use crate::bucket::follower::{Follower, WriterState};
use crate::bucket::resources::removed_dir;
use crate::error::{Error, Kind, Result};
use crate::io::removed;
use crate::log::check::{self, Checked};
use crate::log::segment::Segment;
use crate::lsm::run::{Checked as RunChecked, Run};

/// How often the catalog is read again because directories that it does not know may have been made since.
const LOOKS_MAX: u32 = 16;

/// Something that is no damage: what is left of work that was never acknowledged, or was not cleared away, or a file that is not the store's.
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
    /// Batches in them with good checksums.
    pub batches: u64,
    /// Rows in the batches of log tables.
    pub rows: u64,
    /// Changes in the batches of tables with a primary key.
    pub changes: u64,
    /// Runs of tables with a primary key checked.
    pub runs: u64,
    /// Rows in their good blocks: a key may have one in each run.
    pub run_rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How many places are damaged.
    pub damaged: u64,
    /// Everything that is damaged; of a file with very many places the first, and how many more there are.
    pub problems: Vec<Problem>,
    /// What is left over and no damage. Looked for only while nobody writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// Of one bucket, while it is checked.
struct Found<'a> {
    place: &'a Place<'a>,
    store: &'a Inner,
    problems: Problems,
    notes: Vec<Note>,
}

impl Found<'_> {
    fn wrong(&mut self, error: &Error) {
        self.store.resources.files.damages().note(error);
        let Place { entry, partition, bucket, .. } = self.place;
        self.problems.push(Problem {
            table: entry.spec.name.to_string(),
            partition: partition.to_string(),
            bucket: Some(*bucket),
            ..problem(error)
        });
    }
}

impl VerifyReport {
    fn progress(&self) -> Progress {
        Progress { segments: self.segments, rows: self.rows + self.changes, bytes: self.bytes }
    }
}

/// See [`super::Store::verify`].
pub(super) fn verify(store: &Arc<Inner>, table: Option<&str>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let entries = entries(store, table)?;
    let mut report = VerifyReport { tables: entries.len() as u64, ..VerifyReport::default() };
    if table.is_none() {
        check_catalog(store, &mut report)?;
    }
    report.damaged = report.problems.len() as u64;
    each_bucket(&entries, |place| {
        let mut found = Found { place: &place, store, problems: Problems::default(), notes: Vec::new() };
        report.buckets += 1;
        check_bucket(store, &mut found, &mut report, progress);
        // Whatever was found of files that were on their way out.
        let Found { problems, notes, .. } = found;
        if problems.count == 0 || !place.is_gone(store) {
            report.damaged += problems.count;
            report.problems.extend(problems.into_lines());
            report.notes.extend(notes);
        }
        Ok(())
    })?;
    Ok(report)
}

fn check_bucket(store: &Arc<Inner>, found: &mut Found<'_>, report: &mut VerifyReport, progress: &mut dyn FnMut(Progress)) {
    let place = found.place;
    let is_keyed = !place.entry.spec.primary_key.is_empty();
    let Opened { view, end, follower } = match open(store, place) {
        Ok(opened) => opened,
        Err(error) => return found.wrong(&error),
    };
    if let Some(error) = view.damage() {
        found.wrong(&error);
    }
    let mut expected = view.start();
    for (segment, end) in with_ends(&view.segments(), end) {
        if segment.base_offset().is_some_and(|base| base > expected) {
            let gap = Error::corrupt("rows are missing before a segment").at("segment", segment.path().display()).at("offset", expected);
            found.wrong(&gap);
        }
        expected = end;
        let (checked, wrong) = check(store, segment, expected);
        // A writer may have dropped the segment meanwhile, and used its file again.
        if follower.as_ref().is_none_or(|follower| follower.kept_from().is_some_and(|kept| expected > kept)) {
            wrong.iter().for_each(|error| found.wrong(error));
        }
        report.segments += 1;
        report.batches += checked.batches;
        *(if is_keyed { &mut report.changes } else { &mut report.rows }) += checked.rows;
        report.bytes += checked.bytes;
        progress(report.progress());
    }
    if is_keyed {
        check_runs(store, found, report);
        progress(report.progress());
    }
    if let Some(follower) = follower {
        note_leftovers(store, found, &follower);
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

/// Notes what is left over of a bucket, unless a writer was there meanwhile.
fn note_leftovers(store: &Inner, found: &mut Found<'_>, follower: &Follower) {
    let before = absent_writer(store);
    match follower.leftovers() {
        _ if before.is_none() || before != absent_writer(store) => {}
        Err(error) => found.wrong(&error),
        Ok(left) => found.notes.extend(left.into_iter().map(|leftover| Note {
            table: found.place.entry.spec.name.to_string(),
            partition: found.place.partition.to_string(),
            bucket: Some(found.place.bucket),
            file: leftover.file.display().to_string(),
            bytes: leftover.bytes,
            what: leftover.what.to_string(),
            stays: false,
        })),
    }
}

/// Checks the runs of a bucket of a table with a primary key. When they cannot be had together, as one whose index is damaged, each is opened by itself.
fn check_runs(store: &Arc<Inner>, found: &mut Found<'_>, report: &mut VerifyReport) {
    let place = found.place;
    let Place { entry, partition_id, bucket, .. } = *place;
    let table = Table::new(store.clone(), entry.spec.id, entry.spec.name.clone());
    let at = keyed::Place { partition_id, bucket };
    let mut before = HashSet::new();
    let mut wrong = |error: Error| found.wrong(&if error.kind() == Kind::Corrupt { error.hint("") } else { error });
    let mut checked = match keyed::steadily(&table, |entry, is_again| keyed::pin(&table, entry, at, is_again)) {
        Ok(pinned) => pinned.check(&mut before, &mut wrong),
        Err(error) => {
            let mut others = 0;
            let mut each = |error| {
                others += 1;
                wrong(error);
            };
            let checked = check_each(store, place, &mut before, &mut each);
            // Else it is one of them, or what is wrong with the log.
            if others == 0 {
                wrong(error);
            }
            checked
        }
    };
    checked.extend(snapshots::check(&table, at, &mut before, &mut wrong));
    for checked in checked {
        report.runs += 1;
        report.run_rows += checked.rows;
        report.bytes += checked.bytes;
    }
}

/// Checks the runs that the manifest of a bucket names, each by itself.
fn check_each(store: &Arc<Inner>, place: &Place<'_>, before: &mut HashSet<u64>, wrong: &mut dyn FnMut(Error)) -> Vec<RunChecked> {
    let Place { entry, partition_id, bucket, .. } = *place;
    let state = match store.is_writable() {
        true => store.bucket(entry, partition_id, bucket).map(|bucket| bucket.state()),
        false => store.follower(entry, partition_id, bucket).and_then(|follower| follower.state()),
    };
    // What is wrong with these, the caller knows.
    let (Ok(state), Ok(Some(keyed)), Ok(address)) = (state, keyed_of(&entry.spec), store.address(entry, partition_id, bucket)) else {
        return Vec::new();
    };
    let mut checked = Vec::new();
    for meta in state.runs {
        match Run::open(store.resources.reach(), &address.dir, meta, true) {
            _ if !before.insert(meta.id) => {}
            Ok(run) => checked.push(run.check(&keyed.reader, wrong)),
            Err(error) => wrong(error),
        }
    }
    checked
}

/// Checks the frames of a segment, and its directory against them.
fn check(store: &Inner, segment: &Segment, end: u64) -> (Checked, Vec<Error>) {
    let resources = &*store.resources;
    let file = match resources.files.open(&*resources.driver, segment.path(), true) {
        Ok(file) => file,
        Err(error) => {
            let missing = Error::io("open", segment.path(), error).at("segment", segment.path().display());
            let missing = missing.at("offset", segment.base_offset().unwrap_or(0)).at("next_offset", end);
            return (Checked::default(), vec![missing]);
        }
    };
    let mut wrong = Vec::new();
    let reach = (&*resources.driver, &file, &resources.pool);
    let (checked, walked) = check::check(reach, segment, end, &mut |error| wrong.push(error));
    wrong.extend(resources.directories.check(segment, &walked, checked.damaged_from).err());
    (checked, wrong)
}
