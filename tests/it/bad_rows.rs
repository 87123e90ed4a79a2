//! Bad rows of all kinds, anywhere in inputs of all formats: exactly these are named, by their place in the input, and exactly the others are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;

use crate::any_rows::Dice;
use crate::program::Place;
use crate::scratch;

const TABLE: &str = r#"
[[field]]
name = "k"
type = "utf8"
nullable = false
[[field]]
name = "n"
type = "int32"
nullable = false
[[field]]
name = "l"
type = "utf8"
"#;

const INPUTS: [&str; 6] = ["rows.csv", "rows.ndjson", "rows.parquet", "rows.arrow", "rows.arrows", "-"];

/// A row as somebody wrote it, good or bad.
#[derive(Clone, Debug)]
struct Row {
    op: Option<&'static str>,
    k: Option<String>,
    n: Option<i64>,
    l: String,
}

impl Row {
    /// With every few rows something wrong; few keys, so that a `-U` often has its `+U`, and often not.
    fn any(dice: &mut Dice) -> Row {
        let ops = ["+I", "-U", "-U", "+U", "+U", "-D"];
        let mut row = Row {
            op: Some(ops[dice.below(6) as usize]),
            k: Some(format!("key {}", dice.below(2))),
            n: Some(dice.below(1_000) as i64),
            l: ["", "plain", "two\nlines", "\"quoted\", \n\n and, with commas"][dice.below(4) as usize].to_string(),
        };
        match dice.below(24) {
            0 => row.op = None,
            1 => row.op = Some("+X"),
            2 => row.k = None,
            3 => row.k = Some("k".repeat(40_000)),
            4 => row.n = None,
            5 => row.n = Some(1 << 40),
            6 => row.l = "x".repeat(5_000),
            _ => {}
        }
        row
    }

    fn is_too_large(&self) -> bool {
        self.l.len() >= 5_000 || self.k.as_ref().is_some_and(|key| key.len() >= 40_000)
    }

    fn fits_columns(&self) -> bool {
        self.op.is_some_and(|op| op != "+X") && self.k.is_some() && self.n.is_some_and(|n| n < 1 << 40)
    }

    fn is_update_with(&self, next: &Row) -> bool {
        (self.op, next.op) == (Some("-U"), Some("+U")) && self.k.is_some() && self.k == next.k
    }
}

/// Places of the bad rows. In text, what does not fit its column is no row at all: the rows around it are next to each other.
fn bad(rows: &[Row], is_text: bool) -> BTreeSet<usize> {
    let mut bad: BTreeSet<usize> = (0..rows.len()).filter(|place| is_text && !rows[*place].fits_columns()).collect();
    let left: Vec<usize> = (0..rows.len()).filter(|place| !bad.contains(place)).collect();
    let mut at = 0;
    while at < left.len() {
        let row = &rows[left[at]];
        let is_update = left.get(at + 1).is_some_and(|next| row.is_update_with(&rows[*next]));
        let count = if is_update { 2 } else { 1 };
        let wrong = |place: &usize| !rows[*place].fits_columns() || rows[*place].is_too_large();
        if row.op == Some("-U") && !is_update || left[at..at + count].iter().any(wrong) {
            bad.extend(&left[at..at + count]);
        }
        at += count;
    }
    bad
}

type Table = BTreeMap<String, (i64, String)>;

/// What these rows leave behind.
fn applied<'a>(rows: impl Iterator<Item = &'a Row>) -> Table {
    let mut table = Table::new();
    for row in rows {
        let key = row.k.clone().unwrap();
        match row.op.unwrap() {
            "-D" => drop(table.remove(&key)),
            "-U" => {}
            _ => drop(table.insert(key, (row.n.unwrap(), row.l.clone()))),
        }
    }
    table
}

fn stored(store: &Path, table: &str) -> Table {
    let mut found = Table::new();
    for batch in scratch::follow(store).table(table).unwrap().scan().build().unwrap() {
        let batch = batch.unwrap().batch;
        let (keys, texts) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
        for (row, number) in batch.column(1).as_primitive::<Int32Type>().values().iter().enumerate() {
            found.insert(keys.value(row).to_string(), (i64::from(*number), texts.value(row).to_string()));
        }
    }
    found
}

