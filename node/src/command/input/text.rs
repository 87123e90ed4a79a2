//! Rows from csv or ndjson: lines are found, numbered and handed to [`Rows`]; bad ones stop the reader or are left out.
//!
//! Invariant: holds one record of at most [`RECORD_BYTES_MAX`], one piece of the stream and one batch; a longer record is bad as a whole.
//! From a pipe, a row waits at most [`LINGER`] for others to fill its batch. Knows nothing of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_node::{Error, Result};

use super::chunks::{Chunk, Chunks};
use super::column::Fault;
use super::columns::Columns;
use super::csv_record::{Record, Taken};
use super::placed::{Placed, Source};
use super::record_end::RecordEnd;
use super::rows::Rows;
use super::{BATCH_BYTES_MAX, Event, IDLE, LINGER, PATIENCE, refuse_binary, shown};
use crate::command::arguments::OnError;
use crate::command::outcome::tell;
use crate::command::quote::printable;

/// Bytes of one csv record or JSON line at most.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes of a bad line that are shown.
const SHOWN_BYTES_MAX: usize = 200;

enum Syntax {
    /// With the column of each cell, once the header was read.
    Csv(Option<Vec<usize>>, Record),
    Ndjson,
}

/// A record whose end is awaited: bytes that were looked through once are not looked through again.
struct Partial {
    end: RecordEnd,
    /// Bytes looked through.
    looked: usize,
    /// It is too long: its bytes are dropped up to its end.
    is_refused: bool,
}

pub(super) struct Text {
    chunks: Chunks,
    path: PathBuf,
    source: Arc<Source>,
    syntax: Syntax,
    rows: Rows,
    /// On which line each of the rows begins.
    lines: Vec<u64>,
    batch_rows: usize,
    on_error: OnError,
    skipped: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    at: usize,
    /// Number of the line at `at`.
    line: u64,
    /// Of the record at `at`, once it was seen not to be there as a whole.
    partial: Option<Partial>,
    ended: bool,
    /// When the oldest row that waits was read.
    since: Option<Instant>,
    /// Why no more is read, while the rows before it are handed on.
    failure: Option<Error>,
    /// A pipe was found empty, and whoever asks next has to hear of it.
    idle: bool,
    patience: Duration,
}

impl Text {
    pub(super) fn csv(chunks: Chunks, path: PathBuf, columns: &Columns, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Self::new(Syntax::Csv(None, Record::default()), chunks, path, columns, batch_rows, on_error)
    }

    pub(super) fn ndjson(chunks: Chunks, path: PathBuf, columns: &Columns, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Self::new(Syntax::Ndjson, chunks, path, columns, batch_rows, on_error)
    }

    fn new(syntax: Syntax, chunks: Chunks, path: PathBuf, columns: &Columns, batch_rows: usize, on_error: OnError) -> Result<Self> {
        Ok(Text {
            chunks,
            source: Source::of_lines(&path),
            path,
            syntax,
            rows: Rows::new(columns)?,
            lines: Vec::new(),
            batch_rows,
            on_error,
            skipped: 0,
            buffer: Vec::new(),
            at: 0,
            line: 1,
            partial: None,
            ended: false,
            since: None,
            failure: None,
            idle: false,
            patience: IDLE,
        })
    }

    /// Lines that were left out.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What comes next; an error behind all rows before it.
    pub(super) fn next(&mut self) -> Result<Event> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.read() {
            Err(failure) => match self.take()? {
                None => Err(failure),
                Some(batch) => {
                    self.failure = Some(failure);
                    Ok(Event::Rows(batch))
                }
            },
            event => event,
        }
    }

    fn read(&mut self) -> Result<Event> {
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

    fn take(&mut self) -> Result<Option<Placed>> {
        self.since = None;
        let lines = std::mem::take(&mut self.lines);
        Ok(self.rows.take()?.map(|rows| Placed::on_lines(rows, lines, &self.source)))
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
                if self.line == 1 && self.rows.len() == 0 {
                    refuse_binary(&self.buffer).map_err(|error| error.at("file", shown(&self.path)))?;
                }
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
        if let Some(is_done) = self.partial()? {
            return Ok(is_done);
        }
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
            Taken::Incomplete => {
                let end = if matches!(self.syntax, Syntax::Csv(..)) { RecordEnd::Cell } else { RecordEnd::Line };
                self.partial = Some(Partial { end, looked: 0, is_refused: false });
                Ok(false)
            }
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

    /// Looks for the end of a record that was not there as a whole: [`Text::record`]'s answer, unless the record can be read now.
    fn partial(&mut self) -> Result<Option<bool>> {
        let Some(partial) = &mut self.partial else { return Ok(None) };
        let len = self.buffer.len() - self.at;
        let found = partial.end.find(&self.buffer[self.at + partial.looked..]).map(|end| partial.looked + end);
        if partial.is_refused {
            if found.is_some() {
                self.partial = None;
            }
            self.pass(found.unwrap_or(len));
            return Ok(Some(found.is_some()));
        }
        if found.is_some() || self.ended {
            self.partial = None;
            return Ok(None);
        }
        partial.looked = len;
        if len <= RECORD_BYTES_MAX {
            return Ok(Some(false));
        }
        (partial.looked, partial.is_refused) = (0, true);
        self.tell(len, Fault::from(format!("a record is longer than {RECORD_BYTES_MAX} bytes")))?;
        self.pass(len);
        Ok(Some(false))
    }

    fn row(&mut self, len: usize) -> Result<()> {
        let bytes = &self.buffer[self.at..self.at + len];
        let outcome = match &mut self.syntax {
            Syntax::Ndjson => self.rows.json(bytes),
            Syntax::Csv(Some(places), record) => self.rows.csv(record, places),
            Syntax::Csv(header, record) => {
                let places = self.rows.header(record).map_err(|error| error.at("file", shown(&self.path)))?;
                *header = Some(places);
                self.pass(len);
                return Ok(());
            }
        };
        match outcome {
            Ok(()) => {
                self.since.get_or_insert_with(Instant::now);
                self.lines.push(self.line);
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
        self.tell(len, fault)?;
        self.pass(len);
        Ok(())
    }

    /// Fails, or reports the record that begins with the next `len` bytes.
    fn tell(&mut self, len: usize, fault: Fault) -> Result<()> {
        let column = fault.path.join(".").replace(".[]", "[]");
        if self.on_error == OnError::Fail || self.header_is_open() {
            let error = Error::invalid(fault.what).at("file", shown(&self.path)).at("line", self.line);
            let error = if column.is_empty() { error } else { error.at("column", column) };
            return Err(error.hint("mend the line, or leave such lines out with --on-error skip"));
        }
        let start = &self.buffer[self.at..self.at + len.min(SHOWN_BYTES_MAX)];
        let start = printable(String::from_utf8_lossy(start).trim_end());
        let place = if column.is_empty() { String::new() } else { format!(", column {column}") };
        tell(format_args!("aquifer: left out line {} of {}{place}: {}: {start}", self.line, shown(&self.path), fault.what));
        self.skipped += 1;
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
