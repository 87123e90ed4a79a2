//! Rows whose values follow from their numbers, so that whoever reads one can tell whether it is right.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_node::store::{Next, ScanBatch, Scanner};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The columns of [`batch`].
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("half", DataType::Float64, true),
    ]))
}

/// The name of row `number`.
pub(crate) fn name_of(number: i64) -> String {
    format!("row {number} {}", "x".repeat((number % 13) as usize))
}

/// The half of row `number`; every seventh row has none.
pub(crate) fn half_of(number: i64) -> Option<f64> {
    (number % 7 != 0).then_some(number as f64 / 2.0)
}

/// Rows with these numbers.
pub(crate) fn batch(numbers: Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers.clone())),
        Arc::new(StringArray::from_iter_values(numbers.clone().map(name_of))),
        Arc::new(Float64Array::from_iter(numbers.map(half_of))),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

/// The column `number` of rows that were read.
pub(crate) fn numbers_in(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("number").expect("the column").as_primitive::<Int64Type>().values().to_vec()
}

/// Numbers of all rows of a bounded scan.
pub(crate) fn numbers(scanner: Scanner) -> Vec<i64> {
    scanner.flat_map(|found| numbers_in(&found.expect("rows").batch)).collect()
}

/// Checks that every value of rows made by [`batch`] fits its number.
pub(crate) fn check_values(read: &RecordBatch) {
    let names = read.column_by_name("name").expect("the column").as_string::<i32>();
    let halves = read.column_by_name("half").expect("the column").as_primitive::<arrow::datatypes::Float64Type>();
    for (row, number) in numbers_in(read).into_iter().enumerate() {
        assert_eq!(names.value(row), name_of(number), "the name of row {number}");
        let half = (!halves.is_null(row)).then(|| halves.value(row));
        assert_eq!(half, half_of(number), "the half of row {number}");
    }
}

/// Checks a piece of a table where the number of a row is its offset: no value wrong, none left out.
pub(crate) fn check_offsets(found: &ScanBatch) {
    let expected: Vec<i64> = (found.first_offset as i64..found.next_offset as i64).collect();
    assert_eq!(numbers_in(&found.batch), expected, "rows at their offsets");
    check_values(&found.batch);
}

/// Checks that these are all numbers of a range, in order, without printing thousands of them.
pub(crate) fn assert_range(found: &[i64], expected: Range<i64>) {
    let odd = found.iter().zip(expected.clone()).position(|(found, expected)| *found != expected);
    if let Some(at) = odd {
        panic!("expected {expected:?}, found {} at place {at}", found[at]);
    }
    assert_eq!(found.len() as i64, expected.end - expected.start, "expected {expected:?}, found the first {}", found.len());
}

/// All rows of a bounded scan as one batch.
pub(crate) fn collect(scanner: Scanner) -> RecordBatch {
    let schema = scanner.schema();
    let found: Vec<RecordBatch> = scanner.map(|found| found.expect("rows").batch).collect();
    arrow::compute::concat_batches(&schema, &found).expect("one schema")
}

/// The next rows of a scan that follows.
pub(crate) fn next(scanner: &mut Scanner) -> ScanBatch {
    match scanner.next_within(Some(PATIENCE)).expect("rows") {
        Next::Batch(found) => found,
        other => panic!("{other:?} instead of rows"),
    }
}

/// Repeats `attempt` until it answers, for what comes by itself but not at once.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited for {what} in vain");
        let _ = pause.recv_timeout(Duration::from_millis(2));
    }
}

/// The same rows without the notes on fields that a table adds (its field ids).
pub(crate) fn without_notes(batch: &RecordBatch) -> RecordBatch {
    let schema = Arc::new(Schema::new(bare_fields(batch.schema().fields())));
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| retyped(column, field.data_type())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).expect("the same columns")
}

fn bare_fields(fields: &Fields) -> Fields {
    fields.iter().map(|field| bare_field(field)).collect()
}

fn bare_field(field: &Field) -> Field {
    Field::new(field.name(), bare_type(field.data_type()), field.is_nullable())
}

/// A type whose nested fields carry no notes and are called as tables call them.
fn bare_type(kind: &DataType) -> DataType {
    match kind {
        DataType::List(element) => DataType::List(Arc::new(bare_field(element).with_name("element"))),
        DataType::Struct(fields) => DataType::Struct(bare_fields(fields)),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(bare_field(entries)), *sorted),
        other => other.clone(),
    }
}

fn retyped(column: &ArrayRef, kind: &DataType) -> ArrayRef {
    if column.data_type() == kind {
        return column.clone();
    }
    arrow::compute::cast(column, kind).expect("a cast that only drops notes")
}
