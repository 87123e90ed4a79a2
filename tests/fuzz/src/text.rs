//! Everything that users write: conditions, types, schema files, partitions, names, quantities, values.

use std::sync::LazyLock;

use aquifer_node::store::Change;
use aquifer_node::table::{
    Filter, PartitionField, Partitioner, TableName, TableSchema, parse_schema_file, parse_value, print_value, quantity, supported,
};
use arrow::array::{RecordBatch, new_null_array};

use crate::sample::SCHEMA;

static TABLE: LazyLock<TableSchema> = LazyLock::new(|| supported(&SCHEMA).expect("types that tables have"));
static ROWS: LazyLock<RecordBatch> = LazyLock::new(|| {
    let nullable: Vec<usize> = (0..27).collect();
    let schema = std::sync::Arc::new(SCHEMA.project(&nullable).expect("columns that exist"));
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 3)).collect();
    RecordBatch::try_new(schema, columns).expect("nulls fit")
});
static NULLABLE: LazyLock<TableSchema> = LazyLock::new(|| supported(ROWS.schema_ref()).expect("types that tables have"));

/// Parses the bytes as each of them; whether they are a condition or a schema.
pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut accepted = filter(text);
    if let Ok(schema) = parse_schema_file(text) {
        assert!(!schema.fields().is_empty(), "a table has columns");
        accepted = true;
    }
    if let Ok(fields) = PartitionField::parse_list(text, &TABLE) {
        let partitioner = Partitioner::new(&TABLE, &fields).expect("just checked");
        let _ = partitioner.parse("c4=7");
    }
    let _ = Partitioner::new(&TABLE, &[]).map(|partitioner| partitioner.parse(text));
    let _ = text.parse::<TableName>().map(|name| assert_eq!(name.to_string().parse::<TableName>().expect("as printed"), name));
    let _ = quantity::parse_bytes(text)
        .map(|bytes| assert_eq!(quantity::parse_bytes(&quantity::print_bytes(bytes)).expect("as printed"), bytes));
    let _ = quantity::parse_duration_ms(text)
        .map(|ms| assert_eq!(quantity::parse_duration_ms(&quantity::print_duration_ms(ms)).expect("as printed"), ms));
    let _ = (Change::add_column(text), Change::rename_column(text), Change::widen_column(text));
    for field in TABLE.fields() {
        if let Ok(value) = parse_value(text, &field.kind) {
            let _ = print_value(value.as_ref(), &field.kind);
        }
    }
    accepted
}

fn filter(text: &str) -> bool {
    let Ok(filter) = text.parse::<Filter>() else { return false };
    let _ = filter.bind(&TABLE);
    if let Ok(bound) = filter.bind(&NULLABLE) {
        let _ = bound.may_match(&|_| None);
        let columns: Vec<&str> = bound.columns().iter().map(|field| field.name.as_str()).collect();
        if let Ok(indexes) = columns.iter().map(|name| ROWS.schema_ref().index_of(name)).collect::<Result<Vec<_>, _>>() {
            let rows = ROWS.project(&indexes).expect("columns that exist");
            let _ = bound.evaluate(&rows);
        }
        let passed = bound.evaluate(&ROWS).expect("all columns are there");
        assert_eq!(passed.len(), ROWS.num_rows());
    }
    true
}
