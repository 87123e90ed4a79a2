//! `bench`: cases of ours in one run with the limits of this machine.
//!
//! Invariant: a figure is a ratio inside one run; the harness takes turns, this module brings what is ours. Data lies in a folder of its own, which is
//! removed at the end, also when the user says stop. Knows the engine by its door only.

mod append;
mod ground;
mod keyed;
mod lookup;
mod mixed;
mod open;
mod project;
mod rows;
mod scan;
mod soak;
mod tail;
mod upsert;

use std::io;
use std::path::PathBuf;

use aquifer_benches::report::{Line, Unwritable};
use aquifer_benches::{plot, table};
use aquifer_node::Error;

use super::arguments::Bench;
use super::outcome::{Failure, Outcome};
use super::report::Report;
use super::session::Session;
use ground::Ground;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name and meaning of each case.
const CASES: [(&str, &str, &str); 9] = [
    ("append", "durable appends of 20-column rows, by size and producers", "bare writes of the same bytes"),
    ("tail", "append to a waiting reader, in this process and in another", "the commit alone"),
    ("project", "scans of 20 to 1 columns of a cold log, beside Arrow IPC and Parquet files", "bare reads of the same bytes"),
    ("upsert", "upserts of rows by key until all is merged: CPU and time", "the same bytes logged, sorted into runs and merged once"),
    ("lookup", "rows by their keys, 1 to 1024 at a time, in memory and on the device", "a hash table; a random read of 4 KiB for each key"),
    ("scan", "scans of rows by key that 1 to 100 commits left unmerged: all, one column, a tenth", "bare reads of as many bytes"),
    ("mixed", "durable appends while another table is merged again and again: p99", "p99 of the same appends alone"),
    ("soak", "everything in any order for --seconds, held against a model; memory and files", "nothing: it fails when an answer is wrong"),
    (
        "open",
        "a large store after its process was killed: time and memory until a row is found",
        "a bare read of the rows that were in no run",
    ),
];

/// Rounds of the other cases, when nothing else is asked for.
const ROUNDS: u32 = 5;

/// Runs a case, lists them, or makes tables of what they printed.
pub(crate) fn run(session: &Session, arguments: &Bench) -> Outcome {
    let case = match arguments.name.as_str() {
        "table" => return tables(session, &arguments.files),
        _ if !arguments.files.is_empty() => return Err(Error::invalid("only `bench table` takes files").into()),
        "list" => return list(session),
        tail::READER => return tail::read(&session.config.dir, &session.config.options, arguments.rows.unwrap_or(1)).map_err(failed),
        open::OPENER => return open::act(&session.config.dir, &session.config.options, arguments).map_err(failed),
        "append" => append::run,
        "tail" => tail::run,
        "project" => project::run,
        "lookup" => lookup::run,
        "mixed" => mixed::run,
        "open" => open::run,
        "scan" => scan::run,
        "soak" => soak::run,
        "upsert" => upsert::run,
        other => return Err(Error::not_found(format!("there is no bench {other}")).hint("`aquifer bench list` shows all").into()),
    };
    let ground = Ground::make(&session.config.dir, &session.config.options)?;
    let lines = case(&ground, arguments).map_err(failed)?;
    match &arguments.plot {
        Some(path) => Ok(plot::write(path, &lines).map_err(|error| Error::io("write", path, error))?),
        None => Ok(()),
    }
}

/// What a case is run with, and its lines.
type Lines = io::Result<Vec<Line>>;

fn list(session: &Session) -> Outcome {
    let mut report = Report::new(["bench", "measures", "held to"]);
    for (name, what, limit) in CASES {
        report.row([name.into(), what.into(), limit.into()]);
    }
    session.print(&report)
}

/// A table of each file of lines that a case printed with `--json`.
fn tables(session: &Session, files: &[PathBuf]) -> Outcome {
    if files.is_empty() {
        return Err(Error::invalid("no files to make a table of").hint("as in: aquifer bench table benches/results/*.json").into());
    }
    let table_of = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        table::markdown(&name, &text).map_err(|what| Error::invalid(what).at("file", path.display()))
    };
    let tables = files.iter().map(table_of).collect::<Result<Vec<String>, Error>>()?;
    session.print_text(tables.join("\n").trim_end())
}

fn failed(error: io::Error) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<Unwritable>()) {
        return Failure::writing(error);
    }
    let what = error.to_string();
    Error::unavailable(format!("the bench failed: {what}")).caused_by(error).into()
}
