//! How a verb ends: exit codes, and the one line that says what went wrong.
//!
//! Invariant: whoever fails prints once, here. Knows nothing of verbs.

use std::fmt::Display;
use std::io::{self, Write};

use aquifer_node::{Error, Kind};
use serde_json::{Map, Value, json};

/// Done.
const DONE: u8 = 0;
/// Failed.
const FAILED: u8 = 1;
/// Wrong usage.
const WRONG_USAGE: u8 = 2;
/// Not found.
const NOT_FOUND: u8 = 3;
/// Corrupt data found.
const CORRUPT: u8 = 5;

/// Why a verb ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong; with the exit code.
    Error(Error, u8),
    /// The user said stop; with the exit code, as a shell counts it: 128 and the signal.
    Interrupted(u8),
    /// Nobody reads the output any more: no failure at all.
    ClosedPipe,
    /// What went wrong was already part of the output.
    Reported(u8),
}

/// What a verb returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    /// A request that is wrong as it stands is wrong usage.
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Invalid => WRONG_USAGE,
            Kind::NotFound => NOT_FOUND,
            Kind::Conflict => 4,
            Kind::Corrupt => CORRUPT,
            Kind::Plugin => 6,
            _ => FAILED,
        };
        Failure::Error(error, code)
    }
}

impl Failure {
    /// A failure that the data brought about, not the way the program was called.
    pub(crate) fn of_data(error: Error) -> Self {
        match error.into() {
            Failure::Error(error, WRONG_USAGE) => Failure::Error(error, FAILED),
            other => other,
        }
    }

    /// A failure to write output.
    pub(crate) fn writing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Error::io("write", std::path::Path::new("the output"), error).into(),
        }
    }

    /// A check found something, and said so.
    pub(crate) fn found_corrupt() -> Self {
        Failure::Reported(CORRUPT)
    }

    /// What was asked for is not there, and nothing is to be said.
    pub(crate) fn not_found() -> Self {
        Failure::Reported(NOT_FOUND)
    }

    /// A check failed, and said so.
    pub(crate) fn check_failed() -> Self {
        Failure::Reported(FAILED)
    }
}

/// Says something on stderr. If nobody listens any more, what is being done goes on: nothing can be done about a stderr that is gone.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what has to be said and returns the exit code.
pub(crate) fn conclude(outcome: Outcome, as_json: bool) -> u8 {
    match outcome {
        Ok(()) | Err(Failure::ClosedPipe) => DONE,
        Err(Failure::Interrupted(code) | Failure::Reported(code)) => code,
        Err(Failure::Error(error, code)) => {
            tell(if as_json { json_line(&error) } else { line(&error) });
            code
        }
    }
}

/// Ends a command line that clap did not take: help is no error, the rest one line and what to do.
pub(crate) fn refuse(error: &clap::Error, as_json: bool) -> u8 {
    if !error.use_stderr() {
        // Help for a pipe that is closed is help not needed.
        let _ = error.print();
        return DONE;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return WRONG_USAGE;
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("the command line is wrong").trim_start_matches("error: ");
    let mut what = first.trim_end_matches(':').to_string();
    if first.ends_with(':') {
        let missing: Vec<_> = lines.clone().take_while(|line| !line.starts_with("Usage")).collect();
        what = format!("{what}: {}", missing.join(" "));
    }
    if let Some(possible) = lines.clone().find_map(|line| line.strip_prefix('[')?.strip_suffix(']')) {
        what = format!("{what}; {possible}");
    }
    // No value of ours begins with two dashes: an option was meant, and is not there.
    let tip = lines.filter_map(|line| line.strip_prefix("tip: ")).find(|tip| !tip.starts_with("to pass ")).map(|tip| format!("{tip}, or "));
    let hint = format!("{}see aquifer --help", tip.unwrap_or_default());
    conclude(Err(Error::invalid(what).hint(hint).into()), as_json)
}

fn line(error: &Error) -> String {
    format!("aquifer: {}: {error}", error.kind()).replace('\n', " ")
}

fn json_line(error: &Error) -> String {
    let place: Map<_, _> = error.context().map(|(name, value)| (name.to_string(), Value::from(value))).collect();
    let mut told = json!({ "error": error.kind().as_str(), "message": error.message(), "hint": error.advice() });
    if !place.is_empty() {
        told["where"] = place.into();
    }
    told.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: Error) -> u8 {
        match Failure::from(error) {
            Failure::Error(_, code) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        let codes = [
            code(Error::invalid("")),
            code(Error::not_found("")),
            code(Error::conflict("")),
            code(Error::corrupt("")),
            code(Error::new(Kind::Plugin, "")),
            code(Error::exhausted("")),
        ];
        assert_eq!(codes, [2, 3, 4, 5, 6, 1]);
        assert!(matches!(Failure::of_data(Error::invalid("")), Failure::Error(_, 1)));
        assert!(matches!(Failure::of_data(Error::corrupt("")), Failure::Error(_, 5)));
    }

    #[test]
    fn an_error_is_one_line() {
        let error = Error::not_found("there is no such table").at("table", "clicks").hint("see\naquifer list");
        assert_eq!(line(&error), "aquifer: NOT_FOUND: there is no such table, table clicks; see aquifer list");
        let value: Value = serde_json::from_str(&json_line(&error)).unwrap();
        assert_eq!(value["error"], "NOT_FOUND");
        assert_eq!(value["where"]["table"], "clicks");
        assert!(!json_line(&Error::invalid("x")).contains("where\""), "no place, no key");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::writing(gone), Failure::ClosedPipe));
    }
}
