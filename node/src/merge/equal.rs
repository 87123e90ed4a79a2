//! Whether values of one column are equal, for many pairs of rows.
//!
//! Equal are values that are stored the same: zero and minus zero are not, a NaN and itself are. Knows nothing of rows as a whole.

use arrow::datatypes::DataType;

use super::reference::Ref;
use crate::table::stored::ColumnRef;

/// Keeps the pairs whose values are equal: `sources[slot]` is the column in each slot, all of one type.
pub(super) fn retain_equal(sources: &[ColumnRef<'_>], pairs: &mut Vec<(Ref, Ref, u32)>) {
    let Some(first) = sources.first() else { return };
    let validity: Vec<Option<(&[u8], usize)>> = sources.iter().map(|source| source.validity()).collect();
    let is_null = |row: Ref| validity[row.slot()].is_some_and(|bits| !bit(bits, row.row()));
    let equal_by = |pairs: &mut Vec<(Ref, Ref, u32)>, is_same: &dyn Fn(Ref, Ref) -> bool| {
        pairs.retain(|(left, right, _)| match (is_null(*left), is_null(*right)) {
            (false, false) => is_same(*left, *right),
            (left, right) => left && right,
        });
    };
    match first.data_type() {
        DataType::Boolean => equal_by(pairs, &|left, right| {
            let value = |row: Ref| bit(sources[row.slot()].truths(), row.row());
            value(left) == value(right)
        }),
        DataType::Utf8 | DataType::Binary => equal_by(pairs, &|left, right| {
            let value = |row: Ref| text(sources[row.slot()], row.row());
            value(left) == value(right)
        }),
        other => match other.primitive_width() {
            Some(width) => {
                let values: Vec<&[u8]> = sources.iter().map(|source| source.fixed()).collect();
                let value = |row: Ref| &values[row.slot()][row.row() * width..(row.row() + 1) * width];
                equal_by(pairs, &|left, right| value(left) == value(right));
            }
            None => equal_by(pairs, &|left, right| {
                let value = |row: Ref| sources[row.slot()].as_array().slice(row.row(), 1);
                value(left).to_data() == value(right).to_data()
            }),
        },
    }
}

fn bit((bytes, first): (&[u8], usize), row: usize) -> bool {
    bytes[(first + row) / 8] >> ((first + row) % 8) & 1 == 1
}

fn text(column: ColumnRef<'_>, row: usize) -> &[u8] {
    let (offsets, bytes) = column.texts();
    let offset = |row: usize| u32::from_le_bytes(offsets[row]) as usize;
    &bytes[offset(row)..offset(row + 1)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Which of the rows of the second slot equal the row at their place in the first.
    fn equal(left: ArrayRef, right: ArrayRef) -> Vec<u32> {
        let mut pairs = (0..left.len()).map(|row| (Ref::new(0, row), Ref::new(1, row), row as u32)).collect();
        retain_equal(&[(&left).into(), (&right).into()], &mut pairs);
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
