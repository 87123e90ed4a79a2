//! How far a verb is: rows, rows per second and MB per second on stderr, only on a terminal.
//!
//! Invariant: silent unless stderr is a terminal and the user did not ask for quiet. Knows nothing of what is counted.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar is drawn so often at most.
const DRAWS_PER_SECOND: u8 = 8;

pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    rows: u64,
    bytes: u64,
}

impl Progress {
    /// Begins to count, towards `rows_total` if that is known.
    pub(crate) fn new(what: &str, rows_total: Option<u64>, quiet: bool) -> Self {
        let is_shown = !quiet && std::io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND) } else { ProgressDrawTarget::hidden() };
        let (bar, template) = match rows_total {
            Some(total) => (ProgressBar::with_draw_target(Some(total), target), "{prefix} [{bar:30}] {percent:>3}% {msg} {eta} left"),
            None => (ProgressBar::with_draw_target(None, target), "{prefix} {spinner} {msg} {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        bar.set_prefix(what.to_string());
        if is_shown {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Progress { bar, started: Instant::now(), rows: 0, bytes: 0 }
    }

    /// Counts more.
    pub(crate) fn add(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        if !self.bar.is_hidden() {
            let pace = self.pace();
            let (rows_per_s, mb_per_s) = (pace.rows_per_s(), pace.mb_per_s());
            self.bar.set_message(format!("{} rows, {rows_per_s:.0} rows/s, {mb_per_s:.1} MB/s", self.rows));
            self.bar.set_position(self.rows);
        }
    }

    /// What was counted, in which time.
    pub(crate) fn pace(&self) -> Pace {
        Pace { rows: self.rows, bytes: self.bytes, seconds: self.started.elapsed().as_secs_f64() }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) -> Pace {
        self.bar.finish_and_clear();
        self.pace()
    }
}

/// A count and the time it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

impl Pace {
    pub(crate) fn rows_per_s(self) -> f64 {
        self.rows as f64 / self.seconds.max(1e-9)
    }

    /// Megabytes of 10^6 bytes.
    pub(crate) fn mb_per_s(self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds.max(1e-9)
    }
}
