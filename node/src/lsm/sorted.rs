//! One row for each key out of a memtable and some runs, in key order, some thousand rows at a time.
//!
//! The key space is cut into tiles: what all sources have in memory up to a splitting key is ordered, grouped by key, and handed to the merge function.
//! Where a run is alone, its rows are handed on as they are: they have been merged. Of a part of the key space, only the blocks that may hold it are read.
//! Invariants: rows of one key are in one tile, older sources first; keys ascend from tile to tile. A step is bounded, so that whoever drives it can pause.
//! This module knows nothing of where the result goes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;

use super::memtable::Memtable;
use super::rows::{Chunk, Reader};
use super::run::Run;
use crate::error::{Error, Result};
use crate::merge::function::is_telling;
use crate::merge::order::{Entry, Merger, Prefixes, group_ends};
use crate::merge::{Groups, MergeFunction, Merged, Ref, Slot};
use crate::table::expiry::Expiry;
use crate::table::key::{KeyRef, Keys};
use crate::table::key_range::KeyRanges;

/// Rows of a tile, about.
pub const TILE_ROWS: usize = 8192;

/// Bytes of the rows of a tile, about, where rows are large.
const TILE_BYTES_MAX: u64 = 8 << 20;

/// Rows of a tile at least.
const TILE_ROWS_MIN: usize = 16;

/// From so many rows on that one run has before any other source has a row, they are not merged.
const ALONE_ROWS_MIN: usize = 256;

/// Bytes of neighbouring blocks that are read at once.
const READ_BYTES_MAX: u64 = 512 << 10;

/// Blocks that a part of a run takes from the cache, and leaves there; with more, they are read past it.
const CACHED_BLOCKS_MAX: usize = 16;

/// Rows of one source, sorted by key, each key once unless it is a memtable's.
enum Source {
    Run(RunRows),
    Memory(MemoryRows),
}

