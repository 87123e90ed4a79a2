//! The newest rows of a bucket, as they came from the log, with an index by key.
//!
//! One writer at a time adds chunks; any number of readers look at the same time and wait for nobody. A row is told by its place (chunk, row of it), which ascends
//! with its log offset, and each row knows the one of the same key before it. Small batches are copied together now and then, because each would keep the memory
//! of its frame; their places stay what they are. Invariants: a row is found by whoever may see its offset; nothing that a reader holds is freed before he lets
//! it go. This module knows nothing of what rows of one key mean together.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::rows::Chunk;
use super::run::key_hash;
use crate::error::{Error, Result};
use crate::io::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::merge::Ref;
use crate::merge::reference::SLOT_ROWS_MAX;
use crate::table::key::{KeyRef, Keys};

/// Chunks in a page of their list.
const PAGE_CHUNKS: usize = 128;

/// Pages of chunks that a memtable may have.
const PAGES_MAX: usize = 256;

/// Chunks that a memtable may have.
pub const CHUNKS_MAX: usize = PAGE_CHUNKS * PAGES_MAX;

/// Slots of the first index.
const SLOTS_FIRST: usize = 1 << 8;

/// Keys looked up together, so that their cache lines come at the same time.
const TOGETHER: usize = 16;

/// A batch of at least so many rows stays where the log has it: there it takes little more than its rows do, and copying it would cost more than that.
const SMALL_ROWS: usize = 256;

/// So many small batches are copied together, and then so many of what became of them, until that is small no more.
const SMALL_TOGETHER: usize = 8;

/// No row before this one.
const NONE: u32 = u32::MAX;

/// Rows of the log that came together: where in the log they are, where they stand, and for each the one before it of the same key.
struct Held {
    first_offset: u64,
    stand: ArcSwap<Stand>,
    before: Box<[AtomicU32]>,
}

/// Where rows stand: in which chunk, from which of its rows on.
pub struct Stand {
    /// The chunk. It may hold rows that came before and after as well.
    pub chunk: Arc<Chunk>,
    /// The first of the rows.
    pub first: usize,
}

/// Bytes of what is kept for a batch besides its rows, about.
const HELD_BYTES: usize = size_of::<OnceLock<Held>>() + 2 * size_of::<Stand>() + 32;

type Page = Box<[OnceLock<Held>]>;

/// Open addressing: 32 bits of the key's hash, then the newest row of the key and one, or zero. These bits choose the slot as well, so that entries stand about
/// in their order, and a larger index is made of a smaller one by going through it once.
struct Index {
    slots: Box<[AtomicU64]>,
}

/// See the head of this module.
pub struct Memtable {
    /// In pages, so that a small memtable needs little.
    pages: Box<[OnceLock<Page>]>,
    count: AtomicUsize,
    index: ArcSwap<Index>,
    rows: AtomicUsize,
    keys: AtomicUsize,
    bytes: AtomicUsize,
    /// Offset behind the last row.
    end_offset: AtomicU64,
    first_offset: u64,
    /// The writer's: what came last in small batches.
    small: Mutex<Vec<Small>>,
}

/// Small batches that stand together, one behind the other.
struct Small {
    /// The number of the first, and how many.
    first: usize,
    count: usize,
    /// How often its rows were copied together.
    level: u32,
    /// Bytes that they keep.
    bytes: usize,
}

