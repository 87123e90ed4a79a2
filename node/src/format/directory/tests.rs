//! Directories: what goes in comes out, lookups, damage.

use proptest::prelude::*;

use super::super::encode::tests::encode;
use super::super::frame::{self, FRAME_ALIGNMENT, FrameHead, Parsed};
use super::super::measure::cost;
use super::super::samples::{wide_batch, wide_schema};
use super::super::{BatchMeta, Compression, Decoder, Encoder, Layout, log_batch};
use super::*;
use crate::error::Kind;

const SEGMENT: u64 = 99;

/// A segment of frames with batches of so many rows of the 20 columns, at one timestamp a frame.
pub(in super::super) fn segment(frames: &[(i64, Vec<usize>)]) -> Vec<u8> {
    let schema = wide_schema();
    let encoder = Encoder::new(&schema, Layout::Native, Compression::None).unwrap();
    let (mut bytes, mut offset) = (Vec::new(), 1000);
    for (timestamp, batches) in frames {
        let first_offset = offset as u64;
        let mut encoded = Vec::new();
        for rows in batches {
            let mut batch = encode(&encoder, &wide_batch(&schema, *rows, 1), &BatchMeta::append(1));
            log_batch::patch(&mut batch, offset, *timestamp);
            offset += (*rows).max(1) as i64;
            encoded.push(batch);
        }
        let (spans, length) = frame::lay_out(&encoded.iter().map(Vec::len).collect::<Vec<_>>()).unwrap();
        let mut frame = vec![0; length];
        spans.iter().zip(&encoded).for_each(|(span, batch)| frame[span.range()].copy_from_slice(batch));
        frame::seal(&mut frame, &FrameHead { segment_id: SEGMENT, first_offset, ..Default::default() }, &spans);
        bytes.extend(frame);
    }
    bytes
}

/// The directory of a segment, made by walking its frames.
pub(in super::super) fn walk(segment: &[u8]) -> Directory {
    let mut directory = Directory::new(SEGMENT);
    let mut position = 0;
    while position < segment.len() {
        let Parsed::Frame(frame) = frame::parse(&segment[position..], SEGMENT, 0) else { panic!("no frame") };
        directory.add_frame(position as u64, &frame, &segment[position..position + frame.length]).unwrap();
        position += frame.length;
    }
    directory
}

pub(in super::super) fn writers() -> Vec<WriterState> {
    let batches = (0..5).map(|index| WriterBatch { sequence: index, first_offset: 1000 + index as u64, offsets: 1 }).collect();
    vec![WriterState { writer_id: 7, timestamp: 300, batches }, WriterState { writer_id: 1 << 40, timestamp: -1, batches: vec![] }]
}

/// Large and small frames in turn.
pub(in super::super) fn mixed() -> Vec<u8> {
    let small = || vec![1, 2, 0];
    let frames = [(100, small()), (100, vec![500]), (200, vec![600]), (300, small()), (300, small()), (400, vec![1000])];
    segment(&frames)
}

#[test]
fn large_batches_stand_alone_and_small_ones_in_runs() {
    let bytes = mixed();
    let directory = walk(&bytes);
    let entries: Vec<Entry> = directory.entries(0).collect();
    let kinds: Vec<(bool, u64, u64)> =
        entries.iter().map(|entry| (matches!(entry, Entry::Batch(_)), entry.first_offset(), entry.rows())).collect();
    assert_eq!(kinds, [(false, 1000, 3), (true, 1004, 500), (true, 1504, 600), (false, 2104, 6), (true, 2112, 1000)]);
    assert_eq!(directory.end() as usize, bytes.len());
    assert_eq!((directory.first_offset(), directory.next_offset(), directory.timestamps()), (Some(1000), 3112, Some((100, 400))));
    assert!(entries.windows(2).all(|pair| pair[0].end() == pair[1].position()));
}

