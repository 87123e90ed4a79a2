//! Rows that are too large, at the command line: which are left out, what becomes of the others, and what is no row of the input at all.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::program::Place;
use crate::scratch;

const TABLE: &str = "[[field]]\nname = \"k\"\ntype = \"int64\"\n[[field]]\nname = \"l\"\ntype = \"utf8\"\n";

/// Larger than a batch of the tables here.
const LARGE: usize = 5_000;

fn create(place: Place<'_>, dir: &Path, rest: &str) {
    std::fs::write(dir.join("t.toml"), TABLE).unwrap();
    place.done(&format!("create t --schema t.toml --set batch.bytes.max=4KiB {rest}"));
}

fn rows(place: Place<'_>, columns: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        place.done(&format!("scan t --columns {columns} --output csv")).lines().skip(1).map(str::to_string).collect();
    rows.sort();
    rows
}

/// A parquet file of a row for each of the texts.
fn parquet(path: &Path, texts: &[&str]) {
    parquet_of(path, (0..texts.len() as i64).map(Some).collect(), texts);
}

fn parquet_of(path: &Path, keys: Int64Array, texts: &[&str]) {
    let keys: ArrayRef = Arc::new(keys);
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let batch = RecordBatch::try_from_iter([("k", keys), ("l", texts)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_merged_row_that_is_too_large_is_no_row_of_the_input() {
    for on_error in ["fail", "skip"] {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        let n = "[[field]]\nname = \"n\"\ntype = \"int64\"\n";
        std::fs::write(dir.path().join("t.toml"), format!("{TABLE}{n}")).unwrap();
        let merge = "--merge aggregation --set fields.l.aggregate-function=listagg --set fields.n.aggregate-function=sum";
        place.done(&format!("create t --schema t.toml --primary-key k --buckets 4 --changelog lookup --set batch.bytes.max=4KiB {merge}"));
        // Of the third, each row fits, but not what becomes of key 7.
        let text = |key| "x".repeat(if key == 7 { 1_000 } else { 1 });
        let input: String = (0..40).map(|key| format!("{key},{},1\n", text(key))).collect();
        let line = format!("upsert t --from - --format csv --on-error {on_error}");
        let upsert = || place.feed(&line, format!("k,l,n\n{input}").as_bytes());
        assert!(upsert().status.success() && upsert().status.success());
        let third = upsert();
        let error = String::from_utf8(third.stderr).unwrap();
        assert_eq!((third.status.code(), error.lines().count()), (Some(1), 1), "{on_error}: {error}");
        assert!(error.contains("aquifer: EXHAUSTED: ") && error.contains(", key k=7, "), "{error}");
        let told =
            |name: &str| error.split(&format!(", {name} ")).nth(1).map(|rest| rest.split([',', ';']).next().unwrap().trim().to_string());
        assert!(["row", "line", "file"].iter().all(|name| told(name).is_none()), "{error}");
        let [failed, upserted] = ["rows_failed", "rows_upserted"].map(|name| told(name).unwrap().parse::<usize>().unwrap());
        let sums = rows(place, "k,n");
        let thrice = sums.iter().filter(|row| row.ends_with(",3")).count();
        assert_eq!((thrice, sums.iter().filter(|row| row.ends_with(",2")).count()), (upserted, failed), "{on_error}: {error}: {sums:?}");
        assert!(thrice + failed == 40 && sums.contains(&"7,2".to_string()), "{on_error}: {sums:?}");
    }
}

#[test]
fn thousands_of_rows_that_are_too_large_are_left_out() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path(), "--primary-key k --buckets 3");
    let large = "x".repeat(LARGE);
    let texts: Vec<&str> = (0..30_000).map(|row| if row == 22_222 { "small" } else { large.as_str() }).collect();
    parquet(&dir.path().join("rows.parquet"), &texts);
    let output = place.run("upsert t --from rows.parquet --batch-rows 30000 --on-error skip");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}", told.lines().last().unwrap_or_default());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["rows"].as_u64(), report["skipped"].as_u64()), (Some(1), Some(29_999)), "{report}");
    let in_order = told.lines().zip((1..).filter(|row| *row != 22_223));
    in_order.for_each(|(line, row)| assert!(line.starts_with(&format!("aquifer: left out row {row} of rows.parquet: ")), "{row}: {line}"));
    assert_eq!((told.lines().count(), rows(place, "k")), (29_999, vec!["22222".to_string()]));
}