/// The blocks of a run that are not in memory yet.
struct RunRows {
    run: Arc<Run>,
    /// Ascending, none of them empty.
    blocks: VecDeque<Range<usize>>,
    /// Whether they come from the cache.
    is_cached: bool,
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

/// Runs, and memtables with the offset before which their rows count; older ones first.
pub type Sources<'a> = (&'a [Arc<Run>], &'a [(Arc<Memtable>, u64)]);

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
    /// Some of the rows.
    fn only(self, kept: &BooleanArray) -> Result<Tile> {
        let batch = filter_record_batch(&self.batch, kept).map_err(|error| Error::internal("cannot choose rows").caused_by(error))?;
        let of_kept = |row: &usize| kept.value(*row);
        let kinds = self.kinds.map(|kinds| (0..kinds.len()).filter(of_kept).map(|row| kinds[row]).collect());
        let rows = (0..self.rows.len()).filter(of_kept).map(|row| self.rows[row]).collect();
        Ok(Tile { batch, kinds, rows, chunks: self.chunks })
    }

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
    ranges: KeyRanges,
    tile_rows: usize,
    drop_deletes: bool,
    /// The place of the column with the time of a row, and when it is.
    expiry: Option<(usize, Expiry, i64)>,
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
        Self::within(reader, function, (runs, memtables), &KeyRanges::all(), drop_deletes)
    }

    /// As [`Sorted::new`], of keys in these ranges only.
    pub fn within(
        reader: Arc<Reader>,
        function: Arc<dyn MergeFunction>,
        (runs, memtables): Sources<'_>,
        ranges: &KeyRanges,
        drop_deletes: bool,
    ) -> Self {
        let of_memtable = |(memtable, end): &(Arc<Memtable>, u64)| {
            let order = memory_order(memtable, *end, ranges);
            let rows_left = order.len() as u64;
            Input { source: Source::Memory(MemoryRows { memtable: memtable.clone(), order, at: 0 }), windows: VecDeque::new(), rows_left }
        };
        let inputs = runs.iter().map(|run| Input::of_run(run, ranges)).chain(memtables.iter().map(of_memtable)).collect();
        // A tile whose texts are too long for one array would fail a flush for ever.
        let in_memory = memtables.iter().map(|(memtable, _)| (memtable.bytes() / memtable.rows().max(1)) as u64);
        let row_bytes = runs.iter().map(|run| run.meta().bytes() / run.meta().rows.max(1)).chain(in_memory).max().unwrap_or(0);
        let tile_rows = (TILE_BYTES_MAX / row_bytes.max(1)).clamp(TILE_ROWS_MIN as u64, TILE_ROWS as u64) as usize;
        Sorted { reader, function, inputs, ranges: ranges.clone(), tile_rows, drop_deletes, expiry: None, merger: Merger::default() }
    }

    /// For who wants so many rows only: tiles are not made much larger.
    #[must_use]
    pub fn limited(mut self, rows: usize) -> Self {
        self.tile_rows = self.tile_rows.min(rows.max(TILE_ROWS_MIN));
        self
    }

    /// Leaves out rows that have expired by then. Only for who leaves out deletes: where older rows are elsewhere, they would come back.
    ///
    /// # Errors
    /// Internal when the column with the time is not read.
    pub fn expiring(mut self, expiry: Expiry, now_ms: i64) -> Result<Self> {
        assert!(self.drop_deletes, "what has expired is not left out where older rows are elsewhere");
        let place = self.reader.schema().index_of_id(expiry.column());
        let place = place.ok_or_else(|| Error::internal("the column with the time of a row is not read"))?;
        self.expiry = Some((place, expiry, now_ms));
        Ok(self)
    }

    /// The columns that come out.
    pub fn schema(&self) -> &SchemaRef {
        self.reader.schema().arrow()
    }

    /// The next rows; `None` at the end. A tile may have no row, when all of its keys are gone.
    ///
    /// # Errors
    /// Those of reading and of the merge function.
    pub fn next_tile(&mut self) -> Result<Option<Tile>> {
        let tile = self.next_merged()?;
        match (tile, &self.expiry) {
            (Some(tile), Some((place, expiry, now_ms))) => match expiry.kept(tile.batch.column(*place), *now_ms) {
                Some(kept) => tile.only(&kept).map(Some),
                None => Ok(Some(tile)),
            },
            (tile, _) => Ok(tile),
        }
    }

    fn next_merged(&mut self) -> Result<Option<Tile>> {
        self.fill()?;
        self.inputs.retain(|input| !input.windows.is_empty());
        if self.inputs.is_empty() {
            return Ok(None);
        }
        if let Some((input, rows)) = self.alone() {
            return self.hand_on(input, rows).map(Some);
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
            let share = (self.tile_rows as u64 * input.rows_left).div_ceil(left.max(1)).max(1) as usize;
            while input.rows_in_memory() < share && input.load(&self.reader, &self.ranges, share)? {}
        }
        Ok(())
    }

    /// A run whose next rows come before those of all other sources, and how many of them are in memory; `None` when they are few, or not merged yet.
    fn alone(&self) -> Option<(usize, usize)> {
        let first = |input: &usize| self.inputs[*input].first_key();
        let lowest = (0..self.inputs.len()).min_by(|left, right| first(left).cmp(&first(right)))?;
        let next = (0..self.inputs.len()).filter(|input| *input != lowest).map(|input| first(&input)).min();
        let input = &self.inputs[lowest];
        let is_run = matches!(input.source, Source::Run(_));
        let rows = if is_run { input.count_before(next, self.tile_rows) } else { 0 };
        (rows >= ALONE_ROWS_MIN || is_run && next.is_none()).then_some((lowest, rows))
    }

    /// The next rows of a run that is alone: they were merged when they were written.
    fn hand_on(&mut self, input: usize, rows: usize) -> Result<Tile> {
        let (chunks, pieces) = self.inputs[input].take_rows(rows);
        let mut kept: Vec<Ref> = Vec::with_capacity(rows);
        let is_gone = |chunk: &Chunk, row: usize| chunk.slot().is_delete(row);
        let mut parts = Vec::with_capacity(chunks.len());
        for (slot, (chunk, rows)) in chunks.iter().zip(&pieces).enumerate() {
            let part = chunk.batch.slice(rows.start, rows.len());
            let drops = self.drop_deletes && rows.clone().any(|row| is_gone(chunk, row));
            let left = rows.clone().filter(|row| !drops || !is_gone(chunk, *row));
            kept.extend(left.map(|row| Ref::new(slot, row)));
            parts.push(if drops { without_deletes(&part, chunk, rows.clone())? } else { part });
        }
        let batch = match parts.len() {
            1 => parts.remove(0),
            _ => concat_batches(self.schema(), &parts)
                .map_err(|error| Error::exhausted("rows of a run are too large to be handed on together").caused_by(error))?,
        };
        let says_more = !self.drop_deletes && chunks.iter().any(|chunk| chunk.kinds.is_some());
        let kinds: Option<Vec<u8>> = says_more.then(|| kept.iter().map(|row| chunks[row.slot()].slot().kind(row.row())).collect());
        let kinds = kinds.filter(|kinds| kinds.iter().any(|kind| is_telling(*kind)));
        Ok(Tile { batch, kinds, rows: kept, chunks })
    }

    /// The largest key up to which every source has its rows in memory, or an earlier one behind which rows are alone: where in memory that is, or `None` when
    /// all is there and belongs together.
    fn split(&self) -> Option<(Arc<Chunk>, usize)> {
        let unfinished = self.inputs.iter().filter(|input| input.has_more());
        let last = unfinished.map(Input::last);
        last.chain(self.overlap_end()).min_by(|left, right| left.0.keys.get(left.1).cmp(&right.0.keys.get(right.1)))
    }

    /// Where sources end to overlap, if what is behind is worth a tile of its own: because it begins there, or because one run goes on alone.
    fn overlap_end(&self) -> Option<(Arc<Chunk>, usize)> {
        let mut order: Vec<&Input> = self.inputs.iter().collect();
        order.sort_by(|left, right| left.first_key().cmp(&right.first_key()));
        let (mut largest, mut second) = (order[0], None);
        let (mut rows, mut has_gap) = (order[0].rows_in_memory(), false);
        for input in &order[1..] {
            has_gap = rows >= ALONE_ROWS_MIN && input.first_key() > largest.last_key();
            if has_gap {
                break;
            }
            rows += input.rows_in_memory();
            if input.last_key() > largest.last_key() {
                second = Some(largest);
                largest = input;
            } else if second.is_none_or(|second: &Input| input.last_key() > second.last_key()) {
                second = Some(input);
            }
        }
        let is_run = matches!(largest.source, Source::Run(_));
        let goes_on = |second: &&Input| {
            is_run && largest.rows_in_memory() - largest.count_before(Some(second.last_key()), usize::MAX) > ALONE_ROWS_MIN
        };
        second.filter(goes_on).or(has_gap.then_some(largest)).map(Input::last)
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
    fn of_run(run: &Arc<Run>, ranges: &KeyRanges) -> Self {
        let index = run.index();
        let mut blocks: VecDeque<Range<usize>> = VecDeque::new();
        for range in ranges.ranges() {
            let of_range = index.within(&range.from, range.to.as_deref());
            match blocks.back_mut().filter(|last| last.end >= of_range.start) {
                Some(last) => last.end = last.end.max(of_range.end),
                None if !of_range.is_empty() => blocks.push_back(of_range),
                None => {}
            }
        }
        let all = blocks.iter().flat_map(Range::clone);
        let rows_left = all.clone().map(|block| u64::from(index.blocks()[block].rows)).sum();
        let is_cached = !ranges.is_all() && all.count() <= CACHED_BLOCKS_MAX;
        Input { source: Source::Run(RunRows { run: run.clone(), blocks, is_cached }), windows: VecDeque::new(), rows_left }
    }

    fn rows_in_memory(&self) -> usize {
        self.windows.iter().map(|window| window.rows.len()).sum()
    }

    /// The key of the next row. There is one in memory.
    fn first_key(&self) -> KeyRef<'_> {
        let window = self.windows.front().expect("inputs without rows were dropped");
        window.chunk.keys.get(window.rows.start)
    }

    /// The last row in memory.
    fn last(&self) -> (Arc<Chunk>, usize) {
        let window = self.windows.back().expect("inputs without rows were dropped");
        (window.chunk.clone(), window.rows.end - 1)
    }

    fn last_key(&self) -> KeyRef<'_> {
        let window = self.windows.back().expect("inputs without rows were dropped");
        window.chunk.keys.get(window.rows.end - 1)
    }

    /// How many of the next rows are in memory and before a key, up to a number of them.
    fn count_before(&self, key: Option<KeyRef<'_>>, rows_max: usize) -> usize {
        let mut count = 0;
        for window in &self.windows {
            let of_window = key.map_or(window.rows.len(), |key| count_below(&window.chunk.keys, window.rows.clone(), key));
            count += of_window;
            if of_window < window.rows.len() || count >= rows_max {
                break;
            }
        }
        count.min(rows_max)
    }

    /// Takes the next rows, which are in memory: their chunks, and which rows of each.
    fn take_rows(&mut self, rows: usize) -> (Vec<Arc<Chunk>>, Vec<Range<usize>>) {
        let (mut chunks, mut pieces, mut left) = (Vec::new(), Vec::new(), rows);
        while left > 0 {
            let window = self.windows.front_mut().expect("the rows are in memory");
            let count = left.min(window.rows.len());
            chunks.push(window.chunk.clone());
            pieces.push(window.rows.start..window.rows.start + count);
            window.rows.start += count;
            left -= count;
            if window.rows.is_empty() {
                self.windows.pop_front();
            }
        }
        self.rows_left -= rows as u64;
        (chunks, pieces)
    }

    fn has_more(&self) -> bool {
        match &self.source {
            Source::Run(rows) => !rows.blocks.is_empty(),
            Source::Memory(rows) => rows.at < rows.order.len(),
        }
    }

    /// Brings about so many more rows into memory; whether there were any blocks or rows left.
    fn load(&mut self, reader: &Reader, ranges: &KeyRanges, rows: usize) -> Result<bool> {
        let chunks = match &mut self.source {
            Source::Run(source) => source.load(reader, rows)?,
            Source::Memory(source) => source.load(reader, rows)?.into_iter().collect(),
        };
        let is_some = !chunks.is_empty();
        for chunk in chunks.into_iter().map(Arc::new) {
            let wanted = ranges.rows(&chunk.keys);
            self.rows_left -= (chunk.rows() - wanted.iter().map(Range::len).sum::<usize>()) as u64;
            self.windows.extend(wanted.into_iter().map(|rows| Window { chunk: chunk.clone(), rows }));
        }
        Ok(is_some)
    }
}

