//! Batches from outside, by hand and as good as random, against what the table should hold.

use super::*;
use crate::table::types::parse_column;
use crate::table::{Field, supported};
use arrow::array::RunArray;
use arrow::array::{
    Date64Array, Decimal128Array, DictionaryArray, Float16Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeListArray,
    LargeStringArray, ListBuilder, MapBuilder, NullArray, StringArray, StringBuilder, StringViewArray, TimestampMicrosecondArray,
    TimestampSecondArray, UInt16Array, UInt64Array,
};
use arrow::datatypes::{Decimal128Type, Int8Type, Int32Type, Schema};
use proptest::prelude::*;

fn schema(columns: &[(&str, &str)]) -> TableSchema {
    let fields = columns.iter().map(|(name, text)| {
        let (kind, nullable) = parse_column(text).expect("type");
        Field::new(*name, kind, nullable.unwrap_or(true))
    });
    TableSchema::new(fields.collect()).expect("schema")
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true))).expect("batch")
}

fn array<A: Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

#[test]
fn an_equal_schema_costs_nothing() {
    let schema = schema(&[("a", "int32"), ("b", "utf8")]);
    let columns = vec![array(Int32Array::from(vec![1])), array(StringArray::from(vec!["x"]))];
    let batch = RecordBatch::try_new(schema.arrow().clone(), columns).expect("batch");
    let conformed = conform(&batch, &schema).expect("conform");
    assert!(Arc::ptr_eq(batch.column(1), conformed.column(1)));
}

#[test]
fn columns_are_matched_by_name() {
    let schema = schema(&[("a", "int64"), ("b", "utf8"), ("c", "int8")]);
    let given = batch(&[("b", array(StringArray::from(vec![Some("x"), None]))), ("a", array(Int32Array::from(vec![1, 2])))]);
    let conformed = conform(&given, &schema).expect("conform");
    assert_eq!(conformed.schema_ref(), schema.arrow());
    assert_eq!(conformed.column(0).as_ref(), &Int64Array::from(vec![1, 2]));
    assert_eq!(conformed.column(2).as_ref(), &Int8Array::from(vec![None, None]));
}

