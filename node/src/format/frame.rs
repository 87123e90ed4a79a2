//! The frame: what one write puts into a segment, a head and one or more log batches, padded to 4 KiB.
//!
//! The head's checksum covers the head, the batch table and the first 25 bytes of each batch. Those hold the batch's own
//! checksum over the rest, so each byte is protected and none is summed twice. A frame of another segment (the file was
//! recycled) or of an older opening of the log is stale: it is the end of the log, not damage.
//! Format page: `docs/format/frame.md`. Knows nothing of what stands inside a batch behind its first 25 bytes.

use super::BODY_ALIGNMENT;
use super::bytes::{align_up, put, u16_at, u32_at, u64_at};
use crate::error::{Error, Result};

/// Frames start at multiples of this and their lengths are multiples of it.
pub const FRAME_ALIGNMENT: usize = 4096;
/// "AQFR".
pub const MAGIC: u32 = u32::from_le_bytes(*b"AQFR");
/// The version this program writes, and the newest it reads.
pub const VERSION: u16 = 1;
/// Bytes of each batch that the frame's checksum covers: up to and with the batch's own checksum.
pub const BATCH_HEAD_BYTES: usize = 25;
/// A frame is at most this long.
pub const FRAME_BYTES_MAX: usize = 1 << 30;
/// A frame holds at most this many batches.
pub const BATCHES_MAX: usize = 1 << 16;

/// Where `magic` stands.
pub const MAGIC_AT: usize = 0;
/// Where `version` stands.
pub const VERSION_AT: usize = 4;
/// Where `flags` stands.
pub const FLAGS_AT: usize = 6;
/// Where `frame length` stands.
pub const LENGTH_AT: usize = 8;
/// Where `batch count` stands.
pub const COUNT_AT: usize = 12;
/// Where `segment id` stands.
pub const SEGMENT_ID_AT: usize = 16;
/// Where `first offset` stands.
pub const FIRST_OFFSET_AT: usize = 24;
/// Where `epoch` stands.
pub const EPOCH_AT: usize = 32;
/// Where `table id` stands.
pub const TABLE_ID_AT: usize = 36;
/// Where `partition id` stands.
pub const PARTITION_ID_AT: usize = 40;
/// Where `bucket` stands.
pub const BUCKET_AT: usize = 44;
/// Where `crc32c` stands.
pub const CRC_AT: usize = 48;
/// Where the batch table starts.
pub const TABLE_AT: usize = 56;
/// Bytes of one entry of the batch table.
pub const TABLE_ENTRY_BYTES: usize = 8;

// One batch fits into the first 64 bytes, so that a lone batch needs 64 bytes of head room.
const _: () = assert!(TABLE_AT + TABLE_ENTRY_BYTES == BODY_ALIGNMENT);
const _: () = assert!(FRAME_ALIGNMENT.is_multiple_of(BODY_ALIGNMENT));
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize && FRAME_BYTES_MAX.is_multiple_of(FRAME_ALIGNMENT));

/// What a frame says about itself, besides its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHead {
    /// The segment it was written for; unique in a store, and new each time a file is recycled.
    pub segment_id: u64,
    /// Offset of its first row.
    pub first_offset: u64,
    /// The opening of the log that wrote it.
    pub epoch: u32,
    /// The table, so that a frame can be told from others in a shared log.
    pub table_id: u32,
    /// The partition of the table; 0 without partitions.
    pub partition_id: u32,
    /// The bucket of the partition.
    pub bucket: u32,
}

/// Where a batch stands in its frame, in bytes from the frame's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSpan {
    /// First byte, a multiple of 64.
    pub start: u32,
    /// Length in bytes.
    pub length: u32,
}

impl BatchSpan {
    /// The bytes of the batch as a range of its frame.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// A parsed frame head with its batch table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Identity and place.
    pub head: FrameHead,
    /// Length in bytes, a multiple of [`FRAME_ALIGNMENT`].
    pub length: usize,
    /// The stored checksum, see [`Frame::verify`].
    pub crc: u32,
    /// The batches, in order of offset.
    pub batches: Vec<BatchSpan>,
}

/// What the bytes at a place where a frame may start turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No frame was ever written here.
    NotAFrame,
    /// A frame of another segment or of an older opening: the end of the log.
    Stale,
    /// A frame of this segment that makes no sense: torn or damaged.
    Torn(&'static str),
    /// A frame of this segment, written by a newer program in this version. Nothing may be written over it.
    Newer(u16),
    /// The head is longer than the bytes given: come back with this many.
    Short {
        /// Bytes needed, counted from the frame's start.
        needed: usize,
    },
    /// A frame whose head makes sense. Its checksum is still to be verified.
    Frame(Frame),
}

