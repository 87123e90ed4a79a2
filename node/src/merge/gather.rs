//! A column from rows of several batches, in any order: the one copy that a flush, a merge or a scan makes of it.
//!
//! Invariant: row `n` of the result is the value of reference `n`; a reference to no row gives null. Types without a kernel here (nested ones) go by
//! Arrow's interleave.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::reference::Ref;
use crate::error::{Error, Result};

/// Gathers a column: `sources[slot]` is the column in each slot, all of one type.
///
/// # Errors
/// Exhausted when the texts of the result are too long for one array.
pub fn gather(data_type: &DataType, sources: &[&ArrayRef], rows: &[Ref]) -> Result<ArrayRef> {
    if sources.is_empty() || rows.iter().all(|row| *row == Ref::NONE) {
        return Ok(new_null_array(data_type, rows.len()));
    }
    let nulls = gather_nulls(sources, rows);
    let width = match data_type {
        DataType::Boolean => return Ok(gather_booleans(sources, rows, nulls)),
        DataType::Utf8 | DataType::Binary => return gather_texts(data_type, sources, rows, nulls),
        other => other.primitive_width(),
    };
    let buffer = match width {
        Some(1) => gather_values::<u8>(sources, rows),
        Some(2) => gather_values::<i16>(sources, rows),
        Some(4) => gather_values::<i32>(sources, rows),
        Some(8) => gather_values::<i64>(sources, rows),
        Some(16) => gather_values::<i128>(sources, rows),
        _ => return interleave(data_type, sources, rows),
    };
    let data = ArrayData::builder(data_type.clone()).len(rows.len()).nulls(nulls).add_buffer(buffer);
    Ok(make_array(data.build().map_err(|error| Error::internal("gathered values are no array").caused_by(error))?))
}

fn gather_nulls(sources: &[&ArrayRef], rows: &[Ref]) -> Option<NullBuffer> {
    let nulls: Vec<Option<&NullBuffer>> = sources.iter().map(|source| source.nulls()).collect();
    let has_none = rows.contains(&Ref::NONE);
    if !has_none && nulls.iter().all(Option::is_none) {
        return None;
    }
    let is_valid = |index: usize| {
        let row = rows[index];
        row != Ref::NONE && nulls[row.slot()].is_none_or(|nulls| nulls.is_valid(row.row()))
    };
    Some(NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_valid)))
}

fn gather_values<T: ArrowNativeType>(sources: &[&ArrayRef], rows: &[Ref]) -> Buffer {
    let data: Vec<ArrayData> = sources.iter().map(|source| source.to_data()).collect();
    let values: Vec<&[T]> = data.iter().map(|data| &data.buffers()[0].typed_data::<T>()[data.offset()..]).collect();
    let value = |row: &Ref| if *row == Ref::NONE { T::default() } else { values[row.slot()][row.row()] };
    Buffer::from_vec(rows.iter().map(value).collect::<Vec<T>>())
}

fn gather_booleans(sources: &[&ArrayRef], rows: &[Ref], nulls: Option<NullBuffer>) -> ArrayRef {
    let values: Vec<&BooleanBuffer> = sources.iter().map(|source| source.as_boolean().values()).collect();
    let value = |index: usize| rows[index] != Ref::NONE && values[rows[index].slot()].value(rows[index].row());
    Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), value), nulls))
}

