//! A record batch message of Arrow IPC, made once per schema and codec. For one schema only a few numbers differ from message
//! to message: copying the template and writing them spares building a flatbuffer per batch, and comparing a stored message
//! with the template spares verifying one. Knows nothing of values.

use std::ops::Range;

use arrow_ipc as ipc;
use flatbuffers::FlatBufferBuilder;

use super::bytes::{put, u32_at, u64_at};
use super::compression::Codec;
use crate::error::{Error, Result};

/// Bytes before the flatbuffer: the continuation mark and the length of the metadata.
pub(super) const PREFIX_BYTES: usize = 8;
/// The continuation mark of Arrow IPC.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];
/// Bytes of a field node (length, null count) and of a buffer (offset, length).
pub(super) const PAIR_BYTES: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Prefix and flatbuffer, without padding.
    bytes: Vec<u8>,
    codec: Codec,
    rows_at: usize,
    body_length_at: usize,
    nodes: Range<usize>,
    buffers: Range<usize>,
}

/// The numbers of a message that matched a template.
pub(super) struct Matched<'a> {
    pub(super) rows: u64,
    pub(super) body_length: u64,
    pub(super) nodes: &'a [u8],
    pub(super) buffers: &'a [u8],
}

impl Template {
    /// The message of `nodes` field nodes and `buffers` buffers. What is zero would be left out, so all numbers are set to
    /// one here. Fields are added in the order in which arrow-rs adds them: the bytes are the same as those it writes.
    pub(super) fn new(nodes: usize, buffers: usize, codec: Codec) -> Result<Self> {
        let mut builder = FlatBufferBuilder::new();
        let compression = codec.ipc().map(|kind| {
            let mut compression = ipc::BodyCompressionBuilder::new(&mut builder);
            compression.add_method(ipc::BodyCompressionMethod::BUFFER);
            compression.add_codec(kind);
            compression.finish()
        });
        let buffer_vector = builder.create_vector(&vec![ipc::Buffer::new(1, 1); buffers]);
        let node_vector = builder.create_vector(&vec![ipc::FieldNode::new(1, 1); nodes]);
        let mut batch = ipc::RecordBatchBuilder::new(&mut builder);
        batch.add_length(1);
        batch.add_nodes(node_vector);
        batch.add_buffers(buffer_vector);
        if let Some(compression) = compression {
            batch.add_compression(compression);
        }
        let batch = batch.finish().as_union_value();
        let mut message = ipc::MessageBuilder::new(&mut builder);
        message.add_version(ipc::MetadataVersion::V5);
        message.add_header_type(ipc::MessageHeader::RecordBatch);
        message.add_bodyLength(1);
        message.add_header(batch);
        let message = message.finish();
        builder.finish(message, None);
        Self::locate(builder.finished_data(), codec).ok_or_else(|| Error::internal("cannot find the fields of a message"))
    }

    fn locate(flatbuffer: &[u8], codec: Codec) -> Option<Self> {
        let message = ipc::root_as_message(flatbuffer).ok()?;
        let batch = message.header_as_record_batch()?;
        let field = |table: &flatbuffers::Table<'_>, name| PREFIX_BYTES + table.loc() + table.vtable().get(name) as usize;
        let place = |bytes: &[u8]| {
            let start = PREFIX_BYTES + (bytes.as_ptr() as usize - flatbuffer.as_ptr() as usize);
            start..start + bytes.len()
        };
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + flatbuffer.len());
        bytes.extend_from_slice(&CONTINUATION);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(flatbuffer);
        Some(Template {
            bytes,
            codec,
            rows_at: field(&batch._tab, ipc::RecordBatch::VT_LENGTH),
            body_length_at: field(&message._tab, ipc::Message::VT_BODYLENGTH),
            nodes: place(batch.nodes()?.bytes()),
            buffers: place(batch.buffers()?.bytes()),
        })
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Bytes of prefix and flatbuffer, without padding.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// How many nodes.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() / PAIR_BYTES
    }

    /// How many buffers.
    pub(super) fn buffers(&self) -> usize {
        self.buffers.len() / PAIR_BYTES
    }

    /// Where the nodes stand in the message.
    pub(super) fn nodes_at(&self) -> usize {
        self.nodes.start
    }

    /// Where the buffers stand in the message.
    pub(super) fn buffers_at(&self) -> usize {
        self.buffers.start
    }

    /// Copies the template to the start of `out` and pads it to all of `out`.
    pub(super) fn copy(&self, out: &mut [u8]) {
        let (message, padding) = out.split_at_mut(self.bytes.len());
        message.copy_from_slice(&self.bytes);
        padding.fill(0);
        put(out, 4, ((out.len() - PREFIX_BYTES) as u32).to_le_bytes());
    }

    /// Sets rows and body length of a copy.
    pub(super) fn patch(&self, out: &mut [u8], rows: usize, body_length: usize) {
        put(out, self.rows_at, (rows as u64).to_le_bytes());
        put(out, self.body_length_at, (body_length as u64).to_le_bytes());
    }

    /// The numbers of `message` (prefix, flatbuffer, padding) if it equals the template in all else.
    pub(super) fn matches<'a>(&self, message: &'a [u8]) -> Option<Matched<'a>> {
        let flatbuffer = message.get(..self.bytes.len())?;
        let mut holes =
            [4..8, self.rows_at..self.rows_at + 8, self.body_length_at..self.body_length_at + 8, self.nodes.clone(), self.buffers.clone()];
        holes.sort_unstable_by_key(|hole| hole.start);
        let mut end = 0;
        for hole in holes {
            if flatbuffer[end..hole.start] != self.bytes[end..hole.start] {
                return None;
            }
            end = hole.end;
        }
        if flatbuffer[end..] != self.bytes[end..] || u32_at(message, 4)? as usize > message.len() - PREFIX_BYTES {
            return None;
        }
        Some(Matched {
            rows: u64_at(flatbuffer, self.rows_at)?,
            body_length: u64_at(flatbuffer, self.body_length_at)?,
            nodes: &flatbuffer[self.nodes.clone()],
            buffers: &flatbuffer[self.buffers.clone()],
        })
    }
}
