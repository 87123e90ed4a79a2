//! A column from rows of several batches, in any order: the one copy that a flush, a merge or a scan makes of it.
//!
//! Invariant: row `n` of the result is the value of reference `n`; a reference to no row gives null. Types without a kernel here (nested ones) go by
//! Arrow's interleave.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, BooleanArray, make_array, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{BinaryType, DataType, Utf8Type};

use super::kernels::{Bits, Fixed, Picks, Texts};
use super::reference::Ref;
use crate::error::{Error, Result};
use crate::table::stored::ColumnRef;

/// Gathers a column: `sources[slot]` is the column in each slot, all of one type.
///
/// # Errors
/// Exhausted when the texts of the result are too long for one array.
pub fn gather(data_type: &DataType, sources: &[ColumnRef<'_>], rows: &[Ref]) -> Result<ArrayRef> {
    let lengths: Vec<u32> = sources.iter().map(|source| source.len() as u32).collect();
    Source::new(data_type, sources).array(Picks::new(rows, &lengths))
}

/// A column in some slots, ready to be copied by reference.
pub struct Source<'a> {
    data_type: &'a DataType,
    /// Where no slot has nulls, `None`.
    nulls: Option<Bits<'a>>,
    values: Values<'a>,
}

enum Values<'a> {
    Fixed(Fixed<'a>),
    Bits(Bits<'a>),
    Texts(Texts<'a, Utf8Type>),
    Binary(Texts<'a, BinaryType>),
    Other(Vec<&'a ArrayRef>),
}

/// Takes the number of bytes of a buffer, and what fills them.
pub type Place<'a> = &'a mut dyn FnMut(usize, &mut dyn FnMut(&mut [u8]));

impl<'a> Source<'a> {
    /// Of a column of this type in each slot.
    pub fn new(data_type: &'a DataType, slots: &[ColumnRef<'a>]) -> Self {
        let has_nulls = slots.iter().any(|slot| slot.has_nulls());
        let nulls = has_nulls.then(|| Bits::new(slots.iter().map(|slot| (slot.validity(), slot.len()))));
        let values = match data_type {
            DataType::Boolean => Values::Bits(Bits::new(slots.iter().map(|slot| (Some(slot.truths()), slot.len())))),
            DataType::Utf8 => Values::Texts(Texts::new(slots.iter().copied())),
            DataType::Binary => Values::Binary(Texts::new(slots.iter().copied())),
            other => match other.primitive_width().and_then(|width| Fixed::new(width, slots.iter().map(|slot| slot.fixed()))) {
                Some(fixed) => Values::Fixed(fixed),
                None => Values::Other(slots.iter().map(|slot| slot.as_array()).collect()),
            },
        };
        Source { data_type, nulls, values }
    }

    /// Whether [`Source::write`] can write it.
    pub fn has_kernel(&self) -> bool {
        !matches!(self.values, Values::Other(_))
    }

    /// The values of `picks`.
    ///
    /// # Errors
    /// As [`gather`].
    pub fn array(&self, picks: Picks<'_>) -> Result<ArrayRef> {
        if picks.rows().iter().all(|row| *row == Ref::NONE) {
            return Ok(new_null_array(self.data_type, picks.len()));
        }
        let nulls = self.validity(picks).map(|bytes| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bytes), 0, picks.len())));
        let buffer = match &self.values {
            Values::Fixed(values) => values.buffer(picks),
            Values::Bits(values) => {
                let mut bytes = vec![0; picks.len().div_ceil(8)];
                values.copy(picks, &mut bytes);
                return Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bytes), 0, picks.len()), nulls)));
            }
            Values::Texts(texts) => return texts.array(picks, nulls).ok_or_else(too_long),
            Values::Binary(texts) => return texts.array(picks, nulls).ok_or_else(too_long),
            Values::Other(sources) => return interleave(self.data_type, sources, picks.rows()),
        };
        let data = ArrayData::builder(self.data_type.clone()).len(picks.len()).nulls(nulls).add_buffer(buffer);
        Ok(make_array(data.build().map_err(|error| Error::internal("gathered values are no array").caused_by(error))?))
    }

    /// Hands the buffers of the values of `picks` to `place`, in Arrow's order: validity (of no bytes where nothing is null), then those of the type. Gives
    /// the number of nulls. Only with [`Source::has_kernel`].
    ///
    /// # Errors
    /// As [`gather`].
    pub fn write(&self, picks: Picks<'_>, place: Place<'_>) -> Result<usize> {
        let validity = self.validity(picks).unwrap_or_default();
        let nulls = if validity.is_empty() { 0 } else { picks.len() - count_ones(&validity) };
        match nulls {
            0 => place(0, &mut |_| {}),
            _ => place(validity.len(), &mut |out| out.copy_from_slice(&validity)),
        }
        let mut end = 0;
        let offsets_bytes = (picks.len() + 1) * size_of::<i32>();
        match &self.values {
            Values::Fixed(values) => place(picks.len() * values.width(), &mut |out| values.copy(picks, out)),
            Values::Bits(values) => place(picks.len().div_ceil(8), &mut |out| _ = values.copy(picks, out)),
            Values::Texts(texts) => {
                place(offsets_bytes, &mut |out| end = texts.copy_offsets(picks, out));
                place(fitting(end)?, &mut |out| texts.copy(picks, out));
            }
            Values::Binary(texts) => {
                place(offsets_bytes, &mut |out| end = texts.copy_offsets(picks, out));
                place(fitting(end)?, &mut |out| texts.copy(picks, out));
            }
            Values::Other(_) => return Err(Error::internal("a column without a kernel is gathered as an array")),
        }
        Ok(nulls)
    }

    /// One bit a value; `None` when none can be null.
    fn validity(&self, picks: Picks<'_>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; if self.nulls.is_some() || picks.has_none() { picks.len().div_ceil(8) } else { return None }];
        match &self.nulls {
            Some(nulls) => _ = nulls.copy(picks, &mut bytes),
            None => picks.copy_presence(&mut bytes),
        }
        Some(bytes)
    }
}

