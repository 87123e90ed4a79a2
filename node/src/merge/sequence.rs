//! Which of some rows is the newest by columns that say so: the one with the largest sequence, of equals the later one.
//!
//! Sequences compare column by column, first column first; null is smallest, NaN largest. Choosing among rows is associative: the chosen row carries
//! the sequence that it was chosen by.

use std::cmp::Ordering;

use super::function::{Slot, place};
use super::reference::Ref;
use crate::table::ScalarRef;

/// The columns that order rows, by their place; with none, the later row is newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence(Vec<usize>);

impl Sequence {
    /// Ordered by these columns, which are not nested.
    pub fn new(columns: Vec<usize>) -> Self {
        Sequence(columns)
    }

    /// The columns.
    pub fn columns(&self) -> &[usize] {
        &self.0
    }

    /// Whether the later row is newer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same for rows that have only `columns` of the table: either all of its own are there or none.
    pub fn over(&self, columns: &[usize]) -> Self {
        Sequence(self.0.iter().filter_map(|column| place(columns, *column)).collect())
    }

    /// Compares two rows, not by their place.
    pub fn compare(&self, slots: &[Slot<'_>], left: Ref, right: Ref) -> Ordering {
        let columns = self.0.iter().map(|column| compare(value(slots, *column, left), value(slots, *column, right)));
        columns.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Whether each column of the sequence is null in a row.
    pub fn is_null(&self, slots: &[Slot<'_>], row: Ref) -> bool {
        self.0.iter().all(|column| slots[row.slot()].column(*column).is_null(row.row()))
    }

    /// The newest of `rows`, which come oldest first.
    pub fn newest(&self, slots: &[Slot<'_>], rows: impl DoubleEndedIterator<Item = Ref>) -> Option<Ref> {
        match self.is_empty() {
            true => { rows }.next_back(),
            false => rows.max_by(|left, right| self.compare(slots, *left, *right)),
        }
    }
}

/// A value of a row.
pub(super) fn value<'a>(slots: &[Slot<'a>], column: usize, row: Ref) -> Option<ScalarRef<'a>> {
    ScalarRef::at(slots[row.slot()].column(column), row.row())
}

/// A total order of one column's values: null first, NaN last.
pub(super) fn compare(left: Option<ScalarRef<'_>>, right: Option<ScalarRef<'_>>) -> Ordering {
    let is_nan = |value: ScalarRef<'_>| matches!(value, ScalarRef::Float(number) if number.is_nan());
    match (left, right) {
        (Some(left), Some(right)) => left.compare(right).unwrap_or_else(|| is_nan(left).cmp(&is_nan(right))),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}
