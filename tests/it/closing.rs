//! A store is closed while others still use it: nobody hangs, nobody writes behind the back of the next owner.

use std::time::Duration;

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Next, Store, Table};

use crate::{rows, scratch};

fn table(store: &Store) -> Table {
    store.create_table("t", CreateTable::like(rows::schema())).unwrap()
}

/// Appends until an error; returns the acknowledged numbers and the error.
fn append_until_closed(table: Table, thread: i64, send: bool) -> (Vec<i64>, aquifer_node::Error) {
    let mut writer = table.writer().unwrap();
    let mut acked = Vec::new();
    for batch in 0.. {
        let from = thread * 10_000_000 + batch * 5;
        let sent = match send {
            false => writer.append(&rows::batch(from..from + 5)).map(|_| ()),
            true => writer.send(&rows::batch(from..from + 5)).and_then(|()| writer.flush().map(|_| ())),
        };
        match sent {
            Ok(()) => acked.extend(from..from + 5),
            Err(error) => return (acked, error),
        }
    }
    unreachable!("the store is closed")
}

#[test]
fn while_writers_wait_and_scanners_follow() {
    for round in 0..5 {
        let dir = scratch::directory();
        let store = scratch::open(dir.path());
        let table = table(&store);
        let writers: Vec<_> = (0..6)
            .map(|thread| {
                let table = table.clone();
                std::thread::spawn(move || append_until_closed(table, thread, thread % 2 == 0))
            })
            .collect();
        let mut following = table.scan().follow(true).build().unwrap();
        for _ in 0..20 + round {
            rows::next(&mut following);
        }
        store.close().unwrap();
        let mut acked = Vec::new();
        for writer in writers {
            let (numbers, error) = writer.join().unwrap();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            acked.extend(numbers);
        }
        let again = scratch::open(dir.path());
        let mut found = rows::numbers(again.table("t").unwrap().scan().build().unwrap());
        found.sort();
        acked.retain(|number| found.binary_search(number).is_err());
        assert!(acked.is_empty(), "acknowledged and lost: {acked:?}");
    }
}

#[test]
fn an_old_writer_cannot_write_into_the_next_ones_log() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = table(&store);
    let mut old = table.writer().unwrap();
    old.append(&rows::batch(0..10)).unwrap();
    store.close().unwrap();
    let next = scratch::open(dir.path());
    next.table("t").unwrap().writer().unwrap().append(&rows::batch(10..20)).unwrap();
    let error = old.append(&rows::batch(100..110)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let fresh = table.writer().and_then(|mut writer| writer.append(&rows::batch(100..110))).unwrap_err();
    assert_eq!(fresh.kind(), Kind::Unavailable, "{fresh}");
    next.table("t").unwrap().writer().unwrap().append(&rows::batch(20..30)).unwrap();
    rows::assert_range(&rows::numbers(next.table("t").unwrap().scan().build().unwrap()), 0..30);
    drop(next);
    rows::assert_range(&rows::numbers(scratch::open(dir.path()).table("t").unwrap().scan().build().unwrap()), 0..30);
}

#[test]
fn a_closed_store_answers_so() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = table(&store);
    let kept = store.clone();
    store.close().unwrap();
    let refused = [
        kept.create_table("u", CreateTable::like(rows::schema())).map(|_| ()).unwrap_err(),
        kept.drop_table("t").unwrap_err(),
        table.writer().and_then(|mut writer| writer.append(&rows::batch(0..1))).map(|_| ()).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
}

#[test]
fn scanners_that_wait_end_with_their_store() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = table(&store);
    let reader = scratch::follow(dir.path());
    let waiting = [table, reader.table("t").unwrap()].map(|table| {
        let mut scanner = table.scan().follow(true).build().unwrap();
        std::thread::spawn(move || scanner.next_within(None).map(|_| ()).unwrap_err())
    });
    reader.close().unwrap();
    store.close().unwrap();
    for scanner in waiting {
        let error = scanner.join().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.to_string().contains("closed"), "{error}");
    }
}

#[test]
fn a_followers_scan_goes_on_when_the_writer_closes_and_the_next_opens() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = table(&store);
    table.writer().unwrap().append(&rows::batch(0..10)).unwrap();
    let reader = scratch::follow(dir.path());
    let mut scanner = reader.table("t").unwrap().scan().follow(true).build().unwrap();
    rows::check_offsets(&rows::next(&mut scanner));
    drop(table);
    store.close().unwrap();
    assert!(matches!(scanner.next_within(Some(Duration::from_millis(20))).unwrap(), Next::Waiting));
    for round in 1..4 {
        let store = scratch::open(dir.path());
        store.table("t").unwrap().writer().unwrap().append(&rows::batch(round * 10..round * 10 + 10)).unwrap();
        let found = rows::next(&mut scanner);
        assert_eq!(found.first_offset, round as u64 * 10);
        rows::check_offsets(&found);
    }
}
