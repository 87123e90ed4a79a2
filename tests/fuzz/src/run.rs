//! The index of a run.

use aquifer_node::format::RunIndex;
use aquifer_node::format::run_index::{BLOCK_COUNT_AT, BLOOM_BYTES_AT, CRC_AT, ENTRY_BYTES, HEAD_BYTES, KEY_BYTES_AT, MAGIC};

use crate::forge;

/// Reads an index, with the checksum that it has and with a good one, asks it everything, and writes it again; whether it is one.
pub fn run(data: &[u8]) -> bool {
    // In a whole run the index stands behind the blocks.
    let start = data.windows(4).position(|word| word == MAGIC.to_le_bytes()).unwrap_or(0);
    let bytes = &data[start..];
    let lengths = [(BLOCK_COUNT_AT, ENTRY_BYTES), (KEY_BYTES_AT, 1), (BLOOM_BYTES_AT, 1)];
    ask(bytes) || forge::whole(bytes, HEAD_BYTES, &lengths, CRC_AT).is_some_and(|bytes| ask(&bytes))
}

fn ask(bytes: &[u8]) -> bool {
    let Ok(index) = RunIndex::decode(bytes) else { return false };
    let mut end = 0;
    for (number, block) in index.blocks().iter().enumerate() {
        assert_eq!(block.position, end, "blocks follow each other");
        end += u64::from(block.length);
        let found = index.find(index.first_key(number), 0);
        assert!(found.is_none_or(|found| found >= number), "a block is found by its first key, or one behind it that begins with the same");
    }
    for hash in [0, 1, u64::MAX, 0x9E37_79B9_7F4A_7C15] {
        let _ = index.bloom().may_hold(hash);
    }
    let _ = (index.find(&[], 0), index.find(&[0xFF; 9], 0), index.last_key(), index.rows(), index.deletes());
    assert_eq!(RunIndex::decode(&index.encode()).ok().as_ref(), Some(&index), "what it writes can be read");
    true
}
