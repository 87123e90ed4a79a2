//! Scans of some columns of a table that lies cold on the device: contenders take turns, held to reading just the planned bytes.
//!
//! Invariant: all read equal rows, checked before the clock starts by a sum over a column that all of them return.

use crate::limit::reads;
use crate::machine;
use crate::report::{self, Line, Spread};
use std::io;
use std::path::Path;
use std::time::Instant;

/// What a scan read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Rows.
    pub rows: u64,
    /// The sum of the first wanted column; nothing for the limit, which decodes nothing.
    pub sum: Option<i64>,
}

/// Who scans.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its version, for what others made.
    pub version: Option<&'static str>,
    /// How it reads.
    pub driver: Option<&'static str>,
    /// Scans the columns of these numbers; sums up the first one when told to.
    pub scan: &'a dyn Fn(&[usize], bool) -> io::Result<Scanned>,
}

/// A table as it is scanned.
pub struct Table<'a> {
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Sets of columns to be scanned, each by its numbers.
    pub columns: &'a [Vec<usize>],
    /// Rounds; every contender runs once in each.
    pub rounds: usize,
    /// Where it lies.
    pub dir: &'a Path,
    /// Opens the reads that ours makes of the columns.
    pub limit: &'a dyn Fn(&[usize]) -> io::Result<reads::Reads>,
    /// Makes sure that nothing is in memory.
    pub cool: &'a dyn Fn() -> io::Result<()>,
}

/// A scan that was measured.
struct Round {
    rows: u64,
    seconds: f64,
    cpu_s: f64,
}

/// Runs every set of columns through all contenders, prints the lines and returns them.
pub fn run(table: &Table<'_>, contenders: &[Contender<'_>], json: bool) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for columns in table.columns {
        let rows = check(columns, contenders)?;
        let mut bare = (table.limit)(columns)?;
        let mut limits = Vec::new();
        let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
        for round in 0..table.rounds.max(1) {
            limits.push(measure(|| bare.run().map(|()| rows))?);
            // Nobody comes always behind the same one.
            for turn in 0..contenders.len() {
                let index = (turn + round) % contenders.len();
                (table.cool)()?;
                rounds[index].push(measure(|| (contenders[index].scan)(columns, false).map(|scanned| scanned.rows))?);
            }
        }
        for (contender, rounds) in contenders.iter().zip(&rounds) {
            let line = line(contender, columns.len(), table, rounds, &limits, bare.bytes());
            print(&line, json)?;
            lines.push(line);
        }
    }
    Ok(lines)
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<52} {:>6.2} M rows/s   {:.2} ({:.2} - {:.2}) of {:>5.0} MB at {:>5.0} MB/s   CPU {:.4} s a M rows, reads alone {:.4}",
        line.case,
        line.value / 1e6,
        line.ratio.unwrap_or_default(),
        line.ratio_min.unwrap_or_default(),
        line.ratio_max.unwrap_or_default(),
        line.mb_read.unwrap_or_default(),
        line.limit_mb_per_s.unwrap_or_default(),
        line.cpu_s_per_m_rows.unwrap_or_default(),
        line.limit_cpu_s_per_m_rows.unwrap_or_default(),
    ))
}

/// Scans once through each and compares; returns the rows.
fn check(columns: &[usize], contenders: &[Contender<'_>]) -> io::Result<u64> {
    let mut first = None;
    for contender in contenders {
        let scanned = (contender.scan)(columns, true)?;
        match first {
            None => first = Some(scanned),
            Some(first) if first == scanned => {}
            Some(first) => return Err(io::Error::other(format!("{}: {scanned:?} instead of {first:?}", contender.name))),
        }
    }
    Ok(first.unwrap_or_default().rows)
}

fn measure(work: impl FnOnce() -> io::Result<u64>) -> io::Result<Round> {
    let (before_s, started) = (machine::cpu_s(), Instant::now());
    let rows = work()?;
    Ok(Round { rows, seconds: started.elapsed().as_secs_f64(), cpu_s: machine::cpu_s() - before_s })
}

fn line(contender: &Contender<'_>, columns: usize, table: &Table<'_>, rounds: &[Round], limits: &[Round], bytes: u64) -> Line {
    let rate = |round: &Round| round.rows as f64 / round.seconds;
    let value = Spread::of(rounds.iter().map(rate));
    let ratio = Spread::of(rounds.iter().zip(limits).map(|(round, limit)| rate(round) / rate(limit)));
    let cpu_s_per_m_rows = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.cpu_s * 1e6 / round.rows as f64)).median;
    Line {
        bench: "project",
        case: format!("{} {columns} columns, {} rows a batch", contender.name, table.batch_rows),
        metric: "rows",
        value: value.median,
        min: value.min,
        max: value.max,
        unit: "1/s",
        better: "higher",
        limit_name: Some("the same reads"),
        limit: Some(Spread::of(limits.iter().map(rate)).median),
        ratio: Some(ratio.median),
        ratio_min: Some(ratio.min),
        ratio_max: Some(ratio.max),
        limit_mb_per_s: Some(Spread::of(limits.iter().map(|round| bytes as f64 / 1e6 / round.seconds)).median),
        mb_read: Some(bytes as f64 / 1e6),
        cpu_s: rounds.iter().map(|round| round.cpu_s).sum(),
        limit_cpu_s: Some(limits.iter().map(|round| round.cpu_s).sum()),
        cpu_s_per_m_rows: Some(cpu_s_per_m_rows(rounds)),
        limit_cpu_s_per_m_rows: Some(cpu_s_per_m_rows(limits)),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("cold, one thread, limit at depth {}", reads::DEPTH),
        kernel: machine::kernel(),
        fs: machine::file_system(table.dir),
        rounds: rounds.len(),
        ..Line::default()
    }
}
