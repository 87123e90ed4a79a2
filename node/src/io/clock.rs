//! Time: the machine's, or the simulator's.
//!
//! Invariant: nothing else in the engine asks the system what time it is, so that under the simulator time is part of the seed.

#![expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time at which virtual clocks start: milliseconds since 1970.
const VIRTUAL_EPOCH_MS: i64 = 1_700_000_000_000;

/// Tells the time. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant },
    Virtual { elapsed_ns: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Clock {
        Clock(Source::System { start: Instant::now() })
    }

    /// A clock that stands still until somebody calls [`Clock::advance`].
    pub fn at_rest() -> Clock {
        Clock(Source::Virtual { elapsed_ns: Arc::default() })
    }

    /// Milliseconds since 1970. May jump, also backwards: the machine's owner sets it.
    pub fn wall_ms(&self) -> i64 {
        match &self.0 {
            Source::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
            },
            Source::Virtual { elapsed_ns } => VIRTUAL_EPOCH_MS + (elapsed_ns.load(Ordering::Relaxed) / 1_000_000) as i64,
        }
    }

    /// Time since some fixed moment; never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Virtual { elapsed_ns } => Duration::from_nanos(elapsed_ns.load(Ordering::Relaxed)),
        }
    }

    /// Moves a virtual clock on. Panics on the machine's.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System { .. } => panic!("only a virtual clock can be moved"),
            Source::Virtual { elapsed_ns } => {
                elapsed_ns.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_on() {
        let clock = Clock::system();
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
        assert!(clock.wall_ms() > 1_600_000_000_000, "after 2020");
    }

    #[test]
    fn a_virtual_clock_moves_when_told() {
        let clock = Clock::at_rest();
        let twin = clock.clone();
        twin.advance(Duration::from_millis(1500));
        assert_eq!(clock.monotonic(), Duration::from_millis(1500));
        assert_eq!(clock.wall_ms(), VIRTUAL_EPOCH_MS + 1500);
    }
}
