//! The real file through the program and back, by every format and on every ground.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::program::{GROUNDS, Ground, Place};
use crate::{forbidden, real_file, rows, scratch};

fn read_parquet(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    rows::without_notes(&concat_batches(&schema, &batches).unwrap())
}

fn superstore() -> RecordBatch {
    let (schema, batches) = real_file::superstore(9_994);
    rows::without_notes(&concat_batches(&schema, &batches).unwrap())
}

/// The same rows in the types that come out, where a table stores a type under another name (text, dictionaries).
fn as_stored(original: &RecordBatch, found: &RecordBatch) -> RecordBatch {
    let schema = found.schema();
    let pairs = original.columns().iter().zip(schema.fields());
    let columns = pairs.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(found.schema(), columns).unwrap()
}

#[test]
fn every_format_brings_the_same_rows_back() {
    let original = superstore();
    for ground in GROUNDS {
        if ground == Ground::Forbidden && !forbidden::is_possible() {
            continue;
        }
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place { dir: &store, ground };
        place.done(&format!("create orders --like {}", real_file::SUPERSTORE));
        place.done(&format!("append orders --from {}", real_file::SUPERSTORE));
        place.done("scan orders --output parquet --out first.parquet");
        let first = read_parquet(&dir.path().join("first.parquet"));
        let names = |batch: &RecordBatch| {
            batch.schema().fields().iter().map(|field| (field.name().clone(), field.is_nullable())).collect::<Vec<_>>()
        };
        assert_eq!(names(&first), names(&original));
        assert_eq!(first, as_stored(&original, &first), "{ground:?}");
        for (output, ending) in [("parquet", "parquet"), ("arrow", "arrow"), ("csv", "csv"), ("json", "ndjson")] {
            place.done(&format!("scan orders --output {output} --out between.{ending}"));
            place.done(&format!("create {output} --like first.parquet --set compression=lz4"));
            place.done(&format!("append {output} --from between.{ending} --batch-rows 3000"));
            place.done(&format!("scan {output} --output parquet --out last.parquet"));
            assert_eq!(read_parquet(&dir.path().join("last.parquet")), first, "{ground:?} by {output}");
        }
        place.done("verify");
    }
}

#[test]
fn buckets_and_projections_keep_every_row() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let original = superstore();
    let key = original.schema().field(0).name().clone();
    place.done_of(&["create", "orders", "--like", real_file::SUPERSTORE, "--buckets", "5", "--bucket-key", &key]);
    place.done(&format!("append orders --from {}", real_file::SUPERSTORE));
    let printed = place.done_of(&["scan", "orders", "--columns", &key, "--output", "csv"]);
    let mut found: Vec<&str> = printed.lines().skip(1).collect();
    let cast = arrow::compute::cast(original.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
    let mut expected: Vec<&str> = arrow::array::AsArray::as_string::<i32>(&cast).iter().flatten().collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn standard_output_by_its_name_is_what_the_shell_made_it() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"a\"\ntype = \"int64\"\n").unwrap();
    place.done("create t --schema t.toml");
    let path = dir.path().join("log.txt");
    for (verb, printed) in [("scan t --output csv", "a\n"), ("describe t --output json", "{"), ("metrics", "# ")] {
        for name in ["/dev/stdout", "/proc/self/fd/1"] {
            let line = format!("{verb} --out {name}");
            assert!(place.done(&line).starts_with(printed), "{line}");
            std::fs::write(&path, "before\n").unwrap();
            let log = std::fs::File::options().append(true).open(&path).unwrap();
            assert!(place.command(&line).stdout(log).status().unwrap().success());
            assert!(std::fs::read_to_string(&path).unwrap().starts_with(&format!("before\n{printed}")), "{line}");
        }
    }
    assert!(Path::new("/dev/stdout").is_symlink());
}

#[test]
fn seconds_come_back_through_parquet() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let schema = |unit: &str| {
        let field = |(name, kind): (&str, &str)| format!("[[field]]\nname = \"{name}\"\ntype = \"{}\"\n", kind.replace("UNIT", unit));
        [("at", "timestamp(UNIT)"), ("zoned", "timestamp(UNIT, UTC)"), ("time", "time(UNIT)")].map(field).concat()
    };
    std::fs::write(dir.path().join("s.toml"), schema("s")).unwrap();
    std::fs::write(dir.path().join("ms.toml"), schema("ms")).unwrap();
    let rows = "at,zoned,time\n2026-01-31T23:59:59,2026-01-31T23:59:59Z,23:59:59\n1969-12-31T23:59:59,,00:00:01\n";
    std::fs::write(dir.path().join("rows.csv"), rows).unwrap();
    for table in ["first", "last"] {
        place.done(&format!("create {table} --schema s.toml"));
    }
    place.done("append first --from rows.csv");
    place.done("scan first --output parquet --out seconds.parquet");
    place.done("append last --from seconds.parquet");
    assert_eq!(place.done("scan last --output csv"), rows);

    place.done("create finer --schema ms.toml");
    std::fs::write(dir.path().join("finer.csv"), rows.replace("23:59:59,", "23:59:59.000,").replace("00:00:01", "00:00:01.250")).unwrap();
    place.done("append finer --from finer.csv");
    place.done("scan finer --output parquet --out finer.parquet");
    let said = place.fails(1, "append last --from finer.parquet");
    assert!(said.contains("00:00:01.250 is not whole in time(s), column time, file finer.parquet, row 2,"), "{said}");
    assert_eq!(place.done("scan last --output csv").lines().count(), 4, "the row before it was appended");
}
