//! Batches that the application numbers, so that one sent again is not written again.
//!
//! Invariants: a numbered batch is one batch of one log, with its number; of one bucket no more are unanswered than its log remembers of a writer, so
//! every batch without an answer can be sent again. This module knows nothing of how logs remember.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{Ack, Writer};
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::log::producers::{IN_FLIGHT_MAX, Producer};
use crate::store::route::Piece;

/// A numbered batch that may be sent.
struct Numbered {
    bucket: Arc<Bucket>,
    piece: Piece,
    bytes_bound: usize,
    producer: Producer,
}

impl Writer {
    /// Appends rows under a number, for a writer with an identity, and returns when they are durable: sent again with the same number they
    /// are not written again, and the answer says where they are. Numbers of a bucket are 0, 1, 2, ...; the rows must all go to one bucket,
    /// which their values decide, and into one batch. The log remembers the last five of each bucket. Waits for rows sent earlier first; their
    /// answers stay for [`Writer::acks`] and [`Writer::flush`].
    ///
    /// Errors: Conflict when a number is left out; Exhausted when the rows are larger than a batch may be; Invalid when they go to several
    /// buckets or the writer has no identity; those of rows sent earlier. In all of these nothing was appended. Those of the device: send it again.
    pub fn append_numbered(&mut self, batch: &RecordBatch, sequence: i32) -> Result<Ack> {
        self.drain();
        self.tell_failure()?;
        let gate = self.gate.clone();
        let entered = gate.enter();
        let numbered = self.number(batch, sequence)?;
        self.put_numbered(&numbered, true)?;
        drop(entered);
        self.drain();
        self.tell_failure()?;
        self.acked.pop().ok_or_else(|| Error::internal("a numbered batch has no answer"))
    }

    /// Sends rows under a number as [`Writer::append_numbered`] does, and does not wait for them: answers come by [`Writer::acks`] and
    /// [`Writer::flush`], in the order sent. Up to five batches of a bucket may be unanswered; the next waits for the oldest of them. After an error
    /// or a crash, send what has no answer again, in order and with the same numbers.
    ///
    /// Errors: as [`Writer::append_numbered`], nothing was sent; those of rows sent earlier, of which others may be under way.
    pub fn send_numbered(&mut self, batch: &RecordBatch, sequence: i32) -> Result<()> {
        self.make_room()?;
        let gate = self.gate.clone();
        let _entered = gate.enter();
        let numbered = self.number(batch, sequence)?;
        while self.unanswered(&numbered.piece) >= IN_FLIGHT_MAX {
            self.wait_for_oldest();
        }
        // A batch behind one that failed is not sent.
        self.take_answered();
        self.tell_failure()?;
        self.put_numbered(&numbered, false)
    }

    /// Batches of the piece's bucket that have no answer.
    fn unanswered(&self, piece: &Piece) -> usize {
        self.sent.iter().filter(|sent| sent.bucket == piece.bucket && sent.partition == piece.partition).count()
    }

    /// The rows as the table has them, and where they go.
    fn number(&mut self, batch: &RecordBatch, sequence: i32) -> Result<Numbered> {
        let Some(id) = self.options.id else {
            return Err(Error::invalid("only a writer with an identity numbers its batches").hint("make it with `writer_with`"));
        };
        self.refuse_without_change()?;
        self.refresh()?;
        let rows = self.fit(batch)?;
        let piece = self.only_piece(&rows)?;
        let (count, bytes_bound) = self.rows_that_fit(&piece.rows, 0, None)?;
        if count < piece.rows.num_rows() {
            return Err(self.too_large_for_a_number());
        }
        let partition_id = self.partition_id(&piece)?;
        let bucket = self.bucket(partition_id, piece.bucket)?;
        Ok(Numbered { bucket, piece, bytes_bound, producer: Producer { id, sequence } })
    }

    fn put_numbered(&mut self, numbered: &Numbered, inline: bool) -> Result<()> {
        let Numbered { bucket, piece, bytes_bound, producer } = numbered;
        let record = self.encode(&piece.rows, None, *bytes_bound, Some(*producer))?;
        self.hand_over(bucket, piece, record, inline).map_err(|error| {
            // A write that failed says more than the log that takes nothing since.
            self.take_answered();
            self.tell_failure().err().unwrap_or(error)
        })
    }

    /// Where the rows of a numbered batch go.
    fn only_piece(&mut self, rows: &RecordBatch) -> Result<Piece> {
        // A bucket that the writer chooses may be another one when the batch is sent again.
        if self.spec.buckets > 1 && self.spec.hashed_columns().is_empty() {
            let chosen = Error::invalid("a numbered batch needs a table whose rows decide their bucket").at("table", &self.table.name);
            return Err(chosen.hint("give the table a bucket key, or one bucket"));
        }
        let mut pieces = if rows.num_rows() == 0 { Vec::new() } else { self.router.route(rows)? };
        match pieces.pop() {
            Some(only) if pieces.is_empty() => Ok(only),
            Some(_) => {
                let split = Error::invalid(format!("a numbered batch went to {} buckets", pieces.len() + 1));
                Err(split.hint("split it by bucket before it is numbered"))
            }
            None => Err(Error::invalid("a numbered batch has no rows").hint("give its number to the next batch that has some")),
        }
    }

    /// Cut, it would need several numbers.
    fn too_large_for_a_number(&self) -> Error {
        let limit = self.spec.options.batch_bytes_max;
        let large = Error::exhausted(format!("a numbered batch is larger than a batch may be ({limit} bytes), and is not cut"));
        large.at("table", &self.table.name).hint("split it before it is numbered, or raise the table's option batch.bytes.max")
    }
}