impl RunRows {
    /// The next blocks, with about so many rows.
    fn load(&mut self, reader: &Reader, rows: usize) -> Result<Vec<Chunk>> {
        let Some(next) = self.blocks.front_mut() else { return Ok(Vec::new()) };
        let blocks = &self.run.index().blocks()[next.clone()];
        let (mut count, mut loaded, mut bytes) = (0, 0, 0);
        while count < blocks.len() && (count == 0 || loaded < rows) && bytes < READ_BYTES_MAX {
            loaded += blocks[count].rows as usize;
            bytes += u64::from(blocks[count].length);
            count += 1;
        }
        let numbers = next.start..next.start + count;
        let chunks = match self.is_cached {
            true => numbers.clone().map(|number| self.cached(reader, number)).collect::<Result<_>>()?,
            false => self.run.read_blocks(reader, numbers.clone())?,
        };
        let next = self.blocks.front_mut().expect("it was there");
        next.start = numbers.end;
        if next.start == next.end {
            self.blocks.pop_front();
        }
        Ok(chunks)
    }

    fn cached(&self, reader: &Reader, number: usize) -> Result<Chunk> {
        let whole = self.run.block(reader.whole().map_or(reader, |whole| whole), number)?;
        Ok(Chunk {
            batch: reader.choose(&whole.batch)?,
            kinds: whole.kinds.clone(),
            keys: whole.keys.clone(),
            has_images: whole.has_images,
        })
    }
}

