//! SIGINT and SIGTERM as a flag that loops look at; the second one ends the program at once.
//!
//! Invariant: set once, never cleared; which of them came is known before the flag is set. Knows nothing of what is interrupted.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

use super::outcome::Failure;

/// How long a loop waits before it looks again.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(|| Arc::new(AtomicBool::new(false)))
}

/// The signal that came last.
fn signal() -> &'static Arc<AtomicUsize> {
    static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    SIGNAL.get_or_init(|| Arc::new(AtomicUsize::new(SIGINT as usize)))
}

/// From here on an interrupt waits until a loop looks. If the system refuses, it ends the program as it always did.
pub(crate) fn catch() {
    for signal in [SIGINT, SIGTERM] {
        let second = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag().clone());
        let which = second.and_then(|_| signal_hook::flag::register_usize(signal, self::signal().clone(), signal as usize));
        let _ = which.and_then(|_| signal_hook::flag::register(signal, flag().clone()));
    }
}

/// A file that may not grow (`ulimit -f`) is an error to be told, not the end of the program.
pub(crate) fn survive_file_size_limit() {
    // A signal that is handled lets the write fail, and that is handled like any other failure.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether the user said stop.
pub(crate) fn came() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Waits until `due`, or fails as soon as the user says stop.
pub(crate) fn wait_until(due: Instant) -> Result<(), Failure> {
    loop {
        check()?;
        match due.checked_duration_since(Instant::now()) {
            None | Some(Duration::ZERO) => return Ok(()),
            Some(left) => std::thread::park_timeout(left.min(LOOK_EVERY)),
        }
    }
}

/// Fails if the user said stop.
pub(crate) fn check() -> Result<(), Failure> {
    if came() { Err(Failure::Interrupted(128 + signal().load(Ordering::Relaxed) as u8)) } else { Ok(()) }
}