#[test]
fn casts_keep_every_value() {
    let cases: Vec<(ArrayRef, &str, ArrayRef)> = vec![
        (array(UInt16Array::from(vec![65535])), "int32", array(Int32Array::from(vec![65535]))),
        (array(Int32Array::from(vec![-7])), "float64", array(arrow::array::Float64Array::from(vec![-7.0]))),
        (array(LargeStringArray::from(vec!["x"])), "utf8", array(StringArray::from(vec!["x"]))),
        (
            array(StringViewArray::from(vec!["long enough to be a view"])),
            "utf8",
            array(StringArray::from(vec!["long enough to be a view"])),
        ),
        (
            array(vec!["b", "a", "b"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            "utf8",
            array(StringArray::from(vec!["b", "a", "b"])),
        ),
        (array(NullArray::new(2)), "int16", array(Int16Array::from(vec![None, None]))),
        (
            array(Date64Array::from(vec![86_400_000])),
            "timestamp(ms)",
            array(arrow::array::TimestampMillisecondArray::from(vec![86_400_000])),
        ),
        (array(TimestampSecondArray::from(vec![3])), "timestamp(us)", array(TimestampMicrosecondArray::from(vec![3_000_000]))),
        (
            array(TimestampMicrosecondArray::from(vec![3]).with_timezone("+00:00")),
            "timestamp(us, UTC)",
            array(TimestampMicrosecondArray::from(vec![3]).with_timezone("UTC")),
        ),
        (
            array(UInt64Array::from(vec![u64::MAX])),
            "decimal128(20,0)",
            array(Decimal128Array::from(vec![u64::MAX as i128]).with_precision_and_scale(20, 0).expect("decimal")),
        ),
        (
            array(Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).expect("decimal")),
            "decimal128(7,3)",
            array(Decimal128Array::from(vec![1250]).with_precision_and_scale(7, 3).expect("decimal")),
        ),
        (array(Float16Array::from(vec![half(1.5)])), "float32", array(arrow::array::Float32Array::from(vec![1.5]))),
    ];
    for (given, kind, expected) in cases {
        let conformed = conform(&batch(&[("a", given)]), &schema(&[("a", kind)])).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(conformed.column(0), &expected, "{kind}");
    }
}

#[test]
fn packed_values_are_unpacked() {
    let ends = Int32Array::from(vec![2, 3]);
    let runs = RunArray::<Int32Type>::try_new(&ends, &StringArray::from(vec![Some("x"), None])).expect("runs");
    let conformed = conform(&batch(&[("a", array(runs.clone()))]), &schema(&[("a", "utf8")])).expect("runs");
    assert_eq!(conformed.column(0).as_ref(), &StringArray::from(vec![Some("x"), Some("x"), None]));
    let error = conform(&batch(&[("a", array(runs))]), &schema(&[("a", "utf8 not null")])).expect_err("null").to_string();
    assert!(error.ends_with("column a, row 2"), "{error}");

    let narrow = arrow::compute::cast(&Int32Array::from(vec![7]), &DataType::Decimal32(9, 1)).expect("cast");
    let wide = arrow::compute::cast(&Int32Array::from(vec![7]), &DataType::Decimal256(38, 1)).expect("cast");
    for given in [narrow, wide] {
        let conformed = conform(&batch(&[("a", given)]), &schema(&[("a", "decimal128(38,1)")])).expect("decimal");
        assert_eq!(conformed.column(0).as_primitive::<Decimal128Type>().value(0), 70);
    }
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(2), Some(3)])]);
    let packed = DictionaryArray::try_new(Int8Array::from(vec![1, 0, 1]), array(lists)).expect("dictionary");
    let conformed = conform(&batch(&[("a", array(packed))]), &schema(&[("a", "list<int64>")])).expect("lists");
    assert_eq!(conformed.column(0).as_list::<i32>().value(2).as_ref(), &Int64Array::from(vec![2, 3]));
}

/// How somebody else might have called and stored the same values.
fn foreign(data_type: &DataType) -> DataType {
    let field = |name: &str, field: &ArrowField| Arc::new(ArrowField::new(name, foreign(field.data_type()), true));
    match data_type {
        DataType::Utf8 => DataType::LargeUtf8,
        DataType::List(element) => DataType::LargeList(field("item", element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|child| field(child.name(), child)).collect()),
        same => same.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn foreign_batches_come_out_as_if_they_had_been_ours(
        seeds in prop::collection::vec(any::<u64>(), 0..12),
        order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
        start in any::<prop::sample::Index>(),
    ) {
        let columns = [
            ("a", "int8 not null"),
            ("b", "utf8"),
            ("d", "decimal128(5,2)"),
            ("s", "struct<x: int8 not null, y: utf8, z: struct<w: float32 not null>>"),
            ("l", "list<struct<x: int16, y: list<utf8 not null>> not null>"),
        ];
        let table = schema(&columns);
        let (_, ours) = crate::table::mapping::tests::write(&table, &seeds);
        let start = start.index(seeds.len() + 1);
        let column = |index: &usize| {
            let array = ours.column(*index);
            (columns[*index].0, arrow::compute::cast(array, &foreign(array.data_type())).expect("cast"), true)
        };
        let theirs = RecordBatch::try_from_iter_with_nullable(order.iter().map(column)).expect("batch");
        let conformed = conform(&theirs.slice(start, seeds.len() - start), &table).expect("conform");
        prop_assert_eq!(conformed, ours.slice(start, seeds.len() - start));
    }
}

fn half(value: f32) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
    let narrow = arrow::compute::cast(&arrow::array::Float32Array::from(vec![value]), &DataType::Float16).expect("cast");
    narrow.as_primitive::<arrow::datatypes::Float16Type>().value(0)
}

