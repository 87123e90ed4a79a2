//! `bench open`: opening a large store after its process was killed.
//!
//! The process that is killed is this program again, under a name that `bench list` does not show.

use std::io;
use std::path::Path;
use std::process::Command;

use aquifer_benches::keyed::open as harness;
use aquifer_benches::keyed::open::Step;
use aquifer_benches::keyed::{Contender, Form, Load};
use aquifer_node::store::Options;

use super::ground::Ground;
use super::keyed::Changelog;
use super::{Lines, ROUNDS, VERSION, keyed};
use crate::command::arguments::Bench;

/// The name under which the process that is killed is called.
pub(super) const OPENER: &str = "opener";

/// Runs the case.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let start = |_: &Contender<'_>, dir: &Path, step: Step| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--dir").arg(dir).arg("--io").arg(if ground.rings { "uring" } else { "threads" });
        command.args(["bench", OPENER, "--rows", &step.rows.to_string(), "--turn", &step.turn.to_string()]);
        for option in ground.options.entries().into_iter().filter(|option| option.name != "io") {
            command.args(["--set", &format!("{}={}", option.name, option.value)]);
        }
        Ok(command)
    };
    let unopened = |_: &Path, _: &Load| Err(io::Error::other("only processes of their own open it"));
    let ours = Contender { name: "aquifer", version: Some(VERSION), driver: Some(ground.driver), form: Form::Columns, open: &unopened };
    let options = harness::Options {
        dir: ground.dir.clone(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        rows: arguments.rows.unwrap_or(harness::ROWS),
        json: arguments.json,
        durable: ground.durable,
    };
    harness::run(&[ours], &start, &options)
}

/// The process that is killed: writes and opens the store in `dir`.
pub(super) fn act(dir: &Path, options: &Options, arguments: &Bench) -> io::Result<()> {
    let open = |dir: &Path, load: &Load| keyed::open(dir, load, options, Changelog::Input);
    let ours = Contender { name: "aquifer", version: Some(VERSION), driver: None, form: Form::Columns, open: &open };
    let step = Step { rows: arguments.rows.unwrap_or(harness::ROWS), turn: arguments.turn };
    harness::act(&ours, dir, step)
}
