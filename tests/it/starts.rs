//! Where a scan begins, where it ends, and which columns it brings.

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Next, ScanBuilder, Start, Store, Table};
use arrow::datatypes::{DataType, TimeUnit};

use crate::{rows, scratch};

/// A table of three stretches with different commit times, a few small batches and a large one in each. Returns the times.
fn stretches(store: &Store) -> (Table, Vec<i64>) {
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    let mut times = Vec::new();
    for stretch in 0..3 {
        let base = stretch * 10_000;
        for piece in 0..10 {
            writer.append(&rows::batch(base + piece * 10..base + piece * 10 + 10)).unwrap();
        }
        writer.append(&rows::batch(base + 100..base + 10_000)).unwrap();
        let newest = rows::eventually("rows", || table.scan().start(Start::Offset(base as u64 + 9_999)).build().unwrap().last());
        times.push(newest.unwrap().timestamp_ms);
        rows::eventually("the clock", || (now_ms() > times[stretch as usize] + 2).then_some(()));
    }
    (table, times)
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn earliest_latest_offset_and_timestamp() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let (table, times) = stretches(&store);
    let reader = scratch::follow(dir.path());
    for table in [&table, &reader.table("t").unwrap()] {
        let from = |start: Start| rows::numbers(table.scan().start(start).build().unwrap());
        rows::assert_range(&from(Start::Earliest), 0..30_000);
        assert_eq!(from(Start::Latest), [0; 0]);
        for offset in [0, 1, 5, 10, 99, 100, 101, 9_999, 10_000, 10_001, 29_999] {
            rows::assert_range(&from(Start::Offset(offset)), offset as i64..30_000);
        }
        assert_eq!(from(Start::Offset(30_000)), [0; 0], "the end is a place to start");
        assert_eq!(from(Start::Timestamp(0)).len(), 30_000);
        rows::assert_range(&from(Start::Timestamp(times[0] + 1)), 10_000..30_000);
        rows::assert_range(&from(Start::Timestamp(times[1] + 1)), 20_000..30_000);
        assert_eq!(from(Start::Timestamp(times[2] + 1)), [0; 0]);
        assert!(from(Start::Timestamp(times[2])).ends_with(&(29_000..30_000).collect::<Vec<_>>()));
    }
}

#[test]
fn a_time_is_found_by_who_has_read_nothing_yet() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let (_, times) = stretches(&store);
    for (time_ms, first) in [(0, 0), (times[0] + 1, 10_000), (times[1] + 1, 20_000), (times[2] + 1, 30_000)] {
        let table = scratch::follow(dir.path()).table("t").unwrap();
        let found = rows::numbers(table.scan().start(Start::Timestamp(time_ms)).build().unwrap());
        rows::assert_range(&found, first..30_000);
        let mut following = table.scan().start(Start::Timestamp(time_ms)).follow(true).build().unwrap();
        let next = following.next_within(Some(std::time::Duration::ZERO)).unwrap();
        assert_eq!(matches!(next, Next::Batch(_)), first < 30_000, "{next:?}");
    }
}

#[test]
fn an_offset_out_of_range_is_refused_with_the_range() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    table.writer().unwrap().append(&rows::batch(0..10)).unwrap();
    for store in [store, scratch::follow(dir.path())] {
        let error = store.table("t").unwrap().scan().start(Start::Offset(11)).build().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("11") && error.to_string().contains("0 to 10"), "{error}");
    }
}

