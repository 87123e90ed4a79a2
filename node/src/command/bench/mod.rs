//! `bench`: cases of ours in one run with the limits of this machine.
//!
//! Invariant: a figure is a ratio inside one run; the harness takes turns, this module brings what is ours. Data lies in a folder of its own, which is
//! removed at the end, also when the user says stop. Knows the engine by its door only.

mod append;
mod ground;
mod project;
mod rows;
mod tail;

use std::io;

use aquifer_benches::plot;
use aquifer_benches::report::Line;
use aquifer_node::Error;

use super::arguments::Bench;
use super::outcome::{Failure, Outcome};
use super::report::Report;
use super::session::Session;
use ground::Ground;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name and meaning of each case.
const CASES: [(&str, &str, &str); 3] = [
    ("append", "durable appends of 20-column rows, by size and producers", "bare writes of the same bytes"),
    ("tail", "append to a waiting reader, in this process and in another", "the commit alone"),
    ("project", "scans of 20 to 1 columns of a cold log, beside Arrow IPC and Parquet files", "bare reads of the same bytes"),
];

/// Runs a case, or lists them.
pub(crate) fn run(session: &Session, arguments: &Bench) -> Outcome {
    let case = match arguments.name.as_str() {
        "list" => return list(session),
        tail::READER => return tail::read(&session.config.dir, &session.config.options, arguments.rows).map_err(failed),
        "append" => append::run,
        "tail" => tail::run,
        "project" => project::run,
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

fn failed(error: io::Error) -> Failure {
    let what = error.to_string();
    Error::unavailable(format!("the bench failed: {what}")).caused_by(error).into()
}
