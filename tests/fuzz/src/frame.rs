//! Frames: head, table of batches, checksum.

use aquifer_node::format::frame::{self, Parsed};

/// Reads a frame of whatever segment the bytes say; whether it is one.
pub fn run(data: &[u8]) -> bool {
    let mut is_frame = false;
    let segment_id =
        data.get(frame::SEGMENT_ID_AT..frame::SEGMENT_ID_AT + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
    for bytes in [data, &data[..data.len().min(4096)]] {
        match frame::parse(bytes, segment_id, 0) {
            Parsed::Frame(frame) => {
                assert_eq!(frame.length % 4096, 0, "frames are whole blocks");
                assert!(
                    frame.batches.iter().all(|span| span.range().end <= frame.length && span.range().start % 64 == 0),
                    "batches lie in the frame"
                );
                is_frame = frame.verify(data);
                assert!(frame.verified_bytes() <= frame.length, "what is verified lies in the frame");
            }
            Parsed::Short { needed } => assert!(needed > bytes.len(), "more than there is"),
            Parsed::NotAFrame | Parsed::Stale | Parsed::Torn(_) | Parsed::Newer(_) => {}
        }
    }
    is_frame
}
