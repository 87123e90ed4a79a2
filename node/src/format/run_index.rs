//! The index at the end of a run file: where its blocks are, which keys they hold, and a filter over all keys.
//!
//! A run is rows sorted by key, each key once, in blocks; a block is a log batch. Invariants: blocks lie one behind the other from the start of the file, their
//! first keys ascend. docs/format/run.md has the bytes. This module knows nothing of files or of what rows mean.

use std::ops::Range;

use super::bloom::Bloom;
use super::bytes::{put, u16_at, u32_at, u64_at};
use crate::error::{Error, Result};

/// The first four bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"AQRN");
/// The version that this program writes.
pub const VERSION: u16 = 1;
/// Position of the magic.
pub const MAGIC_AT: usize = 0;
/// Position of the version.
pub const VERSION_AT: usize = 4;
/// Position of the flags.
pub const FLAGS_AT: usize = 6;
/// Position of the number of blocks.
pub const BLOCK_COUNT_AT: usize = 8;
/// Position of the bytes of all keys.
pub const KEY_BYTES_AT: usize = 12;
/// Position of the bytes of the filter.
pub const BLOOM_BYTES_AT: usize = 16;
/// Position of the checksum.
pub const CRC_AT: usize = 20;
/// Position of the number of rows.
pub const ROWS_AT: usize = 24;
/// Position of the number of deletes among them.
pub const DELETES_AT: usize = 32;
/// Bytes of the head.
pub const HEAD_BYTES: usize = 40;
/// Bytes of a block's entry.
pub const ENTRY_BYTES: usize = 20;

/// The checksum of an index, which is at least a head long: over all of it, with its own field as zero.
pub fn checksum(index: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&index[..CRC_AT]);
    digest.update(&[0; 4]);
    digest.update(&index[CRC_AT + 4..]);
    digest.finalize() as u32
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bytes from the start of the file.
    pub position: u64,
    /// Its bytes.
    pub length: u32,
    /// Its rows.
    pub rows: u32,
    /// Where its first key ends among the keys.
    key_end: u32,
}

/// See the head of this module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunIndex {
    blocks: Vec<Block>,
    /// First keys of the blocks, then the last key of the run.
    keys: Vec<u8>,
    bloom: Bloom,
    rows: u64,
    deletes: u64,
}

impl RunIndex {
    /// An index without blocks, with this filter.
    pub fn new(bloom: Bloom) -> Self {
        RunIndex { bloom, ..RunIndex::default() }
    }

    /// Adds the next block.
    pub fn add(&mut self, length: usize, rows: usize, deletes: usize, first_key: &[u8]) {
        let position = self.blocks.last().map_or(0, |block| block.position + u64::from(block.length));
        self.keys.extend_from_slice(first_key);
        self.blocks.push(Block { position, length: length as u32, rows: rows as u32, key_end: self.keys.len() as u32 });
        self.rows += rows as u64;
        self.deletes += deletes as u64;
    }

    /// Says the last key, behind the last block.
    pub fn finish(&mut self, last_key: &[u8]) {
        self.keys.extend_from_slice(last_key);
    }

