//! From the buffers of a message to Arrow arrays. Nothing is copied unless a buffer is compressed or not aligned for its type.
//!
//! All that Arrow relies on is checked here or by Arrow's own checked constructors: lengths, order of offsets, UTF-8. Bytes
//! from a broken file give an error, never an array that lies. Knows nothing of where the buffers come from.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use arrow::error::ArrowError;

use super::compression::{Codec, Decompressor};
use super::message::{BodyLayout, Node};
use crate::error::{Error, Result};

/// Builds the arrays of one column, taking nodes and buffers in order.
pub(super) struct Arrays<'a, F> {
    layout: &'a BodyLayout,
    decompressor: &'a Decompressor,
    node: usize,
    buffer: usize,
    /// The stored bytes of the buffer of this index. Asked only for buffers that are needed, in order.
    fetch: F,
}

impl<'a, F: FnMut(usize) -> Result<Buffer>> Arrays<'a, F> {
    /// Starts at the column whose first node and buffer these are. The layout was checked against the shape of the schema.
    pub(super) fn new(layout: &'a BodyLayout, decompressor: &'a Decompressor, fetch: F) -> Self {
        Arrays { layout, decompressor, node: 0, buffer: 0, fetch }
    }

    /// The next column, which starts at these places and has `rows` rows.
    pub(super) fn column(&mut self, node: usize, buffer: usize, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
        self.node = node;
        self.buffer = buffer;
        self.array(data_type, Some(rows))
    }

