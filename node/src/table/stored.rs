//! Rows of a table by columns: as arrays, or as they stand in the bytes of a stored batch, where they are checked but not made to arrays before somebody asks.
//!
//! A merge or a lookup goes over many small batches and copies few values of each by their places. An array for each column of each batch would cost more than
//! that copy. Invariant: what [`Stored`] shows of values is what arrays of them would show: lengths, nulls, the order of offsets and UTF-8 were checked when it
//! was made. This module knows nothing of how a batch is laid out.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, downcast_primitive_array, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::error::{Error, Result};

/// Bytes of an offset of a text.
const OFFSET_BYTES: usize = size_of::<i32>();

/// Where a column stands: ranges of bytes, which may be longer than its values are.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// How many values are null.
    pub nulls: usize,
    /// A bit a value; of no matter when nothing is null.
    pub validity: Range<usize>,
    /// Of texts and bytes only: where each begins among the values, and where the last ends.
    pub offsets: Range<usize>,
    /// The values.
    pub values: Range<usize>,
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct Stored {
    schema: SchemaRef,
    rows: usize,
    bytes: Buffer,
    places: Vec<Place>,
    arrays: OnceLock<RecordBatch>,
}

impl Stored {
    /// Whether columns of this type can be read where they stand.
    pub fn holds(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Boolean | DataType::Utf8 | DataType::Binary) || data_type.primitive_width().is_some()
    }

    /// Rows with these columns, which stand at these places of `bytes`. All types are such that [`Stored::holds`] them.
    ///
    /// # Errors
    /// Corrupt when what stands there is no such column.
    pub fn new(schema: SchemaRef, rows: usize, bytes: Buffer, mut places: Vec<Place>) -> Result<Self> {
        assert_eq!(schema.fields().len(), places.len(), "a place for each column");
        for (place, field) in places.iter_mut().zip(schema.fields()) {
            let at = |error: Error| error.at("column", field.name());
            if place.nulls > 0 && !field.is_nullable() {
                return Err(at(bad("nulls in a column that has none")));
            }
            check(field.data_type(), rows, &bytes, place).map_err(at)?;
        }
        Ok(Stored { schema, rows, bytes, places, arrays: OnceLock::new() })
    }

    /// All columns as arrays, which are made only once.
    pub fn batch(&self) -> &RecordBatch {
        self.arrays.get_or_init(|| {
            let columns = (0..self.places.len()).map(|column| self.array(column)).collect();
            RecordBatch::try_new(self.schema.clone(), columns).expect("the columns were checked")
        })
    }

    /// One column as an array.
    fn array(&self, column: usize) -> ArrayRef {
        let place = &self.places[column];
        let part = |range: &Range<usize>| self.bytes.slice_with_length(range.start, range.len());
        let data = ArrayData::builder(self.schema.field(column).data_type().clone()).len(self.rows);
        let data = if place.nulls > 0 { data.null_bit_buffer(Some(part(&place.validity))) } else { data };
        let data = if place.offsets.is_empty() { data } else { data.add_buffer(part(&place.offsets)) };
        let data = data.add_buffer(part(&place.values)).align_buffers(true).build();
        make_array(data.expect("the column was checked"))
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    fn project(&self, schema: &SchemaRef, columns: &[usize]) -> Stored {
        let places = columns.iter().map(|column| self.places[*column].clone()).collect();
        Stored { schema: schema.clone(), rows: self.rows, bytes: self.bytes.clone(), places, arrays: OnceLock::new() }
    }
}

