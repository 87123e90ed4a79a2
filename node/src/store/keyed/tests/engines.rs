//! Every merge engine against a model, over whole tables: whatever the batches, whenever they are flushed and merged, and across reopenings.
//!
//! `AQUIFER_HISTORIES` says how many histories each engine sees, `AQUIFER_SEED` which; a failure prints the seed and the smallest history that still fails.
//! After a history, and within it, scans, lookups and the changelog must say what the model says.

mod histories;
mod lone;
mod model;
mod plans;
mod rows;

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use proptest::test_runner::{RngSeed, TestRunner};

use self::histories::{Event, KEYS, LARGE_KEY, Writing, histories};
use self::model::Model;
use self::plans::{Engine, Plan};
use self::rows::{Cells, Row, batch, read, schema, value};
use super::*;

/// Histories of each engine, when nothing else is asked for.
const HISTORIES: u32 = 16;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// How much was done.
#[derive(Default)]
struct Counts {
    histories: AtomicU64,
    rows: AtomicU64,
    checks: AtomicU64,
    /// Merges of some runs of a bucket, not all.
    partial_merges: AtomicU64,
    /// Histories with a function.
    functions: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    fn add(count: &AtomicU64, more: usize) {
        count.fetch_add(more as u64, Ordering::Relaxed);
    }
}

/// A table on a simulated disk, and what it must be like.
struct Run<'a> {
    sim: Arc<Sim>,
    store: Option<Store>,
    plan: Arc<Plan>,
    schema: SchemaRef,
    writing: Writing,
    model: Model,
    counts: &'a Counts,
}

