//! What becomes of a group: durable or failed, and a word to wait on.
//!
//! Invariant: decided once. One wake serves every waiter of the group. This module knows nothing of files.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::io::sync::{AtomicU32, Mutex, Ordering, SPINS, spin_loop, wait, wake_all};

const PENDING: u32 = 0;
const DURABLE: u32 = 1;
const FAILED: u32 = 2;

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

    /// The group is on the device. Wakes nobody yet: see [`Fate::wake`].
    pub fn succeed(&self) {
        let before = self.word.swap(DURABLE, Ordering::Release);
        assert_eq!(before, PENDING, "a fate is decided once");
    }

    /// The group will never be durable. Wakes nobody yet: see [`Fate::wake`].
    pub fn fail(&self, error: Error) {
        *self.error.lock() = Some(error);
        let before = self.word.swap(FAILED, Ordering::Release);
        assert_eq!(before, PENDING, "a fate is decided once");
    }

    /// Wakes all who wait.
    pub fn wake(&self) {
        wake_all(&self.word);
    }

    /// The result, once there is one.
    pub fn poll(&self) -> Option<Result<()>> {
        match self.word.load(Ordering::Acquire) {
            PENDING => None,
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
            wait(&self.word, PENDING, None);
        }
    }

    /// Waits for the result, awake for the first moments: an inline writer and its predecessor end within microseconds of each other.
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
