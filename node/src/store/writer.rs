//! Rows on their way in: made to fit the table, split by partition and bucket, encoded once, handed to the buckets.
//!
//! Invariants: rows of one batch that go to one bucket keep their order; what is unacknowledged never exceeds the writer's budget by more than
//! one batch. This module knows nothing of how buckets write.

mod numbered;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};

use super::catalog::{Catalog, ONLY_PARTITION};
use super::gate::Gate;
use super::open::keyed;
use super::route::{Piece, Router};
use super::table::Table;
use crate::bucket::encode::Encoders;
use crate::bucket::images::{Changed, STEP_ROWS_MAX, Step};
use crate::bucket::tree::Keyed;
use crate::bucket::{Bucket, Pending};
use crate::error::{Error, Result};
use crate::log::producers::Producer;
use crate::log::writer::Record;
use crate::table::{TableSpec, conform, digits};

/// What a writer may be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterOptions {
    /// An identity, chosen once by the application and not negative. The application then numbers its batches: it writes with
    /// [`Writer::append_numbered`] and [`Writer::send_numbered`] only, and a batch sent again is answered with the place of the first.
    pub id: Option<i64>,
}

/// Rows that are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition's name; empty in a table without partitions.
    pub partition: Arc<str>,
    /// The bucket they went to.
    pub bucket: u32,
    /// Offset of the first; where nothing changed, up to where the log says so.
    pub first_offset: u64,
    /// How many were sent.
    pub rows: u64,
    /// How many stand in the log: as many as were sent, but for a table whose log says what became of them (`changelog-producer` = `lookup`). There an update is
    /// two, and what changes nothing is none.
    pub changes: u64,
    /// Bytes in the log.
    pub bytes: u64,
    /// They were here before: a batch sent again by a numbered writer.
    pub duplicate: bool,
    /// From the call that sent them to the moment when they were known to be durable.
    pub latency: Duration,
}

struct Sent {
    pending: Pending,
    partition: Arc<str>,
    bucket: u32,
    rows: u64,
    changes: u64,
    bytes: u64,
    /// Bytes of memory, more than are used.
    held_bytes: u64,
    at: Duration,
}

/// Rows of a piece that become one batch of the log.
pub(super) struct Cut {
    /// Which piece.
    piece: usize,
    partition_id: u32,
    /// The first of them in the piece.
    from: usize,
    rows: usize,
    /// The most bytes that the batch has.
    bytes_bound: usize,
    /// What each of them says; `None` when they are appended.
    kinds: Option<Vec<i8>>,
}

/// Appends rows to a table. Made by [`Table::writer`].
///
/// An error that has a `row` is about that row of the batch, counted from 0: nothing of the batch was sent, and without the row it can be tried again.
/// One that has `rows_failed` has no `row`: some of the rows may be durable.
pub struct Writer {
    pub(super) table: Table,
    /// Where its rows pass on their way to the log.
    pub(super) gate: Arc<Gate>,
    options: WriterOptions,
    /// The catalog that the rest was made from.
    catalog: Arc<Catalog>,
    pub(super) spec: Arc<TableSpec>,
    encoders: Encoders,
    /// What checks changes before they are in the log, and may make others of them; of a table with a primary key.
    pub(super) keyed: Option<Arc<Keyed>>,
    router: Router,
    /// The last schema of rows that fit the table as they are.
    fitting: Option<SchemaRef>,
    partitions: HashMap<Arc<str>, u32>,
    buckets: HashMap<(u32, u32), Arc<Bucket>>,
    sent: VecDeque<Sent>,
    sent_bytes: u64,
    pub(super) acked: Vec<Ack>,
    failed: Option<Failed>,
}

/// Rows that nobody was told of yet.
struct Failed {
    /// The first reason: later ones often follow from it.
    error: Error,
    rows: u64,
}

impl Writer {
    pub(super) fn new(table: Table, options: WriterOptions) -> Result<Self> {
        if !table.store.is_writable() {
            return Err(Error::invalid("the store is open read-only").hint("open it with `Store::open` to write"));
        }
        let catalog = table.store.catalog()?;
        let spec = table.store.entry(table.id, &table.name)?.spec.clone();
        spec.check_writable()?;
        let encoders = Encoders::new(&spec)?;
        let keyed = keyed(&spec)?;
        let router = Router::new(&spec, table.store.turns(table.id)?)?;
        let gate = table.store.gate(table.id)?;
        Ok(Writer {
            table,
            gate,
            options,
            catalog,
            spec: Arc::new(spec),
            encoders,
            keyed,
            router,
            fitting: None,
            partitions: HashMap::new(),
            buckets: HashMap::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            acked: Vec::new(),
            failed: None,
        })
    }

