//! Primary keys as values that compare like the keys: a number for one short column, else bytes.
//!
//! Invariant: keys compare as their columns do, first column first: numbers by value, text and bytes bytewise, false before true, NaN last.
//! The bytes are a format: they stand in run files. docs/format/key.md describes them. Knows nothing of where keys are kept.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type};

use super::literal::print_value;
use super::scalar::ScalarRef;
use super::schema::TableSchema;
use super::stored::{ColumnRef, ColumnsRef};
use super::types::ColumnType;
use crate::error::{Error, Result};

/// A key of more bytes than this is refused.
pub const KEY_BYTES_MAX: usize = 32 << 10;

/// Characters of a value of a key that a message shows.
const SHOWN_CHARS_MAX: usize = 64;

/// Stands for a zero byte within text or bytes.
const ESCAPED_ZERO: [u8; 2] = [0, 0xFF];

/// Stands behind text or bytes: less than anything that may go on.
pub(in crate::table) const END: [u8; 2] = [0, 0];

/// The keys of some rows, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each key is a number.
    Numbers(Vec<u64>),
    /// Each key is a string of bytes.
    Bytes(KeyBytes),
}

/// Strings of bytes, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBytes {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRef<'a> {
    /// As a number.
    Number(u64),
    /// As bytes.
    Bytes(&'a [u8]),
}

impl KeyBytes {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start as usize..self.ends[row] as usize]
    }

    /// Adds one.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
    }
}

impl Keys {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Keys::Numbers(numbers) => numbers.len(),
            Keys::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    #[inline]
    pub fn get(&self, row: usize) -> KeyRef<'_> {
        match self {
            Keys::Numbers(numbers) => KeyRef::Number(numbers[row]),
            Keys::Bytes(bytes) => KeyRef::Bytes(bytes.get(row)),
        }
    }

    /// No keys, of the same shape.
    pub fn empty(&self) -> Keys {
        match self {
            Keys::Numbers(_) => Keys::Numbers(Vec::new()),
            Keys::Bytes(_) => Keys::Bytes(KeyBytes::default()),
        }
    }

    /// Adds one. Panics when it has another shape: all keys of a table have one.
    pub fn push(&mut self, key: KeyRef<'_>) {
        match (self, key) {
            (Keys::Numbers(numbers), KeyRef::Number(number)) => numbers.push(number),
            (Keys::Bytes(all), KeyRef::Bytes(bytes)) => all.push(bytes),
            _ => panic!("a key of another shape"),
        }
    }

    /// The numbers, where keys are numbers.
    pub fn as_numbers(&self) -> Option<&[u64]> {
        match self {
            Keys::Numbers(numbers) => Some(numbers),
            Keys::Bytes(_) => None,
        }
    }

    /// Some of them, which may come more than once.
    pub fn pick(&self, rows: impl Iterator<Item = usize>) -> Keys {
        match self {
            Keys::Numbers(numbers) => Keys::Numbers(rows.map(|row| numbers[row]).collect()),
            Keys::Bytes(bytes) => {
                let mut picked = KeyBytes::default();
                rows.for_each(|row| picked.push(bytes.get(row)));
                Keys::Bytes(picked)
            }
        }
    }

    /// Where a key is among these, which ascend.
    pub fn position(&self, key: KeyRef<'_>) -> Option<usize> {
        match (self, key) {
            (Keys::Numbers(numbers), KeyRef::Number(number)) => numbers.binary_search(&number).ok(),
            _ => {
                let (mut low, mut high) = (0, self.len());
                while low < high {
                    let middle = (low + high) / 2;
                    if self.get(middle) < key { low = middle + 1 } else { high = middle }
                }
                (low < self.len() && self.get(low) == key).then_some(low)
            }
        }
    }

    /// Compares two of them.
    #[inline]
    pub fn compare(&self, left: usize, right: usize) -> Ordering {
        self.get(left).cmp(&self.get(right))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        match self {
            Keys::Numbers(numbers) => numbers.capacity() * 8,
            Keys::Bytes(bytes) => bytes.ends.capacity() * 4 + bytes.bytes.capacity(),
        }
    }
}

/// Makes keys of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEncoder {
    /// The key's columns, by their place in the batch.
    columns: Vec<usize>,
    names: Vec<String>,
    is_number: bool,
}