impl Index {
    fn new(slots: usize) -> Self {
        Index { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Where the search for a hash, or for that of an entry, begins.
    fn first_slot(&self, hash: u64) -> usize {
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn entry(hash: u64, row: Ref) -> u64 {
        (hash >> 32 << 32) | (u64::from(row.to_bits()) + 1)
    }

    fn row(entry: u64) -> Ref {
        Ref::from_bits(entry as u32 - 1)
    }
}

impl Memtable {
    /// An empty one, for rows from this offset on.
    pub fn new(first_offset: u64) -> Self {
        Memtable {
            pages: (0..PAGES_MAX).map(|_| OnceLock::new()).collect(),
            count: AtomicUsize::new(0),
            index: ArcSwap::from_pointee(Index::new(SLOTS_FIRST)),
            rows: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            end_offset: AtomicU64::new(first_offset),
            first_offset,
            small: Mutex::default(),
        }
    }

    /// Offset of the first row that it may hold.
    pub fn first_offset(&self) -> u64 {
        self.first_offset
    }

    /// Offset behind its last row.
    pub fn end_offset(&self) -> u64 {
        self.end_offset.load(Ordering::Acquire)
    }

    /// Rows, all versions.
    pub fn rows(&self) -> usize {
        self.rows.load(Ordering::Acquire)
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether so many more rows fit, in the chunks that [`Memtable::add`] makes of them. An empty one takes whatever a batch may hold.
    pub fn has_room(&self, rows: usize) -> bool {
        self.count.load(Ordering::Acquire) + rows.div_ceil(SLOT_ROWS_MAX) <= CHUNKS_MAX
    }

    /// Adds rows that stand in the log from `first_offset` on, and keep so many bytes of memory. Only one thread at a time may call this, with ascending offsets.
    ///
    /// # Errors
    /// Exhausted when there are too many chunks: the caller starts another memtable.
    pub fn add(&self, first_offset: u64, chunk: Chunk, memory_bytes: usize) -> Result<()> {
        let rows = chunk.rows();
        let number = self.count.load(Ordering::Acquire);
        for start in (0..rows).step_by(SLOT_ROWS_MAX) {
            let count = SLOT_ROWS_MAX.min(rows - start);
            let part = if count == rows { chunk.clone() } else { chunk.slice(start, count) };
            self.add_part(first_offset + start as u64, part)?;
        }
        self.bytes.fetch_add(memory_bytes, Ordering::AcqRel);
        self.end_offset.store(first_offset + rows as u64, Ordering::Release);
        let mut small = self.small.lock();
        if rows >= SMALL_ROWS {
            // What comes behind it does not stand together with what came before.
            let gathered = self.gather_small(&mut small, 0);
            small.clear();
            gathered
        } else if rows > 0 {
            small.push(Small { first: number, count: 1, level: 0, bytes: memory_bytes });
            self.gather_full(&mut small)
        } else {
            Ok(())
        }
    }

    fn add_part(&self, first_offset: u64, chunk: Chunk) -> Result<()> {
        let number = self.count.load(Ordering::Acquire);
        if number >= CHUNKS_MAX {
            return Err(Error::exhausted(format!("a memtable takes {CHUNKS_MAX} batches")));
        }
        let rows = chunk.rows();
        self.make_room(rows);
        let before: Box<[AtomicU32]> = (0..rows).map(|_| AtomicU32::new(NONE)).collect();
        let overhead = HELD_BYTES + rows * size_of::<AtomicU32>() + chunk.keys.bytes();
        let page = self.pages[number / PAGE_CHUNKS].get_or_init(|| (0..PAGE_CHUNKS).map(|_| OnceLock::new()).collect());
        let chunk = Arc::new(chunk);
        let stand = || ArcSwap::from_pointee(Stand { chunk: chunk.clone(), first: 0 });
        let held = page[number % PAGE_CHUNKS].get_or_init(|| Held { first_offset, stand: stand(), before });
        assert_eq!(held.first_offset, first_offset, "one writer at a time");
        let index = self.index.load();
        let (mut hashes, mut keys) = ([0; TOGETHER], 0);
        for start in (0..rows).step_by(TOGETHER) {
            let together = TOGETHER.min(rows - start);
            for (offset, hash) in hashes[..together].iter_mut().enumerate() {
                *hash = key_hash(chunk.keys.get(start + offset));
                // None of these reads waits for another one; the inserts find the lines there.
                let _ = index.slots[index.first_slot(*hash)].load(Ordering::Relaxed);
            }
            for (offset, hash) in hashes[..together].iter().enumerate() {
                let row = start + offset;
                if chunk.counts(row) {
                    keys += usize::from(self.insert(&index, chunk.keys.get(row), &held.before[row], Ref::new(number, row), *hash));
                }
            }
        }
        self.keys.fetch_add(keys, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::AcqRel);
        self.bytes.fetch_add(overhead, Ordering::AcqRel);
        self.count.store(number + 1, Ordering::Release);
        Ok(())
    }

    /// Copies together the last small batches, and what became of earlier ones, as often as there are enough of one level.
    fn gather_full(&self, small: &mut Vec<Small>) -> Result<()> {
        while let Some(start) = small.len().checked_sub(SMALL_TOGETHER) {
            if small[start..].iter().any(|other| other.level != small[start].level) {
                return Ok(());
            }
            self.gather_small(small, start)?;
        }
        Ok(())
    }

    /// Copies the small batches from `start` of the list on to one chunk. It takes their place in the list while it is small itself.
    fn gather_small(&self, small: &mut Vec<Small>, start: usize) -> Result<()> {
        let taken = small.split_off(start);
        let [first, .., last] = &taken[..] else { return Ok(()) };
        let numbers = first.first..last.first + last.count;
        let rows: usize = numbers.clone().map(|number| self.held(number).before.len()).sum();
        assert!(rows <= SLOT_ROWS_MAX, "{rows} rows of small batches in one chunk");
        let stands: Vec<Arc<Stand>> = numbers.clone().map(|number| self.held(number).stand.load_full()).collect();
        let counts = numbers.clone().map(|number| self.held(number).before.len());
        let gathered = Arc::new(Chunk::gather(stands.iter().map(|stand| (&stand.chunk, stand.first)).zip(counts))?);
        let mut at = 0;
        for number in numbers {
            let held = self.held(number);
            held.stand.store(Arc::new(Stand { chunk: gathered.clone(), first: at }));
            at += held.before.len();
        }
        let bytes = gathered.columns.view().batch().get_array_memory_size() + gathered.keys.bytes();
        let freed: usize = taken.iter().map(|small| small.bytes).sum();
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_sub(freed, Ordering::AcqRel);
        if at >= SMALL_ROWS {
            // Chunks that are gathered together stand one behind the other: what stands before this one stays as it is.
            small.clear();
        } else {
            small.push(Small { first: first.first, count: last.first + last.count - first.first, level: last.level + 1, bytes });
        }
        Ok(())
    }

    /// Whether the key is a new one.
    fn insert(&self, index: &Index, key: KeyRef<'_>, before: &AtomicU32, row: Ref, hash: u64) -> bool {
        let mut at = index.first_slot(hash);
        let is_new = loop {
            let entry = index.slots[at].load(Ordering::Acquire);
            if entry == 0 {
                break true;
            }
            if (entry ^ hash) >> 32 == 0 && self.has_key(Index::row(entry), key) {
                before.store(Index::row(entry).to_bits(), Ordering::Release);
                break false;
            }
            at = (at + 1) & (index.slots.len() - 1);
        };
        index.slots[at].store(Index::entry(hash, row), Ordering::Release);
        is_new
    }

    /// Makes a larger index when it would become more than half full. Readers of the old one find what they may see.
    fn make_room(&self, rows: usize) {
        let old = self.index.load_full();
        let keys = self.keys.load(Ordering::Relaxed) + rows;
        if keys * 2 <= old.slots.len() {
            return;
        }
        let new = Index::new((keys * 2).next_power_of_two());
        for entry in old.slots.iter().map(|slot| slot.load(Ordering::Acquire)).filter(|entry| *entry != 0) {
            let mut at = new.first_slot(entry);
            while new.slots[at].load(Ordering::Relaxed) != 0 {
                at = (at + 1) & (new.slots.len() - 1);
            }
            new.slots[at].store(entry, Ordering::Relaxed);
        }
        self.bytes.fetch_add((new.slots.len() - old.slots.len()) * size_of::<AtomicU64>(), Ordering::AcqRel);
        self.index.store(Arc::new(new));
    }

    fn held(&self, chunk: usize) -> &Held {
        let page = self.pages[chunk / PAGE_CHUNKS].get();
        page.and_then(|page| page[chunk % PAGE_CHUNKS].get()).expect("a row's chunk is there before the row is found")
    }

    fn has_key(&self, row: Ref, key: KeyRef<'_>) -> bool {
        let stand = self.held(row.slot()).stand.load();
        stand.chunk.keys.get(stand.first + row.row()) == key
    }

    /// Where a row and those that came with it stand.
    pub fn stand(&self, row: Ref) -> Arc<Stand> {
        self.held(row.slot()).stand.load_full()
    }

    /// All rows so far: offset of the first of some, where they stand, and how many they are.
    pub fn stands(&self) -> impl Iterator<Item = (u64, Arc<Stand>, usize)> {
        let count = self.count.load(Ordering::Acquire);
        (0..count).map(|number| self.held(number)).map(|held| (held.first_offset, held.stand.load_full(), held.before.len()))
    }

    /// How many chunks it has.
    pub fn chunk_count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The newest row of each key that is `wanted` of `keys`, whose hashes are `hashes`; none where there is no row.
    pub fn heads(&self, keys: &Keys, hashes: &[u64], wanted: &[u32], heads: &mut Vec<Ref>) {
        heads.clear();
        let index = self.index.load();
        let mut entries = [0; TOGETHER];
        for group in wanted.chunks(TOGETHER) {
            // These loads wait for nothing but memory, and so for each other's at the same time.
            for (entry, key) in entries.iter_mut().zip(group) {
                *entry = index.slots[index.first_slot(hashes[*key as usize])].load(Ordering::Acquire);
            }
            let head = |(entry, key): (&u64, &u32)| self.head(&index, *entry, keys.get(*key as usize), hashes[*key as usize]);
            heads.extend(entries.iter().zip(group).map(head));
        }
    }

    /// `entry` is what stands in the first slot of the hash.
    fn head(&self, index: &Index, mut entry: u64, key: KeyRef<'_>, hash: u64) -> Ref {
        let mut at = index.first_slot(hash);
        loop {
            if entry == 0 {
                return Ref::NONE;
            }
            if (entry ^ hash) >> 32 == 0 && self.has_key(Index::row(entry), key) {
                return Index::row(entry);
            }
            at = (at + 1) & (index.slots.len() - 1);
            entry = index.slots[at].load(Ordering::Acquire);
        }
    }

    /// The row of the same key before this one.
    pub fn before(&self, row: Ref) -> Option<Ref> {
        match self.held(row.slot()).before[row.row()].load(Ordering::Acquire) {
            NONE => None,
            before => Some(Ref::from_bits(before)),
        }
    }

    /// Whether a row stands in the log before an offset.
    pub fn is_before(&self, row: Ref, end: u64) -> bool {
        self.held(row.slot()).first_offset + (row.row() as u64) < end
    }
}
