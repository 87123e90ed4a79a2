//! From Arrow to the bytes of a log batch: header, message and checksum in one call, each value copied once.
//!
//! Knows nothing of frames; it only wants `out` to start at a multiple of 64 of one, so that the body does too.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use crc_fast::Digest;

use super::BODY_ALIGNMENT;
use super::body::{Columns, Sizer, Writer, walk};
use super::bytes::{align_up, put};
use super::compression::{Compression, Compressor};
use super::log_batch::{self, BatchHeader, CHANGE_TYPE_MAX, HEADER_BYTES_V0, HEADER_BYTES_V1};
use super::shape::Shape;
use super::statistics;
use super::template::Template;
use crate::error::{Error, Result};

/// A batch is at most this long: what its length field can say.
pub const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// A batch that may become this long is copied past the caches, where it would not stay. Shorter ones are still in them when the device reads.
const STREAMED_BYTES_MIN: usize = 256 << 10;

/// A batch has at most so many rows: what its row count can say.
pub const ROWS_MAX: usize = i32::MAX as usize;

/// What the free choices of the format are set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The body is 64-aligned counted from the start of the batch; no validity is written where nothing is null.
    #[default]
    Native,
    /// Byte for byte what the Rust client of Fluss writes: validity always, metadata padded by itself.
    Fluss,
}

/// What a batch says besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct BatchMeta<'a> {
    /// The schema of the rows.
    pub schema_id: i16,
    /// The idempotent writer, or [`log_batch::NO_WRITER_ID`].
    pub writer_id: i64,
    /// The writer's number for this batch, or [`log_batch::NO_SEQUENCE`].
    pub sequence: i32,
    /// What happened, one entry a row; `None` when all rows are appends.
    pub change_types: Option<&'a [i8]>,
}

impl BatchMeta<'static> {
    /// Appends of rows of `schema_id`, without an idempotent writer.
    pub fn append(schema_id: i16) -> Self {
        BatchMeta { schema_id, writer_id: log_batch::NO_WRITER_ID, sequence: log_batch::NO_SEQUENCE, change_types: None }
    }
}

/// Encodes batches of one schema. Shared by threads.
pub struct Encoder {
    schema: SchemaRef,
    layout: Layout,
    template: Template,
    compressor: Compressor,
    /// The columns of which statistics are kept.
    statistics: Vec<usize>,
    has_marks: bool,
}

impl Encoder {
    /// An encoder for batches of `schema`.
    ///
    /// Errors with `Invalid` when the schema has a type that batches do not hold, or the compression no such level.
    pub fn new(schema: &SchemaRef, layout: Layout, compression: Compression) -> Result<Self> {
        let shape = Shape::of(schema)?;
        let template = Template::new(shape.nodes, shape.buffers, compression.codec())?;
        Ok(Encoder {
            schema: schema.clone(),
            layout,
            template,
            compressor: Compressor::new(compression)?,
            statistics: Vec::new(),
            has_marks: false,
        })
    }

    /// Keeps statistics of these columns in every batch. That makes batches of version 1.
    ///
    /// Errors with `Invalid` when there is no such column or no statistics of its type, see [`statistics::supports`].
    pub fn with_statistics(mut self, columns: &[usize]) -> Result<Self> {
        statistics::check(&self.schema, columns)?;
        self.statistics = columns.to_vec();
        Ok(self)
    }

    /// Takes change types below zero too: the marks of merged rows, which only run files have. Logs refuse them, written and read.
    pub fn with_marks(mut self) -> Self {
        self.has_marks = true;
        self
    }

    /// Takes `schema` for its own when it has the same columns, whatever else they say: batches made with that very object then need no
    /// look at each column. Returns whether it has.
    pub fn adopt(&mut self, schema: &SchemaRef) -> bool {
        let equal = |(own, other): (&Arc<Field>, &Arc<Field>)| {
            Arc::ptr_eq(own, other)
                || (own.is_nullable() == other.is_nullable() && own.name() == other.name() && own.data_type() == other.data_type())
        };
        let (own, other) = (self.schema.fields(), schema.fields());
        let has_same = Arc::ptr_eq(&self.schema, schema) || (own.len() == other.len() && own.iter().zip(other).all(equal));
        if has_same && !Arc::ptr_eq(&self.schema, schema) {
            self.schema = schema.clone();
        }
        has_same
    }

    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The most bytes that [`Encoder::encode`] writes for `batch`; exact without compression and statistics.
    pub fn size_bound(&self, batch: &RecordBatch, meta: &BatchMeta<'_>) -> usize {
        let types = meta.change_types.map_or(0, <[i8]>::len);
        if batch.num_rows() == 0 {
            return HEADER_BYTES_V0 + types;
        }
        let start = match self.statistics.len() {
            0 => HEADER_BYTES_V0 + types,
            columns => align_up(HEADER_BYTES_V1 + statistics::size_bound(columns), 8) + types,
        };
        let mut sizer = Sizer::new(self.compressor.compression());
        for column in batch.columns() {
            walk(column.as_ref(), self.layout == Layout::Fluss, &mut sizer);
        }
        // With statistics the message starts somewhere before this: the padding may be longer there.
        let slack = if self.statistics.is_empty() { 0 } else { BODY_ALIGNMENT };
        start + self.message_bytes(start) + slack + sizer.length
    }

