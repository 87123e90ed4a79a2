//! What tables a store has, their partitions, and where each bucket stands in the commit page.
//!
//! Invariants: ids are never used twice; every slot is one of the commit page, and those of two live tables never overlap; what a newer program added is
//! refused, because it would be lost when the edits are folded. The edits live in a ledger, like those of a bucket.
//! docs/format/catalog.md has them. This module knows nothing of files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::key_plan::KeyPlan;
use crate::bucket::ledger::LedgerState;
use crate::error::{Error, Result};
use crate::table::spec::BUCKETS_MAX;
use crate::table::{TableName, TableSpec};

/// Name of the file in the store's directory.
pub(super) const FILE_NAME: &str = "catalog";

/// Slots of the commit page: the store's own, then one per table and one per bucket.
pub(super) const SLOTS_MAX: usize = 65_536;

/// The slot whose word says that the catalog changed.
pub(super) const STORE_SLOT: usize = 0;

/// Tables and buckets of a store together.
const OWNERS_MAX: usize = SLOTS_MAX - 1;

const _: () = assert!(BUCKETS_MAX as usize + 1 == OWNERS_MAX, "a table and its buckets may be all there is");

/// The partition of a table without partitions.
pub(super) const ONLY_PARTITION: u32 = 0;

/// Partitions that one table may have.
pub(super) const PARTITIONS_MAX: usize = 10_000;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Edit {
    /// The store was opened for writing.
    Opened {
        /// Counts the opens.
        epoch: u32,
    },
    /// A new table.
    TableCreated {
        /// What it is.
        spec: TableSpec,
        /// The table's own slot.
        slot: usize,
        /// The table in whose place it is being filled; nobody finds it before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u32>,
    },
    /// A new partition of a table, with a run of slots for its buckets.
    PartitionCreated {
        /// The table.
        table_id: u32,
        /// The partition.
        partition_id: u32,
        /// Its canonical name; empty in a table without partitions.
        name: String,
        /// Slot of its first bucket.
        slot: usize,
        /// See [`Partition::serial`].
        #[serde(default, skip_serializing_if = "is_zero")]
        serial: u64,
    },
    /// A partition is gone.
    PartitionDropped {
        /// The table.
        table_id: u32,
        /// The partition.
        partition_id: u32,
    },
    /// A table changed.
    TableAltered {
        /// What it is now.
        spec: TableSpec,
    },
    /// A table is gone.
    TableDropped {
        /// The table.
        table_id: u32,
    },
    /// A table is gone, and the one that was filled in its place has its name.
    TableReplaced {
        /// The one that is gone.
        table_id: u32,
        /// The one that is there.
        by: u32,
    },
    /// Everything before this edit, folded.
    Folded(Catalog),
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Partition {
    /// Its canonical name; empty in a table without partitions.
    pub(super) name: String,
    /// Slot of its first bucket.
    pub(super) slot: usize,
    /// Counts partitions over all tables, so that whoever has a slot is told from all who had it before. 0 where none were counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) serial: u64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// One table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableEntry {
    /// What it is.
    pub(super) spec: TableSpec,
    /// Its own slot.
    pub(super) slot: usize,
    /// By id.
    pub(super) partitions: BTreeMap<u32, Partition>,
    /// Ids of partitions below this were given away; 0 while none was dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) partitions_end: u32,
    /// The table in whose place this one is being filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<u32>,
    /// See [`TableEntry::key_plan`].
    #[serde(skip)]
    plan: OnceLock<Arc<KeyPlan>>,
}

impl TableEntry {
    /// How keys of the table are taken; made when it is first asked for.
    ///
    /// Errors: Invalid for a table without a primary key.
    pub(super) fn key_plan(&self) -> Result<&KeyPlan> {
        match self.plan.get() {
            Some(plan) => Ok(plan),
            None => KeyPlan::new(&self.spec).map(|plan| &**self.plan.get_or_init(|| Arc::new(plan))),
        }
    }

    /// The id of its next partition.
    pub(super) fn next_partition_id(&self) -> u32 {
        self.partitions.last_key_value().map_or(ONLY_PARTITION, |(last, _)| *last).max(self.partitions_end.saturating_sub(1)) + 1
    }

    /// The partition of that name.
    pub(super) fn partition(&self, name: &str) -> Option<u32> {
        self.partitions.iter().find(|(_, partition)| partition.name == name).map(|(id, _)| *id)
    }

    fn slots(&self) -> impl Iterator<Item = Range<usize>> {
        let buckets = self.spec.buckets as usize;
        let of_partition = move |partition: &Partition| partition.slot..partition.slot + buckets;
        std::iter::once(self.slot..self.slot + 1).chain(self.partitions.values().map(of_partition))
    }
}

/// What the edits add up to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    /// Opens for writing so far.
    pub(super) epoch: u32,
    /// The id of the next table.
    pub(super) next_table_id: u32,
    /// By id.
    pub(super) tables: BTreeMap<u32, Arc<TableEntry>>,
    /// The last [`Partition::serial`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) serial: u64,
}

