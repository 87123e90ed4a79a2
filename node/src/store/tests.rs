//! The store on a real directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::bucket::ledger::LedgerState;
use crate::format::manifest;

fn rows(from: i64, count: i64) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(from..from + count);
    let names = StringArray::from_iter_values((from..from + count).map(|number| format!("name {number}")));
    RecordBatch::try_from_iter([("number", Arc::new(numbers) as _), ("name", Arc::new(names) as _)]).unwrap()
}

fn numbers(scanner: Scanner) -> Vec<i64> {
    scanner.flat_map(|batch| batch.unwrap().batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn rows_come_back_in_order_also_after_reopening() {
    let dir = tempfile::tempdir_in(".").unwrap();
    {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let table = store.create_table("t", CreateTable::like(rows(0, 1).schema())).unwrap();
        let mut writer = table.writer().unwrap();
        for batch in 0..50 {
            let acks = writer.append(&rows(batch * 10, 10)).unwrap();
            assert_eq!(acks[0].first_offset, batch as u64 * 10);
        }
        for batch in 50..100 {
            writer.send(&rows(batch * 10, 10)).unwrap();
        }
        assert_eq!(writer.flush().unwrap().len(), 50);
        assert_eq!(numbers(table.scan().build().unwrap()), (0..1000).collect::<Vec<_>>());
        store.close().unwrap();
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let table = store.table("t").unwrap();
    assert_eq!(numbers(table.scan().build().unwrap()), (0..1000).collect::<Vec<_>>());
    assert_eq!(numbers(table.scan().start(Start::Offset(995)).build().unwrap()), (995..1000).collect::<Vec<_>>());
    table.writer().unwrap().append(&rows(1000, 5)).unwrap();
    assert_eq!(numbers(table.scan().columns(&["number"]).limit(1003).build().unwrap()).len(), 1003);
}

#[test]
fn many_writers_share_the_device_and_a_follower_sees_all() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(rows(0, 1).schema())).unwrap();
    let other = Store::open_read_only(dir.path(), Options::default()).unwrap();
    let mut own = table.scan().follow(true).build().unwrap();
    let mut followed = other.table("t").unwrap().scan().follow(true).build().unwrap();
    let writers: Vec<_> = (0..8)
        .map(|thread| {
            let table = table.clone();
            std::thread::spawn(move || {
                let mut writer = table.writer().unwrap();
                for batch in 0..200 {
                    writer.append(&rows(thread * 100_000 + batch * 3, 3)).unwrap();
                }
            })
        })
        .collect();
    for scanner in [&mut own, &mut followed] {
        let mut seen = Vec::new();
        while seen.len() < 8 * 600 {
            match scanner.next_within(Some(Duration::from_secs(20))).unwrap() {
                Next::Batch(batch) => seen.extend_from_slice(batch.batch.column(0).as_primitive::<Int64Type>().values()),
                other => panic!("{other:?} after {} rows", seen.len()),
            }
        }
        seen.sort();
        let expected: Vec<i64> = (0..8).flat_map(|thread| thread * 100_000..thread * 100_000 + 600).collect();
        assert_eq!(seen, expected);
    }
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn segments_are_sealed_and_dropped_one_after_the_other_whoever_asks() {
    const ROWS: u64 = 40_000;
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let create = CreateTable::like(rows(0, 1).schema()).option("segment.bytes", "1MiB").option("retention.bytes", "2MiB");
    let table = store.create_table("t", create).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    store.expire("t").unwrap();
                }
            });
        }
        let mut writer = table.writer().unwrap();
        // Each fills a segment.
        let batch = rows(0, ROWS as i64);
        let appended = (0..80).try_for_each(|_| writer.append(&batch).map(drop));
        is_done.store(true, Ordering::Relaxed);
        appended.unwrap();
    });
    // The last of it; else the background drops rows while they are read.
    store.expire("t").unwrap();
    let failures = store.take_background_failures();
    assert!(failures.is_empty(), "{failures:?}");
    let kept: Vec<_> = table.scan().build().unwrap().map(|batch| batch.unwrap()).collect();
    assert!(kept.len() < 20 && kept.last().unwrap().next_offset == 80 * ROWS, "{} batches", kept.len());
    assert!(kept.windows(2).all(|pair| pair[0].next_offset == pair[1].first_offset));
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let _store = Store::open(dir.path(), Options::default()).unwrap();
    let error = Store::open(dir.path(), Options::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), crate::Kind::Conflict, "{error}");
}

#[test]
fn a_filter_skips_batches_by_their_statistics_and_stays_exact() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let create = CreateTable::like(rows(0, 1).schema()).option("statistics.columns", "*");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for batch in 0..40 {
        writer.send(&rows(batch * 10_000, 10_000)).unwrap();
    }
    writer.flush().unwrap();
    let scan = |condition: &str| numbers(table.scan().columns(&["number"]).filter(condition).build().unwrap());
    assert_eq!(scan("number >= 123456 and number < 123460"), [123456, 123457, 123458, 123459]);
    assert_eq!(scan("name = 'name 399999'"), [399_999]);
    assert!(scan("number < 0").is_empty());
}

