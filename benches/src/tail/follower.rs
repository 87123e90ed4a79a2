//! Who waits for rows: a thread of this process, or another process that tells at its end what it saw.
//!
//! Invariant: times are of the monotonic clock, which all processes of a machine share. What a process tells is lines of text: `ready` once
//! it waits, then its CPU seconds while idle and in all, then pairs of nanoseconds and how often. This module knows nothing of logs.

use crate::machine;
use crate::round::histogram;
use hdrhistogram::Histogram;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

const READY: &str = "ready";

/// Reads rows as they come.
pub trait Reader: Send {
    /// Sleeps until there is at least one row that it did not return yet; adds when each was due.
    fn wait(&mut self, due_ns: &mut Vec<u64>) -> io::Result<()>;
}

/// What a reader saw.
pub struct Followed {
    /// Nanoseconds from when a row was due to when the reader had it.
    pub visible_ns: Histogram<u64>,
    /// CPU seconds while it waited for the first row.
    pub idle_cpu_s: f64,
    /// CPU seconds in another process, but those while it was idle.
    pub cpu_elsewhere_s: f64,
}

/// A reader at work.
pub enum Follower {
    /// In this process.
    Thread(JoinHandle<io::Result<Followed>>),
    /// In another process.
    Process(Child, BufReader<ChildStdout>),
}

impl Follower {
    /// A thread that reads `rows` rows.
    pub fn thread(mut reader: Box<dyn Reader>, rows: u64) -> Follower {
        Follower::Thread(std::thread::spawn(move || follow(&mut *reader, rows, machine::thread_cpu_s)))
    }

    /// A process that calls [`tell`]; returns when it waits.
    pub fn process(command: &mut Command) -> io::Result<Follower> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line)?;
        match line.trim() {
            READY => Ok(Follower::Process(child, lines)),
            other => {
                child.wait()?;
                Err(io::Error::other(format!("the reader says `{other}`")))
            }
        }
    }

    /// Waits until all rows are read.
    pub fn finish(self) -> io::Result<Followed> {
        match self {
            Follower::Thread(thread) => thread.join().expect("a reader does not panic"),
            Follower::Process(mut child, lines) => {
                let told = listen(lines);
                child.wait()?;
                told
            }
        }
    }
}

/// Reads `rows` rows and prints what it saw: the other side of [`Follower::process`].
pub fn tell(reader: &mut dyn Reader, rows: u64) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{READY}")?;
    output.flush()?;
    let before_s = machine::cpu_s();
    let followed = follow(reader, rows, machine::cpu_s)?;
    let cpu_s = machine::cpu_s() - before_s - followed.idle_cpu_s;
    writeln!(output, "{} {cpu_s}", followed.idle_cpu_s)?;
    for value in followed.visible_ns.iter_recorded() {
        writeln!(output, "{} {}", value.value_iterated_to(), value.count_at_value())?;
    }
    output.flush()
}

fn listen(mut lines: BufReader<ChildStdout>) -> io::Result<Followed> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let (idle_cpu_s, cpu_elsewhere_s) = pair(&line)?;
    let mut visible_ns = histogram();
    for line in lines.lines() {
        let (value, count) = pair(&line?)?;
        visible_ns.saturating_record_n(value, count);
    }
    Ok(Followed { visible_ns, idle_cpu_s, cpu_elsewhere_s })
}

fn pair<A: std::str::FromStr, B: std::str::FromStr>(line: &str) -> io::Result<(A, B)> {
    let parsed = line.trim().split_once(' ').and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("the reader ends with `{}`", line.trim())))
}

fn follow(reader: &mut dyn Reader, rows: u64, cpu_s: fn() -> f64) -> io::Result<Followed> {
    let mut visible_ns = histogram();
    let mut due_ns = Vec::new();
    let mut idle_cpu_s = None;
    let before_s = cpu_s();
    while visible_ns.len() < rows {
        due_ns.clear();
        reader.wait(&mut due_ns)?;
        let now_ns = machine::monotonic_ns();
        idle_cpu_s.get_or_insert_with(|| cpu_s() - before_s);
        due_ns.iter().for_each(|due_ns| visible_ns.saturating_record(now_ns.saturating_sub(*due_ns)));
    }
    Ok(Followed { visible_ns, idle_cpu_s: idle_cpu_s.unwrap_or_default(), cpu_elsewhere_s: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_understood() {
        let script = "echo ready; echo '0.001 0.5'; echo '1000 2'; echo '5000 1'";
        let followed = Follower::process(Command::new("sh").args(["-c", script])).unwrap().finish().unwrap();
        assert_eq!((followed.visible_ns.len(), followed.idle_cpu_s, followed.cpu_elsewhere_s), (3, 0.001, 0.5));
        assert!(followed.visible_ns.max() >= 5000);
    }

    #[test]
    fn a_process_that_fails_is_an_error() {
        assert!(Follower::process(Command::new("sh").args(["-c", "echo 'no table'"])).is_err());
        assert!(Follower::process(Command::new("sh").args(["-c", "echo ready"])).unwrap().finish().is_err());
    }
}
