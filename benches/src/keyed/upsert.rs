//! Upserts until the store is settled: contenders take turns round by round, each in an empty directory, held to the first of them.
//!
//! The clock starts when the input is made and the store is open, and stops when everything is merged; all CPU of the process counts, whichever thread used
//! it. There is no warm-up: an empty store is where each begins. Invariant: a round counts only when the store then holds the newest row of each key.

use super::input::Input;
use super::keys::Keys;
use super::shape::Shape;
use super::{Contender, Load};
use crate::report::{self, Line, Spread};
use crate::round::histogram;
use crate::{arena, machine};
use clap::Args;
use hdrhistogram::Histogram;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; folders for the data are made in it and removed again
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Rows upserted in a round
    #[arg(long, default_value_t = ROWS)]
    pub rows: u64,
    /// Rows of a batch
    #[arg(long, default_value_t = BATCH_ROWS)]
    pub batch_rows: usize,
    /// Only loads whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// Whether a batch is on the device when it is answered
    #[arg(skip = true)]
    pub durable: bool,
}

/// Rows of a round, when nothing else is asked for.
pub const ROWS: u64 = 10_000_000;

/// Rows of a batch, when nothing else is asked for.
pub const BATCH_ROWS: usize = 10_000;

/// What a round gave.
struct Round {
    rows: u64,
    /// From the first batch to the answer of the last.
    ingest_s: f64,
    /// From the first batch until all is merged.
    seconds: f64,
    cpu_s: f64,
    /// Bytes written to the device for each byte of rows.
    write_amplification: Option<f64>,
    /// Most memory beyond what the input took.
    peak_bytes: Option<u64>,
    latency_ns: Histogram<u64>,
}

impl Round {
    fn cpu_s_per_m_rows(&self) -> f64 {
        self.cpu_s * 1e6 / self.rows as f64
    }

    fn s_per_m_rows(&self) -> f64 {
        self.seconds * 1e6 / self.rows as f64
    }
}

