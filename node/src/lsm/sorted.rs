//! One row for each key out of a memtable and some runs, in key order, some thousand rows at a time.
//!
//! The key space is cut into tiles: what all sources have in memory up to a splitting key is ordered, grouped by key, and handed to the merge function.
//! Where a run is alone, its rows are handed on as they are: they have been merged. Of a part of the key space, only the blocks that may hold it are read.
//! Invariants: rows of one key are in one tile, older sources first; keys ascend from tile to tile. A step is bounded, so that whoever drives it can pause.
//! This module knows nothing of where the result goes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::level::Level;
use super::memory::MemoryRows;
use super::memtable::Memtable;
use super::rows::{Chunk, Reader};
use super::run::Run;
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::merge::order::{Entry, Merger, Prefixes, group_ends};
use crate::merge::reference::SLOTS_MAX;
use crate::merge::{Groups, MergeFunction, Outcome, Ref, Slot};
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

/// Bytes of neighbouring blocks of all levels together that are read at once, about: a run is read in few large steps, whatever a tile needs of it.
const READ_BYTES_ALL: u64 = 8 << 20;

/// Bytes of neighbouring blocks of one run that are read at once.
const READ_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=1 << 20;

/// Blocks that a part of a run takes from the cache, and leaves there; with more, they are read past it.
const CACHED_BLOCKS_MAX: usize = 16;

/// Rows of one source, sorted by key, each key once unless it is a memtable's. A level is one source, however many runs it has.
enum Source {
    Run(RunRows),
    Memory(MemoryRows),
}

/// The rows of a level.
struct RunRows {
    /// What is not in memory yet, of each run: ascending, none of them empty.
    blocks: VecDeque<(Arc<Run>, Range<usize>)>,
    /// Whether they come from the cache.
    is_cached: bool,
    windows: VecDeque<Window>,
}

/// Rows in memory that are not merged yet.
struct Window {
    chunk: Arc<Chunk>,
    rows: Range<usize>,
    /// Bytes of a row, about.
    row_bytes: u64,
}

struct Input {
    source: Source,
    rows_left: u64,
    /// Rows of the next tile, if it is cut where this input wants it.
    share: usize,
}

/// Rows of a tile: of one chunk, or of a memtable's order.
enum Piece {
    Chunk { slot: usize, rows: Range<usize> },
    Memory { input: usize, rows: Range<usize> },
}

/// Levels, and memtables with the offset before which their rows count; older ones first.
pub type Sources<'a> = (&'a [Level], &'a [(Arc<Memtable>, u64)]);

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
    is_plain: bool,
    merger: Merger,
    ends: Vec<u32>,
}

impl Sorted {
    /// Merges `levels` and `memtables` (their rows before an offset), each list older ones first; memtables are newer than runs. With `drop_deletes` keys that are gone
    /// are left out: for who reads, and where nothing older is left.
    pub fn new(
        reader: Arc<Reader>,
        function: Arc<dyn MergeFunction>,
        levels: &[Level],
        memtables: &[(Arc<Memtable>, u64)],
        drop_deletes: bool,
    ) -> Self {
        let all = Self::within(reader, function, (levels, memtables), &KeyRanges::all(), drop_deletes);
        all.expect("all columns are there")
    }

    /// As [`Sorted::new`], of keys in these ranges only.
    ///
    /// # Errors
    /// Internal; the columns of the reader are the table's.
    pub fn within(
        reader: Arc<Reader>,
        function: Arc<dyn MergeFunction>,
        (levels, memtables): Sources<'_>,
        ranges: &KeyRanges,
        drop_deletes: bool,
    ) -> Result<Self> {
        let mut inputs: Vec<Input> = levels.iter().map(|level| Input::of_level(level, ranges)).collect();
        for (memtable, end) in memtables {
            let rows = MemoryRows::new(memtable, *end, &reader, ranges)?;
            inputs.push(Input { rows_left: rows.left() as u64, source: Source::Memory(rows), share: 0 });
        }
        // A tile whose texts are too long for one array would fail a scan for ever.
        let in_memory = memtables.iter().map(|(memtable, _)| (memtable.bytes() / memtable.rows().max(1)) as u64);
        let runs = levels.iter().flat_map(Level::runs);
        let row_bytes = runs.map(|run| run.meta().bytes() / run.meta().rows.max(1)).chain(in_memory).max().unwrap_or(0);
        let tile_rows = (TILE_BYTES_MAX / row_bytes.max(1)).clamp(TILE_ROWS_MIN as u64, TILE_ROWS as u64) as usize;
        let (ranges, merger, ends) = (ranges.clone(), Merger::default(), Vec::new());
        Ok(Sorted { reader, function, inputs, ranges, tile_rows, drop_deletes, expiry: None, is_plain: false, merger, ends })
    }

