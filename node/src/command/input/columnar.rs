//! Rows from parquet and arrow, batch by batch.
//!
//! Invariant: at most one batch (parquet: one page of each column beside it) is in memory; big batches are handed on in slices.
//! Knows nothing of the store.

use std::fmt::Display;
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
use parquet::errors::ParquetError;

use super::chunks::{Chunk, Chunks};
use super::guard::guarded;
use super::{Event, IDLE, PATIENCE};

/// How the decoder of parquet begins to say which codec it was built without.
const NOT_BUILT_IN: &str = "Disabled feature at compile time: ";

pub(super) enum Columnar {
    Parquet(ParquetRecordBatchReader),
    ArrowFile(FileReader<BufReader<File>>),
    ArrowStream(Box<Stream>),
}

impl Columnar {
    /// Opens parquet; also how many rows it holds.
    pub(super) fn parquet(file: File, batch_rows: usize) -> Result<(Self, u64)> {
        decoded("parquet", || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let rows = builder.metadata().file_metadata().num_rows().try_into().unwrap_or(0);
            Ok::<_, ParquetError>((Columnar::Parquet(builder.with_batch_size(batch_rows).build()?), rows))
        })
    }

    pub(super) fn arrow_file(file: File) -> Result<Self> {
        decoded("arrow", || FileReader::try_new_buffered(file, None).map(Columnar::ArrowFile))
    }

    pub(super) fn arrow_stream(chunks: Chunks) -> Self {
        Columnar::ArrowStream(Box::new(Stream { chunks, decoder: StreamDecoder::new(), rest: Buffer::from(&[]), patience: IDLE }))
    }

    pub(super) fn next(&mut self) -> Result<Event<RecordBatch>> {
        match self {
            Columnar::Parquet(reader) => event("parquet", || reader.next()),
            Columnar::ArrowFile(reader) => event("arrow", || reader.next()),
            Columnar::ArrowStream(stream) => stream.next(),
        }
    }
}

fn event(format: &str, next: impl FnOnce() -> Option<Result<RecordBatch, ArrowError>>) -> Result<Event<RecordBatch>> {
    Ok(decoded(format, || next().transpose())?.map_or(Event::End, Event::Rows))
}

/// What a decoder makes of the input, or that the input is broken.
pub(super) fn decoded<T, E: Display>(format: &str, decode: impl FnOnce() -> Result<T, E>) -> Result<T> {
    match guarded(decode) {
        Some(Ok(decoded)) => Ok(decoded),
        Some(Err(error)) => Err(broken(format, &error)),
        None => Err(broken(format, &"its parts contradict each other")),
    }
}

/// The input is not what its format promises.
pub(super) fn broken(format: &str, error: &dyn Display) -> Error {
    let said = error.to_string();
    if let Some((_, codec)) = said.split_once(NOT_BUILT_IN) {
        let unknown = Error::invalid(format!("the input is {format} compressed by {}, which is not supported", codec.trim()));
        return unknown.hint("write the file with zstd, snappy, lz4 or gzip, or without compression");
    }
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
    fn next(&mut self) -> Result<Event<RecordBatch>> {
        loop {
            while !self.rest.is_empty() {
                if let Some(batch) = decoded("arrow", || self.decoder.decode(&mut self.rest))? {
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
                    decoded("arrow", || self.decoder.finish())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_that_is_not_built_in_is_no_damage() {
        let error = broken("parquet", &ParquetError::General("Disabled feature at compile time: brotli".into()));
        assert!(error.message().ends_with("compressed by brotli, which is not supported"), "{error}");
    }
}
