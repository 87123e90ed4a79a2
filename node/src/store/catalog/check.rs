//! What a catalog can say at all.
//!
//! Invariant: in a catalog that passes, every slot is one of the commit page and has one owner, ids and names stand once, and the next id and the next epoch
//! do not overflow. A good checksum says that an edit is as it was written, not that it makes sense. This module knows nothing of files.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Catalog, Partition, SLOTS_MAX, STORE_SLOT, TableEntry};
use crate::error::{Error, Result};
use crate::table::TableSpec;

/// The next opening has a number too.
pub(super) fn epoch(epoch: u32) -> Result<()> {
    within(epoch < u32::MAX, || "the store was opened more often than can be".to_string())
}

pub(super) fn new_table(catalog: &Catalog, spec: &TableSpec, slot: usize, replaces: Option<u32>) -> Result<()> {
    let located = |error: Error| error.at("table", spec.id);
    within(spec.id >= catalog.next_table_id && spec.id < u32::MAX, || "the id of a table was given before".to_string()).map_err(located)?;
    sound(spec)?;
    within(replaces.is_none_or(|id| catalog.tables.contains_key(&id)), || "a table is in the place of none".to_string())
        .map_err(located)?;
    let is_taken = replaces.is_none() && catalog.find(&spec.name).is_some();
    within(!is_taken, || format!("two tables are called {}", spec.name)).map_err(located)?;
    free(catalog, slot, 1).map_err(located)
}

pub(super) fn new_partition(catalog: &Catalog, table_id: u32, partition_id: u32, made: &Partition) -> Result<()> {
    let located = |error: Error| error.at("table", table_id).at("partition", partition_id);
    let Some(entry) = catalog.tables.get(&table_id) else { return Err(located(no_table(table_id))) };
    let is_new = partition_id >= entry.partitions_end && !entry.partitions.contains_key(&partition_id) && partition_id < u32::MAX;
    within(is_new, || "the id of a partition was given before".to_string()).map_err(located)?;
    within(entry.partition(&made.name).is_none(), || format!("two partitions are called {:?}", made.name)).map_err(located)?;
    within(made.serial < u64::MAX, || "more partitions than can be".to_string()).map_err(located)?;
    free(catalog, made.slot, entry.spec.buckets as usize).map_err(located)
}

/// A table stays where it is, and what rows were written by stays known.
pub(super) fn altered(before: &TableSpec, after: &TableSpec) -> Result<()> {
    sound(after)?;
    let (old, new) = (before.generation(), after.generation());
    let goes_on = before.buckets == after.buckets && old.schema <= new.schema && old.merge <= new.merge && new.merge < u32::MAX;
    within(goes_on, || "a table was altered to what it cannot become".to_string()).map_err(|error| error.at("table", after.id))
}

pub(super) fn replaced(table_id: u32, by: &TableEntry) -> Result<()> {
    within(by.replaces == Some(table_id), || format!("table {} is not in the place of table {table_id}", by.spec.id))
}

pub(super) fn no_table(table_id: u32) -> Error {
    Error::corrupt(format!("the catalog changes table {table_id} and does not have it"))
}

pub(super) fn no_partition(table_id: u32, partition_id: u32) -> Error {
    Error::corrupt(format!("the catalog drops partition {partition_id} of table {table_id} and does not have it"))
}

/// Checks a catalog as edits would make it.
pub(super) fn catalog(catalog: &Catalog) -> Result<()> {
    epoch(catalog.epoch)?;
    within(catalog.serial < u64::MAX, || "more partitions than can be".to_string())?;
    let mut names = BTreeSet::new();
    let mut used: Vec<Range<usize>> = Vec::new();
    for (id, entry) in &catalog.tables {
        table(catalog, *id, entry).map_err(|error| error.at("table", id))?;
        let is_taken = entry.replaces.is_none() && !names.insert(&entry.spec.name);
        within(!is_taken, || format!("two tables are called {}", entry.spec.name))?;
        used.extend(entry.slots());
    }
    used.sort_by_key(|slots| slots.start);
    match used.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => Err(twice(&pair[1])),
        None => Ok(()),
    }
}

fn table(catalog: &Catalog, id: u32, entry: &TableEntry) -> Result<()> {
    within(entry.spec.id == id && id < catalog.next_table_id, || "a table stands under the id of another".to_string())?;
    sound(&entry.spec)?;
    on_the_page(entry.slot, 1)?;
    let mut names = BTreeSet::new();
    entry.partitions.iter().try_for_each(|(id, partition)| {
        let located = |error: Error| error.at("partition", id);
        let is_counted = *id < u32::MAX && partition.serial <= catalog.serial;
        within(is_counted, || "a partition that was never counted".to_string()).map_err(located)?;
        within(names.insert(&partition.name), || format!("two partitions are called {:?}", partition.name)).map_err(located)?;
        on_the_page(partition.slot, entry.spec.buckets as usize).map(|_| ()).map_err(located)
    })
}

fn sound(spec: &TableSpec) -> Result<()> {
    spec.check().map_err(|error| Error::corrupt("a table that cannot be").at("table", spec.id).caused_by(error))
}

/// Checks that the slots are there and nobody's.
fn free(catalog: &Catalog, slot: usize, count: usize) -> Result<()> {
    let wanted = on_the_page(slot, count)?;
    let mut used = catalog.tables.values().flat_map(|entry| entry.slots());
    match used.any(|used| used.start < wanted.end && wanted.start < used.end) {
        true => Err(twice(&wanted)),
        false => Ok(()),
    }
}

fn on_the_page(slot: usize, count: usize) -> Result<Range<usize>> {
    let end = slot.checked_add(count).filter(|end| slot > STORE_SLOT && *end <= SLOTS_MAX);
    end.map(|end| slot..end).ok_or_else(|| Error::corrupt("a slot that the commit page does not have").at("slot", slot).at("slots", count))
}

fn twice(slots: &Range<usize>) -> Error {
    Error::corrupt("a slot of the commit page has two owners").at("slot", slots.start)
}

fn within(sound: bool, refused: impl FnOnce() -> String) -> Result<()> {
    if sound { Ok(()) } else { Err(Error::corrupt(refused())) }
}
