//! Bad input at the command line: a clear line, the right exit code, and exactly the rows that the rules promise.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::program::Place;
use crate::{real_file, scratch};

const TABLE: &str = "[[field]]\nname = \"number\"\ntype = \"int32\"\nnullable = false\n[[field]]\nname = \"text\"\ntype = \"utf8\"\n";

fn create(place: Place<'_>, dir: &Path) {
    std::fs::write(dir.join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml");
}

fn numbers(place: Place<'_>) -> Vec<String> {
    place.done("scan t --columns number --output csv").lines().skip(1).map(str::to_string).collect()
}

/// `count` good rows as csv and as ndjson.
fn good(count: usize) -> (String, String) {
    let csv: String = (0..count).map(|number| format!("{number},text {number}\n")).collect();
    let ndjson = (0..count).map(|number| format!("{{\"number\":{number},\"text\":\"text {number}\"}}\n")).collect();
    (format!("number,text\n{csv}"), ndjson)
}

#[test]
fn malformed_text_is_refused_with_its_line() {
    let (csv, ndjson) = good(25);
    let bad: [(&str, String, &str); 8] = [
        ("csv", format!("{csv}x,text\n"), "line 27"),
        ("csv", format!("{csv}1,a,b\n"), "line 27"),
        ("csv", format!("{csv}99999999999,a\n"), "line 27"),
        ("csv", format!("{csv}1,\"open\n"), "line 27"),
        ("csv", format!("{csv},no number\n"), "line 27"),
        ("ndjson", format!("{ndjson}{{\"number\":1\n"), "line 26"),
        ("ndjson", format!("{ndjson}{{\"number\":\"x\"}}\n"), "line 26"),
        ("ndjson", format!("{ndjson}{{\"number\":1,\"other\":2}}\n"), "line 26"),
    ];
    for (format, input, line) in bad {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        create(place, dir.path());
        let output = place.feed(&format!("append t --from - --format {format} --batch-rows 10"), input.as_bytes());
        let error = String::from_utf8(output.stderr).unwrap();
        let tail: String = input.lines().rev().take(2).collect::<Vec<_>>().join(" | ");
        assert_eq!(output.status.code(), Some(1), "{format} {tail}: {error}");
        assert!(error.contains(line) && error.contains("aquifer: INVALID: "), "{format} {tail}: {error}");
        assert_eq!(error.lines().count(), 1, "one line: {error}");
        assert!(error.contains("rows_appended 25"), "{format} {tail}: {error}");
        let kept = numbers(place);
        assert_eq!(kept, (0..25).map(|number| number.to_string()).collect::<Vec<_>>(), "exactly the rows before it");

        let skipping = place.feed(&format!("append t --from - --format {format} --batch-rows 10 --on-error skip"), input.as_bytes());
        let said = String::from_utf8(skipping.stderr).unwrap();
        assert_eq!(skipping.status.code(), Some(0), "{said}");
        assert!(said.contains(line), "{said}");
        assert_eq!(numbers(place).len() - kept.len(), 25, "all good rows, with --on-error skip: {tail}");
    }
}

#[test]
fn the_rows_before_one_that_does_not_fit_the_table_are_kept() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let field = |name| format!("[[field]]\nname = \"{name}\"\ntype = \"int32\"\nnullable = false\n");
    std::fs::write(dir.path().join("t.toml"), field("number") + &field("other")).unwrap();
    place.done("create t --schema t.toml");
    // The column that is looked at first has its bad row behind that of the other.
    let without = |row| Arc::new((0..30).map(|number| Some(number).filter(|number| *number != row)).collect::<Int32Array>()) as ArrayRef;
    let given = RecordBatch::try_from_iter([("number", without(21)), ("other", without(17))]).unwrap();
    let mut file = ArrowWriter::try_new(std::fs::File::create(dir.path().join("nulls.parquet")).unwrap(), given.schema(), None).unwrap();
    file.write(&given).unwrap();
    file.close().unwrap();
    for batch_rows in [10_000, 10, 1] {
        let before = numbers(place).len();
        let error = place.fails(1, &format!("append t --from nulls.parquet --batch-rows {batch_rows}"));
        assert!(error.contains("column other, file nulls.parquet, row 18, rows_appended 17"), "{error}");
        assert_eq!(numbers(place)[before..], (0..17).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_header_that_does_not_fit_is_refused() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let output = place.feed("append t --from - --format csv", b"nummer,text\n1,a\n");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("nummer") && error.contains("number"), "{error}");
    assert!(numbers(place).is_empty());
}

#[test]
fn truncated_files_are_refused() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let whole = std::fs::read(real_file::SUPERSTORE).unwrap();
    place.done(&format!("create t --like {}", real_file::SUPERSTORE));
    place.done(&format!("append t --from {}", real_file::SUPERSTORE));
    place.done("scan t --output arrow --out whole.arrow");
    let arrow = std::fs::read(dir.path().join("whole.arrow")).unwrap();
    let before = place.done("stats t --output json");
    for (name, bytes) in [
        ("half.parquet", &whole[..whole.len() / 2]),
        ("footless.parquet", &whole[..whole.len() - 1]),
        ("empty.parquet", &whole[..0]),
        ("headless.arrow", &arrow[..7]),
        ("half.arrow", &arrow[..arrow.len() / 2]),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let output = place.run(&format!("append t --from {name} --batch-rows 1000"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 5)), "{name}: {:?} {error}", output.status);
        assert!(error.contains(name) && error.lines().count() == 1, "{name}: {error}");
    }
    let after: serde_json::Value = serde_json::from_str(&place.done("stats t --output json")).unwrap();
    let before: serde_json::Value = serde_json::from_str(&before).unwrap();
    let more = after["rows"].as_u64().unwrap() - before["rows"].as_u64().unwrap();
    assert!(more < 9_994 && more.is_multiple_of(1_000), "{more} rows: whole batches of the halves, at most");
}

