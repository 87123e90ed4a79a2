//! One row for each key out of a memtable and some runs, in key order, some thousand rows at a time.
//!
//! The key space is cut into tiles: what all sources have in memory up to a splitting key is ordered, grouped by key, and handed to the merge function.
//! Invariants: rows of one key are in one tile, older sources first; keys ascend from tile to tile. A step is bounded, so that whoever drives it can pause.
//! This module knows nothing of where the result goes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::memtable::Memtable;
use super::rows::{Chunk, Reader};
use super::run::Run;
use crate::error::Result;
use crate::merge::order::{Entry, Merger, Prefixes, group_ends};
use crate::merge::{Groups, MergeFunction, Merged, Ref, Slot};
use crate::table::key::{KeyRef, Keys};

/// Rows of a tile, about.
pub const TILE_ROWS: usize = 8192;

/// Bytes of neighbouring blocks that are read at once.
const READ_BYTES_MAX: u64 = 512 << 10;

/// Rows of one source, sorted by key, each key once unless it is a memtable's.
enum Source {
    Run { run: Arc<Run>, next: usize, end: usize },
    Memory(MemoryRows),
}

/// The rows of a memtable before an offset, in key order, older rows of a key first.
struct MemoryRows {
    memtable: Arc<Memtable>,
    order: Vec<Ref>,
    at: usize,
}

/// Rows in memory that are not merged yet.
struct Window {
    chunk: Arc<Chunk>,
    rows: Range<usize>,
}

/// Rows of a tile: number of the input, number of the chunk, rows of the chunk.
type Piece = (usize, usize, Range<usize>);

struct Input {
    source: Source,
    windows: VecDeque<Window>,
    rows_left: u64,
}

/// Merged rows, and how to tell their keys.
pub struct Tile {
    /// The rows.
    pub batch: RecordBatch,
    /// Their kinds, as in a log batch; `None` when no row says that its key is gone.
    pub kinds: Option<Vec<u8>>,
    chunks: Vec<Arc<Chunk>>,
    rows: Vec<Ref>,
}

impl Tile {
    /// The key of a row.
    pub fn key(&self, row: usize) -> KeyRef<'_> {
        let row = self.rows[row];
        self.chunks[row.slot()].keys.get(row.row())
    }
}

/// See the head of this module.
pub struct Sorted {
    reader: Arc<Reader>,
    function: Arc<dyn MergeFunction>,
    /// Older ones first.
    inputs: Vec<Input>,
    drop_deletes: bool,
    merger: Merger,
}

impl Sorted {
    /// Merges `runs` and `memtables` (their rows before an offset), each list older ones first; memtables are newer than runs. With `drop_deletes` keys that are gone
    /// are left out: for who reads, and where nothing older is left.
    pub fn new(
        reader: Arc<Reader>,
        function: Arc<dyn MergeFunction>,
        runs: &[Arc<Run>],
        memtables: &[(Arc<Memtable>, u64)],
        drop_deletes: bool,
    ) -> Self {
        let of_run = |run: &Arc<Run>| Input {
            source: Source::Run { run: run.clone(), next: 0, end: run.index().blocks().len() },
            windows: VecDeque::new(),
            rows_left: run.meta().rows,
        };
        let of_memtable = |(memtable, end): &(Arc<Memtable>, u64)| {
            let order = memory_order(memtable, *end);
            let rows_left = order.len() as u64;
            Input { source: Source::Memory(MemoryRows { memtable: memtable.clone(), order, at: 0 }), windows: VecDeque::new(), rows_left }
        };
        let inputs = runs.iter().map(of_run).chain(memtables.iter().map(of_memtable)).collect();
        Sorted { reader, function, inputs, drop_deletes, merger: Merger::default() }
    }

    /// The next rows; `None` at the end. A tile may have no row, when all of its keys are gone.
    ///
    /// # Errors
    /// Those of reading and of the merge function.
    pub fn next_tile(&mut self) -> Result<Option<Tile>> {
        self.fill()?;
        self.inputs.retain(|input| !input.windows.is_empty());
        if self.inputs.is_empty() {
            return Ok(None);
        }
        let split = self.split();
        let (chunks, pieces) = self.take(split);
        let keys: Vec<&Keys> = chunks.iter().map(|chunk| &chunk.keys).collect();
        let (low, high) = bounds(&keys, &pieces);
        let prefixes = Prefixes::between(&keys, low, high);
        let (mut entries, mut stretches): (Vec<Entry>, Vec<Range<usize>>) = Default::default();
        let mut source = usize::MAX;
        for (input, slot, rows) in &pieces {
            if *input != source {
                stretches.push(entries.len()..entries.len());
                source = *input;
            }
            prefixes.extend(*slot, rows.clone(), &mut entries);
            stretches.last_mut().expect("one was begun").end = entries.len();
        }
        let ordered = self.merger.merge(prefixes, entries, stretches);
        let mut ends = Vec::new();
        group_ends(prefixes, ordered, &mut ends);
        let order: Vec<Ref> = ordered.iter().map(|entry| entry.1).collect();
        let slots: Vec<Slot<'_>> = chunks.iter().map(|chunk| chunk.slot()).collect();
        let merged = self.function.merge(Groups { slots: &slots, order: &order, ends: &ends })?;
        let (batch, kinds) = merged.batch(&slots, self.drop_deletes)?;
        let rows = kept_rows(merged, self.drop_deletes);
        Ok(Some(Tile { batch, kinds, rows, chunks }))
    }

