//! The way in which rows of a key are merged is changed while rows are there: what was written before is merged as it was meant, what comes behind in the new
//! way, whoever reads or writes, and whatever was in runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_node::Kind;
use aquifer_node::store::{Change, ChangeType, CreateTable, Store, Table};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::{rows, scratch};

/// The columns beside the key.
type Row = [Option<i64>; 2];

type Rows = BTreeMap<i64, Row>;

/// A key and its columns.
type Upsert = (i64, Option<i64>, Option<i64>);

fn batch(changes: &[Upsert]) -> RecordBatch {
    let column = |pick: fn(&Upsert) -> Option<i64>| -> ArrayRef { Arc::new(changes.iter().map(pick).collect::<Int64Array>()) };
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.0)));
    RecordBatch::try_from_iter_with_nullable([
        ("key", keys, false),
        ("a", column(|change| change.1), true),
        ("b", column(|change| change.2), true),
    ])
    .unwrap()
}

fn seen(table: &Table) -> Rows {
    let found = rows::collect(table.scan().build().unwrap());
    let column = |index: usize| found.column(index).as_primitive::<Int64Type>();
    let value = |index: usize, row: usize| column(index).is_valid(row).then(|| column(index).value(row));
    let all: Rows = (0..found.num_rows()).map(|row| (column(0).value(row), [value(1, row), value(2, row)])).collect();
    let keys = found.project(&[0]).unwrap();
    assert_eq!(table.lookup(&keys).unwrap().rows, found, "a lookup finds what a scan shows");
    all
}

/// A way to merge, and what it makes of a row that is there and one that comes.
struct Engine {
    options: &'static [(&'static str, &'static str)],
    merge: fn(Option<Row>, Option<Row>) -> Option<Row>,
}

const OPTIONS: [&str; 5] = [
    "merge-engine",
    "ignore-delete",
    "aggregation.remove-record-on-delete",
    "partial-update.remove-record-on-delete",
    "fields.default-aggregate-function",
];

const ENGINES: [Engine; 4] = [
    Engine { options: &[], merge: |_, new| new },
    Engine { options: &[("merge-engine", "first-row"), ("ignore-delete", "true")], merge: |old, new| old.or(new) },
    Engine {
        options: &[("merge-engine", "partial-update"), ("partial-update.remove-record-on-delete", "true")],
        merge: |old, new| new.map(|new| [new[0].or(old.and_then(|old| old[0])), new[1].or(old.and_then(|old| old[1]))]),
    },
    Engine {
        options: &[
            ("merge-engine", "aggregation"),
            ("aggregation.remove-record-on-delete", "true"),
            ("fields.default-aggregate-function", "sum"),
        ],
        merge: |old, new| {
            let sum = |old: Option<i64>, new: Option<i64>| old.map_or(new, |old| Some(old + new.unwrap_or(0)));
            new.map(|new| [0, 1].map(|index| sum(old.and_then(|old| old[index]), new[index])))
        },
    },
];

fn changes_to(engine: &Engine) -> Vec<Change> {
    let reset = OPTIONS.iter().map(|name| Change::reset_option(name));
    reset.chain(engine.options.iter().map(|(name, value)| Change::set_option(name, value))).collect()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn each_row_is_merged_as_the_table_was_when_it_came() {
    let dir = scratch::directory();
    let mut store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let create = CreateTable::like(batch(&[]).schema()).primary_key(&["key"]).buckets(2);
    let mut table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let (mut numbers, mut model, mut engine) = (Numbers(7), Rows::new(), &ENGINES[0]);
    for step in 0..120 {
        match numbers.below(8) {
            0 => {
                engine = &ENGINES[numbers.below(4) as usize];
                store.alter_table("t", &changes_to(engine)).unwrap();
            }
            1 => store.flush("t").unwrap(),
            2 => store.compact("t", false).unwrap(),
            3 if step % 3 == 0 => {
                drop((writer, table));
                store.close().unwrap();
                store = scratch::open(dir.path());
                table = store.table("t").unwrap();
                writer = table.writer().unwrap();
            }
            _ => {
                let mut value = || (numbers.below(4) > 0).then(|| numbers.below(50) as i64);
                let drawn: Vec<(Option<i64>, Option<i64>)> = (0..12).map(|_| (value(), value())).collect();
                let changes: Vec<_> = drawn.into_iter().map(|(a, b)| (numbers.below(40) as i64, a, b)).collect();
                let kinds: Vec<ChangeType> =
                    changes.iter().map(|_| if numbers.below(5) == 0 { ChangeType::Delete } else { ChangeType::UpdateAfter }).collect();
                writer.apply(&batch(&changes), &kinds).unwrap();
                for ((key, a, b), kind) in changes.into_iter().zip(kinds) {
                    let new = (kind != ChangeType::Delete).then_some([a, b]);
                    match (engine.merge)(model.get(&key).copied(), new) {
                        Some(row) => _ = model.insert(key, row),
                        None => _ = model.remove(&key),
                    }
                }
            }
        }
        assert_eq!(seen(&table), model, "step {step}: the writer");
        assert_eq!(seen(&follower.table("t").unwrap()), model, "step {step}: a follower");
    }
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn writers_go_on_in_the_new_way_while_it_is_changed() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(batch(&[]).schema()).primary_key(&["key"])).unwrap();
    let writing: Vec<_> = (0..3)
        .map(|thread| {
            let table = table.clone();
            std::thread::spawn(move || {
                let mut writer = table.writer().unwrap();
                for round in 0..200 {
                    writer.upsert(&batch(&[(thread, Some(1), Some(round))])).unwrap();
                }
            })
        })
        .collect();
    for round in 0..10 {
        store.alter_table("t", &changes_to(&ENGINES[3 * (round % 2)])).unwrap();
    }
    writing.into_iter().for_each(|thread| thread.join().unwrap());
    store.alter_table("t", &changes_to(&ENGINES[3])).unwrap();
    let before = seen(&table);
    table.writer().unwrap().upsert(&batch(&[(0, Some(5), None), (1, Some(5), None)])).unwrap();
    let after = seen(&table);
    for key in 0..2 {
        assert_eq!(after[&key][0], before[&key][0].map(|count| count + 5), "it is added up");
    }
    assert_eq!(after[&2], before[&2]);
}

