//! Rows in runs that were merged in another way, and whose keys nobody wrote to since: they stay as they are, whoever reads them and wherever they are moved.

use super::rows::{COLUMNS, Value};
use super::*;
use crate::store::Change;

/// Functions and engines that would make something else of such a row.
const WAYS: [&[(&str, &str)]; 2] = [
    &[
        ("merge-engine", "aggregation"),
        ("ignore-delete", "true"),
        ("fields.first.aggregate-function", "count"),
        ("fields.small.aggregate-function", "count"),
        ("fields.amount.aggregate-function", "sum"),
        ("fields.whole.aggregate-function", "product"),
        ("fields.text.aggregate-function", "listagg"),
        ("fields.text.distinct", "true"),
        ("fields.flag.aggregate-function", "bool_or"),
        ("fields.items.aggregate-function", "collect"),
        ("fields.items.distinct", "true"),
        ("fields.entries.aggregate-function", "merge_map"),
        ("fields.parts.aggregate-function", "nested_update"),
        ("fields.parts.nested-key", "id"),
        ("fields.bits.aggregate-function", "rbm32"),
    ],
    &[
        ("merge-engine", "partial-update"),
        ("ignore-delete", "true"),
        ("fields.first.sequence-group", "number,small,text,items,entries,parts"),
        ("fields.number.aggregate-function", "max"),
        ("fields.small.aggregate-function", "count"),
        ("fields.items.aggregate-function", "collect"),
        ("fields.items.distinct", "true"),
    ],
];

/// A row in which each function finds something to change.
fn odd(key: i64) -> Row {
    let pair = |id, value| Some((Some(id), Some(value)));
    let list = |elements: &[rows::Element]| Some(Value::List(elements.to_vec()));
    let cells = COLUMNS.iter().map(|(name, _)| match *name {
        "number" => Some(Value::Int(7)),
        "text" => Some(Value::Text("a,a".to_string())),
        "items" => list(&[Some((Some(key), None)), Some((Some(key), None))]),
        "entries" => list(&[pair(1, 1), pair(1, 2)]),
        "parts" => list(&[None, pair(1, key), pair(1, 2)]),
        _ => None,
    });
    Row { key, kind: ChangeType::UpdateAfter, cells: cells.collect() }
}

struct Lone {
    sim: Arc<Sim>,
    schema: SchemaRef,
    rows: BTreeMap<i64, Cells>,
}

impl Lone {
    fn write(&self, store: &Store, rows: &[Row]) {
        let kinds: Vec<ChangeType> = rows.iter().map(|row| row.kind).collect();
        store.table("t").unwrap().writer().unwrap().apply(&batch(&self.schema, &COLUMNS, rows), &kinds).unwrap();
    }

    /// Whether everybody sees the rows as they were.
    fn check(&self, store: &Store, when: &str) {
        for store in [store, &Store::open_read_only_with(self.sim.clone(), DIR, options()).unwrap()] {
            let table = store.table("t").unwrap();
            let all = table.scan().build().unwrap().flat_map(|found| read(&COLUMNS, &found.unwrap().batch));
            same(&COLUMNS, &all.collect(), &self.rows, &format!("scan {when}"));
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(self.rows.keys().copied()));
            let found = table.lookup(&RecordBatch::try_from_iter([("key", keys)]).unwrap()).unwrap();
            same(&COLUMNS, &read(&COLUMNS, &found.rows).into_iter().collect(), &self.rows, &format!("lookup {when}"));
        }
    }
}

