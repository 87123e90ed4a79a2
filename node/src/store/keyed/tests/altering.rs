//! Columns change while rows come and go: no row is lost, none is missed meanwhile, and no bucket is left behind.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::store::catalog::Edit;

/// Tells the catalog of another name of a column, and no bucket: as a change does before it comes to them.
fn publish(table: &Table, renamed: &str) {
    let Change::Column(change) = Change::rename_column(renamed).unwrap() else { unreachable!("it is one of columns") };
    let altered = table.store.change(|catalog| {
        let spec = catalog.tables[&table.id].spec.evolve(&[change])?;
        Ok((vec![Edit::TableAltered { spec }], ()))
    });
    altered.unwrap();
}

fn renamed(batch: &RecordBatch, columns: [&str; 3]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.into_iter().zip(batch.columns().iter().cloned())).unwrap()
}

#[test]
fn rows_may_come_to_a_bucket_before_it_hears_that_the_table_was_altered() {
    for changelog in ["input", "lookup"] {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let table = store.create_table("t", create(1).option("changelog-producer", changelog)).unwrap();
        let mut writer = table.writer().unwrap();
        writer.upsert(&rows(&[(1, 10), (2, 20)])).unwrap();
        publish(&table, "value=worth");
        writer.upsert(&renamed(&rows(&[(2, 21), (3, 30)]), ["key", "name", "worth"])).unwrap();
        check(&table, &BTreeMap::from([(1, 10), (2, 21), (3, 30)]));
        publish(&table, "worth=price");
        check(&table, &BTreeMap::from([(1, 10), (2, 21), (3, 30)]));
        assert_eq!(table.scan().columns(&["price"]).build().unwrap().count(), 1, "the reader brought the bucket up to it");
        store.flush("t").unwrap();
        check(&table, &BTreeMap::from([(1, 10), (2, 21), (3, 30)]));
        assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    }
}

#[test]
fn a_bucket_with_rows_that_it_could_not_index_goes_on_when_it_can() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let table = store.create_table("t", create(1)).unwrap();
    table.writer().unwrap().upsert(&rows(&[(1, 10)])).unwrap();
    let entry = table.store.entry(table.id, &table.name).unwrap();
    let bucket = table.store.bucket(&entry, 0, 0).unwrap();
    let unknown = record(&table, (8, 8), entry.spec.schema().version() + 1);
    bucket.append(unknown, false).unwrap().wait(&table.store.resources).unwrap();
    assert_eq!(table.lookup(&rows(&[(1, 0)])).unwrap_err().kind(), Kind::Corrupt);
    store.alter_table("t", &[Change::rename_column("value=worth").unwrap()]).unwrap();
    check(&table, &BTreeMap::from([(1, 10), (8, 8)]));
    table.writer().unwrap().upsert(&renamed(&rows(&[(2, 20)]), ["key", "name", "worth"])).unwrap();
    check(&table, &BTreeMap::from([(1, 10), (2, 20), (8, 8)]));
}

#[test]
fn what_memtables_hold_is_counted_once_a_table_was_altered() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, Options::default()).unwrap();
    let table = store.create_table("t", create(2)).unwrap();
    for round in 0..300 {
        table.writer().unwrap().upsert(&rows(&[(round as u8, round), (7, round)])).unwrap();
    }
    for change in ["value=worth", "worth=price"] {
        store.alter_table("t", &[Change::rename_column(change).unwrap()]).unwrap();
        let entry = table.store.entry(table.id, &table.name).unwrap();
        let of = |bucket| table.store.bucket(&entry, 0, bucket).unwrap().tree().unwrap().levels().memory_bytes();
        assert_eq!(table.store.resources.memtables.bytes(), of(0) + of(1));
    }
    store.flush("t").unwrap();
    let empty = table.store.resources.memtables.bytes();
    assert_eq!(empty, 0, "memtables of no rows take {empty} bytes");
}

/// Rows that are there from the beginning, so that it takes its time to index them again.
const FIRST_ROWS: i64 = 20_000;

/// Threads that each write to a key of their own.
const WRITERS: i64 = 2;

pub(super) fn numbered(rows: impl Iterator<Item = (i64, i64)> + Clone) -> RecordBatch {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let keys = column(rows.clone().map(|(key, _)| key).collect());
    RecordBatch::try_from_iter([("key", keys), ("value", column(rows.map(|(_, value)| value).collect()))]).unwrap()
}

/// Looks at a row that changes and one that does not, and how many there are, until told to stop: how often it looked.
fn look(table: &Table, acknowledged: &[AtomicI64], is_done: &AtomicBool) -> usize {
    let mut looks = 0;
    while !is_done.load(Ordering::Acquire) {
        looks += 1;
        let key = looks as i64 % WRITERS;
        let least = acknowledged[key as usize].load(Ordering::Acquire);
        let found = table.lookup(&numbered([(key, 0), (FIRST_ROWS - 1, 0)].into_iter())).unwrap();
        let values = found.rows.column_by_name("value").unwrap().as_primitive::<Int64Type>();
        assert_eq!(values.len(), 2, "both rows were acknowledged long ago");
        assert!(values.value(0) >= least, "{} was acknowledged, {} is there", least, values.value(0));
        if looks % 4 == 0 {
            let counts = table.scan().columns(&["key"]).build().unwrap().map(|found| found.unwrap().batch.num_rows());
            assert_eq!(counts.sum::<usize>() as i64, FIRST_ROWS);
        }
    }
    looks
}

#[test]
fn columns_change_beside_writers_and_readers_who_miss_nothing() {
    for changelog in ["input", "lookup"] {
        let dir = tempfile::tempdir_in(".").unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let like = CreateTable::like(numbered([].into_iter()).schema()).primary_key(&["key"]).buckets(4);
        let table = store.create_table("t", like.option("changelog-producer", changelog)).unwrap();
        let mut writer = table.writer().unwrap();
        for first in (0..FIRST_ROWS).step_by(100) {
            writer.send_changes(&numbered((first..first + 100).map(|key| (key, 0))), &[ChangeType::UpdateAfter; 100]).unwrap();
        }
        writer.flush().unwrap();
        let (acknowledged, is_done) = ([const { AtomicI64::new(0) }; WRITERS as usize], AtomicBool::new(false));
        let write = |key: i64| {
            let mut writer = table.writer().unwrap();
            for value in 1.. {
                if is_done.load(Ordering::Acquire) {
                    return;
                }
                writer.upsert(&numbered([(key, value)].into_iter())).unwrap();
                acknowledged[key as usize].store(value, Ordering::Release);
            }
        };
        std::thread::scope(|scope| {
            (0..WRITERS).for_each(|key| _ = scope.spawn(move || write(key)));
            let looking = scope.spawn(|| look(&table, &acknowledged, &is_done));
            let changes = [Change::add_column("more int64").unwrap(), Change::drop_column("more")];
            let altered = (0..16).try_for_each(|round| store.alter_table("t", &changes[round % 2..=round % 2]));
            is_done.store(true, Ordering::Release);
            altered.unwrap();
            assert!(looking.join().unwrap() > 0);
        });
        assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    }
}
