//! From the bytes of a log batch to Arrow, all columns or some of them.
//!
//! A whole batch is decoded where it lies. From a batch on disk only some columns can be read: its layout (from the head of
//! the batch, or from the directory of its segment) gives a plan of byte ranges, and their bytes are decoded.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};

use super::arrays::Arrays;
use super::compression::{Codec, Decompressor};
use super::log_batch::BatchHeader;
use super::message::{self, BodyLayout};
use super::shape::{Column, Shape};
use super::template::Template;
use crate::error::{Error, Result};
use crate::table::stored::{Place, Stored, holds_all};

/// Decodes batches of one schema into one choice of its columns. Shared by threads.
pub struct Decoder {
    /// The schema of what comes out.
    schema: SchemaRef,
    /// The columns that come out, in that order.
    columns: Vec<Column>,
    nodes: usize,
    buffers: usize,
    /// What messages usually look like, one for each codec.
    templates: Vec<Template>,
    decompressor: Decompressor,
    /// Whether all columns that come out can be read where they stand.
    is_flat: bool,
}

impl Decoder {
    /// A decoder of all columns of `schema`.
    ///
    /// Errors with `Invalid` when the schema has a type that batches do not hold.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        Self::projected(schema, &columns)
    }

    /// A decoder of some columns of `schema`, in the order given; none gives batches that only have a number of rows.
    ///
    /// Errors with `Invalid` when there is no such column or it is named twice.
    pub fn projected(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let shape = Shape::of(schema)?;
        for (position, &column) in columns.iter().enumerate() {
            if column >= shape.columns.len() {
                return Err(Error::invalid("no such column").at("column", column).at("columns", shape.columns.len()));
            }
            if columns[..position].contains(&column) {
                return Err(Error::invalid("a column is chosen twice").at("column", schema.field(column).name()));
            }
        }
        let fields: Vec<_> = columns.iter().map(|&column| schema.fields()[column].clone()).collect();
        let all = columns.len() == shape.columns.len() && columns.is_sorted();
        let templates = Codec::ALL.iter().map(|&codec| Template::new(shape.nodes, shape.buffers, codec)).collect::<Result<_>>()?;
        let schema = if all { schema.clone() } else { Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())) };
        Ok(Decoder {
            is_flat: holds_all(&schema),
            schema,
            columns: columns.iter().map(|&column| shape.columns[column].clone()).collect(),
            nodes: shape.nodes,
            buffers: shape.buffers,
            templates,
            decompressor: Decompressor::new(),
        })
    }

    /// The schema of the batches that come out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes the batch at the start of `batch`. Its checksum is not verified, see [`BatchHeader::verify`]; without that a
    /// damaged batch gives an error or other values, never a panic.
    pub fn decode(&self, batch: &Buffer) -> Result<RecordBatch> {
        let header = BatchHeader::read(batch)?;
        self.decode_body(&header, batch).map_err(|error| error.at("offset", header.base_offset))
    }

    /// The batch at the start of `batch`, its columns left where they stand; `None` where that cannot be: they are compressed, nested, or there are none. Else
    /// as [`Decoder::decode`].
    pub fn locate(&self, batch: &Buffer) -> Result<Option<Stored>> {
        let header = BatchHeader::read(batch)?;
        if !self.is_flat || header.rows == 0 {
            return Ok(None);
        }
        let located = self.whole_layout(&header, batch).and_then(|layout| self.locate_body(&layout, batch));
        located.map_err(|error| error.at("offset", header.base_offset))
    }

    fn locate_body(&self, layout: &BodyLayout, batch: &Buffer) -> Result<Option<Stored>> {
        if layout.codec != Codec::None {
            return Ok(None);
        }
        let place = |column: &Column| {
            let node = layout.nodes[column.node];
            if node.length != layout.rows as u64 {
                return Err(Error::corrupt("an array of another length than its batch"));
            }
            // Validity, then offsets where there are any, then values.
            let range = |index: usize| layout.range(&layout.buffers[column.buffer + index]);
            let last = column.validity.len() - 1;
            let offsets = if last > 1 { range(1) } else { 0..0 };
            Ok(Place { nulls: node.nulls as usize, validity: range(0), offsets, values: range(last) })
        };
        let mut places = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            places.push(place(column)?);
        }
        Stored::new(self.schema.clone(), layout.rows, batch.clone(), places).map(Some)
    }

    /// The layout of a batch that is there with its body.
    fn whole_layout(&self, header: &BatchHeader, batch: &Buffer) -> Result<BodyLayout> {
        let layout = self.layout(header, batch)?;
        let end = layout.body_start.checked_add(layout.body_length).filter(|end| *end <= header.length && *end <= batch.len());
        if end.is_none() {
            return Err(Error::corrupt("a batch is cut off").at("bytes", batch.len()));
        }
        Ok(layout)
    }

    fn decode_body(&self, header: &BatchHeader, batch: &Buffer) -> Result<RecordBatch> {
        let layout = self.whole_layout(header, batch)?;
        self.assemble(&layout, |index| {
            let span = layout.buffers[index];
            Ok(batch.slice_with_length(layout.body_start + span.offset as usize, span.length as usize))
        })
    }

    /// Where the columns of a batch stand. `head` is the batch, at least up to its body.
    pub fn layout(&self, header: &BatchHeader, head: &[u8]) -> Result<BodyLayout> {
        let start = header.message_start();
        if header.rows == 0 {
            return Ok(BodyLayout::empty(start));
        }
        let rest = head.get(start..).ok_or_else(|| Error::corrupt("a batch is cut off"))?;
        let metadata = rest.get(..message::metadata_bytes(rest)?).ok_or_else(|| Error::corrupt("a batch is cut off"))?;
        let layout = message::read(metadata, start, &self.templates)?;
        if layout.rows != header.rows {
            return Err(Error::corrupt("a batch with another number of rows than it says").at("rows", layout.rows));
        }
        if layout.body_start + layout.body_length > header.length {
            return Err(Error::corrupt("a batch shorter than its parts").at("bytes", header.length));
        }
        layout.check(self.nodes, self.buffers)?;
        Ok(layout)
    }

    /// The ranges of the batch that the chosen columns stand in, in the order [`Decoder::decode_parts`] wants their bytes.
    /// Counted from the start of the batch; none is empty; they may not be in order of position when the columns are not.
    pub fn plan(&self, layout: &BodyLayout) -> Result<Vec<Range<usize>>> {
        Ok(self.needed(layout)?.into_iter().map(|index| layout.range(&layout.buffers[index])).collect())
    }

    /// The buffers that stand in the planned ranges, by their numbers in the layout.
    pub fn needed(&self, layout: &BodyLayout) -> Result<Vec<usize>> {
        if layout.rows == 0 {
            return Ok(Vec::new());
        }
        layout.check(self.nodes, self.buffers)?;
        Ok(self.columns.iter().flat_map(|column| column.needed(layout)).collect())
    }

    /// Decodes a batch from the bytes of its planned ranges.
    ///
    /// Errors with `Invalid` when `parts` are not what [`Decoder::plan`] asked for.
    pub fn decode_parts(&self, layout: &BodyLayout, parts: &[Buffer]) -> Result<RecordBatch> {
        if layout.rows > 0 {
            layout.check(self.nodes, self.buffers)?;
        }
        let mut rest = parts.iter();
        let batch = self.assemble(layout, |index| {
            let length = layout.buffers[index].length as usize;
            if length == 0 {
                return Ok(Buffer::default());
            }
            let part = rest.next().filter(|part| part.len() == length);
            part.cloned().ok_or_else(|| Error::invalid("a part of a batch is not as planned").at("expected", length))
        })?;
        match rest.next() {
            Some(_) => Err(Error::invalid("more parts of a batch than planned").at("parts", parts.len())),
            None => Ok(batch),
        }
    }

    fn assemble(&self, layout: &BodyLayout, fetch: impl FnMut(usize) -> Result<Buffer>) -> Result<RecordBatch> {
        if layout.rows == 0 {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let mut arrays = Arrays::new(layout, &self.decompressor, fetch);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter().zip(self.schema.fields()) {
            let array = arrays.column(column.node, column.buffer, field.data_type(), layout.rows);
            columns.push(array.map_err(|error| error.at("column", field.name()))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(layout.rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::corrupt("a batch does not fit its schema").caused_by(error))
    }
}

impl Column {
    /// The buffers that must be read: those that are not empty, and of validities those with nulls.
    fn needed<'a>(&'a self, layout: &'a BodyLayout) -> impl Iterator<Item = usize> + 'a {
        self.validity.iter().enumerate().filter_map(|(index, validity)| {
            let wanted = validity.is_none_or(|node| layout.nodes[node].nulls > 0);
            let index = self.buffer + index;
            (wanted && layout.buffers[index].length > 0).then_some(index)
        })
    }
}

#[cfg(test)]
mod tests;
