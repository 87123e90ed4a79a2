//! One run: a file of rows sorted by key, each key once.
//!
//! Invariants: a run never changes; a block that comes from here had a good checksum when it was read. docs/format/run.md has the bytes. This module knows
//! nothing of other runs or of why they exist.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::pick::Size;
use super::rows::{Chunk, Reader};
use crate::error::{Error, Kind, Result};
use crate::format::log_batch::BatchHeader;
use crate::format::{RunIndex, bloom};
use crate::io::sync::{AtomicBool, Ordering};
use crate::io::{BLOCK_BYTES, Driver, File, FileCache, Frozen, Pool};
use crate::table::key::KeyRef;

/// What a manifest says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunMeta {
    /// Unique in the store.
    pub id: u64,
    /// Where its index stands: bytes from the start of the file.
    pub index_at: u64,
    /// Bytes of its index.
    pub index_bytes: u32,
    /// Rows.
    pub rows: u64,
    /// Rows that say that their key is gone.
    pub deletes: u64,
}

impl RunMeta {
    /// Bytes of its blocks.
    pub fn bytes(&self) -> u64 {
        self.index_at
    }
}

/// How to get at files.
#[derive(Clone)]
pub struct Reach {
    /// The kernel.
    pub driver: Arc<dyn Driver>,
    /// Open files.
    pub files: Arc<FileCache>,
    /// Buffers.
    pub pool: Pool,
    /// Blocks of all runs of a store.
    pub blocks: Arc<Blocks>,
}

/// A block in the cache: run, number, and the schema its rows were mapped to.
type BlockId = (u64, u32, i16);

/// A block in memory of its own.
#[derive(Clone)]
struct Kept {
    chunk: Arc<Chunk>,
    /// Memory that it takes; the cache asks more than once.
    bytes: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<BlockId, Kept> for Bytes {
    fn weight(&self, _: &BlockId, kept: &Kept) -> u64 {
        kept.bytes
    }
}

/// Memory of a block besides its values: that of its arrays.
const COLUMN_BYTES_ABOUT: usize = 128;

/// Blocks that were read lately, up to a number of bytes.
pub struct Blocks(Cache<BlockId, Kept, Bytes>);

/// Bytes of a block, about, from which the cache guesses how many it will hold.
const BLOCK_BYTES_ABOUT: u64 = 16 << 10;

impl Blocks {
    /// A cache of at most so many bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Blocks(Cache::with_weighter((bytes_max / BLOCK_BYTES_ABOUT) as usize + 1, bytes_max, Bytes)))
    }

    /// Whether a block that comes pushes out others, or nearly so.
    pub(super) fn is_full(&self) -> bool {
        self.0.weight() >= self.0.capacity() / 10 * 9
    }
}

/// See the head of this module.
pub struct Run {
    meta: RunMeta,
    path: PathBuf,
    index: RunIndex,
    reach: Reach,
    /// Held open where another process may remove the file.
    held: Option<File>,
    /// A block was found damaged since it was opened.
    is_damaged: AtomicBool,
}

/// What a check of a run found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blocks with good checksums.
    pub blocks: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Blocks that a check reads at once.
const CHECKED_TOGETHER: usize = 16;

/// File of a run in the directory of its bucket.
pub fn run_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.run"))
}

/// A key as the bytes that stand in indexes.
pub fn key_bytes<'a>(key: KeyRef<'a>, number: &'a mut [u8; 8]) -> &'a [u8] {
    match key {
        KeyRef::Bytes(bytes) => bytes,
        KeyRef::Number(value) => {
            *number = value.to_be_bytes();
            number
        }
    }
}

/// The hash of a key for a filter.
#[inline]
pub fn key_hash(key: KeyRef<'_>) -> u64 {
    match key {
        KeyRef::Number(number) => bloom::hash_number(number),
        KeyRef::Bytes(bytes) => bloom::hash_bytes(bytes),
    }
}

impl Run {
    /// Opens a run of the bucket in `dir`: reads its index. With `holds` the file stays open, so that it can be read when its name is gone.
    ///
    /// # Errors
    /// Corrupt for a damaged index; those of the device.
    pub fn open(reach: Reach, dir: &Path, meta: RunMeta, holds: bool) -> Result<Self> {
        let path = run_path(dir, meta.id);
        let file = reach.files.open(&*reach.driver, &path, true).map_err(|error| Error::io("open", &path, error))?;
        let bytes = read(&reach, &path, &file, meta.index_at..meta.index_at + u64::from(meta.index_bytes))?;
        let index = RunIndex::decode(&bytes).map_err(|error| error.at("run", path.display()).at("position", meta.index_at));
        let index = index.inspect_err(|error| reach.files.damages().note(error))?;
        Ok(Run { meta, path, index, reach, held: holds.then_some(file), is_damaged: AtomicBool::new(false) })
    }

