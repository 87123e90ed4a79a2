//! What goes out comes back in, and looks as documented.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray, Time32MillisecondArray, Time32SecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::command::arguments::OnError;
use crate::command::input::{Event, Input};

fn optional<T: std::fmt::Debug>(value: impl Strategy<Value = T>, rows: usize) -> impl Strategy<Value = Vec<Option<T>>> {
    prop::collection::vec(prop::option::weighted(0.8, value), rows)
}

fn text() -> impl Strategy<Value = String> {
    "[a\",\n\r\\\\ \t{}\\[\\]\u{e9}\u{1f600}\u{1}]{0,6}|null|NaN"
}

/// Columns of every plain type.
fn plain(rows: usize) -> impl Strategy<Value = Vec<(&'static str, ArrayRef)>> {
    let numbers = (
        optional(any::<bool>(), rows),
        optional(any::<i8>(), rows),
        optional(any::<i64>(), rows),
        optional(prop_oneof![any::<f32>(), Just(f32::NAN), Just(f32::NEG_INFINITY), Just(-0.0)], rows),
        optional(prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)], rows),
        optional(-(10_i128.pow(38) - 1)..10_i128.pow(38), rows),
        optional(-99_999_i128..99_999, rows),
    );
    let times = (
        optional(any::<i32>(), rows),
        optional(0..86_400_i32, rows),
        optional(0..86_400_000_000_000_i64, rows),
        optional(any::<i64>(), rows),
        optional(any::<i64>(), rows),
    );
    let bytes = (
        optional(text(), rows),
        optional(prop::collection::vec(any::<u8>(), 0..4), rows),
        optional(prop::array::uniform3(any::<u8>()), rows),
    );
    (numbers, times, bytes).prop_map(|(numbers, times, bytes)| {
        let (flags, small, big, floats, doubles, wide, cents) = numbers;
        let (days, seconds, nanoseconds, moments, instants) = times;
        let (texts, blobs, fixed) = bytes;
        let decimal = |values, precision, scale| Decimal128Array::from(values).with_data_type(DataType::Decimal128(precision, scale));
        vec![
            ("flag", Arc::new(BooleanArray::from(flags)) as ArrayRef),
            ("small", Arc::new(Int8Array::from(small))),
            ("big", Arc::new(Int64Array::from(big))),
            ("float", Arc::new(Float32Array::from(floats))),
            ("double", Arc::new(Float64Array::from(doubles))),
            ("wide", Arc::new(decimal(wide, 38, 0))),
            ("price", Arc::new(decimal(cents, 10, 4))),
            ("day", Arc::new(Date32Array::from(days))),
            ("second", Arc::new(Time32SecondArray::from(seconds))),
            ("nanosecond", Arc::new(Time64NanosecondArray::from(nanoseconds))),
            ("s", Arc::new(TimestampSecondArray::from(moments.iter().map(|s| s.map(|s| s / 1000)).collect::<Vec<_>>()))),
            ("ms", Arc::new(TimestampMillisecondArray::from(moments).with_timezone("UTC"))),
            ("us", Arc::new(TimestampMicrosecondArray::from(instants.clone()).with_timezone("Europe/Amsterdam"))),
            ("ns", Arc::new(TimestampNanosecondArray::from(instants))),
            ("text", Arc::new(StringArray::from(texts))),
            ("blob", Arc::new(BinaryArray::from_iter(blobs))),
            ("fixed", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 3).unwrap())),
        ]
    })
}

fn offsets(rows: usize) -> impl Strategy<Value = OffsetBuffer<i32>> {
    prop::collection::vec(0..3_usize, rows).prop_map(OffsetBuffer::from_lengths)
}

/// A list, a struct, and maps with keys of text and numbers, over plain values.
fn nested(rows: usize) -> impl Strategy<Value = Vec<(&'static str, ArrayRef)>> {
    let parts = (offsets(rows), prop::collection::vec(prop::bool::weighted(0.8), rows), optional(text(), 2 * rows));
    (parts, optional(any::<i32>(), 2 * rows)).prop_map(move |((offsets, valid, texts), numbers)| {
        let (count, nulls) = (offsets[rows] as usize, Some(NullBuffer::from(valid)));
        let texts: ArrayRef = Arc::new(StringArray::from(texts).slice(0, count));
        let numbers: ArrayRef = Arc::new(Int32Array::from(numbers).slice(0, count));
        let keys: Vec<_> = (0..count as i32).collect();
        let map = |keys: ArrayRef, values: &ArrayRef| {
            let key = Field::new("key", keys.data_type().clone(), false);
            let pair = Fields::from(vec![key, Field::new("value", values.data_type().clone(), true)]);
            let pairs = StructArray::new(pair.clone(), vec![keys, values.clone()], None);
            let entries = Arc::new(Field::new("entries", DataType::Struct(pair), false));
            Arc::new(MapArray::new(entries, offsets.clone(), pairs, nulls.clone(), false)) as ArrayRef
        };
        let named = StringArray::from(keys.iter().map(|key| format!("\"{key},")).collect::<Vec<_>>());
        let numbered = Int32Array::from(keys);
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets.clone(), texts.clone(), nulls.clone()));
        let fields = Fields::from(vec![Field::new("list", list.data_type().clone(), true), Field::new("number", DataType::Int32, true)]);
        let number = Arc::new(Int32Array::from_iter((0..rows as i32).map(|row| (row % 2 == 0).then_some(row))));
        let structure = StructArray::new(fields, vec![list.clone(), number], nulls.clone());
        vec![
            ("list", list),
            ("structure", Arc::new(structure) as ArrayRef),
            ("by_text", map(Arc::new(named), &numbers)),
            ("by_number", map(Arc::new(numbered), &texts)),
        ]
    })
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn written(directory: &tempfile::TempDir, format: Format, batches: &[RecordBatch]) -> PathBuf {
    let path = directory.path().join(format!("rows.{}", format.name()));
    let mut output = Output::open(format, Some(&path), batches[0].schema(), Purpose::Rows).unwrap();
    batches.iter().for_each(|batch| output.write(batch).unwrap());
    assert!(!path.exists(), "a file appeared before it was whole");
    output.finish().unwrap();
    path
}

