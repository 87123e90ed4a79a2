//! What `io::sync` of the engine offers, made of shuttle's types: every use is a point where another thread may go on.
//!
//! A sleeping thread that nobody wakes is a deadlock, which shuttle reports. [`lose_one_wake`] makes one on purpose.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use shuttle::sync::Condvar;
pub use shuttle::sync::MutexGuard;
pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// A lock that no panic poisons.
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a panic ends the exploration")
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// A word to sleep on.
pub struct AtomicU32 {
    word: shuttle::sync::atomic::AtomicU32,
    sleepers: shuttle::sync::Mutex<()>,
    woken: Condvar,
}

impl AtomicU32 {
    /// A word with this value.
    pub fn new(value: u32) -> Self {
        AtomicU32 { word: shuttle::sync::atomic::AtomicU32::new(value), sleepers: shuttle::sync::Mutex::new(()), woken: Condvar::new() }
    }

    /// As the word of the standard library.
    pub fn load(&self, order: Ordering) -> u32 {
        self.word.load(order)
    }

    /// As the word of the standard library.
    pub fn store(&self, value: u32, order: Ordering) {
        self.word.store(value, order);
    }

    /// As the word of the standard library.
    pub fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.word.swap(value, order)
    }

    /// As the word of the standard library.
    pub fn compare_exchange(&self, expected: u32, value: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.word.compare_exchange(expected, value, success, failure)
    }

    /// As the word of the standard library.
    pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        self.word.fetch_add(value, order)
    }
}

impl Default for AtomicU32 {
    fn default() -> Self {
        AtomicU32::new(0)
    }
}

impl fmt::Debug for AtomicU32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtomicU32")
    }
}

/// Loops of somebody who is about to sleep: more would only make explorations longer.
pub const SPINS: u32 = 2;

/// Lets another thread go on.
pub fn spin_loop() {
    shuttle::hint::spin_loop();
}

/// Sleeps while the word is `expected`: looking and falling asleep are one, as the kernel does it. A time-out never comes.
pub fn wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
    let sleepers = word.sleepers.lock().expect("a panic ends the exploration");
    if word.load(Ordering::SeqCst) == expected {
        drop(word.woken.wait(sleepers).expect("a panic ends the exploration"));
    }
}

thread_local! {
    /// An exploration runs all its threads on the one that began it.
    static WAKES_UNTIL_LOST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The planted defect: in this exploration the wake after so many is not made.
pub fn lose_one_wake(after: usize) {
    WAKES_UNTIL_LOST.set(Some(after));
}

/// Wakes every sleeper.
pub fn wake_all(word: &AtomicU32) {
    let left = WAKES_UNTIL_LOST.get();
    WAKES_UNTIL_LOST.set(left.and_then(|left| left.checked_sub(1)));
    if left == Some(0) {
        return;
    }
    drop(word.sleepers.lock().expect("a panic ends the exploration"));
    word.woken.notify_all();
}