    fn read(&self, range: Range<u64>) -> Result<Frozen> {
        read(&self.reach, &self.path, &self.file()?, range).inspect_err(|error| self.note(error))
    }

    /// Remembers that it is damaged, and where.
    fn note(&self, error: &Error) {
        if error.kind() == Kind::Corrupt {
            self.is_damaged.store(true, Ordering::Relaxed);
            self.reach.files.damages().note(error);
        }
    }

    /// Reads everything and checks it: checksums, the order of keys, and that index and filter tell of every row. `wrong` hears of each block that is damaged or cannot
    /// be read; what was good is returned.
    pub fn check(&self, reader: &Reader, wrong: &mut dyn FnMut(Error)) -> Checked {
        let mut checked = Checked::default();
        let (mut last, mut is_damaged) = (None, false);
        let count = self.index.blocks().len();
        for start in (0..count).step_by(CHECKED_TOGETHER) {
            let numbers = start..(start + CHECKED_TOGETHER).min(count);
            let together = self.read_in_one(numbers.clone());
            for number in numbers.clone() {
                let bytes = match &together {
                    Ok(bytes) => Ok(self.bytes_of(number, numbers.start, bytes)),
                    // What cannot be read is in one of them.
                    Err(_) => self.read_in_one(number..number + 1).map_err(|error| self.of_block(number, error)),
                };
                let decoded = bytes.and_then(|bytes| self.decode(reader, number, &bytes));
                match decoded.and_then(|chunk| self.check_rows(number, &chunk, &mut last).map(|()| chunk.rows())) {
                    Ok(rows) => {
                        checked.blocks += 1;
                        checked.rows += rows as u64;
                        checked.bytes += u64::from(self.index.blocks()[number].length);
                    }
                    Err(error) => {
                        is_damaged = true;
                        wrong(error);
                    }
                }
            }
        }
        if !is_damaged && checked.rows != self.meta.rows {
            wrong(Error::corrupt("a run has another number of rows than its manifest says").at("run", self.path.display()));
        }
        checked
    }

    /// Checks the keys of a block against those before it, the last of which is `last`, and the index.
    fn check_rows(&self, number: usize, chunk: &Chunk, last: &mut Option<Vec<u8>>) -> Result<()> {
        let wrong = |what: &str| Err(self.of_block(number, Error::corrupt(what.to_string())));
        for row in 0..chunk.rows() {
            let mut as_number = [0; 8];
            let key = key_bytes(chunk.keys.get(row), &mut as_number);
            if last.as_deref().is_some_and(|last| last >= key) {
                return wrong("keys of a run are out of order");
            }
            if !self.index.bloom().may_hold(key_hash(chunk.keys.get(row))) || self.index.find(key, 0) != Some(number) {
                return wrong("the index of a run does not tell of a row");
            }
            *last = Some(key.to_vec());
        }
        Ok(())
    }

    /// Adds to an error which block it is of.
    fn of_block(&self, number: usize, error: Error) -> Error {
        let position = self.index.blocks()[number].position;
        error.at("run", self.path.display()).at("block", number).at("position", position)
    }