fn check_way(way: &[(&str, &str)], changelog: &str) {
    let (sim, schema) = (Sim::new(1, Faults::default()), schema(&COLUMNS));
    let mut store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let create = CreateTable::like(schema.clone()).primary_key(&["key"]).option("changelog-producer", changelog);
    store.create_table("t", create).unwrap();
    let lone = Lone { sim: sim.clone(), schema, rows: (0..4).map(|key| (key, odd(key).cells)).collect() };
    lone.write(&store, &(0..4).map(odd).collect::<Vec<_>>());
    lone.check(&store, "before");
    let changes: Vec<Change> = way.iter().map(|(name, value)| Change::set_option(name, value)).collect();
    store.alter_table("t", &changes).unwrap();
    lone.check(&store, "after");
    // What is passed over leaves a row alone.
    lone.write(&store, &[Row { kind: ChangeType::Delete, ..odd(2) }]);
    lone.check(&store, "beside a delete that is ignored");
    store.flush("t").unwrap();
    lone.check(&store, "beside a run");
    store.compact("t", true).unwrap();
    lone.check(&store, "in one run");
    for buckets in [3, 1] {
        store.rescale_table("t", buckets, &mut |_| {}).unwrap();
        lone.check(&store, "in other buckets");
    }
    store.close().unwrap();
    store = Store::open_with(sim, DIR, options()).unwrap();
    lone.check(&store, "in another open");
}

#[test]
fn a_row_that_was_merged_before_an_alteration_stays_as_it_is() {
    for way in WAYS {
        for changelog in ["input", "lookup"] {
            check_way(way, changelog);
        }
    }
}

/// Of any way into any other, as random as the histories are.
#[test]
fn rows_stay_as_they_are_from_any_way_to_any_other() {
    for seed in 0..40 {
        let before = Plan::of([Engine::Aggregation, Engine::PartialUpdate][seed as usize % 2], seed);
        let after = before.altered(1_000 + seed);
        let sim = Sim::new(seed, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let schema = schema(&before.columns);
        let create = CreateTable::like(schema.clone()).primary_key(&["key"]).buckets(before.buckets);
        let create = before.options().iter().fold(create, |create, (name, value)| create.option(name, value));
        let table = store.create_table("t", create).unwrap();
        let mut writing = Writing::new(Arc::new(before.clone()));
        let rows: Vec<Row> = (0..30).flat_map(|row| writing.step((row % 12, seed * 1000 + row as u64))).collect();
        let kinds: Vec<ChangeType> = rows.iter().map(|row| row.kind).collect();
        table.writer().unwrap().apply(&batch(&schema, &before.columns, &rows), &kinds).unwrap();
        let seen = |store: &Store| -> BTreeMap<i64, Cells> {
            let all = store.table("t").unwrap().scan().build().unwrap();
            all.flat_map(|found| read(&before.columns, &found.unwrap().batch)).collect()
        };
        let lone = seen(&store);
        store.alter_table("t", &after.changes_since(&before)).unwrap();
        same(&before.columns, &seen(&store), &lone, "altered");
        store.rescale_table("t", before.buckets + 1, &mut |_| {}).unwrap();
        same(&before.columns, &seen(&store), &lone, "rescaled");
    }
}

#[test]
fn a_new_column_that_is_counted_has_nothing_in_rows_that_are_there() {
    for is_flushed in [false, true] {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 2]));
        let rows = RecordBatch::try_from_iter([("key", keys)]).unwrap();
        let create = CreateTable::like(rows.schema()).primary_key(&["key"]).option("merge-engine", "aggregation");
        let table = store.create_table("t", create.option("fields.default-aggregate-function", "count")).unwrap();
        table.writer().unwrap().upsert(&rows).unwrap();
        if is_flushed {
            store.flush("t").unwrap();
        }
        store.alter_table("t", &[Change::add_column("visits int64").unwrap()]).unwrap();
        let visits = |table: &Table| -> Vec<Option<i64>> {
            let found = table.scan().build().unwrap().map(|found| found.unwrap().batch);
            found.flat_map(|rows| rows.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect()
        };
        assert_eq!(visits(&table), [None, None], "flushed: {is_flushed}");
        table.writer().unwrap().upsert(&rows.slice(0, 1)).unwrap();
        assert_eq!(visits(&table), [Some(2), None], "flushed: {is_flushed}");
    }
}