#[test]
fn what_would_lose_values_is_refused() {
    let cases: Vec<(ArrayRef, &str)> = vec![
        (array(Int64Array::from(vec![1])), "int32"),
        (array(Int64Array::from(vec![1])), "float64"),
        (array(UInt64Array::from(vec![1])), "int64"),
        (array(Int32Array::from(vec![1])), "utf8"),
        (array(StringArray::from(vec!["1"])), "int32"),
        (array(TimestampMicrosecondArray::from(vec![1])), "timestamp(ms)"),
        (array(TimestampMicrosecondArray::from(vec![1])), "timestamp(us, UTC)"),
        (array(Int32Array::from(vec![1])), "decimal128(10,1)"),
        (array(Decimal128Array::from(vec![1]).with_precision_and_scale(7, 3).expect("decimal")), "decimal128(7,2)"),
        (array(Decimal128Array::from(vec![1]).with_precision_and_scale(7, 3).expect("decimal")), "decimal128(7,4)"),
        (array(TimestampSecondArray::from(vec![i64::MAX])), "timestamp(ns)"),
    ];
    for (given, kind) in cases {
        let error = conform(&batch(&[("a", given)]), &schema(&[("a", kind)])).expect_err(kind);
        assert_eq!(error.kind(), crate::error::Kind::Invalid);
        assert!(error.to_string().contains("column a"), "{error}");
    }
}

#[test]
fn times_that_are_whole_in_a_coarser_unit_fit_it() {
    use arrow::array::{Date32Array, Time32MillisecondArray, Time32SecondArray, Time64NanosecondArray, TimestampMillisecondArray};
    let moments = TimestampMillisecondArray::from(vec![Some(-2000), None, Some(i64::MAX / 1000 * 1000)]);
    let seconds = TimestampSecondArray::from(vec![Some(-2), None, Some(i64::MAX / 1000)]);
    let packed = arrow::compute::cast(&moments, &DataType::Dictionary(DataType::Int8.into(), moments.data_type().clone().into()));
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2, 3]), &moments).expect("runs");
    let cases: Vec<(ArrayRef, &str, ArrayRef)> = vec![
        (array(moments.clone()), "timestamp(s)", array(seconds.clone())),
        (array(moments.with_timezone("+00:00")), "timestamp(s, UTC)", array(seconds.clone().with_timezone("UTC"))),
        (packed.expect("dictionary"), "timestamp(s)", array(seconds.clone())),
        (array(runs), "timestamp(s)", array(seconds)),
        (array(TimestampMicrosecondArray::from(vec![5000])), "timestamp(ms)", array(TimestampMillisecondArray::from(vec![5]))),
        (array(Time32MillisecondArray::from(vec![5000])), "time(s)", array(Time32SecondArray::from(vec![5]))),
        (array(Time64NanosecondArray::from(vec![7_000_000])), "time(ms)", array(Time32MillisecondArray::from(vec![7]))),
        (array(Date64Array::from(vec![86_400_000])), "timestamp(s)", array(TimestampSecondArray::from(vec![86_400]))),
        (array(Date64Array::from(vec![-86_400_000])), "date", array(Date32Array::from(vec![-1]))),
    ];
    for (given, kind, expected) in cases {
        let conformed = conform(&batch(&[("a", given)]), &schema(&[("a", kind)])).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(conformed.column(0), &expected, "{kind}");
    }
}

