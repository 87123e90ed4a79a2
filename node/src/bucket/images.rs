//! Writing what became of rows: the old row of each key is read, merged with the new ones, and the log gets whole rows, before and after.
//!
//! Reading, merging and joining the log are one step, under one lock of the bucket, and nobody waits for the device in it but who reads: rows that are in the log
//! but not yet durable are found here, in memtables *ahead* of the tree's. Invariants: the row before a change is the row after the change before it, in the log as in
//! the tree; what was read is still true when the log takes what was made of it (the log is asked for a certain offset, and given nothing else since); readers never
//! look in here. Why: docs/decisions/0008-images-under-one-lock.md. This module knows nothing of tables' names or of who writes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;

use super::encode::Encoders;
use super::tree::{Keyed, Shape, Tree};
use super::{Bucket, Pending};
use crate::error::{Error, Result};
use crate::io::sync::MutexGuard;
use crate::log::commit::Turn;
use crate::log::fate::Fate;
use crate::log::writer::Record;
use crate::lsm::lookup::{Sources, newest};
use crate::lsm::memtable::Memtable;
use crate::lsm::rows::{Chunk, Reader};
use crate::merge::images::{Changes, Steps, WRITTEN_ROWS_MAX, Written, changes};
use crate::merge::{MergeFunction, Ref, Slot};
use crate::table::Image;

/// Bytes of changes of a bucket that are not durable; with more, writers wait.
pub const AHEAD_BYTES_MAX: usize = 32 << 20;

/// Rows that are written in one step at most.
pub const STEP_ROWS_MAX: usize = WRITTEN_ROWS_MAX;

/// Memtables ahead of the tree's are dropped when the tree has their rows and they are larger than this.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// How written rows become images.
pub struct Imaging {
    /// What becomes of the rows of a key.
    pub function: Arc<dyn MergeFunction>,
    /// How an update stands in the log.
    pub image: Image,
    /// How changes become batches.
    pub encoders: Encoders,
}

/// Changes on their way to the device.
#[derive(Debug)]
#[must_use = "rows are durable once this says so"]
pub struct Changed {
    /// To wait for. Where nothing changed, for the rows from which that is known.
    pub pending: Pending,
    /// Rows in the log.
    pub changes: u64,
    /// Bytes of frames in the log.
    pub bytes: u64,
    /// Bytes of memory that hold them.
    pub held_bytes: u64,
}

/// The newest changes, among them all that the tree does not have yet. They end where the log goes on.
pub(super) struct Ahead {
    /// Dropped when the tree has all of it.
    older: Option<Memtable>,
    newer: Memtable,
}

impl Ahead {
    fn new(offset: u64) -> Self {
        Ahead { older: None, newer: Memtable::new(offset) }
    }

    fn end(&self) -> u64 {
        self.newer.end_offset()
    }

    fn bytes(&self) -> usize {
        self.older.as_ref().map_or(0, Memtable::bytes) + self.newer.bytes()
    }

    /// Forgets what the tree has, up to an offset.
    fn forget(&mut self, indexed_to: u64) {
        if self.older.as_ref().is_some_and(|older| older.end_offset() > indexed_to) {
            return;
        }
        self.older = None;
        if self.newer.bytes() > KEPT_BYTES_MAX {
            let end = self.end();
            let newer = std::mem::replace(&mut self.newer, Memtable::new(end));
            self.older = (end > indexed_to).then_some(newer);
        }
    }

    /// Newer ones first. Where they and the tree have a row, it is the same.
    fn memtables(&self) -> impl Iterator<Item = (&Memtable, u64)> {
        std::iter::once(&self.newer).chain(&self.older).map(|memtable| (memtable, u64::MAX))
    }
}

/// What is written in one step.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// How its table is read and written, as the writer knows it.
    pub keyed: &'a Arc<Keyed>,
    /// The rows, with the columns of that.
    pub rows: &'a RecordBatch,
    /// What each says.
    pub kinds: &'a [u8],
}

/// Bytes of records.
#[derive(Default)]
struct Sizes {
    written: u64,
    held: u64,
}