/// Checks a column, and cuts its place to what belongs to it.
fn check(data_type: &DataType, rows: usize, bytes: &Buffer, place: &mut Place) -> Result<()> {
    if place.nulls > 0 {
        cut(&mut place.validity, rows.div_ceil(8), bytes)?;
        let valid = BooleanBuffer::new(bytes.slice_with_length(place.validity.start, place.validity.len()), 0, rows).count_set_bits();
        if valid + place.nulls != rows {
            return Err(bad("a column with another number of nulls than it says").at("nulls", rows - valid).at("expected", place.nulls));
        }
    }
    match data_type {
        DataType::Boolean => cut(&mut place.values, rows.div_ceil(8), bytes),
        DataType::Utf8 | DataType::Binary => check_texts(*data_type == DataType::Utf8, rows, bytes, place),
        other => {
            let width = other.primitive_width().ok_or_else(|| Error::internal("a type that cannot be read where it stands"))?;
            cut(&mut place.values, rows.saturating_mul(width), bytes)
        }
    }
}

fn check_texts(is_text: bool, rows: usize, bytes: &Buffer, place: &mut Place) -> Result<()> {
    cut(&mut place.offsets, rows.saturating_add(1).saturating_mul(OFFSET_BYTES), bytes)?;
    let offsets = bytes[place.offsets.clone()].as_chunks::<OFFSET_BYTES>().0;
    let offset = |bytes: &[u8; OFFSET_BYTES]| i32::from_le_bytes(*bytes);
    // Without a way out of the loop it runs at the speed of memory.
    let ordered = offsets.iter().zip(&offsets[1..]).fold(true, |ordered, (low, high)| ordered & (offset(low) <= offset(high)));
    if !ordered || offset(&offsets[0]) < 0 {
        return Err(bad("offsets out of order"));
    }
    let (first, last) = (offset(&offsets[0]) as usize, offset(&offsets[rows]) as usize);
    cut(&mut place.values, last, bytes)?;
    let values = &bytes[place.values.clone()];
    if is_text && !values[first..].is_ascii() {
        let text = std::str::from_utf8(&values[first..]).map_err(|error| bad("a text that is not UTF-8").caused_by(error))?;
        if !offsets.iter().all(|start| text.is_char_boundary(offset(start) as usize - first)) {
            return Err(bad("a text begins within a character"));
        }
    }
    Ok(())
}

/// Leaves out what is behind so many bytes of a range.
fn cut(range: &mut Range<usize>, length: usize, bytes: &Buffer) -> Result<()> {
    if range.start > range.end || range.end > bytes.len() || range.len() < length {
        return Err(bad("a buffer shorter than its column").at("bytes", range.len()).at("expected", length));
    }
    range.end = range.start + length;
    Ok(())
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message)
}

/// Rows of a table, by columns.
#[derive(Clone, Debug)]
pub enum Columns {
    /// As arrays.
    Arrays(RecordBatch),
    /// As they are stored.
    Stored(Box<Stored>),
}

impl Columns {
    /// For who looks at some of the values.
    pub fn view(&self) -> ColumnsRef<'_> {
        match self {
            Columns::Arrays(batch) => ColumnsRef::Arrays(batch),
            Columns::Stored(stored) => ColumnsRef::Stored(stored),
        }
    }

    /// Some columns, which ascend, as those of `schema`.
    ///
    /// # Errors
    /// Internal when there are no such columns.
    pub fn project(&self, schema: &SchemaRef, columns: &[usize]) -> Result<Columns> {
        match self {
            Columns::Arrays(batch) => {
                let chosen = batch.project(columns).map_err(|error| Error::internal("cannot choose columns").caused_by(error))?;
                Ok(Columns::Arrays(chosen))
            }
            Columns::Stored(stored) => Ok(Columns::Stored(Box::new(stored.project(schema, columns)))),
        }
    }
}

impl From<RecordBatch> for Columns {
    fn from(batch: RecordBatch) -> Self {
        Columns::Arrays(batch)
    }
}

/// As [`Columns`], of somebody else.
#[derive(Clone, Copy, Debug)]
pub enum ColumnsRef<'a> {
    /// As arrays.
    Arrays(&'a RecordBatch),
    /// As they are stored.
    Stored(&'a Stored),
}

impl<'a> From<&'a RecordBatch> for ColumnsRef<'a> {
    fn from(batch: &'a RecordBatch) -> Self {
        ColumnsRef::Arrays(batch)
    }
}

