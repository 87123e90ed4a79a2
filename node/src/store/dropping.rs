//! Tables and partitions that go, and what a crash left of them.
//!
//! Invariants: what goes leaves the catalog first, then those who use it are told, then its files go, by the next open if a crash comes in between; what
//! the catalog has never heard of is not removed. This module knows nothing of rows.

use std::path::{Path, PathBuf};

use super::catalog::{Catalog, Edit, TableEntry};
use super::open::{Inner, no_such_table};
use super::part::no_such_partition;
use super::table::Table;
use super::{TABLES, partition_dir, table_dir};
use crate::error::{Error, Kind, Result};
use crate::io::{Driver, Entry};
use crate::table::TableName;

impl Inner {
    pub(super) fn drop_table(&self, name: &TableName) -> Result<()> {
        let catalog = self.catalog()?;
        let id = catalog.find(name).ok_or_else(|| no_such_table(&catalog, name))?.spec.id;
        let gate = self.gate(id)?;
        let closed = gate.close();
        // As in `end_partition`.
        self.open_buckets_of(id)?.iter().for_each(|bucket| drop(bucket.quiesce()));
        let id = self.change(|catalog| {
            let entry = catalog.tables.get(&id).ok_or_else(|| no_such_table(catalog, name))?;
            Ok((vec![Edit::TableDropped { table_id: entry.spec.id }], entry.spec.id))
        })?;
        drop(closed);
        self.end_table(id, name)
    }

    /// Tells those who use a table that left the catalog, and removes its files.
    pub(super) fn end_table(&self, id: u32, name: &TableName) -> Result<()> {
        self.forget_writers(id)?;
        for bucket in self.take_buckets((id, 0, 0)..=(id, u32::MAX, u32::MAX))? {
            bucket.close(dropped(&self.catalog_seen(), name));
        }
        self.resources.remove_tree(&table_dir(&self.dir, id))
    }

    pub(super) fn drop_partition(&self, name: &TableName, partition: &str) -> Result<()> {
        let catalog = self.catalog()?;
        let id = catalog.find(name).ok_or_else(|| no_such_table(&catalog, name))?.spec.id;
        let gate = self.gate(id)?;
        let _closed = gate.close();
        let entry = self.entry(id, name)?;
        if let Some(partition_id) = entry.partition(partition) {
            self.check_untagged(&entry, Some(partition_id)).map_err(|error| error.at("partition", partition))?;
        }
        self.end_partition(id, name, partition)
    }

    /// Drops a partition. For who has the table's gate closed.
    pub(super) fn end_partition(&self, table_id: u32, name: &TableName, partition: &str) -> Result<()> {
        // Nothing more of it becomes durable, and is shown, once its slots may go to others. A log that takes nothing has nothing on its way.
        self.open_buckets_of(table_id)?.iter().for_each(|bucket| drop(bucket.quiesce()));
        let (partition_id, table_slot) = self.change(|catalog| {
            let entry = catalog.tables.get(&table_id).ok_or_else(|| dropped(catalog, name))?;
            if entry.spec.partition_by.is_empty() {
                let whole = Error::invalid("the table has no partitions").at("table", name);
                return Err(whole.hint("drop all of it"));
            }
            let partition_id = entry.partition(partition).ok_or_else(|| no_such_partition(entry, partition))?;
            Ok((vec![Edit::PartitionDropped { table_id, partition_id }], (partition_id, entry.slot)))
        })?;
        for bucket in self.take_buckets((table_id, partition_id, 0)..=(table_id, partition_id, u32::MAX))? {
            bucket.close(partition_dropped(name, partition));
        }
        self.resources.page.notify(table_slot);
        self.resources.remove_tree(&partition_dir(&self.dir, table_id, partition_id))
    }
}

/// The error for a table that was there.
pub(super) fn dropped(catalog: &Catalog, name: &TableName) -> Error {
    let error = Error::not_found(format!("table {name} was dropped"));
    match catalog.find(name) {
        Some(_) => error.hint("another one has its name: open that"),
        None => error,
    }
}

