//! Rows to where the user wants them: a table for eyes, json lines, csv, arrow or parquet; to standard output or a file.
//!
//! Invariant: what goes out comes back in through `append` unchanged (the table excepted). A file that is not followed appears
//! whole or not at all. A closed pipe is no error. Knows nothing of the store.

mod destination;
mod parquet;
mod table;
mod text;
mod value;

use std::path::Path;
use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use clap::ValueEnum;

use super::outcome::Failure;
use destination::Destination;
pub(super) use destination::{Reader, write_line, write_text};
pub(super) use value::print_utc_ms;

/// How rows are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// One JSON object a line; also called ndjson, as an input is
    #[value(aliases = ["ndjson", "jsonl"])]
    Json,
    /// Comma-separated, with a header row
    Csv,
    /// Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

impl Format {
    /// The format that the name of a file promises.
    pub(crate) fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" | "jsonl" | "ndjson" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "arrow" | "arrows" => Some(Format::Arrow),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The word for it on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
        }
    }
}

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rows of a table, up to an end.
    Rows,
    /// Rows of a table as they come: each batch has to be visible at once.
    Following,
    /// A small result: for eyes, nothing is nothing rather than `null`, and nobody counts its rows.
    Report,
}

enum Sink {
    Table(table::Table),
    Text(text::Text),
    Arrow(Box<StreamWriter<Destination>>),
    Parquet(Box<parquet::Parquet>),
}

/// Takes rows of one schema.
pub(crate) struct Output {
    sink: Sink,
    schema: SchemaRef,
    rows: u64,
}

impl Output {
    /// Opens standard output, or `file`.
    pub(crate) fn open(format: Format, file: Option<&Path>, schema: SchemaRef, purpose: Purpose) -> Result<Self, Failure> {
        let schema = without_metadata(&schema);
        let destination = match file {
            None => Destination::standard_output(),
            Some(path) if purpose == Purpose::Following => Destination::file(path)?,
            Some(path) => Destination::whole_file(path)?,
        };
        if format == Format::Parquet && destination.is_terminal() {
            return Err(Error::invalid("parquet would fill the terminal with bytes").hint("name a file with --out").into());
        }
        let sink = match format {
            Format::Table => Sink::Table(table::Table::new(destination, schema.clone(), purpose)),
            Format::Json => Sink::Text(text::Text::json(destination)),
            Format::Csv => Sink::Text(text::Text::csv(destination, &schema)?),
            Format::Arrow => Sink::Arrow(Box::new(StreamWriter::try_new(destination, &schema).map_err(arrow_failed)?)),
            Format::Parquet => Sink::Parquet(Box::new(parquet::Parquet::new(destination, &schema)?)),
        };
        Ok(Output { sink, schema, rows: 0 })
    }

    /// Takes rows of another schema from here on. Only where each row says which columns it has: as json lines.
    pub(crate) fn adopt(&mut self, schema: &SchemaRef) {
        self.schema = without_metadata(schema);
    }

    /// Writes rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let rows_before = self.rows;
        self.rows += batch.num_rows() as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options).map_err(arrow_failed)?;
        match &mut self.sink {
            Sink::Table(table) => table.write(&batch),
            Sink::Text(text) => text.write(&batch),
            Sink::Arrow(writer) => writer.write(&batch).map_err(arrow_failed),
            Sink::Parquet(parquet) => parquet.write(&batch, rows_before),
        }
    }

    /// Makes visible what was written, as far as the format can.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.sink {
            Sink::Table(table) => table.flush(),
            Sink::Text(text) => text.flush(),
            Sink::Arrow(writer) => writer.flush().map_err(arrow_failed),
            Sink::Parquet(_) => Ok(()),
        }
    }

    /// Writes what stands behind the last row; returns how many rows there were.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        match self.sink {
            Sink::Table(table) => table.finish()?,
            Sink::Text(text) => text.finish()?,
            Sink::Arrow(writer) => writer.into_inner().map_err(arrow_failed)?.finish()?,
            Sink::Parquet(parquet) => parquet.finish()?,
        }
        Ok(self.rows)
    }
}

/// The columns without what the table notes on them (field ids): whoever put a file in gets the same schema out.
fn without_metadata(schema: &SchemaRef) -> SchemaRef {
    let plain = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), field.is_nullable());
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

fn arrow_failed(error: arrow::error::ArrowError) -> Failure {
    match error {
        arrow::error::ArrowError::IoError(_, error) => Failure::writing(error),
        other => Error::internal(format!("arrow is not written: {other}")).into(),
    }
}

#[cfg(test)]
mod tests;
