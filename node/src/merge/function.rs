//! What becomes of the rows of one key: one call for many keys, columns in, columns out.
//!
//! The shape is the one of a plugin's call: rows stand in some slots, an order names them by key, oldest first, and ends cut the order into keys.
//! Laws that every function keeps: deterministic; merging adjacent stretches first and the results then gives the same; where a call is cut between keys does not
//! matter; a merged row that is alone stays as it is, also one that another function made before the table was altered.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};

use super::outcome::Outcome;
use super::reference::Ref;
use crate::error::{Error, Result};
use crate::table::ChangeType;
use crate::table::stored::ColumnsRef;

/// Kind of a merged row of whose key a delete was heard before: rows older than it do not matter. Stands in run files only.
pub const RESTART: u8 = 0x81;

/// Kind of a merged row that retractions alone made: functions that pass retractions over pass it over too. Stands in run files only.
pub const RETRACTED: u8 = 0x82;

/// Whether a kind says more than that a row is there.
#[inline]
pub fn is_telling(kind: u8) -> bool {
    kind == ChangeType::Delete.to_byte() || kind == ChangeType::UpdateBefore.to_byte() || kind == RESTART || kind == RETRACTED
}

/// Whether a kind takes back what another row said: it is a delete, or the row before an update.
#[inline]
pub fn is_retraction(kind: u8) -> bool {
    kind == ChangeType::Delete.to_byte() || kind == ChangeType::UpdateBefore.to_byte()
}

/// What a row of this kind still says where nothing older is left: that retractions alone made it, and else nothing.
#[inline]
pub fn without_older(kind: u8) -> u8 {
    if kind == RETRACTED { kind } else { ChangeType::Insert.to_byte() }
}

/// Checks that these are kinds that rows of a user can have: those of run files are not.
///
/// # Errors
/// Invalid, with the row.
pub fn check_changes(kinds: &[u8]) -> Result<()> {
    match kinds.iter().position(|kind| ChangeType::from_byte(*kind).is_none()) {
        None => Ok(()),
        Some(row) => {
            let error = Error::invalid(format!("{} is not the number of a change", kinds[row])).at("row", row);
            Err(error.hint("0 to 4 stand for +A, +I, -U, +U, -D"))
        }
    }
}

/// Rows of one source.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    /// The rows, with the table's columns.
    pub columns: ColumnsRef<'a>,
    /// What each row says; `None` when each is an insert or an upsert.
    pub kinds: Option<&'a [u8]>,
    /// Whether the rows are results of merging, as those of runs are; else they come as they were written.
    pub is_merged: bool,
}

impl<'a> Slot<'a> {
    /// A column as an array: for functions that go by its values. Who copies values takes them from `columns`.
    pub fn column(&self, column: usize) -> &'a ArrayRef {
        self.columns.column(column).as_array()
    }

    /// Whether a row takes its key away.
    #[inline]
    pub fn is_delete(&self, row: usize) -> bool {
        self.kind(row) == ChangeType::Delete.to_byte()
    }

    /// Whether a row takes back what another one said: it is a delete, or the row before an update.
    #[inline]
    pub fn is_retraction(&self, row: usize) -> bool {
        is_retraction(self.kind(row))
    }

    /// What a row says, as in a log batch, or [`RESTART`] or [`RETRACTED`].
    #[inline]
    pub fn kind(&self, row: usize) -> u8 {
        self.kinds.map_or(ChangeType::Insert.to_byte(), |kinds| kinds[row])
    }
}

/// Rows by key.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    /// Where the rows are.
    pub slots: &'a [Slot<'a>],
    /// All rows, by key, oldest first.
    pub order: &'a [Ref],
    /// Where in `order` each key ends.
    pub ends: &'a [u32],
}

impl<'a> Groups<'a> {
    /// The rows of each key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [Ref]> {
        let (order, ends) = (self.order, self.ends);
        (0..ends.len()).map(move |index| {
            let start = if index == 0 { 0 } else { ends[index - 1] as usize };
            &order[start..ends[index] as usize]
        })
    }

    /// Whether these rows of a key are one that is the result of merging: it stays as it is.
    #[inline]
    pub fn is_done(&self, group: &[Ref]) -> bool {
        matches!(group, [only] if self.slots[only.slot()].is_merged)
    }
}

