//! Rows by their keys: what memtables and runs have of each, newest places first, then the merge function.
//!
//! Keys are asked for in order, so that those of one block of a run come one behind the other: a block is fetched once. Invariant: a key's row is what a scan of
//! the same levels would give. This module knows nothing of where keys come from.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;

use super::fetch::Lane;
use super::level::Level;
use super::levels::Levels;
use super::memtable::Memtable;
use super::rows::{Chunk, Reader};
use super::run::{Run, key_bytes, key_hash};
use crate::error::{Error, Result};
use crate::merge::function::is_telling;
use crate::merge::reference::SLOTS_MAX;
use crate::merge::{Groups, MergeFunction, Merged, Ref, Slot};
use crate::table::digits;
use crate::table::key::Keys;

/// Keys that are looked for together at most.
const KEYS_TOGETHER_MAX: usize = 1 << 13;

/// Blocks that are read together.
const BLOCKS_TOGETHER_MAX: usize = 256;

/// Blocks that one search holds; of others the rows that were found are copied. The buffers of more would go beyond what the pool keeps, and the kernel would
/// have to clear new ones.
const BLOCKS_HELD_MAX: usize = 256;

/// Rows that were found.
pub struct Found {
    /// The rows.
    pub rows: RecordBatch,
    /// For each key that was asked for, its row among them.
    pub places: Vec<Option<u32>>,
}

/// Where rows are looked for.
pub struct Sources<'a> {
    /// Newer ones first, each with the offset before which its rows count.
    pub memtables: Vec<(&'a Memtable, u64)>,
    /// Older ones first.
    pub levels: &'a [Level],
}

impl<'a> Sources<'a> {
    /// All of some levels, rows before offset `end` only.
    pub fn of(levels: &'a Levels, end: u64) -> Self {
        Sources { memtables: levels.memtables.iter().rev().map(|memtable| (&**memtable, end)).collect(), levels: levels.levels() }
    }
}

/// The newest row of each key.
pub struct Newest {
    /// Where the rows are.
    pub chunks: Vec<Arc<Chunk>>,
    /// For each key that was asked for its row, also one that says that the key is gone; or none.
    pub rows: Vec<Ref>,
}

/// The newest row of each of `keys`, which ascend. Of so many keys that one call of a merge function takes the rows of all.
///
/// # Errors
/// Those of reading.
pub fn newest(reader: &Reader, sources: &Sources<'_>, keys: &Keys) -> Result<Newest> {
    let order: Vec<u32> = (0..keys.len() as u32).collect();
    let mut search = Search::new(reader, keys, true);
    let is_done = search.run(sources, &order)?;
    assert!(is_done, "each key has one row, and there is a slot for each");
    let mut rows = vec![Ref::NONE; keys.len()];
    search.found.iter().for_each(|version| rows[version.key as usize] = version.row);
    Ok(Newest { chunks: search.chunks, rows })
}

/// Looks up `keys` in these levels, rows before offset `end` only.
///
/// # Errors
/// Those of reading, and of the merge function; Exhausted when a key has too many rows that were never merged.
pub fn lookup(reader: &Reader, function: &dyn MergeFunction, levels: &Levels, end: u64, keys: &Keys) -> Result<Found> {
    lookup_holding(reader, function, levels, end, keys, BLOCKS_HELD_MAX)
}

