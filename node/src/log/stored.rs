//! A batch as it lies in the log, with all of its bytes or with those of some columns.
//!
//! Invariant: a whole batch has a good checksum, unless it comes from this process's own memory. This module knows nothing of where it was read.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer as ArrowBuffer;

use crate::error::{Error, Result};
use crate::format::frame::Frame;
use crate::format::log_batch::{BatchHeader, first_offset};
use crate::format::{BodyLayout, Decoder};
use crate::io::Frozen;

/// The bytes of a stored batch.
#[derive(Clone, Debug)]
pub enum Body {
    /// Header, message and body.
    Whole(ArrowBuffer),
    /// Only the buffers of some columns, as a decoder planned them.
    Parts(BodyLayout, Vec<ArrowBuffer>),
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Offset of the first row.
    pub first_offset: u64,
    /// Offset behind the last row.
    pub end_offset: u64,
    /// Commit time.
    pub timestamp_ms: i64,
    /// The schema of its rows.
    pub schema_id: i16,
    /// Its bytes.
    pub body: Body,
}

impl Stored {
    /// A whole batch; `verify` checks its checksum.
    pub fn whole(bytes: &Frozen, verify: bool) -> Result<Self> {
        let header = BatchHeader::read(bytes)?;
        if verify {
            header.verify(bytes)?;
        }
        Ok(Stored {
            first_offset: header.base_offset as u64,
            end_offset: header.next_offset() as u64,
            timestamp_ms: header.commit_timestamp,
            schema_id: header.schema_id,
            body: Body::Whole(bytes.arrow()),
        })
    }

    /// The rows, by a decoder for this batch's schema. Parts need the decoder that planned them.
    pub fn decode(&self, decoder: &Decoder) -> Result<RecordBatch> {
        match &self.body {
            Body::Whole(bytes) => decoder.decode(bytes),
            Body::Parts(layout, parts) => decoder.decode_parts(layout, parts).map_err(|error| error.at("offset", self.first_offset)),
        }
    }

    /// What each row says, as change types; `None` when all are appends, or the batch is not whole.
    ///
    /// # Errors
    /// Corrupt for a damaged head.
    pub fn kinds(&self) -> Result<Option<ArrowBuffer>> {
        let Body::Whole(bytes) = &self.body else { return Ok(None) };
        let header = BatchHeader::read(bytes)?;
        let range = header.change_types_range();
        Ok((!header.append_only).then(|| bytes.slice_with_length(range.start, range.len())))
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::Whole(bytes) => bytes.len(),
            Body::Parts(_, parts) => parts.iter().map(|part| part.len()).sum(),
        }
    }
}

/// What is wrong with a frame, and the offset of the next row in it that may be good.
#[derive(Debug)]
pub struct Wrong {
    /// What.
    pub error: Error,
    /// Where the batch behind the bad one begins, if there is one.
    pub next_offset: Option<u64>,
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        wrong.error
    }
}

/// Puts the batches of a frame, whose head is good, that end behind `offset` into `found`, in order. Those before a bad one are in it when that is the error; what lies
/// before `offset` need not be good.
pub fn take_batches(frame: &Frame, bytes: &Frozen, offset: u64, verify: bool, found: &mut VecDeque<Stored>) -> Result<(), Wrong> {
    for (index, span) in frame.batches.iter().enumerate() {
        let next_offset = frame.batches.get(index + 1).map(|next| first_offset(&bytes[next.range()]));
        if next_offset.is_some_and(|next| next <= offset) {
            continue;
        }
        let taken = BatchHeader::read(&bytes[span.range()]).and_then(|header| match header.next_offset() as u64 > offset {
            true => Stored::whole(&bytes.slice(span.range()), verify).map(Some),
            false => Ok(None),
        });
        found.extend(taken.map_err(|error| Wrong { error, next_offset })?);
    }
    Ok(())
}

/// The heads of a frame's batches, if the frame is the one that begins at `offset` and every checksum is good; otherwise what is wrong.
pub fn check_frame(frame: &Frame, bytes: &[u8], offset: u64) -> std::result::Result<Vec<BatchHeader>, String> {
    if !frame.verify(bytes) {
        return Err("the head of a frame has a bad checksum".to_string());
    }
    if frame.head.first_offset != offset {
        return Err("a frame with another offset than comes next".to_string());
    }
    let mut headers = Vec::with_capacity(frame.batches.len());
    let mut next = offset as i64;
    for span in &frame.batches {
        let batch = &bytes[span.range()];
        let good = BatchHeader::read(batch).and_then(|header| header.verify(batch).map(|()| header));
        let header = good.map_err(|error| error.message().to_string())?;
        if header.base_offset != next || header.next_offset() <= next {
            return Err("a batch with another offset than comes next".to_string());
        }
        next = header.next_offset();
        headers.push(header);
    }
    Ok(headers)
}

/// A frame that should be there and is not what was written.
pub fn damaged(path: &std::path::Path, position: u64, offset: u64, what: &str) -> Error {
    Error::corrupt(what.to_string())
        .at("segment", path.display())
        .at("position", position)
        .at("offset", offset)
        .hint(format!("rows before it can be read; {}", Error::VERIFY_LISTS))
}

/// Adds the offset of the first row behind what is damaged.
pub fn behind(error: Error, next_offset: u64) -> Error {
    error.at("next_offset", next_offset)
}
