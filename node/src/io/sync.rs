//! The synchronisation that the commit path uses, under one name, so that a test can put a model checker's in its place
//! (`tests/interleave` compiles `log` against `shuttle` through this module).
//!
//! Invariant: no type here is poisoned by a panic. This module knows nothing of files.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

pub use parking_lot::{Mutex, MutexGuard};
pub use std::hint::spin_loop;

pub use super::futex::{wait, wake_all};

/// Loops that somebody spins who is about to sleep and expects to be woken within microseconds.
pub const SPINS: u32 = 2_000;