#[test]
fn times_that_are_not_whole_are_refused_by_value_and_row() {
    let millis = |values: Vec<Option<i64>>| array(arrow::array::TimestampMillisecondArray::from(values));
    let refusal = |kind: &str, given: ArrayRef| conform(&batch(&[("a", given)]), &schema(&[("a", kind)])).expect_err(kind).to_string();
    let advice = "; round it, or create the table with a finer unit";
    let error = refusal("timestamp(s)", millis(vec![Some(1000), None, Some(-1), Some(1)]));
    assert_eq!(error, format!("1969-12-31T23:59:59.999 is not whole in timestamp(s), column a, row 2{advice}"));
    let error = refusal("time(s)", array(arrow::array::Time64NanosecondArray::from(vec![1])));
    assert_eq!(error, format!("00:00:00.000000001 is not whole in time(s), column a, row 0{advice}"));
    let error = refusal("date", array(Date64Array::from(vec![0, 1000])));
    assert_eq!(error, format!("1970-01-01T00:00:01.000 is not whole in date, column a, row 1{advice}"));
    // A number that the bits of the column do not hold.
    assert!(refusal("time(s)", array(arrow::array::Time64MicrosecondArray::from(vec![1 << 53]))).contains("row 0"));

    let hidden = structs(vec![("x", millis(vec![Some(1), Some(1000)]))], vec![false, true]);
    conform(&batch(&[("a", hidden)]), &schema(&[("a", "struct<x: timestamp(s)>")])).expect("a null struct hides its fields");
    let shown = structs(vec![("x", millis(vec![Some(1000), Some(1)]))], vec![true, true]);
    assert!(refusal("struct<x: timestamp(s)>", shown).contains("column a.x, row 1"));
    let mut lists = ListBuilder::new(arrow::array::TimestampMillisecondBuilder::new());
    lists.append_value([Some(1000), Some(2000)]);
    lists.append_value([Some(2500)]);
    assert!(refusal("list<timestamp(s)>", array(lists.finish())).contains("column a, row 1"));
}

#[test]
fn times_out_of_the_range_of_a_finer_unit_are_refused_by_row() {
    use arrow::array::{Time32SecondArray, Time64MicrosecondArray};
    let packed = |values: ArrayRef| array(DictionaryArray::try_new(Int8Array::from(vec![0, 1]), values).expect("dictionary"));
    let cases = [
        (array(TimestampSecondArray::from(vec![0, i64::MAX])), "timestamp(ms)"),
        (array(Time32SecondArray::from(vec![86_399, i32::MAX])), "time(ms)"),
        (packed(array(Time32SecondArray::from(vec![86_399, i32::MIN]))), "time(ms)"),
        (array(Time64MicrosecondArray::from(vec![86_399, i64::MAX])), "time(ns)"),
        (array(Date64Array::from(vec![0, i64::MAX])), "timestamp(us)"),
    ];
    for (given, kind) in cases {
        let error = conform(&batch(&[("a", given.clone())]), &schema(&[("a", kind)])).expect_err(kind).to_string();
        assert!(error.starts_with("cannot convert") && error.contains("column a, row 1"), "{error}");
        conform(&batch(&[("a", given.slice(0, 1))]), &schema(&[("a", kind)])).expect(kind);
    }
    let hidden = Time32SecondArray::new(vec![1, i32::MAX].into(), Some(vec![true, false].into()));
    conform(&batch(&[("a", array(hidden))]), &schema(&[("a", "time(us)")])).expect("what stands behind a null is not data");
}

#[test]
fn misfits_name_the_column_and_the_row() {
    let ints = |values: Vec<Option<i32>>| array(Int32Array::from(values));
    let cases = [
        (batch(&[("a", ints(vec![Some(1), None, None]))]), "null in a column that must not be null, column a, row 1"),
        (batch(&[("b", ints(vec![Some(1)]))]), "the table has no column `b`; known are a"),
    ];
    let schema = schema(&[("a", "int32 not null")]);
    for (given, expected) in &cases {
        assert_eq!(conform(given, &schema).expect_err(expected).to_string(), *expected);
    }
    let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert!(conform(&empty, &schema).expect_err("lacks").to_string().contains("lacks a column that must not be null, column a"));
    let twice = Schema::new(vec![ArrowField::new("a", DataType::Int32, true), ArrowField::new("a", DataType::Int32, true)]);
    let twice = RecordBatch::try_new(Arc::new(twice), vec![ints(vec![None]), ints(vec![None])]).expect("batch");
    assert!(conform(&twice, &schema).expect_err("twice").to_string().contains("two columns of the batch"));
}

fn structs(columns: Vec<(&str, ArrayRef)>, valid: Vec<bool>) -> ArrayRef {
    let fields: Fields = columns.iter().map(|(name, array)| ArrowField::new(*name, array.data_type().clone(), true)).collect();
    array(StructArray::try_new(fields, columns.into_iter().map(|(_, array)| array).collect(), Some(valid.into())).expect("struct"))
}

