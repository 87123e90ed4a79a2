//! Rows that expire: hidden at once, dropped later, and no older version of them ever comes back.

use std::time::Duration;

use super::*;
use crate::io::Driver;
use crate::store::Split;

/// How long rows are kept.
const KEEP_S: i64 = 100;

fn expiring(buckets: u32) -> CreateTable {
    create(buckets).option("record-level.time-field", "value").option("record-level.expire-time", &format!("{KEEP_S}s"))
}

fn now_s(sim: &Sim) -> i64 {
    sim.clock().wall_ms() / 1_000
}

/// What has not expired.
fn living(model: &BTreeMap<u8, i64>, now_s: i64) -> BTreeMap<u8, i64> {
    model.iter().filter(|(_, time)| **time >= now_s - KEEP_S).map(|(key, time)| (*key, *time)).collect()
}

fn rows_in_runs(table: &Table) -> u64 {
    let entry = table.store.entry(table.id, &table.name).unwrap();
    let levels = table.store.bucket(&entry, 0, 0).unwrap().tree().unwrap().levels();
    levels.runs().iter().map(|run| run.meta().rows).sum()
}

#[derive(Clone, Debug)]
enum Act {
    /// Times are seconds from now on; none expires within some seconds, for time goes on a little while the store works.
    Upsert(Vec<(u8, i64)>),
    Delete(Vec<u8>),
    Flush,
    Compact(bool),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => proptest::collection::vec((0_u8..60, (-15_i64..15).prop_map(|tens| tens * 10 + 5)), 1..60).prop_map(Act::Upsert),
        1 => proptest::collection::vec(0_u8..60, 1..20).prop_map(Act::Delete),
        3 => Just(Act::Flush),
        2 => any::<bool>().prop_map(Act::Compact),
        3 => (1_u64..12).prop_map(|tens| Act::Wait(tens * 10)),
    ];
    proptest::collection::vec(act, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_has_expired_is_never_seen_again(acts in acts(), buckets in 1_u32..3) {
        let sim = Sim::new(1, Faults::default());
        let mut store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let table = store.create_table("t", expiring(buckets)).unwrap();
        let mut model = BTreeMap::new();
        for act in acts {
            let step = match act {
                Act::Upsert(rows) => Step::Upsert(rows.into_iter().map(|(key, from_now)| (key, now_s(&sim) + from_now)).collect()),
                Act::Delete(keys) => Step::Delete(keys),
                Act::Flush => Step::Flush,
                Act::Compact(full) => Step::Compact(full),
                Act::Wait(seconds) => {
                    sim.clock().advance(Duration::from_secs(seconds));
                    Step::Pump
                }
            };
            take(&sim, &mut store, &mut model, &step);
            check(&table, &living(&model, now_s(&sim)));
        }
        let follower = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap();
        check(&follower.table("t").unwrap(), &living(&model, now_s(&sim)));
    }
}

#[test]
fn an_expired_row_is_hidden_from_all_reads_then_dropped() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", expiring(1)).unwrap();
    let now = now_s(&sim);
    let mut writer = table.writer().unwrap();
    writer.upsert(&rows(&[(1, now + 1_000), (2, now + 1_000), (3, now)])).unwrap();
    store.flush("t").unwrap();
    // A newer version that is too old hides the one before it.
    writer.upsert(&rows(&[(1, now - KEEP_S - 1)])).unwrap();
    store.flush("t").unwrap();
    assert_eq!(scanned(&table), BTreeMap::from([(2, now + 1_000), (3, now)]));
    let splits = table.scan().splits(2).unwrap();
    sim.clock().advance(Duration::from_secs(KEEP_S as u64 + 1));
    assert_eq!(scanned(&table), BTreeMap::from([(2, now + 1_000)]));
    let keys = |scan: crate::store::ScanBuilder| -> Vec<i64> {
        let batches = scan.columns(&["key"]).build().unwrap().map(|found| found.unwrap().batch);
        batches.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    };
    assert_eq!(keys(table.scan()), [2]);
    assert_eq!(keys(table.scan().limit(1)), [2]);
    assert_eq!(keys(table.scan().filter("key >= 3")), [0_i64; 0]);
    let found = table.lookup_prefix(&rows(&[(3, 0), (2, 0)]).project(&[0]).unwrap()).unwrap();
    assert_eq!((found.counts, found.rows.num_rows()), (vec![0, 1], 1));
    // A scan sees all of its splits at the moment at which they were made.
    let seen: Vec<i64> =
        splits.iter().flat_map(|split| keys(table.scan().split(&Split::from_json(&split.to_json().unwrap()).unwrap()))).collect();
    assert_eq!(seen, [2, 3]);
    store.compact("t", true).unwrap();
    assert_eq!(rows_in_runs(&table), 1);
    sim.clock().advance(Duration::from_secs(2_000));
    store.compact("t", true).unwrap();
    assert_eq!(rows_in_runs(&table), 0, "of one run alone too");
}

