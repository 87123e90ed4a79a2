//! Histories of a table with a primary key: upserts, deletes, flushes, compactions, snapshots and their expiry, with failures and crashes in the middle of them,
//! held against a map, and copies of it.
//!
//! Every change is one batch of one bucket, so after a crash either all of it is there or nothing. The oracle allows both for changes that were not
//! acknowledged, and nothing else. Of a snapshot that was not acknowledged all is there, or nothing; at the end there is no run that nobody names.
//! Half of the tables have a log that says what became of rows: there changes must fit together, each with the row before it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aquifer_node::io::Driver;
use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::store::{ChangeType, CreateTable, Options, ScanBuilder, Store, Table, Version};
use aquifer_node::{Error, Kind};
use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use crate::history::DIR;
use crate::random::Random;

/// Runs of a snapshot were released because it was out of the list, by an edit that a power cut took.
const FOUND_SOMETHING: [u64; 1] = [2_508_539_912];

/// Fresh seeds of a run that nobody asked more of.
const SEEDS: u64 = 60;

/// Lives of a store in one history.
const LIVES: u64 = 4;

/// Steps of a life at most.
const STEPS_MAX: u64 = 40;

/// Keys of the table.
const KEYS: u64 = 120;

/// Changes that are sent without waiting for each other, at most.
const BURST_MAX: u64 = 5;

type Model = BTreeMap<i64, String>;

/// A key, and what it becomes: `None` when it goes.
type Change = (i64, Option<String>);

fn batch(changes: &[Change]) -> RecordBatch {
    let keys = Int64Array::from_iter_values(changes.iter().map(|(key, _)| *key));
    let values = StringArray::from_iter_values(changes.iter().map(|(_, value)| value.as_deref().unwrap_or("")));
    RecordBatch::try_from_iter([("key", Arc::new(keys) as _), ("value", Arc::new(values) as _)]).unwrap()
}

fn with(model: &Model, changes: &[Change]) -> Model {
    let mut next = model.clone();
    for (key, value) in changes {
        match value {
            Some(value) => _ = next.insert(*key, value.clone()),
            None => _ = next.remove(key),
        }
    }
    next
}

fn scanned(table: &Table) -> Result<Model, Error> {
    rows(table.scan())
}

fn rows(scan: ScanBuilder) -> Result<Model, Error> {
    let mut all = Model::new();
    let mut last = i64::MIN;
    for found in scan.build()? {
        let batch = found?.batch;
        let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        for row in 0..batch.num_rows() {
            assert!(last < keys.value(row), "keys ascend");
            last = keys.value(row);
            all.insert(last, values.value(row).to_string());
        }
    }
    Ok(all)
}

fn looked_up(table: &Table) -> Result<Model, Error> {
    let keys: Vec<Change> = (0..KEYS as i64).map(|key| (key, None)).collect();
    let found = table.lookup(&batch(&keys).project(&[0]).unwrap())?;
    let value = |place: usize| found.rows.column(1).as_string::<i32>().value(place).to_string();
    Ok(found.places.iter().enumerate().filter_map(|(key, place)| place.map(|place| (key as i64, value(place)))).collect())
}

/// What the changes of a table come to that says what became of rows.
fn folded(table: &Table) -> Result<Model, Error> {
    let mut all = Model::new();
    for found in table.changes().build()? {
        let batch = found?.batch;
        let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        for row in 0..batch.num_rows() {
            let (key, value) = (keys.value(row), values.value(row).to_string());
            let (before, expected) = match batch.column(2).as_string::<i32>().value(row) {
                "+I" | "+U" => (all.insert(key, value), None),
                _ => (all.remove(&key), Some(value)),
            };
            assert_eq!(before, expected, "the row before a change of key {key}");
        }
    }
    Ok(all)
}

struct History {
    sim: Arc<Sim>,
    random: Random,
    model: Model,
    /// Changes that were not acknowledged: each may be there or not.
    unsure: Vec<Vec<Change>>,
    /// What the snapshots show that were made.
    snapshots: BTreeMap<u64, Model>,
    /// What those show that were not acknowledged, and may be there.
    unsure_snapshots: Vec<Model>,
    faults: Faults,
    /// The log says what became of rows.
    has_images: bool,
}

