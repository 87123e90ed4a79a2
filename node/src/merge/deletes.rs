//! What becomes of deletes where a row is made of several: which rows of each key are left to make it of.
//!
//! Invariant: what is left of adjacent stretches, merged, is what is left of all. Therefore a row behind a delete is marked: rows older than it do not
//! matter, and a key of which nothing is left stays behind as a delete.

use std::borrow::Cow;

use super::function::{Groups, RESTART, RETRACTED, Slot, check_changes, is_retraction};
use super::reference::Ref;
use crate::error::{Error, Result};
use crate::table::ChangeType;

/// What a delete, or the row before an update, does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletes {
    /// It is an error.
    #[default]
    Refuse,
    /// Nothing.
    Ignore,
    /// A delete takes away the row as it was made so far; the row before an update is left for the columns.
    Remove,
    /// It is left for each column to take its value back.
    Retract,
}

impl Deletes {
    /// As [`super::MergeFunction::check_kinds`], where columns take back everything. `engine` and `options`, which would allow deletes, are for the error.
    ///
    /// # Errors
    /// Invalid for a delete where it is refused, as [`Living::of`] has it.
    pub fn check_kinds(self, kinds: &[u8], engine: &str, options: &str) -> Result<()> {
        check_changes(kinds)?;
        let refused = kinds.iter().position(|kind| self == Deletes::Refuse && is_retraction(*kind));
        refused.map_or(Ok(()), |row| Err(refusal(kinds[row], row, engine, options)))
    }

    /// Whether columns see a row of this kind as one that takes values back.
    pub fn leaves_to_columns(self, kind: u8) -> bool {
        match self {
            Deletes::Refuse | Deletes::Ignore => false,
            Deletes::Remove => kind == ChangeType::UpdateBefore.to_byte(),
            Deletes::Retract => is_retraction(kind),
        }
    }
}

/// The rows of each key that a row is made of.
pub struct Living<'a> {
    order: Cow<'a, [Ref]>,
    ends: Cow<'a, [u32]>,
    /// For each key, whether nothing is left.
    pub deleted: Option<Vec<bool>>,
    /// As [`super::Merged::marks`].
    pub marks: Option<Vec<u8>>,
}

impl<'a> Living<'a> {
    /// Of all rows of `groups`. `engine` and `options`, which would allow deletes, are for the error.
    ///
    /// # Errors
    /// Invalid for a delete where it is refused.
    pub fn of(groups: Groups<'a>, deletes: Deletes, engine: &str, options: &str) -> Result<Self> {
        let plain = Living { order: Cow::Borrowed(groups.order), ends: Cow::Borrowed(groups.ends), deleted: None, marks: None };
        if groups.slots.iter().all(|slot| slot.kinds.is_none()) {
            return Ok(plain);
        }
        if deletes == Deletes::Refuse {
            check(groups, engine, options)?;
        }
        let (mut order, mut ends) = (Vec::with_capacity(groups.order.len()), Vec::with_capacity(groups.ends.len()));
        let (mut deleted, mut marks) = (Vec::with_capacity(groups.ends.len()), Vec::with_capacity(groups.ends.len()));
        for group in groups.iter() {
            let start = order.len();
            let mark = keep(groups.slots, group, deletes, &mut order);
            deleted.push(order.len() == start);
            marks.push(mark);
            ends.push(order.len() as u32);
        }
        Ok(Living { order: order.into(), ends: ends.into(), deleted: Some(deleted), marks: Some(marks) })
    }

    /// The rows of each key; a key may have none.
    pub fn groups<'b>(&'b self, slots: &'b [Slot<'b>]) -> Groups<'b> {
        Groups { slots, order: &self.order, ends: &self.ends }
    }
}

fn check(groups: Groups<'_>, engine: &str, options: &str) -> Result<()> {
    let refused = groups.order.iter().find(|row| groups.slots[row.slot()].is_retraction(row.row()));
    refused.map_or(Ok(()), |row| Err(refusal(groups.slots[row.slot()].kind(row.row()), row.row(), engine, options)))
}

fn refusal(kind: u8, row: usize, engine: &str, options: &str) -> Error {
    let kind = ChangeType::from_byte(kind).unwrap_or(ChangeType::Delete);
    Error::invalid(format!("the merge engine `{engine}` takes no {kind}")).at("row", row).hint(format!("set {options} = true"))
}

/// Adds the rows of a key that are left; gives the mark of the row that is made of them.
fn keep(slots: &[Slot<'_>], group: &[Ref], deletes: Deletes, order: &mut Vec<Ref>) -> u8 {
    let insert = ChangeType::Insert.to_byte();
    let kind = |row: &Ref| slots[row.slot()].kind(row.row());
    match deletes {
        Deletes::Refuse => order.extend_from_slice(group),
        Deletes::Retract => {
            order.extend_from_slice(group);
            let takes = |row: &Ref| slots[row.slot()].is_retraction(row.row()) || kind(row) == RETRACTED;
            return if group.iter().all(takes) { RETRACTED } else { insert };
        }
        Deletes::Ignore => order.extend(group.iter().filter(|row| !slots[row.slot()].is_retraction(row.row()))),
        Deletes::Remove => {
            let is_start = |row: &Ref| kind(row) == ChangeType::Delete.to_byte() || kind(row) == RESTART;
            let Some(start) = group.iter().rposition(is_start) else {
                order.extend_from_slice(group);
                return insert;
            };
            let first = start + usize::from(kind(&group[start]) != RESTART);
            order.extend_from_slice(&group[first..]);
            return RESTART;
        }
    }
    insert
}
