//! Every type that a table may have, nested and null, through every compression, many buckets and partitions: the same values come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_node::store::{CreateTable, Store};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimeUnit};

use crate::any_rows::{self, Dice};
use crate::{rows, scratch};

const UNITS: [TimeUnit; 4] = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

fn plain_types() -> Vec<DataType> {
    use DataType::*;
    let mut all = vec![Boolean, Int8, Int16, Int32, Int64, Float32, Float64, Date32, Utf8, Binary, FixedSizeBinary(1), FixedSizeBinary(16)];
    all.extend([Decimal128(1, 0), Decimal128(9, 2), Decimal128(18, 18), Decimal128(19, 4), Decimal128(38, 10)]);
    all.extend(UNITS.map(|unit| match unit {
        TimeUnit::Second | TimeUnit::Millisecond => Time32(unit),
        _ => Time64(unit),
    }));
    all.extend(UNITS.map(|unit| Timestamp(unit, None)));
    all.extend(UNITS.map(|unit| Timestamp(unit, Some("UTC".into()))));
    all.push(Timestamp(TimeUnit::Microsecond, Some("Europe/Zurich".into())));
    all
}

fn list(element: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, nullable)))
}

fn map(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn structure(fields: Vec<(&str, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect())
}

fn nested_types() -> Vec<DataType> {
    use DataType::*;
    vec![
        list(Int32, true),
        list(Utf8, false),
        list(list(Int64, true), true),
        map(Utf8, Int64),
        map(Int32, list(Utf8, true)),
        structure(vec![("a", Int8), ("b", Utf8), ("c", structure(vec![("d", Boolean), ("e", Decimal128(20, 3))]))]),
        list(structure(vec![("k", Utf8), ("v", map(Utf8, Float64))]), true),
    ]
}

/// `number` first, then each type nullable and not.
fn schema_of(types: &[DataType]) -> SchemaRef {
    let mut fields = vec![Field::new("number", DataType::Int64, false), Field::new("key", DataType::Utf8, true)];
    for (index, kind) in types.iter().enumerate() {
        fields.push(Field::new(format!("n{index}"), kind.clone(), true));
        fields.push(Field::new(format!("r{index}"), kind.clone(), false));
    }
    Arc::new(Schema::new(fields))
}

/// Random rows whose column `number` counts on from `first`.
fn numbered(schema: &SchemaRef, first: i64, count: usize, dice: &mut Dice) -> RecordBatch {
    let random = any_rows::rows(schema, count, dice);
    let mut columns = random.columns().to_vec();
    columns[0] = Arc::new(Int64Array::from_iter_values(first..first + count as i64));
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn by_number(batch: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    take_record_batch(batch, &order).unwrap()
}

/// Writes batches large and small, reads them here, in a follower and after a new start.
fn round_trip(create: CreateTable, schema: &SchemaRef, seed: u64) {
    let dir = scratch::directory();
    let mut dice = Dice(seed);
    let mut written = Vec::new();
    let mut next = 0;
    let store = scratch::open(dir.path());
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for count in [1, 1500, 3, 700, 20, 2048, 1] {
        let batch = numbered(schema, next, count, &mut dice);
        next += count as i64;
        match count {
            3 | 20 => writer.append(&batch).map(|_| ()).unwrap(),
            _ => writer.send(&batch).unwrap(),
        }
        written.push(batch);
    }
    writer.flush().unwrap();
    let expected = rows::without_notes(&concat_batches(schema, &written).unwrap());
    check(&store, &expected);
    check(&scratch::follow(dir.path()), &expected);
    drop((writer, table));
    store.close().unwrap();
    check(&scratch::open(dir.path()), &expected);
    check(&scratch::follow(dir.path()), &expected);
}

fn check(store: &Store, expected: &RecordBatch) {
    let scanner = store.table("t").unwrap().scan().build().unwrap();
    let schema = scanner.schema();
    let mut last: BTreeMap<(Arc<str>, u32), i64> = BTreeMap::new();
    let mut found = Vec::new();
    for piece in scanner {
        let piece = piece.unwrap();
        for number in piece.batch.column(0).as_primitive::<Int64Type>().values() {
            let before = last.insert((piece.partition.clone(), piece.bucket), *number);
            assert!(before.is_none_or(|before| before < *number), "order within a bucket: {before:?} then {number}");
        }
        found.push(piece.batch);
    }
    let found = rows::without_notes(&by_number(&concat_batches(&schema, &found).unwrap()));
    assert_eq!(found.schema(), expected.schema());
    for (index, field) in expected.schema().fields().iter().enumerate() {
        assert_eq!(found.column(index), expected.column(index), "column {field}");
    }
}

#[test]
fn plain_types_come_back_equal_under_every_compression() {
    let schema = schema_of(&plain_types());
    for (seed, compression) in ["none", "lz4", "zstd"].into_iter().enumerate() {
        round_trip(CreateTable::like(schema.clone()).option("compression", compression), &schema, seed as u64);
    }
}

#[test]
fn nested_types_come_back_equal_under_every_compression() {
    let schema = schema_of(&nested_types());
    for (seed, compression) in ["none", "lz4", "zstd:9"].into_iter().enumerate() {
        round_trip(CreateTable::like(schema.clone()).option("compression", compression), &schema, 10 + seed as u64);
    }
}

#[test]
fn rows_spread_by_key_come_back_equal() {
    let schema = schema_of(&[DataType::Utf8, DataType::Decimal128(38, 10), list(DataType::Int32, true)]);
    for (seed, compression) in ["none", "lz4", "zstd"].into_iter().enumerate() {
        let create = CreateTable::like(schema.clone()).buckets(7).bucket_key(&["key", "number"]);
        round_trip(create.option("compression", compression), &schema, 20 + seed as u64);
    }
}

#[test]
fn batches_spread_in_turn_come_back_equal() {
    let schema = schema_of(&[DataType::Int16, map(DataType::Utf8, DataType::Int64)]);
    round_trip(CreateTable::like(schema.clone()).buckets(3).option("bucket.assign", "round-robin"), &schema, 30);
    round_trip(CreateTable::like(schema.clone()).buckets(3).option("bucket.assign", "sticky"), &schema, 31);
}

#[test]
fn types_without_a_home_are_refused_by_column() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    for kind in [DataType::UInt64, DataType::Duration(TimeUnit::Second), DataType::Null] {
        let schema = Schema::new(vec![Field::new("fine", DataType::Int64, false), Field::new("odd", kind.clone(), true)]);
        let error = store.create_table("t", CreateTable::like(Arc::new(schema))).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), aquifer_node::Kind::Invalid, "{kind}");
        assert!(error.to_string().contains("odd"), "{error}");
    }
    assert!(store.tables().unwrap().is_empty(), "nothing half-made");
}