/// Writes the rows as the input is called; the number of each in it.
fn write(rows: &[Row], path: &Path, dice: &mut Dice) -> Vec<u64> {
    let name = path.file_name().unwrap().to_str().unwrap();
    if !is_text(name) {
        let columns: [(&str, ArrayRef); 4] = [
            ("k", Arc::new(rows.iter().map(|row| row.k.as_deref()).collect::<StringArray>())),
            // There is none out of range.
            ("n", Arc::new(rows.iter().map(|row| row.n.and_then(|n| n.try_into().ok())).collect::<Int32Array>())),
            ("l", Arc::new(rows.iter().map(|row| Some(row.l.as_str())).collect::<StringArray>())),
            ("_op", Arc::new(rows.iter().map(|row| row.op).collect::<StringArray>())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let middle = dice.below(rows.len() as u64) as usize;
        let parts = [batch.slice(0, middle), batch.slice(middle, rows.len() - middle)];
        match name {
            "rows.parquet" => {
                let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
                parts.iter().for_each(|part| writer.write(part).unwrap());
                writer.close().unwrap();
            }
            "rows.arrow" => {
                let mut writer = FileWriter::try_new(file, &batch.schema()).unwrap();
                parts.iter().for_each(|part| writer.write(part).unwrap());
                writer.finish().unwrap();
            }
            _ => {
                let mut writer = StreamWriter::try_new(file, &batch.schema()).unwrap();
                parts.iter().for_each(|part| writer.write(part).unwrap());
                writer.finish().unwrap();
            }
        }
        return (1..=rows.len() as u64).collect();
    }
    let is_csv = name == "rows.csv";
    let mut text = if is_csv { "_op,k,n,l\n".to_string() } else { String::new() };
    let mut lines = Vec::new();
    for row in rows {
        text.push_str(["", "", "\n", "\n\n"][dice.below(4) as usize]);
        lines.push(1 + text.matches('\n').count() as u64);
        let number = row.n.map(|number| number.to_string());
        text.push_str(&match is_csv {
            true => {
                let (op, key, number) = (row.op.unwrap_or_default(), row.k.as_deref().unwrap_or_default(), number.unwrap_or_default());
                format!("{op},{key},{number},\"{}\"\n", row.l.replace('"', "\"\""))
            }
            false => format!("{}\n", serde_json::json!({ "k": row.k, "n": row.n, "l": row.l, "_op": row.op })),
        });
    }
    std::fs::write(path, text).unwrap();
    lines
}

fn is_text(name: &str) -> bool {
    matches!(name, "rows.csv" | "rows.ndjson" | "-")
}

/// The numbers that were said to be left out of the input.
fn named(told: &str, unit: &str, input: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for line in told.lines() {
        let (numbers, rest) = line.strip_prefix("aquifer: left out ").and_then(|line| line.split_once(" of ")).expect(line);
        assert!(rest.starts_with(input), "{line}");
        let numbers = numbers.strip_prefix(unit).expect(line).trim_start_matches('s');
        found.extend(numbers.split(" and ").map(|number| number.trim().parse::<u64>().expect(line)));
        assert!(numbers.contains("and") == rest.contains(", an update"), "{line}");
    }
    found.sort_unstable();
    found
}

/// An input of a table of its own.
struct Case<'a> {
    place: Place<'a>,
    rows: &'a [Row],
    numbers: Vec<u64>,
    input: &'a str,
    table: String,
    batch_rows: u64,
}

impl Case<'_> {
    fn upsert(&self, on_error: &str) -> std::process::Output {
        let Case { place, input, table, batch_rows, .. } = self;
        place.done(&format!("create {table} --schema t.toml --primary-key k --buckets 3 --set batch.bytes.max=4KiB"));
        let line = format!("upsert {table} --op-column _op --batch-rows {batch_rows} --on-error {on_error} --from {input}");
        match *input {
            "-" => place.feed(&format!("{line} --format ndjson"), &std::fs::read(place.dir.parent().unwrap().join("rows.ndjson")).unwrap()),
            _ => place.run(&line),
        }
    }

    fn shown(&self) -> (&str, &str) {
        (if is_text(self.input) { "line" } else { "row" }, if self.input == "-" { "standard input" } else { self.input })
    }

    fn good(&self, bad: &BTreeSet<usize>, count: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().enumerate().take(count).filter(|(place, _)| !bad.contains(place)).map(|(_, row)| row)
    }

    fn skips(&self) {
        let bad = bad(self.rows, is_text(self.input));
        let output = self.upsert("skip");
        let told = String::from_utf8(output.stderr).unwrap();
        let (unit, input) = self.shown();
        assert!(output.status.success(), "{}: {told}", self.table);
        let expected: Vec<u64> = bad.iter().map(|place| self.numbers[*place]).collect();
        assert_eq!(named(&told, unit, input), expected, "{}: {told}", self.table);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let counts = (report["rows"].as_u64(), report["skipped"].as_u64());
        assert_eq!(counts, (Some((self.rows.len() - bad.len()) as u64), Some(bad.len() as u64)), "{}: {report}", self.table);
        assert_eq!(stored(self.place.dir, &self.table), applied(self.good(&bad, usize::MAX)), "{}", self.table);
    }

    fn stops(&self) {
        let bad = bad(self.rows, is_text(self.input));
        let Some(first) = bad.first().copied() else { return };
        let output = self.upsert("fail");
        let told = String::from_utf8(output.stderr).unwrap();
        let (unit, input) = self.shown();
        assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{}: {told}", self.table);
        // Of an update either row may be the bad one; and a `-U` is alone when the line behind it cannot be read.
        let is_said = |place: usize| {
            let number = self.numbers.get(place).copied().unwrap_or_default();
            told.contains(&format!(", file {input}, {unit} {number}, ")) || told.contains(&format!(", file {input}, {unit} {number};"))
        };
        let last = if self.rows[first].op == Some("-U") { first + 1 } else { first };
        assert!((first..=last).any(is_said), "{}: {} to {last}: {told}", self.table, self.numbers[first]);
        assert!(told.contains(&format!(", rows_upserted {first};")), "{}: {told}", self.table);
        assert!(!told.contains("rows_before_batch"), "{told}");
        assert_eq!(stored(self.place.dir, &self.table), applied(self.good(&bad, first)), "{}", self.table);
    }
}

