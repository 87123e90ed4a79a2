//! Entries of a directory and their packed form.
//!
//! An entry is packed without looking at others, so that each can be read alone. Positions of frames are counted in their
//! alignment; the buffer table is packed against what it usually is: each buffer behind the one before it, as long as the
//! last but one (validity and values take turns), each node as long as the batch.

use super::super::BODY_ALIGNMENT;
use super::super::bytes::{Reader, align_up, push_signed, push_varint};
use super::super::compression::Codec;
use super::super::frame::{BatchSpan, FRAME_ALIGNMENT, FRAME_BYTES_MAX, Frame};
use super::super::log_batch::BatchHeader;
use super::super::message::{self, BodyLayout, Node, Span};
use crate::error::{Error, Result};

/// A large batch, alone in its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Where the frame stands in the segment.
    pub position: u64,
    /// Bytes of the frame.
    pub frame_length: u64,
    /// Where the batch stands in the frame.
    pub batch: BatchSpan,
    /// Offset of its first row.
    pub first_offset: u64,
    /// How many offsets it takes.
    pub offsets: u64,
    /// When it was written, in milliseconds since 1970.
    pub timestamp: i64,
    /// The schema of its rows.
    pub schema_id: i16,
    /// All rows are appends; otherwise one change type a row stands right before the message.
    pub append_only: bool,
    /// Where the Arrow message starts, in bytes from the start of the batch.
    pub message_start: usize,
    /// Rows, codec, and where the columns are.
    pub layout: BodyLayout,
    /// Its statistics as the batch holds them; empty when it has none.
    pub statistics: Vec<u8>,
    /// The crc32c of each buffer, 0 for an empty one. An entry of version 1 has none: then its columns cannot be told from damaged ones alone.
    pub checksums: Option<Vec<u32>>,
}

/// The checksum of a buffer: crc32c.
pub fn checksum(buffer: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(buffer)
}

/// Frames of small batches, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// Where the first frame stands in the segment.
    pub position: u64,
    /// Bytes of all frames.
    pub length: u64,
    /// Offset of the first row.
    pub first_offset: u64,
    /// The offset behind the last row.
    pub next_offset: u64,
    /// Rows in all batches.
    pub rows: u64,
    /// The least commit timestamp.
    pub timestamp_min: i64,
    /// The greatest commit timestamp.
    pub timestamp_max: i64,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A large batch.
    Batch(Box<BatchEntry>),
    /// Small batches.
    Run(RunEntry),
}

/// Bits of an entry's first byte: a batch (else a run), all rows are appends; the codec stands above them.
const BATCH: u8 = 1;
const APPEND_ONLY: u8 = 2;
const CODEC_SHIFT: u8 = 2;
const CODEC_MASK: u8 = 3;
/// The buffers have checksums, since version 2.
const CHECKSUMS: u8 = 16;

impl BatchEntry {
    pub(super) fn read(position: u64, frame: &Frame, span: BatchSpan, header: &BatchHeader, batch: &[u8]) -> Result<Self> {
        let cut_off = || Error::corrupt("a batch is cut off").at("offset", header.base_offset);
        let start = header.message_start();
        let rest = batch.get(start..).ok_or_else(cut_off)?;
        let metadata = rest.get(..message::metadata_bytes(rest)?).ok_or_else(cut_off)?;
        let layout = message::read(metadata, start, &[])?;
        let checksums = layout.buffers.iter().map(|span| batch.get(layout.range(span)).map(checksum)).collect();
        let checksums: Option<Vec<u32>> = checksums;
        let entry = BatchEntry {
            position,
            frame_length: frame.length as u64,
            batch: span,
            first_offset: header.base_offset as u64,
            offsets: header.last_offset_delta as u64 + 1,
            timestamp: header.commit_timestamp,
            schema_id: header.schema_id,
            append_only: header.append_only,
            message_start: start,
            layout,
            statistics: batch[header.statistics_range()].to_vec(),
            checksums,
        };
        if entry.layout.rows != header.rows
            || entry.first_offset != frame.head.first_offset
            || !entry.makes_sense()
            || entry.checksums.is_none()
        {
            return Err(Error::corrupt("a batch that is not what it says").at("offset", header.base_offset));
        }
        Ok(entry)
    }