impl<'a> Run<'a> {
    fn new(plan: &Arc<Plan>, counts: &'a Counts) -> Self {
        let sim = Sim::new(1, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let schema = schema(&plan.columns);
        let create = CreateTable::like(schema.clone()).primary_key(&["key"]).buckets(plan.buckets);
        let create = plan.options().iter().fold(create, |create, (name, value)| create.option(name, value));
        store.create_table("t", create).unwrap();
        Run {
            sim,
            store: Some(store),
            schema,
            writing: Writing::new(plan.clone()),
            model: Model::new(plan.clone()),
            plan: plan.clone(),
            counts,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    fn table(&self) -> Table {
        self.store().table("t").unwrap()
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Write(seeds) => {
                let steps: Vec<Vec<Row>> = seeds.iter().map(|seed| self.writing.step(*seed)).collect();
                self.write(&steps);
            }
            Event::WriteLarge(seed) => {
                let row = self.writing.large(*seed);
                self.write(&[vec![row]]);
            }
            Event::Flush => self.store().flush("t").unwrap(),
            Event::Compact { full } => self.merging(|store| store.compact("t", *full).unwrap()),
            Event::Settle => {
                self.store().flush("t").unwrap();
                self.store().compact("t", true).unwrap();
                self.model.forget_deletes();
            }
            Event::Alter(seed) => self.alter(*seed),
            Event::Rescale(buckets) => {
                if self.store().rescale_table("t", *buckets, &mut |_| {}).unwrap().buckets_before != *buckets {
                    self.model.rescale();
                }
            }
            Event::Pump => self.merging(|store| store.pump().unwrap()),
            Event::Reopen => {
                self.store.take().expect("it is open").close().unwrap();
                self.store = Some(Store::open_with(self.sim.clone(), DIR, options()).unwrap());
            }
            Event::Crash(seed) => {
                self.sim = self.sim.reboot(*seed);
                self.store = Some(Store::open_with(self.sim.clone(), DIR, options()).unwrap());
            }
            Event::Check => self.check(&self.table()),
        }
        if !matches!(event, Event::Write(_) | Event::WriteLarge(_) | Event::Check) {
            self.writing.boundary(event.leaves());
        }
    }

    fn alter(&mut self, seed: u64) {
        let plan = Arc::new(self.plan.altered(seed));
        let changes = plan.changes_since(&self.plan);
        if plan.options() == self.plan.options() {
            return;
        }
        self.store().alter_table("t", &changes).unwrap();
        self.model.alter(plan.clone());
        self.writing.alter(plan.clone());
        self.plan = plan;
    }

    /// Does what may merge runs.
    fn merging(&self, merge: impl FnOnce(&Store)) {
        let runs = || -> Vec<usize> {
            self.store().stats(Some("t")).unwrap().iter().map(|bucket| bucket.tree.as_ref().map_or(0, |tree| tree.runs)).collect()
        };
        let before = runs();
        merge(self.store());
        let partial = before.iter().zip(runs()).filter(|(before, after)| *after > 1 && after < *before).count();
        Counts::add(&self.counts.partial_merges, partial);
    }

    fn write(&mut self, steps: &[Vec<Row>]) {
        steps.iter().for_each(|step| self.model.write(step));
        let rows: Vec<Row> = steps.concat();
        Counts::add(&self.counts.rows, rows.len());
        let kinds: Vec<ChangeType> = rows.iter().map(|row| row.kind).collect();
        self.table().writer().unwrap().apply(&batch(&self.schema, &self.plan.columns, &rows), &kinds).unwrap();
    }

    /// Whether scans and lookups of all columns and of one say what the model says.
    fn check(&self, table: &Table) {
        Counts::add(&self.counts.checks, 1);
        let expected = self.model.rows();
        let mut found: BTreeMap<i64, Cells> = BTreeMap::new();
        for rows in table.scan().build().unwrap() {
            for (key, cells) in read(&self.plan.columns, &rows.unwrap().batch) {
                assert!(found.insert(key, cells).is_none(), "key {key} once");
            }
        }
        same(&self.plan.columns, &found, &expected, "scan");
        self.check_lookup(table, &expected);
        let one = expected.len() * 7 % self.plan.columns.len();
        let (name, kind) = self.plan.columns[one];
        for rows in table.scan().columns(&["key", name]).build().unwrap() {
            let rows = rows.unwrap().batch;
            for row in 0..rows.num_rows() {
                let key = rows.column(0).as_primitive::<Int64Type>().value(row);
                assert_eq!(value(kind, rows.column(1), row), expected[&key][one], "scan of `{name}` alone, key {key}");
            }
        }
    }

    fn check_lookup(&self, table: &Table, expected: &BTreeMap<i64, Cells>) {
        let keys: Vec<i64> = KEYS.rev().chain([LARGE_KEY, -1]).collect();
        let asked: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
        let found = table.lookup(&RecordBatch::try_from_iter([("key", asked)]).unwrap()).unwrap();
        let rows = read(&self.plan.columns, &found.rows);
        let found = keys.iter().zip(found.places).filter_map(|(key, place)| Some((*key, rows[place?].1.clone()))).collect();
        same(&self.plan.columns, &found, expected, "lookup");
    }

    /// Whether the log says of each key what the model says.
    fn check_log(&self, table: &Table) {
        let mut found: BTreeMap<i64, Vec<(ChangeType, Cells)>> = BTreeMap::new();
        for changes in table.changes().build().unwrap() {
            let changes = changes.unwrap().batch;
            let ops = changes.column_by_name("_op").unwrap().as_string::<i32>();
            for (row, (key, cells)) in read(&self.plan.columns, &changes).into_iter().enumerate() {
                found.entry(key).or_default().push((ops.value(row).parse().unwrap(), cells));
            }
        }
        let expected: BTreeMap<_, _> = self.model.log.iter().filter(|(_, changes)| !changes.is_empty()).collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>(), "keys in the log");
        for (key, changes) in &found {
            for (number, (change, expected)) in changes.iter().zip(expected[key]).enumerate() {
                assert_eq!(change, expected, "change {number} of key {key}");
            }
            assert_eq!(changes.len(), expected[key].len(), "changes of key {key}");
        }
        if self.plan.has_images() {
            let replayed: BTreeMap<i64, Cells> = found.into_iter().filter_map(|(key, changes)| Some((key, replay(changes)?))).collect();
            same(&self.plan.columns, &replayed, &self.model.rows(), "changelog");
        }
    }

    /// Holds what is left at the end against the model: as the writer reads it, as who follows does, and after it was opened again.
    fn finish(mut self) {
        self.check(&self.table());
        let follower = Store::open_read_only_with(self.sim.clone(), DIR, options()).unwrap();
        self.check(&follower.table("t").unwrap());
        self.check_log(&follower.table("t").unwrap());
        drop(follower);
        self.take(&Event::Reopen);
        self.check(&self.table());
        self.take(&Event::Settle);
        self.check(&self.table());
        self.check_log(&self.table());
        Counts::add(&self.counts.histories, 1);
        let functions: BTreeSet<&str> = (0..self.plan.columns.len()).filter_map(|column| self.plan.function(column)).collect();
        functions.into_iter().for_each(|function| *self.counts.functions.lock().entry(function).or_default() += 1);
    }
}

/// What the changes of a key come to, where each must fit the one before it.
fn replay(changes: Vec<(ChangeType, Cells)>) -> Option<Cells> {
    let mut row: Option<Cells> = None;
    for (kind, cells) in changes {
        match kind {
            ChangeType::Insert => assert!(row.replace(cells).is_none(), "a new row, where there was one"),
            ChangeType::UpdateAfter => assert!(row.replace(cells).is_some(), "a row that changed, where there was none"),
            ChangeType::UpdateBefore => assert_eq!(row, Some(cells), "the row before a change"),
            _ => assert_eq!(row.take(), Some(cells), "the row that went"),
        }
    }
    row
}

fn same(columns: &[(&str, rows::Kind)], found: &BTreeMap<i64, Cells>, expected: &BTreeMap<i64, Cells>, by: &str) {
    for (key, cells) in found {
        let Some(wanted) = expected.get(key) else { panic!("{by}: key {key} should be gone: {cells:?}") };
        for (((name, _), found), wanted) in columns.iter().zip(cells).zip(wanted) {
            assert_eq!(found, wanted, "{by}: `{name}` of key {key}");
        }
    }
    assert_eq!(found.len(), expected.len(), "{by}: keys {:?} of {:?}", found.keys(), expected.keys());
}

/// Runs random histories of an engine.
fn check_engine(engine: Engine) {
    let seed = asked("AQUIFER_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let cases = asked("AQUIFER_HISTORIES").map_or(HISTORIES, |count| u32::try_from(count).unwrap());
    println!("{engine:?}: AQUIFER_SEED={seed}");
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        source_file: Some(file!()),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    };
    let counts = Counts::default();
    let ran = TestRunner::new(config).run(&(any::<u64>().no_shrink(), histories()), |(plan, history)| {
        let plan = Arc::new(Plan::of(engine, plan));
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut run = Run::new(&plan, &counts);
            history.iter().for_each(|event| run.take(event));
            run.finish();
        }));
        run.map_err(|panic| {
            let said = panic.downcast_ref::<String>().map_or("", String::as_str);
            TestCaseError::fail(format!("{said}\n{:?}", plan.options()))
        })
    });
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (rows, checks, merges) = (count(&counts.rows), count(&counts.checks), count(&counts.partial_merges));
    println!("{engine:?}: {} histories, {rows} rows, {checks} checks, {merges} merges of some runs", count(&counts.histories));
    println!("{engine:?}: histories with a function: {:?}", counts.functions.lock());
    if let Err(error) = ran {
        panic!("{engine:?}, AQUIFER_SEED={seed} AQUIFER_HISTORIES={cases}: {error}");
    }
}

#[test]
fn deduplicate_agrees_with_the_model() {
    check_engine(Engine::Deduplicate);
}

#[test]
fn first_row_agrees_with_the_model() {
    check_engine(Engine::FirstRow);
}

#[test]
fn partial_update_agrees_with_the_model() {
    check_engine(Engine::PartialUpdate);
}

#[test]
fn aggregation_agrees_with_the_model() {
    check_engine(Engine::Aggregation);
}
