//! Rows from files and pipes as batches: parquet, arrow, csv, ndjson.
//!
//! Invariant: bounded memory whatever the size of the input; values come in exactly or are refused with the place they stand at.
//! Text is read as the schema of the table says, parquet and arrow as they are: the writer makes them fit. Knows nothing of the store.

mod chunks;
mod column;
mod columnar;
mod columns;
mod csv_record;
mod guard;
mod infer;
mod json_text;
mod meta;
mod placed;
mod record_end;
mod row_kind;
mod rows;
mod scalar;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::{Error, Result};
use clap::ValueEnum;

use super::arguments::OnError;
use chunks::Chunks;
use columnar::Columnar;
pub(super) use columns::{Columns, key_parts, parse_keys};
pub(super) use infer::infer;
pub(super) use meta::way_out;
use placed::Source;
pub(super) use placed::{Placed, bad_row};
pub(super) use row_kind::{RowKind, row_kind, row_kinds};
use text::Text;

/// Rows of a batch unless the user says otherwise.
pub(super) const BATCH_ROWS: u32 = 10_000;

/// Rows of a batch at most.
pub(super) const BATCH_ROWS_MAX: u32 = 1_000_000;

/// Bytes of text behind a batch at most; the batch is handed on before its rows are counted full.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A pipe that brings nothing for so long is idle: its rows are handed on.
const IDLE: Duration = Duration::from_millis(1);

/// A row from a pipe waits for others so long at most.
const LINGER: Duration = Duration::from_millis(10);

/// How long one call waits for a pipe that is known to be idle.
const PATIENCE: Duration = Duration::from_millis(100);

/// How rows are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Parquet
    Parquet,
    /// Arrow IPC, file or stream
    Arrow,
    /// Comma-separated, with a header row
    Csv,
    /// One JSON object a line
    #[value(aliases = ["json", "jsonl"])]
    Ndjson,
}

/// What the input has next.
#[derive(Debug)]
pub(crate) enum Event<R = Placed> {
    /// Rows; those of text have the columns that were asked for.
    Rows(R),
    /// A pipe has nothing at the moment: a good time to finish what was begun.
    Idle,
    End,
}

enum Reader {
    Text(Box<Text>),
    Columnar(Box<Columnar>),
}

pub(crate) struct Input {
    reader: Reader,
    path: PathBuf,
    /// Of formats without lines.
    source: Arc<Source>,
    /// Rows that came, of formats without lines.
    rows_read: u64,
    batch_rows: usize,
    /// What remains of a batch bigger than `batch_rows`.
    rest: Option<Placed>,
    rows_total: Option<u64>,
    /// Nothing told the format, and no row has come yet.
    is_assumed: bool,
}

impl Input {
    /// Opens `path` (`-` is standard input) for rows with these columns.
    pub(crate) fn open(
        path: &Path,
        format: Option<Format>,
        columns: impl Into<Columns>,
        batch_rows: u32,
        on_error: OnError,
    ) -> Result<Self> {
        let batch_rows = batch_rows as usize;
        let mut chunks = Chunks::open(path)?;
        let (format, is_assumed) = match format {
            Some(format) => (format, false),
            None => guess(path, &mut chunks)?,
        };
        let at_file = |error: Error| error.at("file", shown(path));
        let mut rows_total = None;
        let owned = path.to_path_buf();
        let reader = match format {
            Format::Csv => Reader::Text(Box::new(Text::csv(chunks, owned, &columns.into(), batch_rows, on_error)?)),
            Format::Ndjson => Reader::Text(Box::new(Text::ndjson(chunks, owned, &columns.into(), batch_rows, on_error)?)),
            Format::Arrow if chunks.peek(ARROW_FILE.len())?.starts_with(ARROW_FILE) => {
                Reader::Columnar(Box::new(Columnar::arrow_file(chunks.into_file()?).map_err(at_file)?))
            }
            Format::Arrow => Reader::Columnar(Box::new(Columnar::arrow_stream(chunks))),
            Format::Parquet => {
                let (reader, rows) = Columnar::parquet(chunks.into_file()?, batch_rows).map_err(at_file)?;
                rows_total = Some(rows);
                Reader::Columnar(Box::new(reader))
            }
        };
        let source = Source::of_rows(path);
        Ok(Input { reader, path: path.to_path_buf(), source, rows_read: 0, batch_rows, rest: None, rows_total, is_assumed })
    }