    /// Whether it says of the same batch what this one says, as far as both say something.
    pub(super) fn agrees(&self, other: &BatchEntry) -> bool {
        let is_known = self.checksums.is_some() && other.checksums.is_some();
        let checksums = |entry: &BatchEntry| entry.checksums.clone().filter(|_| is_known);
        BatchEntry { checksums: checksums(self), ..self.clone() } == BatchEntry { checksums: checksums(other), ..other.clone() }
    }

    /// The change types, one byte a row, as a range of the batch. Empty in an append-only batch.
    pub fn change_types_range(&self) -> std::ops::Range<usize> {
        self.message_start - if self.append_only { 0 } else { self.layout.rows }..self.message_start
    }
}

impl RunEntry {
    pub(super) fn read(position: u64, frame: &Frame, headers: &[BatchHeader]) -> Result<Self> {
        let mut run = RunEntry {
            position,
            length: frame.length as u64,
            first_offset: frame.head.first_offset,
            next_offset: frame.head.first_offset,
            rows: 0,
            timestamp_min: i64::MAX,
            timestamp_max: i64::MIN,
        };
        for (index, header) in headers.iter().enumerate() {
            let gap = header.base_offset as u64 != run.next_offset;
            if gap && (index == 0 || (header.base_offset as u64) < run.next_offset) {
                return Err(Error::corrupt("a batch out of order").at("offset", header.base_offset).at("position", position));
            }
            run.next_offset = header.next_offset() as u64;
            run.rows += header.rows as u64;
            run.timestamp_min = run.timestamp_min.min(header.commit_timestamp);
            run.timestamp_max = run.timestamp_max.max(header.commit_timestamp);
        }
        Ok(run)
    }

    /// The position behind the last frame.
    pub fn end(&self) -> u64 {
        self.position + self.length
    }

    /// Adds the run that stands right behind this one.
    pub(super) fn join(&mut self, next: &RunEntry) {
        self.length += next.length;
        self.next_offset = next.next_offset;
        self.rows += next.rows;
        self.timestamp_min = self.timestamp_min.min(next.timestamp_min);
        self.timestamp_max = self.timestamp_max.max(next.timestamp_max);
    }
}

impl Entry {
    /// Where its first frame stands in the segment.
    pub fn position(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.position,
            Entry::Run(run) => run.position,
        }
    }

    /// The position behind its last frame.
    pub fn end(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.position + batch.frame_length,
            Entry::Run(run) => run.end(),
        }
    }

    /// Offset of its first row.
    pub fn first_offset(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.first_offset,
            Entry::Run(run) => run.first_offset,
        }
    }

    /// The offset behind its last row.
    pub fn next_offset(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.first_offset + batch.offsets,
            Entry::Run(run) => run.next_offset,
        }
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.layout.rows as u64,
            Entry::Run(run) => run.rows,
        }
    }

    /// Its least and its greatest commit timestamp.
    pub fn timestamps(&self) -> (i64, i64) {
        match self {
            Entry::Batch(batch) => (batch.timestamp, batch.timestamp),
            Entry::Run(run) => (run.timestamp_min, run.timestamp_max),
        }
    }

    pub(super) fn has_checksums(&self) -> bool {
        matches!(self, Entry::Batch(batch) if batch.checksums.is_some())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Batch(batch) => write_batch(batch, out),
            Entry::Run(run) => {
                out.push(0);
                push_varint(out, run.position / FRAME_ALIGNMENT as u64);
                push_varint(out, run.length / FRAME_ALIGNMENT as u64);
                push_varint(out, run.first_offset);
                push_varint(out, run.next_offset - run.first_offset);
                push_varint(out, run.rows);
                push_signed(out, run.timestamp_min);
                push_varint(out, run.timestamp_max.wrapping_sub(run.timestamp_min) as u64);
            }
        }
    }

    /// The entry at the front of `reader`, if it makes sense.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let tag = reader.byte()?;
        let entry = if tag & BATCH == 0 { read_run(tag, reader)? } else { Entry::Batch(Box::new(read_batch(tag, reader)?)) };
        let long = entry.next_offset() > i64::MAX as u64;
        (!long).then_some(entry)
    }
}

