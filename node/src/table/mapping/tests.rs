//! Rows written under every version of random schemas, read under the last one, against rows kept by field id.

use std::collections::BTreeMap;

use super::*;
use crate::table::evolution::{Change, Position};
use crate::table::types::{parse_column, parse_type};
use crate::table::{Field, TableSpec, conform};
use arrow::array::*;
use arrow::datatypes::*;
use proptest::prelude::*;

fn schema(columns: &[(&str, &str)]) -> TableSchema {
    let field = |(name, text): &(&str, &str)| {
        let (kind, nullable) = parse_column(text).expect("type");
        Field::new(*name, kind, nullable.unwrap_or(true))
    };
    TableSchema::new(columns.iter().map(field).collect()).expect("schema")
}

const ALL: Option<&[&str]> = None;

fn spec(columns: &[(&str, &str)]) -> TableSpec {
    TableSpec::new("t".parse().expect("name"), 1, schema(columns), 0)
}

#[test]
fn the_same_version_costs_nothing() {
    let schema = schema(&[("a", "int32"), ("b", "list<utf8>")]);
    let mapping = Mapping::new(&schema, &schema, ALL).expect("mapping");
    assert!(mapping.is_identity() && mapping.read_columns() == [0, 1]);
    let batch = RecordBatch::new_empty(schema.arrow().clone());
    assert!(Arc::ptr_eq(mapping.apply(&batch).expect("apply").schema_ref(), schema.arrow()));
}

#[test]
fn only_what_is_asked_for_is_read_and_in_that_order() {
    let schema = schema(&[("a", "int32"), ("b", "int32"), ("c", "int32")]);
    let mapping = Mapping::new(&schema, &schema, Some(&["c", "a"])).expect("mapping");
    assert_eq!(mapping.read_columns(), [0, 2]);
    assert!(!mapping.is_identity());
    let int = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value])) };
    let read = RecordBatch::try_from_iter_with_nullable([("a", int(1), true), ("c", int(3), true)]).expect("batch");
    let wanted = mapping.apply(&read).expect("apply");
    assert_eq!(wanted.column(0).as_primitive::<Int32Type>().value(0), 3);
    assert_eq!(wanted.schema().field(1).name(), "a");

    let none = Mapping::new(&schema, &schema, Some(&[] as &[&str])).expect("mapping");
    let rows = RecordBatchOptions::new().with_row_count(Some(7));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &rows).expect("batch");
    assert_eq!(none.apply(&empty).expect("apply").num_rows(), 7);
}

#[test]
fn wrong_requests_are_refused() {
    let old = spec(&[("name", "utf8"), ("n", "int32")]);
    let error = Mapping::new(old.schema(), old.schema(), Some(&["nmae"])).expect_err("unknown").to_string();
    assert_eq!(error, "unknown column `nmae`; did you mean `name`? known are name, n");
    assert!(Mapping::new(old.schema(), old.schema(), Some(&["n", "n"])).is_err());

    let new = old.evolve(&[Change::parse_widen("n int64").expect("change")]).expect("evolve");
    assert_eq!(Mapping::new(new.schema(), old.schema(), ALL).expect_err("narrower").kind(), crate::error::Kind::Conflict);

    let mapping = Mapping::new(old.schema(), new.schema(), ALL).expect("mapping");
    let foreign = RecordBatch::new_empty(new.schema().arrow().clone());
    assert_eq!(mapping.apply(&foreign).expect_err("foreign").kind(), crate::error::Kind::Corrupt);
}

#[test]
fn nulls_that_came_later_do_not_reach_an_older_reader() {
    let old = spec(&[("n", "int32 not null")]);
    let new = old.evolve(&[Change::MakeNullable { name: "n".into() }]).expect("evolve");
    let batch = RecordBatch::try_new(new.schema().arrow().clone(), vec![Arc::new(Int32Array::from(vec![None]))]).expect("batch");
    let mapping = Mapping::new(new.schema(), old.schema(), ALL).expect("mapping");
    assert_eq!(mapping.apply(&batch).expect_err("null").kind(), crate::error::Kind::Conflict);
}

