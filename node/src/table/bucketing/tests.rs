//! The expected hashes and rows are what the generated projections of Paimon's Java engine 2.0.0 gave for these values.

use std::sync::Arc;

use super::*;
use crate::table::types::parse_type;
use crate::table::{ColumnType, Field};
use arrow::array::*;
use arrow::datatypes::TimeUnit;
use proptest::prelude::*;

/// Noon of 2026-01-01 in milliseconds.
const NOON_MS: i64 = 1_767_268_800_000;

fn any_array<A: Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

fn text(value: &str) -> ArrayRef {
    any_array(StringArray::from(vec![value]))
}

fn decimal(value: impl Into<Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    any_array(Decimal128Array::from(vec![value.into()]).with_precision_and_scale(precision, scale).expect("decimal"))
}

/// Micros, or null.
fn micros(value: impl Into<Option<i64>>) -> ArrayRef {
    any_array(TimestampMicrosecondArray::from(vec![value.into()]))
}

fn keyed(arrays: &[ArrayRef]) -> (BucketFunction, RecordBatch) {
    let kind = |array: &ArrayRef| supported_type(array);
    let fields = arrays.iter().enumerate().map(|(index, array)| Field::new(format!("f{index}"), kind(array), true)).collect();
    let schema = TableSchema::new(fields).expect("schema");
    let key: Vec<i32> = schema.fields().iter().map(|field| field.id).collect();
    let batch = RecordBatch::try_new(schema.arrow().clone(), arrays.to_vec()).expect("batch");
    (BucketFunction::new(&schema, &key, 1000).expect("function"), batch)
}

fn supported_type(array: &ArrayRef) -> ColumnType {
    let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new("a", array.data_type().clone(), true)]);
    crate::table::supported(&schema).expect("supported").fields()[0].kind.clone()
}

