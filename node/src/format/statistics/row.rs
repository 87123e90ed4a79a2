//! The aligned row of Fluss, as far as bounds need it: null bits (behind 8 reserved bits, in whole words of 8 bytes), a slot
//! of 8 bytes a column, and behind the slots what does not fit into one.
//!
//! A text of up to 7 bytes stands in its slot, with 0x80 + its length in the last byte. A longer text, a decimal of more than
//! 18 digits and a timestamp finer than milliseconds stand behind, and the slot holds their position (upper half) and
//! length, or the nanoseconds within the millisecond (lower half).

use arrow::datatypes::{DataType, TimeUnit};

use super::super::bytes::{align_up, array, i64_at, put};
use super::Value;

const WORD: usize = 8;
/// Bits before the first null bit.
const HEADER_BITS: usize = 8;
/// Bytes of a text that fits into its slot.
const INLINE_BYTES_MAX: usize = 7;
/// Marks a text in its slot.
const INLINE: u8 = 0x80;
/// Digits of a decimal that fits into its slot.
const COMPACT_DIGITS_MAX: u8 = 18;
const DECIMAL_BYTES: usize = 16;

const fn null_bytes(columns: usize) -> usize {
    (columns + HEADER_BITS).div_ceil(64) * WORD
}

/// Bytes of null bits and slots.
pub(super) const fn fixed_bytes(columns: usize) -> usize {
    null_bytes(columns) + WORD * columns
}

/// Units of the column in a millisecond; for seconds, which are coarser, milliseconds in a unit as a negative number.
fn units_per_ms(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => -1000,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1_000_000,
    }
}

/// A time in milliseconds and the nanoseconds that are left; `None` when the milliseconds overflow.
fn to_ms(value: i64, unit: &TimeUnit) -> Option<(i64, i64)> {
    match units_per_ms(unit) {
        factor @ ..0 => Some((value.checked_mul(-factor)?, 0)),
        units => Some((value.div_euclid(units), value.rem_euclid(units) * (1_000_000 / units))),
    }
}

/// The time in the unit of the column. Where the unit is coarser than what is kept, a bound widens.
fn from_ms(ms: i64, nanos: i64, unit: &TimeUnit, upper: bool) -> Option<i64> {
    match units_per_ms(unit) {
        factor @ ..0 => ms.div_euclid(-factor).checked_add(i64::from(upper && ms.rem_euclid(-factor) > 0)),
        units => {
            let unit_nanos = 1_000_000 / units;
            let rest = nanos / unit_nanos + i64::from(upper && nanos % unit_nanos > 0);
            ms.checked_mul(units)?.checked_add(rest)
        }
    }
}

/// Makes a row.
pub(super) struct RowWriter {
    bytes: Vec<u8>,
    columns: usize,
}

impl RowWriter {
    pub(super) fn new(columns: usize) -> Self {
        RowWriter { bytes: vec![0; fixed_bytes(columns)], columns }
    }

    fn slot(&self, position: usize) -> usize {
        null_bytes(self.columns) + WORD * position
    }

    pub(super) fn set_null(&mut self, position: usize) {
        let bit = position + HEADER_BITS;
        self.bytes[bit / 8] |= 1 << (bit % 8);
    }

    /// Whether the value can be kept.
    pub(super) fn fits(&self, data_type: &DataType, value: &Value) -> bool {
        match (data_type, value) {
            (DataType::Decimal128(digits, _), Value::Decimal(value)) => *digits > COMPACT_DIGITS_MAX || i64::try_from(*value).is_ok(),
            (DataType::Timestamp(unit, _), Value::Int(value)) => to_ms(*value, unit).is_some(),
            (DataType::Time32(unit) | DataType::Time64(unit), Value::Int(value)) => {
                to_ms(*value, unit).is_some_and(|(ms, _)| i32::try_from(ms).is_ok())
            }
            _ => true,
        }
    }

    /// Sets the value of a column of this type, which [`RowWriter::fits`].
    pub(super) fn set(&mut self, position: usize, data_type: &DataType, value: &Value) {
        let slot = self.slot(position);
        let word = match (data_type, value) {
            (_, Value::Bool(value)) => i64::from(*value),
            (_, Value::Text(text)) => self.place_text(text.as_bytes()),
            (DataType::Decimal128(digits, _), Value::Decimal(value)) if *digits > COMPACT_DIGITS_MAX => self.place_decimal(*value),
            (_, Value::Decimal(value)) => *value as i64,
            (DataType::Float32, Value::Float(value)) => i64::from((*value as f32).to_bits()),
            (_, Value::Float(value)) => value.to_bits() as i64,
            (DataType::Timestamp(unit, _), Value::Int(value)) => match (to_ms(*value, unit).unwrap_or_default(), unit) {
                ((ms, _), TimeUnit::Second | TimeUnit::Millisecond) => ms,
                ((ms, nanos), _) => self.place(&ms.to_le_bytes(), WORD) | nanos,
            },
            (DataType::Time32(unit) | DataType::Time64(unit), Value::Int(value)) => narrow(to_ms(*value, unit).unwrap_or_default().0, 4),
            (DataType::Int8, Value::Int(value)) => narrow(*value, 1),
            (DataType::Int16, Value::Int(value)) => narrow(*value, 2),
            (DataType::Int32 | DataType::Date32, Value::Int(value)) => narrow(*value, 4),
            (_, Value::Int(value)) => *value,
        };
        put(&mut self.bytes, slot, word.to_le_bytes());
    }

