//! A table is dropped under those who use it: they are told, the space comes back, and the next table of that name is another one.

use std::time::Duration;

use aquifer_node::store::{CreateTable, Next, Table};
use aquifer_node::{Error, Kind};

use crate::{rows, scratch};

fn check_gone(error: Error) {
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");
    assert!(error.to_string().contains("table t was dropped"), "{error}");
}

#[test]
fn users_of_a_dropped_table_are_told() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..100)).unwrap();
    let followed = other.table("t").unwrap();
    let scan = |table: &Table, follow: bool| table.scan().follow(follow).build().unwrap();
    let mut scanners = [scan(&table, true), scan(&followed, true), scan(&table, false), scan(&followed, false)];
    for scanner in &mut scanners[..2] {
        rows::check_offsets(&rows::next(scanner));
    }
    let following = std::thread::spawn({
        let mut scanner = scan(&followed, true);
        rows::next(&mut scanner);
        move || scanner.next_within(Some(rows::PATIENCE)).map(|next| format!("{next:?}"))
    });
    store.drop_table("t").unwrap();
    check_gone(writer.append(&rows::batch(100..110)).unwrap_err());
    check_gone(table.schema().map(|_| ()).unwrap_err());
    check_gone(table.scan().build().map(|_| ()).unwrap_err());
    for scanner in &mut scanners {
        check_gone(scanner.next_within(Some(Duration::from_secs(5))).map(|_| ()).unwrap_err());
    }
    check_gone(following.join().unwrap().unwrap_err());
    assert_eq!(store.table("t").map(|_| ()).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(other.table("t").map(|_| ()).unwrap_err().kind(), Kind::NotFound);
    assert!(scratch::files(&dir.path().join("tables"), ".log").is_empty(), "its files are gone");
}

#[test]
fn the_next_table_of_that_name_is_another() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let other = scratch::follow(dir.path());
    let first = store.create_table("t", CreateTable::like(rows::schema()).buckets(3)).unwrap();
    let mut old_writer = first.writer().unwrap();
    old_writer.append(&rows::batch(0..50)).unwrap();
    let mut old_scanner = other.table("t").unwrap().scan().follow(true).build().unwrap();
    rows::next(&mut old_scanner);
    store.drop_table("t").unwrap();
    let second = store.create_table("t", CreateTable::like(rows::schema()).buckets(3)).unwrap();
    assert_eq!(rows::numbers(second.scan().build().unwrap()), [0; 0]);
    second.writer().unwrap().append(&rows::batch(1_000..1_010)).unwrap();
    check_gone(old_writer.append(&rows::batch(50..60)).unwrap_err());
    check_gone(old_scanner.next_within(Some(Duration::from_secs(5))).map(|_| ()).unwrap_err());
    for store in [&store, &other, &scratch::follow(dir.path())] {
        rows::assert_range(&rows::numbers(store.table("t").unwrap().scan().build().unwrap()), 1_000..1_010);
    }
}

#[test]
fn dropping_under_many_writers_harms_nobody_else() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let kept = store.create_table("kept", CreateTable::like(rows::schema())).unwrap();
    for round in 0..5 {
        let table = store.create_table("t", CreateTable::like(rows::schema()).buckets(4)).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let table = table.clone();
                std::thread::spawn(move || {
                    let mut writer = table.writer().unwrap();
                    loop {
                        if let Err(error) = writer.append(&rows::batch(thread..thread + 40)) {
                            return error;
                        }
                    }
                })
            })
            .collect();
        let mut following = table.scan().follow(true).build().unwrap();
        for _ in 0..10 {
            match following.next_within(Some(rows::PATIENCE)).unwrap() {
                Next::Batch(found) => assert!(found.batch.num_rows() > 0),
                other => panic!("{other:?}"),
            }
        }
        store.drop_table("t").unwrap();
        kept.writer().unwrap().append(&rows::batch(round * 10..round * 10 + 10)).unwrap();
        for writer in writers {
            let error = writer.join().unwrap();
            assert!(matches!(error.kind(), Kind::NotFound | Kind::Unavailable), "{error:?}");
        }
    }
    rows::assert_range(&rows::numbers(kept.scan().build().unwrap()), 0..50);
    drop(kept);
    store.close().unwrap();
    let store = scratch::open(dir.path());
    rows::assert_range(&rows::numbers(store.table("kept").unwrap().scan().build().unwrap()), 0..50);
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}
