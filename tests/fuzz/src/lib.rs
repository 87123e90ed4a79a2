//! What is fuzzed: every decoder of the engine and what decides on compactions, one module each with a function `run` that takes any bytes.
//!
//! `cargo fuzz` runs them from `fuzz_targets/`, and `cargo test --test mutations` runs them on mutations of the golden files. A target
//! fails by a panic: either the decoder's own, or because what it let through does not hold.

pub mod batch;
pub mod directory;
pub mod frame;
pub mod manifest;
pub mod pick;
pub mod run;
pub mod sample;
pub mod store;
pub mod text;