fn count_ones(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| byte.count_ones() as usize).sum()
}

fn fitting(end: usize) -> Result<usize> {
    if i32::try_from(end).is_ok() { Ok(end) } else { Err(too_long()) }
}

fn too_long() -> Error {
    Error::exhausted("too many bytes of text in one column of a merge").hint("smaller rows, or fewer versions of a row")
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
    use arrow::array::{AsArray, Decimal128Array, Float64Array, Int8Array, Int32Array, ListArray, StringArray};
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

    /// What is written of a column: nulls, and each buffer.
    fn written(source: &Source<'_>, picks: Picks<'_>) -> (usize, Vec<Vec<u8>>) {
        let mut buffers = Vec::new();
        let nulls = source.write(picks, &mut |bytes, fill| {
            let mut buffer = vec![0xA5; bytes];
            fill(&mut buffer);
            buffers.push(buffer);
        });
        (nulls.unwrap(), buffers)
    }

    /// The same of an array that begins where its buffers do.
    fn buffers(array: &ArrayRef) -> (usize, Vec<Vec<u8>>) {
        let data = array.to_data();
        let bits = |bits: &BooleanBuffer| (0..bits.len().div_ceil(8)).map(|byte| byte_of(bits, byte)).collect::<Vec<u8>>();
        let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map_or(Vec::new(), |nulls| bits(nulls.inner()));
        let mut all = vec![validity];
        match array.data_type() {
            DataType::Boolean => all.push(bits(array.as_boolean().values())),
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                all.push(data.buffers()[0].as_slice()[..(texts.len() + 1) * 4].to_vec());
                all.push(texts.value_data()[..texts.value_offsets()[texts.len()] as usize].to_vec());
            }
            other => all.push(data.buffers()[0].as_slice()[..array.len() * other.primitive_width().unwrap()].to_vec()),
        }
        (array.null_count(), all)
    }

    fn byte_of(bits: &BooleanBuffer, byte: usize) -> u8 {
        (0..8).filter(|bit| byte * 8 + bit < bits.len() && bits.value(byte * 8 + bit)).fold(0, |all, bit| all | 1 << bit)
    }

    #[test]
    #[should_panic(expected = "row 3 of slot 0")]
    fn a_row_that_a_slot_does_not_have_is_refused() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let _ = gather(&DataType::Int32, &[(&column).into()], &[Ref::new(0, 2), Ref::new(0, 3)]);
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
                let columns: Vec<ColumnRef<'_>> = sources.iter().map(|source| (*source).into()).collect();
                let found = gather(&data_type, &columns, &rows).unwrap();
                let expected = interleave(&data_type, &sources, &rows).unwrap();
                prop_assert_eq!(&found, &expected);
                let lengths: Vec<u32> = sources.iter().map(|source| source.len() as u32).collect();
                let source = Source::new(&data_type, &columns);
                if source.has_kernel() {
                    prop_assert_eq!(written(&source, Picks::new(&rows, &lengths)), buffers(&expected));
                }
            }
        }
    }
}