fn gather_texts(data_type: &DataType, sources: &[&ArrayRef], rows: &[Ref], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let parts: Vec<(&[i32], &[u8])> = sources
        .iter()
        .map(|source| match source.data_type() {
            DataType::Utf8 => (source.as_string::<i32>().value_offsets(), source.as_string::<i32>().value_data()),
            _ => (source.as_binary::<i32>().value_offsets(), source.as_binary::<i32>().value_data()),
        })
        .collect();
    let text = |row: Ref| -> &[u8] {
        if row == Ref::NONE {
            return &[];
        }
        let (offsets, bytes) = parts[row.slot()];
        &bytes[offsets[row.row()] as usize..offsets[row.row() + 1] as usize]
    };
    let mut offsets: Vec<i32> = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    let mut total = 0_usize;
    for row in rows {
        total += text(*row).len();
        offsets.push(total as i32);
    }
    if total > i32::MAX as usize {
        return Err(
            Error::exhausted(format!("{total} bytes of text in one column of a merge")).hint("smaller rows, or fewer versions of a row")
        );
    }
    let mut bytes = MutableBuffer::with_capacity(total);
    rows.iter().for_each(|row| bytes.extend_from_slice(text(*row)));
    let data =
        ArrayData::builder(data_type.clone()).len(rows.len()).nulls(nulls).add_buffer(Buffer::from_vec(offsets)).add_buffer(bytes.into());
    // Whole values of valid texts are valid; that Arrow looks at them again is the price of a safe constructor.
    Ok(make_array(data.build().map_err(|error| Error::internal("gathered texts are no array").caused_by(error))?))
}

fn interleave(data_type: &DataType, sources: &[&ArrayRef], rows: &[Ref]) -> Result<ArrayRef> {
    let nothing = new_null_array(data_type, 1);
    let mut arrays: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
    arrays.push(nothing.as_ref());
    let place = |row: &Ref| if *row == Ref::NONE { (sources.len(), 0) } else { (row.slot(), row.row()) };
    let places: Vec<(usize, usize)> = rows.iter().map(place).collect();
    arrow::compute::interleave(&arrays, &places).map_err(|error| Error::internal("cannot gather a column").caused_by(error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int8Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;

    fn columns(seed: u8, rows: usize) -> Vec<ArrayRef> {
        let value = |row: usize| (row as i64 * 31 + i64::from(seed) * 7) % 11;
        let kept = |row: usize| !(row + seed as usize).is_multiple_of(3);
        let maybe = |row: usize| kept(row).then(|| value(row));
        let lists = (0..rows).map(|row| maybe(row).map(|value| vec![Some(value as i32), None]));
        vec![
            Arc::new(Int8Array::from_iter((0..rows).map(|row| maybe(row).map(|value| value as i8)))),
            Arc::new(Int32Array::from_iter_values((0..rows).map(|row| value(row) as i32))),
            Arc::new(Float64Array::from_iter((0..rows).map(|row| maybe(row).map(|value| value as f64)))),
            Arc::new(Decimal128Array::from_iter((0..rows).map(|row| maybe(row).map(i128::from)))),
            Arc::new(BooleanArray::from_iter((0..rows).map(|row| maybe(row).map(|value| value > 5)))),
            Arc::new(StringArray::from_iter((0..rows).map(|row| maybe(row).map(|value| "x".repeat(value as usize))))),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ]
    }

    proptest! {
        #[test]
        fn is_what_interleave_gives(sizes in proptest::collection::vec(1_usize..40, 1..5), picks in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..60), cut in 0_usize..3) {
            let slots: Vec<Vec<ArrayRef>> = sizes.iter().enumerate().map(|(seed, rows)| columns(seed as u8, rows + cut)).collect();
            let rows: Vec<Ref> = picks
                .iter()
                .map(|(slot, row)| match *slot as usize % (sizes.len() + 1) {
                    slot if slot == sizes.len() => Ref::NONE,
                    slot => Ref::new(slot, *row as usize % sizes[slot]),
                })
                .collect();
            for column in 0..slots[0].len() {
                // Sliced, so that arrays begin within their buffers.
                let sources: Vec<ArrayRef> = slots.iter().map(|slot| slot[column].slice(cut, slot[column].len() - cut)).collect();
                let sources: Vec<&ArrayRef> = sources.iter().collect();
                let data_type = sources[0].data_type().clone();
                let found = gather(&data_type, &sources, &rows).unwrap();
                prop_assert_eq!(&found, &interleave(&data_type, &sources, &rows).unwrap());
            }
        }
    }
}