/// A value of the plain model.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::table) enum Value {
    Null,
    Number(i64),
    Text(String),
    /// Fields by id.
    Fields(BTreeMap<i32, Value>),
    List(Vec<Value>),
}

/// A value for any type, from a number that is as good as random.
fn invent(field: &Field, seed: u64) -> Value {
    let next = |index: u64| {
        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1).rotate_left(17)
    };
    if field.nullable && seed.is_multiple_of(4) {
        return Value::Null;
    }
    match &field.kind {
        ColumnType::Utf8 => Value::Text(format!("t{}", seed % 100)),
        ColumnType::Struct(fields) => {
            Value::Fields(fields.iter().enumerate().map(|(index, field)| (field.id, invent(field, next(index as u64)))).collect())
        }
        ColumnType::List(element) => Value::List((0..seed % 3).map(|index| invent(element, next(index))).collect()),
        _ => Value::Number((seed % 200) as i64 - 100),
    }
}

/// An array from values of the model.
fn to_array(field: &Field, values: &[Value]) -> ArrayRef {
    let numbers =
        || values.iter().map(|value| if let Value::Number(number) = value { Some(*number) } else { None }).collect::<Int64Array>();
    let valid = || Some(values.iter().map(|value| *value != Value::Null).collect::<Vec<_>>().into());
    match &field.kind {
        ColumnType::Utf8 => Arc::new(
            values.iter().map(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None }).collect::<StringArray>(),
        ),
        ColumnType::Struct(fields) => {
            let child = |child: &Field| {
                let default = invent(&Field { nullable: false, ..child.clone() }, 5);
                let pick = |value: &Value| if let Value::Fields(by_id) = value { by_id[&child.id].clone() } else { default.clone() };
                to_array(child, &values.iter().map(pick).collect::<Vec<_>>())
            };
            let DataType::Struct(targets) = field.kind.to_arrow() else { unreachable!() };
            Arc::new(StructArray::new(targets, fields.iter().map(child).collect(), valid()))
        }
        ColumnType::List(element) => {
            let DataType::List(target) = field.kind.to_arrow() else { unreachable!() };
            let lists: Vec<&[Value]> =
                values.iter().map(|value| if let Value::List(list) = value { list.as_slice() } else { &[] }).collect();
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
            Arc::new(ListArray::new(target, offsets, to_array(element, &lists.concat()), valid()))
        }
        ColumnType::Decimal { precision, scale } => {
            let unscaled = numbers().unary::<_, Decimal128Type>(i128::from);
            Arc::new(unscaled.with_precision_and_scale(*precision, *scale as i8).expect("decimal"))
        }
        kind => arrow::compute::cast(&numbers(), &kind.to_arrow()).expect("cast"),
    }
}

/// The value in a row of an array, as the model has it.
fn from_array(field: &Field, array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match &field.kind {
        ColumnType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_string()),
        ColumnType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Fields(fields.iter().zip(columns).map(|(field, array)| (field.id, from_array(field, array, row))).collect())
        }
        ColumnType::List(element) => {
            let list = array.as_list::<i32>().value(row);
            Value::List((0..list.len()).map(|row| from_array(element, &list, row)).collect())
        }
        ColumnType::Decimal { .. } => Value::Number(array.as_primitive::<Decimal128Type>().value(row) as i64),
        _ => Value::Number(arrow::compute::cast(array, &DataType::Int64).expect("cast").as_primitive::<Int64Type>().value(row)),
    }
}

