//! What tables a store has, their partitions, and where each bucket stands in the commit page.
//!
//! Invariants: ids are never used twice; the slots of two live tables never overlap; what a newer program added is refused, because it would
//! be lost when the edits are folded. The edits live in a ledger, like those of a bucket.
//! docs/format/catalog.md has them. This module knows nothing of files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::key_plan::KeyPlan;
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
            Edit::Folded(catalog) => *self = catalog,
            Edit::Opened { epoch } => self.epoch = self.epoch.max(epoch),
            Edit::TableCreated { spec, slot, replaces } => {
                self.next_table_id = self.next_table_id.max(spec.id + 1);
                let (id, partitions) = (spec.id, BTreeMap::new());
                let made = TableEntry { spec, slot, partitions, partitions_end: 0, replaces, plan: OnceLock::new() };
                self.tables.insert(id, Arc::new(made));
            }
            Edit::PartitionCreated { table_id, partition_id, name, slot, serial } => {
                self.serial = self.serial.max(serial);
                self.entry(table_id)?.partitions.insert(partition_id, Partition { name, slot, serial });
            }
            Edit::PartitionDropped { table_id, partition_id } => {
                let entry = self.entry(table_id)?;
                entry.partitions_end = entry.next_partition_id();
                entry.partitions.remove(&partition_id);
            }
            Edit::TableAltered { spec } => {
                let entry = self.entry(spec.id)?;
                (entry.spec, entry.plan) = (spec, OnceLock::new());
            }
            Edit::TableDropped { table_id } => {
                self.tables.remove(&table_id);
            }
            Edit::TableReplaced { table_id, by } => {
                self.entry(by)?.replaces = None;
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
        let unknown = || Error::corrupt(format!("the catalog changes table {table_id} and does not have it"));
        self.tables.get_mut(&table_id).map(Arc::make_mut).ok_or_else(unknown)
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
        for edit in catalog.new_table(spec, None).unwrap() {
            catalog.apply(edit).unwrap();
        }
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
        let mut used: Vec<usize> = catalog.tables.values().flat_map(|entry| entry.slots()).flatten().collect();
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
    fn ids_of_partitions_are_never_used_twice() {
        let mut catalog = Catalog::default();
        let table_id = create(&mut catalog, "a", 2);
        let mut made = Vec::new();
        for name in ["x", "y", "x", "x"] {
            let (partition_id, edit) = catalog.new_partition(&catalog.tables[&table_id], name).unwrap();
            catalog.apply(edit).unwrap();
            made.push(partition_id);
            catalog.apply(Edit::PartitionDropped { table_id, partition_id }).unwrap();
        }
        assert_eq!(made, [1, 2, 3, 4]);
        let (id, _) = catalog.new_partition(&catalog.tables[&table_id], "z").unwrap();
        assert_eq!((id, catalog.serial), (5, 5));
    }

    #[test]
    fn a_table_is_not_found_before_it_has_taken_the_place_of_another() {
        let mut catalog = Catalog::default();
        let old = create(&mut catalog, "a", 2);
        let spec = TableSpec { id: catalog.next_table_id, buckets: 5, ..catalog.tables[&old].spec.clone() };
        let new = spec.id;
        for edit in catalog.new_table(spec, Some(old)).unwrap() {
            catalog.apply(edit).unwrap();
        }
        let name: TableName = "a".parse().unwrap();
        assert_eq!((catalog.find(&name).unwrap().spec.id, catalog.shown().count()), (old, 1));
        catalog.apply(Edit::TableReplaced { table_id: old, by: new }).unwrap();
        assert_eq!((catalog.find(&name).unwrap().spec.buckets, catalog.tables.len()), (5, 1));
    }

    const SPEC: &str = r#"{"name":"default.t","id":0,"schemas":[{"version":0,"fields":[{"id":1,"name":"a","type":"int64","nullable":true}],"highest_field_id":1}],"primary_key":[],"partition_by":[],"buckets":2,"bucket_key":[],"options":{},"created_ms":0}"#;

    fn fold(edits: &[String]) -> Catalog {
        let mut catalog = Catalog::default();
        edits.iter().for_each(|edit| catalog.apply(serde_json::from_str(edit).expect(edit)).expect(edit));
        catalog
    }

    #[test]
    fn edits_of_the_first_program_are_read() {
        let edits = [
            r#"{"opened":{"epoch":3}}"#.to_string(),
            format!(r#"{{"table_created":{{"spec":{SPEC},"slot":1}}}}"#),
            r#"{"partition_created":{"table_id":0,"partition_id":0,"name":"","slot":2}}"#.to_string(),
        ];
        let folded = format!(
            r#"{{"folded":{{"epoch":3,"next_table_id":1,"tables":{{"0":{{"spec":{SPEC},"slot":1,"partitions":{{"0":{{"name":"","slot":2}}}}}}}}}}}}"#
        );
        for catalog in [fold(&edits), fold(std::slice::from_ref(&folded))] {
            assert_eq!(serde_json::to_string(&catalog.folded()).unwrap(), folded);
            assert_eq!((catalog.tables[&0].next_partition_id(), catalog.serial), (1, 0));
        }
    }

    #[test]
    fn the_edits_of_today_are_golden() {
        let edits = [
            format!(r#"{{"table_created":{{"spec":{SPEC},"slot":1}}}}"#),
            r#"{"partition_created":{"table_id":0,"partition_id":1,"name":"a=1","slot":2,"serial":7}}"#.to_string(),
            r#"{"partition_dropped":{"table_id":0,"partition_id":1}}"#.to_string(),
            format!(r#"{{"table_created":{{"spec":{},"slot":4,"replaces":0}}}}"#, SPEC.replace(r#""id":0"#, r#""id":1"#)),
            r#"{"table_replaced":{"table_id":0,"by":1}}"#.to_string(),
        ];
        for edit in &edits {
            assert_eq!(&serde_json::to_string(&serde_json::from_str::<Edit>(edit).unwrap()).unwrap(), edit);
        }
        let dropped = fold(&edits[..3]);
        let folded = format!(
            r#"{{"folded":{{"epoch":0,"next_table_id":1,"tables":{{"0":{{"spec":{SPEC},"slot":1,"partitions":{{}},"partitions_end":2}}}},"serial":7}}}}"#
        );
        assert_eq!(serde_json::to_string(&dropped.folded()).unwrap(), folded);
        assert_eq!(fold(&[folded]).tables[&0].next_partition_id(), 2);
        let replaced = fold(&edits);
        assert_eq!((replaced.tables.len(), replaced.find(&"t".parse().unwrap()).unwrap().spec.id), (1, 1));
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
