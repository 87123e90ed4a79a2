//! Good checksums over bad bytes: a checksum keeps what is fuzzed at random from everything behind it.

use aquifer_node::format::manifest;
use crc_fast::{CrcAlgorithm, Digest};

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize)
}

fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

/// The head of a file and so many bytes as fields of it add up to, with a good checksum over all of them; `None` when they are too few.
pub fn whole(data: &[u8], head_bytes: usize, lengths: &[(usize, usize)], crc_at: usize) -> Option<Vec<u8>> {
    let bytes = lengths.iter().map(|(at, each)| number(data, *at) * each).sum::<usize>() + head_bytes;
    let mut bytes = data.get(..bytes.min(data.len())).filter(|bytes| bytes.len() >= head_bytes)?.to_vec();
    let crc = crc32c(&[&bytes[..crc_at], &[0; 4], &bytes[crc_at + 4..]]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// Gives good checksums to the records of a file of edits.
pub fn records(bytes: &mut [u8]) {
    let mut rest = bytes;
    loop {
        let end = manifest::HEAD_BYTES + number(rest, manifest::LENGTH_AT);
        if rest.len() < end || !rest.starts_with(&manifest::MAGIC.to_le_bytes()) {
            return;
        }
        let (record, others) = rest.split_at_mut(end);
        let crc = crc32c(&[&record[..manifest::CRC_AT], &record[manifest::HEAD_BYTES..]]);
        record[manifest::CRC_AT..manifest::CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        rest = others;
    }
}
