//! The body of a message: walks Arrow arrays in the order of the format and hands each buffer to a sink. The sizer adds up
//! lengths, the writer copies. One walk serves both, so that they cannot disagree.
//!
//! Slices are cut to what they show: offsets start at zero again, children are cut to the rows that are referred to. Bits
//! behind the last row are zero. Knows nothing of headers and metadata beyond the places of nodes and buffers.

use arrow::array::{Array, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::*;

use super::BODY_ALIGNMENT;
use super::bytes::{align_up, put};
use super::compression::{Compression, Compressor};
use super::template::PAIR_BYTES;
use crate::error::{Error, Result};

/// Takes nodes and buffers in order.
pub(super) trait Sink {
    fn node(&mut self, length: usize, nulls: usize);
    fn bytes(&mut self, bytes: &[u8]);
    fn bits(&mut self, bits: &BooleanBuffer);
    fn ones(&mut self, count: usize);
    /// Offsets, to be written so that the first is zero.
    fn offsets(&mut self, offsets: &[u8], first: i32);
}

/// Walks one array. `ones` says that validity is written also where nothing is null.
///
/// Panics on a type that [`super::shape::Shape`] refuses.
pub(super) fn walk(array: &dyn Array, ones: bool, sink: &mut impl Sink) {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    sink.node(array.len(), nulls.map_or(0, NullBuffer::null_count));
    match nulls {
        Some(nulls) => sink.bits(nulls.inner()),
        None => sink.ones(if ones { array.len() } else { 0 }),
    }
    match array.data_type() {
        DataType::Boolean => sink.bits(array.as_boolean().values()),
        DataType::FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary();
            sink.bytes(&values.value_data()[..values.len() * *width as usize]);
        }
        DataType::Utf8 => {
            let strings = array.as_string::<i32>();
            byte_array(strings.offsets(), strings.value_data(), sink);
        }
        DataType::Binary => {
            let binary = array.as_binary::<i32>();
            byte_array(binary.offsets(), binary.value_data(), sink);
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            children(list.offsets(), list.values(), ones, sink);
        }
        DataType::Map(..) => {
            let map = array.as_map();
            children(map.offsets(), map.entries(), ones, sink);
        }
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                walk(column, ones, sink);
            }
        }
        other => sink.bytes(flat(array, other)),
    }
}

fn byte_array(offsets: &arrow::buffer::OffsetBuffer<i32>, values: &[u8], sink: &mut impl Sink) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    sink.offsets(offsets.inner().inner(), first);
    sink.bytes(&values[first as usize..last as usize]);
}

fn children(offsets: &arrow::buffer::OffsetBuffer<i32>, values: &dyn Array, ones: bool, sink: &mut impl Sink) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    sink.offsets(offsets.inner().inner(), first);
    let length = (last - first) as usize;
    if length == values.len() {
        walk(values, ones, sink);
    } else {
        walk(&values.slice(first as usize, length), ones, sink);
    }
}

/// The values of an array whose type has one buffer of values, as they lie in memory.
fn flat<'a>(array: &'a dyn Array, data_type: &DataType) -> &'a [u8] {
    use DataType::*;
    use TimeUnit::*;
    match data_type {
        Int8 => values::<Int8Type>(array),
        Int16 => values::<Int16Type>(array),
        Int32 => values::<Int32Type>(array),
        Int64 => values::<Int64Type>(array),
        Float32 => values::<Float32Type>(array),
        Float64 => values::<Float64Type>(array),
        Decimal128(..) => values::<Decimal128Type>(array),
        Date32 => values::<Date32Type>(array),
        Time32(Second) => values::<Time32SecondType>(array),
        Time32(Millisecond) => values::<Time32MillisecondType>(array),
        Time64(Microsecond) => values::<Time64MicrosecondType>(array),
        Time64(Nanosecond) => values::<Time64NanosecondType>(array),
        Timestamp(Second, _) => values::<TimestampSecondType>(array),
        Timestamp(Millisecond, _) => values::<TimestampMillisecondType>(array),
        Timestamp(Microsecond, _) => values::<TimestampMicrosecondType>(array),
        Timestamp(Nanosecond, _) => values::<TimestampNanosecondType>(array),
        other => unreachable!("a schema with {other} has no shape"),
    }
}

fn values<T: ArrowPrimitiveType>(array: &dyn Array) -> &[u8] {
    array.as_primitive::<T>().values().inner()
}

/// Adds up the most bytes that a body takes.
pub(super) struct Sizer {
    compression: Compression,
    pub(super) length: usize,
}

impl Sizer {
    pub(super) fn new(compression: Compression) -> Self {
        Sizer { compression, length: 0 }
    }

    fn add(&mut self, length: usize) {
        self.length += align_up(self.compression.bound(length), BODY_ALIGNMENT);
    }
}

impl Sink for Sizer {
    fn node(&mut self, _length: usize, _nulls: usize) {}

