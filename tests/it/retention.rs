//! Rows leave by age and by size, whole segments at a time; who reads too slowly is told so and never gets other rows instead.

use std::time::Duration;

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable, Next, Options, Scanner, Start, Store, Table};

use crate::{rows, scratch};

/// Rows of one batch, and roughly the rows of a segment.
const BATCH_ROWS: i64 = 2_000;

/// Bytes of dropped segments that may wait to be used again.
const SPARE_BYTES_MAX: u64 = 2 << 20;

fn small_segments() -> CreateTable {
    CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB")
}

/// Appends `batches` behind `from`, where the number of a row is its offset.
fn append(table: &Table, from: i64, batches: i64) -> i64 {
    let mut writer = table.writer().unwrap();
    for batch in 0..batches {
        writer.append(&rows::batch(from + batch * BATCH_ROWS..from + (batch + 1) * BATCH_ROWS)).unwrap();
    }
    from + batches * BATCH_ROWS
}

fn range(store: &Store) -> (u64, u64, u64) {
    let stats = store.stats(Some("t")).unwrap().remove(0);
    assert_eq!(stats.rows, stats.end_offset - stats.start_offset);
    (stats.start_offset, stats.end_offset, stats.bytes)
}

/// Checks that the rows from `start` or later (the worker may drop more meanwhile) to `end` are there.
fn check_kept(table: &Table, start: u64, end: i64) {
    let found = rows::numbers(table.scan().build().unwrap());
    assert!(found[0] >= start as i64);
    rows::assert_range(&found, found[0]..end);
}

#[test]
fn the_oldest_segments_go_when_there_is_too_much() {
    let dir = scratch::directory();
    let options = || Options { spare_bytes_max: SPARE_BYTES_MAX, ..Options::default() };
    let store = Store::open(dir.path(), options()).unwrap();
    let table = store.create_table("t", small_segments().option("retention.bytes", "2MiB")).unwrap();
    let end = append(&table, 0, 100);
    store.expire("t").unwrap();
    let (start, found_end, bytes) = range(&store);
    assert_eq!(found_end, end as u64);
    assert!(start > 0 && bytes <= 4 << 20, "{start}, {bytes} bytes");
    for store in [&store, &scratch::follow(dir.path())] {
        check_kept(&store.table("t").unwrap(), start, end);
        let error = store.table("t").unwrap().scan().start(Start::Offset(0)).build().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("earliest"), "{error}");
    }
    drop(table);
    store.close().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    assert!(range(&store).0 >= start, "what went stays away");
    assert_eq!(append(&store.table("t").unwrap(), end, 30), end + 30 * BATCH_ROWS);
    store.expire("t").unwrap();
    let files = scratch::files(&dir.path().join("tables"), ".log").len();
    assert!(files <= 5, "{files} segments");
    // What is dropped at once is more than may be kept.
    append(&store.table("t").unwrap(), end + 30 * BATCH_ROWS, 60);
    store.alter_table("t", &[Change::set_option("retention.bytes", "none")]).unwrap();
    append(&store.table("t").unwrap(), end + 90 * BATCH_ROWS, 100);
    let spare = || scratch::files(&dir.path().join("spare"), ".log").iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    store.alter_table("t", &[Change::set_option("retention.bytes", "1MiB")]).unwrap();
    store.expire("t").unwrap();
    assert!((1..=SPARE_BYTES_MAX).contains(&spare()), "{} bytes of spare segments", spare());
}

#[test]
fn old_rows_go_by_age_and_new_options_count_at_once() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", small_segments()).unwrap();
    let end = append(&table, 0, 60);
    assert_eq!(store.expire("t").unwrap().rows, 0, "nothing goes without an option");
    store.alter_table("t", &[Change::set_option("retention.ms", "1h")]).unwrap();
    assert_eq!(store.expire("t").unwrap().rows, 0, "an hour has not passed");
    store.alter_table("t", &[Change::set_option("retention.ms", "1ms")]).unwrap();
    let report = rows::eventually("age", || Some(store.expire("t").unwrap()).filter(|report| report.rows > 0));
    let (start, found_end, _) = range(&store);
    assert!(report.rows <= start, "the report says what went: {} of {start}", report.rows);
    assert_eq!(found_end, end as u64);
    assert!(start < end as u64, "the segment in use stays");
    check_kept(&table, start, end);
}

/// Reads on until the end or an error; checks every row, and that the error says what happened.
fn read_on(mut scanner: Scanner) -> Option<u64> {
    loop {
        match scanner.next_within(Some(Duration::from_secs(5))) {
            Ok(Next::Batch(found)) => rows::check_offsets(&found),
            Ok(Next::End | Next::Waiting) => return None,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Invalid, "{error}");
                let text = error.to_string();
                assert!(text.contains("dropped before they were read") && text.contains("earliest"), "{text}");
                assert!(text.contains("bucket 0") && text.contains("table t"), "{text}");
                return Some(1);
            }
        }
    }
}

#[test]
fn a_slow_reader_is_told_that_its_rows_are_gone() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", small_segments()).unwrap();
    let end = append(&table, 0, 60);
    let other = scratch::follow(dir.path());
    let scan = |table: Table, follow: bool| {
        let mut scanner = table.scan().start(Start::Offset(10)).follow(follow).build().unwrap();
        rows::check_offsets(&rows::next(&mut scanner));
        scanner
    };
    let slow = [
        scan(table.clone(), false),
        scan(table.clone(), true),
        scan(other.table("t").unwrap(), false),
        scan(other.table("t").unwrap(), true),
    ];
    store.alter_table("t", &[Change::set_option("retention.bytes", "1MiB")]).unwrap();
    append(&table, end, 200);
    store.expire("t").unwrap();
    for (index, scanner) in slow.into_iter().enumerate() {
        assert!(read_on(scanner).is_some(), "reader {index} did not notice");
    }
}
