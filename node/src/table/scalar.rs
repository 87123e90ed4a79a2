//! Single values: literals of filters, bounds in statistics, parts of partition keys.
//!
//! Invariant: a scalar has a meaning only beside the type of its column: an integer is a number, an unscaled decimal, a day or
//! a time in the column's unit.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

/// One value, not null, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarRef<'a> {
    /// True or false.
    Boolean(bool),
    /// An integer, an unscaled decimal, days, or a time in the column's unit.
    Integer(i128),
    /// Either width.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes, of fixed length or not.
    Bytes(&'a [u8]),
}

/// One value, not null.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// An integer, an unscaled decimal, days, or a time in the column's unit.
    Integer(i128),
    /// Either width.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes, of fixed length or not.
    Bytes(Vec<u8>),
}

impl Scalar {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ScalarRef<'_> {
        match self {
            Scalar::Boolean(value) => ScalarRef::Boolean(*value),
            Scalar::Integer(value) => ScalarRef::Integer(*value),
            Scalar::Float(value) => ScalarRef::Float(*value),
            Scalar::Text(value) => ScalarRef::Text(value),
            Scalar::Bytes(value) => ScalarRef::Bytes(value),
        }
    }
}

impl<'a> ScalarRef<'a> {
    /// The same value, owned.
    pub fn to_owned(self) -> Scalar {
        match self {
            ScalarRef::Boolean(value) => Scalar::Boolean(value),
            ScalarRef::Integer(value) => Scalar::Integer(value),
            ScalarRef::Float(value) => Scalar::Float(value),
            ScalarRef::Text(value) => Scalar::Text(value.to_string()),
            ScalarRef::Bytes(value) => Scalar::Bytes(value.to_vec()),
        }
    }

    /// The order of two values of one column: text and bytes bytewise, `-0.0` equal to `0.0`.
    /// `None` for values of different kinds and for what cannot be compared, which is NaN.
    pub fn compare(self, other: ScalarRef<'_>) -> Option<Ordering> {
        match (self, other) {
            (ScalarRef::Boolean(a), ScalarRef::Boolean(b)) => Some(a.cmp(&b)),
            (ScalarRef::Integer(a), ScalarRef::Integer(b)) => Some(a.cmp(&b)),
            (ScalarRef::Float(a), ScalarRef::Float(b)) => a.partial_cmp(&b),
            (ScalarRef::Text(a), ScalarRef::Text(b)) => Some(a.cmp(b)),
            (ScalarRef::Bytes(a), ScalarRef::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The value in `row` of an array; `None` when it is null or of a nested or foreign type.
    pub fn at(array: &'a dyn Array, row: usize) -> Option<ScalarRef<'a>> {
        if row >= array.len() || array.is_null(row) {
            return None;
        }
        Some(match array.data_type() {
            DataType::Boolean => ScalarRef::Boolean(array.as_boolean().value(row)),
            DataType::Float32 => ScalarRef::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
            DataType::Float64 => ScalarRef::Float(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(_, _) => ScalarRef::Integer(array.as_primitive::<Decimal128Type>().value(row)),
            DataType::Utf8 => ScalarRef::Text(array.as_string::<i32>().value(row)),
            DataType::Binary => ScalarRef::Bytes(array.as_binary::<i32>().value(row)),
            DataType::FixedSizeBinary(_) => ScalarRef::Bytes(array.as_fixed_size_binary().value(row)),
            _ => ScalarRef::Integer(integer_at(array, row)?),
        })
    }
}

fn integer_at(array: &dyn Array, row: usize) -> Option<i128> {
    use TimeUnit::*;
    fn get<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> i128
    where
        i128: From<T::Native>,
    {
        i128::from(array.as_primitive::<T>().value(row))
    }
    Some(match array.data_type() {
        DataType::Int8 => get::<Int8Type>(array, row),
        DataType::Int16 => get::<Int16Type>(array, row),
        DataType::Int32 => get::<Int32Type>(array, row),
        DataType::Int64 => get::<Int64Type>(array, row),
        DataType::Date32 => get::<Date32Type>(array, row),
        DataType::Time32(Second) => get::<Time32SecondType>(array, row),
        DataType::Time32(Millisecond) => get::<Time32MillisecondType>(array, row),
        DataType::Time64(Microsecond) => get::<Time64MicrosecondType>(array, row),
        DataType::Time64(Nanosecond) => get::<Time64NanosecondType>(array, row),
        DataType::Timestamp(Second, _) => get::<TimestampSecondType>(array, row),
        DataType::Timestamp(Millisecond, _) => get::<TimestampMillisecondType>(array, row),
        DataType::Timestamp(Microsecond, _) => get::<TimestampMicrosecondType>(array, row),
        DataType::Timestamp(Nanosecond, _) => get::<TimestampNanosecondType>(array, row),
        _ => return None,
    })
}

/// An array of one row with `value`; `None` when the value is not one of `data_type`.
pub(super) fn array_of(value: &Scalar, data_type: &DataType) -> Option<ArrayRef> {
    Some(match (value, data_type) {
        (Scalar::Boolean(value), DataType::Boolean) => Arc::new(BooleanArray::from(vec![*value])),
        (Scalar::Float(value), DataType::Float32) => Arc::new(Float32Array::from(vec![*value as f32])),
        (Scalar::Float(value), DataType::Float64) => Arc::new(Float64Array::from(vec![*value])),
        (Scalar::Text(value), DataType::Utf8) => Arc::new(StringArray::from(vec![value.as_str()])),
        (Scalar::Bytes(value), DataType::Binary) => Arc::new(BinaryArray::from(vec![value.as_slice()])),
        (Scalar::Bytes(value), DataType::FixedSizeBinary(width)) => {
            let array = FixedSizeBinaryArray::try_from_iter([value].into_iter()).ok()?;
            if array.value_length() != *width {
                return None;
            }
            Arc::new(array)
        }
        (Scalar::Integer(value), _) => integer_array(*value, data_type)?,
        _ => return None,
    })
}

fn integer_array(value: i128, data_type: &DataType) -> Option<ArrayRef> {
    use TimeUnit::*;
    fn make<T: ArrowPrimitiveType>(value: i128, data_type: &DataType) -> Option<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let native = T::Native::try_from(value).ok()?;
        Some(Arc::new(PrimitiveArray::<T>::from_value(native, 1).with_data_type(data_type.clone())))
    }
    match data_type {
        DataType::Int8 => make::<Int8Type>(value, data_type),
        DataType::Int16 => make::<Int16Type>(value, data_type),
        DataType::Int32 => make::<Int32Type>(value, data_type),
        DataType::Int64 => make::<Int64Type>(value, data_type),
        DataType::Date32 => make::<Date32Type>(value, data_type),
        DataType::Time32(Second) => make::<Time32SecondType>(value, data_type),
        DataType::Time32(Millisecond) => make::<Time32MillisecondType>(value, data_type),
        DataType::Time64(Microsecond) => make::<Time64MicrosecondType>(value, data_type),
        DataType::Time64(Nanosecond) => make::<Time64NanosecondType>(value, data_type),
        DataType::Timestamp(Second, _) => make::<TimestampSecondType>(value, data_type),
        DataType::Timestamp(Millisecond, _) => make::<TimestampMillisecondType>(value, data_type),
        DataType::Timestamp(Microsecond, _) => make::<TimestampMicrosecondType>(value, data_type),
        DataType::Timestamp(Nanosecond, _) => make::<TimestampNanosecondType>(value, data_type),
        DataType::Decimal128(_, _) => make::<Decimal128Type>(value, data_type),
        _ => None,
    }
}
