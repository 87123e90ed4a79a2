//! Reading a table as it was: the snapshot that is meant, its schema, and what each bucket keeps of it.
//!
//! Invariants: a reader sees all of a snapshot or an error, also when it expires meanwhile: what was pinned stays. Rows come in the schema that the table had then, and are
//! merged as they were. This module knows nothing of how snapshots are made.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::catalog::TableEntry;
use super::super::keyed::Place;
use super::super::table::Table;
use super::Version;
use super::list::Record;
use crate::bucket::tree::{Keyed, Pinned};
use crate::error::{Error, Kind, Result};
use crate::lsm::run::Checked;
use crate::table::TableSpec;

/// How often is looked again because runs were replaced or went while they were looked up.
const TRIES_MAX: u32 = 100;

/// A table at a snapshot.
pub(in crate::store) struct At {
    /// The table as it was.
    pub(in crate::store) spec: TableSpec,
    record: Record,
    keyed: Arc<Keyed>,
}

impl At {
    /// With `is_now`, in the columns that the table has now.
    ///
    /// Errors: NotFound when there is no such snapshot.
    fn find(table: &Table, version: &Version, is_now: bool) -> Result<(Arc<TableEntry>, At)> {
        let entry = table.keyed_entry()?;
        let list = table.store.snapshot_list(&entry)?;
        let record = list.find(version).map_err(|error| error.at("table", &table.name))?.clone();
        // A follower's look at the catalog may be older than the snapshot.
        let entry = match entry.spec.schema_at(record.schema_version) {
            Some(_) => entry,
            None => table.store.newest_entry(table.id, &table.name)?,
        };
        let unknown =
            || Error::corrupt(format!("a snapshot of the unknown schema version {}", record.schema_version)).at("table", &table.name);
        let was = entry.spec.as_it_was(record.schema_version, &record.merge).ok_or_else(unknown)?;
        let spec = if is_now { entry.spec.clone() } else { was };
        let keyed = Arc::new(Keyed::new(&Arc::new(spec.clone())).map_err(|error| error.at("table", &table.name))?);
        Ok((entry, At { spec, record, keyed }))
    }

    /// Its number.
    pub(in crate::store) fn id(&self) -> u64 {
        self.record.id
    }

    /// When it was: rows that expired later are in it.
    pub(in crate::store) fn time_ms(&self) -> i64 {
        self.record.time_ms
    }

    /// What the snapshot has of a bucket; `None` when that had no rows.
    ///
    /// Errors: NotFound when the snapshot expired meanwhile, or runs that the manifest named went: it is worth while to look again.
    pub(in crate::store) fn pin(&self, table: &Table, entry: &TableEntry, place: Place) -> Result<Option<Pinned>> {
        let Place { partition_id, bucket } = place;
        let end = self.record.ends.get(&partition_id).and_then(|ends| ends.get(bucket as usize)).copied().unwrap_or(0);
        if end == 0 {
            return Ok(None);
        }
        let store = &table.store;
        let kept = match store.is_writable() {
            true => store.bucket(entry, partition_id, bucket)?.kept(self.record.id)?,
            false => store.follower(entry, partition_id, bucket)?.kept(self.record.id)?,
        };
        match kept {
            Some((runs, kept_end)) if kept_end == end => Ok(Some(Pinned::of_runs(self.keyed.clone(), runs, end))),
            _ => {
                let gone = Error::not_found(format!("the runs of snapshot {} are gone", self.record.id));
                Err(gone.at("table", &table.name).at("bucket", bucket))
            }
        }
    }
}

/// Reads a table at a snapshot, and again when something went while it was looked up.
///
/// Errors: NotFound when there is no such snapshot, or no more; Corrupt when there is and its runs are not.
pub(in crate::store) fn steadily_at<R>(
    table: &Table,
    version: &Version,
    is_now: bool,
    mut read: impl FnMut(&TableEntry, &At) -> Result<R>,
) -> Result<R> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (entry, at) = At::find(table, version, is_now)?;
        match read(&entry, &at) {
            Err(error) if error.kind() == Kind::NotFound && tries < TRIES_MAX => std::thread::yield_now(),
            Err(error) if error.kind() == Kind::NotFound => {
                let lost = Error::corrupt(format!("a part of snapshot {} is gone: {}", at.record.id, error.message()));
                return Err(lost.at("table", &table.name).caused_by(error));
            }
            done => return done,
        }
    }
}

/// Checks the runs that snapshots have of a bucket, but for those that were checked before: what was good of each. `wrong` hears of what is damaged or missing.
pub(in crate::store) fn check(table: &Table, place: Place, before: &mut HashSet<u64>, wrong: &mut dyn FnMut(Error)) -> Vec<Checked> {
    let entry = table.keyed_entry();
    let ids: Vec<u64> = match entry.and_then(|entry| table.store.snapshot_list(&entry)) {
        Ok(list) => list.snapshots.keys().copied().collect(),
        Err(error) => {
            wrong(error);
            return Vec::new();
        }
    };
    let mut checked = Vec::new();
    for id in ids {
        match steadily_at(table, &Version::Snapshot(id), false, |entry, at| at.pin(table, entry, place)) {
            Ok(pinned) => checked.extend(pinned.iter().flat_map(|pinned| pinned.check(before, wrong))),
            // It expired meanwhile, or the table was dropped.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => wrong(error),
        }
    }
    checked
}

/// Up to which commit time the log of a table is read at a version.
///
/// Errors: Invalid unless that is a log table's time, and its rows are read up to there only.
pub(in crate::store) fn until(table: &Table, version: &Version, goes_on: bool) -> Result<i64> {
    if goes_on {
        let endless = Error::invalid("changes, and rows that are waited for, are not read at one moment").at("table", &table.name);
        return Err(endless.hint("scan the table at that moment, or say where its changes begin and end"));
    }
    match version {
        Version::AsOf(time_ms) => Ok(*time_ms),
        Version::Snapshot(_) | Version::Tag(_) => table.keyed_entry().map(|_| i64::MAX),
    }
}
