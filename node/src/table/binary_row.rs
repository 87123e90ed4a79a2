//! Paimon's BinaryRow of some columns, row by row: null bits behind an 8-bit header, 8 bytes a field, then what does not fit.
//!
//! Source of the format: Paimon's `BinaryRowWriter` as its generated projections call it; byte tables in docs/format/bucketing.md.
//! Invariant: the bytes equal those of Paimon's Java engine. Knows nothing of what they are used for.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;

use crate::error::{Error, Result};

/// Bits in front of the null bits.
pub(super) const HEADER_BITS: usize = 8;
/// Longest string that stands in the slot itself.
pub(super) const INLINE_LENGTH_MAX: usize = 7;
/// Most digits of a decimal that stands in the slot itself.
pub(super) const COMPACT_PRECISION_MAX: u8 = 18;
/// Bytes that a wide decimal takes, whatever its value.
pub(super) const WIDE_DECIMAL_LENGTH: usize = 16;

/// The bytes of the null bits of a row with so many fields, header included.
pub(super) fn null_bits_length(fields: usize) -> usize {
    (fields + HEADER_BITS).div_ceil(64) * 8
}

/// The values of one column, in the form in which the rows take them.
enum Values<'a> {
    /// Eight bytes a row, little endian, zero where null.
    Slots(Vec<u64>),
    Text(&'a arrow::array::StringArray),
    Bytes(&'a arrow::array::BinaryArray),
    FixedBytes(&'a arrow::array::FixedSizeBinaryArray),
    Decimal(&'a [i128]),
    /// Times, and how many steps of their unit make a millisecond.
    Time(&'a [i64], i64),
}

/// Columns that rows are made of.
pub(super) struct Columns<'a> {
    values: Vec<Values<'a>>,
    nulls: Vec<Option<&'a NullBuffer>>,
    rows: usize,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// Invalid when a column has a type that no key can have.
    pub(super) fn new(arrays: &[&'a ArrayRef], rows: usize) -> Result<Self> {
        let values = arrays.iter().copied().map(values).collect::<Result<_>>()?;
        let nulls = arrays.iter().copied().map(|array| array.nulls().filter(|nulls| nulls.null_count() > 0)).collect();
        Ok(Columns { values, nulls, rows })
    }

    /// How many rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there are no nulls.
    pub(super) fn is_dense(&self) -> bool {
        self.nulls.iter().all(Option::is_none)
    }

    /// The slots of every column, if no value needs more: then a row is its null bits and its slots.
    pub(super) fn slots(&self) -> Option<Vec<&[u64]>> {
        self.values.iter().map(|values| if let Values::Slots(slots) = values { Some(slots.as_slice()) } else { None }).collect()
    }

    /// Writes the null bits of a row over `bytes`, which are zero before.
    pub(super) fn write_null_bits(&self, row: usize, bytes: &mut [u8]) {
        for (field, nulls) in self.nulls.iter().enumerate() {
            let bit = field + HEADER_BITS;
            bytes[bit / 8] |= u8::from(nulls.is_some_and(|nulls| nulls.is_null(row))) << (bit % 8);
        }
    }

    /// Replaces what is in `bytes` by the row, without the arity that Paimon puts in front when it stores one.
    pub(super) fn write_row(&self, row: usize, bytes: &mut Vec<u8>) {
        let head = null_bits_length(self.values.len());
        bytes.clear();
        bytes.resize(head + 8 * self.values.len(), 0);
        self.write_null_bits(row, bytes);
        for (field, (values, nulls)) in self.values.iter().zip(&self.nulls).enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            let slot = values.write(row, is_null, bytes);
            bytes[head + 8 * field..][..8].copy_from_slice(&slot.to_le_bytes());
        }
    }
}

impl Values<'_> {
    /// The slot of a row; what does not fit in it goes behind `bytes`.
    fn write(&self, row: usize, is_null: bool, bytes: &mut Vec<u8>) -> u64 {
        match self {
            Values::Slots(slots) => slots[row],
            // Paimon keeps the room of a wide value that is null, so that it can be set later.
            Values::Decimal(_) if is_null => append(bytes, &[], WIDE_DECIMAL_LENGTH),
            Values::Time(..) if is_null => append(bytes, &[], 8),
            _ if is_null => 0,
            Values::Text(array) => short_or_append(bytes, array.value(row).as_bytes()),
            Values::Bytes(array) => short_or_append(bytes, array.value(row)),
            Values::FixedBytes(array) => short_or_append(bytes, array.value(row)),
            Values::Decimal(values) => {
                let big_endian = values[row].to_be_bytes();
                append(bytes, minimal(&big_endian), WIDE_DECIMAL_LENGTH)
            }
            Values::Time(values, steps_per_ms) => {
                let (ms, rest) = (values[row].div_euclid(*steps_per_ms), values[row].rem_euclid(*steps_per_ms));
                let nanoseconds = rest * (1_000_000 / steps_per_ms);
                append(bytes, &ms.to_le_bytes(), 8) & !0xffff_ffff | nanoseconds as u64
            }
        }
    }
}

fn short_or_append(bytes: &mut Vec<u8>, value: &[u8]) -> u64 {
    if value.len() > INLINE_LENGTH_MAX {
        return append(bytes, value, value.len().next_multiple_of(8));
    }
    let mut slot = [0; 8];
    slot[..value.len()].copy_from_slice(value);
    slot[7] = 0x80 | value.len() as u8;
    u64::from_le_bytes(slot)
}

/// Appends `value` and zeros up to `room` bytes; gives the slot that points there.
fn append(bytes: &mut Vec<u8>, value: &[u8], room: usize) -> u64 {
    let offset = bytes.len();
    bytes.extend_from_slice(value);
    bytes.resize(offset + room, 0);
    (offset as u64) << 32 | value.len() as u64
}

/// A big-endian two's complement number without the bytes in front that only repeat its sign.
fn minimal(big_endian: &[u8; 16]) -> &[u8] {
    let sign = if big_endian[0] & 0x80 == 0 { 0x00 } else { 0xff };
    let repeats = big_endian.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    &big_endian[repeats..]
}

fn values(array: &ArrayRef) -> Result<Values<'_>> {
    use TimeUnit::*;
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            Values::Slots((0..values.len()).map(|row| u64::from(values.is_valid(row) && values.value(row))).collect())
        }
        DataType::Int8 => slots::<Int8Type>(array, |value| u64::from(value as u8)),
        DataType::Int16 => slots::<Int16Type>(array, |value| u64::from(value as u16)),
        DataType::Int32 => slots::<Int32Type>(array, |value| u64::from(value as u32)),
        DataType::Int64 => slots::<Int64Type>(array, |value| value as u64),
        DataType::Float32 => slots::<Float32Type>(array, |value| u64::from(value.to_bits())),
        DataType::Float64 => slots::<Float64Type>(array, f64::to_bits),
        DataType::Date32 => slots::<Date32Type>(array, |value| u64::from(value as u32)),
        DataType::Time32(Second) => slots::<Time32SecondType>(array, |value| u64::from(value.wrapping_mul(1000) as u32)),
        DataType::Time32(_) => slots::<Time32MillisecondType>(array, |value| u64::from(value as u32)),
        DataType::Time64(Microsecond) => slots::<Time64MicrosecondType>(array, |value| u64::from(value.div_euclid(1000) as u32)),
        DataType::Time64(_) => slots::<Time64NanosecondType>(array, |value| u64::from(value.div_euclid(1_000_000) as u32)),
        DataType::Timestamp(Second, _) => slots::<TimestampSecondType>(array, |value| value.wrapping_mul(1000) as u64),
        DataType::Timestamp(Millisecond, _) => slots::<TimestampMillisecondType>(array, |value| value as u64),
        DataType::Timestamp(Microsecond, _) => Values::Time(array.as_primitive::<TimestampMicrosecondType>().values(), 1000),
        DataType::Timestamp(Nanosecond, _) => Values::Time(array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000),
        DataType::Decimal128(precision, _) if *precision <= COMPACT_PRECISION_MAX => slots::<Decimal128Type>(array, |value| value as u64),
        DataType::Decimal128(_, _) => Values::Decimal(array.as_primitive::<Decimal128Type>().values()),
        DataType::Utf8 => Values::Text(array.as_string()),
        DataType::Binary => Values::Bytes(array.as_binary()),
        DataType::FixedSizeBinary(_) => Values::FixedBytes(array.as_fixed_size_binary()),
        other => return Err(Error::invalid(format!("a value of type {other} cannot be part of a key"))),
    })
}

fn slots<T: ArrowPrimitiveType>(array: &ArrayRef, slot: impl Fn(T::Native) -> u64) -> Values<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    let values = array.values().iter();
    Values::Slots(match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => values.map(|value| slot(*value)).collect(),
        Some(nulls) => values.zip(nulls.iter()).map(|(value, valid)| if valid { slot(*value) } else { 0 }).collect(),
    })
}
