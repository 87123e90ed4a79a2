//! Writes a run: rows in key order go in, a durable file comes out.
//!
//! Invariant: what is returned by `finish` is on the device under its name, once the caller has synced the directory. This module knows nothing of where the rows
//! come from.

use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::run::{Reach, Run, RunMeta, key_bytes, run_path};
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::format::{BatchMeta, Bloom, Columns, Compression, Encoder, Layout, RunIndex};
use crate::io::{BLOCK_BYTES, Buffer, File, Mode};
use crate::merge::function::is_telling;
use crate::merge::outcome::{ColumnCopy, lengths};
use crate::table::rows::value_bytes;
use crate::table::{ChangeType, TableSchema};

/// Bytes of the values of a block, about. A lookup reads one, with the pages that cover it: together they seldom have more than 16 KiB, which is a size of buffers
/// in the pool, the next being twice as large.
const BLOCK_BYTES_GOAL: usize = 23 << 9;

/// Rows of a block at most and at least.
const BLOCK_ROWS: std::ops::RangeInclusive<usize> = 16..=4096;

/// A block with so many times the bytes that it should have gets fewer rows, and so does the next one.
const BLOCK_BYTES_EXCESS: usize = 4;

/// Rows whose width decides how many rows blocks have.
const MEASURED_ROWS: usize = 1024;

/// Bytes that are written at once: an append that comes meanwhile waits for them.
const WRITE_BYTES: usize = 256 << 10;

/// Blocks begin at multiples of this, so that their columns can be used where they lie.
const ALIGNMENT: usize = 64;

/// See the head of this module.
pub struct RunBuilder {
    reach: Reach,
    dir: PathBuf,
    id: u64,
    file: File,
    encoder: Encoder,
    schema: SchemaRef,
    schema_id: i16,
    /// Rows of the next block, and bytes that it should have.
    blocks: Option<(usize, usize)>,
    buffer: Buffer,
    filled: usize,
    written: u64,
    lengths: Vec<(usize, usize, usize)>,
    first_keys: Vec<Vec<u8>>,
    last_key: Vec<u8>,
    hashes: Vec<u64>,
}

impl RunBuilder {
    /// Starts the file of run `id` in the directory of its bucket.
    ///
    /// # Errors
    /// Exhausted when the device is full; others of the device.
    pub fn new(reach: &Reach, dir: &Path, id: u64, schema: &TableSchema) -> Result<Self> {
        let path = run_path(dir, id);
        let file = reach.driver.open(&path, Mode::Create, true).map_err(|error| Error::io("make", &path, error))?;
        let encoder = Encoder::new(schema.arrow(), Layout::Native, Compression::None)?.with_marks();
        Ok(RunBuilder {
            reach: reach.clone(),
            dir: dir.to_path_buf(),
            id,
            file,
            encoder,
            schema: schema.arrow().clone(),
            schema_id: schema.version(),
            blocks: None,
            buffer: reach.pool.get(WRITE_BYTES),
            filled: 0,
            written: 0,
            lengths: Vec::new(),
            first_keys: Vec::new(),
            last_key: Vec::new(),
            hashes: Vec::new(),
        })
    }

    /// Adds rows behind those that are there.
    ///
    /// # Errors
    /// As [`RunBuilder::new`].
    pub fn push(&mut self, tile: &Tile) -> Result<()> {
        let count = tile.rows();
        if count == 0 {
            return Ok(());
        }
        let slots = tile.slots();
        let lengths = lengths(&slots);
        let schema = self.schema.clone();
        let columns = tile.outcome().copies(&schema, &slots, &lengths);
        let (mut per_block, goal) = match self.blocks {
            Some(known) => known,
            None => blocks_for(&tile.first_rows(MEASURED_ROWS)?),
        };
        tile.hash_keys(&mut self.hashes);
        let mut start = 0;
        while start < count {
            let rows = per_block.min(count - start);
            let kinds = tile.kinds().map(|kinds| &kinds[start..start + rows]);
            let deletes = kinds.map_or(0, |kinds| kinds.iter().filter(|kind| **kind == ChangeType::Delete.to_byte()).count());
            let telling = kinds.filter(|kinds| kinds.iter().any(|kind| is_telling(*kind)));
            // The fewest rows are a block however large they are.
            let bytes_max = if rows > *BLOCK_ROWS.start() { goal * BLOCK_BYTES_EXCESS } else { usize::MAX };
            let Some(length) = self.encode(&columns, (start, rows), telling, bytes_max)? else {
                per_block = (rows / 2).max(*BLOCK_ROWS.start());
                continue;
            };
            self.lengths.push((length, rows, deletes));
            self.first_keys.push(key_bytes(tile.key(start), &mut [0; 8]).to_vec());
            start += rows;
            // Rows have become small again.
            if rows == per_block && length * BLOCK_BYTES_EXCESS < goal {
                per_block = (per_block * 2).min(*BLOCK_ROWS.end());
            }
        }
        self.blocks = Some((per_block, goal));
        self.last_key = key_bytes(tile.key(count - 1), &mut [0; 8]).to_vec();
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.filled as u64
    }

