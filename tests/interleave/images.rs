//! A bucket whose log says what became of rows: callers that add to one number at the same time, on a disk that fails.
//!
//! Each change is the row before and the row after, which is one more. So the number says how many changes there are, and the log how many there should be:
//! a change made of a row that never was would show.

use std::sync::Arc;

use aquifer_tests::bucket::images::Step;
use aquifer_tests::bucket::tree::Keyed;
use aquifer_tests::bucket::{Bucket, Pending};
use aquifer_tests::error::Kind;
use aquifer_tests::io::sim::Faults;
use aquifer_tests::table::{ChangeType, ColumnType, Field, KeyEncoder, TableName, TableSchema, TableSpec};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use shuttle::thread;

use crate::bucket::{World, open, resources};
use crate::device::strikes;
use crate::explore;

const CALLERS: u32 = 3;
const BATCHES: u32 = 2;

/// A table that adds up.
pub(crate) fn sums() -> Arc<Keyed> {
    keyed(&[("merge-engine", "aggregation"), ("fields.sum.aggregate-function", "sum")])
}

fn keyed(merge: &[(&str, &str)]) -> Arc<Keyed> {
    let fields = vec![Field::new("key", ColumnType::Int64, false), Field::new("sum", ColumnType::Int64, true)];
    let mut spec = TableSpec::new(TableName::new("default", "t").unwrap(), 1, TableSchema::new(fields).unwrap(), 0);
    spec.primary_key = vec![1];
    let options = merge.iter().chain(&[("changelog-producer", "lookup")]);
    spec.merge = options.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Arc::new(Keyed::new(&Arc::new(spec)).unwrap())
}

pub(crate) fn one(keyed: &Keyed) -> RecordBatch {
    let column = || Arc::new(Int64Array::from(vec![1])) as _;
    RecordBatch::try_new(keyed.reader.schema().arrow().clone(), vec![column(), column()]).unwrap()
}

/// The number that readers see.
fn seen(bucket: &Bucket, keyed: &Keyed) -> Option<i64> {
    let keys = KeyEncoder::new(keyed.reader.schema(), &[1]).unwrap().encode(&one(keyed)).unwrap();
    let found = bucket.tree().expect("it has one").pin(bucket.view()).and_then(|pinned| pinned.lookup(&keys)).expect("a healthy disk");
    found.places[0].map(|_| found.rows.column(1).as_primitive::<Int64Type>().value(0))
}

/// Adds one, some times; how often that was acknowledged.
fn call(world: &World, keyed: &Arc<Keyed>) -> i64 {
    let (rows, kinds) = (one(keyed), [ChangeType::UpdateAfter.to_byte()]);
    let mut waiting = Vec::new();
    for _ in 0..BATCHES {
        let inline = strikes(2);
        match world.bucket.change(Step { keyed, rows: &rows, kinds: &kinds }, inline) {
            Ok(changed) => waiting.push(changed.pending),
            Err(error) => assert!(matches!(error.kind(), Kind::Unavailable | Kind::Exhausted), "{error}"),
        }
    }
    let is_durable = |pending: &Pending| {
        let is_durable = pending.wait(&world.resources).is_ok();
        assert!(!is_durable || seen(&world.bucket, keyed).is_some(), "acknowledged and not to be seen");
        is_durable
    };
    waiting.iter().filter(|pending| is_durable(pending)).count() as i64
}

fn run(faults: &Faults, keyed: Arc<Keyed>) {
    let world = World::new(faults.clone(), Some(keyed.clone()));
    let spawn = |body: fn(&World)| {
        let world = world.clone();
        thread::spawn(move || body(&world))
    };
    let background = [spawn(World::drive), spawn(World::work)];
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (world, keyed) = (world.clone(), keyed.clone());
            thread::spawn(move || call(&world, &keyed))
        })
        .collect();
    let acknowledged: i64 = callers.into_iter().map(|caller| caller.join().expect("a caller")).sum();
    world.close();
    background.into_iter().for_each(|thread| thread.join().expect("the background"));
    let all = i64::from(CALLERS * BATCHES);
    if *faults == Faults::default() {
        assert_eq!(acknowledged, all, "everything is acknowledged on a healthy disk");
    }
    let sim = world.sim.reboot(7);
    sim.set_faults(Faults::default());
    let again = open(&resources(&sim, 2).expect("a healthy disk"), Some(keyed.clone())).expect("it opens again");
    let sum = seen(&again, &keyed).unwrap_or(0);
    if keyed.images.as_ref().is_some_and(|images| images.function.goes_by_newest()) {
        assert!(sum == 1 || acknowledged == 0 && sum == 0, "{acknowledged} acknowledged, {sum} found");
        assert_eq!(again.view().end() as i64, sum, "the row is written once");
        return;
    }
    assert!((acknowledged..=all).contains(&sum), "{acknowledged} acknowledged, {sum} found");
    assert_eq!(again.view().end() as i64, (2 * sum - 1).max(0), "each change is of the row that the one before it made");
}

#[test]
fn callers_that_change_one_row() {
    explore(60, || run(&Faults::default(), sums()));
}

#[test]
fn writes_of_changes_fail() {
    explore(60, || run(&Faults { write_error_one_in: 6, ..Faults::default() }, sums()));
}

#[test]
fn changes_find_no_segment() {
    explore(60, || run(&Faults { create_error_one_in: 2, ..Faults::default() }, sums()));
}

#[test]
fn what_changes_nothing_waits_for_what_it_found() {
    explore(60, || run(&Faults { write_error_one_in: 4, ..Faults::default() }, keyed(&[])));
}
