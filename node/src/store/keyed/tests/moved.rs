//! Runs that compactions move as they are, with rows that say more than that they are there: behind a delete, or made of retractions alone.

use super::*;

/// A run of some hundred keys of each of these is no small one: it is moved where it overlaps nothing.
const KEYS: i64 = 400;

fn store() -> Store {
    Store::open_with(Sim::new(1, Faults::default()), DIR, Options { run_bytes_max: 4 << 10, ..Options::default() }).unwrap()
}

fn batch(keys: std::ops::Range<i64>, value: i64) -> RecordBatch {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let count = (keys.end - keys.start) as usize;
    let columns = [("key", column(keys.collect()), false), ("value", column(vec![value; count]), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn write(table: &Table, keys: std::ops::Range<i64>, value: i64, kind: ChangeType) {
    let rows = batch(keys, value);
    table.writer().unwrap().apply(&rows, &vec![kind; rows.num_rows()]).unwrap();
}

fn shown(table: &Table) -> BTreeMap<i64, i64> {
    let mut all = BTreeMap::new();
    for found in table.scan().build().unwrap() {
        let batch = found.unwrap().batch;
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().clone();
        let (keys, values) = (column(0), column(1));
        (0..batch.num_rows()).for_each(|row| _ = all.insert(keys.value(row), values.value(row)));
    }
    let keys: Vec<i64> = all.keys().copied().chain([-1, KEYS * 9]).collect();
    let asked: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
    let found = table.lookup(&RecordBatch::try_from_iter([("key", asked)]).unwrap()).unwrap();
    let value = |place: &Option<usize>| place.map(|place| found.rows.column(1).as_primitive::<Int64Type>().value(place));
    assert_eq!(found.places.iter().map(value).collect::<Vec<_>>(), keys.iter().map(|key| all.get(key).copied()).collect::<Vec<_>>());
    all
}

fn run_ids(table: &Table) -> Vec<u64> {
    let entry = table.store.entry(table.id, &table.name).unwrap();
    let levels = table.store.bucket(&entry, 0, 0).unwrap().tree().unwrap().levels();
    levels.runs().iter().map(|run| run.meta().id).collect()
}

/// A sum of each key in `first..`, written by these changes one behind the other, each flushed by itself with the one behind it.
fn create(store: &Store, removes: bool) -> Table {
    let create = CreateTable::like(batch(0..0, 0).schema()).primary_key(&["key"]).option("merge-engine", "aggregation");
    let create = create.option("fields.value.aggregate-function", "sum");
    let create = if removes { create.option("aggregation.remove-record-on-delete", "true") } else { create };
    store.create_table("t", create).unwrap()
}

#[test]
fn rows_behind_deletes_that_were_moved_to_the_oldest_level_are_as_all_others() {
    use ChangeType::{Delete, Insert};
    let store = store();
    let table = create(&store, true);
    let mut model = BTreeMap::new();
    for part in 0..4 {
        let keys = part * KEYS..(part + 1) * KEYS;
        write(&table, keys.clone(), 7, Insert);
        write(&table, keys.clone(), 0, Delete);
        write(&table, keys.clone(), 3, Insert);
        model.extend(keys.map(|key| (key, 3)));
        store.flush("t").unwrap();
        // Beside what is there, so that all is merged.
        write(&table, part..part + 1, 1, Insert);
        *model.get_mut(&part).unwrap() += 1;
        store.flush("t").unwrap();
        let before = run_ids(&table);
        store.compact("t", true).unwrap();
        assert!(part == 0 || run_ids(&table).iter().filter(|run| before.contains(run)).count() > 0, "some are moved");
        assert_eq!(shown(&table), model);
    }
    write(&table, 0..KEYS * 4, 10, Insert);
    model.values_mut().for_each(|value| *value += 10);
    assert_eq!(shown(&table), model, "what is written goes on from them");
    store.flush("t").unwrap();
    assert_eq!(shown(&table), model);
    write(&table, 5..9, 0, Delete);
    (5..9).for_each(|key| _ = model.remove(&key));
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(shown(&table), model);
}

#[test]
fn rows_of_retractions_alone_that_were_moved_are_still_known_as_such() {
    use ChangeType::{Delete, Insert};
    let store = store();
    let table = create(&store, false);
    for part in 0..4 {
        write(&table, part * KEYS..(part + 1) * KEYS, 5, Delete);
        store.flush("t").unwrap();
        write(&table, part..part + 1, 2, Delete);
        store.flush("t").unwrap();
        let before = run_ids(&table);
        store.compact("t", true).unwrap();
        assert!(part == 0 || run_ids(&table).iter().filter(|run| before.contains(run)).count() > 0, "some are moved");
    }
    let mut model: BTreeMap<i64, i64> = (0..KEYS * 4).map(|key| (key, if key < 4 { -7 } else { -5 })).collect();
    assert_eq!(shown(&table), model);
    // Another function goes on from what is there: the marks of all runs go, of those that were moved too.
    let changes = [Change::set_option("fields.value.aggregate-function", "max"), Change::set_option("ignore-delete", "true")];
    store.alter_table("t", &changes).unwrap();
    assert_eq!(shown(&table), model);
    write(&table, 0..KEYS * 4, -6, Insert);
    model.values_mut().for_each(|value| *value = (*value).max(-6));
    assert_eq!(shown(&table), model);
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(shown(&table), model);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "damages a file behind the store's back")]
fn a_damaged_run_whose_level_new_runs_join_is_left_alone() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let options = || Options { run_bytes_max: 4 << 10, ..Options::default() };
    let store = Store::open(dir.path(), options()).unwrap();
    let like = CreateTable::like(batch(0..0, 0).schema()).primary_key(&["key"]).option("write-only", "true");
    let table = store.create_table("t", like).unwrap();
    write(&table, 0..KEYS, 1, ChangeType::Insert);
    store.flush("t").unwrap();
    let run = dir.path().join(format!("tables/{}/p0/b0/{:016x}.run", table.id, run_ids(&table)[0]));
    drop(table);
    store.close().unwrap();
    let mut bytes = std::fs::read(&run).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&run, bytes).unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let table = store.table("t").unwrap();
    let shape = || store.stats(Some("t")).unwrap()[0].tree.as_ref().map(|tree| (tree.runs, tree.compaction_due)).unwrap();
    assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems.len(), 1);
    let one = |key: i64| -> RecordBatch { batch(key..key + 1, 0).project(&[0]).unwrap() };
    assert_eq!(table.lookup(&one(3)).map(|_| ()).unwrap_err().kind(), Kind::Corrupt);
    // Runs of other keys stand in the level of the damaged one; what overlaps them is merged behind it.
    for part in 1..30 {
        write(&table, part * KEYS..(part + 1) * KEYS, part, ChangeType::Insert);
        store.flush("t").unwrap();
        assert_eq!(shape(), (part as usize + 1, false));
    }
    for round in 0..20 {
        write(&table, KEYS..KEYS + 10, round, ChangeType::Insert);
        write(&table, KEYS + 20..KEYS + 30, round, ChangeType::Delete);
        store.flush("t").unwrap();
        store.compact("t", false).unwrap();
        assert!(!shape().1, "nothing is due that would be given up");
    }
    assert!(shape().0 < 30 + 8, "{:?}", shape());
    assert_eq!(table.lookup(&one(KEYS)).unwrap().rows.column(1).as_primitive::<Int64Type>().value(0), 19);
    assert_eq!(table.lookup(&one(KEYS + 20)).unwrap().rows.num_rows(), 0, "deletes stay: older rows are behind them");
    assert_eq!(table.lookup(&one(20 * KEYS)).unwrap().rows.num_rows(), 1);
    assert_eq!(table.lookup(&one(3)).map(|_| ()).unwrap_err().kind(), Kind::Corrupt);
    // It overlaps nothing, so it is moved as it is.
    store.compact("t", true).unwrap();
    assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems.len(), 1);
    assert_eq!(table.lookup(&one(20 * KEYS)).unwrap().rows.num_rows(), 1);
    assert_eq!(table.lookup(&one(3)).map(|_| ()).unwrap_err().kind(), Kind::Corrupt);
    write(&table, 3..4, 7, ChangeType::Insert);
    store.flush("t").unwrap();
    assert_eq!(store.compact("t", true).unwrap_err().kind(), Kind::Corrupt, "who asks for what overlaps it hears why");
}