/// The error for a partition that was there.
pub(super) fn partition_dropped(table: &TableName, partition: &str) -> Error {
    Error::not_found(format!("partition {partition} was dropped")).at("table", table)
}

/// Why a bucket that was read is not there: its table, or its partition, was dropped. `None` when it was not.
pub(super) fn why_gone(table: &Table, partition_id: u32, partition: &str) -> Option<Error> {
    match table.store.entry(table.id, &table.name) {
        Err(gone) if gone.kind() == Kind::NotFound => Some(gone),
        Ok(entry) if !entry.partitions.contains_key(&partition_id) => Some(partition_dropped(&table.name, partition)),
        _ => None,
    }
}

/// Whether a partition that an entry names is still there.
///
/// Errors: NotFound when it, or its table, was dropped.
pub(super) fn check_there(catalog: &Catalog, entry: &TableEntry, partition_id: u32) -> Result<()> {
    let now = catalog.tables.get(&entry.spec.id).ok_or_else(|| dropped(catalog, &entry.spec.name))?;
    match entry.partitions.get(&partition_id) {
        Some(partition) if !now.partitions.contains_key(&partition_id) => Err(partition_dropped(&entry.spec.name, &partition.name)),
        _ => Ok(()),
    }
}

/// Directories of tables and partitions that were dropped when a crash came in between, and of tables that were being filled in the place of others.
///
/// Errors: Corrupt when there is one that the catalog has never heard of: it has lost its newest edits.
pub(super) fn left_directories(driver: &dyn Driver, dir: &Path, catalog: &Catalog) -> Result<Vec<PathBuf>> {
    let lost = |what: String| {
        let lost = Error::corrupt(format!("the catalog has lost {what}, and its rows are there"));
        lost.at("file", dir.join(super::catalog::FILE_NAME).display()).hint("put a copy of the catalog in its place; nothing was changed")
    };
    let tables = dir.join(TABLES);
    let mut left = Vec::new();
    for (id, path, is_dir) in numbered(driver, &tables, "")? {
        if id >= catalog.next_table_id {
            return Err(lost(format!("table {id}")));
        }
        let Some(entry) = catalog.tables.get(&id).filter(|entry| entry.replaces.is_none()) else {
            left.extend(is_dir.then_some(path));
            continue;
        };
        if entry.spec.partition_by.is_empty() {
            continue;
        }
        for (id, path, is_dir) in numbered(driver, &path, "p")? {
            if id >= entry.next_partition_id() {
                return Err(lost(format!("partition {id} of table {}", entry.spec.name)));
            }
            left.extend((is_dir && !entry.partitions.contains_key(&id)).then_some(path));
        }
    }
    Ok(left)
}

/// What stands among the directories of tables and is none, with its bytes: nobody here made it.
pub(super) fn strays(driver: &dyn Driver, dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let tables = dir.join(TABLES);
    let strays = list(driver, &tables)?.into_iter().filter(|entry| !entry.is_dir || number(&entry.name, "").is_none());
    Ok(strays.map(|entry| (tables.join(&entry.name), entry.bytes)).collect())
}

/// What is in a directory under a prefix and a number, and whether it is a directory. What no table or partition can be called is somebody else's.
fn numbered(driver: &dyn Driver, dir: &Path, prefix: &str) -> Result<Vec<(u32, PathBuf, bool)>> {
    let entries = list(driver, dir)?;
    Ok(entries.iter().filter_map(|entry| Some((number(&entry.name, prefix)?, dir.join(&entry.name), entry.is_dir))).collect())
}

fn number(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse::<u32>().ok().filter(|id| format!("{prefix}{id}") == name)
}

/// What is in a directory; nothing when there is none, as of a table without rows.
fn list(driver: &dyn Driver, dir: &Path) -> Result<Vec<Entry>> {
    match driver.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| Error::io("list", dir, error)),
    }
}

#[cfg(test)]
mod tests;
