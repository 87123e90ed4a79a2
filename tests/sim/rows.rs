//! Rows whose every value follows from their number, so that any row that is read can be checked without having been kept.
//!
//! The number of a row holds its key, its partition and how large it is. Numbers grow in the order in which rows are sent.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};

/// Keys of a table are below this.
pub(crate) const KEYS: u64 = 8;

/// Partitions of a table that has some.
pub(crate) const PARTS: [&str; 3] = ["a", "b", "c"];

/// Bytes of a row's payload, from and to, by size class.
const PAYLOAD_BYTES: [(u64, u64); 6] = [(0, 40), (100, 400), (4_000, 6_000), (30_000, 50_000), (150_000, 350_000), (1_100_000, 1_900_000)];

/// The size classes.
pub(crate) const SIZES: u64 = PAYLOAD_BYTES.len() as u64;

/// The size class of which no row fits into a small segment.
pub(crate) const LARGEST: u64 = SIZES - 1;

/// The number of a row.
pub(crate) fn number(serial: u64, size: u64, part: u64, key: u64) -> u64 {
    assert!(size < SIZES && part < PARTS.len() as u64 && key < KEYS, "within the fields of a number");
    serial << 12 | size << 8 | part << 4 | key
}

/// The key of a row.
pub(crate) fn key_of(row: u64) -> u64 {
    row & 0xF
}

/// The partition of a row.
pub(crate) fn part_of(row: u64) -> &'static str {
    PARTS[(row >> 4 & 0xF) as usize]
}

fn mixed(row: u64, with: u64) -> u64 {
    let mixed = (row ^ with.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 29
}

fn payload(row: u64) -> Vec<u8> {
    let (from, to) = PAYLOAD_BYTES[(row >> 8 & 0xF) as usize];
    let bytes = from + mixed(row, 1) % (to - from);
    let mut payload = vec![0; bytes as usize];
    // Not `vec![byte; n]`, which is a slow loop without optimisation.
    payload.fill(mixed(row, 2) as u8);
    payload
}

/// A column behind the four that every table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Tells it from all others, whatever it is called.
    pub(crate) number: u64,
    /// What it is called now.
    pub(crate) name: String,
    /// Whether it was widened from int32 to int64.
    pub(crate) is_wide: bool,
    /// Rows from this number on have values, earlier ones nulls.
    pub(crate) since: u64,
}

impl Column {
    fn value(&self, row: u64) -> Option<i64> {
        (row >= self.since).then(|| i64::from(mixed(row, self.number) as i32))
    }
}

/// The schema with these columns behind the four.
pub(crate) fn schema(columns: &[Column]) -> SchemaRef {
    let mut fields = vec![
        Field::new("row", DataType::Int64, false),
        Field::new("key", DataType::Int32, false),
        Field::new("part", DataType::Utf8, false),
        Field::new("payload", DataType::Binary, false),
    ];
    fields.extend(columns.iter().map(|column| {
        let kind = if column.is_wide { DataType::Int64 } else { DataType::Int32 };
        Field::new(&column.name, kind, true)
    }));
    Arc::new(Schema::new(fields))
}

/// A batch of these rows.
pub(crate) fn batch(rows: &[u64], columns: &[Column]) -> RecordBatch {
    let mut payloads = BinaryBuilder::new();
    rows.iter().for_each(|row| payloads.append_value(payload(*row)));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| *row as i64))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| key_of(*row) as i32))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| part_of(*row)))),
        Arc::new(payloads.finish()),
    ];
    arrays.extend(columns.iter().map(|column| {
        let values = rows.iter().map(|row| column.value(*row));
        if column.is_wide {
            Arc::new(Int64Array::from_iter(values)) as ArrayRef
        } else {
            Arc::new(Int32Array::from_iter(values.map(|value| value.map(|value| value as i32))))
        }
    }));
    RecordBatch::try_new(schema(columns), arrays).expect("arrays fit their schema")
}

/// The rows in a batch that was read with `columns` (some may have been dropped or renamed since). What is in it must be what was sent.
pub(crate) fn check(batch: &RecordBatch, columns: &[Column], is_dropped: impl Fn(&Column) -> bool) -> Result<Vec<u64>, String> {
    let column = |name: &str| batch.column_by_name(name);
    let rows: Vec<u64> = column("row").ok_or("no column row")?.as_primitive::<Int64Type>().values().iter().map(|row| *row as u64).collect();
    let wrong = |index: usize, name: &str| Err(format!("row {} has a wrong value in {name}", rows[index]));
    for (index, row) in rows.iter().enumerate() {
        if column("key").is_some_and(|keys| keys.as_primitive::<Int32Type>().value(index) as u64 != key_of(*row)) {
            return wrong(index, "key");
        }
        if column("part").is_some_and(|parts| parts.as_string::<i32>().value(index) != part_of(*row)) {
            return wrong(index, "part");
        }
        if column("payload").is_some_and(|payloads| payloads.as_binary::<i32>().value(index) != payload(*row)) {
            return wrong(index, "payload");
        }
        for extra in columns {
            let Some(values) = column(&extra.name) else { continue };
            let value = match values.is_null(index) {
                true => None,
                false if extra.is_wide => Some(values.as_primitive::<Int64Type>().value(index)),
                false => Some(i64::from(values.as_primitive::<Int32Type>().value(index))),
            };
            let is_right = value == extra.value(*row) || (is_dropped(extra) && value.is_none());
            if !is_right {
                return wrong(index, &extra.name);
            }
        }
    }
    Ok(rows)
}
