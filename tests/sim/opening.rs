//! Who looks at a store while its next writer has the lock and has not come to its buckets yet.
//!
//! Invariant: it sees what that writer finds a moment later, whatever a power cut has left of the commit page; where only the process died the page is exact, and
//! rows that nobody acknowledged may be missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::io::{Driver, Lock, Mode};
use aquifer_node::store::{CreateTable, Durability, Options, Store};
use aquifer_node::{Error, Kind};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::history::{DIR, History};
use crate::oracle::{Finding, Place};

/// Where each log ends, by the names of tables.
pub(crate) type Ends = BTreeMap<(String, Place), u64>;

/// What a writer does first; `None` when there is no store, or the machine is off.
fn lock(sim: &Arc<Sim>) -> Option<Lock> {
    let file = sim.open(&Path::new(DIR).join("LOCK"), Mode::Write, false).ok()?;
    sim.lock(&file).ok()?
}

fn ends(store: &Store) -> Result<Ends, Error> {
    let mut ends = Ends::new();
    for stats in store.stats(None)? {
        ends.insert((stats.table, (stats.partition, stats.bucket)), stats.end_offset);
    }
    Ok(ends)
}

fn read_all(store: &Store) -> Result<Ends, Error> {
    for table in store.tables()? {
        store.table(&table.name)?.scan().build()?.try_for_each(|next| next.map(drop))?;
    }
    ends(store)
}

impl History {
    /// Now and then somebody looks before the store is opened. Not where it was opened since on a device that fails: what it could not read then it did not show.
    pub(crate) fn look_between(&mut self) -> Finding {
        self.seen_between = None;
        if !std::mem::take(&mut self.is_just_started) || !self.between.one_in(2) || self.was_opened_badly {
            return Ok(());
        }
        let Some(_lock) = lock(&self.sim) else { return Ok(()) };
        let looked = Store::open_read_only_with(self.sim.clone(), DIR, Options::default()).and_then(|store| read_all(&store));
        self.seen_between = match looked {
            // There is none yet.
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(format!("between the lock and the opening: {error}")),
            Ok(ends) => Some(ends),
        };
        Ok(())
    }

    /// The writer that came then found the same.
    pub(crate) fn settle_between(&mut self, store: &Store) -> Finding {
        let Some(seen) = self.seen_between.take() else { return Ok(()) };
        let found = ends(store).map_err(|error| format!("stats: {error}"))?;
        for (place, end) in seen {
            let Some(&found) = found.get(&place) else { continue };
            let acknowledged = self.oracle.tables.values().find(|table| table.name == place.0).and_then(|table| table.logs.get(&place.1));
            let least = if self.is_power_cut { found } else { acknowledged.map_or(0, |log| log.end()).min(found) };
            if !(least..=found).contains(&end) {
                return Err(format!("{place:?} ended at {end} for who looked before its writer came, and ends at {found}"));
            }
        }
        Ok(())
    }
}

fn row(value: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("value", Arc::new(Int64Array::from_iter_values([value])) as ArrayRef)]).unwrap()
}

fn append(store: &Store, values: std::ops::Range<i64>) {
    let mut writer = store.table("t").unwrap().writer().unwrap();
    values.for_each(|value| drop(writer.append(&row(value)).unwrap()));
}

fn values(store: &Store) -> Vec<i64> {
    let mut values = Vec::new();
    for next in store.table("t").unwrap().scan().build().unwrap() {
        values.extend_from_slice(next.unwrap().batch.column(0).as_primitive::<Int64Type>().values());
    }
    values
}

/// A store whose writer lost its power, and what somebody sees of it who looks before the next one has opened it, and afterwards.
fn seen_after_power_cut(seed: u64, durability: Durability) {
    let sim = Sim::new(seed, Faults::default());
    let options = || Options { durability, ..Options::default() };
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    store.create_table("t", CreateTable::like(row(0).schema())).unwrap();
    append(&store, 0..3);
    sim.write_pages_back();
    append(&store, 3..9);
    let sim = sim.reboot(seed);
    let locked = lock(&sim).unwrap();
    let follower = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
    let seen = values(&follower);
    let left = if durability == Durability::Sync { 9 } else { seen.len() as i64 };
    assert_eq!(seen, (0..left).collect::<Vec<i64>>(), "seed {seed}");
    drop(locked);
    let store = Store::open_with(sim, DIR, options()).unwrap();
    assert_eq!(values(&store), seen, "seed {seed}");
    append(&store, left..left + 2);
    assert_eq!(values(&follower), (0..left + 2).collect::<Vec<i64>>(), "seed {seed}");
}

#[test]
fn an_old_page_hides_no_acknowledged_rows_while_the_next_writer_comes() {
    (0..20).for_each(|seed| seen_after_power_cut(seed, Durability::Sync));
}

#[test]
fn a_page_that_is_ahead_of_its_log_is_no_damage_while_the_next_writer_comes() {
    (0..20).for_each(|seed| seen_after_power_cut(seed, Durability::Os));
}
