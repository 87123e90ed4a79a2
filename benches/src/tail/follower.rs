//! Who waits for rows: a thread of this process, or another process that tells at its end what it saw.
//!
//! Invariant: times are of the monotonic clock, which all processes of a machine share. What a process tells is lines of text: `ready` once
//! it waits, then its CPU seconds from there on, then pairs of nanoseconds and how often. This module knows nothing of logs.

use crate::machine;
use crate::round::histogram;
use hdrhistogram::Histogram;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
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
    /// CPU seconds in another process.
    pub cpu_elsewhere_s: f64,
}

/// A reader at work.
pub struct Follower {
    work: Work,
    process: u32,
    thread: u32,
}

enum Work {
    Thread(JoinHandle<io::Result<Followed>>),
    Process(Child, BufReader<ChildStdout>),
}

impl Follower {
    /// A thread that reads `rows` rows.
    pub fn thread(mut reader: Box<dyn Reader>, rows: u64) -> Follower {
        let (started, start) = mpsc::channel();
        let body = move || {
            let _ = started.send(machine::thread_id());
            follow(&mut *reader, rows).map(|visible_ns| Followed { visible_ns, cpu_elsewhere_s: 0.0 })
        };
        let work = Work::Thread(std::thread::spawn(body));
        Follower { work, process: std::process::id(), thread: start.recv().expect("the thread starts") }
    }

    /// A process that calls [`tell`]; returns when it waits.
    pub fn process(command: &mut Command) -> io::Result<Follower> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line)?;
        match line.trim() {
            READY => {
                let process = child.id();
                Ok(Follower { work: Work::Process(child, lines), process, thread: process })
            }
            other => {
                child.wait()?;
                Err(io::Error::other(format!("the reader says `{other}`")))
            }
        }
    }

    /// CPU seconds of the thread that reads.
    pub fn cpu_s(&self) -> io::Result<f64> {
        machine::cpu_of_thread_s(self.process, self.thread)
    }

    /// Waits until all rows are read.
    pub fn finish(self) -> io::Result<Followed> {
        match self.work {
            Work::Thread(thread) => thread.join().expect("a reader does not panic"),
            Work::Process(mut child, lines) => {
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
    let visible_ns = follow(reader, rows)?;
    writeln!(output, "{}", machine::cpu_s() - before_s)?;
    for value in visible_ns.iter_recorded() {
        writeln!(output, "{} {}", value.value_iterated_to(), value.count_at_value())?;
    }
    output.flush()
}

fn listen(mut lines: BufReader<ChildStdout>) -> io::Result<Followed> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let cpu_elsewhere_s = line.trim().parse().map_err(|_| misunderstood(&line))?;
    let mut visible_ns = histogram();
    for line in lines.lines() {
        let line = line?;
        let pair = line.split_once(' ').and_then(|(value, count)| Some((value.parse().ok()?, count.parse().ok()?)));
        let (value, count) = pair.ok_or_else(|| misunderstood(&line))?;
        visible_ns.saturating_record_n(value, count);
    }
    Ok(Followed { visible_ns, cpu_elsewhere_s })
}

fn misunderstood(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the reader ends with `{}`", line.trim()))
}

fn follow(reader: &mut dyn Reader, rows: u64) -> io::Result<Histogram<u64>> {
    let mut visible_ns = histogram();
    let mut due_ns = Vec::new();
    while visible_ns.len() < rows {
        due_ns.clear();
        reader.wait(&mut due_ns)?;
        let now_ns = machine::monotonic_ns();
        due_ns.iter().for_each(|due_ns| visible_ns.saturating_record(now_ns.saturating_sub(*due_ns)));
    }
    Ok(visible_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_understood() {
        let script = "echo ready; echo 0.5; echo '1000 2'; echo '5000 1'";
        let followed = Follower::process(Command::new("sh").args(["-c", script])).unwrap().finish().unwrap();
        assert_eq!((followed.visible_ns.len(), followed.cpu_elsewhere_s), (3, 0.5));
        assert!(followed.visible_ns.max() >= 5000);
    }

    #[test]
    fn a_process_that_fails_is_an_error() {
        assert!(Follower::process(Command::new("sh").args(["-c", "echo 'no table'"])).is_err());
        assert!(Follower::process(Command::new("sh").args(["-c", "echo ready"])).unwrap().finish().is_err());
    }
}