impl MemoryRows {
    /// The next rows as a chunk of their own, all versions. It never ends within a key.
    fn load(&mut self, reader: &Reader, rows: usize) -> Result<Option<Chunk>> {
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
        let batches = chunks.iter().map(|chunk| reader.choose(&chunk.batch)).collect::<Result<Vec<_>>>()?;
        let slots: Vec<Slot<'_>> = batches.iter().map(|batch| Slot { batch, kinds: None }).collect();
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

/// The rows of a memtable before an offset whose keys are in these ranges, in key order, older ones of a key first.
fn memory_order(memtable: &Memtable, end: u64, ranges: &KeyRanges) -> Vec<Ref> {
    let (mut keys, mut pieces) = (Vec::new(), Vec::new());
    for (first_offset, chunk) in memtable.chunks() {
        if first_offset >= end {
            break;
        }
        let rows = (chunk.rows() as u64).min(end - first_offset) as usize;
        let slot = keys.len();
        pieces.extend(wanted(chunk, rows, ranges).into_iter().map(|rows| (0, slot, rows)));
        keys.push(&chunk.keys);
    }
    let Some((low, high)) = unsorted_bounds(&keys, &pieces) else { return Vec::new() };
    let prefixes = Prefixes::between(&keys, low, high);
    let mut entries = Vec::with_capacity(pieces.iter().map(|(_, _, rows): &Piece| rows.len()).sum());
    pieces.into_iter().for_each(|(_, slot, rows)| prefixes.extend(slot, rows, &mut entries));
    prefixes.sort(&mut entries);
    entries.into_iter().map(|entry| entry.1).collect()
}

/// Which of the first rows, in any order, count and have a wanted key.
fn wanted(chunk: &Chunk, rows: usize, ranges: &KeyRanges) -> Vec<Range<usize>> {
    let all_count = !chunk.has_images || chunk.kinds.is_none();
    if ranges.is_all() && all_count {
        return std::iter::once(0..rows).collect();
    }
    let is_wanted = |row: &usize| chunk.counts(*row) && ranges.contains(chunk.keys.get(*row));
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for row in (0..rows).filter(is_wanted) {
        match stretches.last_mut().filter(|last| last.end == row) {
            Some(last) => last.end += 1,
            None => stretches.push(row..row + 1),
        }
    }
    stretches
}

fn unsorted_bounds<'a>(keys: &[&'a Keys], pieces: &[Piece]) -> Option<(KeyRef<'a>, KeyRef<'a>)> {
    let mut all = pieces.iter().flat_map(|(_, slot, rows)| rows.clone().map(|row| keys[*slot].get(row)));
    let first = all.next()?;
    Some(all.fold((first, first), |(low, high), key| (low.min(key), high.max(key))))
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

/// How many of these sorted rows have a key below this one.
fn count_below(keys: &Keys, rows: Range<usize>, key: KeyRef<'_>) -> usize {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let middle = (low + high) / 2;
        if keys.get(middle) < key { low = middle + 1 } else { high = middle }
    }
    low - rows.start
}

/// Rows of a chunk that say no delete.
fn without_deletes(part: &RecordBatch, chunk: &Chunk, rows: Range<usize>) -> Result<RecordBatch> {
    let left: BooleanArray = rows.map(|row| Some(!chunk.slot().is_delete(row))).collect();
    filter_record_batch(part, &left).map_err(|error| Error::internal("cannot drop deleted rows").caused_by(error))
}

fn kept_rows(merged: Merged, drop_deletes: bool) -> Vec<Ref> {
    match merged.deleted.filter(|_| drop_deletes) {
        None => merged.rows,
        Some(deleted) => merged.rows.into_iter().zip(deleted).filter(|(_, deleted)| !deleted).map(|(row, _)| row).collect(),
    }
}
