//! Frames: layout, outcomes of parsing, damage in every byte.

use proptest::prelude::*;

use super::*;

const HEAD: FrameHead = FrameHead { segment_id: 77, first_offset: 1000, epoch: 3, table_id: 4, partition_id: 5, bucket: 6 };

/// A frame whose batches are of these lengths, filled with their number.
fn frame(lengths: &[usize]) -> (Vec<u8>, Vec<BatchSpan>) {
    let (spans, length) = lay_out(lengths).unwrap();
    let mut bytes = vec![0xAA; length];
    for (index, span) in spans.iter().enumerate() {
        bytes[span.range()].fill(index as u8);
    }
    seal(&mut bytes, &HEAD, &spans);
    (bytes, spans)
}

fn parsed(bytes: &[u8]) -> Frame {
    match parse(bytes, HEAD.segment_id, HEAD.epoch) {
        Parsed::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_parsed(lengths in proptest::collection::vec(25usize..9000, 1..40)) {
        let (bytes, spans) = frame(&lengths);
        prop_assert_eq!(bytes.len() % FRAME_ALIGNMENT, 0);
        let frame = parsed(&bytes);
        prop_assert_eq!(frame.head, HEAD);
        prop_assert_eq!(frame.length, bytes.len());
        prop_assert_eq!(&frame.batches, &spans);
        prop_assert!(frame.verify(&bytes));
        prop_assert!(frame.verify(&bytes[..frame.verified_bytes()]));
        prop_assert!(!frame.verify(&bytes[..frame.verified_bytes() - 1]));
        // Nothing of the buffer's former life is left between and behind the batches.
        let mut covered = vec![false; bytes.len()];
        covered[..TABLE_AT + spans.len() * TABLE_ENTRY_BYTES].fill(true);
        spans.iter().for_each(|span| covered[span.range()].fill(true));
        prop_assert!(bytes.iter().zip(&covered).all(|(byte, covered)| *covered || *byte == 0));
    }

    #[test]
    fn damage_is_noticed(lengths in proptest::collection::vec(25usize..500, 1..10), at: prop::sample::Index, bit in 0u8..8) {
        let (mut bytes, spans) = frame(&lengths);
        let mut covered: Vec<usize> = (0..TABLE_AT + spans.len() * TABLE_ENTRY_BYTES).collect();
        spans.iter().for_each(|span| covered.extend(span.range().take(BATCH_HEAD_BYTES)));
        bytes[covered[at.index(covered.len())]] ^= 1 << bit;
        if let Parsed::Frame(frame) = parse(&bytes, HEAD.segment_id, HEAD.epoch) {
            prop_assert!(!frame.verify(&bytes));
        }
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), like in any::<bool>()) {
        if like && bytes.len() > TABLE_AT {
            put(&mut bytes, MAGIC_AT, MAGIC.to_le_bytes());
            put(&mut bytes, VERSION_AT, VERSION.to_le_bytes());
            put(&mut bytes, SEGMENT_ID_AT, 77u64.to_le_bytes());
            put(&mut bytes, LENGTH_AT, 8192u32.to_le_bytes());
            bytes[COUNT_AT + 1..COUNT_AT + 4].fill(0);
        }
        if let Parsed::Frame(frame) = parse(&bytes, 77, 0) {
            frame.verify(&bytes);
        }
    }
}

#[test]
fn one_batch_starts_at_byte_64() {
    assert_eq!(lay_out(&[100]).unwrap(), (vec![BatchSpan { start: 64, length: 100 }], 4096));
    assert_eq!(lay_out(&[4032]).unwrap().1, 4096);
    assert_eq!(lay_out(&[4033]).unwrap().1, 8192);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(lay_out(&[]).unwrap_err().kind(), crate::Kind::Invalid);
    assert_eq!(lay_out(&[FRAME_BYTES_MAX]).unwrap_err().kind(), crate::Kind::Exhausted);
    assert_eq!(lay_out(&[usize::MAX - 1000]).unwrap_err().kind(), crate::Kind::Exhausted);
    assert_eq!(lay_out(&vec![48; BATCHES_MAX + 1]).unwrap_err().kind(), crate::Kind::Exhausted);
}

#[test]
fn the_end_of_the_log_is_told_from_damage() {
    let (bytes, _) = frame(&[100, 200]);
    let parse = |bytes: &[u8]| parse(bytes, HEAD.segment_id, HEAD.epoch);
    assert_eq!(parse(&[0; 4096]), Parsed::NotAFrame);
    assert_eq!(super::parse(&bytes, 78, 3), Parsed::Stale);
    assert_eq!(super::parse(&bytes, 77, 4), Parsed::Stale);
    assert!(matches!(super::parse(&bytes, 77, 2), Parsed::Frame(_)));

    let with = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        put(&mut bytes, at, value.to_le_bytes());
        bytes
    };
    assert_eq!(parse(&with(VERSION_AT, 2)), Parsed::Newer(2));
    assert!(matches!(parse(&with(LENGTH_AT, 4095)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(LENGTH_AT, 0)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(COUNT_AT, 0)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(COUNT_AT, u32::MAX)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(TABLE_AT, 65)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(TABLE_AT + 4, 8192)), Parsed::Torn(_)));
    // A batch inside the head, and one that starts inside another.
    assert!(matches!(parse(&with(TABLE_AT, 64)), Parsed::Torn(_)));
    assert!(matches!(parse(&with(TABLE_AT + 8, 192)), Parsed::Torn(_)));
}

#[test]
fn a_long_head_asks_for_its_rest() {
    let (bytes, _) = frame(&[25; 1000]);
    assert_eq!(parse(&bytes[..10], 77, 3), Parsed::Short { needed: FRAME_ALIGNMENT });
    let Parsed::Short { needed } = parse(&bytes[..4096], 77, 3) else { panic!("not short") };
    assert_eq!(needed, head_bytes(1000));
    assert!(matches!(parse(&bytes[..needed], 77, 3), Parsed::Frame(_)));
}