impl<'a> ColumnsRef<'a> {
    /// How many rows.
    pub fn rows(self) -> usize {
        match self {
            ColumnsRef::Arrays(batch) => batch.num_rows(),
            ColumnsRef::Stored(stored) => stored.rows,
        }
    }

    /// Names and types.
    pub fn schema(self) -> &'a SchemaRef {
        match self {
            ColumnsRef::Arrays(batch) => batch.schema_ref(),
            ColumnsRef::Stored(stored) => &stored.schema,
        }
    }

    /// All columns as arrays. Of rows as they are stored these are made when they are asked for first.
    pub fn batch(self) -> &'a RecordBatch {
        match self {
            ColumnsRef::Arrays(batch) => batch,
            ColumnsRef::Stored(stored) => stored.batch(),
        }
    }

    /// One column as an array, for who needs no other one.
    pub fn array(self, column: usize) -> ArrayRef {
        match self {
            ColumnsRef::Arrays(batch) => batch.column(column).clone(),
            ColumnsRef::Stored(stored) => stored.array(column),
        }
    }

    /// One column, for who looks at its values.
    #[inline]
    pub fn column(self, column: usize) -> ColumnRef<'a> {
        match self {
            ColumnsRef::Arrays(batch) => ColumnRef::Array(batch.column(column)),
            ColumnsRef::Stored(stored) => ColumnRef::Stored(stored, column),
        }
    }
}

/// One column of [`ColumnsRef`].
#[derive(Clone, Copy, Debug)]
pub enum ColumnRef<'a> {
    /// An array.
    Array(&'a ArrayRef),
    /// A column of stored rows.
    Stored(&'a Stored, usize),
}

impl<'a> From<&'a ArrayRef> for ColumnRef<'a> {
    fn from(array: &'a ArrayRef) -> Self {
        ColumnRef::Array(array)
    }
}

impl<'a> ColumnRef<'a> {
    /// Its type.
    #[inline]
    pub fn data_type(self) -> &'a DataType {
        match self {
            ColumnRef::Array(array) => array.data_type(),
            ColumnRef::Stored(stored, column) => stored.schema.field(column).data_type(),
        }
    }

    /// How many values.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            ColumnRef::Array(array) => array.len(),
            ColumnRef::Stored(stored, _) => stored.rows,
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether a value is null.
    #[inline]
    pub fn has_nulls(self) -> bool {
        match self {
            ColumnRef::Array(array) => array.null_count() > 0,
            ColumnRef::Stored(stored, column) => stored.places[column].nulls > 0,
        }
    }

    /// A bit a value, from the bit of this number on; `None` where no value is null.
    pub fn validity(self) -> Option<(&'a [u8], usize)> {
        match self {
            ColumnRef::Array(array) => array.nulls().map(|nulls| bits(nulls.inner())),
            ColumnRef::Stored(stored, column) => {
                let place = &stored.places[column];
                (place.nulls > 0).then(|| (stored.part(&place.validity), 0))
            }
        }
    }

    /// The bits of truth values, from the bit of this number on. Panics for another type.
    pub fn truths(self) -> (&'a [u8], usize) {
        match self {
            ColumnRef::Array(array) => bits(array.as_boolean().values()),
            ColumnRef::Stored(stored, column) => (stored.part(&stored.places[column].values), 0),
        }
    }

    /// The bytes of values of one width, as many as belong to them. Panics for a type that has no such ones.
    #[inline]
    pub fn fixed(self) -> &'a [u8] {
        match self {
            ColumnRef::Array(array) => fixed(array),
            ColumnRef::Stored(stored, column) => stored.part(&stored.places[column].values),
        }
    }

    /// Texts or bytes: where each begins, one more than there are, as numbers of 32 bits that ascend; and the bytes, as many as the last says at least. Panics for
    /// another type.
    #[inline]
    pub fn texts(self) -> (&'a [[u8; OFFSET_BYTES]], &'a [u8]) {
        let (offsets, values) = match self {
            ColumnRef::Array(array) => match array.data_type() {
                DataType::Utf8 => (array.as_string::<i32>().offsets(), array.as_string::<i32>().values()),
                _ => (array.as_binary::<i32>().offsets(), array.as_binary::<i32>().values()),
            },
            ColumnRef::Stored(stored, column) => {
                let place = &stored.places[column];
                return (stored.part(&place.offsets).as_chunks().0, stored.part(&place.values));
            }
        };
        (offsets.inner().inner().as_slice().as_chunks().0, values)
    }

    /// The column as an array. Of rows as they are stored all of them are made.
    pub fn as_array(self) -> &'a ArrayRef {
        match self {
            ColumnRef::Array(array) => array,
            ColumnRef::Stored(stored, column) => stored.batch().column(column),
        }
    }
}

