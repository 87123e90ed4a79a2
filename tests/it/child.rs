//! A second process: this test binary again, told by its environment what to do.
//!
//! The harness runs [`is_the_child`] as any test; without a job it ends at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const JOB: &str = "AQUIFER_IT_JOB";

/// Marks what a child says to its parent among what the harness prints.
const SAYS: &str = "child: ";

/// A child at work. Killed when it is dropped.
pub(crate) struct Worker {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// What it says next; `None` when it has ended.
    pub(crate) fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).expect("the child's output") == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.trim_end().to_string());
            }
        }
    }

    /// Ends it as a power cut would, seen from the process.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("a child can be killed");
    }

    /// Waits for its end; whether all went well.
    pub(crate) fn ends_well(mut self) -> bool {
        while self.hears().is_some() {}
        self.process.wait().expect("a child can be waited for").success()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts `job` with `arguments` in a process of its own. See `jobs` in the topics' files.
pub(crate) fn start(job: &str, arguments: &[&str]) -> Worker {
    let mut command = command(job, arguments);
    let mut process = command.spawn().expect("this binary can be started");
    let output = BufReader::new(process.stdout.take().expect("piped"));
    Worker { process, output }
}

/// The command that [`start`] runs.
pub(crate) fn command(job: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running binary"));
    command.args(["--exact", "child::is_the_child", "--nocapture", "--test-threads=1"]);
    command.env(JOB, std::iter::once(job).chain(arguments.iter().copied()).collect::<Vec<_>>().join("\n"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Says a line to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{line}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

#[test]
fn is_the_child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let words: Vec<&str> = job.split('\n').collect();
    match words[0] {
        "write" => super::processes::write(words[1]),
        "fill" => super::damage::fill(words[1]),
        "read_many_buckets" => super::limits::read_many_buckets(words[1], words[2]),
        "fill_device" => super::devices::fill_device(words[1]),
        "fill_device_under_tree" => super::devices::fill_device_under_tree(words[1]),
        "open_on_full_device" => super::devices::open_on_full_device(words[1]),
        "use_read_only" => super::devices::use_read_only(words[1]),
        other => panic!("unknown job {other}"),
    }
}