#[test]
fn runs_end_when_they_are_long() {
    let frames: Vec<_> = (0..100).map(|at| (at, vec![1])).collect();
    let directory = walk(&segment(&frames));
    let lengths: Vec<u64> = directory.entries(0).map(|entry| entry.end() - entry.position()).collect();
    let full = 64 << 10;
    assert_eq!(lengths, [full, full, full, full, full, full, 4 * FRAME_ALIGNMENT as u64]);
}

#[test]
fn a_projection_is_read_from_the_entry_alone() {
    let bytes = mixed();
    let schema = wide_schema();
    let decoder = Decoder::projected(&schema, &[3, 18]).unwrap();
    let wanted = wide_batch(&schema, 600, 1).project(&[3, 18]).unwrap();
    let Some(Entry::Batch(entry)) = walk(&bytes).entry(2) else { panic!("no batch") };
    let batch = entry.position as usize + entry.batch.start as usize;
    let plan = decoder.plan(&entry.layout).unwrap();
    let checksums = entry.checksums.as_ref().unwrap();
    for (range, buffer) in plan.iter().zip(decoder.needed(&entry.layout).unwrap()) {
        assert_eq!(crc_fast::crc32_iscsi(&bytes[batch + range.start..batch + range.end]), checksums[buffer], "buffer {buffer}");
    }
    let parts: Vec<_> = plan.iter().map(|range| arrow::buffer::Buffer::from(&bytes[batch + range.start..batch + range.end])).collect();
    assert_eq!(decoder.decode_parts(&entry.layout, &parts).unwrap(), wanted);
}

#[test]
fn what_two_directories_say_otherwise_is_found() {
    let directory = walk(&mixed());
    assert_eq!(directory.first_difference(&directory.clone()), None);
    let shorter = walk(&segment(&[(100, vec![1, 2, 0]), (100, vec![500])]));
    assert_eq!((directory.first_difference(&shorter), shorter.first_difference(&directory)), (Some(1504), Some(1504)));
    let later = walk(&segment(&[(101, vec![1, 2, 0]), (100, vec![500])]));
    assert_eq!(later.first_difference(&shorter), Some(1000));
    let mut other_value = mixed();
    let Some(Entry::Batch(entry)) = directory.entry(2) else { panic!("no batch") };
    other_value[entry.position as usize + entry.batch.start as usize + entry.layout.range(&entry.layout.buffers[1]).start] ^= 1;
    assert_eq!(directory.first_difference(&walk(&other_value)), Some(1504), "a value is another");
}

#[test]
fn offsets_and_timestamps_are_found() {
    let directory = walk(&mixed());
    let by_offset = |offset| directory.find_offset(offset);
    assert_eq!(
        [999, 1000, 1003, 1004, 1503, 1504, 3111, 3112].map(by_offset),
        [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(4), None]
    );
    let by_timestamp = |timestamp| directory.find_timestamp(timestamp);
    assert_eq!([0, 100, 101, 200, 201, 400, 401].map(by_timestamp), [Some(0), Some(0), Some(2), Some(2), Some(3), Some(4), None]);
}

#[test]
fn clocks_that_run_backwards_do_not_hide_rows() {
    let directory = walk(&segment(&[(500, vec![500]), (200, vec![500]), (600, vec![500])]));
    assert_eq!([100, 300, 501].map(|timestamp| directory.find_timestamp(timestamp)), [Some(0), Some(0), Some(2)]);
    assert_eq!(directory.timestamps(), Some((200, 600)));
}