#[test]
fn exit_codes_and_errors_as_json() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    place.fails(3, "scan t");
    create(place, dir.path());
    for (code, line, says) in [
        (2, "scan t --columns nummber", "number"),
        (2, "scan t --where nummber>1", "number"),
        (2, "tail t --from offset:5", "0 to 0"),
        (2, "tail t --from somewhere", "earliest"),
        (2, "append t", "--from"),
        (2, "nonsense", "--help"),
        (2, "scan t --output yaml", "yaml"),
        (2, "create u --schema t.toml --set compresion=lz4", "compression"),
        (2, "alter t --drop-column nothing", "nothing"),
        (3, "scan tt", "t"),
        (3, "describe nothing", "nothing"),
        (3, "drop nothing", "nothing"),
        (3, "append t --from nothing.csv", "nothing.csv"),
        (3, "create u --schema nothing.toml", "nothing.toml"),
        (4, "create t --schema t.toml", "exists"),
    ] {
        let error = place.fails(code, line);
        assert!(error.starts_with("aquifer: ") && error.lines().count() == 1, "{line}: {error}");
        assert!(error.contains(says), "{line} says {says}: {error}");
        let error = place.fails(code, &format!("{line} --output json"));
        if line.contains("--output") {
            continue;
        }
        let json: serde_json::Value = serde_json::from_str(&error).unwrap_or_else(|_| panic!("{line}: {error}"));
        assert!(json["error"].is_string() && json["message"].is_string(), "{error}");
    }
}

#[test]
fn a_directory_that_is_in_use_is_a_conflict() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let append = place.start("append t --from - --format ndjson --acks");
    writeln!(append.input.as_ref().unwrap(), "{{\"number\":1}}").unwrap();
    append.line();
    place.fails(4, "create other --schema t.toml");
    let error = place.fails(4, "drop t");
    assert!(error.contains("CONFLICT") && error.contains("another process"), "{error}");
    for line in ["scan t", "tail t", "stats", "list", "describe t", "verify"] {
        place.done(line);
    }
    assert_eq!(append.end().0, Some(0));
}

#[test]
fn damage_ends_with_its_own_code_in_a_process_of_its_own() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let (csv, _) = good(20_000);
    // In two goes, so that the damaged batch is the first of its frame however quickly they come.
    let (head, rows) = csv.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    for half in rows.chunks(rows.len() / 2) {
        let csv = format!("{head}\n{}\n", half.join("\n"));
        assert!(place.feed("append t --from - --format csv --batch-rows 500", csv.as_bytes()).status.success());
    }
    let segment = scratch::files(&store.join("tables"), ".log").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(20).position(|window| window == b"text 10100text 10101").unwrap();
    bytes[at + 7] ^= 2;
    std::fs::write(&segment, bytes).unwrap();
    let output = place.run("scan t --columns number,text --output csv");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{error}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name), "{error}");
    // Batches that were written together are lost together.
    let (_, offset) = error.split_once("offset ").expect("an offset");
    let offset: usize = offset.split([',', ';']).next().unwrap().parse().unwrap();
    assert!(offset <= 10_100, "{error}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1 + offset, "the rows before it were printed");
    let verify = place.run("verify --output json");
    assert_eq!(verify.status.code(), Some(5));
    let report: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(report["problems"][0]["offset"], offset, "{report}");
    assert!(report["problems"][0]["file"].as_str().unwrap().ends_with(name), "{report}");
}

#[test]
fn what_meta_added_is_refused_with_how_to_leave_it_out() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.csv"), "id,name\n1,a\n").unwrap();
    place.done("create t --like t.csv");
    place.done("append t --from t.csv");
    place.done("create k --like t.csv --primary-key id");
    for name in ["rows.parquet", "rows.arrow", "rows.csv", "rows.json"] {
        place.done(&format!("scan t --meta --out {name}"));
        for line in [format!("append t --from {name}"), format!("upsert k --from {name}")] {
            let error = place.fails(1, &line);
            assert!(error.contains("_bucket") && error.contains("without it"), "{line}: {error}");
        }
    }
    let error = place.feed("upsert k --from - --format ndjson", b"{\"id\":1,\"_op\":\"+I\"}");
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(error.contains("--op-column _op"), "{error}");
}