/// Bytes before the first batch of a frame with `count` batches.
pub const fn head_bytes(count: usize) -> usize {
    align_up(TABLE_AT + count * TABLE_ENTRY_BYTES, BODY_ALIGNMENT)
}

/// Places batches of these lengths behind one head: their spans and the frame's length.
///
/// Errors with `Exhausted` when they do not fit into one frame, with `Invalid` when there are none.
pub fn lay_out(lengths: &[usize]) -> Result<(Vec<BatchSpan>, usize)> {
    if lengths.is_empty() {
        return Err(Error::invalid("a frame holds at least one batch"));
    }
    if lengths.len() > BATCHES_MAX {
        return Err(Error::exhausted("too many batches for one frame").at("batches", lengths.len()).at("limit", BATCHES_MAX));
    }
    let mut spans = Vec::with_capacity(lengths.len());
    let mut end = head_bytes(lengths.len());
    for &length in lengths {
        let start = align_up(end, BODY_ALIGNMENT);
        end = start.checked_add(length).filter(|end| *end <= FRAME_BYTES_MAX).ok_or_else(|| too_long(length))?;
        spans.push(BatchSpan { start: start as u32, length: length as u32 });
    }
    Ok((spans, align_up(end, FRAME_ALIGNMENT)))
}

fn too_long(length: usize) -> Error {
    Error::exhausted("the batch does not fit into a frame").at("bytes", length).at("limit", FRAME_BYTES_MAX).hint("write smaller batches")
}

/// Makes `frame` a frame: writes head, table and checksum, and zeroes what lies between and behind the batches.
///
/// The batches must already stand where `batches` says, in the form they are to be stored (offset and timestamp patched).
/// Panics when `frame` and `batches` do not come from [`lay_out`].
pub fn seal(frame: &mut [u8], head: &FrameHead, batches: &[BatchSpan]) {
    let table_end = TABLE_AT + batches.len() * TABLE_ENTRY_BYTES;
    assert!(!batches.is_empty() && batches.len() <= BATCHES_MAX, "a frame holds 1 to {BATCHES_MAX} batches");
    assert!(frame.len().is_multiple_of(FRAME_ALIGNMENT) && frame.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());

    frame[..TABLE_AT].fill(0);
    put(frame, MAGIC_AT, MAGIC.to_le_bytes());
    put(frame, VERSION_AT, VERSION.to_le_bytes());
    put(frame, LENGTH_AT, (frame.len() as u32).to_le_bytes());
    put(frame, COUNT_AT, (batches.len() as u32).to_le_bytes());
    put(frame, SEGMENT_ID_AT, head.segment_id.to_le_bytes());
    put(frame, FIRST_OFFSET_AT, head.first_offset.to_le_bytes());
    put(frame, EPOCH_AT, head.epoch.to_le_bytes());
    put(frame, TABLE_ID_AT, head.table_id.to_le_bytes());
    put(frame, PARTITION_ID_AT, head.partition_id.to_le_bytes());
    put(frame, BUCKET_AT, head.bucket.to_le_bytes());
    let mut end = table_end;
    for (index, batch) in batches.iter().enumerate() {
        let range = batch.range();
        assert!(range.start >= end && range.start.is_multiple_of(BODY_ALIGNMENT), "batch at {} in a frame, behind {end}", range.start);
        assert!(range.len() >= BATCH_HEAD_BYTES, "a batch of {} bytes", range.len());
        let at = TABLE_AT + index * TABLE_ENTRY_BYTES;
        put(frame, at, batch.start.to_le_bytes());
        put(frame, at + 4, batch.length.to_le_bytes());
        frame[end..range.start].fill(0);
        end = range.end;
    }
    frame[end..].fill(0);
    let crc = checksum(frame, batches);
    put(frame, CRC_AT, crc.to_le_bytes());
}

