//! Tables with a primary key, held against a map: upserts, deletes, flushes, compactions and reopenings in any order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use crate::error::Kind;
use crate::format::{BatchMeta, Compression, Encoder, Layout};
use crate::io::BLOCK_BYTES;
use crate::io::sim::{Faults, Sim};
use crate::log::writer::{HEAD_ROOM, Record};
use crate::store::{Change, ChangeType, CreateTable, Options, Problem, Start, Store, Table};

mod altering;
mod columns;
mod engines;
mod expiry;
mod held;
mod late;
mod memory;
mod moved;
mod outcomes;
mod parts;
mod retracted;
mod totals;

const DIR: &str = "/store";

/// A small store: memtables are flushed every few batches.
fn options() -> Options {
    Options { memtable_bytes_max: 256 << 10, run_bytes_max: 16 << 10, ..Options::default() }
}

fn rows(rows: &[(u8, i64)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| i64::from(*key))));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| format!("customer-{key}"))));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, value)| *value)));
    RecordBatch::try_from_iter([("key", keys), ("name", names), ("value", values)]).unwrap()
}

fn create(buckets: u32) -> CreateTable {
    CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).buckets(buckets)
}

/// All rows, which are checked to be in key order and to belong together.
fn scanned(table: &Table) -> BTreeMap<u8, i64> {
    let mut all = BTreeMap::new();
    let mut last = None;
    for found in table.scan().build().unwrap() {
        let found = found.unwrap();
        let (keys, names, values) = (found.batch.column(0), found.batch.column(1), found.batch.column(2));
        for row in 0..found.batch.num_rows() {
            let key = keys.as_primitive::<Int64Type>().value(row);
            assert!(last < Some((found.bucket, key)), "keys of a bucket ascend");
            last = Some((found.bucket, key));
            assert_eq!(names.as_string::<i32>().value(row), format!("customer-{key}"));
            assert!(all.insert(key as u8, values.as_primitive::<Int64Type>().value(row)).is_none(), "key {key} once");
        }
    }
    all
}

