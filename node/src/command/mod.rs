//! The command line: from what the user typed to a verb, and from its outcome to an exit code.
//!
//! Invariant: a verb returns its outcome; printing an error and the exit code happen once, in `outcome`.
//! Knows the engine by its door only.

#![allow(clippy::disallowed_methods, reason = "the command line reads clocks and files of the user, not of the store")]
// It panics when stderr is a pipe that nobody reads any more.
#![deny(clippy::print_stderr, reason = "`outcome::tell` says it")]

mod arguments;
mod bench;
mod changes;
mod check;
mod config;
mod define;
mod doctor;
mod input;
mod interrupt;
mod latency;
mod lookup;
mod metrics;
mod outcome;
mod output;
mod progress;
mod quote;
mod read;
mod report;
mod schema_file;
mod session;
mod shop;
mod show;
mod snapshots;
mod time_text;
mod type_text;
mod write;

use std::ffi::OsString;

use clap::Parser;

use aquifer_node::store;
use arguments::{Arguments, Demo, Verb};
use config::Config;
use outcome::Outcome;
use output::Format;
use session::Session;

/// Runs the program and returns its exit code; `typed` begins with its name.
pub(crate) fn run(typed: impl Iterator<Item = OsString>) -> u8 {
    interrupt::survive_file_size_limit();
    let typed = help_of_help(typed.collect());
    // Before the command line is understood, what it says about the output has to be guessed.
    let words: Vec<_> = typed.iter().map(|word| word.to_string_lossy()).collect();
    let is_json = |word: &str| matches!(word, "json" | "ndjson" | "jsonl");
    let json_typed = words.iter().any(|word| word.strip_prefix("--output=").is_some_and(is_json))
        || words.windows(2).any(|pair| pair[0] == "--output" && is_json(&pair[1]));
    let arguments = match Arguments::try_parse_from(typed) {
        Ok(arguments) => arguments,
        Err(error) => return outcome::refuse(&error, json_typed),
    };
    let sets = settings(&arguments);
    let config = match Config::load(&arguments.global, &sets, environment()) {
        Ok(config) => config,
        Err(error) => return outcome::conclude(Err(error.into()), json_typed),
    };
    let as_json = config.output == Some(Format::Json);
    outcome::conclude(dispatch(&Session { config }, arguments.verb), as_json)
}

/// `help` is a verb like others, and who asks it for `--help` gets what it gives anyway.
fn help_of_help(mut typed: Vec<OsString>) -> Vec<OsString> {
    if typed.get(1).is_some_and(|verb| verb == "help") {
        typed.retain(|word| word != "--help" && word != "-h");
    }
    typed
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

/// Store settings from before and behind the verb.
fn settings(arguments: &Arguments) -> Vec<(String, String)> {
    let behind = match &arguments.verb {
        Verb::Init(settings) | Verb::List(settings) | Verb::Metrics(settings) | Verb::Doctor(settings) | Verb::Config(settings) => settings,
        Verb::Drop(drop) => &drop.settings,
        Verb::Rescale(rescale) => &rescale.settings,
        Verb::Describe(named) | Verb::Expire(named) | Verb::Flush(named) => &named.settings,
        Verb::Stats(named) | Verb::Verify(named) => &named.settings,
        Verb::Append(append) => &append.settings,
        Verb::Upsert(upsert) => &upsert.settings,
        Verb::Delete(delete) => &delete.settings,
        Verb::Lookup(lookup) => &lookup.settings,
        Verb::Compact(compact) => &compact.settings,
        Verb::Tail(tail) => &tail.settings,
        Verb::Scan(scan) => &scan.settings,
        Verb::Snapshots(snapshots) => &snapshots.settings,
        Verb::Demo(Demo::Shop(shop)) => &shop.settings,
        Verb::Bench(bench) => &bench.settings,
        Verb::Create(_) | Verb::Alter(_) => return arguments.set.clone(),
    };
    arguments.set.iter().chain(&behind.set).cloned().collect()
}

fn dispatch(session: &Session, verb: Verb) -> Outcome {
    // What is no rows has no format.
    if !matches!(verb, Verb::Metrics(_)) {
        session.check_out()?;
    }
    match verb {
        Verb::Init(_) => define::init(session),
        Verb::Create(create) => define::create(session, create),
        Verb::Alter(alter) => define::alter(session, &alter),
        Verb::Drop(drop) => define::drop(session, &drop),
        Verb::Rescale(rescale) => define::rescale(session, &rescale),
        Verb::List(_) => show::list(session),
        Verb::Describe(named) => show::describe(session, &named.table),
        Verb::Append(arguments) => write::append(session, &arguments),
        Verb::Upsert(arguments) => write::upsert(session, &arguments),
        Verb::Delete(arguments) => write::delete(session, &arguments),
        Verb::Lookup(arguments) => lookup::lookup(session, &arguments),
        Verb::Tail(tail) => read::tail(session, &tail),
        Verb::Scan(scan) => read::scan(session, &scan),
        Verb::Snapshots(arguments) => snapshots::snapshots(session, &arguments),
        Verb::Flush(named) => check::flush(session, &named.table),
        Verb::Compact(arguments) => check::compact(session, &arguments.table, arguments.full),
        Verb::Expire(named) => check::expire(session, &named.table),
        Verb::Stats(named) => show::stats(session, named.table.as_deref()),
        Verb::Metrics(_) => metrics::metrics(session),
        Verb::Doctor(_) => doctor::doctor(session),
        Verb::Verify(named) => check::verify(session, named.table.as_deref()),
        Verb::Config(_) => show::config(session),
        Verb::Demo(Demo::Shop(arguments)) => shop::run(session, &arguments),
        Verb::Bench(arguments) => bench::run(session, &arguments),
    }
}

#[cfg(test)]
mod tests;
