//! Rows to records of a log: cut to what a batch may hold, encoded once, in a pooled buffer laid out as a frame.
//!
//! Invariants: a record is never larger than the table allows; the two rows of an update are in one. This module knows nothing of where records go.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::format::{BatchMeta, Compression, Encoder, Layout, statistics};
use crate::io::{BLOCK_BYTES, Pool};
use crate::log::producers::Producer;
use crate::log::writer::{HEAD_ROOM, Record};
use crate::table::options::STATISTICS_ROWS_MIN;
use crate::table::{self, ChangeType, TableSpec};

/// A batch that fills no more of its buffer than one part in so many is copied to a smaller one.
const SPARE_PARTS_MAX: usize = 4;

/// What the first of the two rows of an update says.
const BEFORE_UPDATE: i8 = ChangeType::UpdateBefore.to_byte() as i8;

/// The encoders of a table: statistics pay only in batches of many rows.
pub struct Encoders {
    plain: Encoder,
    with_statistics: Encoder,
    schema_version: i16,
    bytes_max: usize,
}

impl Encoders {
    /// Of rows with the newest schema of a table.
    ///
    /// # Errors
    /// Invalid for types that batches do not hold.
    pub fn new(spec: &TableSpec) -> Result<Self> {
        let compression = match spec.options.compression {
            table::Compression::None => Compression::None,
            table::Compression::Lz4 => Compression::Lz4,
            table::Compression::Zstd(level) => Compression::Zstd(level),
        };
        let schema = spec.schema().arrow();
        let mut columns = spec.statistics_columns(spec.schema());
        columns.retain(|&column| statistics::supports(schema.field(column).data_type()));
        columns.truncate(statistics::COLUMNS_MAX);
        Ok(Encoders {
            plain: Encoder::new(schema, Layout::Native, compression)?,
            with_statistics: Encoder::new(schema, Layout::Native, compression)?.with_statistics(&columns)?,
            schema_version: spec.schema().version(),
            bytes_max: spec.options.batch_bytes_max as usize,
        })
    }

    /// Spares the look at each column of batches with this very schema.
    pub fn adopt(&mut self, schema: &SchemaRef) {
        self.plain.adopt(schema);
        self.with_statistics.adopt(schema);
    }

    fn of(&self, rows: usize) -> &Encoder {
        if rows < STATISTICS_ROWS_MIN { &self.plain } else { &self.with_statistics }
    }

    fn meta<'a>(&self, kinds: Option<&'a [i8]>) -> BatchMeta<'a> {
        BatchMeta { change_types: kinds, ..BatchMeta::append(self.schema_version) }
    }

    /// How many of the rows behind `from` fit into one batch, at most `rows_max`, and the most bytes that it then has. The two rows of an update stay together:
    /// a batch is written whole or not at all.
    ///
    /// # Errors
    /// Exhausted when the row at `from` alone is too large, or the update that begins there; the caller says which one that is.
    pub fn rows_that_fit(&self, rows: &RecordBatch, from: usize, rows_max: usize, kinds: Option<&[i8]>) -> Result<(usize, usize)> {
        let (count, bytes) = self.rows_within(rows, from, rows_max, kinds)?;
        let is_cut = from + count < rows.num_rows();
        match kinds {
            Some(kinds) if is_cut && kinds[from + count - 1] == BEFORE_UPDATE => match count {
                1 => Err(self.update_too_large(rows, from, kinds)),
                _ => Ok((count - 1, bytes)),
            },
            _ => Ok((count, bytes)),
        }
    }

    fn update_too_large(&self, rows: &RecordBatch, from: usize, kinds: &[i8]) -> Error {
        let bytes = self.plain.size_bound(&rows.slice(from, 2), &self.meta(Some(&kinds[from..from + 2])));
        let large = format!("an update of {bytes} bytes, its `-U` and its `+U`, is larger than a batch may be ({} bytes)", self.bytes_max);
        Error::exhausted(large).hint("raise the table's option batch.bytes.max")
    }

    fn rows_within(&self, rows: &RecordBatch, from: usize, rows_max: usize, kinds: Option<&[i8]>) -> Result<(usize, usize)> {
        let limit = self.bytes_max;
        let mut count = rows_max.min(rows.num_rows() - from);
        loop {
            let meta = self.meta(kinds.map(|kinds| &kinds[from..from + count]));
            let bytes = match count == rows.num_rows() {
                true => self.of(count).size_bound(rows, &meta),
                false => self.of(count).size_bound(&rows.slice(from, count), &meta),
            };
            if bytes <= limit {
                return Ok((count, bytes));
            }
            if count == 1 {
                let large = Error::exhausted(format!("a row of {bytes} bytes is larger than a batch may be ({limit} bytes)"));
                return Err(large.hint("raise the table's option batch.bytes.max"));
            }
            count = (count as u128 * limit as u128 / bytes as u128).clamp(1, count as u128 - 1) as usize;
        }
    }

    /// Encodes rows of which [`Encoders::rows_that_fit`] said how many bytes they have at most.
    ///
    /// # Errors
    /// Invalid for rows that do not fit the table.
    pub fn record(
        &self,
        pool: &Pool,
        rows: &RecordBatch,
        kinds: Option<&[i8]>,
        bytes_bound: usize,
        producer: Option<Producer>,
    ) -> Result<Record> {
        let mut meta = self.meta(kinds);
        if let Some(Producer { id, sequence }) = producer {
            meta.writer_id = id;
            meta.sequence = sequence;
        }
        let mut buffer = pool.get((HEAD_ROOM + bytes_bound).next_multiple_of(BLOCK_BYTES));
        let batch_bytes = self.of(rows.num_rows()).encode(rows, &meta, &mut buffer[HEAD_ROOM..])?;
        buffer.set_len((HEAD_ROOM + batch_bytes).next_multiple_of(BLOCK_BYTES));
        // Compressed, it leaves most of its memory unused for as long as it is in flight or among the newest. A copy of so few bytes costs
        // about a hundredth of compressing them, and the large buffer serves the next batch at once. Uncompressed, it is hardly ever so short.
        if buffer.len() <= buffer.capacity() / SPARE_PARTS_MAX {
            buffer = pool.copy_of(&buffer);
        }
        Ok(Record { buffer, batch_bytes, rows: rows.num_rows() as u32, producer })
    }
}
