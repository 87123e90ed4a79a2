//! `doctor`: what this machine offers to a store, and what to do about what it lacks.
//!
//! Invariant: only prints; the facts come from where drivers are chosen by them.

use super::outcome::Outcome;
use super::report::{Cell, Report};
use super::session::Session;
use super::store::examine_machine;

pub(crate) fn doctor(session: &Session) -> Outcome {
    // It need not be there yet.
    session.dir_is_there()?;
    let mut report = Report::new(["check", "value", "ok", "advice"]);
    for fact in examine_machine(&session.config.dir) {
        report.row([fact.name.into(), fact.value.into(), fact.advice.is_none().into(), Cell::from(fact.advice)]);
    }
    session.print(&report)
}