    /// For who wants so many rows only: tiles are not made much larger.
    #[must_use]
    pub fn limited(mut self, rows: usize) -> Self {
        self.tile_rows = self.tile_rows.min(rows.max(TILE_ROWS_MIN));
        self
    }

    /// Leaves out rows that have expired by then, deletes too. Only where no older rows are elsewhere: they would come back.
    ///
    /// # Errors
    /// Internal when the column with the time is not read.
    pub fn expiring(mut self, expiry: Expiry, now_ms: i64) -> Result<Self> {
        let place = self.reader.schema().index_of_id(expiry.column());
        let place = place.ok_or_else(|| Error::internal("the column with the time of a row is not read"))?;
        self.expiry = Some((place, expiry, now_ms));
        Ok(self)
    }

    /// Rows say nothing but that they are there: also those that retractions alone made. Only for who leaves out deletes.
    #[must_use]
    pub fn plain(mut self) -> Self {
        assert!(self.drop_deletes, "what rows say is left out only with deletes");
        self.is_plain = true;
        self
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
        let tile = self.next_merged()?.map(|tile| if self.is_plain { tile.plain() } else { tile });
        match (tile, &self.expiry) {
            (Some(tile), Some((place, expiry, now_ms))) => match expiry.kept(&tile.column(*place)?, *now_ms) {
                Some(kept) => tile.only(&kept).map(Some),
                None => Ok(Some(tile)),
            },
            (tile, _) => Ok(tile),
        }
    }

    fn next_merged(&mut self) -> Result<Option<Tile>> {
        self.fill()?;
        self.inputs.retain(|input| input.rows_in_memory() > 0);
        if self.inputs.is_empty() {
            return Ok(None);
        }
        if let Some((input, rows)) = self.alone() {
            let (chunks, pieces) = self.inputs[input].take_rows(rows);
            return Ok(Some(Tile::of_merged(chunks, pieces, self.drop_deletes)));
        }
        let split = self.split();
        let (chunks, pieces, stretches) = self.take(split);
        if chunks.len() > SLOTS_MAX {
            return Err(Error::exhausted(format!("the rows of one key stand in {} batches", chunks.len())).hint("write larger batches"));
        }
        let keys: Vec<&Keys> = chunks.iter().map(|chunk| &chunk.keys).collect();
        let (low, high) = bounds(&self.inputs, &chunks, &pieces);
        let prefixes = Prefixes::between(&keys, low, high);
        let entries = self.merger.entries();
        for piece in &pieces {
            match piece {
                Piece::Chunk { slot, rows } => prefixes.extend(*slot, rows.clone(), entries),
                Piece::Memory { input, rows } => self.inputs[*input].memory().extend(prefixes, rows.clone(), entries),
            }
        }
        let ordered = self.merger.merge(prefixes, &stretches);
        group_ends(prefixes, ordered, &mut self.ends);
        let order: Vec<Ref> = ordered.iter().map(|entry| entry.1).collect();
        let slots: Vec<Slot<'_>> = chunks.iter().map(|chunk| chunk.slot()).collect();
        let merged = self.function.merge(Groups { slots: &slots, order: &order, ends: &self.ends })?;
        let outcome = Outcome::of(merged, self.drop_deletes)?;
        let numbers = prefixes.has_numbers().then(|| numbers(ordered, &self.ends, &outcome));
        drop((slots, keys));
        Ok(Some(Tile::new(chunks, outcome, numbers)))
    }

