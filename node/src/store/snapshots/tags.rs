//! Tags: names of snapshots that do not expire as long as they have one.
//!
//! Invariants: a tag is no number, so that the two are never taken for each other; the rows of a tagged snapshot stay. This module knows nothing of files.

use super::super::catalog::TableEntry;
use super::super::open::Inner;
use super::super::table::Table;
use super::list::{Edit, List, Record};
use super::{Snapshot, Version};
use crate::error::{Error, Result};

/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 255;

/// Errors: Invalid for what is no tag.
pub(super) fn check(tag: &str) -> Result<()> {
    let is_number = tag.bytes().all(|byte| byte.is_ascii_digit());
    if tag.is_empty() || tag.trim() != tag || is_number || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
        let bad = Error::invalid(format!("`{}` is no tag", tag.escape_debug()));
        return Err(bad.hint(format!("a tag has 1 to {TAG_BYTES_MAX} bytes, is no number, and has no blanks around it")));
    }
    Ok(())
}

/// Errors: Conflict when the tag is taken.
pub(super) fn check_free(list: &List, tag: &str) -> Result<()> {
    let Some(id) = list.tags.get(tag) else { return Ok(()) };
    let taken = Error::conflict(format!("the tag {tag} exists already: it names snapshot {id}"));
    Err(taken.hint("choose another name, or delete the tag first"))
}

/// Checks that a snapshot that is to be kept still has its rows. For who is within the table's gate, with the table as it is there.
///
/// Errors: Conflict when they went with a partition.
pub(super) fn check_whole(entry: &TableEntry, record: &Record) -> Result<()> {
    let has_rows = |ends: &[u64]| ends.iter().any(|end| *end > 0);
    if record.ends.iter().all(|(partition, ends)| entry.partitions.contains_key(partition) || !has_rows(ends)) {
        return Ok(());
    }
    let lost = Error::conflict("a partition was dropped that the snapshot has rows of: a tag cannot keep them").at("snapshot", record.id);
    Err(lost.hint("tag a newer snapshot: `aquifer snapshots TABLE --create --tag TAG`"))
}

impl Inner {
    /// Checks that no tag is lost with some rows: with those of a partition, or else with all. For who has the table's gate closed.
    ///
    /// Errors: Conflict, with the tags.
    pub(in crate::store) fn check_untagged(&self, entry: &TableEntry, partition_id: Option<u32>) -> Result<()> {
        if entry.spec.primary_key.is_empty() {
            return Ok(());
        }
        let list = self.snapshot_list(entry)?;
        let has_rows = |id: &u64| {
            let ends = list.snapshots.get(id).map(|record| &record.ends);
            partition_id
                .is_none_or(|partition| ends.and_then(|ends| ends.get(&partition)).is_some_and(|ends| ends.iter().any(|end| *end > 0)))
        };
        let tags: Vec<&str> = list.tags.iter().filter(|(_, id)| has_rows(id)).map(|(tag, _)| tag.as_str()).collect();
        if tags.is_empty() {
            return Ok(());
        }
        let kept = Error::conflict("snapshots with tags would lose their rows").at("table", &entry.spec.name).at("tags", tags.join(", "));
        Err(kept.hint("delete the tags first: `aquifer snapshots TABLE --delete-tag TAG`"))
    }
}

impl Table {
    /// Gives a snapshot a name: it does not expire until the tag is deleted.
    ///
    /// # Errors
    /// Invalid for what is no tag, or a log table; Conflict when the tag exists, or a partition was dropped that the snapshot has rows of; NotFound when the
    /// snapshot does not exist.
    pub fn create_tag(&self, tag: &str, version: &Version) -> Result<Snapshot> {
        check(tag).map_err(|error| error.at("table", &self.name))?;
        // No partition goes meanwhile that the tag is to keep.
        let gate = self.store.gate(self.id)?;
        let within = gate.enter();
        let entry = self.keyed_entry()?;
        let tagged = self.store.edit_snapshots(&entry, |list| {
            check_free(list, tag)?;
            let record = list.find(version)?;
            check_whole(&entry, record)?;
            let id = record.id;
            Ok((vec![Edit::Tagged { tag: tag.to_string(), id }], id))
        });
        drop(within);
        self.snapshot(&Version::Snapshot(tagged.map_err(|error| error.at("table", &self.name))?))
    }

    /// Takes a name away from a snapshot, which may then expire.
    ///
    /// # Errors
    /// NotFound for an unknown tag; Invalid for a log table.
    pub fn delete_tag(&self, tag: &str) -> Result<()> {
        let entry = self.keyed_entry()?;
        let deleted = self.store.edit_snapshots(&entry, |list| {
            list.find(&Version::Tag(tag.to_string()))?;
            Ok((vec![Edit::Untagged { tag: tag.to_string() }], ()))
        });
        deleted.map_err(|error| error.at("table", &self.name))
    }
}