fn bits(bits: &BooleanBuffer) -> (&[u8], usize) {
    (bits.values(), bits.offset())
}

/// The bytes of the values of an array with one buffer of them.
fn fixed(array: &ArrayRef) -> &[u8] {
    let array: &dyn Array = array.as_ref();
    downcast_primitive_array!(
        array => array.values().inner().as_slice(),
        other => unreachable!("{other} has a width and is not primitive"),
    )
}

/// Whether there are columns, and all can be read where they stand.
pub fn holds_all(schema: &Schema) -> bool {
    !schema.fields().is_empty() && schema.fields().iter().all(|field| Stored::holds(field.data_type()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    fn texts(is_text: bool, offsets: &[i32], values: &[u8]) -> Result<Stored> {
        let data_type = if is_text { DataType::Utf8 } else { DataType::Binary };
        let schema = Arc::new(Schema::new(vec![Field::new("text", data_type, false)]));
        let offsets: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let (end, bytes) = (offsets.len(), [&offsets, values].concat());
        let place = Place { offsets: 0..end, values: end..bytes.len(), ..Place::default() };
        Stored::new(schema, end / OFFSET_BYTES - 1, Buffer::from(bytes), vec![place])
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        let said = |stored: Result<Stored>| stored.err().map(|error| error.message().to_string());
        assert_eq!(said(texts(true, &[1, 4, 5], b"xa\xC3\xA9b?")), None);
        assert_eq!(said(texts(true, &[0, 2, 3], b"a\xC3\xA9")).as_deref(), Some("a text begins within a character"));
        assert_eq!(said(texts(true, &[0, 2], b"a\xC3")).as_deref(), Some("a text that is not UTF-8"));
        assert_eq!(said(texts(false, &[0, 2], b"a\xC3")), None, "bytes may be anything");
        assert_eq!(said(texts(true, &[0, 2, 1], b"ab")).as_deref(), Some("offsets out of order"));
        assert_eq!(said(texts(true, &[-1, 2], b"ab")).as_deref(), Some("offsets out of order"));
        assert_eq!(said(texts(true, &[0, 3], b"ab")).as_deref(), Some("a buffer shorter than its column"));
    }

    #[test]
    fn nulls_are_where_they_may_be_and_as_many_as_is_said() {
        let of = |nullable: bool, nulls: usize, bytes: usize| {
            let schema = Arc::new(Schema::new(vec![Field::new("number", DataType::Int16, nullable)]));
            let place = Place { nulls, validity: 4..5, values: 0..bytes, ..Place::default() };
            Stored::new(schema, 2, Buffer::from(vec![1_u8, 0, 2, 0, 0b10]), vec![place])
        };
        let expected = arrow::array::Int16Array::from(vec![None, Some(2)]);
        assert_eq!(of(true, 1, 4).unwrap().batch().column(0).as_primitive(), &expected);
        assert!(of(false, 1, 4).is_err() && of(true, 2, 4).is_err() && of(true, 1, 3).is_err() && of(true, 1, 9).is_err());
    }
}
