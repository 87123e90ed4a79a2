//! `bench mixed`: durable appends while everything else merges, held to the same appends alone.

use std::path::Path;

use aquifer_benches::keyed::mixed as harness;
use aquifer_benches::keyed::{Contender, Form, Load};

use super::ground::Ground;
use super::keyed::Changelog;
use super::{Lines, ROUNDS, VERSION, keyed};
use crate::command::arguments::Bench;

/// Runs the case.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let open = |dir: &Path, load: &Load| keyed::open(dir, load, &ground.options, Changelog::Input);
    let ours = Contender { name: "aquifer", version: Some(VERSION), driver: Some(ground.driver), form: Form::Columns, open: &open };
    let options = harness::Options {
        dir: ground.dir.clone(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        seconds: arguments.seconds,
        rows: arguments.rows.unwrap_or(harness::ROWS),
        json: arguments.json,
        durable: ground.durable,
    };
    harness::run(&[ours], &options)
}
