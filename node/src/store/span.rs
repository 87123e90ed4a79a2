//! Where a scan of changes begins and ends in each bucket: at snapshots, or where another scan was.
//!
//! Invariant: from one snapshot to another come the changes that the second has and the first has not, each once. A bucket that was not there at the beginning is read
//! from its first row; one that was not there at the end is not read. This module knows nothing of reading.

use std::collections::HashMap;
use std::sync::Arc;

use super::keyed::Source;
use super::scanner::{ScanBuilder, Start};
use super::snapshots::Version;
use super::table::Table;
use crate::error::{Error, Result};

/// Offsets in the logs of buckets, by the name of the partition (empty in a table without) and the number of the bucket.
pub type Positions = HashMap<(Arc<str>, u32), u64>;

/// An end of a scan of changes.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// Where a snapshot ends.
    Snapshot(Version),
    /// Here.
    Positions(Positions),
}

/// Where a scan begins and ends; without, elsewhere than a bucket's offset says.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) from: Option<Positions>,
    pub(super) to: Option<Positions>,
}

impl Span {
    /// Errors: NotFound for an unknown snapshot; Invalid when the second is older than the first.
    pub(super) fn new(table: &Table, from: Option<&Bound>, to: Option<&Bound>) -> Result<Self> {
        if let (Some(Bound::Snapshot(from)), Some(Bound::Snapshot(to))) = (from, to) {
            let (from, to) = (table.snapshot(from)?.id, table.snapshot(to)?.id);
            if from > to {
                let backwards = Error::invalid(format!("snapshot {to} is older than snapshot {from}")).at("table", &table.name);
                return Err(backwards.hint("name the older one first"));
            }
        }
        let positions = |bound: &Bound| match bound {
            Bound::Positions(positions) => Ok(positions.clone()),
            Bound::Snapshot(version) => positions_of(table, version),
        };
        Ok(Span { from: from.map(positions).transpose()?, to: to.map(positions).transpose()? })
    }

    /// Where a bucket begins; `None` when the scan's start says so.
    pub(super) fn start(&self, place: &(Arc<str>, u32)) -> Option<u64> {
        self.from.as_ref().map(|from| from.get(place).copied().unwrap_or(0))
    }

    /// The error for changes that the log has no longer.
    pub(super) fn dropped(table: &Table, bucket: u32, offset: u64, start: u64) -> Error {
        let gone = Error::invalid(format!("changes {offset} to {} are in the log no longer", start - 1));
        let hint = "begin at a younger snapshot, read its rows first, or keep changes longer with the table's option retention.ms";
        gone.at("table", &table.name).at("bucket", bucket).hint(hint)
    }

    /// Whether nothing of a bucket lies within.
    pub(super) fn is_empty(&self, place: &(Arc<str>, u32)) -> bool {
        let Some(to) = &self.to else { return false };
        to.get(place).is_none_or(|to| self.start(place).is_some_and(|from| from >= *to))
    }

    /// Where a bucket ends, if that is no later than `end`.
    pub(super) fn end(&self, place: &(Arc<str>, u32), end: u64) -> u64 {
        self.to.as_ref().and_then(|to| to.get(place)).map_or(end, |to| end.min(*to))
    }
}

impl ScanBuilder {
    /// Of changes: begin with the first that a snapshot has not.
    #[must_use]
    pub fn from_snapshot(mut self, version: Version) -> Self {
        self.from = Some(Bound::Snapshot(version));
        self
    }

    /// Of changes: end with the last that a snapshot has.
    #[must_use]
    pub fn to_snapshot(mut self, version: Version) -> Self {
        self.to = Some(Bound::Snapshot(version));
        self
    }

    /// Begin in each bucket where another scan was, as [`super::Scanner::positions`] says, and in those that it did not have at the first row.
    #[must_use]
    pub fn from_positions(mut self, positions: Positions) -> Self {
        self.from = Some(Bound::Positions(positions));
        self
    }

    /// End in each bucket where another scan was, and leave out those that it did not have.
    #[must_use]
    pub fn to_positions(mut self, positions: Positions) -> Self {
        self.to = Some(Bound::Positions(positions));
        self
    }

    /// Of changes: first all rows, each as `+I`, of the snapshot that the scan begins at, or as they are now; then the changes that these rows have not,
    /// without a gap and none twice. All come in the columns that the table has now.
    #[must_use]
    pub fn rows_first(mut self) -> Self {
        self.rows_first = true;
        self
    }

    /// Errors: Invalid for a beginning or an end that does not go with the others.
    pub(super) fn check_ends(&self) -> Result<()> {
        let ScanBuilder { table, start, changes, extras, split, at, from, to, rows_first, .. } = self;
        let has_end = from.is_some() || to.is_some();
        if (from.is_some() || *rows_first) && *start != Start::Earliest || has_end && !changes {
            return Err(Error::invalid("a scan begins and ends at one place").at("table", &table.name).hint("name one, of changes"));
        }
        if *rows_first && !changes {
            let of_log = Error::invalid("only changes of a table with a primary key come behind its rows").at("table", &table.name);
            return Err(of_log.hint("read the changes of the table, or all of its log"));
        }
        if *rows_first && extras.place {
            let merged = Error::invalid("the rows that come first are merged: they have no place in the log that meta could tell");
            return Err(merged
                .at("table", &table.name)
                .hint("leave out meta (each row has its _op anyway), or begin at the earliest change"));
        }
        if split.is_some() && (at.is_some() || has_end || *rows_first) {
            return Err(Error::invalid("a split says where it begins and ends itself")
                .at("table", &table.name)
                .hint("leave out one of the two"));
        }
        Ok(())
    }
}

/// Where the changes begin that a snapshot has not.
fn positions_of(table: &Table, version: &Version) -> Result<Positions> {
    let ends = table.snapshot(version)?.ends;
    Ok(ends.into_iter().map(|end| ((Arc::from(end.partition), end.bucket), end.offset)).collect())
}

/// Which rows a scan reads, where it reads rows.
///
/// Errors: Invalid for rows that changes should follow, at no snapshot.
pub(super) fn source<'a>(table: &Table, at: Option<&'a Version>, from: Option<&'a Bound>, rows_first: bool) -> Result<Source<'a>> {
    match (at, from) {
        (Some(version), _) => Ok(Source::AsItWas(version)),
        (None, Some(Bound::Snapshot(version))) => Ok(Source::InColumnsOfNow(version)),
        (None, Some(Bound::Positions(_))) if rows_first => {
            Err(Error::invalid("rows are read at a snapshot or now, not at offsets").at("table", &table.name))
        }
        _ => Ok(Source::Now),
    }
}