impl KeyEncoder {
    /// For batches of `schema`, whose key has the columns with these field ids, in this order.
    ///
    /// # Errors
    /// Invalid when the key is empty, names no column, or a column of a type that has no order, or one that may be null.
    pub fn new(schema: &TableSchema, key: &[i32]) -> Result<Self> {
        let mut columns = Vec::with_capacity(key.len());
        let mut names = Vec::with_capacity(key.len());
        for id in key {
            let index =
                schema.index_of_id(*id).ok_or_else(|| Error::invalid("the key names a column that does not exist").at("field id", id))?;
            let field = &schema.fields()[index];
            if field.kind.is_nested() {
                return Err(Error::invalid("a nested column cannot be part of a key").at("column", &field.name));
            }
            columns.push(index);
            names.push(field.name.clone());
        }
        let is_number = match columns[..] {
            [] => return Err(Error::invalid("a key needs a column")),
            [only] => is_short(&schema.fields()[only].kind),
            _ => false,
        };
        Ok(KeyEncoder { columns, names, is_number })
    }

    /// Places of the key's columns.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether keys are numbers.
    pub fn is_number(&self) -> bool {
        self.is_number
    }

    /// The key of a row as people read it, for messages: `user=7,page=/cart`. A long value is cut off.
    pub fn text(&self, schema: &TableSchema, batch: &RecordBatch, row: usize) -> String {
        let part = |(column, name): (&usize, &String)| {
            let value = ScalarRef::at(batch.column(*column), row).map(|value| print_value(value, &schema.fields()[*column].kind));
            let value = value.unwrap_or_default();
            match value.char_indices().nth(SHOWN_CHARS_MAX) {
                Some((end, _)) => format!("{name}={}...", &value[..end]),
                None => format!("{name}={value}"),
            }
        };
        self.columns.iter().zip(&self.names).map(part).collect::<Vec<_>>().join(",")
    }

    /// Checks that the keys of a batch are not too long, without making them where that is plain from their longest texts.
    ///
    /// # Errors
    /// As [`KeyEncoder::encode`].
    pub fn check(&self, batch: &RecordBatch) -> Result<()> {
        let bound: usize = self.columns.iter().filter_map(|index| batch.columns().get(*index)).map(bytes_bound).sum();
        match bound <= KEY_BYTES_MAX && bound.saturating_mul(batch.num_rows()) <= u32::MAX as usize {
            true => Ok(()),
            false => self.encode(batch).map(drop),
        }
    }

    /// The keys of a batch that has the schema this was made for.
    ///
    /// # Errors
    /// Invalid for a null in a key, with its column and row; Exhausted for a key of more than [`KEY_BYTES_MAX`] bytes.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Keys> {
        self.encode_columns(batch.into())
    }

    /// As [`KeyEncoder::encode`], of rows as they are stored, too.
    ///
    /// # Errors
    /// As [`KeyEncoder::encode`].
    pub fn encode_columns(&self, batch: ColumnsRef<'_>) -> Result<Keys> {
        if self.columns.iter().any(|index| *index >= batch.schema().fields().len()) {
            return Err(Error::invalid("the batch lacks a column of the key"));
        }
        for (index, name) in self.columns.iter().zip(&self.names) {
            let column = batch.column(*index);
            if let Some(row) = column.has_nulls().then(|| (0..column.len()).find(|row| column.as_array().is_null(*row))).flatten() {
                return Err(Error::invalid("a key must not be null").at("column", name).at("row", row));
            }
        }
        if self.is_number {
            return numbers(batch.column(self.columns[0])).map(Keys::Numbers);
        }
        let columns: Vec<ArrayRef> = self.columns.iter().map(|index| batch.array(*index)).collect();
        let parts = columns.iter().map(Part::of).collect::<Result<Vec<_>>>()?;
        let rows = batch.rows();
        let mut keys = KeyBytes { ends: Vec::with_capacity(rows), bytes: Vec::with_capacity(rows * 16) };
        for row in 0..rows {
            let start = keys.bytes.len();
            parts.iter().for_each(|part| part.write(row, &mut keys.bytes));
            if keys.bytes.len() - start > KEY_BYTES_MAX || keys.bytes.len() > u32::MAX as usize {
                let large = Error::exhausted(format!("a key of {} bytes, the most is {KEY_BYTES_MAX}", keys.bytes.len() - start));
                return Err(large.at("row", row).hint("use a shorter key, such as a hash of it"));
            }
            keys.ends.push(keys.bytes.len() as u32);
        }
        Ok(Keys::Bytes(keys))
    }
}

/// The most bytes that a value of a column has as a part of a key.
fn bytes_bound(column: &ArrayRef) -> usize {
    let longest = |offsets: &[i32]| offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0);
    match column.data_type() {
        DataType::Utf8 => ESCAPED_ZERO.len() * longest(column.as_string::<i32>().value_offsets()) + END.len(),
        DataType::Binary => ESCAPED_ZERO.len() * longest(column.as_binary::<i32>().value_offsets()) + END.len(),
        DataType::FixedSizeBinary(bytes) => *bytes as usize,
        _ => size_of::<i128>(),
    }
}

