//! From append to a waiting reader: rows come on a schedule that waits for nobody, and each carries the time at which it was due.
//!
//! The limit is the commit itself: the time until the writer knows that its rows are durable. Invariant: a late append counts from when it was
//! due (no coordinated omission); every row that was appended is seen once, or the round fails.

pub mod follower;

use crate::machine;
use crate::report::{self, Line, Spread};
use crate::round::histogram;
use clap::Args;
use follower::{Followed, Follower};
use hdrhistogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader has nothing to read before the rows come: what it costs meanwhile is told.
const IDLE: Duration = Duration::from_secs(1);

/// A log with writers and readers.
pub trait Tail: Sync {
    /// A new writer.
    fn writer(&self) -> io::Result<Box<dyn Writer>>;

    /// A new reader, from the next row on, of `rows` rows in all.
    fn follower(&self, rows: u64) -> io::Result<Follower>;

    /// CPU seconds that it used so far outside of this process, beside its followers.
    fn cpu_elsewhere_s(&self) -> io::Result<f64> {
        Ok(0.0)
    }
}

/// Appends rows.
pub trait Writer: Send {
    /// Appends a row for each of the times at which rows were due, and returns when they are durable.
    fn append(&mut self, due_ns: &[u64]) -> io::Result<()>;
}

/// Who takes part.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its version, for what others made.
    pub version: Option<&'static str>,
    /// How it writes.
    pub driver: Option<&'static str>,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Opens it in an empty directory; an error of kind `Unsupported` says why it cannot take part here.
    pub open: &'a dyn Fn(&Path) -> io::Result<Box<dyn Tail>>,
}

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; a folder for the data is made in it and removed at the end
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of a round
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// Whether an append returns when its rows are on the device, or when the operating system has them
    #[arg(skip = true)]
    pub durable: bool,
}

/// Rows that are due together, again and again.
#[derive(Clone, Copy)]
struct Schedule {
    name: &'static str,
    rows: usize,
    every: Duration,
}

const SCHEDULES: [Schedule; 2] = [
    Schedule { name: "1 row / 10 ms", rows: 1, every: Duration::from_millis(10) },
    Schedule { name: "50k rows/s", rows: 50, every: Duration::from_millis(1) },
];

/// What a round gave.
struct Round {
    commit_ns: Histogram<u64>,
    followed: Followed,
    /// Of the reader while there was nothing to read.
    idle_cpu_s: f64,
    cpu_s: f64,
}