    fn bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len());
    }

    fn bits(&mut self, bits: &BooleanBuffer) {
        self.add(bits.len().div_ceil(8));
    }

    fn ones(&mut self, count: usize) {
        self.add(count.div_ceil(8));
    }

    fn offsets(&mut self, offsets: &[u8], _first: i32) {
        self.add(offsets.len());
    }
}

/// Copies buffers into a body and writes down where they stand.
pub(super) struct Writer<'a> {
    body: &'a mut [u8],
    position: usize,
    /// The message's nodes and buffers, written from the front.
    nodes: &'a mut [u8],
    buffers: &'a mut [u8],
    next_node: usize,
    next_buffer: usize,
    compressor: Option<&'a Compressor>,
    /// Buffers that are made, not copied, stand here before they are compressed.
    scratch: Vec<u8>,
    failed: Option<Error>,
}

impl<'a> Writer<'a> {
    /// Writes into `body`, and into the message's `nodes` and `buffers`.
    pub(super) fn new(body: &'a mut [u8], nodes: &'a mut [u8], buffers: &'a mut [u8], compressor: &'a Compressor) -> Self {
        let compressor = Some(compressor).filter(|compressor| compressor.compression() != Compression::None);
        Writer { body, position: 0, nodes, buffers, next_node: 0, next_buffer: 0, compressor, scratch: Vec::new(), failed: None }
    }

    /// The length of the body, or why it could not be written.
    pub(super) fn finish(self) -> Result<usize> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.position),
        }
    }

    /// A buffer of `length` bytes that `fill` makes.
    #[inline(always)]
    fn make(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) {
        if self.compressor.is_none() || length == 0 {
            return self.place(length, fill);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.resize(length, 0);
        fill(&mut scratch);
        self.compress(&scratch);
        self.scratch = scratch;
    }

    /// Makes room for `length` bytes behind what stands there, pads behind them, and writes down where they are.
    #[inline(always)]
    fn place(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) {
        let end = align_up(length, BODY_ALIGNMENT);
        let Some(room) = self.body.get_mut(self.position..self.position + end) else {
            return self.fail();
        };
        let (bytes, padding) = room.split_at_mut(length);
        fill(bytes);
        padding.fill(0);
        self.note(length);
        self.position += end;
    }

    fn compress(&mut self, source: &[u8]) {
        let Some(compressor) = self.compressor else { return };
        let bound = compressor.compression().bound(source.len());
        let Some(room) = self.body.get_mut(self.position..self.position + bound) else {
            return self.fail();
        };
        match compressor.compress(source, room) {
            Ok(length) => self.place(length, |_| {}),
            Err(error) => self.failed = Some(error),
        }
    }

    fn note(&mut self, length: usize) {
        let at = self.next_buffer;
        put(self.buffers, at, (self.position as u64).to_le_bytes());
        put(self.buffers, at + 8, (length as u64).to_le_bytes());
        self.next_buffer = at + PAIR_BYTES;
    }

    #[cold]
    fn fail(&mut self) {
        self.failed = Some(Error::exhausted("the batch does not fit into its buffer").at("bytes", self.body.len()));
    }
}

impl Sink for Writer<'_> {
    fn node(&mut self, length: usize, nulls: usize) {
        let at = self.next_node;
        put(self.nodes, at, (length as u64).to_le_bytes());
        put(self.nodes, at + 8, (nulls as u64).to_le_bytes());
        self.next_node = at + PAIR_BYTES;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.compressor.is_none() || bytes.is_empty() {
            self.place(bytes.len(), |out| out.copy_from_slice(bytes));
        } else {
            self.compress(bytes);
        }
    }

    fn bits(&mut self, bits: &BooleanBuffer) {
        self.make(bits.len().div_ceil(8), |out| copy_bits(bits, out));
    }

    fn ones(&mut self, count: usize) {
        // Whole bytes of ones, also behind the last row: the bytes that arrow-rs writes.
        self.make(count.div_ceil(8), |out| out.fill(0xff));
    }

    fn offsets(&mut self, offsets: &[u8], first: i32) {
        if first == 0 {
            return self.bytes(offsets);
        }
        self.make(offsets.len(), |out| {
            for (to, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(offsets.as_chunks::<4>().0) {
                *to = (i32::from_le_bytes(*from) - first).to_le_bytes();
            }
        });
    }
}

/// Copies bits to the start of `out` and zeroes those behind the last.
fn copy_bits(bits: &BooleanBuffer, out: &mut [u8]) {
    if bits.offset().is_multiple_of(8) {
        let start = bits.offset() / 8;
        out.copy_from_slice(&bits.values()[start..start + out.len()]);
    } else {
        let chunks = bits.bit_chunks();
        let (words, rest) = out.as_chunks_mut::<8>();
        for (to, from) in words.iter_mut().zip(chunks.iter()) {
            *to = from.to_le_bytes();
        }
        rest.copy_from_slice(&chunks.remainder_bits().to_le_bytes()[..rest.len()]);
    }
    if let (Some(last), used @ 1..) = (out.last_mut(), bits.len() % 8) {
        *last &= (1 << used) - 1;
    }
}
