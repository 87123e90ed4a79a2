//! Our own formats as they were written first. The files are never written again: what they hold must stay readable, and
//! what is read from them must encode to the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::Value;

use super::directory::{self, Entry};
use super::frame::{self, FrameHead, Parsed};
use super::golden::{field, folder, read, same, value};
use super::log_batch::{self, BatchHeader};
use super::manifest;
use super::{BatchMeta, Decoder, Directory, Encoder, Layout, statistics};
use super::{Compression, directory::WriterState};

fn path(name: &str) -> PathBuf {
    versioned("v1", name)
}

fn versioned(version: &str, name: &str) -> PathBuf {
    folder().join(version).join(name)
}

/// Rows and schema that `batch.json` says, and the batches that hold them.
fn schema(json: &Value) -> SchemaRef {
    Arc::new(Schema::new(json["arrow"].as_array().unwrap().iter().map(field).collect::<Vec<_>>()))
}

fn assert_rows(batch: &RecordBatch, json: &Value) {
    let wanted = json["rows"].as_array().unwrap();
    assert_eq!(batch.num_rows(), wanted.len());
    for (row, wanted) in wanted.iter().enumerate() {
        let found: Value = batch.columns().iter().map(|column| value(column, row)).collect();
        assert!(same(&found, wanted), "row {row}: {found} is not {wanted}");
    }
}

fn encode_again(encoder: &Encoder, header: &BatchHeader, rows: &RecordBatch, types: Option<&[u8]>) -> Vec<u8> {
    let types: Option<Vec<i8>> = types.map(|types| types.iter().map(|kind| *kind as i8).collect());
    let meta =
        BatchMeta { schema_id: header.schema_id, writer_id: header.writer_id, sequence: header.sequence, change_types: types.as_deref() };
    let mut out = vec![0xAA; encoder.size_bound(rows, &meta)];
    let length = encoder.encode(rows, &meta, &mut out).unwrap();
    log_batch::patch(&mut out, header.base_offset, header.commit_timestamp);
    out.truncate(length);
    out
}

/// Batches of every type: append-only, with change types, with statistics, and one compressed by each codec.
#[test]
fn batches() {
    let json: Value = serde_json::from_slice(&read(&path("batch.json"))).unwrap();
    let schema = schema(&json);
    let decoder = Decoder::new(&schema).unwrap();
    let plain = || Encoder::new(&schema, Layout::Native, Compression::None).unwrap();
    let kept: Vec<usize> = (0..schema.fields().len()).filter(|column| statistics::supports(schema.field(*column).data_type())).collect();
    for name in ["append", "changes", "statistics", "lz4", "zstd"] {
        let bytes = read(&path(&format!("batch_{name}.bin")));
        let header = BatchHeader::read(&bytes).unwrap();
        header.verify(&bytes).unwrap();
        let rows = decoder.decode(&Buffer::from(bytes.as_slice())).unwrap();
        assert_rows(&rows, &json);
        let types = header.change_types(&bytes).unwrap();
        assert_eq!(types.is_some(), name == "changes");
        let encoder = match name {
            "statistics" => plain().with_statistics(&kept).unwrap(),
            // Another version of a compressor may find other bytes for the same rows.
            "lz4" | "zstd" => continue,
            _ => plain(),
        };
        assert!(encode_again(&encoder, &header, &rows, types) == bytes, "{name} encodes to other bytes");
    }
}

#[test]
fn frame() {
    let bytes = read(&path("frame.bin"));
    let Parsed::Frame(frame) = frame::parse(&bytes, 0x0102_0304_0506_0708, 9) else { panic!("no frame") };
    let head = FrameHead { segment_id: 0x0102_0304_0506_0708, first_offset: 1 << 33, epoch: 9, table_id: 10, partition_id: 11, bucket: 12 };
    assert_eq!((frame.head, frame.length, frame.batches.len()), (head, bytes.len(), 10));
    assert!(frame.verify(&bytes));
    let mut again = bytes.clone();
    again[..frame.batches[0].start as usize].fill(0xAA);
    frame::seal(&mut again, &frame.head, &frame.batches);
    assert!(again == bytes, "the frame is sealed to other bytes");
}

/// Of the same frames: of version 1, and of version 2 with the checksums of buffers.
#[test]
fn directories() {
    let old = directory(&path("directory.bin"), false);
    let new = directory(&versioned("v2", "directory.bin"), true);
    assert_eq!((old.first_difference(&new), new.first_difference(&old)), (None, None), "they say the same");
}

fn directory(path: &Path, has_checksums: bool) -> Directory {
    let bytes = read(path);
    let (directory, writers) = Directory::decode(99, &bytes).unwrap();
    assert!(directory.encode(&writers) == bytes, "the directory encodes to other bytes");
    let entries: Vec<Entry> = directory.entries(0).collect();
    assert_eq!(entries.iter().map(|entry| (entry.first_offset(), entry.rows())).collect::<Vec<_>>(), FRAMES);
    let Entry::Batch(batch) = &entries[1] else { panic!("no batch") };
    assert_eq!((batch.layout.nodes.len(), batch.layout.buffers.len(), batch.timestamp, batch.batch.start), (20, 42, 100, 64));
    let checksums = batch.checksums.as_ref().map(|checksums| (checksums.len(), checksums.iter().filter(|checksum| **checksum > 0).count()));
    assert_eq!(checksums, has_checksums.then_some((42, 22)));
    assert_eq!(directory.timestamps(), Some((100, 400)));
    assert_eq!(writers.iter().map(|writer: &WriterState| writer.batches.len()).collect::<Vec<_>>(), [5, 0]);
    assert_eq!((writers[0].writer_id, writers[0].batches[4].sequence, writers[0].batches[4].first_offset), (7, 4, 1004));
    directory
}

const FRAMES: [(u64, u64); 5] = [(1000, 3), (1004, 500), (1504, 600), (2104, 6), (2112, 1000)];

#[test]
fn manifest() {
    let bytes = read(&path("manifest.bin"));
    let folded = manifest::fold::<Value>(2, &bytes).unwrap();
    let wanted = serde_json::json!([{ "Added": { "id": 1, "name": "\u{e4}\"" } }, { "Dropped": { "id": 1 } }, { "Moved": -5 }]);
    assert_eq!(Value::from(folded.edits.clone()), wanted);
    assert_eq!((folded.valid_length, folded.tail), (bytes.len(), manifest::Tail::Clean));
    let again = [manifest::record(2, &folded.edits[..2]).unwrap(), manifest::record(2, &folded.edits[2..]).unwrap()].concat();
    assert!(again == bytes, "the records are written to other bytes");
    let versions = (frame::VERSION, manifest::VERSION, directory::VERSION);
    assert_eq!(versions, (1, 1, 2), "a new version wants golden files of its own");
}