/// As [`lookup`], with at most so many blocks in hand besides those that are read together.
pub(super) fn lookup_holding(
    reader: &Reader,
    function: &dyn MergeFunction,
    levels: &Levels,
    end: u64,
    keys: &Keys,
    blocks_held_max: usize,
) -> Result<Found> {
    let order = ascending(keys);
    let sources = Sources::of(levels, end);
    let mut found = Rows { places: vec![None; keys.len()], batches: Vec::new(), count: 0 };
    let mut left: Vec<&[u32]> = order.chunks(KEYS_TOGETHER_MAX).rev().collect();
    let mut search = Search::new(reader, keys, function.goes_by_newest());
    search.blocks_held_max = blocks_held_max;
    while let Some(part) = left.pop() {
        if search.run(&sources, part)? {
            found.add(&mut search, function)?;
            continue;
        }
        if part.len() == 1 {
            let many = Error::exhausted(format!("a key has rows in more than {SLOTS_MAX} batches that were never merged"));
            return Err(many.hint("flush and compact the table"));
        }
        let (first, second) = part.split_at(part.len() / 2);
        left.extend([second, first]);
    }
    found.finish(reader)
}

/// All keys, smallest first.
fn ascending(keys: &Keys) -> Vec<u32> {
    let count = keys.len() as u32;
    match keys {
        Keys::Numbers(numbers) if numbers.is_sorted() => (0..count).collect(),
        Keys::Numbers(numbers) => {
            let mut entries: Vec<(u64, u32)> = numbers.iter().copied().zip(0..count).collect();
            entries.sort_unstable();
            entries.into_iter().map(|entry| entry.1).collect()
        }
        Keys::Bytes(bytes) => {
            let mut order: Vec<u32> = (0..count).collect();
            order.sort_unstable_by(|left, right| bytes.get(*left as usize).cmp(bytes.get(*right as usize)));
            order
        }
    }
}

/// A row of a key: which key, and where the row is.
#[derive(Clone, Copy)]
struct Version {
    key: u32,
    row: Ref,
}

struct Search<'k> {
    reader: &'k Reader,
    keys: &'k Keys,
    hashes: Vec<u64>,
    /// Only the newest row of each key is wanted.
    newest_only: bool,
    chunks: Vec<Arc<Chunk>>,
    /// Of each chunk the row that is the first of what was found there.
    firsts: Vec<usize>,
    /// Newer rows of a key before older ones.
    found: Vec<Version>,
    /// Keys that are still looked for, in order.
    open: Vec<u32>,
    /// Of each key whether it has a row.
    has_row: Vec<bool>,
    blocks_held: usize,
    blocks_held_max: usize,
    lane: Lane,
    /// Kept for its memory.
    candidates: Vec<u32>,
    heads: Vec<Ref>,
}

