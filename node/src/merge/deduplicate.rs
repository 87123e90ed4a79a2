//! The newest row of a key is the row.
//!
//! With sequence columns the newest is the one with the largest sequence, the later one of equals; a null sequence is the smallest.

use super::function::{Groups, MergeFunction, Merged};

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub struct Deduplicate {
    /// Deletes are as if they had not been sent.
    pub ignore_delete: bool,
}

impl MergeFunction for Deduplicate {
    fn merge(&self, groups: Groups<'_>) -> crate::error::Result<Merged> {
        let has_kinds = groups.slots.iter().any(|slot| slot.kinds.is_some());
        if !has_kinds {
            let rows = groups.ends.iter().map(|end| groups.order[*end as usize - 1]).collect();
            return Ok(Merged { rows, columns: Vec::new(), deleted: None });
        }
        let mut rows = Vec::with_capacity(groups.ends.len());
        let mut deleted = Vec::with_capacity(groups.ends.len());
        for group in groups.iter() {
            let is_delete = |row: &crate::merge::Ref| groups.slots[row.slot()].is_delete(row.row());
            let newest = group[group.len() - 1];
            let chosen = match self.ignore_delete {
                true => group.iter().rev().find(|row| !is_delete(row)).copied().unwrap_or(newest),
                false => newest,
            };
            rows.push(chosen);
            deleted.push(is_delete(&chosen));
        }
        Ok(Merged { rows, columns: Vec::new(), deleted: Some(deleted) })
    }
}