fn row_hex(arrays: &[ArrayRef]) -> String {
    let mut bytes = Vec::new();
    Columns::new(&arrays.iter().collect::<Vec<_>>(), 1).expect("columns").write_row(0, &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(arrays: &[ArrayRef], hash: i32) {
    let (function, batch) = keyed(arrays);
    assert_eq!(function.hashes(&batch).expect("hash"), [hash as u32], "{arrays:?}");
    assert_eq!(function.buckets(&batch).expect("bucket"), [(hash % 1000).unsigned_abs()]);
}

#[test]
fn fixed_width_types() {
    check(&[any_array(BooleanArray::from(vec![true]))], 1_465_514_398);
    check(&[any_array(BooleanArray::from(vec![false]))], -300_363_099);
    check(&[any_array(Int8Array::from(vec![-5]))], -866_908_712);
    check(&[any_array(Int16Array::from(vec![-500]))], 275_669_113);
    check(&[any_array(Int32Array::from(vec![5]))], 260_196_596);
    check(&[any_array(Int32Array::from(vec![-5]))], -343_067_111);
    check(&[any_array(Int64Array::from(vec![5]))], 260_196_596);
    check(&[any_array(Int64Array::from(vec![-5]))], -716_660_054);
    check(&[any_array(Int64Array::from(vec![i64::MAX]))], -1_566_569_095);
    check(&[any_array(Float32Array::from(vec![1.5]))], -173_842_779);
    check(&[any_array(Float32Array::from(vec![-0.0]))], 916_225_219);
    check(&[any_array(Float64Array::from(vec![-2.25]))], -413_435_051);
    check(&[any_array(Date32Array::from(vec![20_454]))], -1_582_905_029);
    check(&[any_array(Date32Array::from(vec![-1]))], 1_133_687_267);
    check(&[any_array(Time32MillisecondArray::from(vec![45_296_789]))], 1_815_782_997);
    check(&[any_array(Time64MicrosecondArray::from(vec![45_296_789_999]))], 1_815_782_997);
}

#[test]
fn strings_and_bytes() {
    let twenty: Vec<u8> = (0..20).collect();
    check(&[text("")], 302_122_119);
    check(&[text("abc")], -101_922_419);
    check(&[text("1234567")], 199_144_172);
    check(&[text("12345678")], -391_021_801);
    check(&[text("user-0000001")], -435_468_214);
    check(&[text("gr\u{f6}\u{df}e")], -79_129_559);
    check(&[text("gr\u{f6}\u{df}er als")], 1_215_808_335);
    check(&[any_array(BinaryArray::from(vec![&[0u8, 255][..]]))], 979_549_812);
    check(&[any_array(BinaryArray::from(vec![&twenty[..]]))], -1_401_208_527);
    check(&[any_array(FixedSizeBinaryArray::try_from_iter([&twenty[..16]].into_iter()).expect("array"))], -620_085_029);
}

#[test]
fn decimals() {
    check(&[decimal(12_345, 10, 2)], 767_607_022);
    check(&[decimal(-999_999_999_999_999_999, 18, 0)], -391_672_493);
    check(&[decimal(1_234_500, 19, 4)], 1_824_367_566);
    check(&[decimal(-12_345_678_901_234_567_890_123_456_789, 38, 10)], 322_429_197);
    let wide = [
        (0, 728_486_185),
        (-1, 907_730_780),
        (-128, 1_196_242_097),
        (128, -795_104_203),
        (-129, -104_809_469),
        (255, -1_938_711_619),
        (-32_768, -1_316_820_663),
        (99_999_999_999_999_999_999, 145_256_621),
    ];
    for (value, hash) in wide {
        check(&[decimal(value, 20, 0)], hash);
    }
}

#[test]
fn timestamps() {
    check(&[any_array(TimestampSecondArray::from(vec![NOON_MS / 1000]))], 1_138_306_023);
    check(&[any_array(TimestampMillisecondArray::from(vec![NOON_MS + 123]))], 1_295_587_535);
    check(&[micros(NOON_MS * 1000 + 123_456)], 1_763_408_876);
    check(&[micros(-1)], 1_236_894_319);
    check(&[any_array(TimestampMicrosecondArray::from(vec![NOON_MS * 1000 + 123_456]).with_timezone("UTC"))], 1_763_408_876);
    check(&[any_array(TimestampNanosecondArray::from(vec![NOON_MS * 1_000_000 + 123_456_789]))], -1_057_309_395);
}

#[test]
fn nulls() {
    check(&[any_array(Int32Array::from(vec![None]))], -1_748_325_344);
    check(&[any_array(StringArray::from(vec![None::<&str>]))], -1_748_325_344);
    check(&[any_array(TimestampMillisecondArray::from(vec![None]))], -1_748_325_344);
    check(&[micros(None)], -340_882_661);
    check(&[decimal(None, 20, 0)], -1_380_280_760);
    check(&[text("a long string"), micros(None), decimal(None, 20, 0)], 714_770_325);
    check(&[micros(None), decimal(None, 20, 0), text("a long string")], -1_986_566_519);
    check(&[any_array(Int32Array::from(vec![None])), text("x"), any_array(Int64Array::from(vec![None]))], -564_777_880);
}

#[test]
fn several_columns() {
    let int = |value: i32| any_array(Int32Array::from(vec![value]));
    check(&[int(5), int(6)], 131_015_827);
    check(&[int(5), int(6), int(7)], 1_805_332_940);
    check(&[int(5), text("abc")], 761_334_957);
    check(&[text("a long string of text"), any_array(Int64Array::from(vec![7])), text("another one")], 2_001_469_621);
    check(&[text("a long string"), micros(NOON_MS * 1000 + 123_456), decimal(7, 20, 0)], -1_056_945_080);
    check(&(0..57).map(int).collect::<Vec<_>>(), 1_190_446_567);
    check(&vec![any_array(Int32Array::from(vec![None])); 56], 2_044_279_302);
}

#[test]
fn rows_are_paimons_byte_for_byte() {
    let cases = [
        (vec![text("abc")], "00000000000000006162630000000083"),
        (vec![text("user-0000001")], "00000000000000000c00000010000000757365722d3030303030303100000000"),
        (vec![decimal(-128, 20, 0)], "0000000000000000010000001000000080000000000000000000000000000000"),
        (vec![micros(-1)], "0000000000000000583e0f0010000000ffffffffffffffff"),
        (
            vec![micros(None), decimal(None, 20, 0), text("a long string")],
            "0003000000000000000000002000000000000000280000000d0000003800000000000000000000000000000000000000000000000000000061206c6f6e6720737472696e67000000",
        ),
    ];
    for (arrays, expected) in cases {
        assert_eq!(row_hex(&arrays), expected);
    }
}

#[test]
fn what_cannot_be_hashed_is_refused() {
    let schema = TableSchema::new(vec![Field::new("l", parse_type("list<int32>").expect("type"), true)]).expect("schema");
    assert!(BucketFunction::new(&schema, &[1], 4).expect_err("nested").to_string().contains("column l"));
    assert!(BucketFunction::new(&schema, &[], 4).is_err());
    assert!(BucketFunction::new(&schema, &[9], 4).is_err());
    assert!(BucketFunction::new(&schema, &[1], 0).is_err());
}

proptest! {
    /// The two ways to hash are one function, and neighbours do not matter.
    #[test]
    fn by_column_equals_by_row(keys in prop::collection::vec((prop::option::of(any::<i64>()), prop::option::of(any::<i32>())), 1..40)) {
        let ids: ArrayRef = any_array(keys.iter().map(|key| key.0).collect::<Int64Array>());
        let days: ArrayRef = any_array(keys.iter().map(|key| key.1).collect::<Date32Array>());
        let (function, batch) = keyed(&[ids, days]);
        let columns = Columns::new(&[batch.column(0), batch.column(1)], batch.num_rows()).expect("columns");
        let hashes = function.hashes(&batch).expect("hash");
        prop_assert_eq!(&hashes, &hash_rows(&columns));
        for (row, hash) in hashes.iter().enumerate() {
            prop_assert_eq!(function.hashes(&batch.slice(row, 1)).expect("hash")[0], *hash);
        }
        prop_assert!(function.buckets(&batch).expect("buckets").iter().all(|bucket| *bucket < 1000));
    }

    #[test]
    fn every_plain_type_can_be_hashed(kind in crate::table::types::tests::any_type()) {
        let (array, nested) = (new_null_array(&kind.to_arrow(), 2), kind.is_nested());
        prop_assert_eq!(Columns::new(&[&array], 2).is_err(), nested);
    }
}

#[test]
fn seconds_and_milliseconds_agree() {
    let seconds = any_array(TimestampSecondArray::from(vec![NOON_MS / 1000]));
    let ms = any_array(TimestampMillisecondArray::from(vec![NOON_MS]));
    assert_eq!(supported_type(&seconds), ColumnType::Timestamp { unit: TimeUnit::Second, zone: None });
    assert_eq!(row_hex(&[seconds]), row_hex(&[ms]));
}
