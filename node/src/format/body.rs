//! The body of a message: walks Arrow arrays in the order of the format and hands each buffer to a sink. The sizer adds up
//! lengths, the writer copies. One walk serves both, so that they cannot disagree.
//!
//! Slices are cut to what they show: offsets start at zero again, children are cut to the rows that are referred to. Bits
//! behind the last row are zero. Knows nothing of headers and metadata beyond the places of nodes and buffers.

use arrow::array::{Array, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;

use super::BODY_ALIGNMENT;
use super::bytes::{align_up, put};
use super::compression::{Compression, Compressor};
use super::stream;
use super::template::PAIR_BYTES;
use crate::error::{Error, Result};
use crc_fast::{CrcAlgorithm, Digest};

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
/// Each arm first finds the concrete array, because calls on that cost nothing and those on a `dyn Array` do.
/// Panics on a type that [`super::shape::Shape`] refuses.
pub(super) fn walk(array: &dyn Array, ones: bool, sink: &mut impl Sink) {
    use DataType::*;
    use TimeUnit::*;
    match array.data_type() {
        Int8 => flat::<Int8Type>(array, ones, sink),
        Int16 => flat::<Int16Type>(array, ones, sink),
        Int32 => flat::<Int32Type>(array, ones, sink),
        Int64 => flat::<Int64Type>(array, ones, sink),
        Float32 => flat::<Float32Type>(array, ones, sink),
        Float64 => flat::<Float64Type>(array, ones, sink),
        Decimal128(..) => flat::<Decimal128Type>(array, ones, sink),
        Date32 => flat::<Date32Type>(array, ones, sink),
        Time32(Second) => flat::<Time32SecondType>(array, ones, sink),
        Time32(Millisecond) => flat::<Time32MillisecondType>(array, ones, sink),
        Time64(Microsecond) => flat::<Time64MicrosecondType>(array, ones, sink),
        Time64(Nanosecond) => flat::<Time64NanosecondType>(array, ones, sink),
        Timestamp(Second, _) => flat::<TimestampSecondType>(array, ones, sink),
        Timestamp(Millisecond, _) => flat::<TimestampMillisecondType>(array, ones, sink),
        Timestamp(Microsecond, _) => flat::<TimestampMicrosecondType>(array, ones, sink),
        Timestamp(Nanosecond, _) => flat::<TimestampNanosecondType>(array, ones, sink),
        Utf8 => byte_array::<Utf8Type>(array, ones, sink),
        Binary => byte_array::<BinaryType>(array, ones, sink),
        Boolean => {
            let booleans = array.as_boolean();
            open(booleans.len(), booleans.nulls(), ones, sink);
            sink.bits(booleans.values());
        }
        FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary();
            open(values.len(), values.nulls(), ones, sink);
            sink.bytes(&values.value_data()[..values.len() * *width as usize]);
        }
        List(_) => {
            let list = array.as_list::<i32>();
            open(list.len(), list.nulls(), ones, sink);
            children(list.offsets(), list.values().as_ref(), ones, sink);
        }
        Map(..) => {
            let map = array.as_map();
            open(map.len(), map.nulls(), ones, sink);
            children(map.offsets(), map.entries(), ones, sink);
        }
        Struct(_) => {
            let columns = array.as_struct();
            open(columns.len(), columns.nulls(), ones, sink);
            for column in columns.columns() {
                walk(column.as_ref(), ones, sink);
            }
        }
        other => unreachable!("a schema with {other} has no shape"),
    }
}

/// The node and the validity of an array.
#[inline(always)]
fn open(length: usize, nulls: Option<&NullBuffer>, ones: bool, sink: &mut impl Sink) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => {
            sink.node(length, nulls.null_count());
            sink.bits(nulls.inner());
        }
        None => {
            sink.node(length, 0);
            sink.ones(if ones { length } else { 0 });
        }
    }
}

/// An array with one buffer of values, which are written as they lie in memory.
#[inline(always)]
fn flat<T: ArrowPrimitiveType>(array: &dyn Array, ones: bool, sink: &mut impl Sink) {
    let array = array.as_primitive::<T>();
    open(array.len(), array.nulls(), ones, sink);
    sink.bytes(array.values().inner());
}

#[inline(always)]
fn byte_array<T: ByteArrayType<Offset = i32>>(array: &dyn Array, ones: bool, sink: &mut impl Sink) {
    let array = array.as_bytes::<T>();
    open(array.len(), array.nulls(), ones, sink);
    let offsets = array.offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    sink.offsets(offsets.inner().inner(), first);
    sink.bytes(&array.values()[first as usize..last as usize]);
}

fn children(offsets: &OffsetBuffer<i32>, values: &dyn Array, ones: bool, sink: &mut impl Sink) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    sink.offsets(offsets.inner().inner(), first);
    let length = (last - first) as usize;
    if length == values.len() {
        walk(values, ones, sink);
    } else {
        walk(values.slice(first as usize, length).as_ref(), ones, sink);
    }
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
    /// Of what stands in the body, where that is checksummed on its way.
    digest: Option<Digest>,
    /// There was not the room for a buffer.
    is_full: bool,
    failed: Option<Error>,
}

