//! The oldest row of a key is the row; later ones change nothing.
//!
//! There is no way to take the first row back: a delete is an error, or as if it had not been sent.

use std::sync::Arc;

use super::deletes::{Deletes, Living};
use super::function::{Groups, MergeFunction, Merged};
use crate::error::Result;

/// See the head of this module.
#[derive(Clone, Debug, Default)]
pub struct FirstRow {
    /// Deletes are as if they had not been sent.
    pub ignore_delete: bool,
}

const NAME: &str = "first-row";
const OPTION: &str = "`ignore-delete`";

impl FirstRow {
    fn deletes(&self) -> Deletes {
        if self.ignore_delete { Deletes::Ignore } else { Deletes::Refuse }
    }
}

impl MergeFunction for FirstRow {
    fn check_kinds(&self, kinds: &[u8]) -> Result<()> {
        self.deletes().check_kinds(kinds, NAME, OPTION)
    }

    fn needs(&self, _columns: &[usize]) -> Vec<usize> {
        Vec::new()
    }

    fn over(&self, _columns: &[usize]) -> Arc<dyn MergeFunction> {
        Arc::new(self.clone())
    }

    fn merge(&self, groups: Groups<'_>) -> Result<Merged> {
        let living = Living::of(groups, self.deletes(), NAME, OPTION)?;
        let first = |(group, left): (&[_], &[_])| left.first().copied().unwrap_or(group[0]);
        let rows = groups.iter().zip(living.groups(groups.slots).iter()).map(first).collect();
        Ok(Merged { deleted: living.deleted, marks: living.marks, ..Merged::of_rows(rows) })
    }
}
