//! Where the rows of a tree lie in the key space, about: keys from which on there are so many rows.
//!
//! What is not merged yet counts as often as it is there. This module knows nothing of why somebody asks.

use super::levels::Levels;
use super::memtable::Memtable;
use super::run::{Run, key_bytes};
use crate::table::key_range::KeyRanges;

/// Samples of one run or one memtable, about.
const SAMPLES_MAX: usize = 4096;

/// A key, and about how many rows lie from it on before the next sample.
pub type Sample = (Vec<u8>, u64);

/// Samples of the rows before offset `end` whose keys are in these ranges, in key order.
pub fn samples(levels: &Levels, end: u64, ranges: &KeyRanges) -> Vec<Sample> {
    let mut samples = Vec::new();
    levels.runs().iter().for_each(|run| of_run(run, ranges, &mut samples));
    levels.memtables.iter().for_each(|memtable| of_memtable(memtable, end, ranges, &mut samples));
    samples.sort_unstable();
    samples
}

fn of_run(run: &Run, ranges: &KeyRanges, out: &mut Vec<Sample>) {
    let index = run.index();
    for range in ranges.ranges() {
        let blocks = index.within(&range.from, range.to.as_deref());
        for start in blocks.clone().step_by(blocks.len().div_ceil(SAMPLES_MAX).max(1)) {
            let end = (start + blocks.len().div_ceil(SAMPLES_MAX)).min(blocks.end);
            let rows = index.blocks()[start..end].iter().map(|block| u64::from(block.rows)).sum();
            // The first block may begin before the range.
            out.push((index.first_key(start).max(&range.from[..]).to_vec(), rows));
        }
    }
}

fn of_memtable(memtable: &Memtable, end: u64, ranges: &KeyRanges, out: &mut Vec<Sample>) {
    let step = memtable.rows().div_ceil(SAMPLES_MAX).max(1) as u64;
    // Rows that come before the next sample.
    let mut before = 0;
    for (first_offset, stand, rows) in memtable.stands() {
        let rows = (rows as u64).min(end.saturating_sub(first_offset));
        for row in (before..rows).step_by(step as usize) {
            let key = stand.chunk.keys.get(stand.first + row as usize);
            if ranges.contains(key) {
                out.push((key_bytes(key, &mut [0; 8]).to_vec(), step));
            }
        }
        before = if rows > before { (step - (rows - before) % step) % step } else { before - rows };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};

    use super::*;
    use crate::lsm::rows::Chunk;
    use crate::table::Keys;
    use crate::table::key_range::KeyRange;

    fn chunk(numbers: std::ops::Range<u64>) -> Chunk {
        let batch = RecordBatch::try_from_iter([("key", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| n as i64))) as _)]);
        Chunk { columns: batch.unwrap().into(), kinds: None, keys: Keys::Numbers(numbers.collect()), has_images: false, is_merged: false }
    }

    #[test]
    fn a_memtable_is_sampled_evenly_whatever_its_chunks() {
        for rows_of_chunk in [1, 7, 1000] {
            let memtable = Memtable::new(0);
            for start in (0..20_000).step_by(rows_of_chunk) {
                memtable.add(start, chunk(start..start + rows_of_chunk as u64), 0).unwrap();
            }
            let rows = memtable.rows() as u64;
            let mut found = Vec::new();
            of_memtable(&memtable, rows, &KeyRanges::all(), &mut found);
            let total: u64 = found.iter().map(|sample| sample.1).sum();
            assert!(found.len() <= SAMPLES_MAX + 1 && total.abs_diff(rows) < 20, "{} samples of {total} rows", found.len());
            found.clear();
            let half = KeyRanges::of(vec![KeyRange { from: Vec::new(), to: Some((rows / 2).to_be_bytes().to_vec()) }]);
            of_memtable(&memtable, rows / 4 * 3, &half, &mut found);
            assert!(found.iter().map(|sample| sample.1).sum::<u64>().abs_diff(rows / 2) < 20);
        }
    }
}
