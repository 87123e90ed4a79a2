//! Merged rows that are not copied yet: some thousand of them, with their keys.
//!
//! Who reads them copies them to arrays, who writes a run straight into its blocks. This module knows nothing of where rows come from.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};

use super::rows::Chunk;
use super::run::key_hash;
use crate::error::Result;
use crate::merge::function::{is_telling, without_older};
use crate::merge::{Outcome, Ref, Slot};
use crate::table::digits;
use crate::table::key::KeyRef;

/// See the head of this module.
pub struct Tile {
    chunks: Vec<Arc<Chunk>>,
    outcome: Outcome,
    /// The key of each row, where keys are numbers.
    numbers: Option<Vec<u64>>,
    /// The rows are these of each chunk.
    stretches: Option<Vec<Range<usize>>>,
}

impl Tile {
    pub(super) fn new(chunks: Vec<Arc<Chunk>>, outcome: Outcome, numbers: Option<Vec<u64>>) -> Self {
        debug_assert!(numbers.as_ref().is_none_or(|numbers| numbers.len() == outcome.rows.len()), "a key a row");
        Tile { chunks, outcome, numbers, stretches: None }
    }

    /// Rows of each chunk that were merged when they were written, and stand alone. With `drop_deletes` those that say that their key is gone are left out.
    pub(super) fn of_merged(chunks: Vec<Arc<Chunk>>, pieces: Vec<Range<usize>>, drop_deletes: bool) -> Self {
        let rows = |slot: usize, rows: &Range<usize>| rows.clone().map(move |row| Ref::new(slot, row));
        let mut all: Vec<Ref> = pieces.iter().enumerate().flat_map(|(slot, piece)| rows(slot, piece)).collect();
        let says_more = chunks.iter().any(|chunk| chunk.kinds.is_some());
        let count = all.len();
        if says_more && drop_deletes {
            all.retain(|row| !chunks[row.slot()].slot().is_delete(row.row()));
        }
        let kind = |row: &Ref| chunks[row.slot()].slot().kind(row.row());
        let kind = |row: &Ref| if drop_deletes { without_older(kind(row)) } else { kind(row) };
        let kinds: Option<Vec<u8>> = says_more.then(|| all.iter().map(kind).collect());
        let kinds = kinds.filter(|kinds| kinds.iter().any(|kind| is_telling(*kind)));
        let numbers = chunks.iter().map(|chunk| chunk.keys.as_numbers()).collect::<Option<Vec<_>>>();
        let numbers = numbers.map(|numbers| all.iter().map(|row| numbers[row.slot()][row.row()]).collect());
        let stretches = (all.len() == count).then_some(pieces);
        Tile { chunks, outcome: Outcome::of_rows(all, kinds), numbers, stretches }
    }

    /// The same rows, which say nothing but that they are there.
    pub(super) fn plain(mut self) -> Self {
        self.outcome.kinds = None;
        self
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.outcome.rows.len()
    }

    /// Their kinds, as in a log batch; `None` when no row says that its key is gone.
    pub fn kinds(&self) -> Option<&[u8]> {
        self.outcome.kinds.as_deref()
    }

    /// The rows as readers see them.
    ///
    /// # Errors
    /// Exhausted when a column would be too long.
    pub fn shown(&self) -> Result<RecordBatch> {
        digits::shown(self.batch()?)
    }

    /// The rows as a batch.
    ///
    /// # Errors
    /// Exhausted when a column would be too long.
    pub fn batch(&self) -> Result<RecordBatch> {
        let Some(stretches) = &self.stretches else { return self.outcome.batch(&self.slots(), 0..self.rows()) };
        match (&self.chunks[..], &stretches[..]) {
            // Rows of one chunk stay where they are.
            ([chunk], [rows]) => Ok(chunk.columns.view().batch().slice(rows.start, rows.len())),
            _ => self.outcome.batch(&self.slots(), 0..self.rows()),
        }
    }

    /// One column of the rows.
    pub(super) fn column(&self, place: usize) -> Result<ArrayRef> {
        self.outcome.column(&self.slots(), place)
    }

    /// Some of the rows.
    pub(super) fn only(self, kept: &BooleanArray) -> Result<Tile> {
        let Tile { chunks, outcome, numbers, .. } = self;
        let is_kept: Vec<bool> = (0..kept.len()).map(|row| kept.value(row)).collect();
        let of_kept =
            |numbers: Vec<u64>| numbers.into_iter().zip(&is_kept).filter(|(_, is_kept)| **is_kept).map(|(number, _)| number).collect();
        let numbers = numbers.map(of_kept);
        Ok(Tile { chunks, outcome: outcome.only(&is_kept)?, numbers, stretches: None })
    }

    /// The first rows, at most so many.
    pub(super) fn first_rows(&self, count: usize) -> Result<RecordBatch> {
        self.outcome.batch(&self.slots(), 0..count.min(self.rows()))
    }

    /// The key of a row.
    pub fn key(&self, row: usize) -> KeyRef<'_> {
        match &self.numbers {
            Some(numbers) => KeyRef::Number(numbers[row]),
            None => {
                let row = self.outcome.rows[row];
                self.chunks[row.slot()].keys.get(row.row())
            }
        }
    }

    /// Adds the hashes of all keys.
    pub(super) fn hash_keys(&self, hashes: &mut Vec<u64>) {
        match &self.numbers {
            Some(numbers) => hashes.extend(numbers.iter().map(|number| key_hash(KeyRef::Number(*number)))),
            None => hashes.extend((0..self.rows()).map(|row| key_hash(self.key(row)))),
        }
    }

    /// What the rows are made of.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Where the rows stand.
    pub(super) fn slots(&self) -> Vec<Slot<'_>> {
        self.chunks.iter().map(|chunk| chunk.slot()).collect()
    }
}