#[test]
fn a_row_that_is_larger_than_a_batch_is_a_bad_row() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    place.done("alter t --set batch.bytes.max=4KiB");
    let texts = (0..8).map(|number| (number, if number == 3 || number == 6 { "x".repeat(5_000) } else { "y".into() }));
    let texts: Vec<(i32, String)> = texts.collect();
    let ndjson: String = texts.iter().map(|(number, text)| format!("{{\"number\":{number},\"text\":\"{text}\"}}\n")).collect();
    let csv: String = texts.iter().map(|(number, text)| format!("{number},{text}\n")).collect();
    std::fs::write(dir.path().join("rows.ndjson"), ndjson).unwrap();
    std::fs::write(dir.path().join("rows.csv"), format!("number,text\n{csv}")).unwrap();
    let columns = [
        ("number", Arc::new(texts.iter().map(|(number, _)| *number).collect::<Int32Array>()) as ArrayRef),
        ("text", Arc::new(texts.iter().map(|(_, text)| Some(text.as_str())).collect::<StringArray>()) as ArrayRef),
    ];
    let given = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = ArrowWriter::try_new(std::fs::File::create(dir.path().join("rows.parquet")).unwrap(), given.schema(), None).unwrap();
    file.write(&given).unwrap();
    file.close().unwrap();
    for (name, bad) in [("rows.ndjson", ["line 4", "line 7"]), ("rows.csv", ["line 5", "line 8"]), ("rows.parquet", ["row 4", "row 7"])] {
        let left_out = bad.map(|bad| format!("left out {bad} of {name}: "));
        let before = numbers(place).len();
        let error = place.fails(1, &format!("append t --from {name}"));
        assert!(error.contains(&format!("table t, file {name}, {}, rows_appended 3", bad[0])), "{name}: {error}");
        assert_eq!(numbers(place)[before..], ["0", "1", "2"], "{name}: exactly the rows before it");
        let before = numbers(place).len();
        let output = place.run(&format!("append t --from {name} --on-error skip"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && left_out.iter().all(|left_out| told.contains(left_out)), "{name}: {told}");
        assert_eq!(numbers(place)[before..], ["0", "1", "2", "4", "5", "7"], "{name}");
    }
    // Where the rows go to several buckets, it is still told by its place in the input.
    place.done("create spread --schema t.toml --buckets 3 --bucket-key number --set batch.bytes.max=4KiB");
    let sorted = || {
        let printed = place.done("scan spread --columns number --output csv");
        let mut found: Vec<String> = printed.lines().skip(1).map(str::to_string).collect();
        found.sort();
        found
    };
    let error = place.fails(1, "append spread --from rows.csv");
    assert!(error.contains(", file rows.csv, line 5, "), "{error}");
    assert_eq!(sorted(), ["0", "1", "2"]);
    let told = String::from_utf8(place.run("append spread --from rows.csv --on-error skip").stderr).unwrap();
    assert!(told.contains("left out line 5 of rows.csv: ") && told.contains("left out line 8 of rows.csv: "), "{told}");
    assert_eq!(sorted(), ["0", "0", "1", "1", "2", "2", "4", "5", "7"]);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_way_out() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    // A feather file is no arrow stream.
    for name in ["txt", "feather"] {
        let error = place.fails(2, &format!("scan t --out rows.{name}"));
        assert!(error.contains(&format!("no format is called .{name}")) && error.contains(".parquet"), "{error}");
    }
    place.done("scan t --out rows.txt --output csv");
    std::fs::write(dir.path().join("empty.csv"), "").unwrap();
    let error = place.fails(1, "create u --like empty.csv");
    assert!(error.contains("--schema") && error.contains("--format"), "{error}");
    for line in ["alter t --set write-only=true", "create u --schema t.toml --set write-only=true"] {
        assert!(place.fails(2, line).contains("write-only"), "{line}");
    }
    place.done_of(&["scan", "t", "--where", "-3 <= number"]);
    place.done_of(&["scan", "t", "--columns", "\"number\", text"]);
    std::fs::remove_file(store.join("commit.page")).unwrap();
    let error = place.fails(3, "scan t");
    assert!(error.contains("the commit page of the store is missing"), "{error}");
    place.done("init");
    place.done("scan t");
}

#[test]
fn the_demo_keeps_its_store_where_dir_says() {
    let dir = scratch::directory();
    let place = Place::new(dir.path());
    place.done("demo shop --seconds 1 --rate 200/s --quiet");
    assert!(place.done("list").contains("clicks"));
    assert!(place.fails(4, "demo shop --seconds 1 --rate 200/s --quiet").contains("new or empty"));
}