impl Sizes {
    fn of(records: &[Record]) -> Self {
        let add = |sizes: Sizes, record: &Record| Sizes {
            written: sizes.written + record.buffer.len() as u64,
            held: sizes.held + record.buffer.capacity() as u64,
        };
        records.iter().fold(Sizes::default(), add)
    }
}

impl Bucket {
    /// Writes what rows, at most [`STEP_ROWS_MAX`], make of what is there, and starts to write it; `inline` as in [`Bucket::append`]. A `-U` stands right before the
    /// `+U` of its key.
    ///
    /// Errors: as [`Bucket::append`]; those of reading and of the merge function. Nothing was written then.
    pub fn change(self: &Arc<Self>, step: Step<'_>, inline: bool) -> Result<Changed> {
        self.settle()?;
        self.hold_back()?;
        let tree = self.tree.as_ref().ok_or_else(|| Error::internal("changes of a bucket without a tree"))?;
        self.keep_up(step.keyed)?;
        let (changed, turn) = self.take_step(tree, step, inline).map_err(|error| self.here(error))?;
        self.take(turn);
        Ok(changed)
    }

    fn take_step(&self, tree: &Tree, step: Step<'_>, inline: bool) -> Result<(Changed, Turn)> {
        let mut held = self.ahead.lock();
        loop {
            let ahead = self.catch_up(tree, &mut held)?;
            let (chunk, records) = self.make(&tree.shape(), ahead, step)?;
            let (changes, sizes) = (chunk.rows() as u64, Sizes::of(&records));
            let (at, now_ms) = (ahead.end(), self.resources.driver.clock().wall_ms());
            // Where the log has given up rows meanwhile, these were made of what will never be.
            let Some((receipt, turn)) = self.log.submit_at(at, records, now_ms, inline)? else { continue };
            // The log has them whatever comes of this, and the turn must be taken: without what is ahead the next step waits until the tree has all rows.
            if changes > 0 && ahead.newer.add(at, chunk, sizes.held as usize).is_err() {
                *held = None;
            }
            let awake = matches!(turn, Turn::Write(_));
            let pending = Pending { fate: receipt.fate, first_offset: at, duplicate: false, awake };
            return Ok((Changed { pending, changes, bytes: sizes.written, held_bytes: sizes.held }, turn));
        }
    }

