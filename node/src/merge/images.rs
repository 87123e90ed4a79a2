//! What becomes of the rows of each key when more rows are written: the changes, with whole rows before and after.
//!
//! Changes of one key follow each other: the row after one is the row before the next. Invariants: changes come in the order in which rows were written; a `-U`
//! stands right before its `+U`; what changes nothing is no change. Knows nothing of where the rows before come from.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::equal::retain_equal;
use super::function::{Groups, MergeFunction, Slot, is_telling};
use super::gather::gather;
use super::order::{Prefixes, group_ends};
use super::reference::Ref;
use crate::error::{Error, Result};
use crate::table::stored::ColumnRef;
use crate::table::{ChangeType, Image, KeyRef, Keys, digits};

/// Rows that one call takes at most: two rows for each of them still have numbers of 16 bits.
pub const WRITTEN_ROWS_MAX: usize = 1 << 15;

/// Rows as they are written.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// The rows.
    pub batch: &'a RecordBatch,
    /// What each says.
    pub kinds: &'a [u8],
    /// Their keys.
    pub keys: &'a Keys,
}

/// Written rows by key. A row before an update and the row behind it are one step.
pub struct Steps {
    /// First row of each step, then the number of rows.
    starts: Vec<u32>,
    /// Steps by key, in the order in which they were written.
    order: Vec<u32>,
    /// Where in `order` each key ends.
    ends: Vec<u32>,
}

impl Steps {
    /// Of at most [`WRITTEN_ROWS_MAX`] rows.
    pub fn of(written: &Written<'_>) -> Self {
        let rows = written.kinds.len();
        assert!(rows <= WRITTEN_ROWS_MAX, "{rows} rows are written at once");
        let starts = starts(written);
        let keys = [written.keys];
        let Some((low, high)) = bounds(written.keys) else { return Steps { starts, order: Vec::new(), ends: Vec::new() } };
        let prefixes = Prefixes::between(&keys, low, high);
        let mut entries = Vec::with_capacity(rows);
        prefixes.extend(0, 0..rows, &mut entries);
        let has_pairs = starts.len() <= rows;
        if has_pairs {
            entries = starts[..starts.len() - 1].iter().map(|row| entries[*row as usize]).collect();
        }
        prefixes.sort(&mut entries);
        let mut ends = Vec::new();
        group_ends(prefixes, &entries, &mut ends);
        let step = |row: u32| if has_pairs { starts.partition_point(|start| *start <= row) as u32 - 1 } else { row };
        let order = entries.iter().map(|entry| step(entry.1.row() as u32)).collect();
        Steps { starts, order, ends }
    }

    /// How many keys.
    pub fn keys(&self) -> usize {
        self.ends.len()
    }

    /// A row of each key, in key order.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.keys()).map(|key| self.starts[self.order[self.of_key(key).start] as usize] as usize)
    }

    /// Where in the order a key's steps are.
    fn of_key(&self, key: usize) -> Range<usize> {
        let start = if key == 0 { 0 } else { self.ends[key - 1] as usize };
        start..self.ends[key] as usize
    }

    fn rows_of(&self, step: u32) -> Range<usize> {
        self.starts[step as usize] as usize..self.starts[step as usize + 1] as usize
    }
}

fn starts(written: &Written<'_>) -> Vec<u32> {
    let before = ChangeType::UpdateBefore.to_byte();
    let rows = written.kinds.len();
    if !written.kinds.contains(&before) {
        return (0..=rows as u32).collect();
    }
    let mut starts = Vec::with_capacity(rows + 1);
    let mut row = 0;
    while row < rows {
        starts.push(row as u32);
        let is_pair = written.kinds[row] == before && row + 1 < rows && written.keys.get(row) == written.keys.get(row + 1);
        row += if is_pair { 2 } else { 1 };
    }
    starts.push(rows as u32);
    starts
}