    /// Encodes a block where it is written from: how long it is; `None` when it would have more bytes than it may.
    fn encode(
        &mut self,
        columns: &[ColumnCopy<'_>],
        (start, rows): (usize, usize),
        kinds: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Option<usize>> {
        let kinds: Option<Vec<i8>> = kinds.map(|kinds| kinds.iter().map(|kind| *kind as i8).collect());
        let meta = BatchMeta { change_types: kinds.as_deref(), ..BatchMeta::append(self.schema_id) };
        // The next block is about as long as the last one; that it does not fit is found only when most of it has been copied.
        let mut room = self.lengths.last().map_or(BLOCK_BYTES_GOAL, |(length, _, _)| length + length / 8);
        loop {
            if self.filled + room > self.buffer.len() {
                self.write_full_pages(room)?;
            }
            let out = &mut self.buffer[self.filled..];
            room = out.len();
            let out = &mut out[..room.min(bytes_max)];
            let encoded = self
                .encoder
                .encode_columns(rows, &meta, out, |block| columns.iter().try_for_each(|column| copy(column, start, rows, block)))?;
            // There is room for the padding: buffers are as long as whole pages.
            if let Some(written) = encoded {
                let length = written.next_multiple_of(ALIGNMENT);
                self.buffer[self.filled + written..self.filled + length].fill(0);
                self.filled += length;
                return Ok(Some(length));
            }
            if room >= bytes_max {
                return Ok(None);
            }
            room *= 2;
        }
    }

    /// Writes what fills whole pages and keeps the rest, with room for `next` more bytes.
    fn write_full_pages(&mut self, next: usize) -> Result<()> {
        let full = self.filled - self.filled % BLOCK_BYTES;
        let rest = self.filled - full;
        let room = WRITE_BYTES.max((rest + next).next_multiple_of(BLOCK_BYTES));
        let mut buffer = self.reach.pool.get(room);
        buffer[..rest].copy_from_slice(&self.buffer[full..self.filled]);
        let full_buffer = std::mem::replace(&mut self.buffer, buffer);
        self.filled = rest;
        if full > 0 {
            self.write(full_buffer, full)?;
        }
        Ok(())
    }

    fn write(&mut self, buffer: Buffer, bytes: usize) -> Result<()> {
        let piece = buffer.freeze().slice(..bytes);
        let written = self.reach.driver.write_at(&self.file, &[piece], self.written, false);
        written.map_err(|error| Error::io("write", &run_path(&self.dir, self.id), error))?;
        self.written += bytes as u64;
        Ok(())
    }

    /// Writes the index, and waits until all is on the device. The caller syncs the directory.
    ///
    /// # Errors
    /// As [`RunBuilder::new`]; the file is to be abandoned then.
    pub fn finish(mut self) -> Result<Run> {
        let finished = self.finish_file();
        if finished.is_err() {
            self.abandon();
        }
        finished
    }

    fn finish_file(&mut self) -> Result<Run> {
        let mut bloom = Bloom::new(self.hashes.len());
        self.hashes.iter().for_each(|hash| bloom.add(*hash));
        let mut index = RunIndex::new(bloom);
        for ((length, rows, deletes), key) in self.lengths.iter().zip(&self.first_keys) {
            index.add(*length, *rows, *deletes, key);
        }
        index.finish(&self.last_key);
        let index_at = self.bytes();
        let bytes = index.encode();
        let end = (self.filled + bytes.len()).next_multiple_of(BLOCK_BYTES);
        let mut last = self.reach.pool.get(end);
        last[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        last[self.filled..self.filled + bytes.len()].copy_from_slice(&bytes);
        last[self.filled + bytes.len()..].fill(0);
        self.write(last, end)?;
        self.reach.driver.sync(&self.file).map_err(|error| Error::io("sync", &run_path(&self.dir, self.id), error))?;
        let meta = RunMeta { id: self.id, index_at, index_bytes: bytes.len() as u32, rows: index.rows(), deletes: index.deletes() };
        Ok(Run::made(self.reach.clone(), &self.dir, meta, index))
    }

    /// Removes the file: it came to nothing.
    pub fn abandon(self) {
        let _ = self.reach.driver.remove(&run_path(&self.dir, self.id));
    }
}

/// Copies some rows of a column into a block.
fn copy(column: &ColumnCopy<'_>, start: usize, rows: usize, block: &mut Columns<'_, '_>) -> Result<()> {
    match column {
        ColumnCopy::Gathered(source, picks) if source.has_kernel() => {
            let nulls = source.write(picks.part(start, rows), &mut |bytes, fill| block.buffer(bytes, fill))?;
            block.node(rows, nulls);
        }
        ColumnCopy::Gathered(source, picks) => block.array(&source.array(picks.part(start, rows))?),
        ColumnCopy::Made(array) => block.array(&array.slice(start, rows)),
    }
    Ok(())
}

/// How many rows blocks should have, by rows that are there, so that they have about the bytes that they should; and these.
fn blocks_for(rows: &RecordBatch) -> (usize, usize) {
    let bytes = value_bytes(rows) as usize / rows.num_rows().max(1);
    // A table of many columns gets larger blocks: each column should have some rows.
    let goal = BLOCK_BYTES_GOAL.max(rows.num_columns() << 10);
    let count = (goal / bytes.max(1)).clamp(*BLOCK_ROWS.start(), *BLOCK_ROWS.end());
    (count, goal)
}