impl<'k> Search<'k> {
    fn new(reader: &'k Reader, keys: &'k Keys, newest_only: bool) -> Self {
        Search {
            reader,
            keys,
            hashes: (0..keys.len()).map(|key| key_hash(keys.get(key))).collect(),
            newest_only,
            chunks: Vec::new(),
            firsts: Vec::new(),
            found: Vec::new(),
            open: Vec::new(),
            has_row: vec![false; if newest_only { keys.len() } else { 0 }],
            blocks_held: 0,
            blocks_held_max: BLOCKS_HELD_MAX,
            lane: Lane::default(),
            candidates: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Looks for some keys, which ascend; `false` when their rows are in more chunks than one call of a merge function takes.
    fn run(&mut self, sources: &Sources<'_>, order: &[u32]) -> Result<bool> {
        self.chunks.clear();
        self.firsts.clear();
        self.blocks_held = 0;
        self.found.clear();
        self.open.clear();
        self.open.extend_from_slice(order);
        for (memtable, end) in &sources.memtables {
            self.look_in_memory(memtable, *end);
            self.close_found();
        }
        for level in sources.levels.iter().rev() {
            match level.runs() {
                [run] => self.look_in_run(run, 0..self.open.len())?,
                _ => {
                    for (run, share) in level.shares(self.keys, &self.open) {
                        self.look_in_run(run, share)?;
                    }
                }
            }
            self.close_found();
        }
        Ok(self.chunks.len() < SLOTS_MAX)
    }

    /// Keys that have their newest row are looked for no more.
    fn close_found(&mut self) {
        if self.newest_only {
            let has_row = &self.has_row;
            self.open.retain(|key| !has_row[*key as usize]);
        }
    }

    fn add(&mut self, key: u32, slot: usize, row: usize) {
        // Too many are noticed in the end.
        self.found.push(Version { key, row: Ref::new(slot.min(SLOTS_MAX - 1), row) });
        if self.newest_only {
            self.has_row[key as usize] = true;
        }
    }

    fn look_in_memory(&mut self, memtable: &Memtable, end: u64) {
        if self.open.is_empty() || memtable.is_empty() {
            return;
        }
        let mut heads = std::mem::take(&mut self.heads);
        memtable.heads(self.keys, &self.hashes, &self.open, &mut heads);
        let mut numbers = Numbers::new(memtable.chunk_count(), self.open.len());
        for (index, &head) in heads.iter().enumerate() {
            let mut next = (head != Ref::NONE).then_some(head);
            while let Some(row) = next {
                next = memtable.before(row);
                if !memtable.is_before(row, end) {
                    continue;
                }
                let slot = numbers.get(row.slot(), || {
                    // Later rows of it are looked for in the same place, wherever they are copied meanwhile.
                    let stand = memtable.stand(row);
                    self.chunks.push(stand.chunk.clone());
                    self.firsts.push(stand.first);
                    self.chunks.len() - 1
                });
                self.add(self.open[index], slot, self.firsts[slot] + row.row());
                if self.newest_only {
                    break;
                }
            }
        }
        self.heads = heads;
    }

    /// Looks for some of the keys that are still looked for.
    fn look_in_run(&mut self, run: &Run, share: Range<usize>) -> Result<()> {
        let (index, hashes) = (run.index(), &self.hashes);
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend(self.open[share].iter().copied().filter(|key| index.bloom().may_hold(hashes[*key as usize])));
        let mut from = 0;
        let mut wanted: Vec<(usize, u32)> = Vec::with_capacity(candidates.len());
        for &key in &candidates {
            let mut number = [0; 8];
            let Some(block) = index.find(key_bytes(self.keys.get(key as usize), &mut number), from) else { continue };
            from = block;
            wanted.push((block, key));
        }
        self.candidates = candidates;
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let (mut blocks, mut count): (Vec<usize>, usize) = (Vec::new(), 0);
            for (block, _) in rest {
                if blocks.last() != Some(block) {
                    if blocks.len() == BLOCKS_TOGETHER_MAX {
                        break;
                    }
                    blocks.push(*block);
                }
                count += 1;
            }
            let (group, left) = rest.split_at(count);
            rest = left;
            self.look_in_blocks(run, &blocks, group)?;
        }
        Ok(())
    }

    /// Looks for keys, each with its block among `blocks`.
    fn look_in_blocks(&mut self, run: &Run, blocks: &[usize], wanted: &[(usize, u32)]) -> Result<()> {
        let (first_slot, first_found) = (self.chunks.len(), self.found.len());
        self.chunks.extend(run.blocks(self.reader, blocks, &mut self.lane)?);
        self.firsts.resize(self.chunks.len(), 0);
        let mut slot = first_slot;
        for (block, key) in wanted {
            while blocks[slot - first_slot] != *block {
                slot += 1;
            }
            if let Some(row) = self.chunks[slot].keys.position(self.keys.get(*key as usize)) {
                self.add(*key, slot, row);
            }
        }
        if self.blocks_held + blocks.len() <= self.blocks_held_max {
            self.blocks_held += blocks.len();
            return Ok(());
        }
        self.let_go(first_slot, first_found)
    }

    /// Keeps the rows that were found since then, and lets their blocks go.
    fn let_go(&mut self, first_slot: usize, first_found: usize) -> Result<()> {
        let found = &mut self.found[first_found..];
        let rows: Vec<Ref> = found.iter().map(|version| Ref::new(version.row.slot() - first_slot, version.row.row())).collect();
        let slots: Vec<Slot<'_>> = self.chunks[first_slot..].iter().map(|chunk| chunk.slot()).collect();
        let kinds: Vec<u8> = rows.iter().map(|row| slots[row.slot()].kind(row.row())).collect();
        let copied = (!rows.is_empty()).then(|| Merged::of_rows(rows).batch(&slots, false)).transpose()?;
        drop(slots);
        self.chunks.truncate(first_slot);
        self.firsts.truncate(first_slot);
        let Some((batch, _)) = copied else { return Ok(()) };
        found.iter_mut().enumerate().for_each(|(row, version)| version.row = Ref::new(first_slot, row));
        let kinds = kinds.iter().any(|kind| is_telling(*kind)).then(|| Buffer::from_vec(kinds));
        let chunk = Chunk { columns: batch.into(), kinds, keys: Keys::Numbers(Vec::new()), has_images: false, is_merged: true };
        self.chunks.push(Arc::new(chunk));
        self.firsts.push(0);
        Ok(())
    }
}

/// Numbers of the chunks of a memtable among all that were found: by a table where many are asked for, else by a map.
enum Numbers {
    All(Vec<u32>),
    Few(HashMap<usize, usize>),
}

const NO_NUMBER: u32 = u32::MAX;

impl Numbers {
    fn new(chunks: usize, keys: usize) -> Self {
        if chunks <= 4 * keys { Numbers::All(vec![NO_NUMBER; chunks]) } else { Numbers::Few(HashMap::new()) }
    }