fn bounds(keys: &Keys) -> Option<(KeyRef<'_>, KeyRef<'_>)> {
    match keys {
        // Nothing of a number is left out.
        Keys::Numbers(numbers) => numbers.first().map(|first| (KeyRef::Number(*first), KeyRef::Number(*first))),
        Keys::Bytes(bytes) => {
            let mut all = (0..bytes.len()).map(|row| bytes.get(row));
            let first = all.next()?;
            let (low, high) = all.fold((first, first), |(low, high), key| (low.min(key), high.max(key)));
            Some((KeyRef::Bytes(low), KeyRef::Bytes(high)))
        }
    }
}

/// Changes as they stand in a log.
pub struct Changes {
    /// Whole rows.
    pub batch: RecordBatch,
    /// What each row is.
    pub kinds: Vec<u8>,
    /// For each a written row with its key.
    pub rows: Vec<u32>,
}

/// What written rows change. `old` has the row that each key of `steps` has before, if it has one, and where those rows are.
///
/// # Errors
/// Those of the merge function, and of [`gather`].
pub fn changes(
    function: &dyn MergeFunction,
    image: Image,
    written: Written<'_>,
    steps: &Steps,
    old: (&[Slot<'_>], &[Ref]),
) -> Result<Changes> {
    let mut run = Run::new(function, written, steps, old);
    for round in 0.. {
        if !run.round(round)? {
            break;
        }
    }
    run.drop_unchanged();
    run.emit(image)
}

/// A slot's number in one call of the function, before it has one.
const NO_NUMBER: u32 = u32::MAX;

/// The written rows are slot 0, then come those of the rows before, then what the function built.
struct Run<'a> {
    function: &'a dyn MergeFunction,
    written: Written<'a>,
    steps: &'a Steps,
    old: &'a [Slot<'a>],
    built: Vec<RecordBatch>,
    /// The row of each key so far.
    state: Vec<Ref>,
    /// For each step the row before and after.
    before: Vec<Ref>,
    after: Vec<Ref>,
    /// Keys that have more steps.
    active: Vec<u32>,
    /// Numbers of slots in one call; as they were between calls.
    numbers: Vec<u32>,
    has_telling: bool,
}

impl<'a> Run<'a> {
    fn new(function: &'a dyn MergeFunction, written: Written<'a>, steps: &'a Steps, (old, rows): (&'a [Slot<'a>], &[Ref])) -> Self {
        let shifted = |row: &Ref| if *row == Ref::NONE { Ref::NONE } else { Ref::new(row.slot() + 1, row.row()) };
        let count = steps.starts.len() - 1;
        Run {
            function,
            written,
            steps,
            old,
            built: Vec::new(),
            state: rows.iter().map(shifted).collect(),
            before: vec![Ref::NONE; count],
            after: vec![Ref::NONE; count],
            active: (0..steps.keys() as u32).collect(),
            numbers: vec![NO_NUMBER; old.len() + 1],
            has_telling: written.kinds.iter().any(|kind| is_telling(*kind)),
        }
    }

    fn slot(&self, number: usize) -> Slot<'_> {
        match number {
            0 => Slot { columns: self.written.batch.into(), kinds: self.has_telling.then_some(self.written.kinds), is_merged: false },
            // Each of these rows is there: what others of their slots say does not matter.
            _ if number <= self.old.len() => Slot { columns: self.old[number - 1].columns, kinds: None, is_merged: true },
            _ => Slot { columns: (&self.built[number - 1 - self.old.len()]).into(), kinds: None, is_merged: true },
        }
    }