    /// Brings what is ahead of the tree to where the log goes on. Waits when too much is on its way, and when the log gave up rows: until it is known which.
    fn catch_up<'a>(&self, tree: &Tree, ahead: &'a mut Option<Ahead>) -> Result<&'a mut Ahead> {
        loop {
            if let Some(error) = tree.failure() {
                return Err(error);
            }
            let (next, fate) = self.log.with_writer(|writer| (writer.next_offset(), writer.newest_fate().cloned()));
            let indexed_to = tree.levels().active().end_offset();
            let has_room = |ahead: &Ahead| ahead.bytes() <= AHEAD_BYTES_MAX && ahead.newer.has_room(2 * STEP_ROWS_MAX);
            if let Some(known) = ahead.as_mut().filter(|ahead| ahead.end() == next) {
                known.forget(indexed_to);
                if has_room(known) {
                    break;
                }
            }
            if indexed_to >= next {
                *ahead = Some(Ahead::new(next));
                break;
            }
            self.wait_for_all(fate)?;
        }
        Ok(ahead.as_mut().expect("it is there now"))
    }

    /// Nobody who brings rows to the device needs the lock that is held here.
    fn wait_for_all(&self, fate: Option<Arc<Fate>>) -> Result<()> {
        match fate {
            // That it failed is told to those who wrote it.
            Some(fate) => drop(self.resources.wait_for(&fate, false)),
            None => {
                let poison = self.log.with_writer(|writer| writer.poison().map(Error::replica));
                return Err(poison.unwrap_or_else(|| Error::internal("durable rows are in no memtable")));
            }
        }
        Ok(())
    }

    /// The changes, and the records that hold them.
    fn make(&self, shape: &Shape, ahead: &Ahead, step: Step<'_>) -> Result<(Chunk, Vec<Record>)> {
        let is_altered = shape.keyed.generation > step.keyed.generation;
        let keyed = if is_altered { &shape.keyed } else { step.keyed };
        let imaging = keyed.images.as_ref().ok_or_else(|| Error::internal("rows of a table that has no images"))?;
        let rows = keyed.reader.adopt(step.keyed.version(), step.rows)?;
        let keys = keyed.reader.keys().encode(&rows)?;
        let written = Written { batch: &rows, kinds: step.kinds, keys: &keys };
        let steps = Steps::of(&written);
        let wanted = keys.pick(steps.rows());
        let of_tree = Sources::of(&shape.levels, u64::MAX);
        let sources = Sources { memtables: ahead.memtables().chain(of_tree.memtables).collect(), levels: of_tree.levels };
        let mut found = newest(&keyed.reader, &sources, &wanted)?;
        let slots: Vec<Slot<'_>> = found.chunks.iter().map(|chunk| chunk.slot()).collect();
        let expired = self.expired(&keyed.reader);
        for row in &mut found.rows {
            if *row != Ref::NONE && (slots[row.slot()].is_delete(row.row()) || expired(&slots[row.slot()], row.row())) {
                *row = Ref::NONE;
            }
        }
        let changes = changes(&*imaging.function, imaging.image, written, &steps, (&slots, &found.rows))?;
        let records = self.records(&imaging.encoders, &keyed.reader, &changes)?;
        let keys = keys.pick(changes.rows.iter().map(|row| *row as usize));
        let kinds = Some(Buffer::from_vec(changes.kinds));
        Ok((Chunk { columns: changes.batch.into(), kinds, keys, has_images: true, is_merged: false }, records))
    }

    /// Whether a row has expired: no reader sees it, so nothing is made of it.
    fn expired(&self, reader: &Reader) -> impl Fn(&Slot<'_>, usize) -> bool {
        let expiry = self.policy.lock().expiry;
        let known = expiry.and_then(|expiry| Some((expiry, reader.schema().index_of_id(expiry.column())?)));
        let now_ms = self.resources.driver.clock().wall_ms();
        move |slot, row| known.is_some_and(|(expiry, column)| expiry.kept(&slot.column(column).slice(row, 1), now_ms).is_some())
    }

    fn records(&self, encoders: &Encoders, reader: &Reader, changes: &Changes) -> Result<Vec<Record>> {
        let kinds: Vec<i8> = changes.kinds.iter().map(|kind| *kind as i8).collect();
        let rows = changes.batch.num_rows();
        let mut records = Vec::with_capacity(1);
        let mut from = 0;
        while from < rows {
            // Who wrote knows of no row of these, but of keys.
            let located = |error: Error| error.at("key", reader.keys().text(reader.schema(), &changes.batch, from));
            let (count, bytes_bound) = encoders.rows_that_fit(&changes.batch, from, rows, Some(&kinds)).map_err(located)?;
            let part = if count == rows { changes.batch.clone() } else { changes.batch.slice(from, count) };
            records.push(encoders.record(&self.resources.pool, &part, Some(&kinds[from..from + count]), bytes_bound, None)?);
            from += count;
        }
        Ok(records)
    }

    /// Changes became durable: what was kept of them only until then goes.
    pub(super) fn forget_durable(&self) {
        let Some(tree) = &self.tree else { return };
        if let Some(Some(ahead)) = self.ahead.try_lock().as_deref_mut() {
            ahead.forget(tree.levels().active().end_offset());
        }
    }

    /// Waits until nothing is ahead of the tree, and keeps it so as long as the answer is held.
    pub(super) fn settle_images(&self) -> MutexGuard<'_, Option<Ahead>> {
        let mut ahead = self.ahead.lock();
        if ahead.take().is_some()
            && let Some(fate) = self.log.with_writer(|writer| writer.newest_fate().cloned())
        {
            drop(self.resources.wait_for(&fate, false));
        }
        ahead
    }
}