    /// Writes `batch` at the start of `out` and returns the bytes written. Base offset and commit timestamp are zero; set
    /// them with [`log_batch::patch`]. A batch without rows becomes a header alone.
    ///
    /// Errors with `Invalid` when the batch does not fit the schema or the change types the batch, with `Exhausted` when
    /// `out` is shorter than [`Encoder::size_bound`] says or the batch longer than [`BATCH_BYTES_MAX`].
    pub fn encode(&self, batch: &RecordBatch, meta: &BatchMeta<'_>, out: &mut [u8]) -> Result<usize> {
        self.check(batch)?;
        check_change_types(batch.num_rows(), meta.change_types, self.has_marks)?;
        let mut header = self.header(batch.num_rows(), meta);
        let statistics = self.statistics(batch, &mut header);
        let streams = out.len() >= STREAMED_BYTES_MIN && self.compressor.compression() == Compression::None;
        let ones = self.layout == Layout::Fluss;
        let written = self.write(header, &statistics, meta, streams, out, |writer| {
            batch.columns().iter().for_each(|column| walk(column.as_ref(), ones, writer));
            Ok(())
        });
        let room = out.len();
        written?.ok_or_else(|| too_small(room))
    }

    /// Writes a batch of so many rows whose columns `fill` hands over one after the other, each in the form that its type has; else as
    /// [`Encoder::encode`]. `None` when it does not fit into `out`. For batches without statistics.
    ///
    /// Errors with `Invalid` for change types that do not fit, with what `fill` says, with `Exhausted` when the batch is longer than [`BATCH_BYTES_MAX`].
    pub fn encode_columns(
        &self,
        rows: usize,
        meta: &BatchMeta<'_>,
        out: &mut [u8],
        fill: impl FnOnce(&mut Columns<'_, '_>) -> Result<()>,
    ) -> Result<Option<usize>> {
        assert!(self.statistics.is_empty() && self.layout == Layout::Native && rows > 0, "statistics are made of whole batches");
        check_change_types(rows, meta.change_types, self.has_marks)?;
        self.write(self.header(rows, meta), &[], meta, false, out, |writer| fill(&mut Columns(writer)))
    }

    fn write(
        &self,
        mut header: BatchHeader,
        statistics: &[u8],
        meta: &BatchMeta<'_>,
        streams: bool,
        out: &mut [u8],
        fill: impl FnOnce(&mut Writer<'_>) -> Result<()>,
    ) -> Result<Option<usize>> {
        let start = header.message_start();
        let Some((head, message)) = out.split_at_mut_checked(start) else { return Ok(None) };
        head[header.statistics_range()].copy_from_slice(statistics);
        for (to, from) in head[header.change_types_range()].iter_mut().zip(meta.change_types.unwrap_or_default()) {
            *to = *from as u8;
        }
        let (message_bytes, body_bytes, body_digest) = match header.rows {
            0 => (0, 0, None),
            rows => match self.write_message(rows, start, message, streams, fill)? {
                Some(written) => written,
                None => return Ok(None),
            },
        };
        header.length = start + message_bytes + body_bytes;
        if header.length > BATCH_BYTES_MAX {
            return Err(Error::exhausted("the batch is too long").at("bytes", header.length).at("limit", BATCH_BYTES_MAX));
        }
        let bytes = &mut out[..header.length];
        header.write(bytes);
        let crc = match body_digest {
            Some(body) => log_batch::checksum_with(&bytes[..start + message_bytes], &body),
            None => log_batch::checksum(bytes),
        };
        put(bytes, log_batch::CRC_AT, crc.to_le_bytes());
        Ok(Some(header.length))
    }

    /// The header as far as it is known before the rows are written.
    fn header(&self, rows: usize, meta: &BatchMeta<'_>) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            length: 0,
            version: u8::from(rows > 0 && !self.statistics.is_empty()),
            commit_timestamp: 0,
            crc: 0,
            schema_id: meta.schema_id,
            append_only: meta.change_types.is_none(),
            last_offset_delta: rows.saturating_sub(1) as i32,
            writer_id: meta.writer_id,
            sequence: meta.sequence,
            rows,
            statistics_bytes: 0,
        }
    }

