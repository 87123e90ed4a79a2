//! Back ends of I/O side by side: durable appends through a bare ring, pwritev2 by each producer, pwritev2 by a pool, and tokio-uring.
//!
//! `cargo bench -p aquifer-benches --bench durable -- --size 4096 --producers 1,16,128`
#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock and the real disk")]

mod tokio_ring;

use aquifer_benches::append::{self, Options};
use aquifer_benches::case::Contender;
use aquifer_benches::limit;
use clap::Parser;
use std::process::ExitCode;

const CONTENDERS: [Contender<'static>; 4] = [limit::RING, limit::INLINE, limit::POOL, tokio_ring::TOKIO_RING];

/// Durable appends through each way to write, held to the best of them.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match append::run("durable", &CONTENDERS, &Arguments::parse().options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("durable: {error}");
            ExitCode::FAILURE
        }
    }
}