#[test]
fn rows_that_fit_no_table_are_left_out_beside_those_that_are_too_large() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path(), "--primary-key k");
    let large = "x".repeat(LARGE);
    let keys = Int64Array::from(vec![Some(1), Some(2), Some(3), Some(4), None, Some(6)]);
    parquet_of(&dir.path().join("rows.parquet"), keys, &["a", "b", &large, "d", "e", "f"]);
    let output = place.run("upsert t --from rows.parquet --on-error skip");
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("aquifer: left out row 3 of rows.parquet: a row of "), "{told}");
    assert!(lines[1].starts_with("aquifer: left out row 5 of rows.parquet, column k: null in "), "{told}");
    assert_eq!((output.status.code(), rows(place, "k")), (Some(0), ["1", "2", "4", "6"].map(String::from).to_vec()), "{told}");
}

#[test]
fn of_an_update_that_is_too_large_both_rows_are_left_out() {
    let large = "x".repeat(LARGE);
    let half = &large[..LARGE / 2];
    // The row behind it, the row before it, both, and both together only.
    for (before, after) in [("a", large.as_str()), (&large, "b"), (&large, &large), (half, half)] {
        for batch_rows in [1, 2, 3, 100] {
            let dir = scratch::directory();
            let store = dir.path().join("store");
            let place = Place::new(&store);
            create(place, dir.path(), "--primary-key k --buckets 2");
            let input =
                format!("k,l,_op\n1,a,+I\n2,a,+I\n3,a,+I\n2,{before},-U\n2,{after},+U\n3,a,-U\n3,c,+U\n1,a,-U\n1,c,+U\n4,{large},+I\n");
            let line = format!("upsert t --from - --format csv --op-column _op --batch-rows {batch_rows} --on-error skip");
            let output = place.feed(&line, input.as_bytes());
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{batch_rows}: {told}");
            let lines: Vec<&str> = told.lines().collect();
            assert!(
                lines.len() == 2 && lines[0].starts_with("aquifer: left out lines 5 and 6 of standard input, an update: "),
                "{batch_rows}: {told}"
            );
            assert!(lines[1].starts_with("aquifer: left out line 11 of standard input: a row of "), "{batch_rows}: {told}");
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((report["rows"].as_u64(), report["skipped"].as_u64()), (Some(7), Some(3)), "{report}");
            assert_eq!(rows(place, "k,l"), ["1,c", "2,a", "3,c"], "{batch_rows}");
        }
    }
}

#[test]
fn rows_are_written_although_nobody_reads_what_is_said_of_others() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path(), "");
    let large = "x".repeat(LARGE);
    let texts: Vec<&str> = (0..50).map(|row| if row % 2 == 0 { large.as_str() } else { "small" }).collect();
    parquet(&dir.path().join("rows.parquet"), &texts);
    let csv: String = (0..50).map(|row| if row % 2 == 0 { format!("x{row},bad\n") } else { format!("{row},small\n") }).collect();
    std::fs::write(dir.path().join("rows.csv"), format!("k,l\n{csv}")).unwrap();
    for (name, times) in [("rows.parquet", 1), ("rows.csv", 2)] {
        let mut command: Command = place.command(&format!("append t --from {name} --on-error skip"));
        let mut append = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(append.stderr.take());
        let mut said = String::new();
        append.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(append.wait().unwrap().success() && said.contains("\"skipped\":25"), "{name}: {said}");
        assert_eq!(rows(place, "k").len(), 25 * times, "{name}");
    }
}
