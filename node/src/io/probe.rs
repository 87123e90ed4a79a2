//! Which driver fits this machine, and why.

use super::system::{self, Engine};
use super::{Driver, uring};
use std::io;
use std::sync::Arc;

/// Which driver to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// io_uring where it works, else threads.
    #[default]
    Auto,
    /// io_uring, or an error that says why not.
    Uring,
    /// Threads.
    Threads,
}

/// The driver for this machine. Never fails for want of io_uring, unless that was asked for.
pub fn choose(preference: Preference) -> io::Result<Arc<dyn Driver>> {
    if preference == Preference::Threads {
        return Ok(system::shared(Engine::Threads, "threads were asked for"));
    }
    match uring::probe() {
        Ok(()) => Ok(system::shared(Engine::Uring, "io_uring works")),
        Err(error) if preference == Preference::Uring => Err(io::Error::new(error.kind(), why_not(&error))),
        Err(error) => Ok(system::shared(Engine::Threads, why_not(&error))),
    }
}

/// Why io_uring cannot be used, and what to do about it.
fn why_not(error: &io::Error) -> String {
    format!("io_uring: {error}")
}
