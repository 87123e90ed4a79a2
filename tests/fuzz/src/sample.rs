//! The schema of the golden batches, which has a column of every type.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", element, true)))
}

fn row(fields: [(&str, DataType); 2]) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect())
}

fn map(key: DataType, value: DataType) -> DataType {
    let entries: Fields = [Field::new("key", key, false), Field::new("value", value, true)].into_iter().collect();
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn types() -> Vec<DataType> {
    use DataType::*;
    use TimeUnit::*;
    vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        Float32,
        Float64,
        Decimal128(9, 2),
        Decimal128(38, 10),
        Date32,
        Time32(Second),
        Time32(Millisecond),
        Time64(Microsecond),
        Time64(Nanosecond),
        Timestamp(Second, None),
        Timestamp(Millisecond, None),
        Timestamp(Microsecond, None),
        Timestamp(Nanosecond, None),
        Timestamp(Microsecond, Some("UTC".into())),
        Utf8,
        Binary,
        FixedSizeBinary(5),
        list(Int32),
        list(list(Utf8)),
        row([("a", Int32), ("b", Utf8)]),
        map(Utf8, Int64),
        list(row([("a", Int32), ("b", map(Int32, Boolean))])),
    ]
}

/// See the head of this module. As `tests/golden/v1/batch.json` says.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields: Vec<Field> =
        types().into_iter().enumerate().map(|(column, kind)| Field::new(format!("c{column}"), kind, true)).collect();
    fields.extend([Field::new("n_int", DataType::Int32, false), Field::new("n_string", DataType::Utf8, false)]);
    Arc::new(Schema::new(fields))
});
