//! A table changes its columns while it has rows, writers and followers: every row reads under the schema of the day, by field id.

use std::sync::Arc;

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable, Store, Table};
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use crate::{rows, scratch};

fn int32(from: i32, count: i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(from..from + count))
}

fn text(prefix: &str, count: i32) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("{prefix}{row}"))))
}

fn names(table: &Table) -> Vec<String> {
    table.schema().unwrap().fields().iter().map(|field| field.name().clone()).collect()
}

/// The rows of `t` as `store` sees them now.
fn read(store: &Store) -> RecordBatch {
    rows::collect(store.table("t").unwrap().scan().build().unwrap())
}

fn add(text: &str) -> Change {
    Change::add_column(text).unwrap()
}

/// Checks `look` on the writer's rows, a follower's, and again after a new start.
fn everywhere(writer: &Store, follower: &Store, look: impl Fn(&RecordBatch)) {
    look(&read(writer));
    look(&read(follower));
    look(&read(&scratch::follow(writer.dir())));
}

#[test]
fn columns_come_first_behind_another_and_last() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let first = RecordBatch::try_from_iter([("a", int32(0, 3)), ("b", text("b", 3))]).unwrap();
    let table = store.create_table("t", CreateTable::like(first.schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&first).unwrap();
    store.alter_table("t", &[add("z int64 first"), add("m utf8 after a"), add("e double")]).unwrap();
    assert_eq!(names(&table), ["z", "a", "m", "b", "e"]);
    let second = RecordBatch::try_from_iter([
        ("e", Arc::new(arrow::array::Float64Array::from(vec![0.5, 1.5])) as ArrayRef),
        ("a", int32(3, 2)),
        ("m", text("m", 2)),
        ("b", text("b", 2)),
        ("z", Arc::new(Int64Array::from(vec![Some(7), None]))),
    ]);
    writer.append(&second.unwrap()).unwrap();
    writer.append(&first).unwrap();
    everywhere(&store, &follower, |found| {
        assert_eq!(found.column(1).as_primitive::<arrow::datatypes::Int32Type>().values(), &[0, 1, 2, 3, 4, 0, 1, 2]);
        assert_eq!(found.column(0).as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>(), [7]);
        assert_eq!(found.column(0).null_count(), 7);
        assert_eq!(found.column(2).as_string::<i32>().iter().collect::<Vec<_>>()[2..6], [None, Some("m0"), Some("m1"), None]);
        assert_eq!(found.column(4).as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>(), [0.5, 1.5]);
    });
}

#[test]
fn a_renamed_column_keeps_its_values_and_a_new_one_of_the_old_name_has_none() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let first = RecordBatch::try_from_iter([("a", int32(0, 3)), ("b", text("old", 3))]).unwrap();
    let table = store.create_table("t", CreateTable::like(first.schema())).unwrap();
    table.writer().unwrap().append(&first).unwrap();
    store.alter_table("t", &[Change::rename_column("b=c").unwrap()]).unwrap();
    store.alter_table("t", &[add("b utf8")]).unwrap();
    let second = RecordBatch::try_from_iter([("a", int32(3, 1)), ("c", text("kept", 1)), ("b", text("new", 1))]).unwrap();
    table.writer().unwrap().append(&second).unwrap();
    everywhere(&store, &follower, |found| {
        let column = |name: &str| found.column_by_name(name).unwrap().as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!(column("c"), [Some("old0"), Some("old1"), Some("old2"), Some("kept0")]);
        assert_eq!(column("b"), [None, None, None, Some("new0")]);
    });
}

#[test]
fn a_dropped_column_is_gone_also_when_its_name_comes_back() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let first = RecordBatch::try_from_iter([("a", int32(0, 2)), ("b", text("secret", 2)), ("c", text("c", 2))]).unwrap();
    let table = store.create_table("t", CreateTable::like(first.schema())).unwrap();
    table.writer().unwrap().append(&first).unwrap();
    store.alter_table("t", &[Change::drop_column("b")]).unwrap();
    assert_eq!(names(&table), ["a", "c"]);
    let error = table.writer().unwrap().append(&first).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "rows with the dropped column do not fit: {error}");
    store.alter_table("t", &[add("b int64 after a")]).unwrap();
    everywhere(&store, &follower, |found| {
        let again = found.column_by_name("b").unwrap();
        assert_eq!((again.data_type(), again.null_count()), (&DataType::Int64, 2));
        assert_eq!(found.column_by_name("c").unwrap().as_string::<i32>().value(1), "c1");
    });
}

