//! Tables with a primary key at the command line: changes as inputs have them, good and bad; what is half said is not done.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::program::Place;
use crate::scratch;

const TABLE: &str = "[[field]]\nname = \"id\"\ntype = \"int64\"\n[[field]]\nname = \"text\"\ntype = \"utf8\"\n";

fn create(place: Place<'_>, dir: &Path) {
    std::fs::write(dir.join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml --primary-key id");
}

/// The rows as `id,text`, by their ids.
fn rows(place: Place<'_>) -> Vec<String> {
    place.done("scan t --output csv").lines().skip(1).map(str::to_string).collect()
}

/// Upserts what must be refused; the error line.
fn refused(place: Place<'_>, line: &str, input: &str) -> String {
    let output = place.feed(line, input.as_bytes());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn fed(place: Place<'_>, line: &str, input: &str) {
    let output = place.feed(line, input.as_bytes());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_batch_size_keeps_updates_whole() {
    let changes = "id,text,_op\n1,a,+I\n2,b,0\n1,a,-U\n1,c,+U\n2,b,-D\n3,d,2\n3,d,1\n3,e,2\n4,f,+I\n4,,3\n";
    for batch_rows in [1, 2, 3, 4, 100] {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        create(place, dir.path());
        fed(place, &format!("upsert t --from - --format csv --op-column _op --batch-rows {batch_rows}"), changes);
        assert_eq!(rows(place), ["1,c", "3,e"], "{batch_rows} rows a batch");
        let ops: Vec<String> = place.done("tail t --output csv --columns id").lines().skip(1).map(str::to_string).collect();
        assert_eq!(ops, ["1,+I", "2,+I", "1,-U", "1,+U", "2,-D", "3,+U", "3,-U", "3,+U", "4,+I", "4,-D"]);
    }
}

#[test]
fn a_bad_row_ends_it_behind_the_rows_before_it() {
    let bad = [
        ("csv", "id,text,_op\n1,a,+I\n2,b,+A\n3,c,+I\n", "'+A' is none of +I, -U, +U, -D, nor 0 to 3", "line 3, column _op"),
        ("csv", "id,text,_op\n1,a,0\n2,b,4\n", "'4' is none of", "line 3, column _op"),
        ("csv", "id,text,_op\n1,a,0\n2,b,\n", "null", "line 3, column _op"),
        ("csv", "id,text,_op\n1,a,0\n,b,0\n", "null", "line 3, column id"),
        ("csv", "id,text,_op\n1,a,0\n2,b,-U\nx,b,+U\n", "'x' is not an int64", "line 4, column id"),
        ("csv", "id,text,_op\n1,a,0\n2,b,-U\n3,b,+U\n", "not followed", "file standard input, line 3"),
        ("csv", "id,text,_op\n1,a,0\n2,b,-U\n", "not followed", "file standard input, line 3"),
        ("ndjson", "{\"_op\":0,\"id\":1,\"text\":\"a\"}\n{\"_op\":7,\"id\":2}\n", "'7' is none of", "line 2, column _op"),
        ("ndjson", "{\"_op\":\"+I\",\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n", "_op", "line 2"),
        ("ndjson", "{\"_op\":\"+I\",\"id\":1,\"text\":\"a\"}\n{\"_op\":[],\"id\":2}\n", "a list where", "line 2, column _op"),
    ];
    for (format, input, what, at) in bad {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        create(place, dir.path());
        let error = refused(place, &format!("upsert t --from - --format {format} --op-column _op"), input);
        assert!(error.contains(what) && error.contains(at) && error.contains("rows_upserted 1"), "{input}: {error}");
        assert_eq!(rows(place), ["1,a"], "{input}");
    }
}

#[test]
fn bad_lines_may_be_left_out() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    fed(place, "upsert t --from - --format csv --op-column _op --on-error skip", "id,text,_op\n1,a,+I\n2,b,+A\n3,c,+I\n");
    assert_eq!(rows(place), ["1,a", "3,c"]);
    fed(place, "delete t --keys - --format ndjson --on-error skip", "{\"id\":\"x\"}\n{\"id\":1}\n{\"id\":8}\n");
    assert_eq!(rows(place), ["3,c"]);
}

#[test]
fn parquet_says_what_rows_are_with_texts_or_numbers() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let write = |name: &str, ops: ArrayRef| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ops.len() as i64));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..ops.len()).map(|row| format!("{name} {row}"))));
        let batch = RecordBatch::try_from_iter([("kind", ops), ("id", ids), ("text", texts)]).unwrap();
        let mut writer = ArrowWriter::try_new(std::fs::File::create(dir.path().join(name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    write("texts", Arc::new(StringArray::from(vec!["+I", "+U", "-D", "+I"])));
    place.done("upsert t --from texts --op-column kind");
    assert_eq!(rows(place), ["0,texts 0", "1,texts 1", "3,texts 3"]);
    write("numbers", Arc::new(Int8Array::from(vec![3, 2, 0, 9])));
    let error = place.fails(1, "upsert t --from numbers --op-column kind --batch-rows 3");
    assert!(error.contains("'9' is none of") && error.contains("file numbers, row 4, rows_upserted 3"), "{error}");
    assert_eq!(rows(place), ["1,numbers 1", "2,numbers 2", "3,texts 3"], "the rows before it");
    let error = place.fails(1, "upsert t --from numbers");
    assert!(error.contains("no column `kind`"), "{error}");
    let error = place.fails(1, "upsert t --from numbers --op-column sort");
    assert!(error.contains("lacks the column") && error.contains("sort"), "{error}");
}

#[test]
fn a_table_that_has_the_column_keeps_it() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("changes.csv"), "id,op\n1,+I\n2,+U\n1,-D\n").unwrap();
    place.done("create t --like changes.csv --primary-key id");
    place.done("upsert t --from changes.csv --op-column op");
    assert_eq!(rows(place), ["2,+U"]);
}

