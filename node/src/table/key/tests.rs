//! Keys compare as rows do, by a plain comparison of scalars.

use std::sync::Arc;

use arrow::array::{BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int16Array, Int64Array, StringArray};
use arrow::row::{RowConverter, SortField};
use proptest::prelude::*;

use super::super::types::Field;
use super::*;

fn schema(kinds: &[ColumnType]) -> TableSchema {
    let fields = kinds.iter().enumerate().map(|(index, kind)| Field::new(format!("c{index}"), kind.clone(), false)).collect();
    TableSchema::new(fields).unwrap()
}

fn encode(kinds: &[ColumnType], columns: Vec<ArrayRef>) -> Keys {
    let schema = schema(kinds);
    let ids: Vec<i32> = schema.fields().iter().map(|field| field.id).collect();
    let batch = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
    KeyEncoder::new(&schema, &ids).unwrap().encode(&batch).unwrap()
}

/// Holds the order of all pairs against Arrow's row format.
fn agrees(kinds: &[ColumnType], columns: Vec<ArrayRef>) {
    let keys = encode(kinds, columns.clone());
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields).unwrap().convert_columns(&columns).unwrap();
    for left in 0..keys.len() {
        for right in 0..keys.len() {
            assert_eq!(keys.compare(left, right), rows.row(left).cmp(&rows.row(right)), "{left} {right}: {columns:?}");
        }
    }
}

proptest! {
    #[test]
    fn numbers_compare_as_their_column(values in proptest::collection::vec(any::<i64>(), 1..20), small in proptest::collection::vec(any::<i16>(), 1..20)) {
        agrees(&[ColumnType::Int64], vec![Arc::new(Int64Array::from(values))]);
        agrees(&[ColumnType::Int16], vec![Arc::new(Int16Array::from(small))]);
    }

    #[test]
    fn floats_compare_by_total_order(values in proptest::collection::vec(any::<f64>(), 1..20)) {
        agrees(&[ColumnType::Float64], vec![Arc::new(Float64Array::from(values.into_iter().filter(|value| !value.is_nan()).collect::<Vec<_>>()))]);
    }

    #[test]
    fn several_columns_compare_one_after_the_other(
        rows in proptest::collection::vec((proptest::collection::vec(0u8..3, 0..4), -2i16..3, any::<bool>(), -9i128..9), 1..24),
    ) {
        let kinds = [ColumnType::Binary, ColumnType::Int16, ColumnType::Boolean, ColumnType::Decimal { precision: 20, scale: 2 }];
        let decimals = Decimal128Array::from_iter_values(rows.iter().map(|row| row.3)).with_precision_and_scale(20, 2).unwrap();
        agrees(&kinds, vec![
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.0))),
            Arc::new(Int16Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2)))),
            Arc::new(decimals),
        ]);
    }
}

#[test]
fn the_bytes_are_those_of_the_format_page() {
    let kinds = [ColumnType::Utf8, ColumnType::Int16, ColumnType::Boolean];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["a\0b", ""])),
        Arc::new(Int16Array::from(vec![1, -1])),
        Arc::new(BooleanArray::from(vec![true, false])),
    ];
    let Keys::Bytes(bytes) = encode(&kinds, columns) else { panic!("several columns are bytes") };
    assert_eq!(bytes.get(0), [b'a', 0, 0xFF, b'b', 0, 0, 0x80, 1, 1]);
    assert_eq!(bytes.get(1), [0, 0, 0x7F, 0xFF, 0]);
    let page = include_str!("../../../docs/format/key.md");
    assert!(page.contains("`61 00 ff 62 00 00 80 01 01`"), "the example of the page");
}

#[test]
fn nulls_long_keys_and_types_without_order_are_refused() {
    let schema = TableSchema::new(vec![Field::new("k", ColumnType::Utf8, true)]).unwrap();
    let encoder = KeyEncoder::new(&schema, &[1]).unwrap();
    let batch =
        |values: Vec<Option<String>>| RecordBatch::try_new(schema.arrow().clone(), vec![Arc::new(StringArray::from(values))]).unwrap();
    let error = encoder.encode(&batch(vec![Some("a".into()), None])).unwrap_err();
    assert!(error.to_string().contains("must not be null") && error.to_string().contains("row 1"), "{error}");
    let error = encoder.encode(&batch(vec![Some("x".repeat(KEY_BYTES_MAX))])).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Exhausted);
    assert!(KeyEncoder::new(&schema, &[]).is_err() && KeyEncoder::new(&schema, &[7]).is_err());
    let nested = TableSchema::new(vec![Field::new("k", ColumnType::list(ColumnType::Utf8, false), false)]).unwrap();
    assert!(KeyEncoder::new(&nested, &[1]).is_err());
}

#[test]
fn keys_that_are_too_long_are_found_before_they_are_made() {
    let schema = TableSchema::new(vec![Field::new("a", ColumnType::Utf8, false), Field::new("b", ColumnType::Binary, false)]).unwrap();
    let encoder = KeyEncoder::new(&schema, &[schema.fields()[0].id, schema.fields()[1].id]).unwrap();
    for (text, bytes) in [(0, 0), (100, 20_000), (32 << 10, 0), ((32 << 10) - 4, 0), (40_000, 1), (1, 16_384), (1, 16_382)] {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["x".repeat(text), "y".to_string()])),
            Arc::new(BinaryArray::from_vec(vec![&vec![0; bytes], b""])),
        ];
        let batch = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
        assert_eq!(encoder.check(&batch).is_ok(), encoder.encode(&batch).is_ok(), "{text} {bytes}");
    }
}
