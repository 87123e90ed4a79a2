//! How a test says that it cannot run here.

use std::io::Write;

/// Says `skipped: needs WHAT` on a line of its own, past the harness's capture. Fails where skips are forbidden.
pub(crate) fn needs(what: &str) {
    assert!(std::env::var_os("AQUIFER_TESTS_FORBID_SKIPS").is_none(), "needs {what}, and skips are forbidden");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\nskipped: needs {what}");
}