impl LedgerState for Catalog {
    type Edit = Edit;

    const KIND: u16 = 2;

    fn apply(&mut self, edit: Edit) -> Result<()> {
        match edit {
            Edit::Folded(catalog) => {
                check::catalog(&catalog)?;
                *self = catalog;
            }
            Edit::Opened { epoch } => {
                check::epoch(epoch)?;
                self.epoch = self.epoch.max(epoch);
            }
            Edit::TableCreated { spec, slot, replaces } => {
                check::new_table(self, &spec, slot, replaces)?;
                self.next_table_id = spec.id + 1;
                let (id, partitions) = (spec.id, BTreeMap::new());
                let made = TableEntry { spec, slot, partitions, partitions_end: 0, replaces, plan: OnceLock::new() };
                self.tables.insert(id, Arc::new(made));
            }
            Edit::PartitionCreated { table_id, partition_id, name, slot, serial } => {
                let made = Partition { name, slot, serial };
                check::new_partition(self, table_id, partition_id, &made)?;
                self.serial = self.serial.max(serial);
                self.entry(table_id)?.partitions.insert(partition_id, made);
            }
            Edit::PartitionDropped { table_id, partition_id } => {
                let entry = self.entry(table_id)?;
                let end = entry.next_partition_id();
                entry.partitions.remove(&partition_id).ok_or_else(|| check::no_partition(table_id, partition_id))?;
                entry.partitions_end = end;
            }
            Edit::TableAltered { spec } => {
                let entry = self.entry(spec.id)?;
                check::altered(&entry.spec, &spec)?;
                (entry.spec, entry.plan) = (spec, OnceLock::new());
            }
            Edit::TableDropped { table_id } => {
                self.entry(table_id)?;
                self.tables.remove(&table_id);
            }
            Edit::TableReplaced { table_id, by } => {
                self.entry(table_id)?;
                let by = self.entry(by)?;
                check::replaced(table_id, by)?;
                by.replaces = None;
                self.tables.remove(&table_id);
            }
        }
        Ok(())
    }

    fn folded(&self) -> Edit {
        Edit::Folded(self.clone())
    }
}

impl Catalog {
    fn entry(&mut self, table_id: u32) -> Result<&mut TableEntry> {
        self.tables.get_mut(&table_id).map(Arc::make_mut).ok_or_else(|| check::no_table(table_id))
    }

    /// The table of that name.
    pub(super) fn find(&self, name: &TableName) -> Option<&Arc<TableEntry>> {
        self.shown().find(|entry| entry.spec.name == *name)
    }

    /// All tables but those that are being filled in the place of others.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<TableEntry>> {
        self.tables.values().filter(|entry| entry.replaces.is_none())
    }

    /// The edit that makes the next partition of a table.
    ///
    /// Errors: as [`Catalog::free_slots`].
    pub(super) fn new_partition(&self, entry: &TableEntry, name: &str) -> Result<(u32, Edit)> {
        let (table_id, partition_id) = (entry.spec.id, entry.next_partition_id());
        let slot = self.free_slots(entry.spec.buckets as usize)?;
        let created = Edit::PartitionCreated { table_id, partition_id, name: name.to_string(), slot, serial: self.serial + 1 };
        Ok((partition_id, created))
    }

    /// The edits that make a table, and its only partition when its rows make none. The table is filled in the place of another with `replaces`.
    ///
    /// Errors: as [`Catalog::free_slots`].
    pub(super) fn new_table(&self, spec: TableSpec, replaces: Option<u32>) -> Result<Vec<Edit>> {
        let table_id = spec.id;
        let buckets = if spec.partition_by.is_empty() { spec.buckets as usize } else { 0 };
        // The table's own slot and those of its only partition stand side by side.
        let slot = self.free_slots(1 + buckets)?;
        let partition = (buckets > 0).then(|| Edit::PartitionCreated {
            table_id,
            partition_id: ONLY_PARTITION,
            name: String::new(),
            slot: slot + 1,
            serial: self.serial + 1,
        });
        Ok(std::iter::once(Edit::TableCreated { spec, slot, replaces }).chain(partition).collect())
    }

    /// The first run of `count` slots that no table uses.
    ///
    /// Errors: Exhausted when the page is full.
    pub(super) fn free_slots(&self, count: usize) -> Result<usize> {
        let mut used: Vec<Range<usize>> = self.tables.values().flat_map(|entry| entry.slots()).collect();
        used.sort_by_key(|range| range.start);
        let mut first = STORE_SLOT + 1;
        for range in used {
            if first + count <= range.start {
                break;
            }
            first = first.max(range.end);
        }
        if first + count <= SLOTS_MAX {
            return Ok(first);
        }
        let full = format!("{count} more buckets are too many: a store has at most {OWNERS_MAX} tables and buckets");
        Err(Error::exhausted(full).hint("use fewer buckets or partitions, or a second store"))
    }
}

mod check;
#[cfg(test)]
mod tests;
