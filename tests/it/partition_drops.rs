//! Partitions go under those who use them, by command and by age: they are told, the rest of the table goes on, and the next partition of that name is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aquifer_node::store::{Change, ChangeType, CreateTable, Next, Scanner, Store, Table};
use aquifer_node::{Error, Kind};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use crate::{rows, scratch};

/// Rows of the partition `part=PART`.
fn of(part: &str, numbers: std::ops::Range<i64>) -> RecordBatch {
    let parts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|_| part)));
    RecordBatch::try_from_iter([("part", parts), ("number", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)]).unwrap()
}

fn numbers(table: &Table) -> Vec<i64> {
    let mut all: Vec<i64> = table.scan().build().unwrap().flat_map(|found| numbers_in(&found.unwrap().batch)).collect();
    all.sort();
    all
}

fn numbers_in(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("number").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn check_gone(error: Error) {
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    assert!(error.to_string().contains("partition part=a was dropped, table t"), "{error}");
}

/// What a scan that follows comes to: rows until nothing more comes, or an error.
fn follow(scanner: &mut Scanner, wait: Duration) -> (Vec<i64>, Option<Error>) {
    let mut found = Vec::new();
    loop {
        match scanner.next_within(Some(wait)) {
            Ok(Next::Batch(batch)) => found.extend(numbers_in(&batch.batch)),
            Ok(_) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn users_of_a_dropped_partition_are_told_and_the_rest_goes_on() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let table = store.create_table("t", CreateTable::like(of("a", 0..1).schema()).partition_by("part").buckets(2)).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&of("a", 0..10)).unwrap();
    writer.append(&of("b", 10..20)).unwrap();
    let followed = other.table("t").unwrap();
    let scan = |table: &Table| table.scan().follow(true).build().unwrap();
    let mut done = [scan(&table), scan(&followed)];
    for scanner in &mut done {
        assert_eq!(follow(scanner, SHORT).0.len(), 20);
    }
    let of_part = |table: &Table| table.scan().partition("part=a").follow(true).build().unwrap();
    let mut behind = [scan(&table), scan(&followed), of_part(&table), of_part(&followed)];
    let mut bounded = [table.scan().build().unwrap(), followed.scan().build().unwrap()];
    store.drop_partition("t", "part=a").unwrap();
    assert!(!dir.path().join("tables/0/p1").exists(), "its files are gone");

    // Who had read all of it goes on with the rest.
    writer.append(&of("b", 20..25)).unwrap();
    for scanner in &mut done {
        let (found, error) = follow(scanner, SHORT);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(found, (20..25).collect::<Vec<_>>());
    }
    for (index, scanner) in behind.iter_mut().enumerate() {
        check_gone(follow(scanner, SHORT).1.unwrap_or_else(|| panic!("reader {index} was not told")));
    }
    for scanner in &mut behind[..2] {
        let (found, error) = follow(scanner, SHORT);
        assert!(error.is_none() && found.len() == 15, "told once: {found:?}, {error:?}");
    }
    for scanner in &mut bounded {
        // What is in memory can still be read.
        let found: Result<Vec<_>, Error> = scanner.map(|found| found.map(|found| found.batch.num_rows())).collect();
        match found {
            Ok(found) => assert_eq!(found.iter().sum::<usize>(), 20),
            Err(error) => check_gone(error),
        }
    }
    assert_eq!(numbers(&table), (10..25).collect::<Vec<_>>());
    assert_eq!(numbers(&followed), (10..25).collect::<Vec<_>>());
    assert_eq!(table.describe().unwrap().partitions, ["part=b"]);

    // Rows make it anew, as another one; the writer that knew the old one finds it.
    writer.append(&of("a", 100..105)).unwrap();
    for table in [&table, &followed] {
        assert_eq!(numbers(table), (10..25).chain(100..105).collect::<Vec<_>>());
    }
    for scanner in &mut done {
        assert_eq!(follow(scanner, SHORT).0, (100..105).collect::<Vec<_>>());
    }
    drop((writer, table, done, behind, bounded));
    store.close().unwrap();
    let store = scratch::open(dir.path());
    assert_eq!(numbers(&store.table("t").unwrap()), (10..25).chain(100..105).collect::<Vec<_>>());
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn a_partition_of_keyed_rows_goes_with_its_runs() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let create = CreateTable::like(of("a", 0..1).schema()).partition_by("part").primary_key(&["part", "number"]);
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for part in ["a", "b"] {
        writer.upsert(&of(part, 0..20_000)).unwrap();
    }
    store.flush("t").unwrap();
    writer.upsert(&of("a", 20_000..20_010)).unwrap();
    let followed = other.table("t").unwrap();
    assert_eq!(numbers(&followed).len(), 40_010);
    let mut scanner = table.scan().build().unwrap();
    scanner.next().unwrap().unwrap();
    store.drop_partition("t", "part=a").unwrap();
    if let Some(error) = scanner.find_map(|found| found.err()) {
        check_gone(error);
    }
    let keys = of("a", 0..3);
    for table in [&table, &followed] {
        assert_eq!(numbers(table), (0..20_000).collect::<Vec<_>>());
        assert_eq!(table.lookup(&keys).unwrap().places, [None; 3]);
    }
    writer.upsert(&of("a", 1..2)).unwrap();
    for table in [&table, &followed] {
        assert_eq!(table.lookup(&keys).unwrap().places, [None, Some(0), None]);
    }
}

#[test]
fn what_is_no_partition_is_not_dropped() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(of("a", 0..1).schema()).partition_by("part")).unwrap();
    store.create_table("whole", CreateTable::like(rows::schema())).unwrap();
    table.writer().unwrap().append(&of("a", 0..1)).unwrap();
    let refused = |table: &str, partition: &str| store.drop_partition(table, partition).unwrap_err();
    assert_eq!(refused("t", "part=b").kind(), Kind::NotFound);
    assert!(refused("t", "part=b").to_string().contains("it has part=a"));
    assert!(refused("whole", "").to_string().contains("drop all of it"));
    assert_eq!(refused("none", "part=a").kind(), Kind::NotFound);
    assert!(scratch::follow(dir.path()).drop_partition("t", "part=a").unwrap_err().to_string().contains("read-only"));
    assert_eq!(numbers(&table), [0]);
}

