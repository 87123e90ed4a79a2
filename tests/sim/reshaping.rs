//! Histories of a table with a primary key whose shape changes while it has rows: how they are merged, its buckets, its partitions; with failures and crashes in the
//! middle of it, held against a map.
//!
//! Every change is one batch of one key, so after a crash either all of it is there or nothing. The oracle allows both for the one step that was not
//! acknowledged, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aquifer_node::io::Driver;
use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::store::{Change, ChangeType, CreateTable, Options, Store, Table};
use aquifer_node::{Error, Kind};
use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use crate::history::DIR;
use crate::random::Random;

/// Fresh seeds of a run that nobody asked more of.
const SEEDS: u64 = 60;

/// What found something once: a table was altered on top of an edit of a manifest whose write had failed, and a power cut took the edit.
const FOUND_SOMETHING: [u64; 1] = [77_828_731_454];

/// Lives of a store in one history.
const LIVES: u64 = 4;

/// Steps of a life at most.
const STEPS_MAX: u64 = 40;

const PARTS: [&str; 3] = ["x", "y", "z"];
const KEYS: u64 = 30;
const BUCKETS: [u32; 3] = [1, 2, 5];

/// How rows are merged: the newest, or the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Newest,
    Sum,
}

/// All that can be seen of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    rows: BTreeMap<(String, i64), i64>,
    way: Way,
    buckets: u32,
}

/// Something that is asked of the store.
#[derive(Clone, Debug)]
enum Step {
    /// Values for one key; `None` takes it away.
    Write(&'static str, i64, Vec<Option<i64>>),
    Merge(Way),
    Rescale(u32),
    Drop(&'static str),
}

impl Model {
    fn after(&self, step: &Step) -> Model {
        let mut next = self.clone();
        match step {
            Step::Write(part, key, values) => {
                let key = (part.to_string(), *key);
                for value in values {
                    let old = next.rows.remove(&key);
                    if let Some(value) = value {
                        let sum = if next.way == Way::Sum { old.unwrap_or(0) } else { 0 };
                        next.rows.insert(key.clone(), sum + value);
                    }
                }
            }
            Step::Merge(way) => next.way = *way,
            Step::Rescale(buckets) => next.buckets = *buckets,
            Step::Drop(part) => next.rows.retain(|(known, _), _| known != part),
        }
        next
    }
}

fn batch(part: &str, key: i64, values: &[Option<i64>]) -> RecordBatch {
    let parts = StringArray::from_iter_values(values.iter().map(|_| part));
    let keys = Int64Array::from_iter_values(values.iter().map(|_| key));
    RecordBatch::try_from_iter_with_nullable([
        ("part", Arc::new(parts) as _, false),
        ("key", Arc::new(keys) as _, false),
        ("value", Arc::new(values.iter().copied().collect::<Int64Array>()) as _, true),
    ])
    .unwrap()
}

fn seen(table: &Table) -> Result<Model, Error> {
    let mut rows = BTreeMap::new();
    for found in table.scan().build()? {
        let batch = found?.batch;
        let (parts, keys, values) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            assert!(values.is_valid(row), "every row has a value");
            let twice = rows.insert((parts.value(row).to_string(), keys.value(row)), values.value(row));
            assert!(twice.is_none(), "each key once");
        }
    }
    let description = table.describe()?;
    let way = if description.merge.contains_key("merge-engine") { Way::Sum } else { Way::Newest };
    Ok(Model { rows, way, buckets: description.buckets })
}

fn ask(store: &Store, step: &Step) -> Result<(), Error> {
    match step {
        Step::Write(part, key, values) => {
            let kind = |value: &Option<i64>| if value.is_some() { ChangeType::UpdateAfter } else { ChangeType::Delete };
            let kinds: Vec<ChangeType> = values.iter().map(kind).collect();
            store.table("t")?.writer()?.apply(&batch(part, *key, values), &kinds).map(drop)
        }
        Step::Merge(way) => store.alter_table("t", &changes_to(*way)),
        Step::Rescale(buckets) => store.rescale_table("t", *buckets, &mut |_| {}).map(drop),
        Step::Drop(part) => match store.drop_partition("t", &format!("part={part}")) {
            // It has no rows yet.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            dropped => dropped,
        },
    }
}

const SUM: [(&str, &str); 3] =
    [("merge-engine", "aggregation"), ("aggregation.remove-record-on-delete", "true"), ("fields.value.aggregate-function", "sum")];

fn changes_to(way: Way) -> Vec<Change> {
    match way {
        Way::Newest => SUM.iter().map(|(name, _)| Change::reset_option(name)).collect(),
        Way::Sum => SUM.iter().map(|(name, value)| Change::set_option(name, value)).collect(),
    }
}

struct History {
    sim: Arc<Sim>,
    random: Random,
    model: Model,
    /// The step that was not acknowledged.
    unsure: Option<Step>,
    faults: Faults,
}

impl History {
    fn run(seed: u64) -> Result<(), String> {
        let mut random = Random::new(seed);
        let faults = Faults {
            write_error_one_in: *random.pick(&[0, 0, 300]),
            sync_error_one_in: *random.pick(&[0, 0, 200]),
            create_error_one_in: *random.pick(&[0, 0, 60]),
            ..Faults::default()
        };
        let sim = Sim::new(random.next(), Faults::default());
        let model = Model { rows: BTreeMap::new(), way: Way::Newest, buckets: BUCKETS[1] };
        let mut history = History { sim, random, model, unsure: None, faults };
        for _ in 0..LIVES {
            history.live()?;
        }
        history.sim.set_faults(Faults::default());
        let store = history.open()?;
        history.settle(&store)
    }

