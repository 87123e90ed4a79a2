//! The newest row of a key is the row.
//!
//! With sequence columns the newest is the one with the largest sequence, the later one of equals; a null sequence is the smallest. A delete takes part
//! by its sequence as any row does, and stays behind as a delete where it is the newest.

use std::sync::Arc;

use super::function::{Groups, MergeFunction, Merged, check_changes};
use super::reference::Ref;
use super::sequence::Sequence;
use crate::error::Result;

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub struct Deduplicate {
    /// The columns that say which row is newer.
    pub sequence: Sequence,
    /// Deletes are as if they had not been sent.
    pub ignore_delete: bool,
}

impl MergeFunction for Deduplicate {
    fn check_kinds(&self, kinds: &[u8]) -> Result<()> {
        check_changes(kinds)
    }

    fn needs(&self, _columns: &[usize]) -> Vec<usize> {
        self.sequence.columns().to_vec()
    }

    fn over(&self, columns: &[usize]) -> Arc<dyn MergeFunction> {
        Arc::new(Deduplicate { sequence: self.sequence.over(columns), ..*self })
    }

    fn goes_by_newest(&self) -> bool {
        self.sequence.is_empty() && !self.ignore_delete
    }

    fn keeps_deletes(&self) -> bool {
        !self.sequence.is_empty() && !self.ignore_delete
    }

    fn merge(&self, groups: Groups<'_>) -> Result<Merged> {
        let slots = groups.slots;
        let newest = |group: &[Ref]| match group {
            [only] => *only,
            _ => self.sequence.newest(slots, group.iter().copied()).expect("a key has rows"),
        };
        if slots.iter().all(|slot| slot.kinds.is_none()) {
            let rows = match self.sequence.is_empty() {
                true => groups.ends.iter().map(|end| groups.order[*end as usize - 1]).collect(),
                false => groups.iter().map(newest).collect(),
            };
            return Ok(Merged::of_rows(rows));
        }
        let is_gone = |row: Ref| slots[row.slot()].is_retraction(row.row());
        let kept = |group: &[Ref]| {
            let left = group.iter().copied().filter(|row| !is_gone(*row));
            self.sequence.newest(slots, left).unwrap_or_else(|| newest(group))
        };
        let rows: Vec<Ref> = groups.iter().map(|group| if self.ignore_delete { kept(group) } else { newest(group) }).collect();
        let deleted = rows.iter().map(|row| is_gone(*row)).collect();
        Ok(Merged { deleted: Some(deleted), ..Merged::of_rows(rows) })
    }
}