    /// Brings rows of each source into memory: in proportion to what is left of it, so that they end at about the same key.
    fn fill(&mut self) -> Result<()> {
        let left: u64 = self.inputs.iter().map(|input| input.rows_left).sum();
        for input in &mut self.inputs {
            let share = (TILE_ROWS as u64 * input.rows_left).div_ceil(left.max(1)).max(1) as usize;
            while input.rows_in_memory() < share && input.load(&self.reader, share)? {}
        }
        Ok(())
    }

    /// The largest key up to which every source has its rows in memory: where in memory that is, or `None` when all is there.
    fn split(&self) -> Option<(Arc<Chunk>, usize)> {
        let unfinished = self.inputs.iter().filter(|input| input.has_more());
        let last = unfinished.map(|input| {
            let window = input.windows.back().expect("inputs without rows were dropped");
            (window.chunk.clone(), window.rows.end - 1)
        });
        last.min_by(|left, right| left.0.keys.get(left.1).cmp(&right.0.keys.get(right.1)))
    }

    /// Takes all rows up to a key out of memory: the chunks they are in, and for each piece its input, chunk and rows.
    fn take(&mut self, split: Option<(Arc<Chunk>, usize)>) -> (Vec<Arc<Chunk>>, Vec<Piece>) {
        let split = split.as_ref().map(|(chunk, row)| chunk.keys.get(*row));
        let (mut chunks, mut pieces) = (Vec::new(), Vec::new());
        for (number, input) in self.inputs.iter_mut().enumerate() {
            while let Some(window) = input.windows.front_mut() {
                let start = window.rows.start;
                let end = match split {
                    None => window.rows.end,
                    Some(key) => start + count_up_to(&window.chunk.keys, window.rows.clone(), key),
                };
                if end > start {
                    pieces.push((number, chunks.len(), start..end));
                    chunks.push(window.chunk.clone());
                    input.rows_left -= (end - start) as u64;
                }
                window.rows.start = end;
                if end < window.rows.end {
                    break;
                }
                input.windows.pop_front();
            }
        }
        (chunks, pieces)
    }
}

impl Input {
    fn rows_in_memory(&self) -> usize {
        self.windows.iter().map(|window| window.rows.len()).sum()
    }

    fn has_more(&self) -> bool {
        match &self.source {
            Source::Run { next, end, .. } => next < end,
            Source::Memory(rows) => rows.at < rows.order.len(),
        }
    }

    /// Brings about so many more rows into memory; whether there were any.
    fn load(&mut self, reader: &Reader, rows: usize) -> Result<bool> {
        let chunks = match &mut self.source {
            Source::Run { run, next, end } => {
                let blocks = &run.index().blocks()[*next..*end];
                let (mut count, mut loaded, mut bytes) = (0, 0, 0);
                while count < blocks.len() && (count == 0 || loaded < rows) && bytes < READ_BYTES_MAX {
                    loaded += blocks[count].rows as usize;
                    bytes += u64::from(blocks[count].length);
                    count += 1;
                }
                let chunks = run.read_blocks(reader, *next..*next + count)?;
                *next += count;
                chunks
            }
            Source::Memory(source) => source.load(rows)?.into_iter().collect(),
        };
        let is_some = !chunks.is_empty();
        self.windows.extend(chunks.into_iter().map(|chunk| Window { rows: 0..chunk.rows(), chunk: Arc::new(chunk) }));
        Ok(is_some)
    }
}