    fn get(&mut self, chunk: usize, number: impl FnOnce() -> usize) -> usize {
        match self {
            // A chunk that came while this looks is behind the others.
            Numbers::All(numbers) if chunk >= numbers.len() => {
                numbers.resize(chunk + 1, NO_NUMBER);
                self.get(chunk, number)
            }
            Numbers::All(numbers) => {
                if numbers[chunk] == NO_NUMBER {
                    numbers[chunk] = number() as u32;
                }
                numbers[chunk] as usize
            }
            Numbers::Few(numbers) => *numbers.entry(chunk).or_insert_with(number),
        }
    }
}

/// What was found so far.
struct Rows {
    places: Vec<Option<u32>>,
    batches: Vec<RecordBatch>,
    count: u32,
}

impl Rows {
    /// Merges what a search has found.
    fn add(&mut self, search: &mut Search<'_>, function: &dyn MergeFunction) -> Result<()> {
        if search.found.is_empty() {
            return Ok(());
        }
        let versions = &mut search.found;
        // Newest first as they were found; the function wants older ones first.
        versions.reverse();
        versions.sort_by_key(|version| version.key);
        let order: Vec<Ref> = versions.iter().map(|version| version.row).collect();
        let last_of_key = |index: &usize| versions.get(index + 1).is_none_or(|next| next.key != versions[*index].key);
        let ends: Vec<u32> = (0..versions.len()).filter(last_of_key).map(|index| index as u32 + 1).collect();
        let slots: Vec<Slot<'_>> = search.chunks.iter().map(|chunk| chunk.slot()).collect();
        let merged = function.merge(Groups { slots: &slots, order: &order, ends: &ends })?;
        for (group, end) in ends.iter().enumerate() {
            if merged.deleted.as_ref().is_none_or(|deleted| !deleted[group]) {
                self.places[versions[*end as usize - 1].key as usize] = Some(self.count);
                self.count += 1;
            }
        }
        self.batches.push(merged.batch(&slots, true)?.0);
        Ok(())
    }

    fn finish(mut self, reader: &Reader) -> Result<Found> {
        let rows = match self.batches.len() {
            0 => reader.no_rows(),
            1 => self.batches.remove(0),
            _ => concat_batches(reader.schema().arrow(), &self.batches)
                .map_err(|error| Error::exhausted("the rows of so many keys are too large for one batch").caused_by(error))?,
        };
        Ok(Found { rows: digits::shown(rows)?, places: self.places })
    }
}
