//! Rows one by one: as stores of keys and values take them, and as sums are made of them.
//!
//! A key is eight bytes that sort as its number does; a value is the other columns one behind the other, numbers low byte first, text behind its length.
//! Invariant: equal rows have equal bytes, whatever form they came in, so that sums of any two stores can be compared. Knows nothing of stores.

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};

use super::keys::mix;

/// Bytes of a key.
pub const KEY_BYTES: usize = 8;

/// The bytes of a key.
pub fn key_bytes(key: i64) -> [u8; KEY_BYTES] {
    (key as u64 ^ 1 << 63).to_be_bytes()
}

/// A row as key and value.
pub fn split(row: &[u8]) -> (&[u8], &[u8]) {
    row.split_at(KEY_BYTES)
}

/// Rows, each a key and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Rows {
    /// The rows of a batch of columns.
    pub fn of(batch: &RecordBatch) -> Rows {
        let mut rows = Rows::default();
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            write(&columns, row, &mut rows.bytes);
            rows.ends.push(rows.bytes.len());
        }
        rows
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All keys and values, one behind the other.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each row, its key in front of its value.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// A column to be read row by row.
enum Column<'a> {
    Long(&'a [i64]),
    Short(&'a [i32]),
    Real(&'a [f64]),
    Text(&'a StringArray),
}

fn columns(batch: &RecordBatch) -> Vec<Column<'_>> {
    batch.columns().iter().map(column).collect()
}

fn column(column: &ArrayRef) -> Column<'_> {
    match column.data_type() {
        DataType::Int64 => Column::Long(column.as_primitive::<Int64Type>().values()),
        DataType::Int32 => Column::Short(column.as_primitive::<Int32Type>().values()),
        DataType::Float64 => Column::Real(column.as_primitive::<Float64Type>().values()),
        DataType::Utf8 => Column::Text(column.as_string()),
        other => unreachable!("no shape has a column of {other}"),
    }
}

/// Adds the bytes of a row.
fn write(columns: &[Column<'_>], row: usize, bytes: &mut Vec<u8>) {
    for (index, column) in columns.iter().enumerate() {
        match column {
            Column::Long(keys) if index == 0 => bytes.extend_from_slice(&key_bytes(keys[row])),
            Column::Long(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Column::Short(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Column::Real(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Column::Text(values) => {
                let text = values.value(row).as_bytes();
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text);
            }
        }
    }
}

/// A number for all bytes of a row.
pub fn hash(row: &[u8]) -> u64 {
    let (words, rest) = row.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last));
    words.fold(row.len() as u64, |hash, word| mix(hash ^ u64::from_le_bytes(*word)))
}

/// Rows summed up, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// The sum of their numbers.
    pub hash: u64,
}

impl Sum {
    /// Adds a row by its number.
    pub fn add_hash(&mut self, hash: u64) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hash);
    }

    /// Adds a row, its key in front of its value.
    pub fn add(&mut self, row: &[u8]) {
        self.add_hash(hash(row));
    }

    /// Adds all rows of a batch.
    pub fn add_batch(&mut self, batch: &RecordBatch) {
        let columns = columns(batch);
        let mut bytes = Vec::new();
        for row in 0..batch.num_rows() {
            bytes.clear();
            write(&columns, row, &mut bytes);
            self.add(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::shape::Shape;

    #[test]
    fn both_forms_give_one_sum_and_each_value_counts() {
        for shape in Shape::ALL {
            let batch = shape.batch(&[3, 1, 2], 7);
            let (mut by_columns, mut by_rows) = (Sum::default(), Sum::default());
            by_columns.add_batch(&batch);
            Rows::of(&batch).iter().for_each(|row| by_rows.add(row));
            assert_eq!(by_columns, by_rows);
            for row in Rows::of(&batch).iter() {
                for byte in 0..row.len() {
                    let mut changed = row.to_vec();
                    changed[byte] ^= 1;
                    assert_ne!(hash(row), hash(&changed), "byte {byte}");
                }
            }
        }
    }

    #[test]
    fn keys_sort_as_their_numbers_do() {
        let keys = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        assert!(keys.map(key_bytes).is_sorted());
    }
}
