//! Tables get another number of buckets: every row is there afterwards, once, in its order; who used the table is told; what is cut off leaves the table as it was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use aquifer_node::Kind;
use aquifer_node::store::{Change, ChangeType, CreateTable, Start, Store, Table};
use arrow::array::{AsArray, RecordBatch};

use crate::program::Place;
use crate::{rows, scratch};

fn rescale(store: &Store, buckets: u32) -> u64 {
    store.rescale_table("t", buckets, &mut |_| {}).unwrap().rows
}

fn sorted(table: &Table) -> Vec<i64> {
    let mut found = rows::numbers(table.scan().build().unwrap());
    found.sort();
    found
}

/// The bucket of each row, and its rows in order.
fn by_bucket(table: &Table) -> HashMap<u32, Vec<i64>> {
    let mut all: HashMap<u32, Vec<i64>> = HashMap::new();
    for found in table.scan().build().unwrap() {
        let found = found.unwrap();
        rows::check_values(&found.batch);
        all.entry(found.bucket).or_default().extend(rows::numbers_in(&found.batch));
    }
    all
}

#[test]
fn rows_of_a_log_keep_their_order() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let keyed = CreateTable::like(rows::schema()).bucket_key(&["name"]).buckets(2);
    for (is_keyed, create) in [(true, keyed), (false, CreateTable::like(rows::schema()).buckets(3))] {
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        for batch in 0..30 {
            writer.append(&rows::batch(batch * 1_000..(batch + 1) * 1_000)).unwrap();
        }
        for buckets in [5, 1, 2] {
            let mut old: HashMap<i64, (u32, usize)> = HashMap::new();
            for (bucket, all) in by_bucket(&store.table("t").unwrap()) {
                old.extend(all.into_iter().enumerate().map(|(place, row)| (row, (bucket, place))));
            }
            assert_eq!(rescale(&store, buckets), 30_000);
            let table = store.table("t").unwrap();
            rows::assert_range(&sorted(&table), 0..30_000);
            let now = by_bucket(&table);
            // Without a key some thousand rows of one bucket stay together.
            assert!(if is_keyed { now.len() as u32 == buckets } else { now.len() as u32 <= buckets }, "{buckets}: {:?}", now.keys());
            for (bucket, all) in now {
                for from in 0..5 {
                    let of_one: Vec<usize> =
                        all.iter().map(|row| old[row]).filter(|(bucket, _)| *bucket == from).map(|old| old.1).collect();
                    assert!(of_one.is_sorted(), "rows of bucket {from} keep their order in bucket {bucket}");
                }
            }
            assert_eq!(table.describe().unwrap().buckets, buckets);
        }
        store.drop_table("t").unwrap();
    }
    assert!(scratch::files(&dir.path().join("tables"), ".log").is_empty(), "nothing is left behind");
}

