//! Durable appends while everything else merges: the same appends alone are the limit.
//!
//! Rows are due on a schedule that waits for nobody, and each append counts from when it was due. In the first half of a round nothing else happens; in the second a thread changes a
//! tenth of another table and merges all of it, again and again. Invariant: the thread beside it merges at least once in a round.

use super::input::Input;
use super::keys::Keys;
use super::shape::Shape;
use super::{Batch, Contender, Keyed, Load};
use crate::report::{self, Line};
use crate::round::histogram;
use crate::{arena, machine};
use clap::Args;
use hdrhistogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; folders for the data are made in it and removed again
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each half of a round
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Rows of the table that is merged
    #[arg(long, default_value_t = ROWS)]
    pub rows: u64,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// Whether a batch is on the device when it is answered
    #[arg(skip = true)]
    pub durable: bool,
}

/// Rows of the table that is merged, when nothing else is asked for.
pub const ROWS: u64 = 1_000_000;

/// Rows that are due together, and how often.
const DUE_ROWS: usize = 20;
const DUE_EVERY: Duration = Duration::from_millis(2);

/// Most rows of a batch that is merged.
const BATCH_ROWS: u64 = 10_000;

/// What a round gave.
struct Round {
    alone_ns: Histogram<u64>,
    mixed_ns: Histogram<u64>,
    merges: u64,
    cpu_s: f64,
}

/// Runs all contenders, prints their lines and returns them.
pub fn run(contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let load = Load {
        shape: Shape::Small,
        keys: Keys::Uniform,
        rows: options.rows,
        batch_rows: (options.rows / 10).clamp(1, BATCH_ROWS) as usize,
        durable: options.durable,
        commit_rows: None,
        cache_bytes: None,
    };
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds.max(1) {
        // Nobody comes always behind the same one.
        for turn in 0..contenders.len() {
            let index = (turn + round) % contenders.len();
            let contender = &contenders[index];
            match arena::within(&options.dir, |dir| measure(contender, &load, options, dir)) {
                Ok(measured) => rounds[index].push(measured),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => report::skipped(contender.name, &error),
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", contender.name))),
            }
        }
    }
    let with_rounds = contenders.iter().zip(&rounds).filter(|(_, rounds)| !rounds.is_empty());
    let lines: Vec<Line> = with_rounds.map(|(contender, rounds)| line(contender, rounds, &load, options)).collect();
    lines.iter().try_for_each(|line| print(line, options.json))?;
    Ok(lines)
}

fn measure(contender: &Contender<'_>, load: &Load, options: &Options, dir: &Path) -> io::Result<Round> {
    let store = (contender.open)(dir, load)?;
    let input = Input::make(load, contender.form);
    for batch in &input.batches {
        store.upsert(batch)?;
    }
    store.settle()?;
    let numbers: Vec<u64> = (0..DUE_ROWS as u64).collect();
    let due = contender.form.of(load.shape.batch(&numbers, 0));
    let window = Duration::from_secs_f64(options.seconds);
    // Segments and memtables are made while the first rows wait.
    append_on_schedule(&*store, &due, window / 5)?;
    let alone_ns = append_on_schedule(&*store, &due, window)?;
    let cpu_before_s = machine::cpu_s();
    let stop = AtomicBool::new(false);
    let (mixed_ns, merges) = std::thread::scope(|scope| {
        let merging = scope.spawn(|| merge_until(&*store, &input.batches, &stop));
        let mixed_ns = append_on_schedule(&*store, &due, window);
        stop.store(true, Ordering::Relaxed);
        let merges = merging.join().expect("it does not panic")?;
        Ok::<_, io::Error>((mixed_ns?, merges))
    })?;
    Ok(Round { alone_ns, mixed_ns, merges, cpu_s: machine::cpu_s() - cpu_before_s })
}

/// Changes a tenth of the table and merges all of it, until it is told to stop; says how often.
fn merge_until(store: &dyn Keyed, batches: &[Batch], stop: &AtomicBool) -> io::Result<u64> {
    let mut turn = batches.iter().cycle();
    let mut merges = 0;
    while merges == 0 || !stop.load(Ordering::Relaxed) {
        for batch in turn.by_ref().take(batches.len().div_ceil(10)) {
            store.upsert(batch)?;
        }
        store.settle()?;
        merges += 1;
    }
    Ok(merges)
}

/// Appends rows when they are due; what is due meanwhile waits, and that counts. Only this thread's own late waking does not.
fn append_on_schedule(store: &dyn Keyed, rows: &Batch, window: Duration) -> io::Result<Histogram<u64>> {
    let mut latency_ns = histogram();
    let started = Instant::now();
    let mut due_at = Duration::ZERO;
    while due_at < window {
        let mut due = started + due_at;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
            due = Instant::now();
        }
        store.append(rows)?;
        latency_ns.saturating_record(due.elapsed().as_nanos() as u64);
        due_at += DUE_EVERY;
    }
    Ok(latency_ns)
}

fn line(contender: &Contender<'_>, rounds: &[Round], load: &Load, options: &Options) -> Line {
    let us = |histogram: &Histogram<u64>, p: f64| histogram.value_at_quantile(p) as f64 / 1e3;
    let all = |of: fn(&Round) -> &Histogram<u64>| {
        let mut latency_ns = histogram();
        rounds.iter().for_each(|round| latency_ns.add(of(round)).expect("equal histograms"));
        latency_ns
    };
    let mixed_ns = all(|round| &round.mixed_ns);
    let line = Line {
        bench: "mixed",
        case: format!("{}, {DUE_ROWS} rows / {} ms", contender.name, DUE_EVERY.as_millis()),
        metric: "p99 of an append while all is merged",
        unit: "us",
        better: "lower",
        limit_p99_us: Some(us(&all(|round| &round.alone_ns), 0.99)),
        cpu_s: rounds.iter().map(|round| round.cpu_s).sum(),
        merges: Some(rounds.iter().map(|round| round.merges).sum()),
        p50_us: Some(us(&mixed_ns, 0.5)),
        p99_us: Some(us(&mixed_ns, 0.99)),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("open loop, beside merges of {} rows of 100 B", load.rows),
        durability: report::durability(load.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    };
    let alone = rounds.iter().map(|round| us(&round.alone_ns, 0.99)).collect();
    line.with_values(rounds.iter().map(|round| us(&round.mixed_ns, 0.99)), Some(("p99 alone", alone)))
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<28} p50 {:>7.0} p99 {:>7.0} us, alone p99 {:>7.0} us   {}   {} merges",
        line.case,
        line.p50_us.unwrap_or_default(),
        line.value,
        line.limit.unwrap_or_default(),
        report::ratio_words(line),
        line.merges.unwrap_or_default(),
    ))
}

#[test]
fn appends_are_measured_alone_and_beside_merges() {
    use super::memory::{ABSENT, KEEPS};
    let dir = std::env::temp_dir();
    let lines = run(&[KEEPS, ABSENT], &Options { dir, rounds: 1, seconds: 0.02, rows: 100, json: true, durable: true }).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].merges.is_some_and(|merges| merges > 0) && lines[0].limit_name == Some("p99 alone") && lines[0].ratio.is_some());
}