fn read(path: &Path, schema: SchemaRef) -> RecordBatch {
    let mut input = Input::open(path, None, schema.clone(), 7, OnError::Fail).unwrap();
    let mut batches = Vec::new();
    loop {
        match input.next().unwrap() {
            Event::Rows(placed) => batches.push(placed.rows),
            Event::Idle => {}
            Event::End => {
                let schema = batches.first().map_or(schema, RecordBatch::schema);
                return concat_batches(&schema, &batches).unwrap();
            }
        }
    }
}

/// The rows in the units of this schema.
fn in_units_of(schema: &SchemaRef, rows: &RecordBatch) -> RecordBatch {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(array, field)| cast(array, field.data_type()).unwrap());
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_value_comes_back_through_every_format((columns, more) in (1..20_usize).prop_flat_map(|rows| (plain(rows), nested(rows)))) {
        let directory = tempfile::tempdir().unwrap();
        let rows = batch(columns.into_iter().chain(more).collect());
        for format in [Format::Json, Format::Csv, Format::Arrow, Format::Parquet] {
            let mut back = read(&written(&directory, format, &[rows.clone(), rows.slice(0, 1)]), rows.schema());
            let expected = concat_batches(&rows.schema(), [&rows, &rows.slice(0, 1)]).unwrap();
            if format == Format::Parquet {
                // It has no seconds: a table takes them back.
                back = in_units_of(&rows.schema(), &back);
            }
            let differs = (0..rows.num_columns()).find(|place| back.column(*place) != expected.column(*place));
            prop_assert_eq!(differs.map(|place| expected.schema().field(place).name().clone()), None, "{}", format.name());
            prop_assert_eq!(back.schema(), expected.schema());
        }
    }

    #[test]
    fn one_column_with_nulls_comes_back_through_csv(texts in optional(text(), 5)) {
        let directory = tempfile::tempdir().unwrap();
        let rows = batch(vec![("a", Arc::new(StringArray::from(texts)))]);
        prop_assert_eq!(read(&written(&directory, Format::Csv, std::slice::from_ref(&rows)), rows.schema()), rows);
    }
}

#[test]
fn parquet_holds_seconds_as_milliseconds_for_every_reader() {
    let directory = tempfile::tempdir().unwrap();
    let moments = || Arc::new(TimestampSecondArray::from(vec![Some(-1), None])) as ArrayRef;
    let zoned = TimestampSecondArray::from(vec![2, 3]).with_timezone("Europe/Amsterdam");
    let fields = Fields::from(vec![Field::new("x", moments().data_type().clone(), true)]);
    let rows = batch(vec![
        ("moment", moments()),
        ("zoned", Arc::new(zoned)),
        ("time", Arc::new(Time32SecondArray::from(vec![86_399, 0]))),
        ("nested", Arc::new(StructArray::new(fields, vec![moments()], None))),
    ]);
    let path = written(&directory, Format::Parquet, std::slice::from_ref(&rows));
    // As a reader that knows parquet and nothing of what Arrow notes in it.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(fs::File::open(&path).unwrap(), options).unwrap().build().unwrap();
    let seen: Vec<_> = reader.map(Result::unwrap).collect();
    let seen = concat_batches(&seen[0].schema(), &seen).unwrap();
    assert_eq!(seen.column(0).as_ref(), &TimestampMillisecondArray::from(vec![Some(-1000), None]));
    assert_eq!(seen.column(1).as_ref(), &TimestampMillisecondArray::from(vec![2000, 3000]).with_timezone("UTC"));
    assert_eq!(seen.column(2).as_ref(), &Time32MillisecondArray::from(vec![86_399_000, 0]));
    assert_eq!(seen.column(3).as_struct().column(0), seen.column(0));
    // And as one that does: the zone is kept.
    let back = read(&path, rows.schema());
    assert_eq!(back.column(1).as_ref(), &TimestampMillisecondArray::from(vec![2000, 3000]).with_timezone("Europe/Amsterdam"));
    assert_eq!(in_units_of(&rows.schema(), &back), rows);
}