    /// Brings rows of each source into memory: in proportion to what is left of it, so that they end at about the same key. Fewer where they are large, however
    /// large rows are elsewhere.
    fn fill(&mut self) -> Result<()> {
        let left: u64 = self.inputs.iter().map(|input| input.rows_left).sum();
        let inputs = self.inputs.len().max(1) as u64;
        let bytes_max = (TILE_BYTES_MAX / inputs).max(*READ_BYTES.start());
        let read_bytes = (READ_BYTES_ALL / inputs).clamp(*READ_BYTES.start(), *READ_BYTES.end());
        for input in &mut self.inputs {
            let share = (self.tile_rows as u64 * input.rows_left).div_ceil(left.max(1)).max(1) as usize;
            let wants_more = |input: &Input| match input.rows_in_memory() {
                0 => true,
                rows => rows < share && input.bytes_in_memory() < bytes_max,
            };
            while wants_more(input) && input.load(&self.reader, &self.ranges, read_bytes)? {}
            input.share = share.min(input.rows_in_memory());
        }
        Ok(())
    }

    /// A run whose next rows come before those of all other sources, and how many of them are in memory; `None` when they are few, or not merged yet.
    fn alone(&self) -> Option<(usize, usize)> {
        let first = |input: &usize| self.inputs[*input].first_key();
        let lowest = (0..self.inputs.len()).min_by(|left, right| first(left).cmp(&first(right)))?;
        let next = (0..self.inputs.len()).filter(|input| *input != lowest).map(|input| first(&input)).min();
        let input = &self.inputs[lowest];
        let rows = if input.is_run() { input.count_before(next, self.tile_rows) } else { 0 };
        (rows >= ALONE_ROWS_MIN || input.is_run() && next.is_none()).then_some((lowest, rows))
    }

    /// The largest key up to which every source has as many rows as it should give, or an earlier one behind which rows are alone: where in memory that is,
    /// or `None` when all is there and belongs together.
    fn split(&self) -> Option<(Arc<Chunk>, usize)> {
        let unfinished = self.inputs.iter().filter(|input| input.rows_left > input.share as u64);
        let last = unfinished.map(|input| input.row(input.share - 1));
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
        let goes_on = |second: &&Input| {
            largest.is_run() && largest.rows_in_memory() - largest.count_before(Some(second.last_key()), usize::MAX) > ALONE_ROWS_MIN
        };
        second.filter(goes_on).or(has_gap.then_some(largest)).map(|input| input.row(input.rows_in_memory() - 1))
    }

    /// Takes all rows up to a key out of memory: the chunks they are in, their pieces, and where the entries of each input will be.
    fn take(&mut self, split: Option<(Arc<Chunk>, usize)>) -> (Vec<Arc<Chunk>>, Vec<Piece>, Vec<Range<usize>>) {
        let split = split.as_ref().map(|(chunk, row)| chunk.keys.get(*row));
        let (mut chunks, mut pieces, mut stretches) = (Vec::new(), Vec::new(), Vec::new());
        let mut entries = 0;
        for (number, input) in self.inputs.iter_mut().enumerate() {
            let start = entries;
            match &mut input.source {
                Source::Memory(memory) => {
                    let rows = memory.take(split, &mut chunks);
                    entries += rows.len();
                    pieces.push(Piece::Memory { input: number, rows });
                }
                Source::Run(run) => take_windows(&mut run.windows, split, |chunk, rows| {
                    entries += rows.len();
                    pieces.push(Piece::Chunk { slot: chunks.len(), rows });
                    chunks.push(chunk);
                }),
            }
            input.rows_left -= (entries - start) as u64;
            if entries > start {
                stretches.push(start..entries);
            }
        }
        pieces.retain(|piece| !piece.rows().is_empty());
        (chunks, pieces, stretches)
    }
}

impl Piece {
    fn rows(&self) -> &Range<usize> {
        match self {
            Piece::Chunk { rows, .. } | Piece::Memory { rows, .. } => rows,
        }
    }
}

