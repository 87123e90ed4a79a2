//! Which snapshots go, and how: out of the list first, then out of the buckets.
//!
//! Invariants: as many of the newest stay as the table's options say; one with a tag stays. This module knows nothing of files.

use super::super::catalog::TableEntry;
use super::super::dropping::check_there;
use super::super::open::{Inner, Key};
use super::list::{Edit, List};
use crate::bucket::kept::keeps_any;
use crate::error::Result;
use crate::table::TableOptions;

/// The snapshots that the options no longer keep.
pub(super) fn expired(list: &List, options: &TableOptions, now_ms: i64) -> Vec<u64> {
    let newest_first = list.snapshots.values().rev().enumerate();
    let goes = |age: usize, time_ms: i64| {
        let (age, is_old) = (age as u64, time_ms.saturating_add_unsigned(options.snapshot_time_retained_ms) < now_ms);
        options.snapshot_num_retained_max.is_some_and(|max| age >= max) || (is_old && age >= options.snapshot_num_retained_min)
    };
    let is_tagged = |id: u64| list.tags.values().any(|tagged| *tagged == id);
    let gone = newest_first.filter(|(age, record)| goes(*age, record.time_ms) && !is_tagged(record.id));
    let mut ids: Vec<u64> = gone.map(|(_, record)| record.id).collect();
    ids.reverse();
    ids
}

/// Drops the snapshots of a table that its options no longer keep. Returns how many.
///
/// Errors: those of the device; what buckets could not release is released when they are opened again.
pub(in crate::store) fn expire(store: &Inner, entry: &TableEntry) -> Result<u64> {
    let Some(mut expiring) = Expiring::begin(store, entry)? else { return Ok(0) };
    while expiring.step(store)? {}
    Ok(expiring.count)
}

/// Snapshots that left the list, on their way out of the buckets.
pub(super) struct Expiring {
    table_id: u32,
    count: u64,
    /// The bucket that had its turn last.
    last: Option<(u32, u32)>,
    /// What a bucket could not release does not keep others from it.
    released: Result<()>,
}

impl Expiring {
    /// Takes what expired out of the list; `None` when nothing did.
    ///
    /// Errors: those of the device.
    pub(super) fn begin(store: &Inner, entry: &TableEntry) -> Result<Option<Self>> {
        if entry.spec.primary_key.is_empty() || entry.spec.check_writable().is_err() {
            return Ok(None);
        }
        let now_ms = store.resources.driver.clock().wall_ms();
        let ids = store.edit_snapshots(entry, |list| {
            let ids = expired(list, &entry.spec.options, now_ms);
            let edits = if ids.is_empty() { Vec::new() } else { vec![Edit::Dropped { ids: ids.clone() }] };
            Ok((edits, ids))
        })?;
        let begun = || Expiring { table_id: entry.spec.id, count: ids.len() as u64, last: None, released: Ok(()) };
        Ok((!ids.is_empty()).then(begun))
    }

    /// Lets the next bucket release what it keeps; `false` at the end. One that keeps nothing is not opened.
    ///
    /// Errors: those of the device, at the end.
    pub(super) fn step(&mut self, store: &Inner) -> Result<bool> {
        let catalog = store.catalog_seen();
        // It may have been dropped meanwhile.
        let next = catalog.tables.get(&self.table_id).and_then(|entry| Some((entry, next_place(entry, self.last)?)));
        let Some((entry, (partition_id, bucket))) = next else { return std::mem::replace(&mut self.released, Ok(())).map(|()| false) };
        self.last = Some((partition_id, bucket));
        if let Err(error) = release(store, entry, (entry.spec.id, partition_id, bucket))
            && check_there(&store.catalog_seen(), entry, partition_id).is_ok()
        {
            self.released = std::mem::replace(&mut self.released, Ok(())).and(Err(error));
        }
        Ok(true)
    }
}

/// The bucket behind the last one.
pub(super) fn next_place(entry: &TableEntry, last: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let first = last.map_or((0, 0), |(partition_id, bucket)| (partition_id, bucket + 1));
    let mut partitions = entry.partitions.range(first.0..).map(|(id, _)| *id);
    partitions.find_map(|partition_id| {
        let bucket = if partition_id == first.0 { first.1 } else { 0 };
        (bucket < entry.spec.buckets).then_some((partition_id, bucket))
    })
}

fn release(store: &Inner, entry: &TableEntry, key: Key) -> Result<()> {
    let snapshots = store.snapshots_of(entry)?;
    let (_, partition_id, number) = key;
    let was_open = store.is_open(key)?;
    let dir = store.address(entry, partition_id, number)?.dir;
    if !was_open && !keeps_any(&store.resources, &dir, |id| snapshots.is_gone(id))? {
        return Ok(());
    }
    let bucket = store.bucket(entry, partition_id, number)?;
    let released = snapshots.release(&bucket);
    if !was_open {
        store.let_go(key, bucket)?;
    }
    released
}