/// The bytes of one value as a part of a key. Those of a key that is a number are its first ones; the others are zero.
///
/// # Errors
/// Invalid for a type that no key has.
pub fn encode_value(values: &ArrayRef, row: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Part::of(values)?.write(row, &mut bytes);
    Ok(bytes)
}

/// Bytes of every value of a type as a part of a key; `None` for texts and bytes, which differ in length and have an end of their own.
pub fn value_bytes(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Utf8 | DataType::Binary => None,
        DataType::FixedSizeBinary(bytes) => Some(*bytes as usize),
        other => Some(width(other)),
    }
}

/// Whether a column of this type alone is a number of at most 8 bytes.
fn is_short(kind: &ColumnType) -> bool {
    !matches!(kind, ColumnType::Decimal { .. } | ColumnType::Utf8 | ColumnType::Binary | ColumnType::FixedBinary(_)) && !kind.is_nested()
}

/// One column of a key of several, or of a long one.
enum Part<'a> {
    /// The number, and how many bytes it has.
    Number(Vec<u64>, usize),
    Decimal(&'a [i128]),
    Escaped(Vec<&'a [u8]>),
    Plain(Vec<&'a [u8]>),
}

impl<'a> Part<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let rows = 0..column.len();
        Ok(match column.data_type() {
            DataType::Utf8 => Part::Escaped(rows.map(|row| column.as_string::<i32>().value(row).as_bytes()).collect()),
            DataType::Binary => Part::Escaped(rows.map(|row| column.as_binary::<i32>().value(row)).collect()),
            DataType::FixedSizeBinary(_) => Part::Plain(rows.map(|row| column.as_fixed_size_binary().value(row)).collect()),
            DataType::Decimal128(..) => Part::Decimal(column.as_primitive::<Decimal128Type>().values()),
            other => Part::Number(numbers(column.into())?, width(other)),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            // Its bytes stand at the upper end.
            Part::Number(numbers, width) => out.extend_from_slice(&numbers[row].to_be_bytes()[..*width]),
            Part::Decimal(numbers) => out.extend_from_slice(&(numbers[row] ^ i128::MIN).to_be_bytes()),
            Part::Plain(values) => out.extend_from_slice(values[row]),
            Part::Escaped(values) => {
                let mut rest = values[row];
                while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
                    out.extend_from_slice(&rest[..zero]);
                    out.extend_from_slice(&ESCAPED_ZERO);
                    rest = &rest[zero + 1..];
                }
                out.extend_from_slice(rest);
                out.extend_from_slice(&END);
            }
        }
    }
}

fn width(data_type: &DataType) -> usize {
    if *data_type == DataType::Boolean { 1 } else { data_type.primitive_width().unwrap_or(8) }
}

/// A column of at most 8 bytes a value, as numbers that compare as its values do. Their bytes stand at the upper end.
fn numbers(column: ColumnRef<'_>) -> Result<Vec<u64>> {
    use DataType::{Boolean, Date32, Float32, Float64, Int8, Int16, Int32, Int64, Time32, Time64, Timestamp};
    Ok(match column.data_type() {
        Boolean => {
            let (bytes, first) = column.truths();
            (first..first + column.len()).map(|bit| u64::from(bytes[bit / 8] >> (bit % 8) & 1) << 56).collect()
        }
        Float32 => {
            let number = |bytes: &[u8; 4]| {
                let value = f32::from_le_bytes(*bytes);
                let bits = if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
                u64::from(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }) << 32
            };
            column.fixed().as_chunks().0.iter().map(number).collect()
        }
        Float64 => {
            let number = |bytes: &[u8; 8]| {
                let value = f64::from_le_bytes(*bytes);
                let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
                if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
            };
            column.fixed().as_chunks().0.iter().map(number).collect()
        }
        Int8 => signed(column, |bytes: &[u8; 1]| u64::from(u8::from_le_bytes(*bytes)) << 56),
        Int16 => signed(column, |bytes: &[u8; 2]| u64::from(u16::from_le_bytes(*bytes)) << 48),
        Int32 | Date32 | Time32(_) => signed(column, |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes)) << 32),
        Int64 | Time64(_) | Timestamp(..) => signed(column, |bytes: &[u8; 8]| u64::from_le_bytes(*bytes)),
        other => return Err(Error::invalid(format!("a column of type {other} cannot be part of a key"))),
    })
}

/// Signed numbers; `upper` puts the bytes of one at the upper end.
fn signed<const BYTES: usize>(column: ColumnRef<'_>, upper: impl Fn(&[u8; BYTES]) -> u64) -> Vec<u64> {
    column.fixed().as_chunks().0.iter().map(|bytes| upper(bytes) ^ 1 << 63).collect()
}

#[cfg(test)]
mod tests;
