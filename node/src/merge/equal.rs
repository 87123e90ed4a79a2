//! Whether values of one column are equal, for many pairs of rows.
//!
//! Equal are values that are stored the same: zero and minus zero are not, a NaN and itself are. Knows nothing of rows as a whole.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use arrow::downcast_primitive_array;

use super::reference::Ref;

/// Keeps the pairs whose values are equal: `sources[slot]` is the column in each slot, all of one type.
pub(super) fn retain_equal(sources: &[&ArrayRef], pairs: &mut Vec<(Ref, Ref, u32)>) {
    let Some(first) = sources.first() else { return };
    let nulls: Vec<Option<&NullBuffer>> = sources.iter().map(|source| source.nulls()).collect();
    let is_null = |row: Ref| nulls[row.slot()].is_some_and(|nulls| nulls.is_null(row.row()));
    let equal_by = |pairs: &mut Vec<(Ref, Ref, u32)>, is_same: &dyn Fn(Ref, Ref) -> bool| {
        pairs.retain(|(left, right, _)| match (is_null(*left), is_null(*right)) {
            (false, false) => is_same(*left, *right),
            (left, right) => left && right,
        });
    };
    match first.data_type() {
        DataType::Boolean => equal_by(pairs, &|left, right| {
            let value = |row: Ref| sources[row.slot()].as_boolean().value(row.row());
            value(left) == value(right)
        }),
        DataType::Utf8 => equal_by(pairs, &|left, right| {
            let value = |row: Ref| sources[row.slot()].as_string::<i32>().value(row.row());
            value(left) == value(right)
        }),
        DataType::Binary => equal_by(pairs, &|left, right| {
            let value = |row: Ref| sources[row.slot()].as_binary::<i32>().value(row.row());
            value(left) == value(right)
        }),
        other => match other.primitive_width() {
            Some(1) => equal_by(pairs, &same_values::<u8>(sources)),
            Some(2) => equal_by(pairs, &same_values::<i16>(sources)),
            Some(4) => equal_by(pairs, &same_values::<i32>(sources)),
            Some(8) => equal_by(pairs, &same_values::<i64>(sources)),
            Some(16) => equal_by(pairs, &same_values::<i128>(sources)),
            _ => equal_by(pairs, &|left, right| {
                let value = |row: Ref| sources[row.slot()].slice(row.row(), 1);
                value(left).to_data() == value(right).to_data()
            }),
        },
    }
}

fn same_values<'a, T: ArrowNativeType + PartialEq>(sources: &[&'a ArrayRef]) -> impl Fn(Ref, Ref) -> bool + use<'a, T> {
    let values: Vec<&'a [T]> = sources.iter().map(|source| values(source).typed_data::<T>()).collect();
    move |left, right| values[left.slot()][left.row()] == values[right.slot()][right.row()]
}

/// The bytes of values of fixed width.
pub(super) fn values(array: &ArrayRef) -> &Buffer {
    downcast_primitive_array!(
        array => array.values().inner(),
        other => unreachable!("{other} has no values of fixed width")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeBinaryArray, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Which of the rows of the second slot equal the row at their place in the first.
    fn equal(left: ArrayRef, right: ArrayRef) -> Vec<u32> {
        let mut pairs = (0..left.len()).map(|row| (Ref::new(0, row), Ref::new(1, row), row as u32)).collect();
        retain_equal(&[&left, &right], &mut pairs);
        pairs.into_iter().map(|pair| pair.2).collect()
    }

    #[test]
    fn values_that_are_stored_the_same_are_equal() {
        let numbers = |values: [Option<i32>; 4]| -> ArrayRef { Arc::new(Int32Array::from(values.to_vec())) };
        assert_eq!(equal(numbers([Some(1), Some(2), None, None]), numbers([Some(1), Some(3), None, Some(0)])), [0, 2]);
        let floats = |values: [f64; 3]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        assert_eq!(equal(floats([f64::NAN, 0.0, 1.5]), floats([f64::NAN, -0.0, 1.5])), [0, 2]);
        let texts = |values: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        assert_eq!(equal(texts([Some("a"), None, Some("")]), texts([Some("a"), Some(""), Some("")])), [0, 2]);
        let lists =
            |values: [Vec<Option<i32>>; 2]| -> ArrayRef { Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(values.map(Some))) };
        assert_eq!(equal(lists([vec![Some(1), None], vec![]]), lists([vec![Some(1), None], vec![None]])), [0]);
        let bytes = |values: [&[u8; 2]; 2]| -> ArrayRef { Arc::new(FixedSizeBinaryArray::try_from_iter(values.into_iter()).unwrap()) };
        assert_eq!(equal(bytes([b"ab", b"cd"]), bytes([b"ab", b"ce"])), [0]);
    }
}
