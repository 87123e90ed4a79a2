//! What is known of the values of one column in a set of rows, for skipping the set.
//!
//! Invariant: every value that is not null lies within the bounds that are given. Knows nothing of where they are stored.

use arrow::array::*;
use arrow::compute::{max, max_boolean, max_string, min, min_boolean, min_string};
use arrow::datatypes::*;

use super::scalar::ScalarRef;

/// Bounds and null count of a column in some rows.
///
/// Bounds need not be values of the column, only hold them all. A NaN as bound says nothing, and a column of floats that
/// contains a NaN must have a NaN as bound, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnStatistics<'a> {
    /// No value is less; `None` if that is not known, or all are null.
    pub min: Option<ScalarRef<'a>>,
    /// No value is greater; `None` if that is not known, or all are null.
    pub max: Option<ScalarRef<'a>>,
    /// How many values are null.
    pub null_count: u64,
    /// How many rows.
    pub rows: u64,
}

impl<'a> ColumnStatistics<'a> {
    /// Of a column that these rows do not have: they were written before it was added.
    pub fn all_null(rows: u64) -> Self {
        ColumnStatistics { min: None, max: None, null_count: rows, rows }
    }

    /// Of an array; `None` for nested types, bytes, and what is no type of a table.
    pub fn of(array: &'a dyn Array) -> Option<Self> {
        let (min, max) = bounds(array)?;
        Some(ColumnStatistics { min, max, null_count: array.null_count() as u64, rows: array.len() as u64 })
    }
}

type Bounds<'a> = (Option<ScalarRef<'a>>, Option<ScalarRef<'a>>);

fn bounds(array: &dyn Array) -> Option<Bounds<'_>> {
    use TimeUnit::*;
    Some(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            (min_boolean(array).map(ScalarRef::Boolean), max_boolean(array).map(ScalarRef::Boolean))
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            (min_string(array).map(ScalarRef::Text), max_string(array).map(ScalarRef::Text))
        }
        DataType::Float32 => floats(array.as_primitive::<Float32Type>()),
        DataType::Float64 => floats(array.as_primitive::<Float64Type>()),
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::Decimal128(_, _) => integers::<Decimal128Type>(array),
        DataType::Date32 => integers::<Date32Type>(array),
        DataType::Time32(Second) => integers::<Time32SecondType>(array),
        DataType::Time32(_) => integers::<Time32MillisecondType>(array),
        DataType::Time64(Microsecond) => integers::<Time64MicrosecondType>(array),
        DataType::Time64(_) => integers::<Time64NanosecondType>(array),
        DataType::Timestamp(Second, _) => integers::<TimestampSecondType>(array),
        DataType::Timestamp(Millisecond, _) => integers::<TimestampMillisecondType>(array),
        DataType::Timestamp(Microsecond, _) => integers::<TimestampMicrosecondType>(array),
        DataType::Timestamp(Nanosecond, _) => integers::<TimestampNanosecondType>(array),
        _ => return None,
    })
}

fn integers<T: ArrowNumericType>(array: &dyn Array) -> Bounds<'_>
where
    i128: From<T::Native>,
{
    let array = array.as_primitive::<T>();
    let scalar = |value| ScalarRef::Integer(i128::from(value));
    (min(array).map(scalar), max(array).map(scalar))
}

/// Arrow orders floats totally: a NaN is less or greater than all numbers, so it shows in one of the bounds.
fn floats<'a, T: ArrowNumericType>(array: &PrimitiveArray<T>) -> Bounds<'a>
where
    f64: From<T::Native>,
{
    let scalar = |value| ScalarRef::Float(f64::from(value));
    (min(array).map(scalar), max(array).map(scalar))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_of_the_types() {
        let of =
            |array: &dyn Array| ColumnStatistics::of(array).map(|known| format!("{:?} {:?} {}", known.min, known.max, known.null_count));
        let ints = Int16Array::from(vec![Some(3), None, Some(-4)]);
        assert_eq!(of(&ints).expect("ints"), "Some(Integer(-4)) Some(Integer(3)) 1");
        let text = StringArray::from(vec!["b", "a", "c"]);
        assert_eq!(of(&text).expect("text"), "Some(Text(\"a\")) Some(Text(\"c\")) 0");
        assert_eq!(of(&Int32Array::from(vec![None])).expect("nulls"), "None None 1");
        assert!(of(&BinaryArray::from(vec![&b"x"[..]])).is_none());
    }

    proptest! {
        #[test]
        fn a_nan_shows_in_the_bounds(
            mut values in prop::collection::vec(any::<f64>(), 0..70),
            at in any::<prop::sample::Index>(),
            negative: bool,
        ) {
            values.push(0.0);
            let at = at.index(values.len());
            values[at] = if negative { -f64::NAN } else { f64::NAN };
            let array = Float64Array::from(values);
            let known = ColumnStatistics::of(&array).expect("floats");
            let is_nan = |bound| matches!(bound, Some(ScalarRef::Float(value)) if value.is_nan());
            prop_assert!(is_nan(known.min) || is_nan(known.max));
        }
    }
}
