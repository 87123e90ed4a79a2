//! Aggregates whose result is the value of one of the rows: for each key that row, or none where the result is null.

use std::cmp::Ordering;

use arrow::buffer::NullBuffer;

use super::function::Groups;
use super::reference::Ref;
use super::sequence::{Sequence, compare, value};

/// The largest value but null, NaN before all others; of equals the oldest.
pub(super) fn largest(groups: Groups<'_>, column: usize) -> Vec<Ref> {
    extreme(groups, column, Ordering::Greater)
}

/// The smallest value but null, NaN behind all others; of equals the oldest.
pub(super) fn smallest(groups: Groups<'_>, column: usize) -> Vec<Ref> {
    extreme(groups, column, Ordering::Less)
}

/// The newest row by a sequence; none where it takes its value back.
pub(super) fn last(groups: Groups<'_>, sequence: &Sequence) -> Vec<Ref> {
    let newest = |group: &[Ref]| sequence.newest(groups.slots, group.iter().copied());
    let said = |row: &Ref| !groups.slots[row.slot()].is_retraction(row.row());
    groups.iter().map(|group| newest(group).filter(said).unwrap_or(Ref::NONE)).collect()
}

/// The newest row with a value; none where it takes that back.
pub(super) fn last_value(groups: Groups<'_>, column: usize) -> Vec<Ref> {
    let nulls = nulls(groups, column);
    let newest = |group: &[Ref]| group.iter().rfind(|row| is_value(&nulls, **row)).copied();
    let said = |row: &Ref| !groups.slots[row.slot()].is_retraction(row.row());
    groups.iter().map(|group| newest(group).filter(said).unwrap_or(Ref::NONE)).collect()
}

/// The oldest row.
pub(super) fn first(groups: Groups<'_>) -> Vec<Ref> {
    groups.iter().map(|group| group.first().copied().unwrap_or(Ref::NONE)).collect()
}

/// The oldest row with a value.
pub(super) fn first_value(groups: Groups<'_>, column: usize) -> Vec<Ref> {
    let nulls = nulls(groups, column);
    groups.iter().map(|group| group.iter().find(|row| is_value(&nulls, **row)).copied().unwrap_or(Ref::NONE)).collect()
}

fn extreme(groups: Groups<'_>, column: usize, wanted: Ordering) -> Vec<Ref> {
    let nulls = nulls(groups, column);
    let better = |best: Ref, row: Ref| {
        let order = compare(value(groups.slots, column, row), value(groups.slots, column, best));
        if order == wanted { row } else { best }
    };
    let best = |group: &[Ref]| group.iter().copied().filter(|row| is_value(&nulls, *row)).reduce(better);
    groups.iter().map(|group| best(group).unwrap_or(Ref::NONE)).collect()
}

fn nulls<'a>(groups: Groups<'a>, column: usize) -> Vec<Option<&'a NullBuffer>> {
    groups.slots.iter().map(|slot| slot.column(column).nulls()).collect()
}

fn is_value(nulls: &[Option<&NullBuffer>], row: Ref) -> bool {
    nulls[row.slot()].is_none_or(|nulls| nulls.is_valid(row.row()))
}
