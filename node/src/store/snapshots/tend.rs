//! Snapshots by themselves: made as often as a table's options say, and expired, as background work.
//!
//! Invariant: a look at the tables writes nothing; work is done in steps, and holds the store only within one. This module knows nothing of when it is called.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::catalog::{Catalog, TableEntry};
use super::super::open::Inner;
use super::super::table::Table;
use super::expire::{Expiring, expired};
use super::make::{Making, Opening};
use crate::error::Result;
use crate::schedule::Steps;
use crate::table::TableName;

/// Tables that are looked at in a round.
const TABLES_PER_ROUND: usize = 64;

/// The tables of this round: those behind the last one of the round before, then from the first on.
fn round(catalog: &Catalog, last: Option<u32>) -> Vec<&Arc<TableEntry>> {
    let behind = catalog.tables.range(last.map_or(0, |last| last.saturating_add(1))..);
    let before = catalog.tables.range(..=last.unwrap_or(0)).filter(|_| last.is_some());
    behind.chain(before).map(|(_, entry)| entry).filter(|entry| !entry.spec.primary_key.is_empty()).take(TABLES_PER_ROUND).collect()
}

/// Work on the snapshots of tables that is due.
///
/// Errors: Corrupt for a damaged list; the other tables are looked at in another round.
pub(in crate::store) fn due(store: &Arc<Inner>) -> Result<Vec<Steps>> {
    let catalog = store.catalog_seen();
    let mut tended_to = store.tended_to()?.lock();
    let entries = round(&catalog, *tended_to);
    *tended_to = entries.last().map(|entry| entry.spec.id);
    drop(tended_to);
    let mut work: Vec<Steps> = Vec::new();
    let mut failed = Ok(());
    for entry in entries {
        match wants(store, entry) {
            Ok(Wants { snapshot: false, expiry: false }) => {}
            Ok(wants) => work.push(steps(Arc::downgrade(store), entry.spec.id, entry.spec.name.clone(), wants)),
            // It was dropped meanwhile.
            Err(_) if !store.catalog_seen().tables.contains_key(&entry.spec.id) => {}
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    if work.is_empty() { failed.map(|()| work) } else { Ok(work) }
}

/// What a table's snapshots need.
#[derive(Clone, Copy)]
struct Wants {
    snapshot: bool,
    expiry: bool,
}

fn wants(store: &Inner, entry: &TableEntry) -> Result<Wants> {
    // A newer program may have asked for something else.
    if entry.spec.check_writable().is_err() {
        return Ok(Wants { snapshot: false, expiry: false });
    }
    let now_ms = store.resources.driver.clock().wall_ms();
    let list = store.snapshot_list(entry)?;
    let expiry = !expired(&list, &entry.spec.options, now_ms).is_empty();
    let last = list.snapshots.last_key_value().map(|(_, last)| last);
    let is_time = entry.spec.options.snapshot_interval_ms.is_some_and(|interval_ms| {
        let last_ms = last.map_or(i64::MIN, |last| last.time_ms);
        last_ms.saturating_add_unsigned(interval_ms) <= now_ms
    });
    let mut snapshot = false;
    for &partition_id in entry.partitions.keys().filter(|_| is_time) {
        let ends = last.and_then(|last| last.ends.get(&partition_id));
        for bucket in 0..entry.spec.buckets {
            let end = ends.and_then(|ends| ends.get(bucket as usize)).copied().unwrap_or(0);
            snapshot |= store.end_seen(entry, partition_id, bucket)? > end;
        }
    }
    Ok(Wants { snapshot, expiry })
}

fn steps(store: Weak<Inner>, table_id: u32, name: TableName, wants: Wants) -> Steps {
    let mut stage = if wants.snapshot { Stage::Begin } else { Stage::Made };
    Box::new(move || {
        let Some(store) = store.upgrade() else { return Ok(None) };
        if !store.catalog_seen().tables.contains_key(&table_id) {
            return Ok(None);
        }
        let table = Table::new(store.clone(), table_id, name.clone());
        let mut rest = Duration::ZERO;
        stage = match std::mem::replace(&mut stage, Stage::Made) {
            Stage::Begin => Opening::try_begin(&table)?.map_or(Stage::Made, Stage::Opening),
            Stage::Opening(mut opening) => opening.step(&table)?.map_or(Stage::Opening(opening), |making| Stage::Making(Box::new(making))),
            Stage::Making(mut making) => match making.step(&table)? {
                None => Stage::Made,
                Some(busy) => {
                    rest = busy;
                    Stage::Making(making)
                }
            },
            Stage::Made => match Expiring::begin(&store, &*store.entry(table_id, &table.name)?)? {
                None => return Ok(None),
                Some(expiring) => Stage::Expiring(expiring),
            },
            Stage::Expiring(mut expiring) => match expiring.step(&store)? {
                false => return Ok(None),
                true => Stage::Expiring(expiring),
            },
        };
        Ok(Some(rest))
    })
}

/// What is done next.
enum Stage {
    Begin,
    Opening(Opening),
    Making(Box<Making>),
    Made,
    Expiring(Expiring),
}
