//! The engine's `io`, with `sync` replaced.

pub use aquifer_node::io::*;

pub mod sync;