/// Runs every schedule, prints its lines and returns them.
pub fn run(contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for schedule in SCHEDULES {
        let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds.max(1) {
            for (contender, rounds) in contenders.iter().zip(&mut rounds) {
                match run_in(&options.dir, contender, schedule, options.seconds) {
                    Ok(round) => rounds.push(round),
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => eprintln!("skipped: {}: {error}", contender.name),
                    Err(error) => return Err(error),
                }
            }
        }
        for (contender, rounds) in contenders.iter().zip(&rounds).filter(|(_, rounds)| !rounds.is_empty()) {
            let line = line(contender, schedule, rounds, options);
            print(&line, options.json)?;
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Runs one round in a fresh directory, which is removed.
fn run_in(dir: &Path, contender: &Contender<'_>, schedule: Schedule, seconds: f64) -> io::Result<Round> {
    let place = dir.join(format!("bench-data-{}", std::process::id()));
    std::fs::create_dir_all(&place)?;
    let round = (contender.open)(&place).and_then(|tail| round(&*tail, schedule, seconds));
    std::fs::remove_dir_all(&place)?;
    round
}

fn round(tail: &dyn Tail, schedule: Schedule, seconds: f64) -> io::Result<Round> {
    let turns = (seconds / schedule.every.as_secs_f64()).ceil() as u32;
    let rows = u64::from(turns) * schedule.rows as u64;
    let (mut writer, follower) = (tail.writer()?, tail.follower(rows)?);
    let reader_before_s = follower.cpu_s()?;
    std::thread::sleep(IDLE);
    let idle_cpu_s = follower.cpu_s()? - reader_before_s;
    let cpu_before_s = machine::cpu_s() + tail.cpu_elsewhere_s()?;
    let commit_ns = write(&mut *writer, schedule, turns)?;
    let followed = follower.finish()?;
    if followed.visible_ns.len() != rows {
        return Err(io::Error::other(format!("{} of {rows} rows were seen", followed.visible_ns.len())));
    }
    let cpu_s = machine::cpu_s() + tail.cpu_elsewhere_s()? + followed.cpu_elsewhere_s - cpu_before_s;
    Ok(Round { commit_ns, followed, idle_cpu_s, cpu_s })
}

/// Appends on schedule: everything that is due goes down together, and a row is due at its turn even while the one before it is not durable
/// yet. Only this thread's own late waking does not count.
fn write(writer: &mut dyn Writer, schedule: Schedule, turns: u32) -> io::Result<Histogram<u64>> {
    let mut commit_ns = histogram();
    let started_ns = machine::monotonic_ns();
    let due_at = |turn: u32| started_ns + (schedule.every * turn).as_nanos() as u64;
    let mut turn = 0;
    let mut due_ns = Vec::new();
    while turn < turns {
        due_ns.clear();
        if let Some(early_ns) = due_at(turn).checked_sub(machine::monotonic_ns()) {
            std::thread::sleep(Duration::from_nanos(early_ns));
            due_ns.extend(std::iter::repeat_n(machine::monotonic_ns(), schedule.rows));
            turn += 1;
        }
        while turn < turns && due_at(turn) <= machine::monotonic_ns() {
            due_ns.extend(std::iter::repeat_n(due_at(turn), schedule.rows));
            turn += 1;
        }
        writer.append(&due_ns)?;
        let now_ns = machine::monotonic_ns();
        due_ns.iter().for_each(|due_ns| commit_ns.saturating_record(now_ns.saturating_sub(*due_ns)));
    }
    Ok(commit_ns)
}

fn line(contender: &Contender<'_>, schedule: Schedule, rounds: &[Round], options: &Options) -> Line {
    let median_us = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64 / 1e3;
    let visible = |round: &Round| median_us(&round.followed.visible_ns);
    let value = Spread::of(rounds.iter().map(visible));
    let limit = Spread::of(rounds.iter().map(|round| median_us(&round.commit_ns)));
    let ratio = Spread::of(rounds.iter().map(|round| visible(round) / median_us(&round.commit_ns)));
    let over = Spread::of(rounds.iter().map(|round| visible(round) - median_us(&round.commit_ns)));
    let (mut visible_ns, mut commit_ns) = (histogram(), histogram());
    for round in rounds {
        visible_ns.add(&round.followed.visible_ns).expect("equal histograms");
        commit_ns.add(&round.commit_ns).expect("equal histograms");
    }
    let cpu_s: f64 = rounds.iter().map(|round| round.cpu_s).sum();
    let (rows, row_bytes, every_ms) = (schedule.rows, contender.row_bytes, schedule.every.as_millis());
    Line {
        bench: "tail",
        case: format!("{} {}", contender.name, schedule.name),
        metric: "append to reader, p50",
        value: value.median,
        min: value.min,
        max: value.max,
        unit: "us",
        better: "lower",
        limit_name: Some("commit"),
        limit: Some(limit.median),
        ratio: Some(ratio.median),
        ratio_min: Some(ratio.min),
        ratio_max: Some(ratio.max),
        over_limit_us: Some(over.median),
        limit_p99_us: Some(commit_ns.value_at_quantile(0.99) as f64 / 1e3),
        idle_cpu_ms_per_s: Some(Spread::of(rounds.iter().map(|round| round.idle_cpu_s * 1e3)).median / IDLE.as_secs_f64()),
        cpu_s,
        cpu_us_per_record: Some(cpu_s * 1e6 / visible_ns.len() as f64),
        p50_us: Some(median_us(&visible_ns)),
        p99_us: Some(visible_ns.value_at_quantile(0.99) as f64 / 1e3),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("open loop, {rows} rows of {row_bytes} B every {every_ms} ms"),
        durability: report::durability(options.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    }
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<38} p50 {:>6.0} p99 {:>6.0} us   commit p50 {:>6.0} p99 {:>6.0} us   + {:>5.0} us, {:.2} ({:.2} - {:.2})   idle {:.2} ms/s   CPU {:.1} us a row",
        line.case,
        line.p50_us.unwrap_or_default(),
        line.p99_us.unwrap_or_default(),
        line.limit.unwrap_or_default(),
        line.limit_p99_us.unwrap_or_default(),
        line.over_limit_us.unwrap_or_default(),
        line.ratio.unwrap_or_default(),
        line.ratio_min.unwrap_or_default(),
        line.ratio_max.unwrap_or_default(),
        line.idle_cpu_ms_per_s.unwrap_or_default(),
        line.cpu_us_per_record.unwrap_or_default(),
    ))
}