    /// An array; its length is known from its parent unless the parent has offsets.
    fn array(&mut self, data_type: &DataType, expected: Option<usize>) -> Result<ArrayRef> {
        use DataType::*;
        use TimeUnit::*;
        let Node { length, nulls } = self.layout.nodes[self.node];
        self.node += 1;
        let length = usize::try_from(length).ok().filter(|length| expected.is_none_or(|expected| expected == *length));
        let length =
            length.filter(|length| *length <= i32::MAX as usize).ok_or_else(|| bad("an array of another length than its batch"))?;
        let nulls = self.nulls(length, nulls)?;
        Ok(match data_type {
            Boolean => {
                let values = self.sized(length.div_ceil(8))?;
                Arc::new(BooleanArray::new(BooleanBuffer::new(values, 0, length), nulls))
            }
            Int8 => self.flat::<Int8Type>(length, nulls, data_type)?,
            Int16 => self.flat::<Int16Type>(length, nulls, data_type)?,
            Int32 => self.flat::<Int32Type>(length, nulls, data_type)?,
            Int64 => self.flat::<Int64Type>(length, nulls, data_type)?,
            Float32 => self.flat::<Float32Type>(length, nulls, data_type)?,
            Float64 => self.flat::<Float64Type>(length, nulls, data_type)?,
            Decimal128(..) => self.flat::<Decimal128Type>(length, nulls, data_type)?,
            Date32 => self.flat::<Date32Type>(length, nulls, data_type)?,
            Time32(Second) => self.flat::<Time32SecondType>(length, nulls, data_type)?,
            Time32(_) => self.flat::<Time32MillisecondType>(length, nulls, data_type)?,
            Time64(Nanosecond) => self.flat::<Time64NanosecondType>(length, nulls, data_type)?,
            Time64(_) => self.flat::<Time64MicrosecondType>(length, nulls, data_type)?,
            Timestamp(Second, _) => self.flat::<TimestampSecondType>(length, nulls, data_type)?,
            Timestamp(Millisecond, _) => self.flat::<TimestampMillisecondType>(length, nulls, data_type)?,
            Timestamp(Microsecond, _) => self.flat::<TimestampMicrosecondType>(length, nulls, data_type)?,
            Timestamp(Nanosecond, _) => self.flat::<TimestampNanosecondType>(length, nulls, data_type)?,
            FixedSizeBinary(width) => {
                let bytes = length.checked_mul(*width as usize).ok_or_else(|| bad("an array too long to be"))?;
                let values = self.sized(bytes)?;
                Arc::new(FixedSizeBinaryArray::try_new(*width, values, nulls).map_err(refused)?)
            }
            Utf8 => {
                let (offsets, values) = self.byte_array(length)?;
                Arc::new(StringArray::try_new(offsets, values, nulls).map_err(refused)?)
            }
            Binary => {
                let (offsets, values) = self.byte_array(length)?;
                Arc::new(BinaryArray::try_new(offsets, values, nulls).map_err(refused)?)
            }
            List(item) => {
                let offsets = self.offsets(length)?;
                let values = self.array(item.data_type(), None)?;
                Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).map_err(refused)?)
            }
            Map(entries, sorted) => {
                let offsets = self.offsets(length)?;
                let values = self.array(entries.data_type(), None)?;
                Arc::new(MapArray::try_new(entries.clone(), offsets, values.as_struct().clone(), nulls, *sorted).map_err(refused)?)
            }
            Struct(fields) => {
                let columns = fields.iter().map(|field| self.array(field.data_type(), Some(length))).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(refused)?)
            }
            other => return Err(Error::internal("a type without a shape").at("type", other)),
        })
    }

    /// The next buffer, as it was before compression.
    #[inline(always)]
    fn next(&mut self) -> Result<Buffer> {
        let stored = (self.fetch)(self.buffer)?;
        self.buffer += 1;
        if self.layout.codec == Codec::None { Ok(stored) } else { self.decompressor.restore(self.layout.codec, stored) }
    }

    /// The first `bytes` bytes of the next buffer. Some programs write more.
    #[inline(always)]
    fn sized(&mut self, bytes: usize) -> Result<Buffer> {
        let buffer = self.next()?;
        if buffer.len() < bytes {
            return Err(bad("a buffer shorter than its array").at("bytes", buffer.len()).at("expected", bytes));
        }
        Ok(if buffer.len() == bytes { buffer } else { buffer.slice_with_length(0, bytes) })
    }

    #[inline(always)]
    fn nulls(&mut self, length: usize, nulls: u64) -> Result<Option<NullBuffer>> {
        if nulls == 0 {
            self.buffer += 1;
            return Ok(None);
        }
        let found = NullBuffer::new(BooleanBuffer::new(self.sized(length.div_ceil(8))?, 0, length));
        if found.null_count() as u64 != nulls {
            return Err(bad("an array with another number of nulls than it says").at("nulls", found.null_count()).at("expected", nulls));
        }
        Ok(Some(found))
    }

    #[inline(always)]
    fn scalars<T: ArrowNativeType>(&mut self, length: usize) -> Result<ScalarBuffer<T>> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or_else(|| bad("an array too long to be"))?;
        let buffer = self.sized(bytes)?;
        let aligned = buffer.as_ptr().align_offset(align_of::<T>()) == 0;
        Ok(ScalarBuffer::from(if aligned { buffer } else { Buffer::from(buffer.as_slice()) }))
    }

    fn flat<T: ArrowPrimitiveType>(&mut self, length: usize, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        let array = PrimitiveArray::<T>::try_new(self.scalars(length)?, nulls).map_err(refused)?;
        // Time zone, precision and scale are part of the type alone.
        let parametric = matches!(data_type, DataType::Decimal128(..) | DataType::Timestamp(_, Some(_)));
        Ok(Arc::new(if parametric { array.with_data_type(data_type.clone()) } else { array }))
    }

    fn offsets(&mut self, length: usize) -> Result<OffsetBuffer<i32>> {
        // An array without entries may come without its one offset.
        if length == 0 {
            self.next()?;
            return Ok(OffsetBuffer::new_empty());
        }
        let offsets = self.scalars::<i32>(length + 1)?;
        // Without a way out of the loop it runs at the speed of memory.
        let ordered = offsets.iter().zip(&offsets[1..]).fold(true, |ordered, (low, high)| ordered & (low <= high));
        if !ordered || offsets[0] < 0 {
            return Err(bad("offsets out of order"));
        }
        Ok(OffsetBuffer::new(offsets))
    }

    fn byte_array(&mut self, length: usize) -> Result<(OffsetBuffer<i32>, Buffer)> {
        let offsets = self.offsets(length)?;
        let values = self.next()?;
        let last = offsets[offsets.len() - 1] as usize;
        if last > values.len() {
            return Err(bad("offsets behind the values").at("bytes", values.len()).at("expected", last));
        }
        // Padding that was counted into the buffer is not text.
        let values = if values.len() == last { values } else { values.slice_with_length(0, last) };
        Ok((offsets, values))
    }
}

fn refused(error: ArrowError) -> Error {
    bad("the buffers of a batch do not make its arrays").caused_by(error)
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message)
}