fn read_run(tag: u8, reader: &mut Reader<'_>) -> Option<Entry> {
    let (position, length) = read_place(reader)?;
    let first_offset = reader.varint()?;
    let next_offset = first_offset.checked_add(reader.varint()?)?;
    let rows = reader.varint()?;
    let timestamp_min = reader.signed()?;
    let timestamp_max = timestamp_min.wrapping_add(reader.varint()? as i64);
    let sane = tag == 0 && timestamp_max >= timestamp_min && rows <= next_offset - first_offset;
    sane.then_some(Entry::Run(RunEntry { position, length, first_offset, next_offset, rows, timestamp_min, timestamp_max }))
}

/// Position and length of frames, neither of which can be so great that a sum overflows.
fn read_place(reader: &mut Reader<'_>) -> Option<(u64, u64)> {
    let place = |blocks: u64| blocks.checked_mul(FRAME_ALIGNMENT as u64).filter(|bytes| *bytes <= i64::MAX as u64);
    let (position, length) = (place(reader.varint()?)?, place(reader.varint()?)?);
    (length > 0).then_some((position, length))
}

fn write_batch(batch: &BatchEntry, out: &mut Vec<u8>) {
    let layout = &batch.layout;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(batch.append_only, APPEND_ONLY) | flag(batch.checksums.is_some(), CHECKSUMS);
    out.push(BATCH | flags | (layout.codec as u8) << CODEC_SHIFT);
    push_varint(out, batch.position / FRAME_ALIGNMENT as u64);
    push_varint(out, batch.frame_length / FRAME_ALIGNMENT as u64);
    push_varint(out, batch.batch.start.into());
    push_varint(out, batch.batch.length.into());
    push_varint(out, batch.first_offset);
    push_varint(out, batch.offsets);
    push_varint(out, layout.rows as u64);
    push_signed(out, batch.timestamp);
    push_signed(out, batch.schema_id.into());
    push_varint(out, batch.message_start as u64);
    push_varint(out, (layout.body_start - batch.message_start) as u64);
    push_varint(out, layout.body_length as u64);
    push_varint(out, batch.statistics.len() as u64);
    out.extend_from_slice(&batch.statistics);
    push_varint(out, layout.nodes.len() as u64);
    for node in &layout.nodes {
        let usual = node.length == layout.rows as u64;
        push_varint(out, node.nulls << 1 | u64::from(!usual));
        if !usual {
            push_varint(out, node.length);
        }
    }
    push_varint(out, layout.buffers.len() as u64);
    for (index, span) in layout.buffers.iter().enumerate() {
        let usual = usual_buffer(&layout.buffers, index);
        let length = if span.length == usual.length { 0 } else { span.length + 1 };
        push_varint(out, length << 1 | u64::from(span.offset != usual.offset));
        if span.offset != usual.offset {
            push_varint(out, span.offset);
        }
    }
    let checksums = batch.checksums.iter().flatten().zip(&layout.buffers);
    checksums.filter(|(_, span)| span.length > 0).for_each(|(checksum, _)| out.extend_from_slice(&checksum.to_le_bytes()));
}

/// What the buffer of this index is expected to be, going by those before it.
fn usual_buffer(buffers: &[Span], index: usize) -> Span {
    let offset = index.checked_sub(1).map_or(0, |last| align_up((buffers[last].offset + buffers[last].length) as usize, BODY_ALIGNMENT));
    Span { offset: offset as u64, length: index.checked_sub(2).map_or(0, |before| buffers[before].length) }
}

