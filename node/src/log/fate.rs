//! What becomes of a group: durable or failed, and a word to wait on.
//!
//! Invariant: decided once. One wake serves every waiter of the group. This module knows nothing of files.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::io::sync::{AtomicU32, Mutex, Ordering, spin_loop, wait, wake_all};

const PENDING: u32 = 0;
const DURABLE: u32 = 1;
const FAILED: u32 = 2;
/// As pending, and somebody sleeps on the word.
const SLEPT_ON: u32 = 3;

/// Loops that a finished inline writer spins for its predecessor, before it sleeps: the two end within microseconds of each other.
const SPINS: u32 = 2_000;

/// Shared by everybody who has a batch in a group.
#[derive(Debug)]
pub struct Fate {
    word: AtomicU32,
    error: Mutex<Option<Error>>,
}

impl Fate {
    /// Not decided yet.
    pub fn pending() -> Arc<Self> {
        Arc::new(Fate { word: AtomicU32::new(PENDING), error: Mutex::new(None) })
    }

    /// Durable from the start: for a batch that was here before.
    pub fn durable() -> Arc<Self> {
        Arc::new(Fate { word: AtomicU32::new(DURABLE), error: Mutex::new(None) })
    }

    /// The group is on the device. Wakes nobody yet: returns whether somebody sleeps, who wants [`Fate::wake`].
    #[must_use = "sleepers must be woken"]
    pub fn succeed(&self) -> bool {
        self.decide(DURABLE)
    }

    /// The group will never be durable. Wakes nobody yet: returns whether somebody sleeps, who wants [`Fate::wake`].
    #[must_use = "sleepers must be woken"]
    pub fn fail(&self, error: Error) -> bool {
        *self.error.lock() = Some(error);
        self.decide(FAILED)
    }

    fn decide(&self, fate: u32) -> bool {
        let before = self.word.swap(fate, Ordering::AcqRel);
        assert!(matches!(before, PENDING | SLEPT_ON), "a fate is decided once");
        before == SLEPT_ON
    }

    /// Wakes all who wait.
    pub fn wake(&self) {
        wake_all(&self.word);
    }

    /// The result, once there is one.
    pub fn poll(&self) -> Option<Result<()>> {
        match self.word.load(Ordering::Acquire) {
            PENDING | SLEPT_ON => None,
            DURABLE => Some(Ok(())),
            _ => Some(Err(self.error())),
        }
    }

    /// Waits for the result.
    pub fn wait(&self) -> Result<()> {
        loop {
            if let Some(result) = self.poll() {
                return result;
            }
            // Fails when somebody sleeps already, or it was decided: then the word is not what is slept on.
            let _ = self.word.compare_exchange(PENDING, SLEPT_ON, Ordering::Relaxed, Ordering::Relaxed);
            wait(&self.word, SLEPT_ON, None);
        }
    }

    /// Waits for the result, awake for the first moments.
    pub fn wait_awake(&self) -> Result<()> {
        for _ in 0..SPINS {
            if let Some(result) = self.poll() {
                return result;
            }
            spin_loop();
        }
        self.wait()
    }

    fn error(&self) -> Error {
        match &*self.error.lock() {
            Some(error) => error.replica(),
            None => Error::internal("a group failed without a reason"),
        }
    }
}
