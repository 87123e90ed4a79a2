//! Which Arrow types hold every value of which others, or the whole ones, and the cast between them.
//!
//! Invariant: a cast to a type that holds every value never changes one: it succeeds or it fails. Knows types without nested fields only; `conform` and
//! `mapping` walk the nested ones.

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};

use crate::error::{Error, Result};

/// Whether every value of `from` has its equal in `to`, but for times out of the range of a finer unit.
pub(super) fn holds(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    if from == to {
        return true;
    }
    if let Some((signed, bits)) = integer(from) {
        return holds_integer(signed, bits, to);
    }
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), _) => holds(values, to),
        (RunEndEncoded(_, values), _) => holds(values.data_type(), to),
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (
            Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) | Decimal256(precision, scale),
            Decimal128(wider, longer),
        ) => longer >= scale && i16::from(*wider) - i16::from(*longer) >= i16::from(*precision) - i16::from(*scale),
        (Date64, Timestamp(unit, None)) => *unit != TimeUnit::Second,
        (Time32(coarse) | Time64(coarse), Time32(fine) | Time64(fine)) => rank(*coarse) <= rank(*fine),
        (Timestamp(coarse, from_zone), Timestamp(fine, to_zone)) => {
            from_zone.is_some() == to_zone.is_some() && rank(*coarse) <= rank(*fine)
        }
        (LargeUtf8 | Utf8View, Utf8) => true,
        (LargeBinary | BinaryView | FixedSizeBinary(_), Binary) => true,
        _ => false,
    }
}

/// Whether `to` is a coarser unit of the times in `from`, so that it holds those that are whole in it.
pub(super) fn coarsens(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Dictionary(_, values), _) => coarsens(values, to),
        (RunEndEncoded(_, values), _) => coarsens(values.data_type(), to),
        (Date64, Date32 | Timestamp(TimeUnit::Second, None)) => true,
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) | (Timestamp(_, _), Timestamp(_, _)) => !holds(from, to) && holds(to, from),
        _ => false,
    }
}

/// The type of times as [`coarsens`] takes them when each stands for itself, and dates have a unit as timestamps do.
pub(super) fn plain_time(from: &DataType) -> DataType {
    match from {
        DataType::Dictionary(_, values) => plain_time(values),
        DataType::RunEndEncoded(_, values) => plain_time(values.data_type()),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        plain => plain.clone(),
    }
}

/// Casts to a type that [`holds`] the one of `array`; free when they are the same.
///
/// # Errors
/// Invalid when a value is out of range (times in a finer unit, text beyond 2 GiB).
pub(super) fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    match (from, to) {
        _ if from == to => Ok(array.clone()),
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(_, values), _) if **values != *to => cast(&through(array, &[], values)?, to),
        (DataType::RunEndEncoded(_, values), _) if values.data_type() != to => cast(&through(array, &[], values.data_type())?, to),
        // Arrow multiplies dates and times of a day without a look at the range, and what stands behind nulls too; timestamps it looks at.
        (DataType::Date64, DataType::Timestamp(_, _)) => through(array, &[DataType::Timestamp(TimeUnit::Millisecond, None)], to),
        (DataType::Time32(given) | DataType::Time64(given), DataType::Time32(wanted) | DataType::Time64(wanted)) => {
            let narrow = if matches!(to, DataType::Time32(_)) { DataType::Int32 } else { DataType::Int64 };
            let moments = |unit: &TimeUnit| DataType::Timestamp(*unit, None);
            through(array, &[DataType::Int64, moments(given), moments(wanted), DataType::Int64, narrow], to)
        }
        _ => through(array, &[], to),
    }
}

/// Casts from type to type.
fn through(array: &ArrayRef, steps: &[DataType], to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let step = |array: ArrayRef, to: &DataType| cast_with_options(&array, to, &options);
    let failed = |error| Error::invalid(format!("cannot convert {} to {to}", array.data_type())).caused_by(error);
    steps.iter().chain([to]).try_fold(array.clone(), step).map_err(failed)
}

fn holds_integer(signed: bool, bits: u8, to: &DataType) -> bool {
    if let Some((to_signed, to_bits)) = integer(to) {
        return to_signed && (to_bits > bits || signed && to_bits == bits);
    }
    let digits = match bits {
        8 => 3,
        16 => 5,
        32 => 10,
        _ => 19 + i16::from(!signed),
    };
    match to {
        DataType::Float32 => bits <= 16,
        DataType::Float64 => bits <= 32,
        DataType::Decimal128(precision, scale) => i16::from(*precision) - i16::from(*scale) >= digits,
        _ => false,
    }
}

/// Whether an integer type is signed, and its bits.
fn integer(data_type: &DataType) -> Option<(bool, u8)> {
    Some(match data_type {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

fn rank(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}
