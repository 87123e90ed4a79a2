//! From append to a waiting reader: rows come on a schedule that waits for nobody, and each carries the time at which it was due.
//!
//! The limit is the commit itself: the time until the writer knows that its rows are durable.

use aquifer_benches::machine;
use aquifer_benches::report::{self, Line};
use aquifer_benches::round::histogram;
use clap::Args;
use hdrhistogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a row.
const ROW_BYTES: usize = 100;

/// A log with writers and tails.
pub trait Tail: Sync {
    /// A new writer.
    fn writer(&self) -> io::Result<Box<dyn Writer>>;

    /// A new reader, from the first row.
    fn reader(&self) -> io::Result<Box<dyn Reader>>;

    /// CPU seconds that it used so far outside of this process.
    fn cpu_elsewhere_s(&self) -> io::Result<f64>;
}

/// Appends rows.
pub trait Writer: Send {
    /// Appends the rows and returns when they are durable.
    fn append(&mut self, rows: &[Vec<u8>]) -> io::Result<()>;
}

/// Reads rows as they come.
pub trait Reader: Send {
    /// Sleeps until there is at least one row that it did not return yet.
    fn wait(&mut self) -> io::Result<Vec<Vec<u8>>>;
}

/// Who takes part.
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: Option<&'static str>,
    /// Opens it in an empty directory; an error says why it cannot take part here.
    pub open: fn(&Path) -> io::Result<Box<dyn Tail>>,
}

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; a folder for the data is made in it and removed at the end
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of a round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Print JSON, one line a case
    #[arg(long)]
    json: bool,
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
    visible_ns: Histogram<u64>,
    commit_ns: Histogram<u64>,
    cpu_s: f64,
}

/// Runs every schedule and prints its lines.
pub fn run(contenders: &[Contender], options: &Options) -> io::Result<()> {
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
            print(&line(contender, schedule, rounds, options), options.json);
        }
    }
    Ok(())
}

/// Runs one round in a fresh directory, which is removed.
fn run_in(dir: &Path, contender: &Contender, schedule: Schedule, seconds: f64) -> io::Result<Round> {
    let place = dir.join(format!("bench-data-{}", std::process::id()));
    std::fs::create_dir_all(&place)?;
    let round = (contender.open)(&place).and_then(|tail| round(&*tail, schedule, seconds));
    std::fs::remove_dir_all(&place)?;
    round
}

fn round(tail: &dyn Tail, schedule: Schedule, seconds: f64) -> io::Result<Round> {
    let turns = (seconds / schedule.every.as_secs_f64()).ceil() as u32;
    let (mut writer, mut reader) = (tail.writer()?, tail.reader()?);
    let cpu_before_s = machine::cpu_s() + tail.cpu_elsewhere_s()?;
    let started = Instant::now();
    let (commit_ns, visible_ns) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&mut *reader, turns as usize * schedule.rows, started));
        let commit_ns = write(&mut *writer, schedule, turns, started)?;
        let visible_ns = reading.join().expect("a reader does not panic")?;
        Ok::<_, io::Error>((commit_ns, visible_ns))
    })?;
    let cpu_s = machine::cpu_s() + tail.cpu_elsewhere_s()? - cpu_before_s;
    Ok(Round { visible_ns, commit_ns, cpu_s })
}

/// Appends on schedule: everything that is due goes down together, and a row is due at its turn even while the one before it is not durable
/// yet. Only this thread's own late waking does not count.
fn write(writer: &mut dyn Writer, schedule: Schedule, turns: u32, started: Instant) -> io::Result<Histogram<u64>> {
    let mut commit_ns = histogram();
    let mut turn = 0;
    while turn < turns {
        let mut due_ns = Vec::new();
        if let Some(early) = (schedule.every * turn).checked_sub(started.elapsed()) {
            std::thread::sleep(early);
            due_ns.push(started.elapsed().as_nanos() as u64);
            turn += 1;
        }
        while turn < turns && schedule.every * turn <= started.elapsed() {
            due_ns.push((schedule.every * turn).as_nanos() as u64);
            turn += 1;
        }
        let rows: Vec<Vec<u8>> = due_ns.iter().flat_map(|due_ns| vec![row(*due_ns); schedule.rows]).collect();
        writer.append(&rows)?;
        let now_ns = started.elapsed().as_nanos() as u64;
        due_ns.iter().for_each(|due_ns| commit_ns.saturating_record_n(now_ns.saturating_sub(*due_ns), schedule.rows as u64));
    }
    Ok(commit_ns)
}

/// A row that carries the time at which it was due.
fn row(due_ns: u64) -> Vec<u8> {
    let mut row = vec![b'r'; ROW_BYTES];
    row[..8].copy_from_slice(&due_ns.to_le_bytes());
    row
}

fn read(reader: &mut dyn Reader, expected: usize, started: Instant) -> io::Result<Histogram<u64>> {
    let mut visible_ns = histogram();
    while (visible_ns.len() as usize) < expected {
        let rows = reader.wait()?;
        let now_ns = started.elapsed().as_nanos() as u64;
        for row in rows {
            let due_ns = row.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or(io::ErrorKind::InvalidData)?;
            visible_ns.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }
    Ok(visible_ns)
}

fn line(contender: &Contender, schedule: Schedule, rounds: &[Round], options: &Options) -> Line {
    let median_us = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64 / 1e3;
    let value = report::Spread::of(rounds.iter().map(|round| median_us(&round.visible_ns)));
    let limit = report::Spread::of(rounds.iter().map(|round| median_us(&round.commit_ns)));
    let ratio = report::Spread::of(rounds.iter().map(|round| median_us(&round.visible_ns) / median_us(&round.commit_ns)));
    let mut all_ns = histogram();
    rounds.iter().for_each(|round| all_ns.add(&round.visible_ns).expect("equal histograms"));
    let cpu_s: f64 = rounds.iter().map(|round| round.cpu_s).sum();
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
        cpu_s,
        cpu_us_per_record: cpu_s * 1e6 / all_ns.len() as f64,
        p50_us: Some(median_us(&all_ns)),
        p99_us: Some(all_ns.value_at_quantile(0.99) as f64 / 1e3),
        version: contender.version,
        load: format!("open loop, {} rows of {ROW_BYTES} B every {} ms", schedule.rows, schedule.every.as_millis()),
        durability: "sync",
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    }
}

fn print(line: &Line, json: bool) {
    if json {
        return report::print(line, true);
    }
    println!(
        "{:<34} p50 {:>7.0} p99 {:>7.0} us   {:.2} ({:.2} - {:.2}) of the commit's p50 {:.0} us   CPU {:.1} us a row",
        line.case,
        line.p50_us.unwrap_or_default(),
        line.p99_us.unwrap_or_default(),
        line.ratio.unwrap_or_default(),
        line.ratio_min.unwrap_or_default(),
        line.ratio_max.unwrap_or_default(),
        line.limit.unwrap_or_default(),
        line.cpu_us_per_record,
    );
}