/// Where a column of the result comes from.
pub enum Column {
    /// For each key, this row's value.
    Picked(Vec<Ref>),
    /// Values of its own.
    Built(ArrayRef),
}

/// One row for each key.
pub struct Merged {
    /// For each key a row that it takes its column from, where `columns` does not say otherwise.
    pub rows: Vec<Ref>,
    /// Columns that do not come from `rows`: their number, and where they come from.
    pub columns: Vec<(usize, Column)>,
    /// For each key, whether nothing is left of it: a delete that older rows must still hear of.
    pub deleted: Option<Vec<bool>>,
    /// For each key that is left, what else a later merge must hear: [`RESTART`], [`RETRACTED`], or an insert.
    pub marks: Option<Vec<u8>>,
}

impl Merged {
    /// Whole rows, none of them a delete.
    pub fn of_rows(rows: Vec<Ref>) -> Self {
        Merged { rows, columns: Vec::new(), deleted: None, marks: None }
    }

    /// What each row says, when one of them says more than that it is there.
    pub(super) fn kinds(&self) -> Option<Vec<u8>> {
        let insert = ChangeType::Insert.to_byte();
        let mut kinds = self.marks.clone().unwrap_or_else(|| vec![insert; self.rows.len()]);
        for (kind, deleted) in kinds.iter_mut().zip(self.deleted.iter().flatten()) {
            *kind = if *deleted { ChangeType::Delete.to_byte() } else { *kind };
        }
        kinds.iter().any(|kind| is_telling(*kind)).then_some(kinds)
    }

    /// The rows as a batch. Keys that were deleted are left out with `drop_deletes`; else their kinds say so.
    ///
    /// # Errors
    /// As [`gather`](super::gather::gather).
    pub fn batch(self, slots: &[Slot<'_>], drop_deletes: bool) -> Result<(RecordBatch, Option<Vec<u8>>)> {
        let outcome = Outcome::of(self, drop_deletes)?;
        let rows = 0..outcome.rows.len();
        Ok((outcome.batch(slots, rows)?, outcome.kinds))
    }
}

/// Where a column of the table stands among some of its columns, which ascend.
pub(super) fn place(columns: &[usize], column: usize) -> Option<usize> {
    columns.binary_search(&column).ok()
}

/// Makes one row of the rows of each key.
pub trait MergeFunction: Send + Sync {
    /// Checks what rows say that a user hands in, before they are in the log, where a merge could only fail over them for ever. Kinds that pass never make
    /// [`MergeFunction::merge`] fail, however their rows are grouped. Kinds as in a log batch; rows without kinds always pass.
    ///
    /// # Errors
    /// Invalid for a kind that the function cannot take, with the option that would allow it: the error that a merge of the row alone would have.
    fn check_kinds(&self, kinds: &[u8]) -> Result<()>;

    /// Checks the values of rows that a user hands in, where the function reads them: their columns are the table's. Rows that pass never make
    /// [`MergeFunction::merge`] fail, but for results that are too large.
    ///
    /// # Errors
    /// Invalid for a value that the function cannot read.
    fn check_rows(&self, _rows: &RecordBatch) -> Result<()> {
        Ok(())
    }

    /// The columns that say what comes out in `columns`, besides these themselves, by their places in the table.
    fn needs(&self, columns: &[usize]) -> Vec<usize>;

    /// The same function for rows that have only `columns` of the table, ascending: with them all that it needs for them.
    fn over(&self, columns: &[usize]) -> Arc<dyn MergeFunction>;

    /// Whether the newest row of a key is all of it, whatever the older ones say: then they need not be looked for.
    fn goes_by_newest(&self) -> bool {
        false
    }

    /// Whether a delete says something to rows that come later, as where rows go by a sequence. It stays then where nothing older is left, until a merge of all
    /// runs is asked for.
    fn keeps_deletes(&self) -> bool {
        false
    }

    /// Whether merged rows may be marked as [`RETRACTED`].
    fn marks_retracted(&self) -> bool {
        false
    }

    /// Merges each key's rows. A merged row that is alone, or beside rows that are passed over alone, comes out as it is, whatever function merged it: see
    /// [`Groups::is_done`].
    ///
    /// # Errors
    /// Invalid for rows that the function cannot take, such as a retraction that it lacks; Exhausted for a value that is too large for one array; Plugin
    /// for those of a plugin.
    fn merge(&self, groups: Groups<'_>) -> Result<Merged>;
}