    /// Puts bytes behind the slots and returns the upper half of a slot.
    fn place(&mut self, bytes: &[u8], room: usize) -> i64 {
        let position = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(position + room, 0);
        (position as i64) << 32
    }

    fn place_text(&mut self, text: &[u8]) -> i64 {
        if text.len() > INLINE_BYTES_MAX {
            return self.place(text, align_up(text.len(), WORD)) | text.len() as i64;
        }
        let mut word = [0; WORD];
        word[..text.len()].copy_from_slice(text);
        word[WORD - 1] = INLINE | text.len() as u8;
        i64::from_le_bytes(word)
    }

    /// As few bytes as hold the number, the highest first.
    fn place_decimal(&mut self, value: i128) -> i64 {
        let bytes = value.to_be_bytes();
        let sign = if value < 0 { 0xff } else { 0 };
        let spare = (0..DECIMAL_BYTES - 1).take_while(|at| bytes[*at] == sign && (bytes[at + 1] ^ sign) & 0x80 == 0).count();
        self.place(&bytes[spare..], DECIMAL_BYTES) | (DECIMAL_BYTES - spare) as i64
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The lowest bytes of a number; the others of its slot are zero.
fn narrow(value: i64, bytes: u32) -> i64 {
    value & ((1 << (bytes * 8)) - 1)
}

/// Reads a row; total on any bytes.
pub(super) struct RowReader<'a> {
    bytes: &'a [u8],
    columns: usize,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(columns: usize, bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() >= fixed_bytes(columns)).then_some(RowReader { bytes, columns })
    }

    pub(super) fn is_null(&self, position: usize) -> bool {
        let bit = position + HEADER_BITS;
        self.bytes[bit / 8] & 1 << (bit % 8) != 0
    }

    /// The value of a column of this type, widened if it is not kept exactly. Outside `None`: it makes no sense. Inside:
    /// it cannot be said in the unit of the column.
    pub(super) fn get(&self, position: usize, data_type: &DataType, upper: bool) -> Option<Option<Value>> {
        let at = null_bytes(self.columns) + WORD * position;
        let slot: [u8; WORD] = array(self.bytes, at)?;
        let word = i64::from_le_bytes(slot);
        let int = |value: i64| Some(Some(Value::Int(value)));
        match data_type {
            DataType::Boolean => Some(Some(Value::Bool(slot[0] != 0))),
            DataType::Int8 => int((word as i8).into()),
            DataType::Int16 => int((word as i16).into()),
            DataType::Int32 | DataType::Date32 => int((word as i32).into()),
            DataType::Float32 => Some(Some(Value::Float(f32::from_bits(word as u32).into()))),
            DataType::Float64 => Some(Some(Value::Float(f64::from_bits(word as u64)))),
            DataType::Decimal128(digits, _) if *digits > COMPACT_DIGITS_MAX => self.decimal(word).map(|value| Some(Value::Decimal(value))),
            DataType::Decimal128(..) => Some(Some(Value::Decimal(word.into()))),
            DataType::Time32(unit) | DataType::Time64(unit) => {
                // Kept in milliseconds: what was cut off may have been all but a millisecond.
                let lost = if upper { 999_999 } else { 0 };
                Some(from_ms((word as i32).into(), lost, unit, upper && units_per_ms(unit) < 0).map(Value::Int))
            }
            DataType::Timestamp(unit @ (TimeUnit::Second | TimeUnit::Millisecond), _) => {
                Some(from_ms(word, 0, unit, upper).map(Value::Int))
            }
            DataType::Timestamp(unit, _) => {
                let ms = i64_at(self.bytes, (word as u64 >> 32) as usize)?;
                let nanos = Some(word & 0xffff_ffff).filter(|nanos| *nanos < 1_000_000)?;
                Some(from_ms(ms, nanos, unit, upper).map(Value::Int))
            }
            DataType::Utf8 => std::str::from_utf8(self.text(at, &slot)?).ok().map(|text| Some(Value::Text(text.into()))),
            _ => int(word),
        }
    }

    fn text(&self, at: usize, slot: &[u8; WORD]) -> Option<&'a [u8]> {
        if slot[WORD - 1] & INLINE != 0 {
            return self.bytes.get(at..at + (slot[WORD - 1] & !INLINE) as usize).filter(|text| text.len() <= INLINE_BYTES_MAX);
        }
        self.behind(i64::from_le_bytes(*slot))
    }

    fn behind(&self, word: i64) -> Option<&'a [u8]> {
        let (position, length) = ((word as u64 >> 32) as usize, word as u32 as usize);
        self.bytes.get(position..position.checked_add(length)?)
    }

    fn decimal(&self, word: i64) -> Option<i128> {
        let bytes = self.behind(word).filter(|bytes| (1..=DECIMAL_BYTES).contains(&bytes.len()))?;
        let mut wide = [if bytes[0] & 0x80 == 0 { 0 } else { 0xff }; DECIMAL_BYTES];
        wide[DECIMAL_BYTES - bytes.len()..].copy_from_slice(bytes);
        Some(i128::from_be_bytes(wide))
    }
}
