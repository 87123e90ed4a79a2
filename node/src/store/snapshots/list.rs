//! The list of a table's snapshots: which there are, what they are called.
//!
//! Invariants: numbers only grow and are never used twice; a tag names a snapshot that is there. The edits live in a ledger, like those of a bucket and of the
//! catalog. This module knows nothing of runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Version;
use crate::bucket::ledger::LedgerState;
use crate::bucket::manifest::OFFSETS_END;
use crate::error::{Error, Result};
use crate::table::{did_you_mean, print_utc_ms};

/// No snapshot has more rows, runs or bytes, so that sums of them do not overflow.
const COUNT_MAX: u64 = 1 << 53;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Edit {
    /// A new snapshot, of which the buckets keep the runs.
    Created(Record),
    /// These are gone.
    Dropped {
        /// Their numbers.
        ids: Vec<u64>,
    },
    /// A snapshot has a name.
    Tagged {
        /// The name.
        tag: String,
        /// Its number.
        id: u64,
    },
    /// A name is free again.
    Untagged {
        /// The name.
        tag: String,
    },
    /// Everything before this edit, folded.
    Folded(List),
}

/// A snapshot in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Its number.
    pub(super) id: u64,
    /// When it was cut, in milliseconds since 1970; not before the one before it.
    pub(super) time_ms: i64,
    /// The version of the table's schema.
    pub(super) schema_version: i16,
    /// How rows of a key were merged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) merge: BTreeMap<String, String>,
    /// Rows in its runs.
    pub(super) rows: u64,
    /// Its runs.
    pub(super) runs: u64,
    /// Bytes of their blocks.
    pub(super) bytes: u64,
    /// By partition, for each bucket: offset in its log up to which it is seen.
    pub(super) ends: BTreeMap<u32, Vec<u64>>,
}

/// What the edits add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// The last number that was given; 0 before the first.
    pub(super) last_id: u64,
    /// By number.
    pub(super) snapshots: BTreeMap<u64, Record>,
    /// By name, the number.
    pub(super) tags: BTreeMap<String, u64>,
}

impl LedgerState for List {
    type Edit = Edit;

    const KIND: u16 = 3;

    fn apply(&mut self, edit: Edit) -> Result<()> {
        match edit {
            Edit::Folded(list) => {
                list.check()?;
                *self = list;
            }
            Edit::Created(record) => {
                if record.id <= self.last_id {
                    return Err(Error::corrupt("the number of a snapshot was given before").at("snapshot", record.id));
                }
                record.check(self.snapshots.last_key_value().map_or(i64::MIN, |(_, last)| last.time_ms))?;
                self.last_id = record.id;
                self.snapshots.insert(record.id, record);
            }
            Edit::Dropped { ids } => {
                self.snapshots.retain(|id, _| !ids.contains(id));
                self.tags.retain(|_, id| !ids.contains(id));
            }
            Edit::Tagged { tag, id } => {
                if !self.snapshots.contains_key(&id) {
                    return Err(Error::corrupt("a tag names a snapshot that is not there").at("tag", tag).at("snapshot", id));
                }
                self.tags.insert(tag, id);
            }
            Edit::Untagged { tag } => _ = self.tags.remove(&tag),
        }
        Ok(())
    }

    fn folded(&self) -> Edit {
        Edit::Folded(self.clone())
    }
}

impl Record {
    /// Checks that it can be counted with, behind one of that time.
    fn check(&self, after_ms: i64) -> Result<()> {
        let fits =
            self.id < u64::MAX && self.schema_version >= 0 && self.rows <= COUNT_MAX && self.bytes <= COUNT_MAX && self.runs <= COUNT_MAX;
        if !fits || self.ends.values().flatten().any(|end| *end >= OFFSETS_END) {
            return Err(Error::corrupt("a snapshot with numbers that none has").at("snapshot", self.id));
        }
        if self.time_ms < after_ms {
            return Err(Error::corrupt("a snapshot is older than the one before it").at("snapshot", self.id));
        }
        Ok(())
    }
}

impl List {
    /// Checks a list as edits would make it.
    fn check(&self) -> Result<()> {
        let mut after_ms = i64::MIN;
        for (id, record) in &self.snapshots {
            if record.id != *id || *id > self.last_id {
                return Err(Error::corrupt("a snapshot stands under the number of another").at("snapshot", id));
            }
            record.check(after_ms)?;
            after_ms = record.time_ms;
        }
        if self.last_id == u64::MAX {
            return Err(Error::corrupt("more snapshots than can be"));
        }
        match self.tags.iter().find(|(_, id)| !self.snapshots.contains_key(id)) {
            Some((tag, id)) => Err(Error::corrupt("a tag names a snapshot that is not there").at("tag", tag).at("snapshot", id)),
            None => Ok(()),
        }
    }

    /// The names of a snapshot.
    pub(super) fn tags_of(&self, id: u64) -> Vec<String> {
        self.tags.iter().filter(|(_, tagged)| **tagged == id).map(|(tag, _)| tag.clone()).collect()
    }

    /// The snapshot that is meant.
    ///
    /// Errors: NotFound, with those that there are.
    pub(super) fn find(&self, version: &Version) -> Result<&Record> {
        let found = match version {
            Version::Snapshot(id) => self.snapshots.get(id),
            Version::Tag(tag) => self.tags.get(tag).and_then(|id| self.snapshots.get(id)),
            // Numbers and times grow together.
            Version::AsOf(time_ms) => self.snapshots.values().rev().find(|record| record.time_ms <= *time_ms),
        };
        found.ok_or_else(|| self.missing(version))
    }

    fn missing(&self, version: &Version) -> Error {
        let (Some((first, oldest)), Some((last, _))) = (self.snapshots.first_key_value(), self.snapshots.last_key_value()) else {
            return Error::not_found("the table has no snapshots").hint("make one with `aquifer snapshots TABLE --create`");
        };
        let range = match self.snapshots.len() {
            1 => format!("there is snapshot {first}"),
            _ => format!("there are snapshots {first} to {last}"),
        };
        match version {
            Version::Snapshot(id) if (*first..=*last).contains(id) => {
                let near = Error::not_found(format!("snapshot {id} has expired"));
                near.hint(format!("{range}, as `aquifer snapshots` lists them"))
            }
            Version::Snapshot(id) if *id <= self.last_id && *id > 0 => Error::not_found(format!("snapshot {id} has expired")).hint(range),
            Version::Snapshot(id) => Error::not_found(format!("there is no snapshot {id}")).hint(range),
            Version::Tag(tag) => {
                let near = did_you_mean(tag, self.tags.keys().map(String::as_str));
                Error::not_found(format!("there is no tag {tag}")).hint(if near.is_empty() { range } else { near })
            }
            Version::AsOf(_) => {
                let none = Error::not_found("no snapshot is as old as that").at("oldest", print_utc_ms(oldest.time_ms));
                none.hint(format!("{range}; `aquifer snapshots` lists their times"))
            }
        }
    }
}