fn read_batch(tag: u8, reader: &mut Reader<'_>) -> Option<BatchEntry> {
    let codec = *Codec::ALL.get((tag >> CODEC_SHIFT & CODEC_MASK) as usize)?;
    if tag >= CHECKSUMS << 1 {
        return None;
    }
    let (position, frame_length) = read_place(reader)?;
    let batch = BatchSpan { start: u32::try_from(reader.varint()?).ok()?, length: u32::try_from(reader.varint()?).ok()? };
    let (first_offset, offsets, rows) = (reader.varint()?, reader.varint()?, reader.size()?);
    let timestamp = reader.signed()?;
    let schema_id = i16::try_from(reader.signed()?).ok()?;
    let message_start = reader.size()?;
    let body_start = message_start.checked_add(reader.size()?)?;
    let body_length = reader.size()?;
    let statistics_bytes = reader.size()?;
    let statistics = reader.bytes(statistics_bytes)?.to_vec();
    let (nodes, buffers) = (read_nodes(rows as u64, reader)?, read_buffers(reader)?);
    let checksums = if tag & CHECKSUMS == 0 { None } else { Some(read_checksums(&buffers, reader)?) };
    let layout = BodyLayout { rows, codec, body_start, body_length, nodes, buffers };
    let entry = BatchEntry {
        position,
        frame_length,
        batch,
        first_offset,
        offsets,
        timestamp,
        schema_id,
        append_only: tag & APPEND_ONLY != 0,
        message_start,
        layout,
        statistics,
        checksums,
    };
    entry.makes_sense().then_some(entry)
}

impl BatchEntry {
    /// Whether its parts lie inside each other, so that no sum of them overflows.
    fn makes_sense(&self) -> bool {
        let layout = &self.layout;
        let body_end = layout.body_start.checked_add(layout.body_length);
        let long = |node: &Node| node.length > i32::MAX as u64 || node.nulls > node.length;
        layout.check(layout.nodes.len(), layout.buffers.len()).is_ok()
            && !layout.nodes.iter().any(long)
            && self.frame_length <= FRAME_BYTES_MAX as u64
            && self.batch.range().end as u64 <= self.frame_length
            && body_end.is_some_and(|end| end <= self.batch.length as usize)
            && (self.append_only || layout.rows <= self.message_start)
            && self.first_offset.checked_add(self.offsets).is_some()
            && layout.rows as u64 <= self.offsets
    }
}

fn read_checksums(buffers: &[Span], reader: &mut Reader<'_>) -> Option<Vec<u32>> {
    let mut read = |span: &Span| match span.length {
        0 => Some(0),
        _ => reader.bytes(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)),
    };
    buffers.iter().map(&mut read).collect()
}

/// At most as many as bytes are left: each takes one.
fn read_count(reader: &mut Reader<'_>) -> Option<usize> {
    reader.size().filter(|count| *count <= reader.rest.len())
}

fn read_nodes(rows: u64, reader: &mut Reader<'_>) -> Option<Vec<Node>> {
    let count = read_count(reader)?;
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        let value = reader.varint()?;
        let length = if value & 1 == 0 { rows } else { reader.varint()? };
        nodes.push(Node { length, nulls: value >> 1 });
    }
    Some(nodes)
}

fn read_buffers(reader: &mut Reader<'_>) -> Option<Vec<Span>> {
    let count = read_count(reader)?;
    let mut buffers = Vec::with_capacity(count);
    for index in 0..count {
        let usual = usual_buffer(&buffers, index);
        let value = reader.varint()?;
        let length = if value >> 1 == 0 { usual.length } else { (value >> 1) - 1 };
        let offset = if value & 1 == 0 { usual.offset } else { reader.varint()? };
        // All buffers stand in a body, and no body is longer than a frame.
        if offset > FRAME_BYTES_MAX as u64 || length > FRAME_BYTES_MAX as u64 {
            return None;
        }
        buffers.push(Span { offset, length });
    }
    Some(buffers)
}
