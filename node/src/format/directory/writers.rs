//! The snapshot of idempotent writers in a directory: their last batches, so that a batch sent twice is known after a restart
//! without reading the segment.

use super::super::bytes::{Reader, push_signed, push_varint};

/// Batches that are kept of each writer: as many as it may have under way.
pub const WRITER_BATCHES_MAX: usize = 5;

/// A batch that a writer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterBatch {
    /// The writer's number for it.
    pub sequence: i32,
    /// Offset of its first row.
    pub first_offset: u64,
    /// How many offsets it takes.
    pub offsets: u32,
}

/// What is known of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterState {
    /// Its id.
    pub writer_id: i64,
    /// Commit timestamp of its last batch.
    pub timestamp: i64,
    /// Its last batches, the oldest first, at most [`WRITER_BATCHES_MAX`].
    pub batches: Vec<WriterBatch>,
}

impl WriterState {
    /// Panics with more batches than are kept.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        assert!(self.batches.len() <= WRITER_BATCHES_MAX, "{} batches of a writer", self.batches.len());
        push_signed(out, self.writer_id);
        push_signed(out, self.timestamp);
        out.push(self.batches.len() as u8);
        for batch in &self.batches {
            push_signed(out, batch.sequence.into());
            push_varint(out, batch.first_offset);
            push_varint(out, batch.offsets.into());
        }
    }

    /// The states in `bytes`, exactly `count`.
    pub(super) fn read_all(count: usize, bytes: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader { rest: bytes };
        let mut writers = Vec::new();
        for _ in 0..count {
            writers.push(Self::read(&mut reader)?);
        }
        reader.rest.is_empty().then_some(writers)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (writer_id, timestamp, count) = (reader.signed()?, reader.signed()?, reader.byte()? as usize);
        if count > WRITER_BATCHES_MAX {
            return None;
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            let sequence = i32::try_from(reader.signed()?).ok()?;
            let first_offset = reader.varint()?;
            batches.push(WriterBatch { sequence, first_offset, offsets: u32::try_from(reader.varint()?).ok()? });
        }
        Some(WriterState { writer_id, timestamp, batches })
    }
}
