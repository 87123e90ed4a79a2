//! The log batch: a Fluss log record batch, version 0, or version 1 with statistics.
//!
//! A batch is header, statistics (version 1), change types (unless append-only), one Arrow IPC record batch message. Its
//! checksum leaves out base offset and commit timestamp, which the log sets when it writes. A batch without rows is a header
//! alone and still takes one offset. Format page: `docs/format/log_batch.md`. Knows nothing of Arrow.

use std::ops::Range;

use super::bytes::{i16_at, i32_at, i64_at, put, u32_at};
use crc_fast::{CrcAlgorithm, Digest};

use crate::error::{Error, Result};

/// Where `base offset` stands.
pub const BASE_OFFSET_AT: usize = 0;
/// Where `length` stands: the bytes behind this field.
pub const LENGTH_AT: usize = 8;
/// Where `magic` stands: the version of the batch.
pub const MAGIC_AT: usize = 12;
/// Where `commit timestamp` stands.
pub const COMMIT_TIMESTAMP_AT: usize = 13;
/// Where `crc32c` stands.
pub const CRC_AT: usize = 21;
/// Where `schema id` stands; the checksum covers everything from here on.
pub const SCHEMA_ID_AT: usize = 25;
/// Where `attributes` stands.
pub const ATTRIBUTES_AT: usize = 27;
/// Where `last offset delta` stands.
pub const LAST_OFFSET_DELTA_AT: usize = 28;
/// Where `writer id` stands.
pub const WRITER_ID_AT: usize = 32;
/// Where `batch sequence` stands.
pub const SEQUENCE_AT: usize = 40;
/// Where `record count` stands.
pub const RECORD_COUNT_AT: usize = 44;
/// Where `statistics length` stands, in version 1.
pub const STATISTICS_LENGTH_AT: usize = 48;
/// Bytes of the header of version 0.
pub const HEADER_BYTES_V0: usize = 48;
/// Bytes of the header of version 1.
pub const HEADER_BYTES_V1: usize = 52;
/// Bytes before those that the `length` field counts.
pub const LENGTH_OVERHEAD: usize = 12;
/// Bit of `attributes`: all rows are appends, there is no change-type vector.
pub const APPEND_ONLY: u8 = 1;
/// The writer id of a batch whose writer does not ask for idempotence.
pub const NO_WRITER_ID: i64 = -1;
/// The sequence of a batch without a writer id.
pub const NO_SEQUENCE: i32 = -1;
/// The greatest change type: 0 append, 1 insert, 2 update before, 3 update after, 4 delete.
pub const CHANGE_TYPE_MAX: i8 = 4;