#[test]
fn a_keyed_table_keeps_its_rows_as_they_are() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).primary_key(&["number"]).buckets(2);
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    writer.upsert(&rows::batch(0..5_000)).unwrap();
    store.flush("t").unwrap();
    writer.upsert(&rows::batch(2_000..7_000)).unwrap();
    writer.delete(&rows::batch(100..200)).unwrap();
    store.alter_table("t", &[Change::add_column("more int64").unwrap()]).unwrap();
    let expected: Vec<i64> = (0..100).chain(200..7_000).collect();
    assert_eq!(sorted(&table), expected);
    for buckets in [4, 3] {
        assert_eq!(rescale(&store, buckets), expected.len() as u64);
        for store in [&store, &scratch::follow(dir.path())] {
            let table = store.table("t").unwrap();
            assert_eq!(sorted(&table), expected);
            let found = table.lookup(&rows::batch(0..300)).unwrap();
            assert_eq!(found.rows.num_rows(), 200);
            rows::check_values(&found.rows);
            // The log tells of each row once, and begins anew.
            let changes: Vec<RecordBatch> =
                table.changes().start(Start::Offset(0)).build().unwrap().map(|found| found.unwrap().batch).collect();
            assert_eq!(changes.iter().map(RecordBatch::num_rows).sum::<usize>(), expected.len());
            let inserted = ChangeType::Insert.as_str();
            assert!(
                changes.iter().all(|batch| batch
                    .column_by_name("_op")
                    .unwrap()
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .all(|op| op == inserted))
            );
        }
    }
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn users_of_the_table_are_told_to_open_it_again() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let create = CreateTable::like(rows::schema()).partition_by("name").buckets(2);
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..20)).unwrap();
    let followed = other.table("t").unwrap();
    let mut scanners = [&table, &followed].map(|table| table.scan().follow(true).build().unwrap());
    scanners.iter_mut().for_each(|scanner| drop(rows::next(scanner)));
    assert_eq!(rescale(&store, 2), 0, "it has that many");
    writer.append(&rows::batch(20..30)).unwrap();
    assert_eq!(rescale(&store, 4), 30);
    for scanner in &mut scanners {
        let error = scanner.find_map(|found| found.err()).unwrap();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("table t was dropped; another one has its name"), "{error}");
    }
    assert_eq!(writer.append(&rows::batch(30..40)).unwrap_err().kind(), Kind::NotFound);
    for store in [&store, &other] {
        let table = store.table("t").unwrap();
        rows::assert_range(&sorted(&table), 0..30);
        assert_eq!((table.describe().unwrap().buckets, store.tables().unwrap().len()), (4, 1));
    }
    let error = store.rescale_table("t", 0, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("out of range"), "{error}");
    assert_eq!(store.rescale_table("u", 3, &mut |_| {}).unwrap_err().kind(), Kind::NotFound);
    assert!(other.rescale_table("t", 3, &mut |_| {}).unwrap_err().to_string().contains("read-only"));
    assert_eq!(sorted(&store.table("t").unwrap()).len(), 30);
}

#[test]
fn a_program_that_is_killed_over_it_leaves_the_table_as_it_was() {
    let dir = scratch::directory();
    let path = dir.path().join("store");
    let store = scratch::open(&path);
    let table = store.create_table("t", CreateTable::like(rows::schema()).buckets(2)).unwrap();
    let mut writer = table.writer().unwrap();
    (0..40).for_each(|batch| drop(writer.append(&rows::batch(batch * 5_000..(batch + 1) * 5_000)).unwrap()));
    drop((writer, table));
    store.close().unwrap();
    let place = Place::new(&path);
    let mut rescaling = place.start("rescale t --buckets 7");
    // It is in the middle of it when there is a second table.
    rows::eventually("the second table", || {
        let is_begun = !scratch::files(&path.join("tables"), ".log").iter().all(|file| file.starts_with(path.join("tables/0")));
        (is_begun || path.join("tables/1").exists()).then_some(())
    });
    rescaling.kill();
    let store = scratch::open(&path);
    let table = store.table("t").unwrap();
    rows::assert_range(&sorted(&table), 0..200_000);
    let dirs = std::fs::read_dir(path.join("tables")).unwrap().count();
    assert_eq!((dirs, store.tables().unwrap().len()), (1, 1), "what was begun is gone");
    // Unless it was faster.
    assert!([2, 7].contains(&table.describe().unwrap().buckets));
    drop(table);
    store.close().unwrap();
    let report = place.done("rescale t --buckets 3 --output csv");
    assert!(report.contains("t,") && report.ends_with(",3,200000\n"), "{report}");
    rows::assert_range(&sorted(&scratch::open(&path).table("t").unwrap()), 0..200_000);
}

#[test]
fn a_check_beside_it_finds_no_damage() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB");
    let table = store.create_table("t", create.buckets(8)).unwrap();
    table.writer().unwrap().append(&rows::batch(0..20_000)).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..12).for_each(|turn| assert_eq!(rescale(&store, 3 + turn % 2), 20_000));
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let report = scratch::follow(dir.path()).verify(None, &mut |_| {}).unwrap();
            assert_eq!(report.problems, []);
        }
    });
}
