//! Aquifer as its users meet it: the library through `aquifer_node::store`, and the program as it is typed.
//!
//! One binary, a file a topic. Everything runs on real directories under the target folder; what a test needs and does not find (root, a kernel
//! feature) it says in a line `skipped: needs ...`, or fails when skips are forbidden. These tests know nothing of how the engine works inside.
#![allow(clippy::disallowed_methods, reason = "tests read clocks and files as any user does")]

mod any_rows;
mod changelog_kill;
mod child;
mod forbidden;
mod program;
mod rows;
mod scratch;
mod skip;

mod altered_tails;
mod bad_keys;
mod bad_rows;
mod closing;
mod command_lines;
mod damage;
mod damages;
mod devices;
mod dropping;
mod evolution;
mod examples;
mod figures;
mod filters;
mod foreign;
mod forged;
mod inputs;
mod interrupt;
mod keyed;
mod keyed_kill;
mod kill;
mod large_file;
mod limits;
mod numbered;
mod partition_drops;
mod partitions;
mod processes;
mod promptness;
mod real_file;
mod recycling;
mod remerging;
mod rescaling;
mod retention;
mod round_trips;
mod starts;
mod too_large;
mod types;
mod versions;
