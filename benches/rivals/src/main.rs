//! The rivals on the same input, with the same durability, in the same run as the limit of the machine.
//!
//! `cargo run --release -- append --json`. Each takes part with the settings that suit it best for this load, named in its module.
//! RocksDB and Redis are those of the system (Debian: `librocksdb-dev`, `redis-server`); who is missing is named as skipped.
#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock and the real disk")]

mod fjall;
mod redis;
mod resp;
mod rocksdb;
mod tail;

use aquifer_benches::append;
use aquifer_benches::case::Contender;
use aquifer_benches::limit;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Who appends: the bare limits, then the rivals. A case of ours takes its place in this list.
const APPENDERS: [Contender; 6] = [limit::INLINE, limit::RING, rocksdb::ROCKSDB, fjall::FJALL, redis::REDIS, redis::REDIS_PIPELINED];

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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().bench {
        Bench::Append(options) => append::run("append", &APPENDERS, &options),
        Bench::Tail(options) => tail::run(&[redis::TAIL], &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {error}");
            ExitCode::FAILURE
        }
    }
}