#[test]
fn columns_widen_while_rows_exist() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let decimals = |values: Vec<i128>, precision| Decimal128Array::from(values).with_precision_and_scale(precision, 2).unwrap();
    let narrow = RecordBatch::try_from_iter([
        ("i", Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)])) as ArrayRef),
        ("n", int32(0, 3)),
        ("f", Arc::new(Float32Array::from(vec![0.5, -1.25, f32::MAX]))),
        ("d", Arc::new(decimals(vec![1, -2, 999], 5))),
    ]);
    let narrow = narrow.unwrap();
    let table = store.create_table("t", CreateTable::like(narrow.schema())).unwrap();
    table.writer().unwrap().append(&narrow).unwrap();
    let widen = ["i int64", "n int64", "f double", "d decimal128(20,2)"].map(|text| Change::widen_column(text).unwrap());
    store.alter_table("t", &widen).unwrap();
    let wide = RecordBatch::try_from_iter([
        ("i", Arc::new(Int64Array::from(vec![1 << 40])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![-1 << 40]))),
        ("f", Arc::new(arrow::array::Float64Array::from(vec![1e300]))),
        ("d", Arc::new(decimals(vec![10_i128.pow(19)], 20))),
    ]);
    table.writer().unwrap().append(&wide.unwrap()).unwrap();
    everywhere(&store, &follower, |found| {
        let integers = found.column(0).as_primitive::<Int64Type>();
        assert_eq!(integers.iter().collect::<Vec<_>>(), [Some(-128), None, Some(127), Some(1 << 40)]);
        assert_eq!(found.column(1).as_primitive::<Int64Type>().values(), &[0, 1, 2, -1 << 40]);
        assert_eq!(found.column(2).as_primitive::<Float64Type>().values(), &[0.5, -1.25, f64::from(f32::MAX), 1e300]);
        assert_eq!(found.column(3).as_ref(), &decimals(vec![1, -2, 999, 10_i128.pow(19)], 20) as &dyn Array);
    });
    let filtered = rows::collect(table.scan().filter("i > 127").build().unwrap());
    assert_eq!(filtered.num_rows(), 1, "a filter compares in the wide type");
}

#[test]
fn fields_of_structs_evolve_too() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let fields = |values: Vec<(&str, ArrayRef)>| {
        let fields = values.into_iter().map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
        Arc::new(StructArray::from(fields.collect::<Vec<_>>())) as ArrayRef
    };
    let first = RecordBatch::try_from_iter([("s", fields(vec![("x", int32(0, 2)), ("y", text("y", 2))]))]).unwrap();
    let table = store.create_table("t", CreateTable::like(first.schema())).unwrap();
    table.writer().unwrap().append(&first).unwrap();
    let changes = [add("s.new int64 first"), Change::rename_column("s.y=why").unwrap(), Change::widen_column("s.x int64").unwrap()];
    store.alter_table("t", &changes).unwrap();
    let long: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    let second = RecordBatch::try_from_iter([("s", fields(vec![("why", text("z", 1)), ("x", long.clone()), ("new", long)]))]).unwrap();
    table.writer().unwrap().append(&second).unwrap();
    everywhere(&store, &follower, |found| {
        let found = found.column(0).as_struct();
        assert_eq!(found.column_names(), ["new", "x", "why"]);
        assert_eq!(found.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [None, None, Some(5)]);
        assert_eq!(found.column(1).as_primitive::<Int64Type>().values(), &[0, 1, 5]);
        assert_eq!(found.column(2).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["y0", "y1", "z0"]);
    });
}

#[test]
fn a_running_follower_keeps_its_schema_and_reads_on() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..10)).unwrap();
    let other = scratch::follow(dir.path());
    let mut scanners = [
        table.scan().follow(true).build().unwrap(),
        other.table("t").unwrap().scan().columns(&["number", "name"]).follow(true).build().unwrap(),
    ];
    let before: Vec<_> = scanners.iter().map(|scanner| scanner.schema()).collect();
    for scanner in &mut scanners {
        rows::assert_range(&rows::numbers_in(&rows::next(scanner).batch), 0..10);
    }
    store.alter_table("t", &[add("extra int64 first"), Change::rename_column("name=title").unwrap()]).unwrap();
    let new_rows = RecordBatch::try_from_iter([
        ("title", text("title", 5)),
        ("number", Arc::new(Int64Array::from_iter_values(10..15)) as ArrayRef),
        ("extra", Arc::new(Int64Array::from_iter_values(0..5))),
    ]);
    writer.append(&new_rows.unwrap()).unwrap();
    for (scanner, before) in scanners.iter_mut().zip(before) {
        let found = rows::next(scanner).batch;
        assert_eq!(found.schema(), before);
        rows::assert_range(&rows::numbers_in(&found), 10..15);
        assert_eq!(found.column_by_name("name").unwrap().as_string::<i32>().value(4), "title4", "the renamed column under its old name");
    }
}

#[test]
fn impossible_changes_leave_the_table_as_it_was() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).buckets(2).bucket_key(&["number"]);
    let table = store.create_table("t", create).unwrap();
    table.writer().unwrap().append(&rows::batch(0..10)).unwrap();
    let before = names(&table);
    let refused = [
        vec![Change::drop_column("number")],
        vec![Change::drop_column("nothing")],
        vec![add("fine int64"), add("name int64")],
        vec![Change::rename_column("half=name").unwrap()],
        vec![Change::widen_column("half float").unwrap()],
        vec![add("fine int64"), Change::set_option("retention.msec", "7d")],
        vec![Change::set_option("segment.bytes", "1")],
    ];
    for changes in refused {
        let error = store.alter_table("t", &changes).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{changes:?}: {error}");
        assert_eq!(names(&table), before, "{changes:?} was refused whole");
    }
    assert_eq!(store.alter_table("other", &[add("x int64")]).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(rows::numbers(table.scan().build().unwrap()).len(), 10);
}