/// The header of a batch, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first row.
    pub base_offset: i64,
    /// Bytes of the whole batch.
    pub length: usize,
    /// 0 or 1.
    pub version: u8,
    /// When the batch was written, in milliseconds since 1970.
    pub commit_timestamp: i64,
    /// The stored checksum.
    pub crc: u32,
    /// The schema of its rows.
    pub schema_id: i16,
    /// All rows are appends; otherwise a change-type vector stands before the rows.
    pub append_only: bool,
    /// Offset of the last row, less the base offset. 0 in a batch without rows.
    pub last_offset_delta: i32,
    /// The idempotent writer, or [`NO_WRITER_ID`].
    pub writer_id: i64,
    /// The writer's number for this batch, or [`NO_SEQUENCE`].
    pub sequence: i32,
    /// Rows.
    pub rows: usize,
    /// Bytes of statistics; 0 in version 0.
    pub statistics_bytes: usize,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may end anywhere behind it. Checks that all it says fits together.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let fixed = bytes.get(..HEADER_BYTES_V0).ok_or_else(|| bad("a batch ends inside its header").at("bytes", bytes.len()))?;
        let short = || bad("a batch ends inside its header");
        let version = fixed[MAGIC_AT];
        if version > 1 {
            return Err(Error::newer("a batch of a newer version").at("version", version));
        }
        let attributes = fixed[ATTRIBUTES_AT];
        if attributes & !APPEND_ONLY != 0 {
            return Err(bad("unknown batch attributes").at("attributes", attributes));
        }
        let statistics = if version == 0 { 0 } else { i32_at(bytes, STATISTICS_LENGTH_AT).ok_or_else(short)? };
        let length = i32_at(fixed, LENGTH_AT).ok_or_else(short)?;
        let count = i32_at(fixed, RECORD_COUNT_AT).ok_or_else(short)?;
        let (Ok(length), Ok(rows), Ok(statistics_bytes)) = (usize::try_from(length), usize::try_from(count), usize::try_from(statistics))
        else {
            return Err(bad("a batch with a negative length").at("length", length).at("rows", count));
        };
        let header = BatchHeader {
            base_offset: i64_at(fixed, BASE_OFFSET_AT).ok_or_else(short)?,
            length: length + LENGTH_OVERHEAD,
            version,
            commit_timestamp: i64_at(fixed, COMMIT_TIMESTAMP_AT).ok_or_else(short)?,
            crc: u32_at(fixed, CRC_AT).ok_or_else(short)?,
            schema_id: i16_at(fixed, SCHEMA_ID_AT).ok_or_else(short)?,
            append_only: attributes & APPEND_ONLY != 0,
            last_offset_delta: i32_at(fixed, LAST_OFFSET_DELTA_AT).ok_or_else(short)?,
            writer_id: i64_at(fixed, WRITER_ID_AT).ok_or_else(short)?,
            sequence: i32_at(fixed, SEQUENCE_AT).ok_or_else(short)?,
            rows,
            statistics_bytes,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<()> {
        let last = i64::from(self.last_offset_delta);
        if self.base_offset < 0 || last < 0 || self.base_offset.checked_add(last + 1).is_none() {
            return Err(bad("a batch with offsets out of range").at("offset", self.base_offset));
        }
        if self.rows > 0 && self.rows as i64 > last + 1 {
            return Err(bad("a batch with more rows than offsets").at("offset", self.base_offset).at("rows", self.rows));
        }
        if self.message_start() > self.length {
            return Err(bad("a batch shorter than its parts").at("offset", self.base_offset).at("bytes", self.length));
        }
        Ok(())
    }

    /// Writes the header at the start of `out`. Base offset, timestamp and checksum are written as they stand here.
    ///
    /// Panics when `out` is shorter than the header or the batch longer than its length field can say.
    pub fn write(&self, out: &mut [u8]) {
        let length = i32::try_from(self.length - LENGTH_OVERHEAD).expect("a batch fits its length field");
        put(out, BASE_OFFSET_AT, self.base_offset.to_le_bytes());
        put(out, LENGTH_AT, length.to_le_bytes());
        out[MAGIC_AT] = self.version;
        put(out, COMMIT_TIMESTAMP_AT, self.commit_timestamp.to_le_bytes());
        put(out, CRC_AT, self.crc.to_le_bytes());
        put(out, SCHEMA_ID_AT, self.schema_id.to_le_bytes());
        out[ATTRIBUTES_AT] = if self.append_only { APPEND_ONLY } else { 0 };
        put(out, LAST_OFFSET_DELTA_AT, self.last_offset_delta.to_le_bytes());
        put(out, WRITER_ID_AT, self.writer_id.to_le_bytes());
        put(out, SEQUENCE_AT, self.sequence.to_le_bytes());
        put(out, RECORD_COUNT_AT, (self.rows as u32).to_le_bytes());
        if self.version > 0 {
            put(out, STATISTICS_LENGTH_AT, (self.statistics_bytes as u32).to_le_bytes());
        }
    }

    /// Bytes of the header itself.
    pub fn header_bytes(&self) -> usize {
        if self.version == 0 { HEADER_BYTES_V0 } else { HEADER_BYTES_V1 }
    }

    /// The offset behind the last row.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// The statistics, as a range of the batch.
    pub fn statistics_range(&self) -> Range<usize> {
        self.header_bytes()..self.header_bytes() + self.statistics_bytes
    }

    /// The change types, one byte a row, as a range of the batch. Empty in an append-only batch.
    pub fn change_types_range(&self) -> Range<usize> {
        let start = self.statistics_range().end;
        start..start + if self.append_only { 0 } else { self.rows }
    }

    /// Where the Arrow message starts, in bytes from the start of the batch. There is none in a batch without rows.
    pub fn message_start(&self) -> usize {
        self.change_types_range().end
    }

    /// The change types of `batch`, one byte a row; `None` when all rows are appends.
    ///
    /// Errors with `Corrupt` when `batch` ends before them or one is unknown.
    pub fn change_types<'a>(&self, batch: &'a [u8]) -> Result<Option<&'a [u8]>> {
        if self.append_only {
            return Ok(None);
        }
        let types = batch.get(self.change_types_range()).ok_or_else(|| bad("a batch ends inside its change types"))?;
        match types.iter().find(|kind| **kind > CHANGE_TYPE_MAX as u8) {
            Some(kind) => Err(bad("unknown change type").at("change_type", kind).at("offset", self.base_offset)),
            None => Ok(Some(types)),
        }
    }

    /// Checks `batch`, the whole of it, against its checksum.
    pub fn verify(&self, batch: &[u8]) -> Result<()> {
        let bytes = batch.get(..self.length).ok_or_else(|| bad("a batch is cut off").at("offset", self.base_offset))?;
        if checksum(bytes) != self.crc {
            return Err(bad("the checksum of a batch does not match").at("offset", self.base_offset).at("bytes", self.length));
        }
        Ok(())
    }
}

