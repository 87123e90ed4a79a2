//! Segments that a real Fluss wrote: every row is read back, and the same rows encode to the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::datatypes::*;
use serde_json::Value;

use super::log_batch::{self, Batches};
use super::{BatchMeta, Compression, Decoder, Encoder, Layout};

const LOG_TABLES: [(&str, Compression); 6] = [
    ("flat_none", Compression::None),
    ("flat_lz4", Compression::Lz4),
    ("flat_zstd", Compression::Zstd(3)),
    ("complex_none", Compression::None),
    ("segments", Compression::None),
    ("parted", Compression::None),
];
const CHANGELOGS: [&str; 3] = ["pk_full", "pk_wal", "pk_zstd"];

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A golden table: schema, what was written, and its segments.
struct Golden {
    schema: SchemaRef,
    json: Value,
    segments: Vec<Vec<u8>>,
}

fn open(table: &str) -> Golden {
    let folder = folder().join("fluss").join(table);
    let json: Value = serde_json::from_slice(&read(&folder.join("rows.json"))).unwrap();
    let fields: Vec<Field> = json["arrow"].as_array().unwrap().iter().map(field).collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    assert!(!files.is_empty(), "no segments of {table}");
    Golden { schema: Arc::new(Schema::new(fields)), json, segments: files.iter().map(|path| read(path)).collect() }
}

#[expect(clippy::disallowed_methods, reason = "golden files are read as they are")]
pub(super) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn field(entry: &Value) -> Field {
    Field::new(entry[0].as_str().unwrap(), data_type(entry[1].as_str().unwrap()), entry[2].as_bool().unwrap())
}

/// Splits `a: int32, b: list<..>` at the commas that stand outside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn inner<'a>(text: &'a str, open: &str) -> Option<&'a str> {
    text.strip_prefix(open).map(|rest| &rest[..rest.len() - 1])
}

fn data_type(text: &str) -> DataType {
    if let Some(item) = inner(text, "list<item: ") {
        return DataType::List(Arc::new(Field::new("item", data_type(item), true)));
    }
    if let Some(fields) = inner(text, "struct<") {
        let fields = split(fields).into_iter().map(|field| field.split_once(": ").unwrap());
        return DataType::Struct(fields.map(|(name, kind)| Field::new(name, data_type(kind), true)).collect());
    }
    if let Some(parts) = inner(text, "map<") {
        let parts = split(parts);
        let entries = [Field::new("key", data_type(parts[0]), false), Field::new("value", data_type(parts[1]), true)];
        return DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into_iter().collect()), false)), false);
    }
    if let Some(parts) = inner(text, "decimal128(") {
        let parts = split(parts);
        return DataType::Decimal128(parts[0].parse().unwrap(), parts[1].parse().unwrap());
    }
    if let Some(width) = inner(text, "fixed_size_binary[") {
        return DataType::FixedSizeBinary(width.parse().unwrap());
    }
    match text {
        "bool" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date32[day]" => DataType::Date32,
        "time32[ms]" => DataType::Time32(TimeUnit::Millisecond),
        "time32[s]" => DataType::Time32(TimeUnit::Second),
        "time64[us]" => DataType::Time64(TimeUnit::Microsecond),
        "time64[ns]" => DataType::Time64(TimeUnit::Nanosecond),
        "timestamp[s]" => DataType::Timestamp(TimeUnit::Second, None),
        "timestamp[ms]" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "timestamp[us]" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp[ns]" => DataType::Timestamp(TimeUnit::Nanosecond, None),
        "timestamp[us, tz=UTC]" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => panic!("type {other}"),
    }
}

/// One value in the form of `rows.json`, floats as text that parses to the same number.
pub(super) fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let hex = |bytes: &[u8]| Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let rows = |values: ArrayRef| (0..values.len()).map(|row| value(&values, row)).collect();
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).into(),
        DataType::Time32(TimeUnit::Second) => array.as_primitive::<Time32SecondType>().value(row).into(),
        DataType::Time32(_) => array.as_primitive::<Time32MillisecondType>().value(row).into(),
        DataType::Time64(TimeUnit::Nanosecond) => array.as_primitive::<Time64NanosecondType>().value(row).into(),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row).into(),
        DataType::Timestamp(TimeUnit::Second, _) => array.as_primitive::<TimestampSecondType>().value(row).into(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().value(row).into(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        DataType::List(_) => rows(array.as_list::<i32>().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Object(fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row))).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let pair = |row| Value::from(vec![value(entries.column(0), row), value(entries.column(1), row)]);
            (0..entries.len()).map(pair).collect()
        }
        other => panic!("type {other}"),
    }
}

/// Floats stand as text in `rows.json`.
pub(super) fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::String(text)) => text.parse::<f64>().is_ok_and(|wanted| found.as_f64() == Some(wanted)),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| same(found, wanted))
        }
        _ => found == wanted,
    }
}