    fn statistics(&self, batch: &RecordBatch, header: &mut BatchHeader) -> Vec<u8> {
        let mut bytes = Vec::new();
        if header.version > 0 {
            statistics::write(batch, &self.statistics, &mut bytes);
            if self.layout == Layout::Native {
                // Readers know where statistics end; zeros behind them keep the message aligned.
                bytes.resize(align_up(HEADER_BYTES_V1 + bytes.len(), 8) - HEADER_BYTES_V1, 0);
            }
            header.statistics_bytes = bytes.len();
        }
        bytes
    }

    /// Bytes of the message before its body, when it starts `start` bytes behind the start of the batch.
    fn message_bytes(&self, start: usize) -> usize {
        match self.layout {
            Layout::Native => align_up(start + self.template.length(), BODY_ALIGNMENT) - start,
            Layout::Fluss => align_up(self.template.length(), BODY_ALIGNMENT),
        }
    }

    /// Bytes of the message before its body, and of the body; with the body's checksum when it is known already. `None` when there is not the room.
    fn write_message(
        &self,
        rows: usize,
        start: usize,
        out: &mut [u8],
        streams: bool,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<()>,
    ) -> Result<Option<(usize, usize, Option<Digest>)>> {
        let message_bytes = self.message_bytes(start);
        let Some((message, body)) = out.split_at_mut_checked(message_bytes) else { return Ok(None) };
        self.template.copy(message);
        // Buffers stand before nodes in the message, because it is built from its end.
        let (nodes_at, buffers_at) = (self.template.nodes_at(), self.template.buffers_at());
        assert!(nodes_at < buffers_at, "nodes at {nodes_at}, buffers at {buffers_at}");
        let (front, buffers) = message.split_at_mut(buffers_at);
        let mut writer = Writer::new(body, &mut front[nodes_at..], buffers, &self.compressor);
        if streams {
            writer = writer.streaming();
        }
        fill(&mut writer)?;
        let Some((body_bytes, digest)) = writer.finish(self.template.nodes(), self.template.buffers())? else { return Ok(None) };
        self.template.patch(message, rows, body_bytes);
        Ok(Some((message_bytes, body_bytes, digest)))
    }

    /// Batches made with the encoder's own schema object need no look at each column.
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > ROWS_MAX {
            return Err(Error::exhausted("too many rows for a batch").at("rows", batch.num_rows()).at("limit", ROWS_MAX));
        }
        if Arc::ptr_eq(batch.schema_ref(), &self.schema) {
            return Ok(());
        }
        if batch.num_columns() != self.schema.fields().len() {
            let (given, wanted) = (batch.num_columns(), self.schema.fields().len());
            return Err(Error::invalid("the batch has another number of columns").at("columns", given).at("expected", wanted));
        }
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            if !column.data_type().equals_datatype(field.data_type()) {
                let error = Error::invalid("the batch has another type").at("column", field.name());
                return Err(error.at("type", column.data_type()).at("expected", field.data_type()));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::invalid("nulls in a column that has none").at("column", field.name()).at("nulls", column.null_count()));
            }
        }
        Ok(())
    }
}

fn check_change_types(rows: usize, change_types: Option<&[i8]>, has_marks: bool) -> Result<()> {
    let Some(types) = change_types else { return Ok(()) };
    if types.len() != rows {
        return Err(Error::invalid("not one change type a row").at("change_types", types.len()).at("rows", rows));
    }
    let is_known = |kind: &i8| (0..=CHANGE_TYPE_MAX).contains(kind) || has_marks && *kind < 0;
    match types.iter().find(|kind| !is_known(kind)) {
        Some(kind) => Err(Error::invalid("no such change type").at("change_type", kind)),
        None => Ok(()),
    }
}

#[cold]
fn too_small(room: usize) -> Error {
    Error::exhausted("the batch does not fit into its buffer").at("bytes", room)
}

#[cfg(test)]
pub(super) mod tests;
