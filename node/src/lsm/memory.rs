//! The rows of a memtable before an offset, in key order, older rows of a key first.
//!
//! Only keys and references are put in order; the rows stay where the log put them, and are copied once, by whoever merges. Invariant: nothing that
//! comes to the memtable later is seen. This module knows nothing of other sources.

use std::ops::Range;
use std::sync::Arc;

use super::memtable::Memtable;
use super::rows::{Chunk, Reader};
use crate::error::Result;
use crate::merge::Ref;
use crate::merge::order::{Entry, Prefixes};
use crate::table::key::{KeyRef, Keys};
use crate::table::key_range::KeyRanges;

/// The chunk has no slot in the tile under way.
const NO_SLOT: u32 = u32::MAX;

/// See the head of this module.
pub struct MemoryRows {
    chunks: Vec<Arc<Chunk>>,
    /// All rows; what a reference's slot means is the number of its chunk here.
    order: Vec<Entry>,
    /// The next one.
    at: usize,
    /// For each chunk its slot in the tile under way.
    slots: Vec<u32>,
}

/// Rows of a chunk, by its number.
type Stretch = (usize, Range<usize>);

impl MemoryRows {
    /// Of a memtable, the rows before offset `end` with keys in these ranges, and the columns that this reader reads.
    ///
    /// # Errors
    /// Internal; the columns are the table's.
    pub fn new(memtable: &Memtable, end: u64, reader: &Reader, ranges: &KeyRanges) -> Result<Self> {
        let (mut chunks, mut stretches): (Vec<Arc<Chunk>>, Vec<Stretch>) = Default::default();
        for (first_offset, stand, rows) in memtable.stands().take_while(|(first_offset, ..)| *first_offset < end) {
            if chunks.last().is_none_or(|last| !Arc::ptr_eq(last, &stand.chunk)) {
                chunks.push(stand.chunk.clone());
            }
            let rows = (rows as u64).min(end - first_offset) as usize;
            let slot = chunks.len() - 1;
            stretches.extend(wanted(&stand.chunk, stand.first..stand.first + rows, ranges).into_iter().map(|rows| (slot, rows)));
        }
        let order = sorted(&chunks, &stretches);
        if reader.whole().is_some() {
            chunks = chunks.iter().map(|chunk| chunk.chosen(reader).map(Arc::new)).collect::<Result<_>>()?;
        }
        Ok(MemoryRows { slots: vec![NO_SLOT; chunks.len()], chunks, order, at: 0 })
    }

    /// Rows that were not taken yet.
    pub fn left(&self) -> usize {
        self.order.len() - self.at
    }

    /// A row, counted from the next one: its chunk, and its place there.
    pub fn row(&self, number: usize) -> (Arc<Chunk>, usize) {
        let row = self.order[self.at + number].1;
        (self.chunks[row.slot()].clone(), row.row())
    }

    /// The key of a row, counted from the next one.
    pub fn next_key(&self, number: usize) -> KeyRef<'_> {
        self.key(self.at + number)
    }

    /// The key of a row in the order.
    pub fn key(&self, number: usize) -> KeyRef<'_> {
        self.key_of(self.order[number].1)
    }

    /// Takes the rows up to a key, all that are left without one. Their chunks are added to those of the tile.
    pub fn take(&mut self, split: Option<KeyRef<'_>>, chunks: &mut Vec<Arc<Chunk>>) -> Range<usize> {
        let start = self.at;
        let end = split.map_or(self.order.len(), |key| start + self.order[start..].partition_point(|entry| self.key_of(entry.1) <= key));
        self.slots.fill(NO_SLOT);
        for (_, row) in &self.order[start..end] {
            let slot = &mut self.slots[row.slot()];
            if *slot == NO_SLOT {
                *slot = chunks.len() as u32;
                chunks.push(self.chunks[row.slot()].clone());
            }
        }
        self.at = end;
        start..end
    }

    /// Adds the entries of rows that were taken last, by the slots of their tile.
    pub fn extend(&self, prefixes: Prefixes<'_>, rows: Range<usize>, out: &mut Vec<Entry>) {
        let entries = self.order[rows].iter().map(|(prefix, row)| (*prefix, Ref::new(self.slots[row.slot()] as usize, row.row())));
        match prefixes.has_numbers() {
            true => out.extend(entries),
            // What all keys share is another length in each tile.
            false => out.extend(entries.map(|(_, row)| prefixes.entry(row))),
        }
    }

    fn key_of(&self, row: Ref) -> KeyRef<'_> {
        self.chunks[row.slot()].keys.get(row.row())
    }
}

/// Which of some rows, in any order, have a place in the tree and a wanted key.
fn wanted(chunk: &Chunk, rows: Range<usize>, ranges: &KeyRanges) -> Vec<Range<usize>> {
    if ranges.is_all() && !(chunk.has_images && chunk.kinds.is_some()) {
        return vec![rows];
    }
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for row in rows.filter(|row| chunk.counts(*row) && ranges.contains(chunk.keys.get(*row))) {
        match stretches.last_mut().filter(|last| last.end == row) {
            Some(last) => last.end += 1,
            None => stretches.push(row..row + 1),
        }
    }
    stretches
}

/// Rows of chunks, in key order, the others in theirs.
fn sorted(chunks: &[Arc<Chunk>], stretches: &[Stretch]) -> Vec<Entry> {
    let keys: Vec<&Keys> = chunks.iter().map(|chunk| &chunk.keys).collect();
    let mut all = stretches.iter().flat_map(|(slot, rows)| rows.clone().map(|row| keys[*slot].get(row)));
    let (low, high) = match all.next() {
        None => return Vec::new(),
        // How numbers are compared does not depend on what they share.
        Some(first @ KeyRef::Number(_)) => (first, first),
        Some(first) => all.fold((first, first), |(low, high), key| (low.min(key), high.max(key))),
    };
    let prefixes = Prefixes::between(&keys, low, high);
    let mut entries = Vec::with_capacity(stretches.iter().map(|(_, rows)| rows.len()).sum());
    stretches.iter().for_each(|(slot, rows)| prefixes.extend(*slot, rows.clone(), &mut entries));
    prefixes.sort(&mut entries);
    entries
}
