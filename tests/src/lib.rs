//! The commit path of the engine (`log`, `lsm` and `bucket`, the very files), compiled against the types of a model checker, for `tests/interleave`.
//! Everything else comes from the engine as it is. And what the program reads, which is fuzzed without a command line.
//!
//! The other tests of Aquifer as a whole are the targets named in `Cargo.toml`.

pub use aquifer_node::{error, format, merge, table};

#[path = "../interleave/io.rs"]
pub mod io;

#[path = "../../node/src/log/mod.rs"]
pub mod log;

#[path = "../../node/src/lsm/mod.rs"]
pub mod lsm;

#[path = "../../node/src/bucket/mod.rs"]
pub mod bucket;

// Its unit tests are the program's.
#[cfg(not(test))]
#[path = "../fuzz/src/command.rs"]
pub mod command;

#[path = "../fuzz/src/sample.rs"]
pub mod sample;
