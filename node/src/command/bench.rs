//! `bench`: this store on this machine, beside the limit of the machine in the same run.
//!
//! Invariant: what is compared takes turns in one process on the same disk. Knows nothing of how the limits are measured.

mod append;
mod tail;

use aquifer_node::Error;

use super::arguments::Bench;
use super::outcome::Outcome;
use super::report::Report;
use super::session::Session;

type Run = fn(&Session, &Bench) -> Outcome;

const CASES: [(&str, &str, Run); 2] = [
    ("append", "durable appends, held to the same bytes written without a format", append::run),
    ("tail", "from append to a waiting reader, held to the commit", tail::run),
];

pub(crate) fn bench(session: &Session, arguments: &Bench) -> Outcome {
    if arguments.name == "list" {
        let mut report = Report::new(["name", "what"]);
        CASES.iter().for_each(|(name, what, _)| report.row([(*name).into(), (*what).into()]));
        return session.print(&report);
    }
    match CASES.iter().find(|(name, ..)| *name == arguments.name) {
        Some((_, _, run)) => run(session, arguments),
        None => Err(Error::not_found("there is no such bench").at("name", &arguments.name).hint("see aquifer bench list").into()),
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::unavailable(format!("the bench failed: {error}")).caused_by(error)
}
