//! Encoding: the golden bytes again, all types, what arrow-ipc reads of it.

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

use super::super::Decoder;
use super::super::samples::{any_batch, wide_batch, wide_schema};
use super::*;
use crate::error::Kind;

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd(1)];

pub(in super::super) fn encode(encoder: &Encoder, batch: &RecordBatch, meta: &BatchMeta<'_>) -> Vec<u8> {
    // Old bytes in a recycled buffer must not shine through.
    let mut out = vec![0xAA; encoder.size_bound(batch, meta)];
    let length = encoder.encode(batch, meta, &mut out).unwrap();
    out.truncate(length);
    out
}

/// Reads a batch with the reader of arrow-ipc.
fn read_with_arrow(bytes: &[u8], schema: &SchemaRef) -> RecordBatch {
    let header = BatchHeader::read(bytes).unwrap();
    let start = header.message_start();
    let message = &bytes[start..header.length];
    let metadata = u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
    let root = arrow_ipc::root_as_message(&message[8..8 + metadata]).unwrap();
    let body = Buffer::from(&message[8 + metadata..]);
    assert_eq!(root.bodyLength() as usize, body.len());
    let batch = root.header_as_record_batch().unwrap();
    arrow_ipc::reader::read_record_batch(&body, batch, schema.clone(), &HashMap::new(), None, &root.version()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn comes_back_whatever_it_is(batch in any_batch()) {
        let schema = batch.schema();
        let decoder = Decoder::new(&schema).unwrap();
        for layout in [Layout::Native, Layout::Fluss] {
            for compression in COMPRESSIONS {
                let encoder = Encoder::new(&schema, layout, compression).unwrap();
                let meta = BatchMeta::append(7);
                let bytes = encode(&encoder, &batch, &meta);
                if compression == Compression::None {
                    prop_assert_eq!(bytes.len(), encoder.size_bound(&batch, &meta));
                }
                let header = BatchHeader::read(&bytes).unwrap();
                header.verify(&bytes).unwrap();
                let buffer = Buffer::from(bytes.as_slice());
                let decoded = decoder.decode(&buffer).unwrap();
                prop_assert_eq!(&decoded, &batch);
                // The bytes depend on the rows alone, not on how their arrays were cut.
                prop_assert_eq!(&encode(&encoder, &decoded, &meta), &bytes);
                if batch.num_rows() > 0 {
                    prop_assert_eq!(&read_with_arrow(&bytes, &schema), &batch);
                }
            }
        }
    }
}

#[test]
fn the_body_starts_at_a_multiple_of_64_of_the_batch() {
    let schema = wide_schema();
    let (encoder, decoder) = (Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), Decoder::new(&schema).unwrap());
    for rows in [1, 3, 100] {
        let batch = wide_batch(&schema, rows, 1);
        let types = vec![1i8; rows];
        for change_types in [None, Some(types.as_slice())] {
            let meta = BatchMeta { change_types, ..BatchMeta::append(1) };
            let bytes = encode(&encoder, &batch, &meta);
            let header = BatchHeader::read(&bytes).unwrap();
            let layout = decoder.layout(&header, &bytes).unwrap();
            assert_eq!(layout.body_start % BODY_ALIGNMENT, 0);
            assert!(layout.buffers.iter().all(|span| span.offset % 64 == 0));
            assert_eq!(header.change_types(&bytes).unwrap().map(<[u8]>::len), change_types.map(<[i8]>::len));
            assert_eq!(decoder.decode(&Buffer::from(bytes)).unwrap(), batch);
        }
    }
}

#[test]
fn a_batch_without_rows_is_a_header() {
    let schema = wide_schema();
    let encoder = Encoder::new(&schema, Layout::Native, Compression::None).unwrap();
    let bytes = encode(&encoder, &wide_batch(&schema, 0, 1), &BatchMeta { change_types: Some(&[]), ..BatchMeta::append(1) });
    let header = BatchHeader::read(&bytes).unwrap();
    assert_eq!((bytes.len(), header.rows, header.next_offset(), header.append_only), (48, 0, 1, false));
    header.verify(&bytes).unwrap();
    assert_eq!(Decoder::new(&schema).unwrap().decode(&Buffer::from(bytes)).unwrap().num_rows(), 0);
}

#[test]
fn a_buffer_that_is_too_short_is_refused_at_every_length() {
    let schema = wide_schema();
    let batch = wide_batch(&schema, 3, 1);
    for compression in COMPRESSIONS {
        let encoder = Encoder::new(&schema, Layout::Native, compression).unwrap();
        let meta = BatchMeta { change_types: Some(&[1, 2, 3]), ..BatchMeta::append(1) };
        let used = encode(&encoder, &batch, &meta).len();
        for room in 0..used {
            let error = encoder.encode(&batch, &meta, &mut vec![0; room]).unwrap_err();
            assert_eq!(error.kind(), Kind::Exhausted, "{room} bytes: {error}");
        }
    }
}

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    let schema = wide_schema();
    let encoder = Encoder::new(&schema, Layout::Native, Compression::None).unwrap();
    let mut out = vec![0; 100_000];
    let mut refuse = |batch: &RecordBatch, meta: &BatchMeta<'_>, part: &str| {
        let error = encoder.encode(batch, meta, &mut out).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
    };
    let batch = wide_batch(&schema, 2, 1);
    let append = BatchMeta::append(1);
    refuse(&batch.project(&[0, 1]).unwrap(), &append, "number of columns");
    let mut swapped: Vec<usize> = (0..20).collect();
    swapped.swap(0, 19);
    refuse(&batch.project(&swapped).unwrap(), &append, "another type, column l0");
    refuse(&batch, &BatchMeta { change_types: Some(&[1]), ..append }, "one change type a row");
    refuse(&batch, &BatchMeta { change_types: Some(&[1, 5]), ..append }, "no such change type");
    refuse(&batch, &BatchMeta { change_types: Some(&[1, -127]), ..append }, "no such change type");
}

#[test]
fn nulls_where_none_may_be_are_refused() {
    let strict: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, false)]));
    let lax = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
    let batch = RecordBatch::try_new(lax, vec![Arc::new(arrow::array::Int32Array::from(vec![Some(1), None]))]).unwrap();
    let encoder = Encoder::new(&strict, Layout::Native, Compression::None).unwrap();
    let error = encoder.encode(&batch, &BatchMeta::append(1), &mut [0; 4096]).unwrap_err();
    assert!(error.to_string().contains("nulls in a column"), "{error}");
}

#[test]
fn types_that_batches_do_not_hold_are_refused_with_their_column() {
    let deep = (0..100).fold(DataType::Int8, |kind, _| DataType::List(Arc::new(Field::new("item", kind, true))));
    for kind in [DataType::UInt8, DataType::Null, DataType::FixedSizeBinary(0), DataType::Struct(Default::default()), deep] {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("odd", kind, true)]));
        let error = Encoder::new(&schema, Layout::Native, Compression::None).err().unwrap();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("odd"), "{error}");
    }
    let error = Encoder::new(&wide_schema(), Layout::Native, Compression::Zstd(23)).err().unwrap();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("1 to 22"), "{error}");
}
