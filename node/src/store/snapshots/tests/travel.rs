//! Reading a snapshot when time has gone on: rows that expired since are there, prefixes find them, splits of it give them.

use std::time::Duration;

use super::*;
use crate::store::{ScanBuilder, Split};

/// How long rows are kept.
const KEEP_S: u64 = 4;

fn keys(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn key_column(keys: &[i64]) -> RecordBatch {
    rows(&keys.iter().map(|key| (*key, 0)).collect::<Vec<_>>()).project(&[0]).unwrap()
}

/// What all splits of a scan give, as another process reads them.
fn parts(table: &Table, splits: &[Split]) -> Result<Model> {
    let mut found = Vec::new();
    for split in splits {
        let line = split.to_json()?;
        found.extend(table.scan().split(&Split::from_json(&line)?).build()?);
    }
    collect(found.into_iter())
}

#[test]
fn rows_that_expired_since_are_in_a_snapshot() {
    let expiring = create(2).option("record-level.time-field", "value").option("record-level.expire-time", &format!("{KEEP_S}s"));
    let (sim, store, table) = new(expiring);
    let now_s = sim.clock().wall_ms() / 1_000;
    upsert(&table, &[(1, now_s), (2, now_s + 100), (3, now_s - 10)]);
    table.create_snapshot(Some("keep")).unwrap();
    let keep = || Version::Tag("keep".into());
    sim.advance(Duration::from_secs(KEEP_S + 2)).unwrap();
    store.compact("t", true).unwrap();
    // The third had expired when the snapshot was made.
    let then = Model::from([(1, now_s), (2, now_s + 100)]);
    for table in [table.clone(), outside(&sim)] {
        assert_eq!(collect(table.scan().build().unwrap()).unwrap(), Model::from([(2, now_s + 100)]));
        assert_eq!(at(&table, keep()).unwrap(), then);
        let found = table.lookup_at(&key_column(&[3, 2, 1]), &keep()).unwrap();
        assert_eq!((keys(&found.rows), found.places), (vec![2, 1], vec![None, Some(0), Some(1)]));
        let found = table.lookup_prefix_at(&key_column(&[1, 3]), &keep()).unwrap();
        assert_eq!((keys(&found.rows), found.counts), (vec![1], vec![1, 0]));
        let mut full = Model::new();
        for found in table.changes().from_snapshot(keep()).rows_first().build().unwrap() {
            apply(&mut full, &found.unwrap().batch);
        }
        assert_eq!(full, then);
        assert_eq!(parts(&table, &table.scan().at(keep()).splits(3).unwrap()).unwrap(), then);
    }
}

#[test]
fn a_prefix_is_looked_up_in_a_snapshot() {
    let (sim, store, table) = new(create(2));
    upsert(&table, &[(1, 10), (2, 20)]);
    table.create_snapshot(None).unwrap();
    upsert(&table, &[(1, 11), (3, 30)]);
    store.alter_table("t", &[Change::rename_column("value=amount").unwrap()]).unwrap();
    for table in [table, outside(&sim)] {
        let found = table.lookup_prefix_at(&key_column(&[3, 1]), &Version::Snapshot(1)).unwrap();
        assert_eq!((values(&found.rows).collect::<Vec<_>>(), found.counts), (vec![(1, 10)], vec![0, 1]));
        assert_eq!(found.rows.schema().field(1).name(), "value", "in the columns of then");
        let error = table.lookup_prefix_at(&key_column(&[1]), &Version::Snapshot(9)).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
    }
}

#[test]
fn splits_of_a_snapshot_stay_as_long_as_it_does() {
    let (sim, store, table) = new(create(3).option("snapshot.num-retained.max", "1"));
    let then: Model = (0..3000).map(|key| (key, key)).collect();
    upsert(&table, &then.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
    let made = table.create_snapshot(None).unwrap();
    upsert(&table, &[(1, 7), (5000, 5000)]);
    let outside = outside(&sim);
    let of_snapshot = |scan: ScanBuilder| scan.at(Version::AsOf(made.time_ms)).splits(5).unwrap();
    let (own, others) = (of_snapshot(table.scan()), of_snapshot(outside.scan()));
    assert!(own.len() > 2 && others.len() > 2, "buckets are cut");
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    let altered = [Change::rename_column("value=amount").unwrap(), Change::add_column("note utf8").unwrap()];
    store.alter_table("t", &altered).unwrap();
    for (table, splits) in [(&table, &others), (&outside, &own)] {
        assert_eq!(parts(table, splits).unwrap(), then, "read elsewhere, after all that");
    }
    let filtered = own.iter().map(|split| table.scan().split(split).columns(&["value"]).filter("value >= 2990").build().unwrap());
    assert_eq!(filtered.flatten().map(|found| found.unwrap().batch.num_rows()).sum::<usize>(), 10);
    // Another takes its place.
    table.create_snapshot(None).unwrap();
    let mut held = Vec::new();
    for (table, splits) in [(&table, &own), (&outside, &others)] {
        let error = parts(table, splits).unwrap_err();
        assert!(error.kind() == Kind::NotFound && error.to_string().contains("snapshot 1 has expired"), "{error}");
        held.extend(splits.iter().flat_map(|split| table.scan().split(split).build().unwrap()));
    }
    assert_eq!(
        held.iter().map(|found| found.as_ref().unwrap().batch.num_rows()).sum::<usize>(),
        6000,
        "who made them holds what they are of"
    );
}

#[test]
fn splits_of_a_snapshot_are_refused_when_rows_would_expire_otherwise() {
    let expiring = create(1).option("record-level.time-field", "value").option("record-level.expire-time", "100s");
    let (sim, store, table) = new(expiring);
    upsert(&table, &[(1, sim.clock().wall_ms() / 1_000)]);
    table.create_snapshot(None).unwrap();
    let splits = table.scan().at(Version::Snapshot(1)).splits(1).unwrap();
    store.alter_table("t", &[Change::set_option("record-level.expire-time", "1d")]).unwrap();
    assert_eq!(parts(&table, &splits).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn changes_and_logs_at_a_moment_are_not_cut() {
    let (_, store, table) = new(create(1));
    upsert(&table, &[(1, 1)]);
    table.create_snapshot(None).unwrap();
    let log = store.create_table("log", CreateTable::like(rows(&[]).schema())).unwrap();
    for scan in [table.changes().from_snapshot(Version::Snapshot(1)), table.changes().rows_first(), log.scan().at(Version::AsOf(1))] {
        let error = scan.splits(2).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("only a whole scan"), "{error}");
    }
}

#[test]
fn a_snapshot_is_without_a_partition_that_was_dropped_however_it_is_read() {
    let (sim, store, table) = new(create(2).partition_by("key"));
    upsert(&table, &[(1, 10), (2, 20)]);
    table.create_snapshot(None).unwrap();
    let splits = table.scan().at(Version::Snapshot(1)).splits(4).unwrap();
    let names = table.describe().unwrap().partitions;
    store.drop_partition("t", &names[1]).unwrap();
    let keys = key_column(&[2, 1]);
    for is_there_again in [false, true] {
        for table in [table.clone(), outside(&sim)] {
            let version = Version::Snapshot(1);
            assert_eq!(at(&table, version.clone()).unwrap(), Model::from([(1, 10)]));
            let found = table.lookup_at(&keys, &version).unwrap();
            assert_eq!((values(&found.rows).collect::<Vec<_>>(), found.places), (vec![(1, 10)], vec![None, Some(0)]));
            let found = table.lookup_prefix_at(&keys, &version).unwrap();
            assert_eq!((values(&found.rows).collect::<Vec<_>>(), found.counts), (vec![(1, 10)], vec![0, 1]));
            let error = parts(&table, &splits).unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
            let now = table.lookup_prefix(&keys).unwrap();
            let expected = if is_there_again { vec![(2, 21), (1, 11)] } else { vec![(1, 10)] };
            assert_eq!(values(&now.rows).collect::<Vec<_>>(), expected);
        }
        if !is_there_again {
            upsert(&table, &[(1, 11), (2, 21)]);
            store.flush("t").unwrap();
            store.compact("t", true).unwrap();
        }
    }
}

#[test]
fn splits_of_a_snapshot_are_refused_once_the_table_has_other_buckets() {
    let (sim, store, table) = new(create(2));
    let all: Model = (0..100).map(|key| (key, key)).collect();
    upsert(&table, &all.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
    table.create_snapshot(None).unwrap();
    let splits = table.scan().at(Version::Snapshot(1)).splits(3).unwrap();
    let of_now = table.scan().splits(3).unwrap();
    store.rescale_table("t", 5, &mut |_| {}).unwrap();
    for table in [store.table("t").unwrap(), outside(&sim)] {
        for splits in [&splits, &of_now] {
            let error = parts(&table, splits).unwrap_err();
            assert!(error.kind() == Kind::Invalid && error.to_string().contains("a split of another table"), "{error}");
        }
        assert_eq!(parts(&table, &table.scan().splits(3).unwrap()).unwrap(), all);
    }
    let made = store.table("t").unwrap().create_snapshot(None).unwrap();
    let table = outside(&sim);
    let of_snapshot = table.scan().at(Version::Snapshot(made.id)).splits(3).unwrap();
    assert_eq!(parts(&table, &of_snapshot).unwrap(), all);
    assert!(parts(&table, &splits).is_err(), "a snapshot of the same number is another one");
}