#[test]
fn the_time_may_be_changed_and_its_column_renamed() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", expiring(1)).unwrap();
    let old = now_s(&sim) - KEEP_S - 10;
    table.writer().unwrap().upsert(&rows(&[(1, old)])).unwrap();
    assert!(scanned(&table).is_empty());
    store.alter_table("t", &[Change::set_option("record-level.expire-time", "1d"), Change::rename_column("value=at").unwrap()]).unwrap();
    assert_eq!(scanned(&table), BTreeMap::from([(1, old)]));
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(scanned(&table), BTreeMap::from([(1, old)]), "kept as long as the table says now");
    assert_eq!(store.alter_table("t", &[Change::drop_column("at")]).unwrap_err().kind(), Kind::Invalid);
    let refused = [
        create(1).option("record-level.expire-time", "1d"),
        create(1).option("record-level.expire-time", "1d").option("record-level.time-field", "no"),
        create(1).option("record-level.expire-time", "1d").option("record-level.time-field", "name"),
        CreateTable::like(rows(&[]).schema()).option("record-level.expire-time", "1d").option("record-level.time-field", "value"),
    ];
    for (index, create) in refused.into_iter().enumerate() {
        assert_eq!(store.create_table(&format!("t{index}"), create).map(|_| ()).unwrap_err().kind(), Kind::Invalid, "case {index}");
    }
}

/// What a key's rows add up to, and the latest time among them; each row has 5.
fn adding(changelog: &str) -> CreateTable {
    let columns = ["key", "count", "value"].map(|name| (name, Arc::new(Int64Array::from(Vec::<i64>::new())) as ArrayRef, name != "key"));
    let create = CreateTable::like(RecordBatch::try_from_iter_with_nullable(columns).unwrap().schema()).primary_key(&["key"]);
    let create = create.option("merge-engine", "aggregation").option("changelog-producer", changelog);
    let create = create.option("fields.count.aggregate-function", "sum").option("fields.value.aggregate-function", "max");
    create.option("record-level.time-field", "value").option("record-level.expire-time", &format!("{KEEP_S}s"))
}

fn add(table: &Table, key: i64, time_s: i64) {
    let columns = [("key", key), ("count", 5), ("value", time_s)];
    let columns = columns.map(|(name, value)| (name, Arc::new(Int64Array::from(vec![value])) as ArrayRef, name != "key"));
    table.writer().unwrap().upsert(&RecordBatch::try_from_iter_with_nullable(columns).unwrap()).unwrap();
}

/// The count of each key.
fn counts(table: &Table) -> BTreeMap<i64, i64> {
    let mut all = BTreeMap::new();
    for found in table.scan().build().unwrap() {
        let batch = found.unwrap().batch;
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().iter().copied();
        all.extend(column(0).zip(column(1)));
    }
    all
}

