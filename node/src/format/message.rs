//! What the message of a batch says about its body: rows, codec, and where the nodes and buffers are. Enough to read any
//! column without looking at the batch again, so the directory of a segment keeps it. Knows nothing of types.

use std::ops::Range;

use arrow_ipc::{CompressionType, MessageHeader, MetadataVersion};

use super::bytes::{u32_at, u64_at};
use super::compression::Codec;
use super::template::{CONTINUATION, Matched, PAIR_BYTES, PREFIX_BYTES, Template};
use crate::error::{Error, Result};

/// A field node: an array at some depth of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Entries of the array.
    pub length: u64,
    /// How many of them are null.
    pub nulls: u64,
}

/// Where a buffer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the body.
    pub offset: u64,
    /// Length in bytes, as stored.
    pub length: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyLayout {
    /// Rows of the batch.
    pub rows: usize,
    /// How each buffer is compressed.
    pub codec: Codec,
    /// Where the body starts, in bytes from the start of the batch.
    pub body_start: usize,
    /// Bytes of the body.
    pub body_length: usize,
    /// All arrays, columns in order and parents before children.
    pub nodes: Vec<Node>,
    /// All buffers, in the order of the arrays.
    pub buffers: Vec<Span>,
}

impl BodyLayout {
    /// The layout of a batch without rows, which has no message and no body.
    pub fn empty(body_start: usize) -> Self {
        BodyLayout { body_start, ..BodyLayout::default() }
    }

    /// Where a buffer stands in the batch. The sums do not overflow in a layout that was checked or read here.
    pub fn range(&self, buffer: &Span) -> Range<usize> {
        let start = self.body_start.saturating_add(buffer.offset as usize);
        start..start.saturating_add(buffer.length as usize)
    }

    /// Errors with `Corrupt` unless the counts are these and all buffers lie inside the body.
    pub fn check(&self, nodes: usize, buffers: usize) -> Result<()> {
        if self.nodes.len() != nodes || self.buffers.len() != buffers {
            let error = bad("a batch of another schema").at("nodes", self.nodes.len()).at("expected_nodes", nodes);
            return Err(error.at("buffers", self.buffers.len()).at("expected_buffers", buffers));
        }
        let outside = |span: &&Span| span.offset.checked_add(span.length).is_none_or(|end| end > self.body_length as u64);
        match self.buffers.iter().find(outside) {
            Some(span) => Err(bad("a buffer outside the body of its batch").at("start", span.offset).at("bytes", span.length)),
            None => Ok(()),
        }
    }
}

/// The length of the message before its body, read from its first [`PREFIX_BYTES`] bytes.
pub(super) fn metadata_bytes(message: &[u8]) -> Result<usize> {
    if message.get(..4) != Some(&CONTINUATION[..]) {
        return Err(bad("no Arrow message where one should start"));
    }
    let length = u32_at(message, 4).filter(|length| *length <= i32::MAX as u32).ok_or_else(|| bad("an Arrow message is cut off"))?;
    Ok(PREFIX_BYTES + length as usize)
}

/// Reads `message` (prefix, flatbuffer, padding; exactly these) that stands `start` bytes behind the start of its batch.
pub(super) fn read(message: &[u8], start: usize, templates: &[Template]) -> Result<BodyLayout> {
    for template in templates {
        if let Some(matched) = template.matches(message) {
            return layout(&matched, template.codec(), start + message.len());
        }
    }
    read_flatbuffer(message, start)
}

/// A message that some other program wrote: verified in full.
fn read_flatbuffer(message: &[u8], start: usize) -> Result<BodyLayout> {
    let flatbuffer = message.get(PREFIX_BYTES..).ok_or_else(|| bad("an Arrow message is cut off"))?;
    let root =
        arrow_ipc::root_as_message(flatbuffer).map_err(|error| bad("the metadata of a batch is damaged").caused_by(error.to_string()))?;
    if root.header_type() != MessageHeader::RecordBatch || !matches!(root.version(), MetadataVersion::V4 | MetadataVersion::V5) {
        return Err(bad("an Arrow message that is no record batch"));
    }
    let batch = root.header_as_record_batch().ok_or_else(|| bad("an Arrow message without a record batch"))?;
    let codec = match batch.compression().map(|compression| compression.codec()) {
        None => Codec::None,
        Some(CompressionType::LZ4_FRAME) => Codec::Lz4,
        Some(CompressionType::ZSTD) => Codec::Zstd,
        Some(other) => return Err(bad("unknown compression").at("codec", other.0)),
    };
    let (Ok(rows), Ok(body_length)) = (u64::try_from(batch.length()), u64::try_from(root.bodyLength())) else {
        return Err(bad("a batch with a negative length"));
    };
    let nodes = batch.nodes().map_or(&[][..], |nodes| nodes.bytes());
    let buffers = batch.buffers().map_or(&[][..], |buffers| buffers.bytes());
    layout(&Matched { rows, body_length, nodes, buffers }, codec, start + message.len())
}

fn layout(found: &Matched<'_>, codec: Codec, body_start: usize) -> Result<BodyLayout> {
    // Lengths above this cannot stand in a batch, whose own length is an i32.
    let sane = |value: u64| (value <= i32::MAX as u64).then_some(value as usize);
    let (Some(rows), Some(body_length)) = (sane(found.rows), sane(found.body_length)) else {
        return Err(bad("a batch with a senseless length").at("rows", found.rows).at("bytes", found.body_length));
    };
    let mut nodes = Vec::with_capacity(found.nodes.len() / PAIR_BYTES);
    nodes.extend(pairs(found.nodes).map(|(length, nulls)| Node { length, nulls }));
    let mut buffers = Vec::with_capacity(found.buffers.len() / PAIR_BYTES);
    buffers.extend(pairs(found.buffers).map(|(offset, length)| Span { offset, length }));
    Ok(BodyLayout { rows, codec, body_start, body_length, nodes, buffers })
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    bytes.chunks_exact(PAIR_BYTES).map(|pair| (u64_at(pair, 0).unwrap_or(0), u64_at(pair, 8).unwrap_or(0)))
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message)
}
