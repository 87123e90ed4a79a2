//! Each column of a key's row is an aggregate of the column over the key's rows.
//!
//! Columns of the sequence are taken from the newest row. A key whose rows are all retractions has a row, whose values are what was taken back.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::aggregate::Aggregate;
use super::deletes::{Deletes, Living};
use super::function::{Column, Groups, MergeFunction, Merged};
use super::reference::Ref;
use super::sequence::Sequence;
use crate::error::Result;

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub struct Aggregation {
    /// The columns, without those of the key and of the sequence.
    pub aggregates: Vec<Aggregate>,
    /// The columns that say which row is newer.
    pub sequence: Sequence,
    /// What deletes do.
    pub deletes: Deletes,
}

/// How the engine is called.
pub(super) const NAME: &str = "aggregation";

/// What allows retractions, whatever the columns are.
pub(super) const OPTION: &str = "`ignore-delete`";

impl MergeFunction for Aggregation {
    fn check_kinds(&self, kinds: &[u8]) -> Result<()> {
        self.deletes.check_kinds(kinds, NAME, OPTION)?;
        let Some(row) = kinds.iter().position(|kind| self.deletes.leaves_to_columns(*kind)) else { return Ok(()) };
        self.aggregates.iter().try_for_each(|aggregate| aggregate.check_retraction(kinds[row], row))
    }

    fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        self.aggregates.iter().try_for_each(|aggregate| aggregate.check_rows(rows))
    }

    fn needs(&self, columns: &[usize]) -> Vec<usize> {
        let is_ordered = |column: &usize| {
            let goes_by_it = |aggregate: &Aggregate| aggregate.column == *column && aggregate.function.goes_by_sequence();
            self.sequence.columns().contains(column) || self.aggregates.iter().any(goes_by_it)
        };
        if columns.iter().any(is_ordered) { self.sequence.columns().to_vec() } else { Vec::new() }
    }

    fn over(&self, columns: &[usize]) -> Arc<dyn MergeFunction> {
        let aggregates = self.aggregates.iter().filter_map(|aggregate| aggregate.over(columns)).collect();
        Arc::new(Aggregation { aggregates, sequence: self.sequence.over(columns), deletes: self.deletes })
    }

    fn marks_retracted(&self) -> bool {
        self.deletes == Deletes::Retract
    }

    fn merge(&self, groups: Groups<'_>) -> Result<Merged> {
        let living = Living::of(groups, self.deletes, NAME, OPTION)?;
        let left = living.groups(groups.slots);
        let mut columns = Vec::with_capacity(self.aggregates.len() + self.sequence.columns().len());
        if !self.sequence.is_empty() {
            let newest = |group: &[Ref]| self.sequence.newest(left.slots, group.iter().copied()).unwrap_or(Ref::NONE);
            let newest: Vec<Ref> = left.iter().map(newest).collect();
            columns.extend(self.sequence.columns().iter().map(|column| (*column, Column::Picked(newest.clone()))));
        }
        for aggregate in &self.aggregates {
            columns.push((aggregate.column, aggregate.merge(left, &self.sequence)?));
        }
        let rows = groups.ends.iter().map(|end| groups.order[*end as usize - 1]).collect();
        Ok(Merged { rows, columns, deleted: living.deleted, marks: living.marks })
    }
}