#[test]
fn an_offset_that_some_bucket_has_begins_the_others_at_their_end() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).buckets(2).option("bucket.assign", "round-robin");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for range in [0..10, 10..13] {
        writer.append(&rows::batch(range)).unwrap();
    }
    let count = |offset: u64| {
        table.scan().start(Start::Offset(offset)).build().map(|scan| scan.map(|found| found.unwrap().batch.num_rows()).sum::<usize>())
    };
    assert_eq!((count(2).unwrap(), count(5).unwrap(), count(10).unwrap()), (9, 5, 0));
    assert_eq!(count(11).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn an_offset_in_one_bucket_means_its_rows_alone() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).buckets(3).option("bucket.assign", "round-robin");
    let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
    let bucket = writer.append(&rows::batch(0..10)).unwrap()[0].bucket;
    let next = writer.append(&rows::batch(10..13)).unwrap()[0].bucket;
    for reader in [store.clone(), scratch::follow(dir.path())] {
        let table = reader.table("t").unwrap();
        let scan = |buckets: &[u32]| table.scan().buckets(buckets);
        let numbers = |scan: ScanBuilder| rows::numbers(scan.build().unwrap());
        assert_eq!(numbers(scan(&[bucket]).start(Start::Offset(8))), [8, 9]);
        assert_eq!(numbers(scan(&[next]).start(Start::Offset(1))), [11, 12]);
        assert_eq!(numbers(scan(&[next, next])), [10, 11, 12], "a bucket said twice is read once");
        assert_eq!(numbers(scan(&[3 - bucket - next])), [0; 0]);
        let error = |scan: ScanBuilder| scan.build().map(|_| ()).unwrap_err();
        assert!(error(scan(&[next]).start(Start::Offset(4))).to_string().contains("0 to 3"), "no other bucket counts");
        let unknown = error(scan(&[0, 3]));
        assert!(unknown.kind() == Kind::Invalid && unknown.to_string().contains("buckets 0 to 2"), "{unknown}");
        assert_eq!(error(table.scan().partition("country=CH")).kind(), Kind::Invalid);
    }
    let mut following = store.table("t").unwrap().scan().buckets(&[bucket]).start(Start::Latest).follow(true).build().unwrap();
    for from in [20, 30, 40] {
        writer.append(&rows::batch(from..from + 1)).unwrap();
    }
    assert_eq!(rows::next(&mut following).bucket, bucket);
    assert!(matches!(following.next_within(Some(std::time::Duration::from_millis(5))).unwrap(), Next::Waiting));
}

#[test]
fn latest_follows_what_comes_and_nothing_before() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema()).buckets(2).bucket_key(&["number"])).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..100)).unwrap();
    let reader = scratch::follow(dir.path());
    let scan = |table: Table| table.scan().start(Start::Latest).follow(true).build().unwrap();
    let mut scanners = [scan(table), scan(reader.table("t").unwrap())];
    for scanner in &mut scanners {
        assert!(matches!(scanner.next_within(Some(std::time::Duration::from_millis(5))).unwrap(), Next::Waiting));
    }
    writer.append(&rows::batch(100..150)).unwrap();
    for scanner in &mut scanners {
        let mut seen = Vec::new();
        while seen.len() < 50 {
            let found = rows::next(scanner);
            rows::check_values(&found.batch);
            seen.extend(rows::numbers_in(&found.batch));
        }
        seen.sort();
        rows::assert_range(&seen, 100..150);
    }
}

#[test]
fn a_limit_counts_rows_of_all_buckets_and_after_the_filter() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema()).buckets(3).bucket_key(&["number"])).unwrap();
    table.writer().unwrap().append(&rows::batch(0..5_000)).unwrap();
    for limit in [0, 1, 7, 1_700, 4_999, 5_000, 6_000] {
        let found = rows::numbers(table.scan().limit(limit).build().unwrap());
        assert_eq!(found.len() as u64, limit.min(5_000));
    }
    let found = rows::numbers(table.scan().filter("number >= 4000").limit(10).build().unwrap());
    assert!(found.len() == 10 && found.iter().all(|number| *number >= 4_000), "{found:?}");
    let mut following = table.scan().follow(true).limit(5_000).build().unwrap();
    let mut seen = 0;
    while let Next::Batch(found) = following.next_within(Some(rows::PATIENCE)).unwrap() {
        seen += found.batch.num_rows();
    }
    assert_eq!(seen, 5_000, "a following scan ends at its limit");
}

#[test]
fn columns_come_in_the_order_asked_for() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..10)).unwrap();
    writer.append(&rows::batch(10..20_000)).unwrap();
    drop(writer);
    let all = rows::collect(table.scan().build().unwrap());
    for columns in [vec!["half"], vec!["half", "number"], vec!["name", "half", "number"], vec![]] {
        let found = rows::collect(table.scan().columns(&columns).build().unwrap());
        let indices: Vec<usize> = columns.iter().map(|name| all.schema().index_of(name).unwrap()).collect();
        assert_eq!(found, all.project(&indices).unwrap(), "{columns:?}");
    }
    let error = table.scan().columns(&["nam"]).build().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("name"), "the nearest is named: {error}");
}

#[test]
fn meta_columns_say_where_a_row_was() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    for from in 0..5 {
        writer.append(&rows::batch(from * 10..from * 10 + 10)).unwrap();
    }
    let found = rows::collect(table.scan().columns(&["number"]).meta(true).filter("number >= 7").build().unwrap());
    let names: Vec<String> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["number", "_bucket", "_offset", "_timestamp", "_op"]);
    assert_eq!(*found.schema().field(3).data_type(), DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    assert_eq!(found.column(2), found.column(0), "the offset of a row is its number here");
    assert_eq!(found.num_rows(), 43);
}