    /// The blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The filter.
    pub fn bloom(&self) -> &Bloom {
        &self.bloom
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that say that their key is gone.
    pub fn deletes(&self) -> u64 {
        self.deletes
    }

    /// First key of a block.
    pub fn first_key(&self, block: usize) -> &[u8] {
        let start = if block == 0 { 0 } else { self.blocks[block - 1].key_end as usize };
        &self.keys[start..self.blocks[block].key_end as usize]
    }

    /// Last key of the run.
    pub fn last_key(&self) -> &[u8] {
        &self.keys[self.blocks.last().map_or(0, |block| block.key_end as usize)..]
    }

    /// The block that holds a key, if the run does; `None` before the first key. Looks from block `from` on.
    pub fn find(&self, key: &[u8], from: usize) -> Option<usize> {
        let (mut step, mut low) = (1, from);
        // Keys are asked for in order: the next one is near.
        while low + step < self.blocks.len() && self.first_key(low + step) <= key {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(self.blocks.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.first_key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    /// The blocks that may hold a key from `from` on and before `to`.
    pub fn within(&self, from: &[u8], to: Option<&[u8]>) -> Range<usize> {
        if self.blocks.is_empty() || self.last_key() < from {
            return 0..0;
        }
        let end = to.map_or(self.blocks.len(), |to| self.first_at(to));
        let start = self.find(from, 0).unwrap_or(0);
        start..end.max(start)
    }

    /// The first block whose first key is not below a key.
    fn first_at(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.first_key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.keys.capacity() + self.bloom.bytes()
    }

    /// The bytes behind the last block.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEAD_BYTES];
        put(&mut out, MAGIC_AT, MAGIC.to_le_bytes());
        put(&mut out, VERSION_AT, VERSION.to_le_bytes());
        put(&mut out, BLOCK_COUNT_AT, (self.blocks.len() as u32).to_le_bytes());
        put(&mut out, KEY_BYTES_AT, (self.keys.len() as u32).to_le_bytes());
        put(&mut out, BLOOM_BYTES_AT, (self.bloom.bytes() as u32).to_le_bytes());
        put(&mut out, ROWS_AT, self.rows.to_le_bytes());
        put(&mut out, DELETES_AT, self.deletes.to_le_bytes());
        for block in &self.blocks {
            out.extend_from_slice(&block.position.to_le_bytes());
            [block.length, block.rows, block.key_end].iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        }
        out.extend_from_slice(&self.keys);
        self.bloom.write(&mut out);
        let crc = checksum(&out);
        put(&mut out, CRC_AT, crc.to_le_bytes());
        out
    }

    /// Reads an index.
    ///
    /// # Errors
    /// Corrupt for damaged bytes, Unavailable when a newer program wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("the index of a run {what}"));
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| damaged("is cut off"))?;
        if u32_at(head, MAGIC_AT) != Some(MAGIC) {
            return Err(damaged("is none"));
        }
        let version = u16_at(head, VERSION_AT).unwrap_or_default();
        if version > VERSION {
            return Err(Error::newer(format!("a run of version {version}, this program reads up to {VERSION}")));
        }
        let number = |at: usize| u32_at(head, at).unwrap_or_default() as usize;
        let (count, key_bytes, bloom_bytes) = (number(BLOCK_COUNT_AT), number(KEY_BYTES_AT), number(BLOOM_BYTES_AT));
        let keys_at = HEAD_BYTES + count * ENTRY_BYTES;
        if bytes.len() != keys_at + key_bytes + bloom_bytes {
            return Err(damaged("has another length than it says"));
        }
        if checksum(bytes) != number(CRC_AT) as u32 {
            return Err(damaged("has a bad checksum"));
        }
        let bloom = Bloom::read(&bytes[keys_at + key_bytes..]).ok_or_else(|| damaged("has no filter"))?;
        let entry = |at: usize| {
            let number = |at| u32_at(bytes, at).unwrap_or_default();
            Block {
                position: u64_at(bytes, at).unwrap_or_default(),
                length: number(at + 8),
                rows: number(at + 12),
                key_end: number(at + 16),
            }
        };
        let blocks: Vec<Block> = (0..count).map(|index| entry(HEAD_BYTES + index * ENTRY_BYTES)).collect();
        let index = RunIndex {
            keys: bytes[keys_at..keys_at + key_bytes].to_vec(),
            bloom,
            rows: u64_at(head, ROWS_AT).unwrap_or_default(),
            deletes: u64_at(head, DELETES_AT).unwrap_or_default(),
            blocks,
        };
        if index.is_sound() { Ok(index) } else { Err(damaged("contradicts itself")) }
    }

    fn is_sound(&self) -> bool {
        let (mut position, mut key_end, mut rows) = (0, 0, 0_u64);
        for block in &self.blocks {
            if block.position != position || block.key_end < key_end || block.key_end as usize > self.keys.len() || block.rows == 0 {
                return false;
            }
            position += u64::from(block.length);
            key_end = block.key_end;
            rows += u64::from(block.rows);
        }
        let ascends = (1..self.blocks.len()).all(|block| self.first_key(block - 1) < self.first_key(block));
        ascends
            && rows == self.rows
            && self.deletes <= rows
            && (self.blocks.is_empty() || self.first_key(self.blocks.len() - 1) <= self.last_key())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(keys: &[Vec<u8>]) -> RunIndex {
        let mut index = RunIndex::new(Bloom::new(keys.len()));
        keys.iter().enumerate().for_each(|(number, key)| index.add(100 + number, 1 + number, number % 2, key));
        index.finish(&[keys.last().unwrap().clone(), vec![1]].concat());
        index
    }

    proptest! {
        #[test]
        fn comes_back_and_finds_the_block_of_a_key(keys in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..4), 1..40), asked in proptest::collection::vec(any::<u8>(), 0..4), from in any::<usize>()) {
            let keys: Vec<Vec<u8>> = keys.into_iter().collect();
            let index = index(&keys);
            let index = RunIndex::decode(&index.encode()).unwrap();
            let expected = keys.iter().rposition(|key| *key <= asked);
            prop_assert_eq!(index.find(&asked, 0), expected);
            if let Some(expected) = expected {
                prop_assert_eq!(index.find(&asked, from % (expected + 1)), Some(expected));
            }
        }

        #[test]
        fn keys_between_two_are_in_the_blocks_between(keys in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..4), 1..40), from in proptest::collection::vec(any::<u8>(), 0..4), to in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4))) {
            let keys: Vec<Vec<u8>> = keys.into_iter().collect();
            let index = index(&keys);
            // The first and the last key of each block, as far as the index knows.
            let last = |block: usize| keys.get(block + 1).map_or(index.last_key(), |next| &next[..]);
            let may_hold = |block: &usize| {
                let starts_before = to.as_ref().is_none_or(|to| keys[*block] < *to);
                let ends_behind = if *block + 1 == keys.len() { last(*block) >= &from[..] } else { last(*block) > &from[..] };
                starts_before && ends_behind
            };
            let expected: Vec<usize> = (0..keys.len()).filter(may_hold).collect();
            prop_assert_eq!(index.within(&from, to.as_deref()).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn damage_is_noticed(at in any::<usize>(), bit in 0_u8..8) {
            let mut bytes = index(&[vec![1], vec![2, 3]]).encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(RunIndex::decode(&bytes).is_err());
        }
    }
}