#[test]
fn the_changelog_of_one_table_makes_another() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    fed(place, "upsert t --from - --format csv", "id,text\n1,a\n2,b\n3,c\n1,d\n");
    fed(place, "delete t --keys - --format csv", "id\n2\n");
    place.done("create copy --schema t.toml --primary-key id --buckets 3");
    for format in ["csv", "json", "arrow", "parquet"] {
        place.done(&format!("tail t --changelog --output {format} --out changes.{format}"));
        place.done(&format!("upsert copy --from changes.{format} --op-column _op"));
        let mut copied: Vec<String> = place.done("scan copy --output csv").lines().skip(1).map(str::to_string).collect();
        copied.sort();
        assert_eq!(copied, rows(place), "{format}");
    }
}

#[test]
fn what_passes_of_a_changelog_can_be_upserted_elsewhere() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    place.done("create t2 --schema t.toml --primary-key id --changelog lookup");
    fed(place, "upsert t2 --from - --format csv", "id,text\n1,a\n2,b\n3,c\n");
    fed(place, "upsert t2 --from - --format csv", "id,text\n1,b\n2,z\n3,d\n2,y\n");
    fed(place, "upsert t2 --from - --format csv", "id,text\n3,b\n1,bb\n");
    for (number, filter) in ["text < 'c'", "text = 'b'", "id = 2", "text > 'y'"].iter().enumerate() {
        place.done(&format!("create copy{number} --schema t.toml --primary-key id"));
        let changes = place.done_of(&["tail", "t2", "--changelog", "--output", "csv", "--where", filter]);
        fed(place, &format!("upsert copy{number} --from - --format csv --op-column _op"), &changes);
        let expected = place.done_of(&["scan", "t2", "--output", "csv", "--where", filter]);
        assert_eq!(place.done(&format!("scan copy{number} --output csv")), expected, "{filter}");
    }
}

#[test]
fn an_interrupted_upsert_keeps_what_it_acknowledged() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let mut upsert = place.start("upsert t --from - --format ndjson --acks --batch-rows 50");
    let mut input = upsert.input.take().unwrap();
    let feeding = std::thread::spawn(move || (0_i64..).find(|id| writeln!(input, "{{\"id\":{id}}}").is_err()));
    for _ in 0..10 {
        upsert.line();
    }
    upsert.signal("INT");
    let last = upsert.lines.iter().last().map(|(_, line)| line);
    let (code, said) = upsert.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted; rows upserted: "), "{said}");
    feeding.join().unwrap();
    let acked = last.map_or(500, |line| serde_json::from_str::<serde_json::Value>(&line).unwrap()["rows_total"].as_u64().unwrap());
    assert!(rows(place).len() as u64 >= acked && acked >= 500, "{acked} acknowledged");
}

#[test]
fn lookups_say_what_they_did_not_find() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    fed(place, "upsert t --from - --format csv", "id,text\n1,a\n2,\"b,c\"\n");
    let some = place.run("lookup t --key id=2 --key id=9 --key id=1 --key id=2 --output csv");
    assert_eq!(String::from_utf8(some.stdout).unwrap(), "id,text\n2,\"b,c\"\n1,a\n2,\"b,c\"\n");
    assert_eq!((some.status.code(), String::from_utf8(some.stderr).unwrap()), (Some(0), "1 of 4 keys not found\n".to_string()));
    let none = place.run("lookup t --key id=9 --output csv");
    assert_eq!((none.status.code(), none.stdout.len()), (Some(3), 0));
    let quiet = place.run("lookup t --key id=9 --output csv --quiet");
    assert_eq!((quiet.status.code(), quiet.stdout.len(), quiet.stderr.len()), (Some(3), 0, 0));
    let empty = place.feed("lookup t --keys - --format csv", b"id\n");
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0), "nothing was asked for");
    assert!(refused(place, "lookup t --keys - --format csv", "id\n1\nx\n").contains("line 3, column id"));
    assert!(refused(place, "lookup t --keys - --format csv", "text\na\n").contains("lacks column 'id'"));
    place.fails(2, "lookup t --key text=a");
    place.fails(2, "lookup t --key id=");
}