impl MemoryRows {
    /// The next rows as a chunk of their own, all versions. It never ends within a key.
    fn load(&mut self, rows: usize) -> Result<Option<Chunk>> {
        let rest = &self.order[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let mut count = rows.clamp(1, TILE_ROWS).min(rest.len());
        let key = |row: &Ref| self.memtable.chunk(*row).keys.get(row.row());
        while count < rest.len() && key(&rest[count]) == key(&rest[count - 1]) {
            count += 1;
        }
        let taken = &rest[..count];
        // Only the chunks that these rows stand in, under numbers of their own.
        let mut used: Vec<usize> = taken.iter().map(|row| row.slot()).collect();
        used.sort_unstable();
        used.dedup();
        let chunks: Vec<&Chunk> = used.iter().map(|slot| self.memtable.chunk(Ref::new(*slot, 0))).collect();
        let renumber = |row: &Ref| Ref::new(used.binary_search(&row.slot()).expect("it is used"), row.row());
        let rows: Vec<Ref> = taken.iter().map(renumber).collect();
        let keys = gather_keys(&chunks, &rows);
        let has_kinds = chunks.iter().any(|chunk| chunk.kinds.is_some());
        let kind = |row: &Ref| chunks[row.slot()].kinds.as_ref().map_or(0, |kinds| kinds[row.row()]);
        let kinds = has_kinds.then(|| rows.iter().map(kind).collect::<Vec<u8>>().into());
        let slots: Vec<Slot<'_>> = chunks.iter().map(|chunk| chunk.slot()).collect();
        let (batch, _) = Merged::of_rows(rows).batch(&slots, false)?;
        self.at += count;
        Ok(Some(Chunk { batch, kinds, keys, has_images: false }))
    }
}

fn gather_keys(chunks: &[&Chunk], rows: &[Ref]) -> Keys {
    let key = |row: &Ref| chunks[row.slot()].keys.get(row.row());
    match chunks[0].keys {
        Keys::Numbers(_) => Keys::Numbers(
            rows.iter()
                .map(|row| match key(row) {
                    KeyRef::Number(number) => number,
                    KeyRef::Bytes(_) => unreachable!("all keys of a table have one shape"),
                })
                .collect(),
        ),
        Keys::Bytes(_) => {
            let mut bytes = crate::table::key::KeyBytes::default();
            rows.iter().for_each(|row| match key(row) {
                KeyRef::Bytes(key) => bytes.push(key),
                KeyRef::Number(_) => unreachable!("all keys of a table have one shape"),
            });
            Keys::Bytes(bytes)
        }
    }
}

/// The rows of a memtable before an offset in key order, older ones of a key first.
fn memory_order(memtable: &Memtable, end: u64) -> Vec<Ref> {
    let (mut keys, mut counts, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    for (first_offset, chunk) in memtable.chunks() {
        if first_offset >= end {
            break;
        }
        counts.push((chunk.rows() as u64).min(end - first_offset) as usize);
        keys.push(&chunk.keys);
        chunks.push(chunk);
    }
    if keys.is_empty() {
        return Vec::new();
    }
    let (low, high) = unsorted_bounds(&keys, &counts);
    let prefixes = Prefixes::between(&keys, low, high);
    let mut entries = Vec::with_capacity(counts.iter().sum());
    for (slot, (chunk, count)) in chunks.iter().zip(&counts).enumerate() {
        match chunk.has_images && chunk.kinds.is_some() {
            false => prefixes.extend(slot, 0..*count, &mut entries),
            true => (0..*count).filter(|row| chunk.counts(*row)).for_each(|row| prefixes.extend(slot, row..row + 1, &mut entries)),
        }
    }
    prefixes.sort(&mut entries);
    entries.into_iter().map(|entry| entry.1).collect()
}

fn unsorted_bounds<'a>(keys: &[&'a Keys], counts: &[usize]) -> (KeyRef<'a>, KeyRef<'a>) {
    let all = keys.iter().zip(counts).flat_map(|(keys, count)| (0..*count).map(move |row| keys.get(row)));
    let first = keys[0].get(0);
    all.fold((first, first), |(low, high), key| (low.min(key), high.max(key)))
}

/// Smallest and largest key of sorted pieces.
fn bounds<'a>(keys: &[&'a Keys], pieces: &[Piece]) -> (KeyRef<'a>, KeyRef<'a>) {
    let low = pieces.iter().map(|(_, slot, rows)| keys[*slot].get(rows.start)).min();
    let high = pieces.iter().map(|(_, slot, rows)| keys[*slot].get(rows.end - 1)).max();
    (low.expect("a tile has rows"), high.expect("a tile has rows"))
}

/// How many of these sorted rows have a key up to this one.
fn count_up_to(keys: &Keys, rows: Range<usize>, key: KeyRef<'_>) -> usize {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let middle = (low + high) / 2;
        if keys.get(middle) <= key { low = middle + 1 } else { high = middle }
    }
    low - rows.start
}

fn kept_rows(merged: Merged, drop_deletes: bool) -> Vec<Ref> {
    match merged.deleted.filter(|_| drop_deletes) {
        None => merged.rows,
        Some(deleted) => merged.rows.into_iter().zip(deleted).filter(|(_, deleted)| !deleted).map(|(row, _)| row).collect(),
    }
}