/// The checksum of `batch`, the whole of it: crc32c from the schema id to the end. Panics when it is shorter than that.
pub fn checksum(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&batch[SCHEMA_ID_AT..])
}

/// As [`checksum`], of a batch whose body was checksummed before: `front` is all that stands before the body.
pub(super) fn checksum_with(front: &[u8], body: &Digest) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&front[SCHEMA_ID_AT..]);
    digest.combine(body);
    digest.finalize() as u32
}

/// Sets base offset and commit timestamp, which the checksum leaves out. Panics when `batch` is shorter than a header.
pub fn patch(batch: &mut [u8], base_offset: i64, commit_timestamp: i64) {
    put(batch, BASE_OFFSET_AT, base_offset.to_le_bytes());
    put(batch, COMMIT_TIMESTAMP_AT, commit_timestamp.to_le_bytes());
}

/// The offset of the first row of `batch`, whatever became of the rest of its header: of one in a frame, the frame's checksum vouches for it. 0 when it is cut off.
pub fn first_offset(batch: &[u8]) -> u64 {
    i64_at(batch, BASE_OFFSET_AT).unwrap_or(0).max(0) as u64
}

/// One batch of a run of batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    /// Bytes from the start of the run.
    pub position: usize,
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Walks batches that stand one behind the other, as in a segment file of Fluss or a fetch answer. Checksums are not
/// verified. Ends behind the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Batches<'a> {
    /// The batches in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Batches { bytes, position: 0 }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchRef<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.position..).filter(|rest| !rest.is_empty())?;
        let position = self.position;
        self.position = self.bytes.len();
        let found = BatchHeader::read(rest).and_then(|header| match rest.get(..header.length) {
            Some(bytes) => Ok(BatchRef { position, header, bytes }),
            None => Err(bad("a batch is cut off").at("offset", header.base_offset)),
        });
        if let Ok(batch) = &found {
            self.position = position + batch.header.length;
        }
        Some(found.map_err(|error| error.at("position", position)))
    }
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message)
}

#[cfg(test)]
mod tests;