#[test]
fn rows_that_do_not_fit_are_refused_whole() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&rows::batch(0..10)).unwrap();
    let columns = |name: &str, numbers: Vec<Option<i64>>| {
        let count = numbers.len();
        let names = arrow::array::StringArray::from_iter_values((0..count).map(|row| row.to_string()));
        let halves = arrow::array::Float64Array::from_iter_values((0..count).map(|row| row as f64));
        let columns = [(name, Arc::new(Int64Array::from(numbers)) as _), ("name", Arc::new(names) as _), ("half", Arc::new(halves) as _)];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let null_in_it = writer.append(&columns("number", vec![Some(1), None, Some(3)])).unwrap_err();
    assert_eq!(null_in_it.kind(), aquifer_node::Kind::Invalid);
    assert!(null_in_it.to_string().contains("number") && null_in_it.to_string().contains('1'), "{null_in_it}");
    let other_name = writer.append(&columns("nummer", vec![Some(1)])).unwrap_err();
    assert_eq!(other_name.kind(), aquifer_node::Kind::Invalid);
    assert!(other_name.to_string().contains("nummer"), "{other_name}");
    let wrong_type = RecordBatch::try_from_iter([("number", Arc::new(arrow::array::StringArray::from(vec!["1"])) as _)]).unwrap();
    assert_eq!(writer.append(&wrong_type).unwrap_err().kind(), aquifer_node::Kind::Invalid);
    writer.append(&rows::batch(10..20)).unwrap();
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..20);
}
