//! Aquifer: the embeddable real-time tier of an open lakehouse.
//!
//! The modules below stand in floors, from the ground up: **each knows only lower floors**. A blank line ends a floor,
//! modules in one run of lines stand side by side and do not know each other. This list is the rule; `tests/tidy.rs` keeps it.
//! [`store`] is the door for embedders; everything else is open only to this project's own tests and benches.

// Ground: what every floor may say.
pub mod error;

// What a table is, without I/O. The kernel as the engine sees it, without tables.
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod table;

// Bytes on disk: no I/O, no clock. Rows of one key to one row: pure.
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod merge;

// Segments of one bucket. Sorted runs of one bucket.
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod lsm;

// One log, one truth: the only place that commits to a manifest.
#[doc(hidden)]
pub mod bucket;

// Background work: which job next, and how much of it.
#[doc(hidden)]
pub mod schedule;

// The only door for embedders.
pub mod store;

pub use error::{Error, Kind, Result};