/// Runs every load through all contenders, the first of which is the limit, prints the lines and returns them.
pub fn run(contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for shape in Shape::ALL {
        for keys in [Keys::Uniform, Keys::Zipf] {
            let Options { rows, batch_rows, durable, .. } = *options;
            let load = Load { shape, keys, rows, batch_rows, durable, commit_rows: None, cache_bytes: None };
            if !options.only.is_empty() && !options.only.iter().any(|part| load.name().contains(part.as_str())) {
                continue;
            }
            for line in run_load(contenders, &load, options)? {
                print(&line, options.json)?;
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

fn run_load(contenders: &[Contender<'_>], load: &Load, options: &Options) -> io::Result<Vec<Line>> {
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds.max(1) {
        // Nobody comes always behind the same one.
        for turn in 0..contenders.len() {
            let index = (turn + round) % contenders.len();
            let contender = &contenders[index];
            match arena::within(&options.dir, |dir| measure(contender, load, dir)) {
                Ok(measured) => rounds[index].push(measured),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => report::skipped(contender.name, &error),
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", contender.name))),
            }
        }
    }
    let limit = (!rounds[0].is_empty()).then_some((contenders[0].name, &rounds[0][..]));
    let mut lines = Vec::new();
    for (index, (contender, rounds)) in contenders.iter().zip(&rounds).enumerate().filter(|(_, (_, rounds))| !rounds.is_empty()) {
        let held_to = limit.filter(|_| index > 0);
        lines.push(line(contender, load, options, rounds, held_to, Figure::Cpu));
        lines.push(line(contender, load, options, rounds, held_to, Figure::Time));
    }
    Ok(lines)
}

fn measure(contender: &Contender<'_>, load: &Load, dir: &std::path::Path) -> io::Result<Round> {
    let input = Input::make(load, contender.form);
    let store = (contender.open)(dir, load)?;
    let memory_before = machine::forget_peak_memory();
    let (written_before, cpu_before_s, started) = (machine::written_bytes(), machine::cpu_s(), Instant::now());
    let mut latency_ns = histogram();
    for batch in &input.batches {
        let sent = Instant::now();
        store.upsert(batch)?;
        latency_ns.saturating_record(sent.elapsed().as_nanos() as u64);
    }
    let ingest_s = started.elapsed().as_secs_f64();
    store.settle()?;
    let (seconds, cpu_s) = (started.elapsed().as_secs_f64(), machine::cpu_s() - cpu_before_s);
    let written = machine::written_bytes().zip(written_before).map(|(after, before)| after - before);
    let peak_bytes = machine::peak_memory_bytes().zip(memory_before).map(|(peak, before)| peak.saturating_sub(before));
    let sum = store.sum()?;
    if sum != input.expected {
        return Err(io::Error::other(format!("it holds {sum:?} instead of {:?}", input.expected)));
    }
    let write_amplification = written.map(|bytes| bytes as f64 / input.row_bytes as f64);
    Ok(Round { rows: load.rows, ingest_s, seconds, cpu_s, write_amplification, peak_bytes, latency_ns })
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Cpu,
    Time,
}

fn line(
    contender: &Contender<'_>,
    load: &Load,
    options: &Options,
    rounds: &[Round],
    limit: Option<(&'static str, &[Round])>,
    figure: Figure,
) -> Line {
    let (name, metric, of): (_, _, fn(&Round) -> f64) = match figure {
        Figure::Cpu => ("CPU", "CPU of a million rows", Round::cpu_s_per_m_rows),
        Figure::Time => ("time", "time of a million rows", Round::s_per_m_rows),
    };
    let mut latency_ns = histogram();
    rounds.iter().for_each(|round| latency_ns.add(&round.latency_ns).expect("equal histograms"));
    let percentile = |p: f64| Some(latency_ns.value_at_quantile(p) as f64 / 1e3);
    let median = |of: &dyn Fn(&Round) -> Option<f64>| {
        let found: Vec<f64> = rounds.iter().filter_map(of).collect();
        (!found.is_empty()).then(|| Spread::of(found.into_iter()).median)
    };
    let line = Line {
        bench: "upsert",
        case: format!("{}, {}: {name}", contender.name, load.name()),
        metric,
        unit: "s",
        better: "lower",
        cpu_s: rounds.iter().map(|round| round.cpu_s).sum(),
        limit_cpu_s: limit.map(|(_, limits)| limits.iter().map(|round| round.cpu_s).sum()),
        rows_per_s: median(&|round| Some(round.rows as f64 / round.ingest_s)),
        write_amplification: median(&|round| round.write_amplification),
        peak_mb: median(&|round| round.peak_bytes.map(|bytes| bytes as f64 / 1e6)),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("{} rows in batches of {}, one producer, closed loop, empty at first, merged at last", load.rows, load.batch_rows),
        durability: report::durability(load.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    };
    line.with_values(rounds.iter().map(of), limit.map(|(name, limits)| (name, limits.iter().map(of).collect())))
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<52} {:>7.3} s a M rows   {:<38} ingest {:>6.2} M rows/s   batch p50 {:>6.0} p99 {:>7.0} us   written {:>4.1}x   memory {:>5.0} MB",
        line.case,
        line.value,
        report::ratio_words(line),
        line.rows_per_s.unwrap_or_default() / 1e6,
        line.p50_us.unwrap_or_default(),
        line.p99_us.unwrap_or_default(),
        line.write_amplification.unwrap_or_default(),
        line.peak_mb.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{ABSENT, KEEPS, LOSES};
    use super::*;

    fn run_with(first: Contender<'_>) -> io::Result<Vec<Line>> {
        let options = Options {
            dir: std::env::temp_dir(),
            rounds: 2,
            rows: 2000,
            batch_rows: 300,
            only: vec!["100 B uniform".into()],
            json: true,
            durable: true,
        };
        run(&[first, Contender { name: "other", ..KEEPS }, ABSENT], &options)
    }

    #[test]
    fn each_contender_has_a_line_for_cpu_and_one_for_time() {
        let lines = run_with(KEEPS).unwrap();
        let cases: Vec<&str> = lines.iter().map(|line| line.case.as_str()).collect();
        let expected =
            ["keeps, 100 B uniform: CPU", "keeps, 100 B uniform: time", "other, 100 B uniform: CPU", "other, 100 B uniform: time"];
        assert_eq!(cases, expected);
        assert!(lines[0].ratio.is_none() && lines[3].ratio.is_some_and(|ratio| ratio > 0.0) && lines[3].limit_name == Some("keeps"));
    }

    #[test]
    fn who_loses_a_row_has_no_figure() {
        assert!(run_with(LOSES).err().is_some_and(|error| error.to_string().contains("loses: it holds")));
    }
}