impl Input {
    fn of_level(level: &Level, ranges: &KeyRanges) -> Self {
        let of_run = |run: &Arc<Run>| blocks_within(run, ranges).into_iter().map(|blocks| (run.clone(), blocks)).collect::<Vec<_>>();
        let blocks: VecDeque<(Arc<Run>, Range<usize>)> = level.runs().iter().flat_map(of_run).collect();
        let rows = |(run, blocks): &(Arc<Run>, Range<usize>)| {
            run.index().blocks()[blocks.clone()].iter().map(|block| u64::from(block.rows)).sum::<u64>()
        };
        let rows_left = blocks.iter().map(rows).sum();
        let is_cached = !ranges.is_all() && blocks.iter().map(|(_, blocks)| blocks.len()).sum::<usize>() <= CACHED_BLOCKS_MAX;
        Input { source: Source::Run(RunRows { blocks, is_cached, windows: VecDeque::new() }), rows_left, share: 0 }
    }

    fn is_run(&self) -> bool {
        matches!(self.source, Source::Run(_))
    }

    fn memory(&self) -> &MemoryRows {
        match &self.source {
            Source::Memory(memory) => memory,
            Source::Run(_) => unreachable!("pieces of memory come from memory"),
        }
    }

    fn rows_in_memory(&self) -> usize {
        match &self.source {
            Source::Memory(memory) => memory.left(),
            Source::Run(run) => run.windows.iter().map(|window| window.rows.len()).sum(),
        }
    }

    /// Bytes of rows that were loaded for this, about.
    fn bytes_in_memory(&self) -> u64 {
        match &self.source {
            Source::Memory(_) => 0,
            Source::Run(run) => run.windows.iter().map(|window| window.rows.len() as u64 * window.row_bytes).sum(),
        }
    }

    /// A row in memory, counted from the next one.
    fn row(&self, mut number: usize) -> (Arc<Chunk>, usize) {
        match &self.source {
            Source::Memory(memory) => memory.row(number),
            Source::Run(run) => {
                for window in &run.windows {
                    if number < window.rows.len() {
                        return (window.chunk.clone(), window.rows.start + number);
                    }
                    number -= window.rows.len();
                }
                unreachable!("so many rows are in memory")
            }
        }
    }

    /// The key of the next row. There is one in memory.
    fn first_key(&self) -> KeyRef<'_> {
        match &self.source {
            Source::Memory(memory) => memory.next_key(0),
            Source::Run(run) => {
                let window = run.windows.front().expect("inputs without rows were dropped");
                window.chunk.keys.get(window.rows.start)
            }
        }
    }

    /// The key of the last row in memory.
    fn last_key(&self) -> KeyRef<'_> {
        match &self.source {
            Source::Memory(memory) => memory.next_key(memory.left() - 1),
            Source::Run(run) => {
                let window = run.windows.back().expect("inputs without rows were dropped");
                window.chunk.keys.get(window.rows.end - 1)
            }
        }
    }

    /// How many of the next rows of a run are in memory and before a key, up to a number of them.
    fn count_before(&self, key: Option<KeyRef<'_>>, rows_max: usize) -> usize {
        let Source::Run(run) = &self.source else { return 0 };
        let mut count = 0;
        for window in &run.windows {
            let of_window = key.map_or(window.rows.len(), |key| count_below(&window.chunk.keys, window.rows.clone(), key));
            count += of_window;
            if of_window < window.rows.len() || count >= rows_max {
                break;
            }
        }
        count.min(rows_max)
    }

    /// Takes the next rows of a run, which are in memory: their chunks, and which rows of each.
    fn take_rows(&mut self, rows: usize) -> (Vec<Arc<Chunk>>, Vec<Range<usize>>) {
        let (mut chunks, mut pieces, mut left) = (Vec::new(), Vec::new(), rows);
        let Source::Run(run) = &mut self.source else { return (chunks, pieces) };
        while left > 0 {
            let window = run.windows.front_mut().expect("the rows are in memory");
            let count = left.min(window.rows.len());
            chunks.push(window.chunk.clone());
            pieces.push(window.rows.start..window.rows.start + count);
            window.rows.start += count;
            left -= count;
            if window.rows.is_empty() {
                run.windows.pop_front();
            }
        }
        self.rows_left -= rows as u64;
        (chunks, pieces)
    }

    /// Brings more rows into memory; whether there were any blocks left.
    fn load(&mut self, reader: &Reader, ranges: &KeyRanges, read_bytes: u64) -> Result<bool> {
        let Source::Run(run) = &mut self.source else { return Ok(false) };
        let chunks = run.load(reader, read_bytes)?;
        let is_some = !chunks.is_empty();
        for (chunk, row_bytes) in chunks {
            let chunk = Arc::new(chunk);
            let wanted = ranges.rows(&chunk.keys);
            self.rows_left -= (chunk.rows() - wanted.iter().map(Range::len).sum::<usize>()) as u64;
            run.windows.extend(wanted.into_iter().map(|rows| Window { chunk: chunk.clone(), rows, row_bytes }));
        }
        Ok(is_some)
    }
}

