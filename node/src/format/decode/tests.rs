//! Decoding: all types, projections, damage, and arrow-ipc as an independent reader.

use arrow::array::Array;
use proptest::prelude::*;

use super::super::encode::tests::encode;
use super::super::samples::{Random, any_batch, wide_batch, wide_schema};
use super::super::{BatchMeta, Compression, Encoder, Layout};
use super::*;
use crate::error::Kind;

/// An array that Arrow's own full validation finds fault with would be unsound to use.
fn assert_sound(batch: &RecordBatch) {
    for column in batch.columns() {
        column.to_data().validate_full().unwrap();
    }
}

fn parts(plan: &[Range<usize>], batch: &[u8]) -> Vec<Buffer> {
    plan.iter().map(|range| Buffer::from(&batch[range.clone()])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_choice_of_columns_is_that_choice(batch in any_batch(), seed: u64) {
        let schema = batch.schema();
        let mut random = Random::new(seed);
        let mut columns: Vec<usize> = (0..batch.num_columns()).collect();
        for index in 0..columns.len() {
            columns.swap(index, random.below(batch.num_columns()));
        }
        columns.truncate(random.below(columns.len() + 1));
        let wanted = batch.project(&columns).unwrap();
        let decoder = Decoder::projected(&schema, &columns).unwrap();
        for (layout, compression) in [(Layout::Native, Compression::None), (Layout::Fluss, Compression::Zstd(1))] {
            let bytes = encode(&Encoder::new(&schema, layout, compression).unwrap(), &batch, &BatchMeta::append(1));
            prop_assert_eq!(&decoder.decode(&Buffer::from(bytes.as_slice())).unwrap(), &wanted);
            let header = BatchHeader::read(&bytes).unwrap();
            let layout = decoder.layout(&header, &bytes).unwrap();
            let plan = decoder.plan(&layout).unwrap();
            prop_assert!(plan.iter().all(|range| !range.is_empty() && range.end <= bytes.len()));
            prop_assert_eq!(&decoder.decode_parts(&layout, &parts(&plan, &bytes)).unwrap(), &wanted);
            // Where columns can stay where they stand, they hold the same.
            let located = decoder.locate(&Buffer::from(bytes.as_slice())).unwrap();
            let is_flat = !columns.is_empty() && wanted.columns().iter().all(|column| Stored::holds(column.data_type()));
            prop_assert_eq!(located.is_some(), is_flat && wanted.num_rows() > 0 && compression == Compression::None);
            prop_assert!(located.is_none_or(|located| *located.batch() == wanted));
        }
    }

    #[test]
    fn damage_never_panics_and_never_lies(batch in any_batch(), seed: u64) {
        let schema = batch.schema();
        let decoder = Decoder::new(&schema).unwrap();
        let mut random = Random::new(seed);
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
            let bytes = encode(&Encoder::new(&schema, Layout::Native, compression).unwrap(), &batch, &BatchMeta::append(1));
            for _ in 0..60 {
                let mut broken = bytes.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(broken.len());
                    broken[at] = if random.below(2) == 0 { broken[at] ^ (1 << random.below(8)) } else { random.next() as u8 };
                }
                let broken = Buffer::from(broken.as_slice());
                if let Ok(header) = BatchHeader::read(&broken)
                    && let Ok(layout) = decoder.layout(&header, &broken)
                {
                    decoder.plan(&layout).unwrap();
                }
                match decoder.decode(&broken) {
                    Ok(decoded) => assert_sound(&decoded),
                    Err(error) => prop_assert!(matches!(error.kind(), Kind::Corrupt | Kind::Unavailable), "{error}"),
                }
                match decoder.locate(&broken) {
                    Ok(located) => _ = located.inspect(|located| assert_sound(located.batch())),
                    Err(error) => prop_assert!(matches!(error.kind(), Kind::Corrupt | Kind::Unavailable), "{error}"),
                }
            }
        }
    }
}

#[test]
fn every_prefix_is_refused() {
    let schema = wide_schema();
    let decoder = Decoder::new(&schema).unwrap();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), &wide_batch(&schema, 2, 1), &BatchMeta::append(1));
    for end in 0..bytes.len() {
        let error = decoder.decode(&Buffer::from(&bytes[..end])).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{end} bytes: {error}");
    }
}

#[test]
fn every_damaged_byte_of_the_metadata_is_survived() {
    let schema = wide_schema();
    let decoder = Decoder::new(&schema).unwrap();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::Zstd(1)).unwrap(), &wide_batch(&schema, 2, 1), &BatchMeta::append(1));
    let body = decoder.layout(&BatchHeader::read(&bytes).unwrap(), &bytes).unwrap().body_start;
    for at in 0..body {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
            let mut broken = bytes.clone();
            broken[at] = value;
            if let Ok(decoded) = decoder.decode(&Buffer::from(broken)) {
                assert_sound(&decoded);
            }
        }
    }
}

#[test]
fn aligned_buffers_are_used_where_they_lie() {
    let schema = wide_schema();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), &wide_batch(&schema, 100, 1), &BatchMeta::append(1));
    let buffer = Buffer::from(bytes.as_slice());
    let decoded = Decoder::new(&schema).unwrap().decode(&buffer).unwrap();
    let inside = buffer.as_ptr_range();
    for column in decoded.columns() {
        assert!(column.to_data().buffers().iter().all(|part| inside.contains(&part.as_ptr())));
    }
    // One byte further on nothing is aligned, and the rows are the same.
    let shifted = Buffer::from([&[0][..], &bytes].concat()).slice(1);
    assert_eq!(Decoder::new(&schema).unwrap().decode(&shifted).unwrap(), decoded);
}

#[test]
fn no_columns_still_have_rows() {
    let schema = wide_schema();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), &wide_batch(&schema, 9, 1), &BatchMeta::append(1));
    let decoder = Decoder::projected(&schema, &[]).unwrap();
    let batch = decoder.decode(&Buffer::from(bytes)).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (9, 0));
}

#[test]
fn choices_that_make_no_sense_are_refused() {
    let schema = wide_schema();
    for (columns, part) in [(&[20][..], "no such column"), (&[3, 3][..], "twice, column l3")] {
        let error = Decoder::projected(&schema, columns).err().unwrap();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn parts_that_were_not_planned_are_refused() {
    let schema = wide_schema();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), &wide_batch(&schema, 9, 1), &BatchMeta::append(1));
    let decoder = Decoder::projected(&schema, &[0, 18]).unwrap();
    let layout = decoder.layout(&BatchHeader::read(&bytes).unwrap(), &bytes).unwrap();
    let plan = decoder.plan(&layout).unwrap();
    assert_eq!(plan.iter().map(Range::len).collect::<Vec<_>>(), [72, 40, 144]);
    let good = parts(&plan, &bytes);
    for bad in [&good[..2], &[good[0].clone(), good[2].clone(), good[1].clone()], &[&good[..], &good[..1]].concat()] {
        assert_eq!(decoder.decode_parts(&layout, bad).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let schema = wide_schema();
    let bytes =
        encode(&Encoder::new(&schema, Layout::Native, Compression::None).unwrap(), &wide_batch(&schema, 9, 1), &BatchMeta::append(1));
    let other: SchemaRef = Arc::new(schema.project(&[0, 1, 2]).unwrap());
    let error = Decoder::new(&other).unwrap().decode(&Buffer::from(bytes)).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("another schema"), "{error}");
}