/// What a value of the model is for a reader that wants `field`: by id, null where there was nothing.
fn expected(field: &Field, value: Option<&Value>) -> Value {
    match (&field.kind, value) {
        (_, None | Some(Value::Null)) => Value::Null,
        (ColumnType::Struct(fields), Some(Value::Fields(by_id))) => {
            Value::Fields(fields.iter().map(|field| (field.id, expected(field, by_id.get(&field.id)))).collect())
        }
        (ColumnType::List(element), Some(Value::List(list))) => {
            Value::List(list.iter().map(|value| expected(element, Some(value))).collect())
        }
        (_, Some(value)) => value.clone(),
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let path = || {
        prop::sample::select(vec!["a", "b", "c", "d", "e", "s", "s.a", "s.b", "s.c", "l", "l.element.a", "l.element.b", "s.s.a"])
            .prop_map(String::from)
    };
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "s"]).prop_map(String::from);
    let kinds =
        ["int8", "int16", "int64", "utf8", "float64", "decimal128(9,2)", "struct<a: int8, b: utf8>", "list<struct<a: int16, b: utf8>>"];
    let kind = || prop::sample::select(kinds.to_vec()).prop_map(|text| parse_type(text).expect("type"));
    let position = prop_oneof![Just(Position::First), Just(Position::Last), Just(Position::After("a".into()))];
    prop_oneof![
        (path(), kind(), position).prop_map(|(name, kind, position)| Change::Add { name, kind, nullable: true, position }),
        (path(), name).prop_map(|(from, to)| Change::Rename { from, to }),
        path().prop_map(|name| Change::Drop { name }),
        (path(), kind()).prop_map(|(name, kind)| Change::Widen { name, kind }),
        path().prop_map(|name| Change::MakeNullable { name }),
    ]
}

/// Column values by id, row by row.
pub(in crate::table) type Rows = Vec<BTreeMap<i32, Value>>;

/// Rows as good as random, in the model and as a batch.
pub(in crate::table) fn write(schema: &TableSchema, seeds: &[u64]) -> (Rows, RecordBatch) {
    let row = |seed: &u64| schema.fields().iter().map(|field| (field.id, invent(field, seed.rotate_left(field.id as u32 * 7)))).collect();
    let rows: Rows = seeds.iter().map(row).collect();
    let column = |field: &Field| to_array(field, &rows.iter().map(|row| row[&field.id].clone()).collect::<Vec<_>>());
    let batch = RecordBatch::try_new(schema.arrow().clone(), schema.fields().iter().map(column).collect()).expect("batch");
    (rows, conform(&batch, schema).expect("conform"))
}

fn check(rows: &Rows, batch: &RecordBatch, written: &TableSchema, wanted: &TableSchema, columns: Option<&[String]>) {
    let mapping = Mapping::new(written, wanted, columns).expect("mapping");
    let read = batch.project(mapping.read_columns()).expect("project");
    let mapped = mapping.apply(&read).expect("apply");
    let names = columns.map_or_else(|| wanted.fields().iter().map(|field| field.name.clone()).collect(), <[String]>::to_vec);
    assert_eq!(mapped.num_columns(), names.len());
    for (name, array) in names.iter().zip(mapped.columns()) {
        let field = wanted.column(name).expect("column");
        for (row, values) in rows.iter().enumerate() {
            assert_eq!(from_array(field, array, row), expected(field, values.get(&field.id)), "{name} row {row}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_of_every_version_are_read_as_every_later_one(
        steps in prop::collection::vec((prop::collection::vec(any_change(), 1..3), prop::collection::vec(any::<u64>(), 0..6)), 1..12),
        chosen in any::<prop::sample::Index>(),
    ) {
        let mut table = spec(&[
            ("a", "int8 not null"),
            ("b", "utf8"),
            ("d", "decimal128(5,2)"),
            ("s", "struct<a: int8, b: utf8, s: struct<a: float32>>"),
            ("l", "list<struct<a: int8 not null, b: utf8>>"),
        ]);
        let mut stored = Vec::new();
        for (changes, seeds) in steps {
            let (rows, batch) = write(table.schema(), &seeds);
            stored.push((table.schema().clone(), rows, batch));
            // Changes that are not allowed leave the table as it is.
            table = table.evolve(&changes).unwrap_or(table);
        }
        let fields = table.schema().fields();
        let half = fields.iter().cycle().skip(chosen.index(fields.len())).take(fields.len().div_ceil(2));
        let some: Vec<String> = half.map(|field| field.name.clone()).collect();
        for (written, rows, batch) in &stored {
            check(rows, batch, written, table.schema(), None);
            check(rows, batch, written, table.schema(), Some(&some));
        }
    }
}
