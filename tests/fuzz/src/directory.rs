//! The directory of a sealed segment.

use aquifer_node::format::Directory;

/// The segment of the golden directory.
const SEGMENT_ID: u64 = 99;

/// Reads a directory, asks it everything, and writes it again; whether it is one.
pub fn run(data: &[u8]) -> bool {
    let Ok((directory, writers)) = Directory::decode(SEGMENT_ID, data) else { return false };
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
    assert!(Directory::decode(SEGMENT_ID, &again).is_ok(), "what it writes can be read");
    true
}
