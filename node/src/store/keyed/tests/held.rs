//! What readers hold stays while they read, whatever becomes of buckets and runs meanwhile; and merging ends, however many rows come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::altering::numbered;
use super::*;

fn all(value: i64) -> Vec<(u8, i64)> {
    (0..=255).map(|key| (key, value)).collect()
}

fn look_up_one(table: &Table) {
    table.lookup(&rows(&[(1, 0)])).unwrap();
}

#[test]
fn a_bucket_whose_runs_are_read_stays_open_though_others_need_its_place() {
    let options = Options { buckets_open_max: 1, ..options() };
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options).unwrap();
    let [table, second, third] = ["read", "second", "third"].map(|name| store.create_table(name, create(1)).unwrap());
    for round in 0..6 {
        table.writer().unwrap().upsert(&rows(&all(round))).unwrap();
        store.flush("read").unwrap();
    }
    let is_open = |table: &Table| table.store.is_open((table.id, 0, 0)).unwrap();
    let scan = table.scan().build().unwrap();
    let splits = table.scan().splits(2).unwrap();
    look_up_one(&second);
    assert!(is_open(&table), "a scan reads it");
    store.compact("read", true).unwrap();
    store.pump().unwrap();
    assert_eq!(scan.map(|found| found.unwrap().batch.num_rows()).sum::<usize>(), 256);
    look_up_one(&third);
    assert!(is_open(&table), "splits hold it");
    let read = |split| table.scan().split(split).build().unwrap().map(|found| found.unwrap().batch.num_rows()).sum::<usize>();
    assert_eq!(splits.iter().map(read).sum::<usize>(), 256);
    drop(splits);
    store.pump().unwrap();
    look_up_one(&store.create_table("last", create(1)).unwrap());
    assert!(!is_open(&table), "nobody holds it any more");
    check(&table, &all(5).into_iter().collect());
}

/// Rows that take longer to merge than a few others take to flush.
const MANY_ROWS: i64 = 200_000;

#[test]
fn merging_all_runs_ends_though_others_come_meanwhile() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let like = CreateTable::like(numbered([].into_iter()).schema());
    let table = store.create_table("t", like.primary_key(&["key"])).unwrap();
    table.writer().unwrap().upsert(&numbered((0..MANY_ROWS).map(|key| (key, 0)))).unwrap();
    // They lie among the others.
    let flush_few = |value| {
        table.writer().unwrap().upsert(&numbered((0..MANY_ROWS).step_by(10_000).map(|key| (key, value)))).unwrap();
        store.flush("t").unwrap();
    };
    (0..3).for_each(flush_few);
    let (is_done, clock) = (AtomicBool::new(false), table.store.resources.driver.clock());
    std::thread::scope(|scope| {
        let merging = scope.spawn(|| {
            let merged = store.compact("t", true);
            is_done.store(true, Ordering::Release);
            merged
        });
        let began = clock.monotonic();
        let flushes = (3..).take_while(|value| {
            flush_few(*value);
            !is_done.load(Ordering::Acquire) && clock.monotonic() - began < Duration::from_secs(10)
        });
        let flushes = flushes.count();
        assert!(is_done.load(Ordering::Acquire), "it goes on after {flushes} flushes");
        merging.join().unwrap().unwrap();
    });
}