impl RunRows {
    /// The next blocks, of so many bytes at most unless one alone has more, each with the bytes of a row.
    fn load(&mut self, reader: &Reader, read_bytes: u64) -> Result<Vec<(Chunk, u64)>> {
        let Some((run, next)) = self.blocks.front_mut() else { return Ok(Vec::new()) };
        let (run, blocks) = (run.clone(), &run.index().blocks()[next.clone()]);
        let (mut count, mut bytes) = (0, 0);
        while count < blocks.len() && (count == 0 || bytes + u64::from(blocks[count].length) <= read_bytes) {
            bytes += u64::from(blocks[count].length);
            count += 1;
        }
        let row_bytes: Vec<u64> = blocks[..count].iter().map(|block| u64::from(block.length) / u64::from(block.rows.max(1))).collect();
        let numbers = next.start..next.start + count;
        next.start = numbers.end;
        if next.start == next.end {
            self.blocks.pop_front();
        }
        let chunks: Vec<Chunk> = match self.is_cached {
            true => numbers.map(|number| cached(&run, reader, number)).collect::<Result<_>>()?,
            false => run.read_blocks(reader, numbers)?,
        };
        Ok(chunks.into_iter().zip(row_bytes).collect())
    }
}

fn cached(run: &Run, reader: &Reader, number: usize) -> Result<Chunk> {
    let whole = run.block(reader.whole().map_or(reader, |whole| whole), number)?;
    whole.chosen(reader)
}

/// The blocks of a run that may have rows with these keys.
fn blocks_within(run: &Run, ranges: &KeyRanges) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for range in ranges.ranges() {
        let of_range = run.index().within(&range.from, range.to.as_deref());
        match blocks.last_mut().filter(|last| last.end >= of_range.start) {
            Some(last) => last.end = last.end.max(of_range.end),
            None if !of_range.is_empty() => blocks.push(of_range),
            None => {}
        }
    }
    blocks
}

/// Smallest and largest key of sorted pieces.
fn bounds<'a>(inputs: &'a [Input], chunks: &'a [Arc<Chunk>], pieces: &[Piece]) -> (KeyRef<'a>, KeyRef<'a>) {
    let key = |piece: &Piece, is_last: bool| {
        let row = if is_last { piece.rows().end - 1 } else { piece.rows().start };
        match piece {
            Piece::Chunk { slot, .. } => chunks[*slot].keys.get(row),
            Piece::Memory { input, .. } => inputs[*input].memory().key(row),
        }
    };
    let (low, high) = (pieces.iter().map(|piece| key(piece, false)).min(), pieces.iter().map(|piece| key(piece, true)).max());
    (low.expect("a tile has rows"), high.expect("a tile has rows"))
}

/// Hands over the rows of windows up to a key.
fn take_windows(windows: &mut VecDeque<Window>, split: Option<KeyRef<'_>>, mut taken: impl FnMut(Arc<Chunk>, Range<usize>)) {
    while let Some(window) = windows.front_mut() {
        let Range { start, end } = window.rows;
        let cut = split.map_or(end, |key| start + count_up_to(&window.chunk.keys, start..end, key));
        if cut > start {
            taken(window.chunk.clone(), start..cut);
        }
        window.rows.start = cut;
        if cut < end {
            return;
        }
        windows.pop_front();
    }
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

/// The keys that are left, of keys that are numbers.
fn numbers(ordered: &[Entry], ends: &[u32], outcome: &Outcome) -> Vec<u64> {
    let number = |end: &u32| ordered[*end as usize - 1].0;
    match outcome.keeps_all() {
        true => ends.iter().map(number).collect(),
        false => ends.iter().enumerate().filter(|(key, _)| outcome.keeps(*key)).map(|(_, end)| number(end)).collect(),
    }
}
