//! Statistics of a batch: bounds that hold, their bytes, damage.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::Buffer;
use proptest::prelude::*;

use super::super::encode::tests::encode;
use super::super::log_batch::BatchHeader;
use super::super::measure::cost;
use super::super::samples::{any_batch, wide_batch, wide_schema};
use super::super::{BatchMeta, Compression, Decoder, Encoder, Layout};
use super::*;
use crate::error::Kind;

fn one(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("v", array)]).unwrap()
}

/// What is read back of one column, besides the nulls.
fn round_trip(array: ArrayRef) -> (Option<Value>, Option<Value>) {
    let batch = one(array);
    let mut bytes = Vec::new();
    write(&batch, &[0], &mut bytes);
    let mut found = decode(&batch.schema(), &bytes).unwrap();
    assert_eq!(found.len(), 1);
    let found = found.remove(0);
    assert_eq!((found.column, found.nulls), (0, batch.column(0).null_count()));
    (found.min, found.max)
}

fn ints(low: i64, high: i64) -> (Option<Value>, Option<Value>) {
    (Some(Value::Int(low)), Some(Value::Int(high)))
}

#[test]
fn bounds_of_every_type_come_back() {
    assert_eq!(round_trip(Arc::new(BooleanArray::from(vec![true, false]))), (Some(Value::Bool(false)), Some(Value::Bool(true))));
    assert_eq!(round_trip(Arc::new(Int8Array::from(vec![Some(5), None, Some(-128)]))), ints(-128, 5));
    assert_eq!(round_trip(Arc::new(Int16Array::from(vec![-300, 300]))), ints(-300, 300));
    assert_eq!(round_trip(Arc::new(Int32Array::from(vec![i32::MIN, i32::MAX]))), ints(i32::MIN.into(), i32::MAX.into()));
    assert_eq!(round_trip(Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]))), ints(i64::MIN, i64::MAX));
    assert_eq!(round_trip(Arc::new(Date32Array::from(vec![-5, 20_000]))), ints(-5, 20_000));
    let floats = (Some(Value::Float(-1.5)), Some(Value::Float(2.5)));
    assert_eq!(round_trip(Arc::new(Float32Array::from(vec![2.5, -1.5]))), floats);
    assert_eq!(round_trip(Arc::new(Float64Array::from(vec![2.5, -1.5]))), floats);
    for (low, high) in [("", "a"), ("1234567", "12345678"), ("\u{e4}\u{e4}\u{e4}\u{e4}", "\u{65e5}\u{672c}\u{8a9e}")] {
        let texts = (Some(Value::Text(low.into())), Some(Value::Text(high.into())));
        assert_eq!(round_trip(Arc::new(StringArray::from(vec![high, low]))), texts);
    }
}

#[test]
fn decimals_of_every_width_come_back() {
    for value in [0, 1, 127, 128, -128, -129, 255, i128::from(i64::MAX), 10i128.pow(37), -(10i128.pow(37))] {
        for digits in [18, 38] {
            if digits == 38 || i64::try_from(value).is_ok() {
                let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2).unwrap();
                let array = Decimal128Array::new(array.values().clone(), None).with_data_type(DataType::Decimal128(digits, 2));
                let wanted = Some(Value::Decimal(value));
                assert_eq!(round_trip(Arc::new(array)), (wanted.clone(), wanted));
            }
        }
    }
}

#[test]
fn timestamps_come_back_and_times_of_day_widen_to_a_millisecond() {
    let values = vec![-1_234_567_891, 1_234_567_891];
    assert_eq!(round_trip(Arc::new(TimestampSecondArray::from(values.clone()))), ints(values[0], values[1]));
    assert_eq!(round_trip(Arc::new(TimestampMillisecondArray::from(values.clone()))), ints(values[0], values[1]));
    assert_eq!(round_trip(Arc::new(TimestampMicrosecondArray::from(values.clone()))), ints(values[0], values[1]));
    assert_eq!(round_trip(Arc::new(TimestampNanosecondArray::from(values.clone()))), ints(values[0], values[1]));
    let (min, max) = (i64::MIN, i64::MAX);
    assert_eq!(round_trip(Arc::new(TimestampNanosecondArray::from(vec![min, max]))), (None, Some(Value::Int(max))));
    assert_eq!(round_trip(Arc::new(TimestampSecondArray::from(vec![min, max]))), (None, None));

    assert_eq!(round_trip(Arc::new(Time32SecondArray::from(vec![1, 86_399]))), ints(1, 86_399));
    assert_eq!(round_trip(Arc::new(Time32MillisecondArray::from(vec![1, 2]))), ints(1, 2));
    assert_eq!(round_trip(Arc::new(Time64MicrosecondArray::from(vec![1_500, 2_500]))), ints(1_000, 2_999));
    assert_eq!(round_trip(Arc::new(Time64NanosecondArray::from(vec![1_000_000, 2_000_001]))), ints(1_000_000, 2_999_999));
}