#[test]
fn options_follow_the_columns_that_they_name() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(batch(&[]).schema()).primary_key(&["key"]);
    let create = create.option("merge-engine", "aggregation").option("fields.a.aggregate-function", "sum");
    let table = store.create_table("t", create.option("fields.b.aggregate-function", "max")).unwrap();
    let mut writer = table.writer().unwrap();
    writer.upsert(&batch(&[(1, Some(2), Some(2))])).unwrap();
    let rename = |text: &str| Change::rename_column(text).unwrap();
    store.alter_table("t", &[rename("a=x"), rename("b=a"), rename("x=b")]).unwrap();
    let swapped = batch(&[(1, Some(3), Some(3))]);
    writer.upsert(&swapped).unwrap();
    assert_eq!(seen(&table)[&1], [Some(5), Some(3)], "the first column is summed, whatever it is called: it is `b` now");
    let named = store.alter_table("t", &[Change::drop_column("a")]).unwrap_err();
    assert_eq!(named.kind(), Kind::Invalid);
    assert!(named.to_string().contains("--reset fields.a.aggregate-function"), "{named}");
    let both = [Change::drop_column("a"), Change::add_column("a int64").unwrap()];
    assert!(store.alter_table("t", &both).is_err(), "another column of that name is not meant");
    store.alter_table("t", &[Change::drop_column("a"), Change::reset_option("fields.a.aggregate-function")]).unwrap();
    assert_eq!(table.describe().unwrap().merge.keys().collect::<Vec<_>>(), ["fields.b.aggregate-function", "merge-engine"]);
}

fn refused(store: &Store, changes: &[Change], says: &str) {
    let before = store.table("t").unwrap().describe().unwrap();
    let error = store.alter_table("t", changes).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains(says), "{says}: {error}");
    let after = store.table("t").unwrap().describe().unwrap();
    assert_eq!((after.merge, after.schema_version), (before.merge, before.schema_version), "nothing was changed");
}

#[test]
fn what_cannot_be_merged_in_another_way_stays_as_it_is() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"no bitmap"]));
    let row = RecordBatch::try_from_iter_with_nullable([
        ("key", Arc::new(Int64Array::from(vec![1])) as ArrayRef, false),
        ("bits", bytes, true),
        ("must", Arc::new(Int64Array::from(vec![1])), false),
    ]);
    let row = row.unwrap();
    let table = store.create_table("t", CreateTable::like(row.schema()).primary_key(&["key"])).unwrap();
    table.writer().unwrap().upsert(&row).unwrap();
    let set = |name: &str, value: &str| Change::set_option(name, value);
    refused(&store, &[set("merge-engine", "newest")], "unknown merge engine `newest`");
    refused(&store, &[set("merge-engine", "wasm:mine")], "WASM modules are not there yet");
    refused(&store, &[set("merge-engin", "first-row")], "did you mean `merge-engine`?");
    refused(&store, &[set("compresion", "zstd")], "did you mean `compression`?");
    refused(&store, &[set("merge-engine", "aggregation")], "must not be null, column must");
    refused(&store, &[set("fields.bits.aggregate-function", "sum")], "has no option");
    refused(&store, &[Change::reset_option("retention.sm")], "did you mean `retention.ms`?");
    store.alter_table("t", &[Change::drop_column("must")]).unwrap();
    let bitmaps = [set("merge-engine", "aggregation"), set("fields.bits.aggregate-function", "rbm32")];
    refused(&store, &bitmaps, "create a new table");
    table.writer().unwrap().delete(&row.project(&[0]).unwrap()).unwrap();
    store.alter_table("t", &bitmaps).unwrap();

    let log = store.create_table("log", CreateTable::like(rows::schema())).unwrap();
    let error = store.alter_table("log", &[set("merge-engine", "first-row")]).unwrap_err();
    assert!(error.to_string().contains("without a primary key merges no rows"), "{error}");
    store.alter_table("log", &[set("compression", "zstd")]).unwrap();
    store.alter_table("log", &[Change::reset_option("compression")]).unwrap();
    let options = log.describe().unwrap().options;
    assert!(options.iter().all(|option| option.is_default), "{options:?}");
    let readonly = scratch::follow(dir.path()).alter_table("t", &[set("fields.bits.ignore-retract", "true")]).unwrap_err();
    assert!(readonly.to_string().contains("read-only"), "{readonly}");
}