#[test]
fn runs_that_have_expired_go_only_once_no_newer_row_goes_on_from_them() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", adding("input")).unwrap();
    let now = now_s(&sim);
    for key in 0..10 {
        add(&table, key, now);
        store.flush("t").unwrap();
    }
    sim.clock().advance(Duration::from_secs(KEEP_S as u64 + 10));
    assert!(counts(&table).is_empty());
    // In memory only: what expires is the row that all versions make, and this one makes it young again.
    add(&table, 3, now + KEEP_S);
    assert_eq!(counts(&table), BTreeMap::from([(3, 10)]));
    let entry = table.store.entry(table.id, &table.name).unwrap();
    table.store.bucket(&entry, 0, 0).unwrap().compact(true).unwrap();
    assert_eq!(counts(&table), BTreeMap::from([(3, 10)]), "a merge of the old runs alone changes nothing that is seen");
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!((counts(&table), rows_in_runs(&table)), (BTreeMap::from([(3, 10)]), 1), "all together they can go");
}

#[test]
fn what_has_expired_is_no_row_before_a_change() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", adding("lookup")).unwrap();
    let now = now_s(&sim);
    add(&table, 1, now);
    add(&table, 2, now + 10_000);
    store.flush("t").unwrap();
    sim.clock().advance(Duration::from_secs(KEEP_S as u64 + 10));
    add(&table, 1, now + KEEP_S);
    add(&table, 2, now + KEEP_S);
    assert_eq!(counts(&table), BTreeMap::from([(1, 5), (2, 10)]), "what has expired is not added to");
    let mut ops = Vec::new();
    for found in table.changes().build().unwrap() {
        let batch = found.unwrap().batch;
        let count = batch.column_by_name("count").unwrap().as_primitive::<Int64Type>().clone();
        let op = batch.column_by_name("_op").unwrap().as_string::<i32>().clone();
        ops.extend((0..batch.num_rows()).map(|row| (op.value(row).to_string(), count.value(row))));
    }
    let said: Vec<(&str, i64)> = ops.iter().map(|(op, count)| (op.as_str(), *count)).collect();
    assert_eq!(said, [("+I", 5), ("+I", 5), ("+I", 5), ("-U", 5), ("+U", 10)], "no image tells of what has expired");
}

/// A split as another process gets it.
fn as_text(split: &Split) -> Split {
    Split::from_json(&split.to_json().unwrap()).unwrap()
}

fn keys_of(table: &Table, split: &Split) -> crate::error::Result<Vec<i64>> {
    let batches = table.scan().columns(&["key"]).split(split).build()?.map(|found| found.unwrap().batch);
    Ok(batches.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}

#[test]
fn a_split_as_text_is_refused_once_rows_that_it_has_may_have_been_dropped() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", expiring(1)).unwrap();
    let now = now_s(&sim);
    for rows_of_run in [[(1, now), (2, now + 10_000)], [(3, now), (4, now + 10_000)]] {
        table.writer().unwrap().upsert(&rows(&rows_of_run)).unwrap();
        store.flush("t").unwrap();
    }
    let follower = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap();
    let followed = follower.table("t").unwrap();
    let split = table.scan().splits(1).unwrap().remove(0);
    sim.clock().advance(Duration::from_secs(KEEP_S as u64 + 10));
    for table in [&table, &followed] {
        assert_eq!(keys_of(table, &as_text(&split)).unwrap(), [1, 2, 3, 4], "they had not expired when it was made");
    }
    store.compact("t", true).unwrap();
    assert_eq!(keys_of(&table, &split).unwrap(), [1, 2, 3, 4], "this process holds them");
    let elsewhere = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap().table("t").unwrap();
    for table in [&table, &elsewhere] {
        let error = keys_of(table, &as_text(&split)).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert!(error.to_string().contains("make the splits again"), "{error}");
    }
    // Who followed before and has not heard of the new runs can read splits of them.
    let split = table.scan().splits(1).unwrap().remove(0);
    assert_eq!(keys_of(&followed, &as_text(&split)).unwrap(), [2, 4]);
    store.alter_table("t", &[Change::set_option("record-level.expire-time", "1s")]).unwrap();
    assert_eq!(keys_of(&table, &as_text(&split)).unwrap_err().kind(), Kind::Conflict, "rows expire in another way now");
}