    /// Merges the next step of each key that has one into its row.
    fn round(&mut self, round: usize) -> Result<bool> {
        let steps = self.steps;
        self.active.retain(|key| steps.of_key(*key as usize).len() > round);
        if self.active.is_empty() {
            return Ok(false);
        }
        let (mut order, mut ends) = (Vec::with_capacity(2 * self.active.len()), Vec::with_capacity(self.active.len()));
        let mut used = vec![0];
        for &key in &self.active {
            let state = self.state[key as usize];
            if state != Ref::NONE {
                let number = match state.slot() {
                    0 => 0,
                    slot => {
                        let number = &mut self.numbers[slot];
                        if *number == NO_NUMBER {
                            *number = used.len() as u32;
                            used.push(slot);
                        }
                        *number as usize
                    }
                };
                order.push(Ref::new(number, state.row()));
            }
            let step = steps.order[steps.of_key(key as usize).start + round];
            order.extend(steps.rows_of(step).map(|row| Ref::new(0, row)));
            ends.push(order.len() as u32);
        }
        let slots: Vec<Slot<'_>> = used.iter().map(|slot| self.slot(*slot)).collect();
        let merged = self.function.merge(Groups { slots: &slots, order: &order, ends: &ends })?;
        let (rows, deleted) = (merged.rows.clone(), merged.deleted.clone());
        let built = match merged.columns.is_empty() {
            true => None,
            // Images are what readers see: a total of too many digits is written as null, and the next value begins anew.
            false => Some(digits::shown(merged.batch(&slots, false)?.0)?),
        };
        drop(slots);
        let built_slot = self.old.len() + 1 + self.built.len();
        for (group, &key) in self.active.iter().enumerate() {
            let after = match (deleted.as_ref().is_some_and(|deleted| deleted[group]), &built) {
                (true, _) => Ref::NONE,
                (false, Some(_)) => Ref::new(built_slot, group),
                (false, None) => Ref::new(used[rows[group].slot()], rows[group].row()),
            };
            let step = steps.order[steps.of_key(key as usize).start + round] as usize;
            self.before[step] = std::mem::replace(&mut self.state[key as usize], after);
            self.after[step] = after;
        }
        used.iter().for_each(|slot| self.numbers[*slot] = NO_NUMBER);
        if let Some(built) = built {
            self.built.push(built);
            self.numbers.push(NO_NUMBER);
        }
        Ok(true)
    }

    /// Steps behind which a row is as it was are as if they had not been.
    fn drop_unchanged(&mut self) {
        let is_update = |step: &usize| self.before[*step] != Ref::NONE && self.after[*step] != Ref::NONE;
        let mut same: Vec<(Ref, Ref, u32)> = Vec::new();
        for step in (0..self.before.len()).filter(is_update) {
            if self.before[step] != self.after[step] {
                same.push((self.before[step], self.after[step], step as u32));
            }
        }
        // Columns of the key most often come first, and are equal.
        for column in (0..self.written.batch.num_columns()).rev() {
            if same.is_empty() {
                return;
            }
            retain_equal(&self.sources(column), &mut same);
        }
        for (before, _, step) in same {
            self.after[step as usize] = before;
        }
    }

    fn sources(&self, column: usize) -> Vec<ColumnRef<'_>> {
        let old = self.old.iter().map(|slot| slot.columns.column(column));
        let built = self.built.iter().map(|batch| batch.column(column).into());
        std::iter::once(self.written.batch.column(column).into()).chain(old).chain(built).collect()
    }

    fn emit(&self, image: Image) -> Result<Changes> {
        use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
        let (mut picks, mut kinds, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut push = |row: Ref, kind: ChangeType, written: u32| {
            picks.push(row);
            kinds.push(kind.to_byte());
            rows.push(written);
        };
        for (step, (&before, &after)) in self.before.iter().zip(&self.after).enumerate() {
            let written = self.steps.starts[step];
            match (before, after) {
                _ if before == after => {}
                (Ref::NONE, _) => push(after, Insert, written),
                (_, Ref::NONE) => push(before, Delete, written),
                _ => {
                    if image == Image::Full {
                        push(before, UpdateBefore, written);
                    }
                    push(after, UpdateAfter, written);
                }
            }
        }
        let schema = self.written.batch.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            columns.push(gather(field.data_type(), &self.sources(index), &picks)?);
        }
        let batch =
            RecordBatch::try_new(schema, columns).map_err(|error| Error::internal("changed columns are no batch").caused_by(error))?;
        Ok(Changes { batch, kinds, rows })
    }
}
