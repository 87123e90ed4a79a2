//! Whole command lines on real directories: exit codes, and rows that come out as they went in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::run;

/// Runs a command line in `dir`; arguments that name files there begin with `@`.
fn aquifer(dir: &Path, line: &[&str]) -> u8 {
    let file = |word: &&str| word.strip_prefix('@').map_or_else(|| word.into(), |name| dir.join(name).into_os_string());
    let store = dir.join("store").into_os_string();
    run(["aquifer".into(), "--quiet".into(), "--dir".into(), store].into_iter().chain(line.iter().map(file)))
}

fn rows() -> RecordBatch {
    let count = 25_000;
    let price = Decimal128Array::from_iter((0..count).map(|row| (row % 7 != 0).then_some(i128::from(row) * 101)));
    let lists = (0..count).map(|row| (row % 5 != 0).then(|| (0..row % 3).map(|item| Some(item as i32))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..count))),
        ("price", Arc::new(price.with_data_type(DataType::Decimal128(12, 2)))),
        ("name", Arc::new(StringArray::from_iter((0..count).map(|row| (row % 3 != 0).then(|| "x,\"\n".repeat(row as usize % 3)))))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..count).map(|row| row * 1_234_567)).with_timezone("UTC"))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn write(path: &Path, rows: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

fn read(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    concat_batches(&schema, &builder.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

#[test]
fn rows_come_out_as_they_went_in_through_every_format() {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let dir = scratch.path();
    write(&dir.join("in.parquet"), &rows());
    assert_eq!(aquifer(dir, &["create", "first", "--like", "@in.parquet"]), 0);
    assert_eq!(aquifer(dir, &["append", "first", "--from", "@in.parquet", "--batch-rows", "4000"]), 0);
    for (output, format) in [("parquet", "parquet"), ("csv", "csv"), ("json", "ndjson"), ("arrow", "arrow")] {
        assert_eq!(aquifer(dir, &["scan", "first", "--output", output, "--out", "@between"]), 0);
        assert_eq!(aquifer(dir, &["create", output, "--like", "@in.parquet"]), 0);
        assert_eq!(aquifer(dir, &["append", output, "--from", "@between", "--format", format]), 0);
        assert_eq!(aquifer(dir, &["scan", output, "--output", "parquet", "--out", "@out.parquet"]), 0);
        let (found, expected) = (read(&dir.join("out.parquet")), rows());
        for (found, expected) in found.columns().iter().zip(expected.columns()) {
            // The names of list items are the store's own.
            assert_eq!(format!("{:?}", found.slice(0, 20)), format!("{:?}", expected.slice(0, 20)), "{output}");
            assert_eq!(found.len(), expected.len(), "{output}");
        }
        assert_eq!(found.column(0), expected.column(0), "{output}");
    }
}

#[test]
fn each_failure_has_its_exit_code() {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let dir = scratch.path();
    fs::write(dir.join("good.toml"), "[[field]]\nname='a'\ntype='int64'\nnullable=false").unwrap();
    fs::write(dir.join("good.csv"), "a\n1\n2\n").unwrap();
    fs::write(dir.join("bad.csv"), "a\n1\nx\n").unwrap();
    fs::write(dir.join("bad.parquet"), "PAR1 and nothing else").unwrap();
    assert_eq!(aquifer(dir, &["list"]), 3);
    assert_eq!(aquifer(dir, &["create", "t"]), 2);
    assert_eq!(aquifer(dir, &["create", "t", "--schema", "@good.toml"]), 0);
    assert_eq!(aquifer(dir, &["create", "t", "--schema", "@good.toml"]), 4);
    assert_eq!(aquifer(dir, &["append", "t", "--from", "@good.csv"]), 0);
    assert_eq!(aquifer(dir, &["append", "t", "--from", "@bad.csv"]), 1);
    assert_eq!(aquifer(dir, &["append", "t", "--from", "@bad.csv", "--on-error", "skip"]), 0);
    assert_eq!(aquifer(dir, &["append", "t", "--from", "@bad.parquet"]), 1);
    assert_eq!(aquifer(dir, &["append", "t", "--from", "@none.csv"]), 3);
    assert_eq!(aquifer(dir, &["append", "u", "--from", "@good.csv"]), 3);
    assert_eq!(aquifer(dir, &["scan", "t", "--columns", "b"]), 2);
    assert_eq!(aquifer(dir, &["scan", "t", "--where", "a >"]), 2);
    assert_eq!(aquifer(dir, &["--set", "no.such=1", "list"]), 2);
    assert_eq!(aquifer(dir, &["verify", "--out", "@verified.json"]), 0);
    // Two good ones, and twice the one before the bad one.
    assert!(fs::read_to_string(dir.join("verified.json")).unwrap().contains("\"rows\":4"));
}

#[test]
fn nothing_is_made_for_a_table_that_cannot_be_there() {
    let scratch = tempfile::tempdir_in(".").unwrap();
    assert_eq!(aquifer(scratch.path(), &["append", "t", "--from", "@x.csv"]), 3);
    assert_eq!(aquifer(scratch.path(), &["create", "t", "--like", "@x.csv"]), 3);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_checks_itself_and_leaves_nothing_unless_asked() {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let dir = scratch.path();
    let line = ["demo", "shop", "--seconds", "1", "--rate", "500/s", "--seed", "3", "--keep", "@kept", "--out", "@checks.json"];
    assert_eq!(aquifer(dir, &line), 0);
    let checks = fs::read_to_string(dir.join("checks.json")).unwrap();
    for check in ["rows read", "items as in the log", "users as their changes say", "items looked up"] {
        assert!(checks.contains(&format!("{{\"check\":\"{check}\"")), "{check}: {checks}");
    }
    assert_eq!(aquifer(dir, &["--dir", "@kept", "verify", "--out", "@verified.json"]), 2, "--dir twice is wrong usage");
    assert_eq!(aquifer(dir, &line), 4, "a directory that is there is not touched");
}

#[test]
fn a_request_that_makes_no_sense_is_wrong_usage() {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let dir = scratch.path();
    fs::write(dir.join("t.toml"), "[[field]]\nname='a'\ntype='int64'\n[[field]]\nname='_offset'\ntype='int64'\n").unwrap();
    write(&dir.join("in.parquet"), &rows());
    assert_eq!(aquifer(dir, &["create", "t", "--like", "@t.toml"]), 2, "a schema file has no rows");
    assert_eq!(aquifer(dir, &["create", "t", "--schema", "@in.parquet"]), 2, "a file with rows is no schema file");
    assert_eq!(aquifer(dir, &["create", "t", "--schema", "@t.toml"]), 0);
    assert_eq!(aquifer(dir, &["scan", "t", "--columns", "a,a"]), 2);
    assert_eq!(aquifer(dir, &["scan", "t", "--meta"]), 2, "two columns would have one name");
    assert_eq!(aquifer(dir, &["scan", "t", "--meta", "--columns", "a", "--out", "@a.csv"]), 0);
    assert!(fs::read_to_string(dir.join("a.csv")).unwrap().starts_with("a,_bucket,"), "the name of the file says csv");
    assert_eq!(aquifer(dir, &["scan", "t", "--out", "@a.parquet"]), 0);
    assert_eq!(read(&dir.join("a.parquet")).num_columns(), 2);
    assert_eq!(aquifer(dir, &["scan", "t", "--out", "@b.csv", "--output", "json"]), 0);
    assert_eq!(fs::read_to_string(dir.join("b.csv")).unwrap(), "");
}

#[test]
fn help_is_given_however_it_is_asked_for() {
    for line in [&["help", "--help"][..], &["help", "-h"], &["help", "scan", "--help"], &["help", "scan"], &["scan", "--help"]] {
        let words = ["aquifer"].iter().chain(line).map(|word| (*word).into());
        assert_eq!(run(words), 0, "{line:?}");
    }
}
