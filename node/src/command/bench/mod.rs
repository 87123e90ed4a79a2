//! `bench`: cases of ours in one run with the limits of this machine.
//!
//! Invariant: a figure is a ratio inside one run; the harness takes turns, this module brings what is ours. Knows the engine by its door only.

mod append;
mod rows;

use aquifer_benches::append::{self as harness, Terms};
use aquifer_benches::case::{Contender, Takes};
use aquifer_benches::limit;
use aquifer_node::store::{Durability, IoPreference, Options};
use aquifer_node::{Error, Result};

use super::arguments::Bench;
use super::outcome::{Failure, Outcome};
use super::session::Session;

/// Runs a case, or lists them.
pub(crate) fn run(session: &Session, arguments: &Bench) -> Outcome {
    let options = store_options(session)?;
    match arguments.name.as_str() {
        "append" => append(arguments, &options),
        other => Err(Error::not_found(format!("there is no bench {other}")).hint("`aquifer bench list` shows all").into()),
    }
}

fn store_options(session: &Session) -> Result<Options> {
    let mut options = Options::default();
    let known = options.entries();
    for setting in session.config.settings.iter().filter(|setting| known.iter().any(|entry| entry.name == setting.name)) {
        options.set(&setting.name, &setting.value)?;
    }
    Ok(options)
}

fn append(arguments: &Bench, options: &Options) -> Outcome {
    let rings = options.io != IoPreference::Threads;
    let ours = Contender {
        name: "aquifer",
        version: Some(env!("CARGO_PKG_VERSION")),
        driver: Some(if rings { "io_uring" } else { "pwritev2" }),
        takes: Takes::Payload,
        in_flight: 1,
        keeps_files: true,
        open: &|dir, load| append::open(dir, load, options),
    };
    let queued = if rings { limit::RING } else { limit::POOL };
    let measured = harness::Options {
        dir: arguments.bench_dir.clone(),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        size: arguments.size.clone(),
        producers: arguments.producers.clone(),
        only: Vec::new(),
        json: arguments.json,
        terms: Terms { durable: options.durability == Durability::Sync, rings, overhead_bytes: 0 },
    };
    harness::run("append", &[limit::INLINE, queued, ours], &measured).map(drop).map_err(failed)
}

fn failed(error: std::io::Error) -> Failure {
    let what = error.to_string();
    Error::unavailable(format!("the bench failed: {what}")).caused_by(error).into()
}