fn check(table: &Table, model: &BTreeMap<u8, i64>) {
    assert_eq!(&scanned(table), model);
    let keys: Vec<u8> = (0..=255).rev().collect();
    let batch = rows(&keys.iter().map(|key| (*key, 0)).collect::<Vec<_>>());
    let found = table.lookup(&batch).unwrap();
    for (key, place) in keys.iter().zip(&found.places) {
        let value = place.map(|place| found.rows.column(2).as_primitive::<Int64Type>().value(place));
        assert_eq!(value, model.get(key).copied(), "key {key}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<(u8, i64)>),
    Delete(Vec<u8>),
    Mixed(Vec<(u8, Option<i64>)>),
    Flush,
    Compact(bool),
    Reopen,
    Pump,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = || (any::<u8>(), any::<i64>());
    let step = prop_oneof![
        6 => proptest::collection::vec(row(), 1..200).prop_map(Step::Upsert),
        2 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(Step::Delete),
        2 => proptest::collection::vec((any::<u8>(), any::<Option<i64>>()), 1..60).prop_map(Step::Mixed),
        2 => Just(Step::Flush),
        1 => any::<bool>().prop_map(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Pump),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Does a step to the store and to the model.
fn take(sim: &Arc<Sim>, store: &mut Store, model: &mut BTreeMap<u8, i64>, step: &Step) {
    let mut writer = store.table("t").unwrap().writer().unwrap();
    match step {
        Step::Upsert(batch) => {
            writer.upsert(&rows(batch)).unwrap();
            model.extend(batch.iter().copied());
        }
        Step::Delete(keys) => {
            writer.delete(&rows(&keys.iter().map(|key| (*key, 0)).collect::<Vec<_>>()).project(&[0]).unwrap()).unwrap();
            keys.iter().for_each(|key| _ = model.remove(key));
        }
        Step::Mixed(changes) => {
            let batch: Vec<_> = changes.iter().map(|(key, value)| (*key, value.unwrap_or(7))).collect();
            let kind = |value: &Option<i64>| if value.is_some() { ChangeType::Insert } else { ChangeType::Delete };
            writer.apply(&rows(&batch), &changes.iter().map(|(_, value)| kind(value)).collect::<Vec<_>>()).unwrap();
            for (key, value) in changes {
                match value {
                    Some(value) => _ = model.insert(*key, *value),
                    None => _ = model.remove(key),
                }
            }
        }
        Step::Flush => store.flush("t").unwrap(),
        Step::Compact(full) => store.compact("t", *full).unwrap(),
        Step::Pump => store.pump().unwrap(),
        Step::Reopen => {
            drop(writer);
            let closed = std::mem::replace(store, Store::open_read_only_with(sim.clone(), DIR, options()).unwrap());
            closed.close().unwrap();
            *store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_a_map(steps in steps(), buckets in 1_u32..4) {
        let sim = Sim::new(1, Faults::default());
        let mut store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        store.create_table("t", create(buckets)).unwrap();
        let mut model = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            take(&sim, &mut store, &mut model, step);
            if index % 4 == 3 {
                check(&store.table("t").unwrap(), &model);
            }
        }
        check(&store.table("t").unwrap(), &model);
        let follower = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap();
        check(&follower.table("t").unwrap(), &model);
        store.close().unwrap();
        check(&Store::open_with(sim, DIR, options()).unwrap().table("t").unwrap(), &model);
    }
}

fn real() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    (dir, store)
}

#[test]
fn many_upserts_are_flushed_and_merged_in_the_background_while_a_follower_reads() {
    let (dir, store) = real();
    let table = store.create_table("t", create(2)).unwrap();
    let outside = Store::open_read_only(dir.path(), options()).unwrap().table("t").unwrap();
    let mut writer = table.writer().unwrap();
    let mut model = BTreeMap::new();
    for round in 0..400_i64 {
        let batch: Vec<(u8, i64)> = (0..64).map(|key| ((key * 3 + round % 5) as u8, round)).collect();
        writer.send_changes(&rows(&batch), &[ChangeType::UpdateAfter; 64]).unwrap();
        model.extend(batch);
        if round % 100 == 99 {
            writer.flush().unwrap();
            check(&outside, &model);
        }
    }
    writer.flush().unwrap();
    check(&table, &model);
    store.compact("t", true).unwrap();
    check(&outside, &model);
    let runs = |dir: &Path| {
        std::fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension() == Some("run".as_ref())).count()
    };
    let of_bucket = |bucket| runs(&dir.path().join(format!("tables/{}/p0/b{bucket}", table.id)));
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!((of_bucket(0), of_bucket(1)), (1, 1), "what was replaced is gone");
    assert!(store.take_background_failures().is_empty());
}

#[test]
fn changes_continue_a_scan() {
    let (_dir, store) = real();
    let table = store.create_table("t", create(1)).unwrap();
    let mut writer = table.writer().unwrap();
    writer.upsert(&rows(&[(1, 10), (2, 20)])).unwrap();
    let scan = table.scan().build().unwrap();
    let end = scan.positions().into_values().next().unwrap();
    writer.upsert(&rows(&[(1, 11)])).unwrap();
    writer.delete(&rows(&[(2, 0)])).unwrap();
    assert_eq!(scan.map(|found| found.unwrap().batch.num_rows()).sum::<usize>(), 2, "as it was when the scan began");
    let mut changes = Vec::new();
    for found in table.changes().start(Start::Offset(end)).columns(&["key"]).build().unwrap() {
        let batch = found.unwrap().batch;
        let (keys, ops) = (batch.column(0).as_primitive::<Int64Type>().clone(), batch.column(1).as_string::<i32>().clone());
        changes.extend((0..batch.num_rows()).map(|row| (keys.value(row), ops.value(row).to_string())));
    }
    assert_eq!(changes, [(1, "+U".to_string()), (2, "-D".to_string())]);
}

#[test]
fn columns_filters_and_limits_are_those_of_any_scan() {
    let (_dir, store) = real();
    let table = store.create_table("t", create(1)).unwrap();
    table.writer().unwrap().upsert(&rows(&[(1, 10), (2, 20), (3, 30)])).unwrap();
    let scan = table.scan().columns(&["value"]).filter("key >= 2").limit(1).build().unwrap();
    assert_eq!(scan.schema().fields().len(), 1);
    let found: Vec<i64> = scan.flat_map(|found| found.unwrap().batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(found, [20]);
}

#[test]
fn what_is_no_change_is_refused_and_nothing_is_written() {
    let (_dir, store) = real();
    let table = store.create_table("t", create(1)).unwrap();
    let log = store.create_table("log", CreateTable::like(rows(&[]).schema())).unwrap();
    let mut writer = table.writer().unwrap();
    let refused = [
        writer.append(&rows(&[(1, 1)])),
        writer.apply(&rows(&[(1, 1)]), &[ChangeType::Append]),
        writer.apply(&rows(&[(1, 1)]), &[ChangeType::UpdateBefore]),
        writer.apply(&rows(&[(1, 1), (2, 1)]), &[ChangeType::UpdateBefore, ChangeType::UpdateAfter]),
        writer.apply(&rows(&[(1, 1)]), &[]),
        writer.upsert(&rows(&[(1, 1)]).project(&[1, 2]).unwrap()),
        writer.delete(&rows(&[(1, 1)]).project(&[1]).unwrap()),
        log.writer().unwrap().upsert(&rows(&[(1, 1)])),
        log.writer().unwrap().delete(&rows(&[(1, 1)])),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), Kind::Invalid, "case {index}");
    }
    assert!(scanned(&table).is_empty());
    assert_eq!(table.changes().build().unwrap().count(), 0);
    let keyless = [store.flush("log").unwrap_err(), log.lookup(&rows(&[(1, 1)])).unwrap_err()];
    assert!(keyless.iter().all(|error| error.kind() == Kind::Invalid));
    let null_key: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    let keys = RecordBatch::try_from_iter([("key", null_key)]).unwrap();
    assert_eq!(table.lookup(&keys).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(table.writer().unwrap().delete(&keys).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn tables_whose_keys_cannot_work_are_refused() {
    let (_dir, store) = real();
    let refused = [
        create(1).bucket_key(&["name"]),
        create(1).partition_by("name"),
        create(1).option("merge-engine", "dedup"),
        create(1).option("merge-engine", "aggregation").option("fields.name.aggregate-function", "sum"),
        create(1).option("no.such.option", "1"),
        CreateTable::like(rows(&[]).schema()).primary_key(&["no_column"]),
    ];
    for (index, create) in refused.into_iter().enumerate() {
        assert_eq!(store.create_table(&format!("t{index}"), create).map(|_| ()).unwrap_err().kind(), Kind::Invalid, "case {index}");
    }
}

#[test]
fn rows_outlive_changes_of_their_table_in_memory_and_in_runs() {
    let (dir, store) = real();
    let table = store.create_table("t", create(1)).unwrap();
    let outside = Store::open_read_only(dir.path(), options()).unwrap().table("t").unwrap();
    let mut writer = table.writer().unwrap();
    writer.upsert(&rows(&[(1, 10), (2, 20)])).unwrap();
    store.flush("t").unwrap();
    writer.upsert(&rows(&[(2, 21), (3, 30)])).unwrap();
    assert_eq!(scanned(&outside).len(), 3);
    store.alter_table("t", &[Change::add_column("note utf8 first").unwrap(), Change::rename_column("value=worth").unwrap()]).unwrap();
    let worths = |table: &Table| -> Vec<(Option<String>, i64)> {
        let found: Vec<_> = table.scan().columns(&["note", "worth"]).build().unwrap().map(|found| found.unwrap().batch).collect();
        let row = |batch: &RecordBatch, row: usize| {
            let note = batch.column(0).as_string::<i32>();
            (note.is_valid(row).then(|| note.value(row).to_string()), batch.column(1).as_primitive::<Int64Type>().value(row))
        };
        found.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect()
    };
    for table in [&table, &outside] {
        assert_eq!(worths(table), [(None, 10), (None, 21), (None, 30)]);
    }
    let mut noted = rows(&[(1, 11)]).columns().to_vec();
    noted.push(Arc::new(StringArray::from(vec!["new"])));
    let noted = RecordBatch::try_from_iter(["key", "name", "worth", "note"].into_iter().zip(noted)).unwrap();
    writer.upsert(&noted).unwrap();
    for step in 0..3 {
        for table in [&table, &outside] {
            assert_eq!(worths(table), [(Some("new".to_string()), 11), (None, 21), (None, 30)], "step {step}");
        }
        if step == 0 { store.flush("t").unwrap() } else { store.compact("t", true).unwrap() }
    }
    for change in [Change::drop_column("key"), Change::widen_column("key decimal128(38,0)").unwrap()] {
        assert_eq!(store.alter_table("t", &[change]).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "damages a file behind the store's back")]
fn a_damaged_block_is_found_and_named_and_the_others_are_read() {
    let (dir, store) = real();
    let table = store.create_table("t", create(1)).unwrap();
    for round in 0..20 {
        let all: Vec<(u8, i64)> = (0..=255).map(|key| (key, round)).collect();
        table.writer().unwrap().upsert(&rows(&all)).unwrap();
    }
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    assert_eq!(store.verify(None, &mut |_| {}).unwrap().runs, 1);
    let bucket = dir.path().join(format!("tables/{}/p0/b0", table.id));
    store.close().unwrap();
    let is_run = |path: &std::path::PathBuf| path.extension() == Some("run".as_ref());
    let run = std::fs::read_dir(bucket).unwrap().map(|entry| entry.unwrap().path()).find(is_run).unwrap();
    let mut bytes = std::fs::read(&run).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&run, bytes).unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let problems = store.verify(None, &mut |_| {}).unwrap().problems;
    let is_named = |problem: &Problem| problem.file.as_ref().is_some_and(|file| file.ends_with(".run")) && problem.what.contains("block 0");
    assert!(problems.len() == 1 && is_named(&problems[0]), "{problems:?}");
    let error = store.table("t").unwrap().lookup(&rows(&[(0, 0)])).map(|_| ()).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains(".run"), "{error}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "damages a file behind the store's back")]
fn a_damaged_run_is_not_merged_again_and_again_and_newer_ones_are() {
    let (dir, store) = real();
    let table = store.create_table("t", create(1).option("write-only", "true")).unwrap();
    let write = |store: &Store, table: &Table, round: i64| {
        let all: Vec<(u8, i64)> = (0..=255).map(|key| (key, round)).collect();
        table.writer().unwrap().upsert(&rows(&all)).unwrap();
        store.flush("t").unwrap();
    };
    (0..9).for_each(|round| write(&store, &table, round));
    store.close().unwrap();
    let bucket = dir.path().join(format!("tables/{}/p0/b0", table.id));
    let mut runs: Vec<_> = std::fs::read_dir(bucket)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("run".as_ref()))
        .collect();
    runs.sort();
    let mut bytes = std::fs::read(&runs[4]).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&runs[4], bytes).unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let table = store.table("t").unwrap();
    let count = || store.stats(Some("t")).unwrap()[0].tree.as_ref().map(|tree| (tree.runs, tree.compaction_due));
    assert_eq!(count(), Some((9, true)));
    assert_eq!(store.compact("t", false).unwrap_err().kind(), Kind::Corrupt);
    store.compact("t", false).unwrap();
    assert_eq!(count(), Some((6, false)), "what is damaged stays as it is, with what is older");
    (9..13).for_each(|round| write(&store, &table, round));
    store.compact("t", false).unwrap();
    assert_eq!(count(), Some((6, false)), "what is newer was merged");
    assert_eq!(store.compact("t", true).unwrap_err().kind(), Kind::Corrupt, "who asks for it hears why");
}

#[test]
fn an_aggregation_adds_up_over_flushes() {
    let (_dir, store) = real();
    let schema = rows(&[]).schema();
    let nullable: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let like = CreateTable::like(Arc::new(arrow::datatypes::Schema::new(nullable))).primary_key(&["key"]);
    let create = like.option("merge-engine", "aggregation").option("fields.value.aggregate-function", "sum");
    let table = store.create_table("t", create).unwrap();
    for round in 1..=5 {
        table.writer().unwrap().upsert(&rows(&[(1, round), (2, 1)])).unwrap();
        if round % 2 == 0 {
            store.flush("t").unwrap();
        }
    }
    assert_eq!(scanned(&table), BTreeMap::from([(1, 15), (2, 5)]));
    let dropped = store.alter_table("t", &[Change::drop_column("value")]).unwrap_err();
    assert_eq!(dropped.kind(), Kind::Invalid, "a merge option names it");
    store.alter_table("t", &[Change::rename_column("value=worth").unwrap()]).unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(scanned(&table), BTreeMap::from([(1, 15), (2, 5)]));
}

/// A row of the log that says it has this version of the schema.
fn record(table: &Table, row: (u8, i64), version: i16) -> Record {
    let batch = rows(&[row]);
    let encoder = Encoder::new(&batch.schema(), Layout::Native, Compression::None).unwrap();
    let meta = BatchMeta::append(version);
    let pool = &table.store.resources.pool;
    let mut buffer = pool.get((HEAD_ROOM + encoder.size_bound(&batch, &meta)).next_multiple_of(BLOCK_BYTES));
    let batch_bytes = encoder.encode(&batch, &meta, &mut buffer[HEAD_ROOM..]).unwrap();
    buffer.set_len((HEAD_ROOM + batch_bytes).next_multiple_of(BLOCK_BYTES));
    Record { buffer, batch_bytes, rows: 1, producer: None }
}

#[test]
fn rows_behind_one_that_cannot_be_indexed_are_never_counted_as_flushed() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let table = store.create_table("t", create(1)).unwrap();
    table.writer().unwrap().upsert(&rows(&[(1, 10)])).unwrap();
    let entry = table.store.entry(table.id, &table.name).unwrap();
    let bucket = table.store.bucket(&entry, 0, 0).unwrap();
    let resources = &table.store.resources;
    // Both are taken in before either is durable.
    let version = entry.spec.schema().version();
    let sent = [((8, 8), version + 1), ((9, 9), version)].map(|(row, version)| bucket.append(record(&table, row, version), false).unwrap());
    sent.iter().for_each(|sent| sent.wait(resources).unwrap());
    assert_eq!(table.writer().unwrap().upsert(&rows(&[(2, 20)])).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(table.lookup(&rows(&[(1, 0)])).unwrap_err().kind(), Kind::Corrupt);
    store.flush("t").unwrap();
    assert_eq!((bucket.state().flushed_to, bucket.view().end()), (1, 3), "what is not indexed stays in the log's part");
}

#[test]
fn runs_of_a_table_that_is_only_written_are_merged_when_somebody_asks() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let runs = |table: &str| store.verify(Some(table), &mut |_| ()).unwrap().runs;
    for (name, write_only) in [("merged", "false"), ("kept", "true")] {
        let table = store.create_table(name, create(1).option("write-only", write_only)).unwrap();
        let mut writer = table.writer().unwrap();
        let mut model = BTreeMap::new();
        // More than would slow a writer down.
        for turn in 0..30 {
            let row = (turn % 7, i64::from(turn));
            writer.upsert(&rows(&[row])).unwrap();
            model.extend([row]);
            store.flush(name).unwrap();
            store.pump().unwrap();
        }
        check(&table, &model);
        assert_eq!(runs(name) == 30, write_only == "true", "{name}: {} runs", runs(name));
        store.compact(name, false).unwrap();
        assert!(runs(name) < 8, "{name}: {} runs", runs(name));
        check(&table, &model);
        // The other way round from now on.
        let value = (write_only == "false").to_string();
        store.alter_table(name, &[Change::Option { name: "write-only".into(), value }]).unwrap();
        for turn in 0..30 {
            writer.upsert(&rows(&[(turn, 1)])).unwrap();
            store.flush(name).unwrap();
            store.pump().unwrap();
        }
        assert_eq!(runs(name) >= 30, write_only == "false", "{name}: {} runs", runs(name));
    }
}

#[test]
fn a_key_of_nothing_but_what_partitions_the_table_is_in_one_bucket() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let table = store.create_table("t", create(4).partition_by("key")).unwrap();
    let all = || -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        for found in table.scan().build().unwrap() {
            let batch = found.unwrap().batch;
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
            all.extend(column(0).into_iter().zip(column(2)));
        }
        all.sort_unstable();
        all
    };
    for round in 0..8 {
        table.writer().unwrap().upsert(&rows(&[(1, round), (2, round)])).unwrap();
        assert_eq!(all(), [(1, round), (2, round)]);
    }
    let found = table.lookup(&rows(&[(2, 0), (1, 0)])).unwrap();
    assert!(found.places.iter().all(Option::is_some));
    table.writer().unwrap().delete(&rows(&[(1, 0)]).project(&[0]).unwrap()).unwrap();
    assert_eq!(all(), [(2, 7)]);
}
