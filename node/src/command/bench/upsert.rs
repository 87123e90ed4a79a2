//! `bench upsert`: upserts until everything is merged, held to the least that they cost.

use std::path::Path;

use aquifer_benches::keyed::upsert as harness;
use aquifer_benches::keyed::{Contender, Form, Load};
use aquifer_benches::limit::floor::FLOOR;

use super::ground::Ground;
use super::keyed::Changelog;
use super::{Lines, VERSION, keyed};
use crate::command::arguments::Bench;

/// Rounds, when nothing else is asked for: one of ours and one of the limit take about half a minute.
const ROUNDS: u32 = 3;

/// Runs all loads.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let open = |dir: &Path, load: &Load| keyed::open(dir, load, &ground.options, Changelog::Input);
    let look_up = |dir: &Path, load: &Load| keyed::open(dir, load, &ground.options, Changelog::Lookup);
    let ours = Contender { name: "aquifer", version: Some(VERSION), driver: Some(ground.driver), form: Form::Columns, open: &open };
    let options = harness::Options {
        dir: ground.dir.clone(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        rows: arguments.rows.unwrap_or(harness::ROWS),
        batch_rows: harness::BATCH_ROWS,
        only: arguments.only.clone(),
        json: arguments.json,
        durable: ground.durable,
    };
    harness::run(&[FLOOR, ours, Contender { name: "aquifer with changelog lookup", open: &look_up, ..ours }], &options)
}
