//! Rows by their keys: all versions that there are of each, newest places first, then the merge function.
//!
//! Invariant: a key's row is what a scan of the same levels would give. This module knows nothing of where keys come from.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::levels::Levels;
use super::rows::{Chunk, Reader};
use super::run::{key_bytes, key_hash};
use crate::error::Result;
use crate::merge::{Groups, MergeFunction, Ref, Slot};
use crate::table::key::Keys;

/// Rows that were found.
pub struct Found {
    /// The rows.
    pub rows: RecordBatch,
    /// For each key that was asked for, its row among them.
    pub places: Vec<Option<u32>>,
}

/// A version of a key: which key, which chunk, which row of it. Newer ones have been found earlier.
struct Version {
    key: u32,
    row: Ref,
}

/// Looks up `keys` in these levels, rows before offset `end` only.
///
/// # Errors
/// Those of reading, and of the merge function.
pub fn lookup(reader: &Reader, function: &dyn MergeFunction, levels: &Levels, end: u64, keys: &Keys) -> Result<Found> {
    let hashes: Vec<u64> = (0..keys.len()).map(|key| key_hash(keys.get(key))).collect();
    let mut versions: Vec<Version> = Vec::new();
    let mut chunks: Vec<Arc<Chunk>> = Vec::new();
    let mut found = Vec::new();
    for memtable in levels.memtables.iter().rev() {
        let mut numbers = std::collections::HashMap::new();
        for (key, hash) in hashes.iter().enumerate() {
            found.clear();
            memtable.versions(keys.get(key), *hash, end, &mut found);
            for row in &found {
                let slot = *numbers.entry(row.slot()).or_insert_with(|| {
                    chunks.push(Arc::new(memtable.chunk(*row).clone()));
                    chunks.len() - 1
                });
                versions.push(Version { key: key as u32, row: Ref::new(slot, row.row()) });
            }
        }
    }
    // Ascending keys find their blocks near each other.
    let mut ascending: Vec<u32> = (0..keys.len() as u32).collect();
    ascending.sort_unstable_by(|left, right| keys.compare(*left as usize, *right as usize));
    for run in levels.runs.iter().rev() {
        let (mut from, mut last_block) = (0, None);
        for &key in &ascending {
            if !run.index().bloom().may_hold(hashes[key as usize]) {
                continue;
            }
            let mut number = [0; 8];
            let wanted = keys.get(key as usize);
            let Some(block) = run.index().find(key_bytes(wanted, &mut number), from) else { continue };
            from = block;
            let slot = match last_block {
                Some((last, slot)) if last == block => slot,
                _ => {
                    chunks.push(run.block(reader, block)?);
                    chunks.len() - 1
                }
            };
            last_block = Some((block, slot));
            if let Some(row) = position(&chunks[slot].keys, wanted) {
                versions.push(Version { key, row: Ref::new(slot, row) });
            }
        }
    }
    merge(reader, function, keys.len(), versions, &chunks)
}

fn merge(reader: &Reader, function: &dyn MergeFunction, keys: usize, mut versions: Vec<Version>, chunks: &[Arc<Chunk>]) -> Result<Found> {
    let mut places = vec![None; keys];
    if versions.is_empty() {
        return Ok(Found { rows: RecordBatch::new_empty(reader.schema().arrow().clone()), places });
    }
    // Newest first as they were found; the function wants older ones first.
    versions.reverse();
    versions.sort_by_key(|version| version.key);
    let order: Vec<Ref> = versions.iter().map(|version| version.row).collect();
    let last_of_key = |index: usize| versions.get(index + 1).is_none_or(|next| next.key != versions[index].key);
    let ends: Vec<u32> = (0..versions.len()).filter(|index| last_of_key(*index)).map(|index| index as u32 + 1).collect();
    let slots: Vec<Slot<'_>> = chunks.iter().map(|chunk| chunk.slot()).collect();
    let merged = function.merge(Groups { slots: &slots, order: &order, ends: &ends })?;
    let mut row = 0;
    for (group, end) in ends.iter().enumerate() {
        if merged.deleted.as_ref().is_none_or(|deleted| !deleted[group]) {
            places[versions[*end as usize - 1].key as usize] = Some(row);
            row += 1;
        }
    }
    let (rows, _) = merged.batch(&slots, true)?;
    Ok(Found { rows, places })
}

/// The row with this key among sorted ones.
fn position(keys: &Keys, wanted: crate::table::KeyRef<'_>) -> Option<usize> {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = (low + high) / 2;
        if keys.get(middle) < wanted { low = middle + 1 } else { high = middle }
    }
    (low < keys.len() && keys.get(low) == wanted).then_some(low)
}
