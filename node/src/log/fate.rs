//! What becomes of a group: durable or failed, and a word to wait on.
//!
//! Invariants: decided once, by who holds its [`Deciding`]; and whoever loses that, wherever a panic comes from, leaves nobody asleep. One wake serves
//! every waiter of the group. This module knows nothing of files.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::io::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, SPINS, spin_loop, wait, wake_all};

const PENDING: u32 = 0;
const DURABLE: u32 = 1;
const FAILED: u32 = 2;
/// As pending, and somebody sleeps on the word.
const SLEPT_ON: u32 = 3;

/// Shared by everybody who has a batch in a group.
#[derive(Debug)]
pub struct Fate {
    word: AtomicU32,
    /// Somebody slept when it was decided.
    was_slept_on: AtomicBool,
    /// When its waiters were woken, in nanoseconds of the store's clock; 0 before.
    woken_ns: AtomicU64,
    error: Mutex<Option<Error>>,
}

/// The right to decide a fate; goes from hand to hand with the group. Dropped too early, the group failed, and who waits is woken.
#[derive(Debug)]
pub struct Deciding(Arc<Fate>);

impl Deciding {
    /// Of a fate that is not decided yet.
    pub fn begin() -> Self {
        Deciding(Arc::new(Fate::at(PENDING)))
    }

    /// For those who wait.
    pub fn fate(&self) -> &Arc<Fate> {
        &self.0
    }

    /// The group is on the device. Wakes nobody yet: see [`Deciding::wake`].
    pub fn succeed(&self) {
        self.0.decide(DURABLE);
    }

    /// The group will never be durable. Wakes nobody yet: see [`Deciding::wake`].
    pub fn fail(&self, error: Error) {
        *self.0.error.lock() = Some(error);
        self.0.decide(FAILED);
    }

    /// Wakes all who sleep, and keeps the time for those who look later.
    pub fn wake(self, now: Duration) {
        self.0.wake(now);
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        // Nobody waits: most often it was woken, or its log goes away with it.
        if self.0.woken_at().is_some() || Arc::strong_count(&self.0) == 1 {
            return;
        }
        if self.0.poll().is_none() {
            self.fail(died());
        }
        self.0.wake(Duration::from_nanos(1));
    }
}

/// Why groups fail that somebody had in hand who died.
pub fn died() -> Error {
    Error::internal("the thread that wrote died").hint("close and open the store again; it recovers everything that was acknowledged")
}

impl Fate {
    /// Durable from the start: for a batch that was here before.
    pub fn durable() -> Arc<Self> {
        Arc::new(Self::at(DURABLE))
    }

    fn at(word: u32) -> Self {
        Fate { word: AtomicU32::new(word), was_slept_on: AtomicBool::new(false), woken_ns: AtomicU64::new(0), error: Mutex::new(None) }
    }

    fn decide(&self, fate: u32) {
        let before = self.word.swap(fate, Ordering::AcqRel);
        assert!(matches!(before, PENDING | SLEPT_ON), "a fate is decided once");
        self.was_slept_on.store(before == SLEPT_ON, Ordering::Relaxed);
    }

    fn wake(&self, now: Duration) {
        self.woken_ns.store(now.as_nanos() as u64, Ordering::Release);
        // A writer that waits awake, or for itself alone, spares the system call.
        if self.was_slept_on.load(Ordering::Relaxed) {
            wake_all(&self.word);
        }
    }

    /// When the waiters were woken, on the store's clock; `None` when that is a moment away, or was before this fate.
    pub fn woken_at(&self) -> Option<Duration> {
        let woken_ns = self.woken_ns.load(Ordering::Acquire);
        (woken_ns > 0).then(|| Duration::from_nanos(woken_ns))
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