fn partitions(store: &Store) -> Vec<String> {
    store.table("t").unwrap().describe().unwrap().partitions
}

#[test]
fn partitions_go_once_all_of_their_rows_are_too_old() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(of("a", 0..1).schema()).partition_by("part").buckets(3)).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&of("a", 0..10)).unwrap();
    assert_eq!(store.expire("t").unwrap().partitions, 0, "nothing goes without an option");
    store.alter_table("t", &[Change::set_option("retention.ms", "1h")]).unwrap();
    assert_eq!(store.expire("t").unwrap().partitions, 0, "an hour has not passed");
    store.alter_table("t", &[Change::set_option("retention.ms", "200ms")]).unwrap();
    let report = rows::eventually("age", || {
        writer.append(&of("b", 10..11)).unwrap();
        Some(store.expire("t").unwrap()).filter(|report| report.partitions > 0)
    });
    assert_eq!((report.partitions, report.rows), (1, 10), "one of its rows is newer");
    assert_eq!(partitions(&store), ["part=b"]);
    writer.append(&of("a", 20..21)).unwrap();
    assert_eq!(partitions(&store), ["part=b", "part=a"]);
    // A table with a primary key keeps its rows, however old their changes are.
    let keyed = CreateTable::like(of("a", 0..1).schema()).partition_by("part").primary_key(&["part", "number"]);
    let keyed = store.create_table("keyed", keyed.option("retention.ms", "1ms")).unwrap();
    keyed.writer().unwrap().upsert(&of("a", 0..5)).unwrap();
    store.flush("keyed").unwrap();
    rows::eventually("age", || (store.expire("t").unwrap().partitions > 0).then_some(()));
    assert_eq!(store.expire("keyed").unwrap().partitions, 0);
    assert_eq!(numbers(&keyed).len(), 5);
}

