//! What tables a store has, their partitions, and where each bucket stands in the commit page.
//!
//! Invariants: ids are never used twice; the slots of two live tables never overlap; what a newer program added is refused, because it would
//! be lost when the edits are folded. The edits live in a ledger, like those of a bucket.
//! This module knows nothing of files.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::bucket::ledger::LedgerState;
use crate::error::{Error, Result};
use crate::table::{TableName, TableSpec};

/// Name of the file in the store's directory.
pub(super) const FILE_NAME: &str = "catalog";

/// Slots of the commit page: the store's own, then one per table and one per bucket.
pub(super) const SLOTS_MAX: usize = 65_536;

/// The slot whose word says that the catalog changed.
pub(super) const STORE_SLOT: usize = 0;

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
}

impl TableEntry {
    /// The partition of that name.
    pub(super) fn partition(&self, name: &str) -> Option<u32> {
        self.partitions.iter().find(|(_, partition)| partition.name == name).map(|(id, _)| *id)
    }

    fn slots(&self) -> Vec<Range<usize>> {
        let buckets = self.spec.buckets as usize;
        let of_partition = |partition: &Partition| partition.slot..partition.slot + buckets;
        std::iter::once(self.slot..self.slot + 1).chain(self.partitions.values().map(of_partition)).collect()
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
    pub(super) tables: BTreeMap<u32, TableEntry>,
}

impl LedgerState for Catalog {
    type Edit = Edit;

    const KIND: u16 = 2;

    fn apply(&mut self, edit: Edit) -> Result<()> {
        match edit {
            Edit::Folded(catalog) => *self = catalog,
            Edit::Opened { epoch } => self.epoch = self.epoch.max(epoch),
            Edit::TableCreated { spec, slot } => {
                self.next_table_id = self.next_table_id.max(spec.id + 1);
                self.tables.insert(spec.id, TableEntry { spec, slot, partitions: BTreeMap::new() });
            }
            Edit::PartitionCreated { table_id, partition_id, name, slot } => {
                self.entry(table_id)?.partitions.insert(partition_id, Partition { name, slot });
            }
            Edit::TableAltered { spec } => {
                let id = spec.id;
                self.entry(id)?.spec = spec;
            }
            Edit::TableDropped { table_id } => {
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
        self.tables.get_mut(&table_id).ok_or_else(|| Error::corrupt(format!("the catalog changes table {table_id} and does not have it")))
    }

    /// The table of that name.
    pub(super) fn find(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.values().find(|entry| entry.spec.name == *name)
    }

    /// The first run of `count` slots that no table uses.
    ///
    /// Errors: Exhausted when the page is full.
    pub(super) fn free_slots(&self, count: usize) -> Result<usize> {
        let mut used: Vec<Range<usize>> = self.tables.values().flat_map(TableEntry::slots).collect();
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
        let full = format!("{count} more buckets are too many: a store has at most {SLOTS_MAX} tables and buckets");
        Err(Error::exhausted(full).hint("use fewer buckets or partitions, or a second store"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{ColumnType, Field, TableSchema};

    fn create(catalog: &mut Catalog, name: &str, buckets: u32) -> u32 {
        let schema = TableSchema::new(vec![Field::new("a", ColumnType::Int64, true)]).unwrap();
        let mut spec = TableSpec::new(name.parse().unwrap(), catalog.next_table_id, schema, 0);
        spec.buckets = buckets;
        let id = spec.id;
        let slot = catalog.free_slots(1).unwrap();
        catalog.apply(Edit::TableCreated { spec, slot }).unwrap();
        let slot = catalog.free_slots(buckets as usize).unwrap();
        catalog.apply(Edit::PartitionCreated { table_id: id, partition_id: 0, name: String::new(), slot }).unwrap();
        id
    }

    #[test]
    fn slots_never_overlap_and_are_used_again() {
        let mut catalog = Catalog::default();
        create(&mut catalog, "a", 3);
        let b = create(&mut catalog, "b", 5);
        create(&mut catalog, "c", 2);
        catalog.apply(Edit::TableDropped { table_id: b }).unwrap();
        create(&mut catalog, "d", 4);
        create(&mut catalog, "e", 9);
        let mut used: Vec<usize> = catalog.tables.values().flat_map(TableEntry::slots).flatten().collect();
        let count = used.len();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), count, "a slot is used twice: {used:?}");
        assert!(!used.contains(&STORE_SLOT));
        assert_eq!(catalog.find(&"d".parse().unwrap()).unwrap().slot, 5, "the gap that b left");
    }

    #[test]
    fn a_full_page_is_a_limit() {
        let mut catalog = Catalog::default();
        create(&mut catalog, "a", 65_000);
        assert_eq!(catalog.free_slots(600).unwrap_err().kind(), crate::Kind::Exhausted);
    }

    #[test]
    fn folded_makes_the_same_catalog() {
        let mut catalog = Catalog::default();
        create(&mut catalog, "a", 3);
        let json = serde_json::to_string(&catalog.folded()).unwrap();
        let mut again = Catalog::default();
        again.apply(serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&catalog).unwrap());
    }
}
