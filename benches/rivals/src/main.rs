//! The rivals on the same input, with the same durability, in the same run as the limit of the machine.
//!
//! `cargo run --release -- append --json`. Each takes part with the settings that suit it best for this load, named in its module.
//! RocksDB and Redis are those of the system (Debian: `librocksdb-dev`, `redis-server`); who is missing is named as skipped.
#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock and the real disk")]

mod fjall;
mod ours;
mod redis;
mod resp;
mod rocksdb;
mod rows;

use aquifer_benches::append::{self, Terms};
use aquifer_benches::case::Contender;
use aquifer_benches::{limit, tail};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Who appends: the bare limits, ours, then the rivals.
const APPENDERS: [Contender<'static>; 7] =
    [limit::INLINE, limit::RING, ours::OURS, rocksdb::ROCKSDB, fjall::FJALL, redis::REDIS, redis::REDIS_PIPELINED];

/// Who is tailed.
const TAILED: [tail::Contender<'static>; 3] = [ours::TAIL_HERE, ours::TAIL_ELSEWHERE, redis::TAIL];

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
    /// A reader in a process of its own, started by `tail`
    #[command(name = ours::READER, hide = true)]
    Reader { dir: PathBuf, rows: u64 },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().bench {
        Bench::Append(mut options) => {
            options.terms = Terms { overhead_bytes: OVERHEAD_BYTES, ..Terms::default() };
            append::run("append", &APPENDERS, &options).map(drop)
        }
        Bench::Tail(options) => tail::run(&TAILED, &options).map(drop),
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