/// Rows that a writer has an answer for: of which partition, which, and when the first was handed over and the last acknowledged.
struct Answered {
    part: &'static str,
    numbers: std::ops::Range<i64>,
    from: Instant,
    to: Instant,
}

/// Ends writers also when a check fails: else nobody would hear of it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes to two partitions, some batches ahead of their answers, until it is told to end.
fn write_both(table: &Table, first: i64, ends: &AtomicBool) -> Vec<Answered> {
    let is_keyed = !table.describe().unwrap().primary_key.is_empty();
    let mut writer = table.writer().unwrap();
    let (mut number, mut all) = (first, Vec::new());
    while !ends.load(Ordering::Relaxed) {
        for part in ["a", "b"] {
            let (begin, from) = (number, Instant::now());
            for _ in 0..4 {
                let rows = of(part, number..number + 5);
                let sent = if is_keyed { writer.send_changes(&rows, &[ChangeType::UpdateAfter; 5]) } else { writer.send(&rows) };
                sent.expect("a drop waits for rows that are on their way");
                number += 5;
            }
            writer.flush().expect("a drop waits for rows that are on their way");
            all.push(Answered { part, numbers: begin..number, from, to: Instant::now() });
        }
    }
    all
}

fn check_drops_beside_writers(create: CreateTable) {
    const WRITERS: i64 = 3;
    const DROPS: u32 = 25;
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let table = store.create_table("t", create.partition_by("part").buckets(2)).unwrap();
    let ends = AtomicBool::new(false);
    let (answered, last_drop) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (table, ends) = (&table, &ends);
                    move || write_both(table, writer * 1_000_000, ends)
                })
            })
            .collect();
        let ending = Ends(&ends);
        let mut last_drop = (Instant::now(), Instant::now());
        for _ in 0..DROPS {
            rows::eventually("both partitions", || (partitions(&store).len() == 2).then_some(()));
            let begin = Instant::now();
            store.drop_partition("t", "part=a").unwrap();
            last_drop = (begin, Instant::now());
            // Whoever reads sees rows of the partition that they are in: its slots go to the next one of that name.
            for table in [&table, &other.table("t").unwrap()] {
                let of_b = table.scan().partition("part=b").columns(&["part"]).build().unwrap();
                let is_b = |batch: &RecordBatch| batch.column(0).as_string::<i32>().iter().all(|part| part == Some("b"));
                of_b.for_each(|found| assert!(is_b(&found.unwrap().batch)));
            }
        }
        drop(ending);
        (writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>(), last_drop)
    });
    let check = |table: &Table| {
        let found = numbers(table);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "no row twice");
        let has = |number: &i64| found.binary_search(number).is_ok();
        for Answered { part, numbers, from, to } in &answered {
            if *part == "b" || *from > last_drop.1 {
                assert!(numbers.clone().all(|number| has(&number)), "{part} {numbers:?} was acknowledged");
            } else if *to < last_drop.0 {
                assert!(!numbers.clone().any(|number| has(&number)), "{part} {numbers:?} was dropped");
            }
        }
        let known: usize = answered.iter().map(|answered| answered.numbers.clone().count()).sum();
        assert!(found.len() <= known, "nothing but what was written");
    };
    check(&table);
    check(&other.table("t").unwrap());
    drop(table);
    store.close().unwrap();
    let store = scratch::open(dir.path());
    check(&store.table("t").unwrap());
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn drops_beside_writers_take_what_was_there_and_nothing_else() {
    check_drops_beside_writers(CreateTable::like(of("a", 0..1).schema()));
}

#[test]
fn drops_beside_writers_of_keyed_rows_take_what_was_there_and_nothing_else() {
    check_drops_beside_writers(CreateTable::like(of("a", 0..1).schema()).primary_key(&["part", "number"]));
}
