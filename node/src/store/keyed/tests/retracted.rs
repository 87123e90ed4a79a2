//! What tables keep of rows and options that only some merges look at: that retractions alone made a row, and blanks around a delimiter.

use arrow::array::ListArray;
use arrow::datatypes::Int32Type;

use super::*;

type Totals = (Option<i64>, Option<i64>);

/// Keys with a count and a total.
fn counts(rows: &[(i64, Totals)]) -> RecordBatch {
    let column = |of: fn(&Totals) -> Option<i64>| -> ArrayRef { Arc::new(rows.iter().map(|row| of(&row.1)).collect::<Int64Array>()) };
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let columns = [("key", keys, false), ("count", column(|row| row.0), true), ("total", column(|row| row.1), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn totals(batch: &RecordBatch, row: usize) -> Totals {
    let value = |column: usize| {
        let values = batch.column(column).as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    (value(1), value(2))
}

/// The row of key 1, which scans and lookups must agree on.
fn row(table: &Table) -> Totals {
    let scanned = table.scan().build().unwrap().map(|found| found.unwrap().batch).next().unwrap();
    let found = table.lookup(&counts(&[(1, (None, None))]).project(&[0]).unwrap()).unwrap();
    assert_eq!(totals(&found.rows, 0), totals(&scanned, 0));
    totals(&scanned, 0)
}

fn new_table() -> (Arc<Sim>, Store, Table) {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let create = CreateTable::like(counts(&[]).schema()).primary_key(&["key"]).option("merge-engine", "aggregation");
    let create = create.option("fields.count.aggregate-function", "count").option("fields.count.ignore-retract", "true");
    let table = store.create_table("t", create.option("fields.total.aggregate-function", "sum")).unwrap();
    table.writer().unwrap().apply(&counts(&[(1, (Some(1), Some(5)))]), &[ChangeType::Delete]).unwrap();
    (sim, store, table)
}

#[test]
fn a_row_of_retractions_alone_is_passed_over_whenever_it_was_merged() {
    for merges in 0..3 {
        let (_sim, store, table) = new_table();
        if merges > 0 {
            store.flush("t").unwrap();
        }
        assert_eq!(row(&table), (None, Some(-5)), "{merges}");
        if merges > 1 {
            table.writer().unwrap().apply(&counts(&[(1, (None, Some(1)))]), &[ChangeType::Delete]).unwrap();
            store.flush("t").unwrap();
            store.compact("t", true).unwrap();
            assert_eq!(row(&table), (None, Some(-6)), "{merges}");
        }
        table.writer().unwrap().upsert(&counts(&[(1, (None, Some(10)))])).unwrap();
        assert_eq!(row(&table).0, Some(1), "{merges}: the first row that counts");
        store.flush("t").unwrap();
        store.compact("t", true).unwrap();
        assert_eq!(row(&table).0, Some(1), "{merges}: the first row that counts");
    }
}

#[test]
fn a_row_of_retractions_alone_is_any_row_to_another_way_to_merge() {
    for flushes in [false, true] {
        let (_sim, store, table) = new_table();
        if flushes {
            store.flush("t").unwrap();
        }
        let ignoring = Change::set_option("fields.total.ignore-retract", "true");
        store.alter_table("t", &[ignoring]).unwrap();
        table.writer().unwrap().upsert(&counts(&[(1, (None, Some(2)))])).unwrap();
        assert_eq!(row(&table).1, Some(-3), "it goes on from the total that was there");
    }
}

#[test]
fn blanks_around_a_delimiter_are_kept() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim, DIR, options()).unwrap();
    let names = |names: &[&str]| {
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1; names.len()]));
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("key", keys, false), ("name", names, true)]).unwrap()
    };
    let create = CreateTable::like(names(&[]).schema()).primary_key(&["key"]).option("merge-engine", " aggregation ");
    let create = create.option("fields.name.aggregate-function", "listagg").option("fields.name.list-agg-delimiter", ", ");
    let table = store.create_table("t", create).unwrap();
    let joined = || {
        let found = table.scan().build().unwrap().map(|found| found.unwrap().batch).next().unwrap();
        found.column(1).as_string::<i32>().value(0).to_string()
    };
    table.writer().unwrap().upsert(&names(&["a", "b"])).unwrap();
    assert_eq!(joined(), "a, b");
    store.alter_table("t", &[Change::set_option("fields.name.list-agg-delimiter", " ")]).unwrap();
    table.writer().unwrap().upsert(&names(&["c"])).unwrap();
    assert_eq!(joined(), "a, b c");
}

type Tagged = (Option<&'static str>, &'static [i32]);

/// A row of key 1 with a name and tags.
fn tagged((name, tags): Tagged) -> RecordBatch {
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(tags.iter().copied().map(Some))]);
    let (key, name): (ArrayRef, ArrayRef) = (Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec![name])));
    RecordBatch::try_from_iter_with_nullable([("key", key, false), ("name", name, true), ("tags", Arc::new(tags) as ArrayRef, true)])
        .unwrap()
}

fn shown(table: &Table) -> (Option<String>, Vec<i32>) {
    let found = table.scan().build().unwrap().map(|found| found.unwrap().batch).next().unwrap();
    let (names, tags) = (found.column(1).as_string::<i32>(), found.column(2).as_list::<i32>().value(0));
    (names.iter().next().unwrap().map(str::to_string), tags.as_primitive::<Int32Type>().values().to_vec())
}

/// The example of docs/merge-engines.md: what stands behind each row.
fn check_seen(changelog: &str, flushes: bool, expected: [Tagged; 3]) {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let create = CreateTable::like(tagged((None, &[])).schema()).primary_key(&["key"]).option("merge-engine", "aggregation");
    let create = create.option("fields.tags.aggregate-function", "collect").option("changelog-producer", changelog);
    let table = store.create_table("t", create.option("fields.name.aggregate-function", "last_non_null_value")).unwrap();
    let written: [(ChangeType, Tagged); 3] =
        [(ChangeType::Insert, (Some("a"), &[1])), (ChangeType::Delete, (Some("a"), &[1])), (ChangeType::UpdateAfter, (None, &[2]))];
    for ((kind, row), (name, tags)) in written.into_iter().zip(expected) {
        table.writer().unwrap().apply(&tagged(row), &[kind]).unwrap();
        if flushes {
            store.flush("t").unwrap();
        }
        assert_eq!(shown(&table), (name.map(str::to_string), tags.to_vec()), "{changelog}, {kind}, flushes: {flushes}");
    }
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(shown(&table), (expected[2].0.map(str::to_string), expected[2].1.to_vec()), "{changelog}, flushes: {flushes}");
}

#[test]
fn what_a_retraction_sees_is_what_stands_in_the_same_merge() {
    let seen: [Tagged; 3] = [(Some("a"), &[1]), (None, &[]), (None, &[2])];
    check_seen("input", false, seen);
    check_seen("input", true, [(Some("a"), &[1]), (Some("a"), &[1]), (Some("a"), &[1, 2])]);
    check_seen("lookup", false, seen);
    check_seen("lookup", true, seen);
}