/// Reads the head of a frame that may start at `bytes`, which is best the first [`FRAME_ALIGNMENT`] bytes there.
///
/// A frame counts only if it belongs to `segment_id` and its epoch is not below `epoch_min`, the epoch of the frame before.
pub fn parse(bytes: &[u8], segment_id: u64, epoch_min: u32) -> Parsed {
    let Some(fixed) = bytes.get(..TABLE_AT) else {
        return Parsed::Short { needed: FRAME_ALIGNMENT };
    };
    let head = read_head(fixed);
    let (magic, version) = (u32_at(fixed, MAGIC_AT), u16_at(fixed, VERSION_AT).unwrap_or(0));
    if magic != Some(MAGIC) || version == 0 {
        return Parsed::NotAFrame;
    }
    if head.segment_id != segment_id || head.epoch < epoch_min {
        return Parsed::Stale;
    }
    if version > VERSION {
        return Parsed::Newer(version);
    }
    let length = u32_at(fixed, LENGTH_AT).unwrap_or(0) as usize;
    let count = u32_at(fixed, COUNT_AT).unwrap_or(0) as usize;
    if length == 0 || length > FRAME_BYTES_MAX || !length.is_multiple_of(FRAME_ALIGNMENT) {
        return Parsed::Torn("frame length out of range");
    }
    if count == 0 || count > BATCHES_MAX || head_bytes(count) > length {
        return Parsed::Torn("batch count out of range");
    }
    let Some(table) = bytes.get(TABLE_AT..TABLE_AT + count * TABLE_ENTRY_BYTES) else {
        return Parsed::Short { needed: head_bytes(count) };
    };
    match read_table(table, length) {
        Some(batches) => Parsed::Frame(Frame { head, length, crc: u32_at(fixed, CRC_AT).unwrap_or(0), batches }),
        None => Parsed::Torn("batch table out of range"),
    }
}

fn read_head(fixed: &[u8]) -> FrameHead {
    FrameHead {
        segment_id: u64_at(fixed, SEGMENT_ID_AT).unwrap_or(0),
        first_offset: u64_at(fixed, FIRST_OFFSET_AT).unwrap_or(0),
        epoch: u32_at(fixed, EPOCH_AT).unwrap_or(0),
        table_id: u32_at(fixed, TABLE_ID_AT).unwrap_or(0),
        partition_id: u32_at(fixed, PARTITION_ID_AT).unwrap_or(0),
        bucket: u32_at(fixed, BUCKET_AT).unwrap_or(0),
    }
}

/// The spans of the table if they are aligned, in order, apart from each other and inside the frame.
fn read_table(table: &[u8], frame_length: usize) -> Option<Vec<BatchSpan>> {
    let mut end = head_bytes(table.len() / TABLE_ENTRY_BYTES);
    let mut batches = Vec::with_capacity(table.len() / TABLE_ENTRY_BYTES);
    for entry in table.chunks_exact(TABLE_ENTRY_BYTES) {
        let span = BatchSpan { start: u32_at(entry, 0)?, length: u32_at(entry, 4)? };
        let (start, length) = (span.start as usize, span.length as usize);
        if start < end || !start.is_multiple_of(BODY_ALIGNMENT) || length < BATCH_HEAD_BYTES {
            return None;
        }
        end = start.checked_add(length).filter(|end| *end <= frame_length)?;
        batches.push(span);
    }
    Some(batches)
}

impl Frame {
    /// Bytes from the frame's start that [`Frame::verify`] needs: up to the last batch's first 25 bytes.
    pub fn verified_bytes(&self) -> usize {
        self.batches.last().map_or(TABLE_AT, |batch| batch.start as usize + BATCH_HEAD_BYTES)
    }

    /// Whether `bytes` (the frame, at least its first [`Frame::verified_bytes`]) match the checksum. The batches' own
    /// checksums are to be verified apart.
    pub fn verify(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.verified_bytes() && checksum(bytes, &self.batches) == self.crc
    }
}

/// crc32c over the head with a zero checksum field, the table, and the first bytes of each batch.
fn checksum(frame: &[u8], batches: &[BatchSpan]) -> u32 {
    let table_end = TABLE_AT + batches.len() * TABLE_ENTRY_BYTES;
    if let [batch] = batches {
        let mut gathered = [0u8; BODY_ALIGNMENT + BATCH_HEAD_BYTES];
        gathered[..table_end].copy_from_slice(&frame[..table_end]);
        gathered[CRC_AT..CRC_AT + 4].fill(0);
        gathered[table_end..].copy_from_slice(&frame[batch.start as usize..][..BATCH_HEAD_BYTES]);
        return crc_fast::crc32_iscsi(&gathered);
    }
    let mut gathered = Vec::with_capacity(table_end + batches.len() * BATCH_HEAD_BYTES);
    gathered.extend_from_slice(&frame[..table_end]);
    gathered[CRC_AT..CRC_AT + 4].fill(0);
    for batch in batches {
        gathered.extend_from_slice(&frame[batch.start as usize..][..BATCH_HEAD_BYTES]);
    }
    crc_fast::crc32_iscsi(&gathered)
}

#[cfg(test)]
mod tests;