/// What a step came to.
enum Outcome {
    Done,
    /// The store must be opened again.
    Over,
}

impl History {
    fn run(seed: u64, lies: bool) -> Result<(), String> {
        let mut random = Random::new(seed);
        let faults = Faults {
            write_error_one_in: *random.pick(&[0, 0, 300]),
            sync_error_one_in: *random.pick(&[0, 0, 200]),
            create_error_one_in: *random.pick(&[0, 0, 60]),
            lie_about_durability: lies,
            ..Faults::default()
        };
        let sim = Sim::new(random.next(), Faults { lie_about_durability: lies, ..Faults::default() });
        let has_images = random.one_in(2);
        let (snapshots, unsure_snapshots) = Default::default();
        let mut history = History { sim, random, model: Model::new(), unsure: Vec::new(), snapshots, unsure_snapshots, faults, has_images };
        for _ in 0..LIVES {
            history.live()?;
        }
        history.sim.set_faults(Faults::default());
        let store = history.open()?;
        history.settle(&store)?;
        history.check_runs(&store)
    }

    /// Each run on the device is one that the tree or a snapshot has.
    fn check_runs(&mut self, store: &Store) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        store.settle().map_err(told)?;
        store.expire("t").map_err(told)?;
        // What the first merges, the second removes.
        store.pump().and_then(|()| store.pump()).map_err(told)?;
        let report = store.verify(None, &mut |_| {}).map_err(told)?;
        let dir = Path::new(DIR).join("tables/0/p0/b0");
        let files = self.sim.list(&dir).unwrap_or_default();
        let runs = files.iter().filter(|entry| entry.name.ends_with(".run")).count() as u64;
        if !report.problems.is_empty() || runs != report.runs {
            return Err(format!("{runs} runs on the device, {} are known, problems {:?}", report.runs, report.problems));
        }
        Ok(())
    }

    /// Each snapshot in a list shows what was there when it was made; the last one that was acknowledged is there.
    fn check_snapshots(&mut self, table: &Table) -> Result<Result<(), Error>, String> {
        let listed = match table.snapshots() {
            Ok(listed) => listed,
            Err(error) => return Ok(Err(error)),
        };
        for snapshot in &listed {
            let found = match rows(table.scan().at(Version::Snapshot(snapshot.id))) {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            match self.snapshots.get(&snapshot.id) {
                Some(copy) if *copy == found => {}
                Some(copy) => return Err(format!("snapshot {}: {}", snapshot.id, differences(&found, copy))),
                None if self.unsure_snapshots.contains(&found) => {}
                None => return Err(format!("snapshot {} was never asked for", snapshot.id)),
            }
        }
        match self.snapshots.last_key_value() {
            Some((last, _)) if !listed.iter().any(|snapshot| snapshot.id == *last) => Err(format!("snapshot {last} is lost")),
            _ => Ok(Ok(())),
        }
    }

    fn snapshot(&mut self, store: &Store) -> Result<(), Error> {
        let made = store.table("t").and_then(|table| table.create_snapshot(None));
        match made {
            Ok(made) => _ = self.snapshots.insert(made.id, self.model.clone()),
            Err(error) => {
                self.unsure_snapshots.push(self.model.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn options(&mut self) -> Options {
        Options {
            memtable_bytes_max: *self.random.pick(&[64 << 10, 256 << 10, 1 << 20]),
            run_bytes_max: *self.random.pick(&[4 << 10, 32 << 10, 256 << 20]),
            ..Options::default()
        }
    }

    fn open(&mut self) -> Result<Store, String> {
        let options = self.options();
        let store = Store::open_with(self.sim.clone(), DIR, options).map_err(|error| format!("a store does not open again: {error}"))?;
        if store.tables().map_err(|error| error.to_string())?.is_empty() {
            let mode = if self.has_images { "lookup" } else { "input" };
            let like = CreateTable::like(batch(&[]).schema()).primary_key(&["key"]).option("batch.bytes.max", "4MiB");
            let like = like.option("snapshot.num-retained.min", "1").option("snapshot.num-retained.max", "3");
            let like = like.option("changelog-producer", mode);
            store.create_table("t", like).map_err(|error| error.to_string())?;
        }
        Ok(store)
    }

    /// A store is opened, used, and ends: closed, killed, or by a power cut.
    fn live(&mut self) -> Result<(), String> {
        self.sim.set_faults(Faults { lie_about_durability: self.faults.lie_about_durability, ..Faults::default() });
        let store = self.open()?;
        self.settle(&store)?;
        self.sim.set_faults(self.faults.clone());
        if self.random.one_in(2) {
            let steps = self.random.between(1, 600);
            self.sim.crash_after(steps);
        }
        for _ in 0..self.random.between(1, STEPS_MAX) {
            if let Outcome::Over = self.step(&store)? {
                break;
            }
        }
        let seed = self.random.next();
        let is_cut = self.sim.is_crashed() || self.random.one_in(3);
        let next = if is_cut { self.sim.reboot(seed) } else { self.sim.kill(seed) };
        drop(store);
        self.sim = next;
        Ok(())
    }

    /// What is there must be what was acknowledged, with or without the change that was not.
    fn settle(&mut self, store: &Store) -> Result<(), String> {
        let table = store.table("t").map_err(|error| error.to_string())?;
        let found = scanned(&table).map_err(|error| format!("a scan after a restart fails: {error}"))?;
        let mut possible = vec![self.model.clone()];
        for changes in std::mem::take(&mut self.unsure) {
            possible.extend(possible.iter().map(|model| with(model, &changes)).collect::<Vec<_>>());
        }
        if !possible.contains(&found) {
            return Err(format!("after a restart: {}", differences(&found, &self.model)));
        }
        self.model = found;
        // Those that are in the list now stay there.
        for snapshot in table.snapshots().map_err(|error| format!("the list of snapshots cannot be read: {error}"))? {
            let found =
                rows(table.scan().at(Version::Snapshot(snapshot.id))).map_err(|error| format!("snapshot {}: {error}", snapshot.id))?;
            if !self.snapshots.contains_key(&snapshot.id) && self.unsure_snapshots.contains(&found) {
                self.snapshots.insert(snapshot.id, found);
            }
        }
        self.unsure_snapshots.clear();
        self.check(store)
    }

    fn check(&mut self, store: &Store) -> Result<(), String> {
        let outside = Store::open_read_only_with(self.sim.clone(), DIR, Options::default());
        let tables = [store.table("t"), outside.and_then(|store| store.table("t"))];
        for (table, who) in tables.into_iter().zip(["the writer", "a follower"]) {
            let has_images = self.has_images;
            let read = match table {
                Ok(table) => match self.check_snapshots(&table)? {
                    Ok(()) => scanned(&table).and_then(|scanned| {
                        let folded = if has_images { folded(&table)? } else { scanned.clone() };
                        Ok((scanned, looked_up(&table)?, folded))
                    }),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            let (scanned, looked_up, folded) = match read {
                Ok(read) => read,
                Err(_) if self.sim.is_crashed() => return Ok(()),
                Err(error) => return Err(format!("{who} cannot read: {error}")),
            };
            for (found, how) in [(scanned, "scans"), (looked_up, "looks up"), (folded, "adds up changes")] {
                if found != self.model {
                    return Err(format!("{who} {how}: {}", differences(&found, &self.model)));
                }
            }
        }
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        let length = *self.random.pick(&[4, 40, 400]);
        let count = self.random.between(1, 60);
        let one = |random: &mut Random| {
            let key = random.below(KEYS) as i64;
            let value = format!("{:x}", random.next()).repeat(1 + random.below(length) as usize / 8);
            (key, (!random.one_in(4)).then_some(value))
        };
        (0..count).map(|_| one(&mut self.random)).collect()
    }

    fn step(&mut self, store: &Store) -> Result<Outcome, String> {
        let choice = self.random.below(24);
        let done = match choice {
            0..6 => return self.write(store),
            6..10 => return self.burst(store),
            10..13 => store.flush("t"),
            13 => store.compact("t", true),
            14 => store.compact("t", false),
            15..18 => store.pump(),
            18..21 => self.snapshot(store),
            21 => store.expire("t").map(drop),
            _ => return self.check(store).map(|()| Outcome::Done),
        };
        match done {
            Ok(()) => Ok(Outcome::Done),
            Err(_) if self.sim.is_crashed() => Ok(Outcome::Over),
            // What came to nothing changes nothing.
            Err(error) if matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => Ok(Outcome::Done),
            Err(error) => Err(format!("background work: {error}")),
        }
    }

    fn write(&mut self, store: &Store) -> Result<Outcome, String> {
        let changes = self.changes();
        let kind = |(_, value): &Change| if value.is_some() { ChangeType::UpdateAfter } else { ChangeType::Delete };
        let kinds: Vec<ChangeType> = changes.iter().map(kind).collect();
        let written = store.table("t").and_then(|table| table.writer()?.apply(&batch(&changes), &kinds));
        match written {
            Ok(_) => {
                self.model = with(&self.model, &changes);
                Ok(Outcome::Done)
            }
            Err(error) if self.sim.is_crashed() || matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => {
                self.unsure.push(changes);
                Ok(Outcome::Over)
            }
            Err(error) => Err(format!("an upsert: {error}")),
        }
    }

    /// Several changes that do not wait for each other, by two writers.
    fn burst(&mut self, store: &Store) -> Result<Outcome, String> {
        let table = store.table("t").map_err(|error| error.to_string())?;
        let mut sent = Vec::new();
        let mut send = || -> Result<(), Error> {
            let mut writers = [table.writer()?, table.writer()?];
            for number in 0..self.random.between(2, BURST_MAX) {
                let changes = self.changes();
                let kind = |(_, value): &Change| if value.is_some() { ChangeType::UpdateAfter } else { ChangeType::Delete };
                let kinds: Vec<ChangeType> = changes.iter().map(kind).collect();
                let rows = batch(&changes);
                sent.push(changes);
                writers[number as usize % 2].send_changes(&rows, &kinds)?;
            }
            let [first, second] = writers.each_mut().map(|writer| writer.flush());
            first.and(second).map(drop)
        };
        match send() {
            Ok(()) => {
                self.model = sent.iter().fold(self.model.clone(), |model, changes| with(&model, changes));
                Ok(Outcome::Done)
            }
            Err(error) if self.sim.is_crashed() || matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => {
                self.unsure = sent;
                Ok(Outcome::Over)
            }
            Err(error) => Err(format!("a burst of upserts: {error}")),
        }
    }
}

fn differences(found: &Model, expected: &Model) -> String {
    let lost: Vec<_> = expected.keys().filter(|key| !found.contains_key(key)).collect();
    let extra: Vec<_> = found.keys().filter(|key| !expected.contains_key(key)).collect();
    let other: Vec<_> =
        found.iter().filter(|(key, value)| expected.get(key).is_some_and(|known| known != *value)).map(|(key, _)| key).collect();
    format!("keys lost {lost:?}, too many {extra:?}, with another value {other:?}")
}

fn failing(seeds: impl Iterator<Item = u64>, lies: bool) -> Vec<(u64, String)> {
    let run = |seed| {
        let watch = crate::Watch::over(seed);
        let ran = crate::caught(|| History::run(seed, lies));
        drop(watch);
        ran.err().map(|finding| (seed, finding))
    };
    seeds.filter_map(run).collect()
}

#[test]
fn no_history_of_a_keyed_table_loses_a_row() {
    let seeds = match crate::setting("AQUIFER_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let fresh = crate::fresh_seeds(crate::setting("AQUIFER_SIM_SEEDS").unwrap_or(SEEDS));
            FOUND_SOMETHING.into_iter().chain(fresh).collect()
        }
    };
    let found = failing(seeds.into_iter(), false);
    for (seed, finding) in &found {
        println!("AQUIFER_SIM_SEED={seed} cargo test -p aquifer-tests --test sim no_history_of -- --nocapture\n    {finding}");
    }
    assert!(found.is_empty(), "{} histories broke a promise", found.len());
}

#[test]
fn writes_that_lie_are_found_in_keyed_tables() {
    let found = failing(0..12, true);
    assert!(found.len() >= 3, "found by {} of 12 seeds only", found.len());
}
