//! Waiting on a word of memory: the cheapest way to sleep until somebody in this process changes it.
//!
//! For words shared with other processes see [`super::Page`]. Not for the simulator, where nobody else could change the word.

use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` is `expected`, until woken, a signal, or the time-out. The caller looks again in every case.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    sleep(word, Flags::PRIVATE, expected, timeout);
}

/// Wakes at most `count` waiters of this process.
pub fn wake(word: &AtomicU32, count: u32) {
    // Waking fails on no valid word; without waiters it wakes nobody.
    let _ = futex::wake(word, Flags::PRIVATE, count);
}

/// Wakes every waiter of this process.
pub fn wake_all(word: &AtomicU32) {
    wake(word, i32::MAX as u32);
}

/// As [`wait`], with the flags of the kernel.
pub(crate) fn sleep(word: &AtomicU32, flags: Flags, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    // Every outcome (changed, woken, interrupted, timed out) means the same to the caller: look again.
    let _ = futex::wait(word, flags, expected, timeout.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_waiter_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, None);
                }
            });
            word.store(1, Ordering::Release);
            wake_all(&word);
        });
    }

    #[test]
    fn waits_end_by_themselves() {
        let word = AtomicU32::new(7);
        wait(&word, 0, None);
        wait(&word, 7, Some(Duration::from_millis(1)));
    }
}