    fn open(&mut self) -> Result<Store, String> {
        let memtable_bytes_max = *self.random.pick(&[64 << 10, 256 << 10]);
        let run_bytes_max = if memtable_bytes_max > 64 << 10 { 4 << 10 } else { Options::default().run_bytes_max };
        let options = Options { memtable_bytes_max, run_bytes_max, ..Options::default() };
        let store = Store::open_with(self.sim.clone(), DIR, options).map_err(|error| format!("a store does not open again: {error}"))?;
        if store.tables().map_err(|error| error.to_string())?.is_empty() {
            let like = CreateTable::like(batch("", 0, &[]).schema()).primary_key(&["part", "key"]).partition_by("part");
            store.create_table("t", like.buckets(BUCKETS[1])).map_err(|error| error.to_string())?;
        }
        Ok(store)
    }

    /// A store is opened, used, and ends: killed, or by a power cut.
    fn live(&mut self) -> Result<(), String> {
        self.sim.set_faults(Faults::default());
        let store = self.open()?;
        self.settle(&store)?;
        self.sim.set_faults(self.faults.clone());
        if self.random.one_in(2) {
            let steps = self.random.between(1, 1_500);
            self.sim.crash_after(steps);
        }
        for _ in 0..self.random.between(1, STEPS_MAX) {
            if !self.step(&store)? {
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

    /// What is there must be what was acknowledged, with or without the step that was not.
    fn settle(&mut self, store: &Store) -> Result<(), String> {
        let found = store.table("t").and_then(|table| seen(&table)).map_err(|error| format!("a scan after a restart fails: {error}"))?;
        let perhaps = self.unsure.take().map(|step| (self.model.after(&step), step));
        if found != self.model && perhaps.as_ref().map(|(model, _)| model) != Some(&found) {
            return Err(format!("after a restart and perhaps {perhaps:?}: {found:?} instead of {:?}", self.model));
        }
        self.model = found;
        // What was begun and came to nothing is gone, and nothing else.
        let tables = self.sim.list(&Path::new(DIR).join("tables")).map_err(|error| error.to_string())?;
        if tables.len() > 1 {
            return Err(format!("directories are left: {:?}", tables.iter().map(|entry| &entry.name).collect::<Vec<_>>()));
        }
        self.check(store)
    }

    fn check(&mut self, store: &Store) -> Result<(), String> {
        let outside = Store::open_read_only_with(self.sim.clone(), DIR, Options::default());
        for (table, who) in [store.table("t"), outside.and_then(|store| store.table("t"))].into_iter().zip(["the writer", "a follower"]) {
            match table.and_then(|table| seen(&table)) {
                Ok(found) if found == self.model => {}
                Ok(found) => return Err(format!("{who} sees {found:?} instead of {:?}", self.model)),
                Err(_) if self.sim.is_crashed() => return Ok(()),
                Err(error) => return Err(format!("{who} cannot read: {error}")),
            }
        }
        Ok(())
    }

    /// Whether the store can go on.
    fn step(&mut self, store: &Store) -> Result<bool, String> {
        let step = match self.random.below(24) {
            0 => Step::Merge(*self.random.pick(&[Way::Newest, Way::Sum])),
            1 => Step::Rescale(*self.random.pick(&BUCKETS)),
            2 => Step::Drop(self.random.pick::<&'static str>(&PARTS)),
            3..18 => {
                let count = self.random.between(1, 4);
                let values = (0..count).map(|_| (!self.random.one_in(5)).then(|| self.random.below(1_000) as i64)).collect();
                Step::Write(self.random.pick::<&'static str>(&PARTS), self.random.below(KEYS) as i64, values)
            }
            background => return self.background(store, background),
        };
        match ask(store, &step) {
            Ok(()) => {
                self.model = self.model.after(&step);
                Ok(true)
            }
            Err(error) if self.sim.is_crashed() || matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => {
                self.unsure = Some(step);
                Ok(false)
            }
            Err(error) => Err(format!("{step:?}: {error}")),
        }
    }

    fn background(&mut self, store: &Store, choice: u64) -> Result<bool, String> {
        let done = match choice {
            18..20 => store.flush("t"),
            20 => store.compact("t", true),
            21 => store.pump(),
            _ => return self.check(store).map(|()| true),
        };
        match done {
            Ok(()) => Ok(true),
            Err(_) if self.sim.is_crashed() => Ok(false),
            // What came to nothing changes nothing.
            Err(error) if matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => Ok(true),
            Err(error) => Err(format!("background work: {error}")),
        }
    }
}

#[test]
fn no_history_of_a_table_that_changes_its_shape_loses_a_row() {
    let seeds = match crate::setting("AQUIFER_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let fresh = crate::fresh_seeds(crate::setting("AQUIFER_SIM_SEEDS").unwrap_or(SEEDS));
            FOUND_SOMETHING.into_iter().chain(fresh).collect()
        }
    };
    let run = |seed| {
        let watch = crate::Watch::over(seed);
        let ran = crate::caught(|| History::run(seed));
        drop(watch);
        ran.err().map(|finding| (seed, finding))
    };
    let found: Vec<(u64, String)> = seeds.into_iter().filter_map(run).collect();
    for (seed, finding) in &found {
        println!("AQUIFER_SIM_SEED={seed} cargo test -p aquifer-tests --test sim changes_its_shape -- --nocapture\n    {finding}");
    }
    assert!(found.is_empty(), "{} histories broke a promise", found.len());
}
