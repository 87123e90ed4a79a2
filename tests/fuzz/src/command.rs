//! What the program reads besides its command line: rows as text, keys, columns of files, times, settings. The very files of the program, which has no library,
//! without what they do not need here.
#![allow(clippy::disallowed_methods, reason = "the program reads files of the user, not of the store")]
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports, reason = "the program uses more of its files than what is fuzzed does")]

#[path = "../../../node/src/command/config.rs"]
mod config;
#[path = "../../../node/src/command/input/mod.rs"]
mod input;
#[path = "../../../node/src/command/quote.rs"]
mod quote;
#[path = "../../../node/src/command/time_text.rs"]
mod time_text;
#[path = "../../../node/src/command/type_text.rs"]
mod type_text;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aquifer_node::store;
use arrow::array::Array;
use arrow::datatypes::SchemaRef;

use crate::sample::SCHEMA;
use arguments::{Global, OnError};
use input::{Event, Format, Input};

/// Rows of a batch: few, so that there are several.
const BATCH_ROWS: u32 = 3;

/// What the files of the program name of its command line.
mod arguments {
    use std::path::PathBuf;

    /// What becomes of a row that cannot be read.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum OnError {
        Fail,
        Skip,
    }

    /// Settings of the command line.
    #[derive(Default)]
    pub(crate) struct Global {
        pub(crate) dir: Option<PathBuf>,
        pub(crate) config: Option<PathBuf>,
        pub(crate) io: Option<String>,
        pub(crate) durability: Option<String>,
        pub(crate) output: Option<super::output::Format>,
        pub(crate) out: Option<PathBuf>,
        pub(crate) quiet: bool,
        pub(crate) verbose: u8,
    }
}

/// What they say on the way, which is not of interest here.
mod outcome {
    pub(crate) fn tell(_: impl std::fmt::Display) {}
}

/// Formats that a setting can name.
mod output {
    #[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Format {
        Json,
        Arrow,
    }

    impl Format {
        pub(crate) fn name(self) -> &'static str {
            match self {
                Format::Json => "json",
                Format::Arrow => "arrow",
            }
        }
    }
}

/// A file with the input, whose name says nothing of its format.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("aquifer-rows-{}", std::process::id())));

/// The columns of the rows, those that may be null.
static COLUMNS: LazyLock<SchemaRef> =
    LazyLock::new(|| std::sync::Arc::new(SCHEMA.project(&(0..27).collect::<Vec<_>>()).expect("columns that exist")));

/// Reads the bytes as rows in each format of text, as keys, as times and as settings; whether they are any of it.
pub fn run(data: &[u8]) -> bool {
    std::fs::write(&*PATH, data).expect("a place for rows");
    let mut accepted = false;
    for format in [Format::Csv, Format::Ndjson] {
        for on_error in [OnError::Fail, OnError::Skip] {
            accepted |= rows(format, on_error);
        }
    }
    // The readers of other formats are not ours, and are held where they panic.
    let is_text = ["PAR1", "ARROW1", "\u{ff}"].iter().all(|mark| !data.starts_with(mark.as_bytes())) && !data.starts_with(&[0xFF]);
    for format in [None, Some(Format::Csv), Some(Format::Ndjson)] {
        if is_text && let Ok(schema) = input::infer(&PATH, format) {
            assert!(!schema.fields().is_empty(), "a file has columns");
        }
    }
    let global = Global { config: Some(PATH.clone()), ..Global::default() };
    let _ = config::Config::load(&global, &[], std::iter::empty());
    std::fs::remove_file(&*PATH).expect("it is there");
    if let Ok(text) = std::str::from_utf8(data) {
        keys(text);
        times(text);
    }
    accepted
}

fn rows(format: Format, on_error: OnError) -> bool {
    let Ok(mut input) = Input::open(&PATH, Some(format), COLUMNS.clone(), BATCH_ROWS, on_error) else { return false };
    let mut found = false;
    loop {
        match input.next() {
            Ok(Event::Rows(rows)) => {
                assert!(rows.len() <= BATCH_ROWS as usize, "no more rows than were asked for");
                rows.rows.columns().iter().for_each(|column| column.to_data().validate_full().expect("a column that was read holds"));
                found |= rows.len() > 0;
            }
            Ok(Event::Idle) => {}
            Ok(Event::End) => return found,
            Err(_) => return false,
        }
    }
}

fn keys(text: &str) {
    let one = [text.to_string()];
    for key in [&["c19"][..], &["n_int", "n_string"], &["c4", "c16"]] {
        let key: Vec<String> = key.iter().map(|name| name.to_string()).collect();
        let _ = input::parse_keys(&one, &SCHEMA, &key);
    }
    let _ = input::key_parts(text);
}

fn times(text: &str) {
    let mut out = Vec::new();
    if let Ok(days) = time_text::parse_date(text) {
        time_text::print_date(days, &mut out);
        assert_eq!(time_text::parse_date(std::str::from_utf8(&out).expect("text")), Ok(days), "as printed");
    }
    for digits in [0, 3, 6, 9] {
        let _ = time_text::parse_time(text, digits);
        if let Ok(units) = time_text::parse_timestamp(text, digits, true) {
            out.clear();
            time_text::print_timestamp(units, digits, true, &mut out);
            assert_eq!(time_text::parse_timestamp(std::str::from_utf8(&out).expect("text"), digits, true), Ok(units), "as printed");
        }
    }
}
