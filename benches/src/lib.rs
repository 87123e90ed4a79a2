//! What the benches share: the limits of the machine, producers in rounds, and the line that reports them.
//!
//! Invariant: everything that is compared runs in one process, interleaved round by round, on equal input; a figure is a ratio inside one
//! run. This crate knows nothing of the engine: the limits are bare system calls.
#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock and the real disk")]

pub mod aligned;
pub mod append;
pub mod arena;
pub mod case;
pub mod group;
pub mod keyed;
pub mod limit;
pub mod machine;
pub mod plot;
pub mod project;
pub mod report;
pub mod round;
pub mod table;
pub mod tail;
