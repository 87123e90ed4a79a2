//! A large file goes in and comes out in bounded memory.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::program::Place;
use crate::scratch;

/// Most memory that the program may hold.
const PEAK_MIB_MAX: u64 = 256;

/// Rows, from the environment.
fn row_count() -> i64 {
    std::env::var("AQUIFER_LARGE_ROWS").ok().map_or(400_000, |rows| rows.parse().expect("a number of rows"))
}

fn batch(from: i64, count: i64) -> RecordBatch {
    let numbers = from..from + count;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(numbers.clone()))),
        ("user", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|number| number * 7919 % 100_003)))),
        (
            "page",
            Arc::new(StringArray::from_iter_values(numbers.clone().map(|number| format!("/shop/item/{}/details", number * 31 % 5_003)))),
        ),
        ("price", Arc::new(Float64Array::from_iter(numbers.clone().map(|number| (number % 11 != 0).then_some(number as f64 / 100.0))))),
        (
            "note",
            Arc::new(StringArray::from_iter(numbers.clone().map(|number| (number % 3 == 0).then(|| format!("order {number} was late"))))),
        ),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.map(|number| 1_700_000_000_000_000 + number * 1_000)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn write(path: &Path, rows: i64) {
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch(0, 1).schema(), None).unwrap();
    let mut from = 0;
    while from < rows {
        let count = (rows - from).min(50_000);
        writer.write(&batch(from, count)).unwrap();
        from += count;
    }
    writer.close().unwrap();
}

/// Runs a command to its end; its peak of memory in MiB.
fn peak_mib(mut command: Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    let mut peak_kib = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kib = peak_kib.max(line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak_kib >> 10;
        }
        let _ = pause.recv_timeout(Duration::from_millis(2));
    }
}

#[test]
fn in_and_out_in_bounded_memory() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let rows = row_count();
    write(&dir.path().join("large.parquet"), rows);
    place.done("create t --like large.parquet");
    let lines = ["append t --from large.parquet --quiet", "scan t --output parquet --out out.parquet", "scan t --output csv --out out.csv"];
    for line in lines {
        let began = std::time::Instant::now();
        let peak = peak_mib(place.command(line));
        println!("{rows} rows, {line}: peak {peak} MiB, {:?}", began.elapsed());
        assert!(peak < PEAK_MIB_MAX, "{line}: {peak} MiB");
    }
    place.done("create again --like large.parquet");
    let peak = peak_mib(place.command("append again --from out.csv --quiet"));
    println!("{rows} rows, append from csv: peak {peak} MiB");
    assert!(peak < PEAK_MIB_MAX, "append from csv: {peak} MiB");
    check(&dir.path().join("out.parquet"), rows);
}

/// Compares the file with what was generated, piece by piece.
fn check(path: &Path, rows: i64) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().with_batch_size(50_000).build().unwrap();
    let mut next = 0;
    for found in reader {
        let found = found.unwrap();
        let expected = batch(next, found.num_rows() as i64);
        for (index, column) in expected.columns().iter().enumerate() {
            assert_eq!(found.column(index).as_ref(), column as &dyn Array, "column {index} of the rows from {next}");
        }
        assert_eq!(found.column(0).as_primitive::<Int64Type>().value(0), next);
        next += found.num_rows() as i64;
    }
    assert_eq!(next, rows);
}