/// A buffer of fewer bytes goes through the caches: streaming so few gains nothing.
const STREAMED_BYTES_MIN: usize = 1 << 10;

impl<'a> Writer<'a> {
    /// Writes into `body`, and into the message's `nodes` and `buffers`.
    pub(super) fn new(body: &'a mut [u8], nodes: &'a mut [u8], buffers: &'a mut [u8], compressor: &'a Compressor) -> Self {
        let compressor = Some(compressor).filter(|compressor| compressor.compression() != Compression::None);
        Writer {
            body,
            position: 0,
            nodes,
            buffers,
            next_node: 0,
            next_buffer: 0,
            compressor,
            scratch: Vec::new(),
            digest: None,
            is_full: false,
            failed: None,
        }
    }

    /// Copies past the caches, and takes the checksum of the body meanwhile; for large bodies without compression.
    pub(super) fn streaming(mut self) -> Self {
        assert!(self.compressor.is_none(), "what is compressed is in the caches already");
        self.digest = Some(Digest::new(CrcAlgorithm::Crc32Iscsi));
        self
    }

    /// The length of the body, and its checksum when it was streamed; `None` when there was not the room; or why it could not be written. Panics when these are
    /// not as many nodes and buffers as the schema has.
    pub(super) fn finish(self, nodes: usize, buffers: usize) -> Result<Option<(usize, Option<Digest>)>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.is_full {
            return Ok(None);
        }
        let written = (self.next_node / PAIR_BYTES, self.next_buffer / PAIR_BYTES);
        assert_eq!(written, (nodes, buffers), "nodes and buffers of a body");
        Ok(Some((self.position, self.digest)))
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
        if length > 0 {
            let start = self.position;
            let Some(room) = self.body.get_mut(start..start + align_up(length, BODY_ALIGNMENT)) else {
                return self.fail();
            };
            // The last 64 bytes are zeroed as a whole and then written over: cheaper than a padding of any length.
            if let Some(last) = room.last_chunk_mut::<BODY_ALIGNMENT>() {
                *last = [0; BODY_ALIGNMENT];
            }
            fill(&mut room[..length]);
            if let Some(digest) = &mut self.digest {
                digest.update(room);
            }
        }
        self.note(length);
        self.position += align_up(length, BODY_ALIGNMENT);
    }

    fn stream(&mut self, source: &[u8]) {
        let start = self.position;
        let room = self.body.get_mut(start..start + align_up(source.len(), BODY_ALIGNMENT));
        let (Some(room), Some(digest)) = (room, &mut self.digest) else {
            return self.fail();
        };
        let (bytes, padding) = room.split_at_mut(source.len());
        padding.fill(0);
        stream::copy(bytes, source, digest);
        digest.update(padding);
        self.note(source.len());
        self.position += align_up(source.len(), BODY_ALIGNMENT);
    }

    fn compress(&mut self, source: &[u8]) {
        let Some(compressor) = self.compressor else { return };
        let bound = align_up(compressor.compression().bound(source.len()), BODY_ALIGNMENT);
        let Some(room) = self.body.get_mut(self.position..self.position + bound) else {
            return self.fail();
        };
        match compressor.compress(source, room) {
            Ok(length) => {
                room[length..align_up(length, BODY_ALIGNMENT)].fill(0);
                self.note(length);
                self.position += align_up(length, BODY_ALIGNMENT);
            }
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
        self.is_full = true;
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
        if self.digest.is_some() && bytes.len() >= STREAMED_BYTES_MIN {
            self.stream(bytes);
        } else if self.compressor.is_none() || bytes.is_empty() {
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

/// Takes the columns of a batch that stand nowhere as arrays: for each array its node and its buffers, in Arrow's order.
pub struct Columns<'a, 'b>(pub(super) &'a mut Writer<'b>);

impl Columns<'_, '_> {
    /// The node of an array.
    pub fn node(&mut self, length: usize, nulls: usize) {
        self.0.node(length, nulls);
    }

    /// A buffer of so many bytes, which `fill` writes; of none, where an array has no nulls, for its validity. `fill` is not called when there is not the room.
    pub fn buffer(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        self.0.make(bytes, fill);
    }

    /// A whole array.
    pub fn array(&mut self, array: &dyn Array) {
        walk(array, false, self.0);
    }
}

/// Copies bits to the start of `out` and zeroes those behind the last.
fn copy_bits(bits: &BooleanBuffer, out: &mut [u8]) {
    if bits.offset().is_multiple_of(8) {
        let start = bits.offset() / 8;
        out.copy_from_slice(&bits.values()[start..start + out.len()]);
    } else {
        for (to, from) in out.chunks_mut(8).zip(bits.bit_chunks().iter_padded()) {
            to.copy_from_slice(&from.to_le_bytes()[..to.len()]);
        }
    }
    if let (Some(last), used @ 1..) = (out.last_mut(), bits.len() % 8) {
        *last &= (1 << used) - 1;
    }
}
