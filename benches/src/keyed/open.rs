//! Opening a large store after its process was killed: until the first row is found, and the memory that this takes.
//!
//! Processes of their own write and open the store, and are killed; each first leaves rows behind that are in no sorted file yet. The limit is a bare read of as many bytes as
//! those rows have. Invariant: a store counts only when it finds the newest row that was answered before the kill.

use super::keys::Keys;
use super::row::{Rows, split};
use super::shape::{self, Shape};
use super::{Contender, Keyed, Load, Scanned};
use crate::limit::reads;
use crate::report::{self, Line, Spread};
use crate::{arena, machine};
use clap::Args;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; folders for the data are made in it and removed again
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Rows of the store
    #[arg(long, default_value_t = ROWS)]
    pub rows: u64,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// Whether a batch is on the device when it is answered
    #[arg(skip = true)]
    pub durable: bool,
}

/// Rows of the store, when nothing else is asked for.
pub const ROWS: u64 = 5_000_000;

/// Rows that are in no sorted file when the process is killed, at most.
const LEFT_ROWS_MAX: u64 = 80_000;

/// Rows of a batch.
const BATCH_ROWS: usize = 10_000;

/// Starts a process that does a step for a contender in a directory: this program again, which then calls [`act`].
pub type Start<'a> = &'a dyn Fn(&Contender<'_>, &Path, Step) -> io::Result<Command>;

/// What a process does before it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Rows of the store.
    pub rows: u64,
    /// How often the store was opened before; it is new when that is 0.
    pub turn: u64,
}

impl Step {
    fn load(self) -> Load {
        Load {
            shape: Shape::Small,
            keys: Keys::Uniform,
            rows: self.rows,
            batch_rows: BATCH_ROWS,
            durable: true,
            commit_rows: None,
            cache_bytes: None,
        }
    }

    fn left_rows(self) -> u64 {
        LEFT_ROWS_MAX.min(self.load().keys())
    }

    /// The turn of the first row that the process leaves behind.
    fn left_from(self) -> u64 {
        self.rows + self.turn * self.left_rows()
    }
}

/// What a process says of an open.
#[derive(serde::Serialize, serde::Deserialize)]
struct Opened {
    seconds: f64,
    cpu_s: f64,
    peak_bytes: Option<u64>,
}

/// Runs all contenders, prints their lines and returns them.
pub fn run(contenders: &[Contender<'_>], start: Start<'_>, options: &Options) -> io::Result<Vec<Line>> {
    let lines = arena::within(&options.dir, |dir| {
        let step = Step { rows: options.rows, turn: 0 };
        let mut entrants = Vec::new();
        for contender in contenders {
            let place = dir.join(contender.name);
            std::fs::create_dir_all(&place)?;
            match in_process(start, contender, &place, step) {
                Ok(_) => entrants.push((contender, place, Vec::new())),
                Err(error) => report::skipped(contender.name, &error),
            }
        }
        let mut bare = reads::of_bytes(&dir.join("bare"), step.left_rows() * Shape::Small.row_bytes_max() as u64)?;
        let mut limits = Vec::new();
        for round in 0..options.rounds.max(1) {
            let started = Instant::now();
            bare.run()?;
            limits.push(started.elapsed().as_secs_f64());
            for (contender, place, rounds) in &mut entrants {
                rounds.push(in_process(start, contender, place, Step { turn: round as u64 + 1, ..step })?);
            }
        }
        Ok(entrants.iter().map(|(contender, _, rounds)| line(contender, rounds, &limits, options)).collect::<Vec<_>>())
    })?;
    lines.iter().try_for_each(|line| print(line, options.json))?;
    Ok(lines)
}

/// Lets a process do a step, and kills it.
fn in_process(start: Start<'_>, contender: &Contender<'_>, dir: &Path, step: Step) -> io::Result<Opened> {
    let mut process = start(contender, dir, step)?.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    let output = process.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut said)?;
    process.kill()?;
    let mut complaint = String::new();
    process.stderr.take().expect("it is piped").read_to_string(&mut complaint)?;
    process.wait()?;
    serde_json::from_str(&said).map_err(|_| io::Error::other(format!("{}: a process failed: {}", contender.name, complaint.trim())))
}