#[test]
fn times_that_parquet_cannot_hold_are_refused_by_column_and_row() {
    let directory = tempfile::tempdir().unwrap();
    let columns: [ArrayRef; 2] =
        [Arc::new(TimestampSecondArray::from(vec![0, i64::MAX])), Arc::new(Time32SecondArray::from(vec![0, i32::MIN]))];
    for column in columns {
        let rows = batch(vec![("at", column)]);
        let mut output = Output::open(Format::Parquet, Some(&directory.path().join("rows")), rows.schema(), Purpose::Rows).unwrap();
        output.write(&rows.slice(0, 1)).unwrap();
        let Err(Failure::Error(error, 1)) = output.write(&rows) else { panic!("{rows:?}") };
        assert!(error.to_string().contains("the coarsest unit of parquet, column at, row 2; leave the row out"), "{error}");
    }
}

fn text_of(format: Format, batches: &[RecordBatch]) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::read_to_string(written(&directory, format, batches)).unwrap()
}

fn sample() -> RecordBatch {
    let numbers = Int32Array::from(vec![Some(1), None, Some(-30)]);
    let texts = StringArray::from(vec![Some("a,b"), Some(""), None]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
    batch(vec![("number", Arc::new(numbers)), ("text", Arc::new(texts)), ("list", Arc::new(lists))])
}

#[test]
fn text_formats_look_as_documented() {
    assert_eq!(text_of(Format::Csv, &[sample()]), "number,text,list\n1,\"a,b\",\"[1,null]\"\n,\"\",[]\n-30,,\n");
    let json = "{\"number\":1,\"text\":\"a,b\",\"list\":[1,null]}\n{\"number\":null,\"text\":\"\",\"list\":[]}\n";
    assert!(text_of(Format::Json, &[sample()]).starts_with(json));
    let table = "number  text  list\n------  ----  --------\n     1  a,b   [1,null]\n  null        []\n   -30  null  null\n3 rows\n";
    assert_eq!(text_of(Format::Table, &[sample()]), table);
}

#[test]
fn nothing_at_all_still_has_a_head() {
    let none = sample().slice(0, 0);
    assert_eq!(text_of(Format::Csv, std::slice::from_ref(&none)), "number,text,list\n");
    assert_eq!(text_of(Format::Json, std::slice::from_ref(&none)), "");
    assert!(text_of(Format::Table, std::slice::from_ref(&none)).ends_with("0 rows\n"));
    let directory = tempfile::tempdir().unwrap();
    for format in [Format::Arrow, Format::Parquet] {
        let path = written(&directory, format, std::slice::from_ref(&none));
        assert_eq!(crate::command::input::infer(&path, None).unwrap().fields().len(), 3);
    }
}

#[test]
fn a_long_table_keeps_its_columns() {
    let long = Arc::new(StringArray::from_iter_values((0..2500).map(|row| "x".repeat(row % 150)))) as ArrayRef;
    let table = text_of(Format::Table, &[batch(vec![("a", long.clone()), ("b", Arc::new(StringArray::from_iter_values(["y"; 2500])))])]);
    let columns: Vec<_> = table.lines().filter(|line| line.ends_with('y')).map(|line| line.find('y')).collect();
    assert_eq!(columns.len(), 2500);
    assert!(columns.iter().all(|column| *column == Some(102)));
}

#[test]
fn a_cell_takes_the_columns_that_a_terminal_gives_it() {
    let wide = ["\u{1f600}".to_string(), "\u{65e5}\u{672c}".to_string(), "\u{1f600}".repeat(80)];
    let rows = batch(vec![
        ("a", Arc::new(StringArray::from_iter_values(&wide[..2])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["y"; 2]))),
    ]);
    assert_eq!(text_of(Format::Table, &[rows]), "a     b\n----  -\n\u{1f600}    y\n\u{65e5}\u{672c}  y\n2 rows\n");
    let rows = batch(vec![("a", Arc::new(StringArray::from_iter_values(&wide)) as ArrayRef)]);
    let cut = format!("{}..", "\u{1f600}".repeat(49));
    assert_eq!(text_of(Format::Table, &[rows]).lines().nth(4), Some(cut.as_str()));
}

#[test]
fn a_file_that_is_followed_grows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    let mut output = Output::open(Format::Csv, Some(&path), sample().schema(), Purpose::Following).unwrap();
    output.write(&sample().slice(0, 1)).unwrap();
    output.flush().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    drop(output);
    assert!(path.exists());
}

#[test]
fn an_output_that_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.parquet");
    let mut output = Output::open(Format::Parquet, Some(&path), sample().schema(), Purpose::Rows).unwrap();
    output.write(&sample()).unwrap();
    drop(output);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let schema = Arc::new(Schema::empty());
    assert!(Output::open(Format::Csv, Some(&directory.path().join("no/such/rows")), schema, Purpose::Rows).is_err());
}