#[test]
fn what_cannot_be_said_is_left_out() {
    assert_eq!(round_trip(Arc::new(Int32Array::from(vec![None, None]))), (None, None));
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(round_trip(Arc::new(StringArray::from(vec!["a", &long]))), (None, None));
    assert!(round_trip(Arc::new(StringArray::from(vec!["a", &long[1..]]))).1.is_some());
}

#[test]
fn the_bytes_are_those_of_fluss() {
    // Column 2 before column 0, as the layout is written down in the sources of Fluss.
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int32Array::from(vec![3, 1])) as ArrayRef),
        ("skipped", Arc::new(Int32Array::from(vec![0, 0]))),
        ("name", Arc::new(StringArray::from(vec![Some("hello world"), None]))),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    write(&batch, &[2, 0], &mut bytes);
    let mut wanted = vec![1, 2, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    for id in [1u8, 3] {
        wanted.extend([40, 0, 0, 0]);
        wanted.extend([0; 8]);
        wanted.extend([11, 0, 0, 0, 24, 0, 0, 0]);
        wanted.extend([id, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend(b"hello world\0\0\0\0\0");
    }
    assert_eq!(bytes, wanted);
}

#[test]
fn columns_without_statistics_are_refused_with_their_name() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("raw", DataType::Binary, true)]));
    for (column, part) in [(0, "column raw"), (1, "not there"), (usize::MAX, "not there")] {
        let encoder = Encoder::new(&schema, Layout::Native, Compression::None).unwrap();
        let error = encoder.with_statistics(&[column]).err().unwrap();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_value_is_outside_the_bounds(batch in any_batch()) {
        let schema = batch.schema();
        let columns: Vec<usize> = (0..batch.num_columns()).filter(|column| supports(schema.field(*column).data_type())).collect();
        for layout in [Layout::Native, Layout::Fluss] {
            let encoder = Encoder::new(&schema, layout, Compression::None).unwrap().with_statistics(&columns).unwrap();
            let bytes = encode(&encoder, &batch, &BatchMeta::append(1));
            let header = BatchHeader::read(&bytes).unwrap();
            header.verify(&bytes).unwrap();
            prop_assert_eq!(&Decoder::new(&schema).unwrap().decode(&Buffer::from(bytes.as_slice())).unwrap(), &batch);
            let found = decode(&schema, &bytes[header.statistics_range()]).unwrap();
            prop_assert_eq!(found.len(), if batch.num_rows() == 0 { 0 } else { columns.len() });
            for column in found {
                let values = batch.column(column.column);
                prop_assert_eq!(column.nulls, values.null_count());
                if let (Some(min), Some(max), Some((low, high))) = (column.min, column.max, bounds(values.as_ref())) {
                    prop_assert!(at_most(&min, &low) && at_most(&high, &max), "{min:?} {low:?} {high:?} {max:?}");
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(batch in any_batch(), edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let schema = batch.schema();
        let columns: Vec<usize> = (0..batch.num_columns()).filter(|column| supports(schema.field(*column).data_type())).collect();
        let mut bytes = Vec::new();
        write(&batch, &columns, &mut bytes);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&schema, &bytes);
        for end in 0..bytes.len() {
            let _ = decode(&schema, &bytes[..end]);
        }
    }
}

fn at_most(low: &Value, high: &Value) -> bool {
    match (low, high) {
        (Value::Bool(low), Value::Bool(high)) => low <= high,
        (Value::Int(low), Value::Int(high)) => low <= high,
        (Value::Float(low), Value::Float(high)) => low <= high,
        (Value::Decimal(low), Value::Decimal(high)) => low <= high,
        (Value::Text(low), Value::Text(high)) => low <= high,
        _ => false,
    }
}

#[test]
fn collecting_is_cheap() {
    let schema = wide_schema();
    let batch = wide_batch(&schema, 10_000, 1);
    for (name, column) in [("int64", 0), ("float64", 8), ("int32", 14), ("utf8", 18)] {
        let mut bytes = Vec::new();
        let cost = cost(500, || {
            bytes.clear();
            write(&batch, &[column], &mut bytes);
        });
        println!("statistics of {name}: {:.2} ns/row", cost / 10_000.0);
    }
}
