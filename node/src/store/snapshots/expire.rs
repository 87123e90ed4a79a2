//! Which snapshots go, and how: out of the list first, then out of the buckets.
//!
//! Invariants: as many of the newest stay as the table's options say; one with a tag stays. This module knows nothing of files.

use super::super::catalog::TableEntry;
use super::super::open::Inner;
use super::list::{Edit, List};
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
    if entry.spec.primary_key.is_empty() || entry.spec.check_writable().is_err() {
        return Ok(0);
    }
    let now_ms = store.resources.driver.clock().wall_ms();
    let ids = store.edit_snapshots(entry, |list| {
        let ids = expired(list, &entry.spec.options, now_ms);
        let edits = if ids.is_empty() { Vec::new() } else { vec![Edit::Dropped { ids: ids.clone() }] };
        Ok((edits, ids))
    })?;
    if ids.is_empty() {
        return Ok(0);
    }
    let snapshots = store.snapshots_of(entry)?;
    let mut released = Ok(());
    for &partition_id in entry.partitions.keys() {
        for number in 0..entry.spec.buckets {
            let key = (entry.spec.id, partition_id, number);
            let was_open = store.is_open(key)?;
            let bucket = store.bucket(entry, partition_id, number)?;
            released = released.and(snapshots.release(&bucket));
            if !was_open {
                store.let_go(key, bucket)?;
            }
        }
    }
    released.map(|()| ids.len() as u64)
}
