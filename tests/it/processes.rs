//! Several processes on one directory: one writes, others follow, a second writer is refused, a dead one leaves the door open.

use std::path::Path;
use std::time::Duration;

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Next, Options, Store};

use crate::{child, rows, scratch};

/// A child's job: makes a table, appends rows one batch after the other, says each acknowledged end.
pub(crate) fn write(dir: &str) {
    let store = scratch::open(Path::new(dir));
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    loop {
        let ack = writer.append(&rows::batch(next..next + 10)).unwrap().remove(0);
        next += 10;
        child::say(ack.first_offset + ack.rows);
    }
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_dead() {
    let dir = scratch::directory();
    let mut worker = child::start("write", &[dir.path().to_str().unwrap()]);
    worker.hears().expect("it appended");
    let error = Store::open(dir.path(), Options::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    worker.kill();
    let store = rows::eventually("the lock", || Store::open(dir.path(), Options::default()).ok());
    store.table("t").unwrap().writer().unwrap().append(&rows::batch(0..1)).unwrap();
}

#[test]
fn what_a_follower_saw_outlives_the_killed_writer() {
    let dir = scratch::directory();
    let mut worker = child::start("write", &[dir.path().to_str().unwrap()]);
    worker.hears().expect("it appended");
    let reader = scratch::follow(dir.path());
    let mut scanner = reader.table("t").unwrap().scan().follow(true).build().unwrap();
    let mut seen = 0;
    let mut acked = 0;
    while acked < 3_000 {
        acked = worker.hears().expect("it goes on").parse().unwrap();
        if let Next::Batch(found) = scanner.next_within(Some(Duration::ZERO)).unwrap() {
            rows::check_offsets(&found);
            assert_eq!(found.first_offset, seen, "in order");
            seen = found.next_offset;
        }
    }
    worker.kill();
    rows::eventually("the rest", || match scanner.next_within(Some(Duration::from_millis(10))).unwrap() {
        Next::Batch(found) => {
            rows::check_offsets(&found);
            seen = found.next_offset;
            None
        }
        _ => (seen >= acked).then_some(()),
    });
    let store = rows::eventually("the lock", || Store::open(dir.path(), Options::default()).ok());
    let found = rows::numbers(store.table("t").unwrap().scan().build().unwrap());
    assert!(found.len() as u64 >= seen && seen >= acked, "{} rows, {seen} seen, {acked} acknowledged", found.len());
    rows::assert_range(&found, 0..found.len() as i64);
    store.table("t").unwrap().writer().unwrap().append(&rows::batch(found.len() as i64..found.len() as i64 + 5)).unwrap();
    let after = rows::next(&mut scanner);
    assert!(after.next_offset > found.len() as u64 || after.first_offset >= seen, "the follower goes on with the next writer");
}

#[test]
fn figures_of_what_nobody_has_read_are_those_of_the_writer() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB");
    let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
    for round in 0..40 {
        writer.append(&rows::batch(round * 2_000..round * 2_000 + 2_000)).unwrap();
        writer.append(&rows::batch(0..1)).unwrap();
        let figures = |store: &Store| store.stats(Some("t")).unwrap().remove(0);
        let (own, seen) = (figures(&store), figures(&scratch::follow(dir.path())));
        assert_eq!((seen.bytes, seen.segments, seen.rows), (own.bytes, own.segments, own.rows));
    }
}

#[test]
fn a_follower_finds_segments_that_it_hears_of_when_their_writer_is_gone() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).buckets(2).option("segment.bytes", "1MiB").option("bucket.assign", "round-robin");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    let mut append = |count: i64| {
        for _ in 0..count {
            writer.append(&rows::batch(next..next + 1_000)).unwrap();
            next += 1_000;
        }
        next
    };
    append(4);
    let follower = scratch::follow(dir.path());
    let mut scanner = follower.table("t").unwrap().scan().follow(true).build().unwrap();
    let mut seen = Vec::new();
    let mut look = |until: &mut dyn FnMut(usize) -> bool| {
        while until(seen.len()) {
            match scanner.next_within(Some(Duration::from_millis(100))).unwrap() {
                Next::Batch(found) => seen.extend(rows::numbers_in(&found.batch)),
                Next::Waiting => {}
                Next::End => panic!("a scan that follows ended"),
            }
        }
    };
    look(&mut |seen| seen < 4_000);
    // It hears of rows in both buckets, more than a segment has, and reads some of one.
    let all = append(80);
    look(&mut |seen| seen <= 4_000);
    drop(writer);
    drop(table);
    store.close().unwrap();
    look(&mut |seen| (seen as i64) < all);
    seen.sort_unstable();
    rows::assert_range(&seen, 0..all);
}

#[test]
fn one_process_may_follow_what_it_writes() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let reader = scratch::follow(dir.path());
    assert!(!reader.is_writable());
    let mut scanner = reader.table("t").unwrap().scan().follow(true).build().unwrap();
    let mut writer = table.writer().unwrap();
    for from in 0..50 {
        writer.append(&rows::batch(from * 100..from * 100 + 100)).unwrap();
        let found = rows::next(&mut scanner);
        rows::check_offsets(&found);
        assert_eq!(found.next_offset, from as u64 * 100 + 100);
    }
}

#[test]
fn a_follower_may_not_write() {
    let dir = scratch::directory();
    scratch::open(dir.path()).create_table("t", CreateTable::like(rows::schema())).unwrap();
    let reader = scratch::follow(dir.path());
    let refused = [
        reader.table("t").unwrap().writer().map(|_| ()).unwrap_err(),
        reader.create_table("u", CreateTable::like(rows::schema())).map(|_| ()).unwrap_err(),
        reader.drop_table("t").unwrap_err(),
        reader.expire("t").map(|_| ()).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

#[test]
fn an_empty_directory_holds_no_store_to_read() {
    let dir = scratch::directory();
    let error = Store::open_read_only(dir.path(), Options::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing half-made");
}

#[test]
fn a_store_is_made_under_a_relative_name() {
    let dir = scratch::directory();
    let mut command = std::process::Command::new(crate::program::path());
    let made = command.args(["--dir", "new", "init"]).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(Store::open_read_only(dir.path().join("new"), Options::default()).unwrap().tables().unwrap().is_empty());
}