    /// What comes next; waits for a pipe 100 ms at most.
    pub(crate) fn next(&mut self) -> Result<Event> {
        if let Some(batch) = self.rest.take() {
            return Ok(Event::Rows(self.slice(batch)));
        }
        let event = match &mut self.reader {
            Reader::Text(text) if self.is_assumed => text.next().map_err(assumed)?,
            Reader::Text(text) => text.next()?,
            Reader::Columnar(columnar) => match columnar.next().map_err(|error| error.at("file", shown(&self.path)))? {
                Event::Rows(batch) => {
                    let before = self.rows_read;
                    self.rows_read += batch.num_rows() as u64;
                    Event::Rows(Placed::behind(batch, before, &self.source))
                }
                Event::Idle => Event::Idle,
                Event::End => Event::End,
            },
        };
        Ok(match event {
            Event::Rows(batch) => {
                self.is_assumed = false;
                Event::Rows(self.slice(batch))
            }
            other => other,
        })
    }

    fn slice(&mut self, batch: Placed) -> Placed {
        let count = batch.len().min(self.batch_rows);
        if count < batch.len() {
            self.rest = Some(batch.slice(count..batch.len()));
        }
        batch.slice(0..count)
    }

    /// Lines that were left out.
    pub(crate) fn skipped(&self) -> u64 {
        match &self.reader {
            Reader::Text(text) => text.skipped(),
            Reader::Columnar(_) => 0,
        }
    }

    /// Rows of the whole input, where its head says so.
    pub(crate) fn rows_total(&self) -> Option<u64> {
        self.rows_total
    }
}

const GZIP: &[u8] = b"\x1f\x8b";
const PARQUET: &[u8] = b"PAR1";
const ARROW_FILE: &[u8] = b"ARROW1";
/// A stream of arrow begins with a message: this mark, then its length.
const ARROW_STREAM: &[u8] = b"\xff\xff\xff\xff";

/// The format by the first bytes where these are telling, else by the name, else by what text looks like; and whether nothing at all told it.
fn guess(path: &Path, chunks: &mut Chunks) -> Result<(Format, bool)> {
    let start = chunks.peek(ARROW_FILE.len())?;
    for (mark, format) in [(PARQUET, Format::Parquet), (ARROW_FILE, Format::Arrow), (ARROW_STREAM, Format::Arrow)] {
        if start.starts_with(mark) {
            return Ok((format, false));
        }
    }
    let looks_like_json = start.trim_ascii_start().starts_with(b"{");
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    Ok(match extension.as_deref() {
        Some("parquet") => (Format::Parquet, false),
        Some("arrow" | "arrows" | "feather" | "ipc") => (Format::Arrow, false),
        Some("csv") => (Format::Csv, false),
        Some("ndjson" | "jsonl" | "json") => (Format::Ndjson, false),
        _ if looks_like_json => (Format::Ndjson, false),
        _ => (Format::Csv, true),
    })
}

/// How a user says what the program cannot tell.
const NAME_FORMAT: &str = "--format parquet, arrow, csv or ndjson";

/// An error of an input that was taken for csv for want of anything better.
fn assumed(error: Error) -> Error {
    let advice = error.advice().filter(|advice| !advice.contains("--format")).map(|advice| format!("{advice}; ")).unwrap_or_default();
    error.hint(format!("{advice}it was taken for csv, for neither its name nor its first bytes tell: name its format with {NAME_FORMAT}"))
}

/// The name of an input as an error says it.
fn shown(path: &Path) -> std::path::Display<'_> {
    if path.as_os_str() == "-" { Path::new("standard input") } else { path }.display()
}

/// Refuses what is known to be no text by its first bytes.
fn refuse_binary(start: &[u8]) -> Result<()> {
    let looks = |what: &str| Error::invalid(format!("the input looks {what}, not like text"));
    match start {
        _ if start.starts_with(GZIP) => Err(looks("gzipped").hint("unpack it first, as with gunzip -c FILE, and give it as -")),
        _ if start.starts_with(PARQUET) => Err(looks("like parquet").hint("leave out --format, or say --format parquet")),
        _ if start.starts_with(ARROW_FILE) => Err(looks("like arrow").hint("leave out --format, or say --format arrow")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