#[test]
fn what_is_encoded_is_decoded() {
    for frames in [0, 1, 4, 6] {
        let bytes = mixed();
        let mut directory = walk(&bytes);
        if frames < 6 {
            directory = Directory::new(SEGMENT);
            let mut position = 0;
            for _ in 0..frames {
                let Parsed::Frame(frame) = frame::parse(&bytes[position..], SEGMENT, 0) else { panic!("no frame") };
                directory.add_frame(position as u64, &frame, &bytes[position..]).unwrap();
                position += frame.length;
            }
        }
        let mut encoded = directory.encode(&writers());
        encoded.extend([0; 100]);
        let (decoded, found) = Directory::decode(SEGMENT, &encoded).unwrap();
        assert_eq!(found, writers());
        assert_eq!(decoded.entries(0).collect::<Vec<_>>(), directory.entries(0).collect::<Vec<_>>());
        assert_eq!((decoded.next_offset(), decoded.end()), (directory.next_offset(), directory.end()));
        assert_eq!(decoded.timestamps(), directory.timestamps());
        assert_eq!(decoded.encode(&found), encoded[..encoded.len() - 100]);
    }
}

#[test]
fn damage_other_segments_and_newer_versions_are_refused() {
    let good = walk(&mixed()).encode(&writers());
    assert_eq!(Directory::decode(98, &good).unwrap_err().kind(), Kind::Corrupt);
    for at in 0..good.len() {
        assert_eq!(Directory::decode(SEGMENT, &good[..at]).unwrap_err().kind(), Kind::Corrupt);
        let mut broken = good.clone();
        broken[at] ^= 1;
        assert!(Directory::decode(SEGMENT, &broken).is_err(), "byte {at}");
    }
    let mut newer = good;
    put(&mut newer, VERSION_AT, (VERSION + 1).to_le_bytes());
    assert_eq!(Directory::decode(SEGMENT, &newer).unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn frames_out_of_order_are_refused() {
    let bytes = mixed();
    let mut directory = walk(&bytes);
    let Parsed::Frame(frame) = frame::parse(&bytes, SEGMENT, 0) else { panic!("no frame") };
    assert_eq!(directory.add_frame(0, &frame, &bytes).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(directory.add_frame(directory.end(), &frame, &bytes).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(Directory::new(SEGMENT).add_frame(0, &frame, &bytes[..60]).unwrap_err().kind(), Kind::Corrupt);
}

/// Puts the right checksum on damaged bytes, so that the checks behind it are reached.
fn forge(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = HEAD_BYTES + u32_at(&bytes, ENTRY_BYTES_AT).unwrap() as usize + u32_at(&bytes, WRITER_BYTES_AT).unwrap() as usize;
    put(&mut bytes, CRC_AT, [0; 4]);
    let crc = crc_fast::crc32_iscsi(&bytes[..end.min(bytes.len())]);
    put(&mut bytes, CRC_AT, crc.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn forged_directories_are_survived(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = walk(&segment(&[(100, vec![1, 2, 0]), (100, vec![500])])).encode(&writers());
        for (at, value) in edits {
            let at = ENTRY_COUNT_AT + at.index(bytes.len() - ENTRY_COUNT_AT);
            bytes[at] = value;
        }
        let schema = wide_schema();
        let decoder = Decoder::new(&schema).unwrap();
        if let Ok((directory, _)) = Directory::decode(SEGMENT, &forge(bytes)) {
            for entry in directory.entries(0) {
                if let Entry::Batch(batch) = entry {
                    let _ = (decoder.plan(&batch.layout), batch.change_types_range());
                }
            }
        }
    }
}

#[test]
fn entries_are_small_and_cheap() {
    let bytes = segment(&vec![(1_700_000_000_000, vec![10_000]); 20]);
    let directory = walk(&bytes);
    let entry_bytes = directory.packed.len() / directory.len();
    assert!(entry_bytes <= 220, "{entry_bytes} bytes an entry");
    assert!(directory.bytes() < 20 * 400);
    let frame_bytes = bytes.len() / 20;
    let Parsed::Frame(frame) = frame::parse(&bytes, SEGMENT, 0) else { panic!("no frame") };
    let add = cost(20_000, || Directory::new(SEGMENT).add_frame(0, &frame, &bytes[..frame_bytes]).unwrap());
    let read = cost(20_000, || _ = std::hint::black_box(directory.entry(7)));
    println!("{entry_bytes} bytes an entry of 20 columns; add a frame {add:.0} ns, read an entry {read:.0} ns");
}