/// All rows of a table in order, one `Value::Array` a row, with the change type of each.
fn rows(golden: &Golden) -> Vec<(i8, Value)> {
    let decoder = Decoder::new(&golden.schema).unwrap();
    let mut rows = Vec::new();
    for segment in &golden.segments {
        let whole = Buffer::from(segment.as_slice());
        for batch in Batches::new(segment) {
            let batch = batch.unwrap();
            batch.header.verify(batch.bytes).unwrap();
            let changes = batch.header.change_types(batch.bytes).unwrap();
            // Where it lies in the file, aligned or not.
            let decoded = decoder.decode(&whole.slice_with_length(batch.position, batch.bytes.len())).unwrap();
            assert_eq!(decoded.num_rows(), batch.header.rows);
            for row in 0..decoded.num_rows() {
                let values = decoded.columns().iter().map(|column| value(column, row)).collect();
                rows.push((changes.map_or(0, |types| types[row] as i8), values));
            }
        }
    }
    rows
}

#[test]
fn reads_every_row_of_the_log_tables() {
    for (table, _) in LOG_TABLES {
        let golden = open(table);
        let wanted: Vec<&Value> = golden.json["ops"].as_array().unwrap().iter().flat_map(|op| op["rows"].as_array().unwrap()).collect();
        let found = rows(&golden);
        assert_eq!(found.len(), wanted.len(), "{table}");
        for (row, ((change, found), wanted)) in found.iter().zip(wanted).enumerate() {
            assert_eq!(*change, 0);
            assert!(same(found, wanted), "{table} row {row}: {found} is not {wanted}");
        }
    }
}

/// What the changelog of a primary-key table must be, by the operations that made it.
fn replay(json: &Value) -> Vec<(i8, Value)> {
    let names: Vec<&str> = json["arrow"].as_array().unwrap().iter().map(|column| column[0].as_str().unwrap()).collect();
    let only_after = json["properties"]["table.changelog.image"] == "WAL";
    let (mut state, mut log) = (std::collections::BTreeMap::<String, Value>::new(), Vec::new());
    for op in json["ops"].as_array().unwrap() {
        for row in op["rows"].as_array().unwrap() {
            if op["op"] == "delete" {
                log.extend(state.remove(&row.to_string()).map(|old| (4, old)));
                continue;
            }
            let key = row[0].to_string();
            let old = state.get(&key).cloned();
            let mut new = row.clone();
            if op["op"] == "partial" {
                new = old.clone().unwrap_or_else(|| Value::from(vec![Value::Null; names.len()]));
                for (column, value) in op["columns"].as_array().unwrap().iter().zip(row.as_array().unwrap()) {
                    new[names.iter().position(|name| column == name).unwrap()] = value.clone();
                }
            }
            match old {
                _ if only_after => log.push((3, new.clone())),
                None => log.push((1, new.clone())),
                Some(old) => log.extend([(2, old), (3, new.clone())]),
            }
            state.insert(key, new);
        }
    }
    log
}

#[test]
fn reads_every_change_of_the_changelogs() {
    for table in CHANGELOGS {
        let golden = open(table);
        let (found, wanted) = (rows(&golden), replay(&golden.json));
        assert_eq!(found.len(), wanted.len(), "{table}");
        for (row, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert!(found.0 == wanted.0 && same(&found.1, &wanted.1), "{table} row {row}: {found:?} is not {wanted:?}");
        }
    }
}

#[test]
fn encodes_log_tables_to_the_same_bytes() {
    for (table, compression) in LOG_TABLES {
        let golden = open(table);
        let (decoder, encoder) = (Decoder::new(&golden.schema).unwrap(), Encoder::new(&golden.schema, Layout::Fluss, compression).unwrap());
        for segment in &golden.segments {
            let whole = Buffer::from(segment.as_slice());
            for batch in Batches::new(segment) {
                let (batch, at) = batch.map(|batch| (batch, batch.position)).unwrap();
                let rows = decoder.decode(&whole.slice_with_length(at, batch.bytes.len())).unwrap();
                let header = batch.header;
                let meta =
                    BatchMeta { schema_id: header.schema_id, writer_id: header.writer_id, sequence: header.sequence, change_types: None };
                let mut out = vec![0xAA; encoder.size_bound(&rows, &meta)];
                let length = encoder.encode(&rows, &meta, &mut out).unwrap();
                log_batch::patch(&mut out, header.base_offset, header.commit_timestamp);
                let first = out[..length].iter().zip(batch.bytes).position(|(ours, theirs)| ours != theirs);
                assert_eq!((length, first), (batch.bytes.len(), None), "{table}, batch at {at}");
            }
        }
    }
}