#[test]
fn the_directory_of_a_sealed_segment_leaves_memory() {
    let sim = crate::io::sim::Sim::new(1, crate::io::sim::Faults::default());
    let store = Store::open_with(sim, "/store", Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(rows(0, 1).schema()).option("segment.bytes", "1MiB")).unwrap();
    let mut writer = table.writer().unwrap();
    (0..2).for_each(|_| drop(writer.append(&rows(0, 40_000)).unwrap()));
    let entry = store.0.entry(table.id, &table.name).unwrap();
    let first = store.0.bucket(&entry, 0, 0).unwrap().view().segments()[0].clone();
    assert!(first.sealed().is_some() && !first.directory.lock().is_empty());
    store.pump().unwrap();
    assert!(first.directory.lock().is_empty());
    assert_eq!(numbers(table.scan().build().unwrap()).len(), 80_000);
}

#[test]
fn a_scan_may_wait_for_as_long_as_there_is() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(rows(0, 1).schema())).unwrap();
    table.writer().unwrap().append(&rows(0, 5)).unwrap();
    let mut scanner = table.scan().follow(true).build().unwrap();
    assert!(matches!(scanner.next_within(Some(Duration::MAX)).unwrap(), Next::Batch(_)));
}

/// Adds an edit to the catalog, made from the one that created its first table.
#[expect(clippy::disallowed_methods, reason = "a newer program wrote it, outside of any simulation")]
fn add_to_catalog(dir: &Path, change: impl Fn(serde_json::Value) -> serde_json::Value) {
    let path = dir.join(catalog::FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    let folded = manifest::fold::<serde_json::Value>(catalog::Catalog::KIND, &bytes).unwrap();
    let created = folded.edits.into_iter().find_map(|mut edit| Some(edit.get_mut("table_created")?.take())).unwrap();
    bytes.truncate(folded.valid_length);
    bytes.extend(manifest::record(catalog::Catalog::KIND, &[change(created)]).unwrap());
    std::fs::write(path, bytes).unwrap();
}

fn store_with_rows(dir: &Path) {
    let store = Store::open(dir, Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(rows(0, 1).schema())).unwrap();
    table.writer().unwrap().append(&rows(0, 5)).unwrap();
    store.close().unwrap();
}

#[test]
fn a_table_with_an_option_of_a_newer_program_is_read_and_not_written() {
    let dir = tempfile::tempdir_in(".").unwrap();
    store_with_rows(dir.path());
    add_to_catalog(dir.path(), |mut created| {
        created["spec"]["options"] = serde_json::json!({ "quantum.mode": "on", "retention.ms": "7d" });
        serde_json::json!({ "table_altered": { "spec": created["spec"] } })
    });
    // The second time the option comes through a catalog that this program has written to.
    for _ in 0..2 {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let table = store.table("t").unwrap();
        assert_eq!(numbers(table.scan().build().unwrap()), [0, 1, 2, 3, 4]);
        let spec = table.store.entry(table.id, &table.name).unwrap().spec.clone();
        assert_eq!((spec.options.retention_ms.is_some(), open::segment_policy(&spec).retention_ms), (true, None), "nothing is dropped");
        let altered = store.alter_table("t", &[Change::set_option("retention.ms", "8d")]);
        for error in [table.writer().map(drop).unwrap_err(), altered.unwrap_err()] {
            assert_eq!(error.kind(), crate::Kind::Unavailable, "{error}");
            assert!(error.to_string().contains("newer program") && error.to_string().contains("quantum.mode"), "{error}");
        }
        store.create_table(&format!("other{}", store.tables().unwrap().len()), CreateTable::like(rows(0, 1).schema())).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn what_a_newer_program_says_in_an_edit_is_refused_not_dropped() {
    let dir = tempfile::tempdir_in(".").unwrap();
    store_with_rows(dir.path());
    add_to_catalog(dir.path(), |created| serde_json::json!({ "table_altered": { "spec": created["spec"], "quantum": 1 } }));
    for opened in [Store::open(dir.path(), Options::default()), Store::open_read_only(dir.path(), Options::default())] {
        let error = opened.map(drop).unwrap_err();
        assert!(error.kind() == crate::Kind::Unavailable && error.to_string().contains("newer program"), "{error}");
    }
    let catalog = [
        r#"{"opened":{"epoch":1,"quantum":1}}"#,
        r#"{"table_dropped":{"table_id":1,"quantum":1}}"#,
        r#"{"folded":{"epoch":1,"next_table_id":1,"tables":{},"quantum":1}}"#,
    ];
    let bucket = [
        r#"{"prepared":{"segment_id":1,"bytes":1,"quantum":1}}"#,
        r#"{"trimmed":{"start_offset":1,"segment_ids":[],"quantum":1}}"#,
        r#"{"folded":{"start_offset":0,"sealed":[],"open":{},"quantum":1}}"#,
    ];
    let refused = |error: serde_json::Error| assert!(error.to_string().contains("unknown field `quantum`"), "{error}");
    for edit in catalog {
        refused(serde_json::from_str::<catalog::Edit>(edit).map(drop).unwrap_err());
    }
    for edit in bucket {
        refused(serde_json::from_str::<crate::bucket::manifest::Edit>(edit).map(drop).unwrap_err());
    }
}