    /// A run that was just made.
    pub(super) fn made(reach: Reach, dir: &Path, meta: RunMeta, index: RunIndex) -> Self {
        Run { meta, path: run_path(dir, meta.id), index, reach, held: None, is_damaged: AtomicBool::new(false) }
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> RunMeta {
        self.meta
    }

    /// What it has, for who picks.
    pub fn size(&self) -> Size {
        Size { bytes: self.meta.bytes(), rows: self.meta.rows, deletes: self.meta.deletes }
    }

    /// Whether a block was found damaged since it was opened.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its index.
    pub fn index(&self) -> &RunIndex {
        &self.index
    }

    /// One block, from the cache or the device.
    ///
    /// # Errors
    /// Corrupt for damaged bytes, naming the run and the block; those of the device.
    pub fn block(&self, reader: &Reader, number: usize) -> Result<Arc<Chunk>> {
        match self.cached(reader, number) {
            Some(known) => Ok(known),
            None => {
                let block = self.index.blocks()[number];
                let bytes = self.read(block.position..block.position + u64::from(block.length))?;
                self.decode_to_keep(reader, number, &bytes)
            }
        }
    }

    fn block_id(&self, reader: &Reader, number: usize) -> BlockId {
        assert!(reader.whole().is_none(), "the cache holds blocks with all columns");
        (self.meta.id, number as u32, reader.schema().version())
    }

    /// A block, if the cache has it.
    pub(super) fn cached(&self, reader: &Reader, number: usize) -> Option<Arc<Chunk>> {
        self.reach.blocks.0.get(&self.block_id(reader, number)).map(|kept| kept.chunk)
    }

    /// The rows of a block, which the cache keeps. They are copied out of the buffer they were read into: that is up to twice as large, and others wait for it.
    pub(super) fn decode_to_keep(&self, reader: &Reader, number: usize, bytes: &[u8]) -> Result<Arc<Chunk>> {
        let chunk = Arc::new(self.decode(reader, number, &Buffer::from(bytes))?);
        // Runs are not compressed: values lie in the bytes of their block, but for columns that the table has changed since.
        let bytes = bytes.len() + chunk.keys.bytes() + chunk.columns.view().schema().fields().len() * COLUMN_BYTES_ABOUT;
        self.reach.blocks.0.insert(self.block_id(reader, number), Kept { chunk: chunk.clone(), bytes: bytes as u64 });
        Ok(chunk)
    }

    /// How its bytes are got at.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Its file, open.
    pub(super) fn file(&self) -> Result<File> {
        let opened = match &self.held {
            Some(file) => Ok(file.clone()),
            None => self.reach.files.open(&*self.reach.driver, &self.path, true),
        };
        opened.map_err(|error| Error::io("open", &self.path, error))
    }

    pub(super) fn too_short(&self, bytes: u64) -> Error {
        let error = too_short(&self.path, bytes);
        self.note(&error);
        error
    }

    /// The rows of a block, from its bytes.
    pub(super) fn decode(&self, reader: &Reader, number: usize, bytes: &Buffer) -> Result<Chunk> {
        let block = self.index.blocks()[number];
        let here = |error: Error| {
            let hint = format!("other keys can be read; {}", Error::VERIFY_LISTS);
            let error = self.of_block(number, error).hint(hint);
            self.note(&error);
            error
        };
        let header = BatchHeader::read(bytes).map_err(here)?;
        header.verify(bytes).map_err(here)?;
        let chunk = Chunk { is_merged: true, ..reader.chunk(bytes).map_err(here)? };
        if chunk.rows() != block.rows as usize {
            return Err(here(Error::corrupt("a block has another number of rows than the index says")));
        }
        Ok(chunk)
    }

    /// Blocks that lie one behind the other, in one read, past the cache: for who reads everything.
    ///
    /// # Errors
    /// As [`Run::block`].
    pub fn read_blocks(&self, reader: &Reader, numbers: Range<usize>) -> Result<Vec<Chunk>> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.read_in_one(numbers.clone())?;
        numbers.clone().map(|number| self.decode(reader, number, &self.bytes_of(number, numbers.start, &bytes))).collect()
    }

    /// The bytes of some blocks, one behind the other.
    fn read_in_one(&self, numbers: Range<usize>) -> Result<Buffer> {
        let blocks = &self.index.blocks()[numbers];
        let (first, last) = (blocks[0], blocks[blocks.len() - 1]);
        Ok(self.read(first.position..last.position + u64::from(last.length))?.arrow())
    }

    /// Those of one among them.
    fn bytes_of(&self, number: usize, first: usize, bytes: &Buffer) -> Buffer {
        let (block, first) = (self.index.blocks()[number], self.index.blocks()[first]);
        bytes.slice_with_length((block.position - first.position) as usize, block.length as usize)
    }
}

/// Reads a range of a file, by the pages that cover it.
fn read(reach: &Reach, path: &Path, file: &File, range: Range<u64>) -> Result<Frozen> {
    let failed = |error| Error::io("read", path, error);
    let start = range.start - range.start % BLOCK_BYTES as u64;
    let bytes = (range.end - start) as usize;
    let mut buffer = reach.pool.get(bytes.next_multiple_of(BLOCK_BYTES));
    let room = buffer.len();
    let read = reach.driver.read_at(file, &mut buffer, room, start).map_err(failed)?;
    if read < bytes {
        return Err(too_short(path, start + read as u64));
    }
    Ok(buffer.freeze().slice((range.start - start) as usize..bytes))
}

fn too_short(path: &Path, bytes: u64) -> Error {
    Error::corrupt("a run is shorter than its manifest says").at("run", path.display()).at("bytes", bytes)
}
