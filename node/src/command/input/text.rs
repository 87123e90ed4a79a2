//! Rows from csv or ndjson: lines are found, numbered and handed to [`Rows`]; bad ones stop the reader or are left out.
//!
//! Invariant: holds one record of at most [`RECORD_BYTES_MAX`], one piece of the stream and one batch. From a pipe, a row waits
//! at most [`LINGER`] for others to fill its batch. Knows nothing of the store.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::chunks::{Chunk, Chunks};
use super::column::Fault;
use super::csv_record::{Record, Taken};
use super::rows::Rows;
use super::{BATCH_BYTES_MAX, Event, IDLE, LINGER, PATIENCE};
use crate::command::arguments::OnError;

/// Bytes of one csv record or JSON line at most.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes of a bad line that are shown.
const SHOWN_BYTES_MAX: usize = 200;

enum Syntax {
    /// With the column of each cell, once the header was read.
    Csv(Option<Vec<usize>>, Record),
    Ndjson,
}

pub(super) struct Text {
    chunks: Chunks,
    path: PathBuf,
    syntax: Syntax,
    rows: Rows,
    batch_rows: usize,
    on_error: OnError,
    skipped: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    at: usize,
    /// Number of the line at `at`.
    line: u64,
    ended: bool,
    /// When the oldest row that waits was read.
    since: Option<Instant>,
    /// A pipe was found empty, and whoever asks next has to hear of it.
    idle: bool,
    patience: Duration,
}

impl Text {
    pub(super) fn csv(chunks: Chunks, path: PathBuf, schema: SchemaRef, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Self::new(Syntax::Csv(None, Record::default()), chunks, path, schema, batch_rows, on_error)
    }

    pub(super) fn ndjson(chunks: Chunks, path: PathBuf, schema: SchemaRef, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Self::new(Syntax::Ndjson, chunks, path, schema, batch_rows, on_error)
    }

    fn new(syntax: Syntax, chunks: Chunks, path: PathBuf, schema: SchemaRef, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Ok(Text {
            chunks,
            path,
            syntax,
            rows: Rows::new(schema)?,
            batch_rows,
            on_error,
            skipped: 0,
            buffer: Vec::new(),
            at: 0,
            line: 1,
            ended: false,
            since: None,
            idle: false,
            patience: IDLE,
        })
    }

    /// Lines that were left out.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(super) fn next(&mut self) -> Result<Event> {
        loop {
            if (self.rows.len() >= self.batch_rows || self.rows.bytes() >= BATCH_BYTES_MAX)
                && let Some(batch) = self.take()?
            {
                return Ok(Event::Rows(batch));
            }
            if self.record()? {
                continue;
            }
            if self.ended {
                return Ok(self.take()?.map_or(Event::End, Event::Rows));
            }
            if let Some(event) = self.more()? {
                return Ok(event);
            }
        }
    }

    fn take(&mut self) -> Result<Option<RecordBatch>> {
        self.since = None;
        self.rows.take()
    }

    /// Waits for bytes; an event when none come in time or a row has waited long enough.
    fn more(&mut self) -> Result<Option<Event>> {
        if std::mem::take(&mut self.idle) {
            self.patience = PATIENCE;
            return Ok(Some(Event::Idle));
        }
        if self.since.is_some_and(|since| since.elapsed() >= LINGER)
            && let Some(batch) = self.take()?
        {
            return Ok(Some(Event::Rows(batch)));
        }
        let patience = if self.rows.len() > 0 { IDLE } else { self.patience };
        match self.chunks.next(patience)? {
            Chunk::Bytes(bytes) => {
                self.buffer.drain(..self.at);
                self.at = 0;
                self.buffer.extend_from_slice(&bytes);
                self.patience = IDLE;
            }
            Chunk::End => self.ended = true,
            Chunk::Idle => {
                self.idle = true;
                return Ok(self.take()?.map(Event::Rows));
            }
        }
        Ok(None)
    }

    /// Reads one record; `false` when more bytes are needed.
    fn record(&mut self) -> Result<bool> {
        let bytes = &self.buffer[self.at..];
        let taken = match &mut self.syntax {
            Syntax::Csv(places, record) => {
                let start = if self.line == 1 && places.is_none() && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
                match record.take(&bytes[start..], self.ended) {
                    Taken::Record(len) => Taken::Record(len + start),
                    // A table of one column writes its null as an empty line.
                    Taken::Blank(len) if places.as_ref().is_some_and(|places| places.len() == 1) => {
                        record.one_empty_cell();
                        Taken::Record(len)
                    }
                    other => other,
                }
            }
            Syntax::Ndjson => line(bytes, self.ended),
        };
        match taken {
            Taken::Incomplete if bytes.len() > RECORD_BYTES_MAX => {
                self.refuse(bytes.len(), Fault::from(format!("a record is longer than {RECORD_BYTES_MAX} bytes")))?;
                Ok(true)
            }
            Taken::Incomplete => Ok(false),
            Taken::Blank(len) => {
                self.pass(len);
                Ok(true)
            }
            Taken::Bad(len, what) => {
                self.refuse(len, Fault::from(what))?;
                Ok(true)
            }
            Taken::Record(len) => {
                self.row(len)?;
                Ok(true)
            }
        }
    }

    fn row(&mut self, len: usize) -> Result<()> {
        let bytes = &self.buffer[self.at..self.at + len];
        let outcome = match &mut self.syntax {
            Syntax::Ndjson => self.rows.json(bytes),
            Syntax::Csv(Some(places), record) => self.rows.csv(record, places),
            Syntax::Csv(header, record) => {
                let places = self.rows.header(record).map_err(|error| error.at("file", self.path.display()))?;
                *header = Some(places);
                self.pass(len);
                return Ok(());
            }
        };
        match outcome {
            Ok(()) => {
                self.since.get_or_insert_with(Instant::now);
                self.pass(len);
                Ok(())
            }
            Err(fault) => self.refuse(len, fault),
        }
    }

    fn pass(&mut self, len: usize) {
        let done = &self.buffer[self.at..self.at + len];
        self.line += done.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at += len;
    }

    /// Fails, or reports the record of `len` bytes and goes on behind it.
    fn refuse(&mut self, len: usize, fault: Fault) -> Result<()> {
        let column = fault.path.join(".").replace(".[]", "[]");
        if self.on_error == OnError::Fail || self.header_is_open() {
            let error = Error::invalid(fault.what).at("file", self.path.display()).at("line", self.line);
            let error = if column.is_empty() { error } else { error.at("column", column) };
            return Err(error.hint("mend the line, or leave such lines out with --on-error skip"));
        }
        let shown = &self.buffer[self.at..self.at + len.min(SHOWN_BYTES_MAX)];
        let shown = String::from_utf8_lossy(shown).trim_end().escape_debug().to_string();
        let place = if column.is_empty() { String::new() } else { format!(", column {column}") };
        eprintln!("aquifer: left out line {}{place}: {}: {shown}", self.line, fault.what);
        self.skipped += 1;
        self.pass(len);
        Ok(())
    }

    fn header_is_open(&self) -> bool {
        matches!(self.syntax, Syntax::Csv(None, _))
    }
}

/// The line at the start of `bytes`; one of blanks only counts for nothing.
fn line(bytes: &[u8], last: bool) -> Taken {
    let len = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => end + 1,
        None if last && !bytes.is_empty() => bytes.len(),
        None => return Taken::Incomplete,
    };
    match bytes[..len].trim_ascii().is_empty() {
        true => Taken::Blank(len),
        false => Taken::Record(len),
    }
}