#[test]
fn nested_fields_are_matched_and_checked_too() {
    let schema = schema(&[("s", "struct<x: int64 not null, y: utf8>")]);
    let good = structs(vec![("x", array(Int32Array::from(vec![Some(1), None])))], vec![true, false]);
    let conformed = conform(&batch(&[("s", good)]), &schema).expect("a null struct hides its fields");
    assert_eq!(conformed.column(0).as_struct().column(0).as_ref(), &Int64Array::from(vec![Some(1), None]));
    assert_eq!(conformed.column(0).as_struct().column(1).null_count(), 2);

    let bad = structs(vec![("x", array(Int32Array::from(vec![Some(1), None])))], vec![true, true]);
    let error = conform(&batch(&[("s", bad)]), &schema).expect_err("null").to_string();
    assert_eq!(error, "null in a column that must not be null, column s.x, row 1");

    let extra = structs(vec![("x", array(Int32Array::from(vec![1]))), ("z", array(Int32Array::from(vec![1])))], vec![true]);
    assert!(conform(&batch(&[("s", extra)]), &schema).expect_err("extra").to_string().contains("no column `z`, column s"));
}

#[test]
fn lists_of_all_kinds_become_lists() {
    let rows = vec![Some(vec![Some(1), Some(2)]), None, Some(vec![]), Some(vec![Some(3)])];
    let schema = schema(&[("l", "list<int64 not null>")]);
    let plain = ListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone());
    let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    for given in [array(plain.clone()), array(large), array(plain.slice(0, 4))] {
        let conformed = conform(&batch(&[("l", given)]), &schema).expect("conform");
        let list = conformed.column(0).as_list::<i32>();
        assert_eq!((list.len(), list.is_null(1), list.value_length(0)), (4, true, 2));
        assert_eq!(list.value(3).as_ref(), &Int64Array::from(vec![3]));
    }
    let sliced = conform(&batch(&[("l", array(plain.slice(3, 1)))]), &schema).expect("conform");
    assert_eq!(sliced.column(0).as_list::<i32>().value(0).as_ref(), &Int64Array::from(vec![3]));

    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2)]), None], 2);
    let conformed = conform(&batch(&[("l", array(fixed))]), &schema).expect("nulls behind a null list are not data");
    assert_eq!(conformed.column(0).as_list::<i32>().value(0).as_ref(), &Int64Array::from(vec![1, 2]));

    let bad = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), Some(vec![]), Some(vec![Some(2), None])]);
    let error = conform(&batch(&[("l", array(bad))]), &schema).expect_err("null").to_string();
    assert_eq!(error, "null in a column that must not be null, column l, row 2");
}

#[test]
fn maps_fit_whatever_their_entries_are_called() {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
    for (key, value) in [("a", Some(1)), ("b", None)] {
        builder.keys().append_value(key);
        builder.values().append_option(value);
    }
    builder.append(true).expect("append");
    builder.append(false).expect("append");
    let given = batch(&[("m", array(builder.finish()))]);
    let conformed = conform(&given, &schema(&[("m", "map<utf8, int64>")])).expect("conform");
    let map = conformed.column(0).as_map();
    assert_eq!(map.values().as_ref(), &Int64Array::from(vec![Some(1), None]));
    let error = conform(&given, &schema(&[("m", "map<utf8, int64 not null>")])).expect_err("null").to_string();
    assert_eq!(error, "null in a column that must not be null, column m.value, row 0");
}

#[test]
fn lists_of_strings_lose_their_foreign_names() {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.append_value([Some("x"), None]);
    let given = batch(&[("l", array(builder.finish()))]);
    let table = supported(given.schema_ref()).expect("supported");
    let conformed = conform(&given, &table).expect("conform");
    assert_eq!(conformed.schema_ref(), table.arrow());
    let again = conform(&conformed, &table).expect("again");
    assert!(Arc::ptr_eq(again.column(0), conformed.column(0)));
}