#[test]
fn exactly_the_bad_rows_are_named_and_exactly_the_others_are_written() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    for seed in (1..=3).chain([seed]) {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
        let dice = &mut Dice(seed);
        let rows: Vec<Row> = (0..20 + dice.below(40)).map(|_| Row::any(dice)).collect();
        let mut numbers = Vec::new();
        for (at, input) in INPUTS.into_iter().enumerate() {
            if input != "-" {
                numbers.push(write(&rows, &dir.path().join(input), dice));
            }
            // What is piped is the same text.
            let numbers = numbers[if input == "-" { 1 } else { at }].clone();
            for verb in ["skips", "stops"] {
                let batch_rows = [1, 2, 3, 7, 1_000][dice.below(5) as usize];
                let table = format!("t{at}_{verb}_seed_{seed}_of_{batch_rows}");
                let case = Case { place, rows: &rows, numbers: numbers.clone(), input, table, batch_rows };
                if verb == "skips" { case.skips() } else { case.stops() }
            }
        }
    }
}

#[test]
fn values_that_their_columns_do_not_hold_are_named_by_their_row() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"at\"\ntype = \"timestamp(ms)\"\n").unwrap();
    place.done("create t --schema t.toml --primary-key at");
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from((0..10).map(|row| row * 1_000 + i64::from(row == 6)).collect::<Vec<_>>()));
    let batch = RecordBatch::try_from_iter([("at", times)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(dir.path().join("t.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for batch_rows in [1, 4, 100] {
        for line in ["upsert t --from t.parquet", "delete t --keys t.parquet"] {
            let error = place.fails(1, &format!("{line} --batch-rows {batch_rows}"));
            assert!(error.contains("is not whole in") && error.contains(", file t.parquet, row 7, "), "{line}: {error}");
            let told = place.run(&format!("{line} --batch-rows {batch_rows} --on-error skip"));
            let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
            assert_eq!((report["rows"].as_u64(), report["skipped"].as_u64()), (Some(9), Some(1)), "{line}: {report}");
            assert_eq!(named(&String::from_utf8(told.stderr).unwrap(), "row", "t.parquet"), [7], "{line}");
        }
    }
    let error = place.fails(1, "lookup t --keys t.parquet");
    assert!(error.contains("is not whole in") && error.contains(", file t.parquet, row 7"), "{error}");
}
