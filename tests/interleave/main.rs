//! Interleavings of the commit path: the log and the bucket of the engine, under shuttle, which decides at every lock and every word which
//! thread goes on.
//!
//! What holds in all of them: rows are acknowledged in order, after they are on the device and visible; each row is there once; nobody sleeps
//! for ever; a failed write fails all behind it and nothing before it.

mod bucket;
mod cuts;
mod device;
mod driver;
mod images;
mod log;

/// Explores `scenario` so many times, half of them at random and half with few, well placed switches.
fn explore(iterations: usize, scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), iterations / 2);
    shuttle::check_pct(scenario, iterations / 2, 3);
}

/// Whether an exploration of so many iterations finds something.
fn is_found(iterations: usize, scenario: impl Fn() + Send + Sync + Clone + 'static) -> bool {
    let explored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explore(iterations, scenario)));
    explored.is_err()
}
