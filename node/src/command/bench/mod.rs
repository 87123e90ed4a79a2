//! `bench`: cases of ours in one run with the limits of this machine.
//!
//! Invariant: a figure is a ratio inside one run; the harness takes turns, this module brings what is ours. Knows the engine by its door only.

mod append;
mod project;
mod rows;
mod tail;

use std::io;
use std::path::Path;

use aquifer_benches::append::{self as harness, Terms};
use aquifer_benches::case::{Contender, Takes};
use aquifer_benches::{limit, project as projections, tail as tails};
use aquifer_node::Error;
use aquifer_node::store::IoPreference;

use super::arguments::Bench;
use super::outcome::{Failure, Outcome};
use super::session::Session;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of arrow-ipc and parquet.
const ARROW_VERSION: &str = "58.4.1";

/// Bytes of rows of a scanned log, when nothing else is asked for.
const PROJECT_BYTES: usize = 1 << 30;

/// Rows of a batch of a scanned log.
const PROJECT_BATCH_ROWS: [usize; 2] = [10_000, 1_000];

/// Bytes of a batch in the log, when nothing else is asked for.
const APPEND_BYTES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];

/// Runs a case, or lists them.
pub(crate) fn run(session: &Session, arguments: &Bench) -> Outcome {
    match arguments.name.as_str() {
        "append" => append(session, arguments),
        "tail" => tail(session, arguments),
        "project" => project(session, arguments),
        tail::READER => tail::read(&session.config.dir, &session.config.options, arguments.rows).map_err(failed),
        other => Err(Error::not_found(format!("there is no bench {other}")).hint("`aquifer bench list` shows all").into()),
    }
}

fn append(session: &Session, arguments: &Bench) -> Outcome {
    let options = &session.config.options;
    let (driver, durable) = tail::terms(options);
    let rings = options.io != IoPreference::Threads;
    let ours = Contender {
        name: "aquifer",
        version: Some(VERSION),
        driver: Some(driver),
        takes: Takes::Payload,
        in_flight: 1,
        keeps_files: true,
        open: &|dir, load| append::open(dir, load, options),
    };
    let queued = if rings { limit::RING } else { limit::POOL };
    let measured = harness::Options {
        dir: session.config.dir.clone(),
        rounds: arguments.rounds as usize,
        seconds: arguments.seconds,
        size: if arguments.size.is_empty() { APPEND_BYTES.to_vec() } else { arguments.size.clone() },
        producers: arguments.producers.iter().map(|&producers| producers as usize).collect(),
        only: Vec::new(),
        json: arguments.json,
        terms: Terms { durable, rings, overhead_bytes: 0 },
    };
    harness::run("append", &[limit::INLINE, queued, ours], &measured).map(drop).map_err(failed)
}

fn tail(session: &Session, arguments: &Bench) -> Outcome {
    let options = &session.config.options;
    let (driver, durable) = tail::terms(options);
    let here = |dir: &Path| tail::open(dir, options, false);
    let elsewhere = |dir: &Path| tail::open(dir, options, true);
    let ours = tails::Contender {
        name: "aquifer, same process",
        version: Some(VERSION),
        driver: Some(driver),
        row_bytes: rows::ROW_BYTES,
        open: &here,
    };
    let contenders = [ours, tails::Contender { name: "aquifer, another process", open: &elsewhere, ..ours }];
    let measured = tails::Options {
        dir: session.config.dir.clone(),
        rounds: arguments.rounds as usize,
        seconds: arguments.seconds,
        json: arguments.json,
        durable,
    };
    tails::run(&contenders, &measured).map(drop).map_err(failed)
}

fn project(session: &Session, arguments: &Bench) -> Outcome {
    let dir = session.config.dir.join(format!("bench-data-{}", std::process::id()));
    let bytes = arguments.size.first().copied().unwrap_or(PROJECT_BYTES);
    for batch_rows in PROJECT_BATCH_ROWS {
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let done = project_batches(&dir, session, arguments, bytes, batch_rows);
        std::fs::remove_dir_all(&dir).map_err(failed)?;
        done.map_err(failed)?;
    }
    Ok(())
}

fn project_batches(dir: &Path, session: &Session, arguments: &Bench, bytes: usize, batch_rows: usize) -> io::Result<()> {
    let written = project::Written::new(dir, &session.config.options, bytes, batch_rows)?;
    let columns = project::column_sets();
    let table = projections::Table {
        batch_rows,
        columns: &columns,
        rounds: arguments.rounds as usize,
        dir,
        limit: &|columns| written.reads(columns),
        cool: &|| written.cool(),
    };
    let (driver, _) = tail::terms(&session.config.options);
    let by_store = |columns: &[usize], sums| written.by_store(columns, sums);
    let by_ipc = |columns: &[usize], sums| written.by_ipc(columns, sums);
    let by_parquet = |columns: &[usize], sums| written.by_parquet(columns, sums);
    let ours = projections::Contender { name: "aquifer", version: Some(VERSION), driver: Some(driver), scan: &by_store };
    let theirs = projections::Contender { version: Some(ARROW_VERSION), driver: Some("read"), ..ours };
    let contenders = [
        ours,
        projections::Contender { name: "arrow-ipc FileReader", scan: &by_ipc, ..theirs },
        projections::Contender { name: "parquet", scan: &by_parquet, ..theirs },
    ];
    projections::run(&table, &contenders, arguments.json).map(drop)
}

fn failed(error: io::Error) -> Failure {
    let what = error.to_string();
    Error::unavailable(format!("the bench failed: {what}")).caused_by(error).into()
}