    /// Appends rows and returns when they are durable, with one answer for each batch of the log that they became. Waits for rows sent
    /// earlier first; their answers stay for [`Writer::acks`] and [`Writer::flush`].
    ///
    /// Errors: Invalid when the rows do not fit the table or the writer has an identity; those of rows sent earlier (in both, nothing of these
    /// rows was appended); those of the device, with how many rows failed: others of these rows may be durable, and their answers stay as well.
    /// Nothing is under way after an error, so none is told twice.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<Vec<Ack>> {
        self.refuse_without_number()?;
        self.refuse_without_change()?;
        // Told before anything new is sent: who then appends this batch again does not write it twice.
        self.drain();
        self.tell_failure()?;
        let answered = self.acked.len();
        let gate = self.gate.clone();
        let entered = gate.enter();
        let (pieces, cuts) = self.pieces(batch, None)?;
        // Several buckets are written side by side; one alone is written by this thread.
        self.put(&pieces, &cuts, pieces.len() == 1);
        drop(entered);
        self.drain();
        self.tell_failure()?;
        Ok(self.acked.split_off(answered))
    }

    /// Sends rows, once there is room: at once, or when earlier ones became durable. Answers come by [`Writer::acks`] and [`Writer::flush`].
    ///
    /// Errors: Invalid when the rows do not fit the table or the writer has an identity (nothing was sent); those of rows sent earlier that
    /// had to make room (nothing was sent); those of a log that takes no rows, with how many rows failed: the others are under way.
    pub fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        self.refuse_without_number()?;
        self.refuse_without_change()?;
        self.make_room()?;
        let gate = self.gate.clone();
        let _entered = gate.enter();
        let (pieces, cuts) = self.pieces(batch, None)?;
        self.put(&pieces, &cuts, false);
        self.tell_failure()
    }

    /// Waits until what is under way is within the writer's budget.
    pub(super) fn make_room(&mut self) -> Result<()> {
        let budget = self.table.store.options.writer_bytes_max as u64;
        while self.sent_bytes > budget {
            self.wait_for_oldest();
        }
        self.tell_failure()
    }

    /// Answers that have come since the last call, in the order sent. Does not wait.
    ///
    /// Errors: as [`Writer::flush`], of what has come.
    pub fn acks(&mut self) -> Result<Vec<Ack>> {
        self.take_answered();
        self.tell_failure()?;
        Ok(std::mem::take(&mut self.acked))
    }

    /// Waits for everything sent, and returns the answers that were not taken yet.
    ///
    /// Errors: the first of the device, with how many rows failed. Nothing is under way then; the answers of the others are there for the next call.
    pub fn flush(&mut self) -> Result<Vec<Ack>> {
        self.drain();
        self.tell_failure()?;
        Ok(std::mem::take(&mut self.acked))
    }

    /// Appended to a table with a primary key, rows of one key would stand side by side.
    fn refuse_without_change(&self) -> Result<()> {
        match self.spec.primary_key.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid("a table with a primary key takes upserts and deletes, not appends")
                .at("table", &self.table.name)
                .hint("call `upsert`, `delete` or `apply`; on the command line `aquifer upsert`")),
        }
    }

    pub(super) fn refuse_without_number(&self) -> Result<()> {
        if self.options.id.is_none() {
            return Ok(());
        }
        if !self.spec.primary_key.is_empty() {
            let keyed = Error::invalid("a table with a primary key takes no numbered batches").at("table", &self.table.name);
            return Err(keyed.hint("make a writer without an identity"));
        }
        let unnumbered = Error::invalid("a writer with an identity appends numbered batches only");
        Err(unnumbered.hint("call `append_numbered` or `send_numbered`, or make a writer without an identity for these rows"))
    }

    /// Bytes of memory that hold what was sent and is not yet acknowledged.
    pub fn unacknowledged_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The rows by where they go, and the batches of the log that they become. Sends nothing: whatever is wrong with a row is found here, before
    /// any other of its batch is on its way.
    pub(super) fn pieces(&mut self, batch: &RecordBatch, kinds: Option<&[i8]>) -> Result<(Vec<Piece>, Vec<Cut>)> {
        if batch.num_rows() == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        self.refresh()?;
        let rows = self.fit(batch)?;
        if let Some(keyed) = &self.keyed {
            let located = |error: Error| error.at("table", &self.table.name);
            keyed.checks().check_rows(&rows).map_err(located)?;
            // In the log, a key that is too long would keep the bucket from all rows behind it.
            keyed.reader.keys().check(&rows).map_err(located)?;
        }
        let pieces = self.router.route(&rows)?;
        let mut cuts = Vec::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            let kinds = kinds.map(|kinds| piece.pick(kinds));
            let mut from = 0;
            while from < piece.rows.num_rows() {
                let (rows, bytes_bound) = self.rows_that_fit(&piece.rows, from, kinds.as_deref()).map_err(|error| piece.located(error))?;
                let kinds = kinds.as_ref().map(|kinds| kinds[from..from + rows].to_vec());
                cuts.push(Cut { piece: index, from, rows, bytes_bound, partition_id: ONLY_PARTITION, kinds });
                from += rows;
            }
        }
        for cut in &mut cuts {
            cut.partition_id = self.partition_id(&pieces[cut.piece])?;
        }
        Ok((pieces, cuts))
    }

    /// Sends the pieces up to the first that fails.
    pub(super) fn put(&mut self, pieces: &[Piece], cuts: &[Cut], inline: bool) {
        let mut left: u64 = pieces.iter().map(|piece| piece.rows.num_rows() as u64).sum();
        for cut in cuts {
            if let Err(error) = self.put_cut(&pieces[cut.piece], cut, inline) {
                // A write that failed says more than the log that takes nothing since.
                self.take_answered();
                return self.note_failure(error, left);
            }
            left -= cut.rows as u64;
        }
    }

    /// The table may have been altered since the last batch.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let catalog = self.table.store.catalog()?;
        if Arc::ptr_eq(&catalog, &self.catalog) {
            return Ok(());
        }
        let entry = self.table.store.entry(self.table.id, &self.table.name)?;
        self.catalog = catalog;
        // One of the name of a partition that was dropped is another.
        self.partitions.retain(|_, id| entry.partitions.contains_key(id));
        self.buckets.retain(|(id, _), _| entry.partitions.contains_key(id));
        if entry.spec != *self.spec {
            entry.spec.check_writable()?;
            self.encoders = Encoders::new(&entry.spec)?;
            self.keyed = keyed(&entry.spec)?;
            self.fitting = None;
            self.router = Router::new(&entry.spec, self.table.store.turns(self.table.id)?)?;
            self.spec = Arc::new(entry.spec.clone());
        }
        Ok(())
    }

    /// The rows as the table has them. Rows of a schema that fitted before are taken as they are, but for what a schema does not say: whoever gives a column
    /// that may hold nulls fits only as long as it holds none, and a decimal may have more digits than its type.
    fn fit(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.fitting.as_ref().is_some_and(|fitting| Arc::ptr_eq(fitting, batch.schema_ref())) {
            let wanted = self.spec.schema().arrow().fields().iter();
            let mut columns = wanted.zip(batch.columns());
            let has_nulls = columns.any(|(wanted, column)| !wanted.is_nullable() && column.null_count() > 0);
            return match has_nulls || digits::may_have_more(batch) {
                // Which says where.
                true => conform(batch, self.spec.schema()),
                false => Ok(batch.clone()),
            };
        }
        let (given, wanted) = (batch.schema_ref(), self.spec.schema().arrow());
        let is_same = |(given, wanted): (&FieldRef, &FieldRef)| given.name() == wanted.name() && given.data_type() == wanted.data_type();
        if given.fields().len() == wanted.fields().len() && given.fields().iter().zip(wanted.fields()).all(is_same) {
            self.fitting = Some(given.clone());
            self.encoders.adopt(given);
        }
        conform(batch, self.spec.schema())
    }

    fn partition_id(&mut self, piece: &Piece) -> Result<u32> {
        if piece.partition.is_empty() {
            return Ok(ONLY_PARTITION);
        }
        if let Some(known) = self.partitions.get(&piece.partition) {
            return Ok(*known);
        }
        let id = self.table.store.partition(self.table.id, &self.table.name, &piece.partition)?;
        self.partitions.insert(piece.partition.clone(), id);
        Ok(id)
    }

    fn put_cut(&mut self, piece: &Piece, cut: &Cut, inline: bool) -> Result<()> {
        let bucket = self.bucket(cut.partition_id, piece.bucket)?;
        let rows = match cut.rows == piece.rows.num_rows() {
            true => piece.rows.clone(),
            false => piece.rows.slice(cut.from, cut.rows),
        };
        match (&self.keyed, &cut.kinds) {
            (Some(keyed), Some(kinds)) if keyed.images.is_some() => {
                let at = self.now();
                let kinds: Vec<u8> = kinds.iter().map(|kind| *kind as u8).collect();
                let changed = bucket.change(Step { keyed, rows: &rows, kinds: &kinds }, inline);
                let changed = changed.map_err(|error| error.at("table", &self.table.name))?;
                self.note(piece, cut.rows as u64, changed, at);
                Ok(())
            }
            _ => {
                if let Some(keyed) = &self.keyed {
                    bucket.keep_up(keyed).map_err(|error| error.at("table", &self.table.name))?;
                }
                let record = self.encode(&rows, cut.kinds.as_deref(), cut.bytes_bound, None)?;
                self.hand_over(&bucket, piece, record, inline)
            }
        }
    }

    fn hand_over(&mut self, bucket: &Arc<Bucket>, piece: &Piece, record: Record, inline: bool) -> Result<()> {
        let at = self.now();
        let (rows, bytes) = (u64::from(record.rows), record.buffer.len() as u64);
        let held_bytes = record.buffer.capacity() as u64;
        let pending = bucket.append(record, inline).map_err(|error| error.at("table", &self.table.name))?;
        self.note(piece, rows, Changed { pending, changes: rows, bytes, held_bytes }, at);
        Ok(())
    }

    fn now(&self) -> Duration {
        self.table.store.resources.driver.clock().monotonic()
    }

    fn note(&mut self, piece: &Piece, rows: u64, changed: Changed, at: Duration) {
        let Changed { pending, changes, bytes, held_bytes } = changed;
        self.sent_bytes += held_bytes;
        let (partition, bucket) = (piece.partition.clone(), piece.bucket);
        self.sent.push_back(Sent { pending, partition, bucket, rows, changes, bytes, held_bytes, at });
    }

    fn bucket(&mut self, partition_id: u32, bucket: u32) -> Result<Arc<Bucket>> {
        if let Some(known) = self.buckets.get(&(partition_id, bucket)) {
            return Ok(known.clone());
        }
        let entry = self.table.store.entry(self.table.id, &self.table.name)?;
        let open = self.table.store.bucket(&entry, partition_id, bucket)?;
        if self.buckets.len() >= self.table.store.options.buckets_open_max {
            self.buckets.clear();
        }
        self.buckets.insert((partition_id, bucket), open.clone());
        Ok(open)
    }

    /// How many of the rows behind `from` are written together, and the most bytes that a batch of them has.
    ///
    /// Errors: Exhausted when one row alone is too large, or an update.
    fn rows_that_fit(&self, rows: &RecordBatch, from: usize, kinds: Option<&[i8]>) -> Result<(usize, usize)> {
        let has_images = self.keyed.as_ref().is_some_and(|keyed| keyed.images.is_some());
        let rows_max = if has_images { STEP_ROWS_MAX } else { usize::MAX };
        let located = |error: Error| error.at("row", from).at("table", &self.table.name);
        self.encoders.rows_that_fit(rows, from, rows_max, kinds).map_err(located)
    }

    fn encode(&self, rows: &RecordBatch, kinds: Option<&[i8]>, bytes_bound: usize, producer: Option<Producer>) -> Result<Record> {
        self.encoders.record(&self.table.store.resources.pool, rows, kinds, bytes_bound, producer)
    }

    pub(super) fn drain(&mut self) {
        while !self.sent.is_empty() {
            self.wait_for_oldest();
        }
    }

    fn wait_for_oldest(&mut self) {
        if let Some(sent) = self.sent.pop_front() {
            let result = sent.pending.wait(&self.table.store.resources);
            self.answer(sent, result);
        }
    }

    /// Takes the results that have come, up to the first that has not.
    fn take_answered(&mut self) {
        while let Some(result) = self.sent.front().and_then(|sent| sent.pending.poll())
            && let Some(sent) = self.sent.pop_front()
        {
            self.answer(sent, result);
        }
    }

    fn answer(&mut self, sent: Sent, result: Result<()>) {
        self.sent_bytes -= sent.held_bytes;
        if let Err(error) = result {
            let error = error.at("table", &self.table.name).at("bucket", sent.bucket);
            return self.note_failure(error, sent.rows);
        }
        let known_at = sent.pending.known_at().unwrap_or_else(|| self.now());
        self.acked.push(Ack {
            partition: sent.partition,
            bucket: sent.bucket,
            first_offset: sent.pending.first_offset,
            rows: sent.rows,
            changes: sent.changes,
            bytes: sent.bytes,
            duplicate: sent.pending.duplicate,
            latency: known_at.saturating_sub(sent.at),
        });
    }

    fn note_failure(&mut self, error: Error, rows: u64) {
        // A row of what a bucket made of the rows, not one of the batch.
        let error = error.without("row");
        let failed = self.failed.get_or_insert(Failed { error, rows: 0 });
        failed.rows += rows;
    }

    /// Says what failed since the last time, once.
    pub(super) fn tell_failure(&mut self) -> Result<()> {
        match self.failed.take() {
            Some(Failed { error, rows }) => Err(error.at("rows_failed", rows)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
