//! The rivals on the same input, with the same durability, in the same run as the limit of the machine.
//!
//! `cargo run --release -- append --json`. Each takes part with the settings that suit it best for this load, named in its module.
//! RocksDB and Redis are those of the system (Debian: `librocksdb-dev`, `redis-server`); who is missing is named as skipped.
#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock and the real disk")]

mod fjall;
mod ours;
#[path = "../../../node/src/command/bench/keyed.rs"]
mod ours_keyed;
mod redis;
mod resp;
mod rocksdb;
mod rows;

use aquifer_benches::append::{self, Terms};
use aquifer_benches::case::Contender;
use aquifer_benches::keyed::{self, Form, lookup, mixed, open, scan, upsert};
use aquifer_benches::{limit, tail};
use clap::{Parser, Subcommand};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Who appends: the bare limits, ours, then the rivals.
const APPENDERS: [Contender<'static>; 7] =
    [limit::INLINE, limit::RING, ours::OURS, rocksdb::ROCKSDB, fjall::FJALL, redis::REDIS, redis::REDIS_PIPELINED];

/// Who is tailed.
const TAILED: [tail::Contender<'static>; 3] = [ours::TAIL_HERE, ours::TAIL_ELSEWHERE, redis::TAIL];

/// Who keeps rows by their keys: ours, then the rivals.
const KEYED: [keyed::Contender<'static>; 3] = [OURS_KEYED, rocksdb::KEYED, fjall::KEYED];

/// Aquifer, as `aquifer bench` has it.
const OURS_KEYED: keyed::Contender<'static> = keyed::Contender {
    name: "aquifer",
    version: Some("this commit's"),
    driver: Some("io_uring"),
    form: Form::Columns,
    open: &|dir, load| ours_keyed::open(dir, load, &aquifer_node::store::Options::default(), ours_keyed::Changelog::Input),
};

/// The same, with a log that says what became of each key.
const OURS_WITH_LOOKUP: keyed::Contender<'static> = keyed::Contender {
    name: "aquifer with changelog lookup",
    open: &|dir, load| ours_keyed::open(dir, load, &aquifer_node::store::Options::default(), ours_keyed::Changelog::Lookup),
    ..OURS_KEYED
};

/// Bytes of a record that are left to the formats: the payload of all is shorter by this.
const OVERHEAD_BYTES: usize = 512;

/// The rivals of Aquifer, measured.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Durable appends
    Append(append::Options),
    /// From append to a waiting reader
    Tail(tail::Options),
    /// Upserts of rows by key until all is merged
    Upsert(upsert::Options),
    /// Rows by their keys
    Lookup(lookup::Options),
    /// Durable appends while another table is merged
    Mixed(mixed::Options),
    /// A large store after its process was killed
    Open(open::Options),
    /// The process that is killed, started by `open`
    #[command(hide = true)]
    Opener { name: String, dir: PathBuf, rows: u64, turn: u64 },
    /// Scans of rows by key that many commits left unmerged
    Scan(scan::Options),
    /// A reader in a process of its own, started by `tail`
    #[command(name = ours::READER, hide = true)]
    Reader { dir: PathBuf, rows: u64 },
}

/// The process that is killed: this program again.
fn opener(contender: &keyed::Contender<'_>, dir: &Path, step: open::Step) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["opener", contender.name]).arg(dir).args([step.rows.to_string(), step.turn.to_string()]);
    Ok(command)
}

fn main() -> ExitCode {
    let done = match Arguments::parse().bench {
        Bench::Append(mut options) => {
            options.terms = Terms { overhead_bytes: OVERHEAD_BYTES, ..Terms::default() };
            append::run("append", &APPENDERS, &options).map(drop)
        }
        Bench::Tail(options) => tail::run(&TAILED, &options).map(drop),
        Bench::Upsert(options) => {
            let [ours, rocksdb, fjall] = KEYED;
            upsert::run(&[limit::floor::FLOOR, ours, OURS_WITH_LOOKUP, rocksdb, fjall], &options).map(drop)
        }
        Bench::Lookup(options) => lookup::run(&KEYED, &options).map(drop),
        Bench::Mixed(options) => mixed::run(&KEYED, &options).map(drop),
        Bench::Open(options) => open::run(&KEYED, &opener, &options).map(drop),
        Bench::Opener { name, dir, rows, turn } => match KEYED.iter().find(|contender| contender.name == name) {
            Some(contender) => open::act(contender, &dir, open::Step { rows, turn }),
            None => Err(io::Error::new(io::ErrorKind::NotFound, name)),
        },
        Bench::Scan(options) => scan::run(&KEYED, &options).map(drop),
        Bench::Reader { dir, rows } => ours::read(&dir, rows),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {error}");
            ExitCode::FAILURE
        }
    }
}
