//! Rows from parquet and arrow, batch by batch.
//!
//! Invariant: at most one batch (parquet: one page of each column beside it) is in memory; big batches are handed on in slices.
//! Knows nothing of the store.

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamDecoder};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::chunks::{Chunk, Chunks};
use super::{Event, IDLE, PATIENCE};

pub(super) enum Columnar {
    Parquet(ParquetRecordBatchReader),
    ArrowFile(FileReader<BufReader<File>>),
    ArrowStream(Box<Stream>),
}

impl Columnar {
    /// Opens parquet; also how many rows it holds.
    pub(super) fn parquet(file: File, batch_rows: usize) -> Result<(Self, u64)> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken("parquet", &error))?;
        let rows = builder.metadata().file_metadata().num_rows().try_into().unwrap_or(0);
        let reader = builder.with_batch_size(batch_rows).build().map_err(|error| broken("parquet", &error))?;
        Ok((Columnar::Parquet(reader), rows))
    }

    pub(super) fn arrow_file(file: File) -> Result<Self> {
        let reader = FileReader::try_new_buffered(file, None).map_err(|error| broken("arrow", &error))?;
        Ok(Columnar::ArrowFile(reader))
    }

    pub(super) fn arrow_stream(chunks: Chunks) -> Self {
        Columnar::ArrowStream(Box::new(Stream { chunks, decoder: StreamDecoder::new(), rest: Buffer::from(&[]), patience: IDLE }))
    }

    pub(super) fn next(&mut self) -> Result<Event> {
        match self {
            Columnar::Parquet(reader) => event(reader.next(), "parquet"),
            Columnar::ArrowFile(reader) => event(reader.next(), "arrow"),
            Columnar::ArrowStream(stream) => stream.next(),
        }
    }
}

fn event(next: Option<Result<RecordBatch, ArrowError>>, format: &str) -> Result<Event> {
    match next {
        Some(Ok(batch)) => Ok(Event::Rows(batch)),
        Some(Err(error)) => Err(broken(format, &error)),
        None => Ok(Event::End),
    }
}

/// The input is not what its format promises.
pub(super) fn broken(format: &str, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("the input is not whole {format}: {error}").replace('\n', " "))
        .hint("write the file anew, or name its format with --format")
}

/// An arrow stream, decoded as its bytes come.
pub(super) struct Stream {
    chunks: Chunks,
    decoder: StreamDecoder,
    rest: Buffer,
    patience: Duration,
}

impl Stream {
    fn next(&mut self) -> Result<Event> {
        loop {
            let failed = |error: ArrowError| broken("arrow", &error);
            while !self.rest.is_empty() {
                if let Some(batch) = self.decoder.decode(&mut self.rest).map_err(failed)? {
                    return Ok(Event::Rows(batch));
                }
            }
            match self.chunks.next(self.patience)? {
                Chunk::Bytes(bytes) => {
                    self.rest = Buffer::from_vec(bytes);
                    self.patience = IDLE;
                }
                Chunk::Idle => {
                    self.patience = PATIENCE;
                    return Ok(Event::Idle);
                }
                Chunk::End => {
                    self.decoder.finish().map_err(failed)?;
                    return Ok(Event::End);
                }
            }
        }
    }

    /// The schema, which stands before the first batch.
    pub(super) fn schema(mut self) -> Result<SchemaRef> {
        loop {
            if let Some(schema) = self.decoder.schema() {
                return Ok(schema);
            }
            if let Event::End = self.next()? {
                return Err(broken("arrow", &"it has no schema"));
            }
        }
    }
}
