//! The row of a key is put together column by column: of each the newest value that is not null.
//!
//! Columns of a sequence group go by a sequence of their own: all are taken, nulls too, from the row with the group's largest sequence, the later one of
//! equals; rows that have no sequence say nothing about the group. Columns of a group may be aggregated instead.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::aggregate::Aggregate;
use super::deletes::{Deletes, Living};
use super::function::{Column, Groups, MergeFunction, Merged, place};
use super::reference::Ref;
use super::sequence::Sequence;
use crate::error::Result;
use crate::table::ChangeType;

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub struct PartialUpdate {
    /// The columns, without those of the key and those of groups.
    pub columns: Vec<usize>,
    /// The sequence groups; no column stands in two.
    pub groups: Vec<SequenceGroup>,
    /// What deletes do: not [`Deletes::Retract`].
    pub deletes: Deletes,
}

/// Columns that are updated together.
#[derive(Clone, Debug, Default)]
pub struct SequenceGroup {
    /// What orders them.
    pub sequence: Sequence,
    /// The columns, without those of the sequence and those that are aggregated.
    pub columns: Vec<usize>,
    /// The columns that are aggregated.
    pub aggregates: Vec<Aggregate>,
}

const NAME: &str = "partial-update";
const OPTIONS: &str = "`ignore-delete` or `partial-update.remove-record-on-delete`";

impl MergeFunction for PartialUpdate {
    fn check_kinds(&self, kinds: &[u8]) -> Result<()> {
        // Aggregates of groups hear of no retraction: a delete never comes to the columns, and the row before an update says nothing.
        self.deletes.check_kinds(kinds, NAME, OPTIONS)
    }

    fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        self.groups.iter().flat_map(|group| &group.aggregates).try_for_each(|aggregate| aggregate.check_rows(rows))
    }

    fn needs(&self, columns: &[usize]) -> Vec<usize> {
        let asked = self.groups.iter().filter(|group| columns.iter().any(|column| group.has(*column)));
        asked.flat_map(|group| group.sequence.columns()).copied().collect()
    }

    fn over(&self, columns: &[usize]) -> Arc<dyn MergeFunction> {
        let groups = self.groups.iter().filter(|group| group.sequence.columns().iter().all(|column| columns.contains(column)));
        let groups = groups.map(|group| group.over(columns)).collect();
        Arc::new(PartialUpdate { columns: places(columns, &self.columns), groups, deletes: self.deletes })
    }

    fn merge(&self, groups: Groups<'_>) -> Result<Merged> {
        let living = Living::of(groups, self.deletes, NAME, OPTIONS)?;
        let left = living.groups(groups.slots);
        let mut columns: Vec<(usize, Column)> =
            self.columns.iter().map(|column| (*column, Column::Picked(newest_values(left, *column)))).collect();
        for group in &self.groups {
            group.merge(left, &mut columns)?;
        }
        let rows = groups.ends.iter().map(|end| groups.order[*end as usize - 1]).collect();
        Ok(Merged { rows, columns, deleted: living.deleted, marks: living.marks })
    }
}

impl SequenceGroup {
    /// Whether a column goes by its sequence, or is one of it.
    fn has(&self, column: usize) -> bool {
        let is_aggregate = || self.aggregates.iter().any(|aggregate| aggregate.column == column);
        self.columns.contains(&column) || self.sequence.columns().contains(&column) || is_aggregate()
    }

    fn over(&self, columns: &[usize]) -> Self {
        let aggregates = self.aggregates.iter().filter_map(|aggregate| aggregate.over(columns)).collect();
        SequenceGroup { sequence: self.sequence.over(columns), columns: places(columns, &self.columns), aggregates }
    }

    fn merge(&self, groups: Groups<'_>, columns: &mut Vec<(usize, Column)>) -> Result<()> {
        let (mut order, mut ends) = (Vec::with_capacity(groups.order.len()), Vec::with_capacity(groups.ends.len()));
        let mut newest = Vec::with_capacity(groups.ends.len());
        for group in groups.iter() {
            let start = order.len();
            let speaks = |row: &&Ref| !is_silent(groups, **row) && !self.sequence.is_null(groups.slots, **row);
            order.extend(group.iter().filter(speaks));
            if order.len() == start {
                // Where nobody says anything, what was merged before stays: it may have been merged in another way.
                order.extend(group.first().filter(|row| groups.slots[row.slot()].is_merged));
            }
            ends.push(order.len() as u32);
            newest.push(self.sequence.newest(groups.slots, order[start..].iter().copied()).unwrap_or(Ref::NONE));
        }
        let spoken = Groups { slots: groups.slots, order: &order, ends: &ends };
        let picked = self.sequence.columns().iter().chain(&self.columns);
        columns.extend(picked.map(|column| (*column, Column::Picked(newest.clone()))));
        for aggregate in &self.aggregates {
            columns.push((aggregate.column, aggregate.merge(spoken, &self.sequence)?));
        }
        Ok(())
    }
}

/// Where some columns of the table stand among others, without those that do not.
fn places(columns: &[usize], wanted: &[usize]) -> Vec<usize> {
    wanted.iter().filter_map(|column| place(columns, *column)).collect()
}

/// The row before an update says nothing: what it says is taken back by the row behind it.
fn is_silent(groups: Groups<'_>, row: Ref) -> bool {
    groups.slots[row.slot()].kind(row.row()) == ChangeType::UpdateBefore.to_byte()
}

fn newest_values(groups: Groups<'_>, column: usize) -> Vec<Ref> {
    let has_nulls = groups.slots.iter().any(|slot| slot.column(column).null_count() > 0 || slot.kinds.is_some());
    if !has_nulls {
        return groups.iter().map(|group| group.last().copied().unwrap_or(Ref::NONE)).collect();
    }
    let nulls: Vec<_> = groups.slots.iter().map(|slot| slot.column(column).nulls()).collect();
    let is_value = |row: &&Ref| !is_silent(groups, **row) && nulls[row.slot()].is_none_or(|nulls| nulls.is_valid(row.row()));
    groups.iter().map(|group| group.iter().rfind(is_value).copied().unwrap_or(Ref::NONE)).collect()
}
