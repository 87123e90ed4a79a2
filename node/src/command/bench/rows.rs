//! The rows of the benches: 20 columns, 169 bytes a row, different from each other, the same in every run.
//!
//! 8 int64, 6 float64, 4 int32 and 2 strings of 16 and 17 bytes, none null. Knows nothing of tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Bytes of a row in Arrow: values, and offsets of strings.
pub(super) const ROW_BYTES: usize = 169;

const KINDS: [(&str, usize, DataType); 4] =
    [("count", 8, DataType::Int64), ("amount", 6, DataType::Float64), ("code", 4, DataType::Int32), ("text", 2, DataType::Utf8)];

/// The columns, `count_0` to `text_1`.
pub(super) fn schema() -> SchemaRef {
    let fields = KINDS
        .iter()
        .flat_map(|(name, columns, kind)| (0..*columns).map(move |column| Field::new(format!("{name}_{column}"), kind.clone(), false)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows from a seed; the first column counts up from `first`.
pub(super) fn batch(schema: &SchemaRef, rows: usize, first: i64, seed: u64) -> RecordBatch {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let columns = schema.fields().iter().enumerate().map(|(index, field)| column(field.data_type(), index, rows, first, &mut random));
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("the columns are made for this schema")
}

fn column(kind: &DataType, index: usize, rows: usize, first: i64, random: &mut Random) -> ArrayRef {
    match kind {
        DataType::Int64 if index == 0 => Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| first + row))),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.next() as i64))),
        DataType::Float64 => Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.next() as f64))),
        DataType::Int32 => Arc::new(Int32Array::from_iter_values((0..rows).map(|_| random.next() as i32))),
        _ => {
            let digits = 16 + index % 2;
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| format!("{:0digits$x}", random.next()))))
        }
    }
}

/// Numbers that do not compress (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn a_row_has_the_bytes_it_is_said_to_have() {
    let rows = 1000;
    let batch = batch(&schema(), rows, 0, 7);
    let bytes: usize = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap()).sum();
    assert_eq!(bytes, rows * ROW_BYTES);
}
