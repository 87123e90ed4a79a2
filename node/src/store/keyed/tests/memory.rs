//! One budget for the memtables of all buckets of a store, held while writers are faster than flushes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::Durability;

const BUDGET_BYTES: usize = 4 << 20;

/// Writers, each of which waits for its rows.
const WRITERS: u8 = 2;

/// What a batch takes in memory, whatever buckets its rows go to: each has a batch in the log for itself, in a frame of whole blocks.
const BATCH_BYTES: usize = 512 << 10;

/// What is on its way to many buckets when the budget is used up.
const SLACK_BYTES: usize = WRITERS as usize * BATCH_BYTES;

const ROWS: i64 = 100;

/// What a batch takes in memory of a bucket alone, about.
const ROWS_BYTES: usize = 256 << 10;

/// Rows of a writer, of about 2 KiB each.
fn large(writer: u8, batch: i64) -> RecordBatch {
    let numbers = (0..ROWS).map(|row| batch * ROWS + row);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone().map(|number| number * 8 + i64::from(writer))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.map(|number| format!("{number:02000}"))));
    RecordBatch::try_from_iter([("key", keys), ("text", texts)]).unwrap()
}

/// The most bytes of memtables that were seen while writers wrote so many batches each.
fn bytes_seen(buckets: u32, batches: i64) -> usize {
    let dir = tempfile::tempdir_in(".").unwrap();
    let options = Options { memtable_bytes_max: BUDGET_BYTES, durability: Durability::Os, ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let create = CreateTable::like(large(0, 0).schema()).primary_key(&["key"]).buckets(buckets).option("segment.bytes", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let budget = || table.store.resources.memtables.bytes();
    let is_done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(Ordering::Relaxed) {
                most = most.max(budget());
                std::thread::yield_now();
            }
            most
        });
        let write = |number: u8| {
            let table = &table;
            move || {
                let mut writer = table.writer().unwrap();
                (0..batches).for_each(|batch| drop(writer.upsert(&large(number, batch)).unwrap()));
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(write(number))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_done.store(true, Ordering::Relaxed);
        sampler.join().unwrap()
    });
    let rows: usize = table.scan().columns(&["key"]).build().unwrap().map(|found| found.unwrap().batch.num_rows()).sum();
    assert_eq!(rows as i64, batches * ROWS * i64::from(WRITERS));
    most
}

#[test]
fn memtables_of_one_bucket_keep_to_the_budget() {
    let most = bytes_seen(1, 80);
    let on_its_way = usize::from(WRITERS) * ROWS_BYTES;
    assert!((BUDGET_BYTES / 3..BUDGET_BYTES + on_its_way).contains(&most), "{most} bytes");
}

#[test]
fn memtables_of_a_thousand_buckets_keep_to_the_budget() {
    let most = bytes_seen(1_000, 20);
    assert!((BUDGET_BYTES / 3..BUDGET_BYTES + SLACK_BYTES).contains(&most), "{most} bytes");
}

/// Whatever flushes could do meanwhile: here one is made only when a writer has no room.
#[test]
fn memtables_fill_the_budget_and_no_more_while_nobody_flushes() {
    for buckets in [1, 3] {
        let options = Options { memtable_bytes_max: BUDGET_BYTES, ..Options::default() };
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options).unwrap();
        let create = CreateTable::like(large(0, 0).schema()).primary_key(&["key"]).buckets(buckets);
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        let mut most = 0;
        for batch in 0..60 {
            writer.upsert(&large(0, batch)).unwrap();
            most = most.max(table.store.resources.memtables.bytes());
        }
        let about = BUDGET_BYTES - 2 * ROWS_BYTES..BUDGET_BYTES + 2 * ROWS_BYTES;
        assert!(about.contains(&most), "{buckets} buckets, {most} bytes");
    }
}

#[test]
fn the_largest_memtable_of_the_store_is_flushed_though_nobody_writes_to_it() {
    let sim = Sim::new(1, Faults::default());
    let options = Options { memtable_bytes_max: BUDGET_BYTES, ..Options::default() };
    let store = Store::open_with(sim, DIR, options).unwrap();
    let create = || CreateTable::like(large(0, 0).schema()).primary_key(&["key"]).buckets(1);
    let tables: Vec<Table> = ["idle", "a", "b", "c"].iter().map(|name| store.create_table(name, create()).unwrap()).collect();
    let (idle, busy) = tables.split_first().unwrap();
    for batch in 0..3 {
        idle.writer().unwrap().upsert(&large(0, batch)).unwrap();
    }
    let is_in_runs = |table: &Table| {
        let entry = table.store.entry(table.id, &table.name).unwrap();
        !table.store.bucket(&entry, 0, 0).unwrap().tree().unwrap().levels().runs().is_empty()
    };
    store.pump().unwrap();
    assert!(!is_in_runs(idle), "alone it has its part of the budget");
    for batch in 0..2 {
        busy.iter().for_each(|table| drop(table.writer().unwrap().upsert(&large(0, batch)).unwrap()));
    }
    store.pump().unwrap();
    assert!(is_in_runs(idle), "it has the most");
    assert!(!busy.iter().any(is_in_runs), "those that have less stay");
    assert!(idle.store.resources.memtables.bytes() <= BUDGET_BYTES / 2 + BATCH_BYTES);
}

/// What the writer has not flushed is read from the log once, however little memory who follows has for it.
#[test]
fn a_follower_with_less_memory_keeps_what_it_replayed() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options { memtable_bytes_max: 64 << 20, ..Options::default() }).unwrap();
    let table = store.create_table("t", CreateTable::like(large(0, 0).schema()).primary_key(&["key"])).unwrap();
    let mut writer = table.writer().unwrap();
    let mut write = |batches: std::ops::Range<i64>| batches.for_each(|batch| drop(writer.upsert(&large(0, batch)).unwrap()));
    write(0..20);
    let outside = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap().table("t").unwrap();
    let tree = || {
        let rows: usize = outside.scan().columns(&["key"]).build().unwrap().map(|found| found.unwrap().batch.num_rows()).sum();
        let entry = outside.store.entry(outside.id, &outside.name).unwrap();
        let follower = outside.store.follower(&entry, 0, 0).unwrap();
        (rows, follower.tree(outside.store.writer_state().unwrap(), false).unwrap().unwrap())
    };
    let (rows, first) = tree();
    assert!(rows == 2_000 && first.levels().memtables.len() > 4, "more than the writer would let wait");
    assert!(Arc::ptr_eq(&first, &tree().1), "nothing was flushed");
    write(20..25);
    let (rows, second) = tree();
    assert!(rows == 2_500 && Arc::ptr_eq(&first, &second), "nothing was flushed");
    store.flush("t").unwrap();
    write(25..30);
    let (rows, third) = tree();
    assert!(rows == 3_000 && third.levels().memtables.len() < first.levels().memtables.len(), "what is in runs is in memory no more");
}
