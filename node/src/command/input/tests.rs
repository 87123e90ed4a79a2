//! Inputs as users write them, good and bad.

use std::fs;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};

use super::*;
use crate::command::store::parse_type;

fn schema(columns: &[(&str, &str)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, &str)| {
        let (data_type, nullable) = data_type.strip_suffix(" not null").map_or((*data_type, true), |data_type| (data_type, false));
        Field::new(*name, parse_type(data_type).unwrap(), nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Everything that an input gives, or the error behind the batches before it.
fn read(name: &str, bytes: &[u8], schema: &SchemaRef, batch_rows: u32, on_error: OnError) -> (Vec<RecordBatch>, Result<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut batches = Vec::new();
    let mut input = match Input::open(&path, None, schema.clone(), batch_rows, on_error) {
        Ok(input) => input,
        Err(error) => return (batches, Err(error)),
    };
    loop {
        match input.next() {
            Ok(Event::Rows(placed)) => batches.push(placed.rows),
            Ok(Event::Idle) => {}
            Ok(Event::End) => return (batches, Ok(input.skipped())),
            Err(error) => return (batches, Err(error)),
        }
    }
}

fn failure(name: &str, text: &str, schema: &SchemaRef) -> String {
    read(name, text.as_bytes(), schema, 100, OnError::Fail).1.unwrap_err().to_string()
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn a_bad_csv_line_is_named_by_number_and_column() {
    let schema = schema(&[("a", "int64"), ("b", "utf8 not null")]);
    assert!(failure("x.csv", "b,a\n\"two\nlines\",1\nx,2\ny,no\n", &schema).contains("line 5, column a"));
    assert!(failure("x.csv", "a,b\n1,x\n2\n", &schema).contains("1 cell where the header has 2, file"));
    assert!(failure("x.csv", "a,b\n1,\n", &schema).contains("line 2, column b"));
    assert!(failure("x.csv", "a,b\n1,\"x\"y\n", &schema).contains("text behind a closing quote"));
    assert!(failure("x.csv", "a,b\n1,\"x\n", &schema).contains("a quote is not closed"));
    assert!(failure("x.csv", "a,c\n1,x\n", &schema).contains("unknown column 'c'"));
    assert!(failure("x.csv", "a\n1\n", &schema).contains("lacks column 'b'"));
    assert!(failure("x.csv", "a,a\n1,2\n", &schema).contains("twice"));
}

#[test]
fn a_bad_json_line_is_named_by_number_and_field() {
    let schema = schema(&[("a", "int64"), ("b", "struct<c: date not null>")]);
    assert!(failure("x.ndjson", "{\"a\":1}\n\n{\"a\":1,\"d\":2}\n", &schema).contains("unknown field 'd', file"));
    let message = failure("x.ndjson", "{\"a\":1}\n\n{\"a\":2,\"b\":{\"c\":\"soon\"}}\n", &schema);
    assert!(message.contains("line 3, column b.c"), "{message}");
    assert!(failure("x.ndjson", "{\"a\":1}\n{\"a\":", &schema).contains("line 2"));
    assert!(failure("x.ndjson", "{\"a\":1} {\"a\":2}", &schema).contains("line 1"));
}

#[test]
fn bad_lines_are_left_out_on_request_and_nothing_else_is() {
    let schema = schema(&[("a", "int64"), ("b", "list<int32>")]);
    let csv = "a,b\n1,[1]\nx,[2]\n3,\"[3,\"\n4,\"\"\"x\n5,[]\n6,[1],7\n\"8\"9,\n10,\n";
    let (batches, skipped) = read("x.csv", csv.as_bytes(), &schema, 100, OnError::Skip);
    assert_eq!(numbers(&batches), [1, 5, 10]);
    assert_eq!(batches.len(), 1);
    assert_eq!(skipped.unwrap(), 5);
    let json = "{\"a\":1,\"b\":[1,\"x\"]}\n{\"a\":2,\"b\":[1]}\nnonsense\n{\"a\":3}";
    let (batches, skipped) = read("x.json", json.as_bytes(), &schema, 100, OnError::Skip);
    assert_eq!(numbers(&batches), [2, 3]);
    assert_eq!(skipped.unwrap(), 2);
}

#[test]
fn a_record_that_is_too_long_is_left_out_to_its_end() {
    let schema = schema(&[("a", "int64"), ("b", "utf8")]);
    let long = "x".repeat(17 << 20);
    // Cut anywhere, the rest of each would be rows.
    let quoted = format!("a,b\n1,x\n2,\"{}\"\n3,x\n", "7,\"\"x\"\"\n".repeat(3 << 20));
    let plain = format!("a,b\n1,x\n2,{long}\n3,x\n");
    let json = format!("{{\"a\":1}}\n{{\"a\":2,\"b\":\"{long}\"}}\n{{\"a\":3}}\n");
    let no_end = format!("a,b\n1,x\n3,x\n2,\"{long}\n");
    for (name, text, line) in [("x.csv", quoted, 3), ("x.csv", plain, 3), ("x.ndjson", json, 2), ("x.csv", no_end, 4)] {
        let (batches, skipped) = read(name, text.as_bytes(), &schema, 100, OnError::Skip);
        assert_eq!(skipped.unwrap(), 1, "{name}");
        assert_eq!(numbers(&batches), [1, 3], "{name}");
        let message = failure(name, &text, &schema);
        assert!(message.contains("longer than 16777216 bytes") && message.contains(&format!("line {line}")), "{message}");
    }
}

#[test]
fn the_rows_before_a_bad_line_are_given_and_no_others() {
    let schema = schema(&[("a", "int64")]);
    for (csv, json) in [("x", "{\"a\":\"x\"}"), ("\"6", "nonsense")] {
        for batch_rows in [2, 100] {
            let csv = read("x.csv", format!("a\n1\n2\n3\n4\n5\n{csv}\n7\n").as_bytes(), &schema, batch_rows, OnError::Fail);
            let json = format!("{{\"a\":1}}\n{{\"a\":2}}\n{{\"a\":3}}\n{{\"a\":4}}\n{{\"a\":5}}\n{json}\n{{\"a\":7}}\n");
            let json = read("x.ndjson", json.as_bytes(), &schema, batch_rows, OnError::Fail);
            for ((batches, ended), line) in [(csv, "line 7"), (json, "line 6")] {
                assert_eq!(numbers(&batches), [1, 2, 3, 4, 5]);
                assert!(ended.unwrap_err().to_string().contains(line));
            }
        }
    }
}

#[test]
fn empty_cells_are_null_and_quoted_ones_are_not() {
    let schema = schema(&[("a", "utf8"), ("b", "utf8")]);
    let (batches, _) = read("x.csv", b"\xef\xbb\xbfa,b\r\n,\"\"\r\n\r\n\"x\",y\r\n", &schema, 9, OnError::Fail);
    let (a, b) = (batches[0].column(0).as_string::<i32>(), batches[0].column(1).as_string::<i32>());
    assert!(a.is_null(0) && b.is_valid(0) && b.value(0).is_empty());
    assert_eq!((batches[0].num_rows(), a.value(1), b.value(1)), (2, "x", "y"));
}

#[test]
fn columns_that_the_input_lacks_are_null() {
    let schema = schema(&[("a", "int64"), ("b", "utf8"), ("c", "list<int32>")]);
    let (batches, _) = read("x.csv", b"a\n1\n2\n", &schema, 9, OnError::Fail);
    assert_eq!([batches[0].column(1).null_count(), batches[0].column(2).null_count()], [2, 2]);
}

#[test]
fn formats_are_told_by_their_first_bytes_before_their_names() {
    let guessed = |name: &str, bytes: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        guess(&path, &mut Chunks::open(&path).unwrap()).unwrap()
    };
    assert_eq!(guessed("x.csv", b"PAR1...."), (Format::Parquet, false));
    assert_eq!(guessed("x", b"ARROW1\0\0"), (Format::Arrow, false));
    assert_eq!(guessed("x", b"\xff\xff\xff\xff\0\0"), (Format::Arrow, false));
    assert_eq!(guessed("x.csv", b"{a},{b}"), (Format::Csv, false));
    assert_eq!(guessed("X.CSV", b"{a},{b}"), (Format::Csv, false));
    assert_eq!(guessed("x.jsonl", b"\n"), (Format::Ndjson, false));
    assert_eq!(guessed("x", b"  {\"a\":1}"), (Format::Ndjson, false));
    assert_eq!(guessed("x", b"a,b"), (Format::Csv, true));
    assert_eq!(guessed("x", b""), (Format::Csv, true));
}

#[test]
fn what_nothing_tells_is_named_with_the_error_it_leads_to() {
    let schema = schema(&[("a", "int64")]);
    let said = |name: &str, bytes: &[u8], format| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut input = Input::open(&path, format, schema.clone(), 9, OnError::Fail).unwrap();
        loop {
            match input.next() {
                Ok(Event::End) => return String::new(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    };
    let ways = "--format parquet, arrow, csv or ndjson";
    for wrong in [&b"b\n1\n"[..], b"\x7fELF\0"] {
        assert!(said("x.dat", wrong, None).contains(ways));
        assert!(!said("x.csv", wrong, None).contains(ways) && !said("x.dat", wrong, Some(Format::Csv)).contains(ways));
    }
    assert_eq!(said("x.dat", b"a\n1\n", None), "");
    assert!(!said("x.dat", b"a\n1\nx\n", None).contains(ways), "rows have come: it is csv");
}

#[test]
fn what_is_not_there_or_no_file_is_refused() {
    let schema = schema(&[("a", "int64")]);
    let open = |path: &Path| Input::open(path, None, schema.clone(), 10, OnError::Fail).err().unwrap();
    assert_eq!(open(Path::new("/no/such/file")).kind(), aquifer_node::Kind::NotFound);
    assert_eq!(open(Path::new("/tmp")).kind(), aquifer_node::Kind::Invalid);
}

#[test]
fn a_pipe_hands_on_what_came_when_it_pauses() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (row, paused) = std::sync::mpsc::channel::<&'static str>();
    let writer_path = path.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(writer_path).unwrap();
        paused.into_iter().for_each(|line| pipe.write_all(line.as_bytes()).unwrap());
    });
    row.send("{\"a\":1}\n{\"a\"").unwrap();
    let mut input = Input::open(&path, None, schema(&[("a", "int64")]), 1000, OnError::Fail).unwrap();
    let next = |input: &mut Input| match input.next().unwrap() {
        Event::Rows(placed) => numbers(&[placed.rows]),
        Event::Idle => vec![],
        Event::End => vec![-1],
    };
    assert_eq!(next(&mut input), [1]);
    assert!(next(&mut input).is_empty(), "an empty pipe is idle at once");
    row.send(":2}\n").unwrap();
    let second = std::iter::repeat_with(|| next(&mut input)).find(|rows| !rows.is_empty());
    assert_eq!(second.unwrap(), [2]);
    drop(row);
    let end = std::iter::repeat_with(|| next(&mut input)).find(|rows| !rows.is_empty());
    assert_eq!(end.unwrap(), [-1]);
    writer.join().unwrap();
}

#[test]
fn bytes_that_are_no_text_are_called_what_they_are_and_never_printed() {
    let schema = schema(&[("a", "int64")]);
    for (name, bytes, expected) in [
        ("x.csv.gz", &b"\x1f\x8b\x08\x00\x00rest"[..], "looks gzipped"),
        ("x.ndjson", b"\x1f\x8b\x08", "looks gzipped"),
        ("x.csv", b"\x1b[2Jname\n1\n", "unknown column '\\u{1b}[2Jname'"),
        ("x.csv", b"a\n\x1b[31mred\n", "'\\u{1b}[31mred' is not an int64"),
    ] {
        let error = read(name, bytes, &schema, 100, OnError::Fail).1.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains(char::is_control) && error.contains("file "), "{error}");
    }
    let long = failure("x.csv", &format!("{}\n", "b".repeat(5000)), &schema);
    assert!(long.len() < 400, "{long}");
    let directory = tempfile::tempdir().unwrap();
    for (bytes, expected) in [("PAR1....PAR1", "looks like parquet"), ("ARROW1....", "looks like arrow")] {
        let path = directory.path().join("x");
        fs::write(&path, bytes).unwrap();
        let mut input = Input::open(&path, Some(Format::Csv), schema.clone(), 100, OnError::Fail).unwrap();
        assert!(input.next().unwrap_err().to_string().contains(expected));
    }
}

#[test]
fn a_whole_number_is_a_count_in_the_unit_of_the_timestamp() {
    let schema = schema(&[("a", "timestamp(ms, UTC)"), ("b", "timestamp(us)")]);
    for (name, text) in [
        ("x.csv", "a,b\n1769950000000,-5\n2026-02-01T12:46:40Z,1969-12-31T23:59:59.999995\n"),
        ("x.ndjson", "{\"a\":1769950000000,\"b\":-5}\n{\"a\":\"2026-02-01T12:46:40Z\",\"b\":\"1969-12-31T23:59:59.999995\"}\n"),
    ] {
        let (batches, end) = read(name, text.as_bytes(), &schema, 100, OnError::Fail);
        end.unwrap();
        for column in batches[0].columns() {
            assert_eq!(column.slice(0, 1).as_ref(), column.slice(1, 1).as_ref(), "{name}");
        }
    }
    assert!(failure("x.csv", "a\nsoon\n", &schema).contains("'soon' is not a timestamp like"));
    assert!(failure("x.csv", "a\n99999999999999999999\n", &schema).contains("is not a timestamp like"));
    assert!(failure("x.csv", "a\n1.5\n", &schema).contains("is not a timestamp like"));
}
