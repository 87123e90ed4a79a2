//! What a merge came to, not copied yet: which rows are left, what they say, and where each of their columns comes from.
//!
//! The copy is made once, to where the rows are wanted: to arrays for who reads them, straight into the blocks of a run. Invariant: both show the same rows.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::function::{Column, Merged, Slot, is_telling, without_older};
use super::gather::Source;
use super::kernels::Picks;
use super::reference::Ref;
use crate::error::{Error, Result};
use crate::table::stored::ColumnRef;

/// A single row of a slot of at most so many rows is handed on where it lies: that it keeps the others in memory costs less than a copy of each column.
const LEFT_IN_PLACE_ROWS_MAX: usize = 1024;

/// See the head of this module.
pub struct Outcome {
    /// For each row, one of its key.
    pub rows: Vec<Ref>,
    /// What each says, as in a log batch; `None` when none says more than that it is there.
    pub kinds: Option<Vec<u8>>,
    /// Columns that do not come from `rows`.
    columns: Vec<(usize, Column)>,
    /// Of the keys that were merged, those that are left; `None` when all are.
    left: Option<Vec<bool>>,
}

impl Outcome {
    /// What is left of `merged`: keys that were deleted are left out with `drop_deletes`, as where nothing older is left; else their kinds say so.
    ///
    /// # Errors
    /// Internal, for columns that are not as long as there are keys.
    pub fn of(merged: Merged, drop_deletes: bool) -> Result<Self> {
        let kinds = merged.kinds();
        let Merged { mut rows, mut columns, deleted, .. } = merged;
        let left: Option<Vec<bool>> = deleted
            .filter(|deleted| drop_deletes && deleted.contains(&true))
            .map(|deleted| deleted.iter().map(|deleted| !deleted).collect());
        if let Some(left) = &left {
            keep(&mut rows, left);
            keep_columns(&mut columns, left)?;
        }
        let kinds = if drop_deletes { kinds.and_then(|kinds| kinds_without_older(kinds, left.as_deref())) } else { kinds };
        Ok(Outcome { rows, kinds, columns, left })
    }

    /// Some of the rows.
    ///
    /// # Errors
    /// Internal, for columns that are not as long as there are rows.
    pub fn only(self, kept: &[bool]) -> Result<Self> {
        let Outcome { mut rows, kinds, mut columns, .. } = self;
        keep(&mut rows, kept);
        keep_columns(&mut columns, kept)?;
        let of_kept = |kinds: Vec<u8>| kinds.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(kind, _)| kind).collect();
        Ok(Outcome { rows, kinds: kinds.map(of_kept), columns, left: None })
    }

    /// Rows that are merged already.
    pub fn of_rows(rows: Vec<Ref>, kinds: Option<Vec<u8>>) -> Self {
        Outcome { rows, kinds, columns: Vec::new(), left: None }
    }

    /// Whether the key of this number, of those that were merged, is left.
    pub fn keeps(&self, key: usize) -> bool {
        self.left.as_ref().is_none_or(|left| left[key])
    }

    /// Whether all keys that were merged are left.
    pub fn keeps_all(&self) -> bool {
        self.left.is_none()
    }

    /// Some of the rows as a batch. Panics when there are not so many.
    ///
    /// # Errors
    /// As [`gather`](super::gather::gather).
    pub fn batch(&self, slots: &[Slot<'_>], rows: Range<usize>) -> Result<RecordBatch> {
        if let ([only], true) = (&self.rows[rows.clone()], self.columns.is_empty())
            && *only != Ref::NONE
            && slots[only.slot()].columns.rows() <= LEFT_IN_PLACE_ROWS_MAX
        {
            return Ok(slots[only.slot()].columns.batch().slice(only.row(), 1));
        }
        let lengths = lengths(slots);
        let schema = slots[0].columns.schema().clone();
        let copy = |copy: &ColumnCopy<'_>| match copy {
            ColumnCopy::Gathered(source, picks) => source.array(picks.part(rows.start, rows.len())),
            ColumnCopy::Made(array) => Ok(array.slice(rows.start, rows.len())),
        };
        let arrays = self.copies(&schema, slots, &lengths).iter().map(copy).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(schema, arrays).map_err(|error| Error::internal("merged columns are no batch").caused_by(error))
    }

    /// One column of the rows.
    ///
    /// # Errors
    /// As [`gather`](super::gather::gather).
    pub fn column(&self, slots: &[Slot<'_>], index: usize) -> Result<ArrayRef> {
        let schema = slots[0].columns.schema().clone();
        let lengths = lengths(slots);
        match self.copy(schema.field(index).data_type(), index, slots, Picks::new(&self.rows, &lengths)) {
            ColumnCopy::Gathered(source, picks) => source.array(picks),
            ColumnCopy::Made(array) => Ok(array),
        }
    }

    /// How each column of `schema` is copied out of `slots`, whose rows are `lengths`.
    pub fn copies<'a>(&'a self, schema: &'a Schema, slots: &[Slot<'a>], lengths: &'a [u32]) -> Vec<ColumnCopy<'a>> {
        let types = schema.fields().iter().map(|field| field.data_type()).enumerate();
        let rows = Picks::new(&self.rows, lengths);
        types.map(|(index, data_type)| self.copy(data_type, index, slots, rows)).collect()
    }

    /// How one column is copied; `rows` are its rows where no others were chosen for it.
    fn copy<'a>(&'a self, data_type: &'a DataType, index: usize, slots: &[Slot<'a>], rows: Picks<'a>) -> ColumnCopy<'a> {
        let sources: Vec<ColumnRef<'a>> = slots.iter().map(|slot| slot.columns.column(index)).collect();
        let picks = match self.columns.iter().find(|(column, _)| *column == index) {
            None => rows,
            Some((_, Column::Picked(picked))) => rows.others(picked),
            Some((_, Column::Built(array))) => return ColumnCopy::Made(array.clone()),
        };
        ColumnCopy::Gathered(Source::new(data_type, &sources), picks)
    }
}

/// How one column is copied.
pub enum ColumnCopy<'a> {
    /// By reference.
    Gathered(Source<'a>, Picks<'a>),
    /// It is there already.
    Made(ArrayRef),
}

/// Rows of each slot.
pub fn lengths(slots: &[Slot<'_>]) -> Vec<u32> {
    slots.iter().map(|slot| slot.columns.rows() as u32).collect()
}

/// The kinds of the rows that are left, where one of them says more than that it is there.
fn kinds_without_older(kinds: Vec<u8>, left: Option<&[bool]>) -> Option<Vec<u8>> {
    let is_left = |row: usize| left.is_none_or(|left| left[row]);
    let kinds: Vec<u8> = kinds.into_iter().enumerate().filter(|(row, _)| is_left(*row)).map(|(_, kind)| without_older(kind)).collect();
    kinds.iter().any(|kind| is_telling(*kind)).then_some(kinds)
}

fn keep(rows: &mut Vec<Ref>, left: &[bool]) {
    let mut is_left = left.iter();
    rows.retain(|_| *is_left.next().expect("one a key"));
}

fn keep_columns(columns: &mut [(usize, Column)], left: &[bool]) -> Result<()> {
    for (_, column) in columns {
        match column {
            Column::Picked(picked) => keep(picked, left),
            Column::Built(array) => *array = filtered(array, left)?,
        }
    }
    Ok(())
}

fn filtered(array: &ArrayRef, left: &[bool]) -> Result<ArrayRef> {
    let mask = left.iter().map(|left| Some(*left)).collect();
    arrow::compute::filter(array, &mask).map_err(|error| Error::internal("cannot drop deleted rows").caused_by(error))
}
