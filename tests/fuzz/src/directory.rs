//! The directory of a sealed segment.

use aquifer_node::format::Directory;
use aquifer_node::format::directory::{CRC_AT, ENTRY_BYTES_AT, HEAD_BYTES, SEGMENT_ID_AT, WRITER_BYTES_AT};

use crate::forge;

/// Reads a directory, with the checksum that it has and with a good one, asks it everything, and writes it again; whether it is one.
pub fn run(data: &[u8]) -> bool {
    let segment_id = data.get(SEGMENT_ID_AT..SEGMENT_ID_AT + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
    let forged = || forge::whole(data, HEAD_BYTES, &[(ENTRY_BYTES_AT, 1), (WRITER_BYTES_AT, 1)], CRC_AT);
    ask(segment_id, data) || forged().is_some_and(|bytes| ask(segment_id, &bytes))
}

fn ask(segment_id: u64, data: &[u8]) -> bool {
    let Ok((directory, writers)) = Directory::decode(segment_id, data) else { return false };
    let (mut last, mut count) = (0, 0);
    for entry in directory.entries(0) {
        assert!(entry.first_offset() >= last && entry.next_offset() >= entry.first_offset(), "entries in order");
        last = entry.next_offset();
        count += 1;
        let _ = (entry.rows(), entry.timestamps(), entry.position(), entry.end());
    }
    assert_eq!(count, directory.len(), "as many entries as it says");
    for offset in [0, 1, last / 2, last, u64::MAX] {
        let _ = directory.find_offset(offset).and_then(|index| directory.entry(index));
    }
    for timestamp in [i64::MIN, 0, 100, 250, i64::MAX] {
        let _ = directory.find_timestamp(timestamp).and_then(|index| directory.entry(index));
    }
    let again = directory.encode(&writers);
    assert!(Directory::decode(segment_id, &again).is_ok(), "what it writes can be read");
    true
}
