//! From records to the frames of one write.
//!
//! A large batch, or one alone, is written from the buffer it was encoded into; the small ones of a group share a frame, in order.
//! Invariant: the frames hold the records' batches in offset order and fill the write exactly.
//! This module knows nothing of segments, threads or results.

use super::writer::{HEAD_ROOM, Placed, Write, has_own_frame};
use crate::format::frame::{self, BatchSpan, FrameHead};
use crate::format::log_batch;
use crate::io::{Frozen, Pool};

/// Whose log this is; stands in the head of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table_id: u32,
    /// The partition; 0 in a table without partitions.
    pub partition_id: u32,
    /// The bucket.
    pub bucket: u32,
    /// The writer's open, counted by the catalog.
    pub epoch: u32,
}

/// Builds the frames of a write. Their lengths add up to `write.bytes`.
pub fn gather(write: &mut Write, place: &Place, pool: &Pool) -> Vec<Frozen> {
    let records = std::mem::take(&mut write.records);
    let alone = records.len() == 1;
    let mut frames = Vec::new();
    let mut shared = Vec::new();
    for placed in records {
        if has_own_frame(&placed.record, alone) {
            share(&mut shared, write.segment.id(), place, pool, &mut frames);
            frames.push(own_frame(placed, write.segment.id(), place));
        } else {
            shared.push(placed);
        }
    }
    share(&mut shared, write.segment.id(), place, pool, &mut frames);
    let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
    assert_eq!(bytes, write.bytes, "frames fill the write");
    frames
}

fn head(segment_id: u64, first_offset: u64, place: &Place) -> FrameHead {
    let Place { table_id, partition_id, bucket, epoch } = *place;
    FrameHead { segment_id, first_offset, epoch, table_id, partition_id, bucket }
}

fn own_frame(placed: Placed, segment_id: u64, place: &Place) -> Frozen {
    let Placed { record, first_offset, timestamp_ms } = placed;
    let mut buffer = record.buffer;
    log_batch::patch(&mut buffer[HEAD_ROOM..], first_offset as i64, timestamp_ms);
    let span = BatchSpan { start: HEAD_ROOM as u32, length: record.batch_bytes as u32 };
    frame::seal(&mut buffer, &head(segment_id, first_offset, place), &[span]);
    buffer.freeze()
}

/// Moves the small records collected so far into one frame.
fn share(records: &mut Vec<Placed>, segment_id: u64, place: &Place, pool: &Pool, frames: &mut Vec<Frozen>) {
    match records.len() {
        0 => return,
        1 => frames.extend(records.drain(..).map(|placed| own_frame(placed, segment_id, place))),
        _ => frames.push(shared_frame(records, segment_id, place, pool)),
    }
    records.clear();
}

fn shared_frame(records: &[Placed], segment_id: u64, place: &Place, pool: &Pool) -> Frozen {
    let lengths: Vec<usize> = records.iter().map(|placed| placed.record.batch_bytes).collect();
    let (spans, frame_bytes) = frame::lay_out(&lengths).expect("a group is smaller than a frame may be");
    let mut buffer = pool.get(frame_bytes);
    for (placed, span) in records.iter().zip(&spans) {
        let batch = &mut buffer[span.range()];
        batch.copy_from_slice(&placed.record.buffer[HEAD_ROOM..HEAD_ROOM + placed.record.batch_bytes]);
        log_batch::patch(batch, placed.first_offset as i64, placed.timestamp_ms);
    }
    frame::seal(&mut buffer, &head(segment_id, records[0].first_offset, place), &spans);
    buffer.freeze()
}
