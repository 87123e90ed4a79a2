//! The newest rows of a bucket, as they came from the log, with an index by key.
//!
//! One writer at a time adds chunks; any number of readers look at the same time and wait for nobody. A row is told by its place (chunk, row of it), which ascends
//! with its log offset, and each row knows the one of the same key before it. Invariants: a row is found by whoever may see its offset; nothing is freed before
//! the memtable is. This module knows nothing of what rows of one key mean together.

use std::sync::OnceLock;

use arc_swap::ArcSwap;

use super::rows::Chunk;
use super::run::key_hash;
use crate::error::{Error, Result};
use crate::io::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// No row before this one.
const NONE: u32 = u32::MAX;

/// A chunk, where in the log it is, and for each of its rows the one before it of the same key.
struct Held {
    first_offset: u64,
    chunk: Chunk,
    before: Box<[AtomicU32]>,
}

type Page = Box<[OnceLock<Held>]>;

/// Open addressing: 32 bits of the key's hash, then the newest row of the key and one, or zero.
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
}

impl Index {
    fn new(slots: usize) -> Self {
        Index { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    fn first_slot(&self, hash: u64) -> usize {
        (hash as usize) & (self.slots.len() - 1)
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

    /// Adds rows that stand in the log from `first_offset` on. Only one thread at a time may call this, with ascending offsets.
    ///
    /// # Errors
    /// Exhausted when there are too many chunks: the caller starts another memtable.
    pub fn add(&self, first_offset: u64, chunk: Chunk, memory_bytes: usize) -> Result<()> {
        let rows = chunk.rows();
        for start in (0..rows).step_by(SLOT_ROWS_MAX) {
            let count = SLOT_ROWS_MAX.min(rows - start);
            let part = if count == rows { chunk.clone() } else { chunk.slice(start, count) };
            self.add_part(first_offset + start as u64, part)?;
        }
        self.bytes.fetch_add(memory_bytes, Ordering::AcqRel);
        self.end_offset.store(first_offset + rows as u64, Ordering::Release);
        Ok(())
    }

    fn add_part(&self, first_offset: u64, chunk: Chunk) -> Result<()> {
        let number = self.count.load(Ordering::Acquire);
        if number >= CHUNKS_MAX {
            return Err(Error::exhausted(format!("a memtable takes {CHUNKS_MAX} batches")));
        }
        let rows = chunk.rows();
        self.make_room(rows);
        let before: Box<[AtomicU32]> = (0..rows).map(|_| AtomicU32::new(NONE)).collect();
        let overhead = rows * size_of::<AtomicU32>() + chunk.keys.bytes();
        let page = self.pages[number / PAGE_CHUNKS].get_or_init(|| (0..PAGE_CHUNKS).map(|_| OnceLock::new()).collect());
        let held = page[number % PAGE_CHUNKS].get_or_init(|| Held { first_offset, chunk, before });
        assert_eq!(held.first_offset, first_offset, "one writer at a time");
        let index = self.index.load();
        let mut hashes = [0; TOGETHER];
        for start in (0..rows).step_by(TOGETHER) {
            let together = TOGETHER.min(rows - start);
            for (offset, hash) in hashes[..together].iter_mut().enumerate() {
                *hash = key_hash(held.chunk.keys.get(start + offset));
            }
            let counts = (0..together).filter(|offset| held.chunk.counts(start + offset));
            counts.for_each(|offset| self.insert(&index, held, number, start + offset, hashes[offset]));
        }
        self.rows.fetch_add(rows, Ordering::AcqRel);
        self.bytes.fetch_add(overhead, Ordering::AcqRel);
        self.count.store(number + 1, Ordering::Release);
        Ok(())
    }

    fn insert(&self, index: &Index, held: &Held, chunk: usize, row: usize, hash: u64) {
        let key = held.chunk.keys.get(row);
        let mut at = index.first_slot(hash);
        loop {
            let entry = index.slots[at].load(Ordering::Acquire);
            if entry == 0 {
                self.keys.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if (entry ^ hash) >> 32 == 0 && self.key(Index::row(entry)) == key {
                held.before[row].store(Index::row(entry).to_bits(), Ordering::Release);
                break;
            }
            at = (at + 1) & (index.slots.len() - 1);
        }
        index.slots[at].store(Index::entry(hash, Ref::new(chunk, row)), Ordering::Release);
    }

    /// Makes a larger index when it would become more than half full. Readers of the old one find what they may see.
    fn make_room(&self, rows: usize) {
        let old = self.index.load_full();
        let keys = self.keys.load(Ordering::Relaxed) + rows;
        if keys * 2 <= old.slots.len() {
            return;
        }
        let new = Index::new((keys * 4).next_power_of_two());
        for entry in old.slots.iter().map(|slot| slot.load(Ordering::Acquire)).filter(|entry| *entry != 0) {
            let hash = key_hash(self.key(Index::row(entry)));
            let mut at = new.first_slot(hash);
            while new.slots[at].load(Ordering::Relaxed) != 0 {
                at = (at + 1) & (new.slots.len() - 1);
            }
            new.slots[at].store(entry, Ordering::Relaxed);
        }
        self.bytes.fetch_add((new.slots.len() - old.slots.len()) * size_of::<AtomicU64>(), Ordering::AcqRel);
        self.index.store(std::sync::Arc::new(new));
    }

    fn held(&self, chunk: usize) -> &Held {
        let page = self.pages[chunk / PAGE_CHUNKS].get();
        page.and_then(|page| page[chunk % PAGE_CHUNKS].get()).expect("a row's chunk is there before the row is found")
    }

    fn key(&self, row: Ref) -> KeyRef<'_> {
        self.held(row.slot()).chunk.keys.get(row.row())
    }

    /// The chunk that a row stands in.
    pub fn chunk(&self, row: Ref) -> &Chunk {
        &self.held(row.slot()).chunk
    }

    /// All chunks so far, with the offset of their first row.
    pub fn chunks(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        let count = self.count.load(Ordering::Acquire);
        (0..count).map(|number| self.held(number)).map(|held| (held.first_offset, &held.chunk))
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
            if (entry ^ hash) >> 32 == 0 && self.key(Index::row(entry)) == key {
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