/// Does a step in a process of its own, says what it took, and waits to be killed.
pub fn act(contender: &Contender<'_>, dir: &Path, step: Step) -> io::Result<()> {
    let load = step.load();
    let before = machine::forget_peak_memory();
    let (cpu_before_s, started) = (machine::cpu_s(), Instant::now());
    let store = (contender.open)(dir, &load)?;
    if step.turn > 0 {
        find_newest(contender, &*store, Step { turn: step.turn - 1, ..step })?;
    }
    let (seconds, cpu_s) = (started.elapsed().as_secs_f64(), machine::cpu_s() - cpu_before_s);
    let peak_bytes = machine::peak_memory_bytes().zip(before).map(|(peak, _)| peak);
    if step.turn == 0 {
        write(contender, &*store, step, 0, step.rows)?;
        store.settle()?;
    } else {
        // What the process before left behind, so that this one leaves as much.
        store.commit()?;
    }
    write(contender, &*store, step, step.left_from(), step.left_rows())?;
    report::say(format_args!("{}", serde_json::to_string(&Opened { seconds, cpu_s, peak_bytes }).expect("plain values")))?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Writes rows of so many keys, from a turn on.
fn write(contender: &Contender<'_>, store: &dyn Keyed, step: Step, from_turn: u64, rows: u64) -> io::Result<()> {
    let keys = step.load().keys();
    let mut written = 0;
    while written < rows {
        let numbers: Vec<u64> = (written..rows.min(written + BATCH_ROWS as u64)).map(|row| row % keys).collect();
        store.upsert(&contender.form.of(Shape::Small.batch(&numbers, from_turn + written)))?;
        written += numbers.len() as u64;
    }
    Ok(())
}

/// The last row that the process of a step wrote is there.
fn find_newest(contender: &Contender<'_>, store: &dyn Keyed, step: Step) -> io::Result<()> {
    let number = step.left_rows() - 1;
    let mut expected = Scanned::default();
    for row in Rows::of(&Shape::Small.batch(&[number], step.left_from() + number)).iter() {
        expected.add(Shape::Small.second_of(split(row).1));
    }
    let found = store.lookup(&contender.form.of(shape::keys(std::iter::once(number))))?;
    match found == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{}: it found {found:?} instead of {expected:?}", contender.name))),
    }
}

fn line(contender: &Contender<'_>, rounds: &[Opened], limits: &[f64], options: &Options) -> Line {
    let peaks: Vec<f64> = rounds.iter().filter_map(|opened| opened.peak_bytes).map(|bytes| bytes as f64 / 1e6).collect();
    let line = Line {
        bench: "open",
        case: format!("{}, {} rows", contender.name, options.rows),
        metric: "until a row is found",
        unit: "s",
        better: "lower",
        cpu_s: rounds.iter().map(|opened| opened.cpu_s).sum(),
        peak_mb: (!peaks.is_empty()).then(|| Spread::of(peaks.into_iter()).median),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("killed with at most {LEFT_ROWS_MAX} rows of 100 B in no sorted file"),
        durability: report::durability(options.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    };
    line.with_values(rounds.iter().map(|opened| opened.seconds), Some(("a bare read of what was left", limits.to_vec())))
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<28} {:>7.1} ms ({:.1} - {:.1})   {}   memory {:>5.0} MB   CPU {:.3} s",
        line.case,
        line.value * 1e3,
        line.min * 1e3,
        line.max * 1e3,
        report::ratio_words(line),
        line.peak_mb.unwrap_or_default(),
        line.cpu_s / line.rounds as f64,
    ))
}
