//! Scans of a table that many commits have left unmerged: contenders take turns, held to bare reads of as many bytes as the rows have.
//!
//! Before the clock starts each store is given all rows in so many commits, each of which becomes a sorted file of its own that nothing merges. Nothing of them is in the
//! page cache when a scan begins. Every scan adds up one number of each row that it is asked for. Invariant: a scan counts only when rows and sum are right.

use super::input::Input;
use super::keys::Keys;
use super::shape::Shape;
use super::{Contender, Keyed, Load, Scanned, Wanted};
use crate::limit::reads::{self, DEPTH};
use crate::report::{self, Line};
use crate::{arena, machine};
use clap::Args;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
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
    /// Rows upserted before the scans
    #[arg(long, default_value_t = ROWS)]
    pub rows: u64,
    /// Only cases whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// Whether a batch is on the device when it is answered
    #[arg(skip = true)]
    pub durable: bool,
}

/// Rows of a table, when nothing else is asked for.
pub const ROWS: u64 = 2_000_000;

/// Most rows of a batch.
const BATCH_ROWS: u64 = 10_000;

/// Tables that are scanned: row, commits.
const TABLES: [(Shape, u64); 6] =
    [(Shape::Orders, 1), (Shape::Orders, 5), (Shape::Orders, 8), (Shape::Orders, 20), (Shape::Orders, 100), (Shape::Small, 8)];

/// The limit.
const BARE: &str = "bare reads";

/// A scan that was measured.
struct Round {
    seconds: f64,
    cpu_s: f64,
}

/// Runs every table and every kind of scan through all contenders, prints the lines and returns them.
pub fn run(contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (shape, commits) in TABLES {
        let wanted: Vec<Wanted> = Wanted::ALL.into_iter().filter(|wanted| is_asked_for(options, shape, commits, *wanted)).collect();
        if !wanted.is_empty() {
            let of_table = arena::within(&options.dir, |dir| run_table(contenders, shape, commits, &wanted, options, dir))?;
            lines.extend(of_table);
        }
    }
    Ok(lines)
}

fn is_asked_for(options: &Options, shape: Shape, commits: u64, wanted: Wanted) -> bool {
    let name = name(shape, commits, wanted);
    options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
}

fn name(shape: Shape, commits: u64, wanted: Wanted) -> String {
    format!("{}: {} x {commits}", shape.name(), wanted.name())
}

fn run_table(
    contenders: &[Contender<'_>],
    shape: Shape,
    commits: u64,
    wanted: &[Wanted],
    options: &Options,
    dir: &Path,
) -> io::Result<Vec<Line>> {
    let commit_rows = options.rows.div_ceil(commits).max(1);
    let batch_rows = (options.rows / commits).clamp(1, BATCH_ROWS) as usize;
    let load = Load {
        shape,
        keys: Keys::Uniform,
        rows: options.rows,
        batch_rows,
        durable: options.durable,
        commit_rows: Some(commit_rows),
        cache_bytes: None,
    };
    let mut entrants = Vec::new();
    let mut row_bytes = 0;
    let mut expected = Default::default();
    for contender in contenders {
        let input = Input::make(&load, contender.form);
        match fill(contender, &load, &input, commits, &dir.join(contender.name)) {
            Ok(store) => entrants.push((contender, store)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => report::skipped(contender.name, &error),
            Err(error) => return Err(error),
        }
        (row_bytes, expected) = (input.row_bytes, input.expected_scans);
    }
    let mut bare = reads::of_bytes(&dir.join("bare"), row_bytes)?;
    let mut lines = Vec::new();
    for &wanted in wanted {
        let expected: Scanned = expected[wanted as usize];
        let mut limits = Vec::new();
        let mut rounds: Vec<Vec<Round>> = entrants.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds.max(1) {
            limits.push(measure(|| bare.run())?);
            // Nobody comes always behind the same one.
            for turn in 0..entrants.len() {
                let index = (turn + round) % entrants.len();
                let (contender, store) = &entrants[index];
                cool(dir)?;
                rounds[index].push(measure(|| check(contender, store.scan(wanted)?, expected))?);
            }
        }
        for ((contender, _), rounds) in entrants.iter().zip(&rounds) {
            let line = line(contender, &name(shape, commits, wanted), rounds, &limits, row_bytes, options);
            print(&line, options.json)?;
            lines.push(line);
        }
    }
    Ok(lines)
}

fn check(contender: &Contender<'_>, scanned: Scanned, expected: Scanned) -> io::Result<()> {
    match scanned == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{}: it scanned {scanned:?} instead of {expected:?}", contender.name))),
    }
}

/// Opens a contender and writes all rows in so many commits.
fn fill(contender: &Contender<'_>, load: &Load, input: &Input, commits: u64, dir: &Path) -> io::Result<Box<dyn Keyed>> {
    std::fs::create_dir_all(dir)?;
    let store = (contender.open)(dir, load)?;
    let batches = input.batches.len() as u64;
    for commit in 0..commits {
        let of_commit = commit * batches / commits..(commit + 1) * batches / commits;
        for batch in &input.batches[of_commit.start as usize..of_commit.end as usize] {
            store.upsert(batch)?;
        }
        store.commit()?;
    }
    Ok(store)
}

/// Puts all files out of the page cache.
fn cool(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => cool(&path)?,
            false => match File::open(&path) {
                Ok(file) => machine::drop_cache(&file)?,
                // Somebody removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
        }
    }
    Ok(())
}

fn measure(work: impl FnOnce() -> io::Result<()>) -> io::Result<Round> {
    let (before_s, started) = (machine::cpu_s(), Instant::now());
    work()?;
    Ok(Round { seconds: started.elapsed().as_secs_f64(), cpu_s: machine::cpu_s() - before_s })
}

fn line(contender: &Contender<'_>, name: &str, rounds: &[Round], limits: &[Round], row_bytes: u64, options: &Options) -> Line {
    let rate = |round: &Round| options.rows as f64 / round.seconds;
    let cpu_s = |rounds: &[Round]| rounds.iter().map(|round| round.cpu_s).sum::<f64>();
    let cpu_s_per_m_rows = |rounds: &[Round]| cpu_s(rounds) * 1e6 / (options.rows * rounds.len() as u64) as f64;
    let line = Line {
        bench: "scan",
        case: format!("{}, {name}", contender.name),
        metric: "rows written",
        unit: "1/s",
        better: "higher",
        mb_read: Some(row_bytes as f64 / 1e6),
        cpu_s: cpu_s(rounds),
        limit_cpu_s: Some(cpu_s(limits)),
        cpu_s_per_m_rows: Some(cpu_s_per_m_rows(rounds)),
        limit_cpu_s_per_m_rows: Some(cpu_s_per_m_rows(limits)),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("{} rows, four fifths of them kept, cold, one thread, limit at depth {DEPTH}", options.rows),
        durability: report::durability(options.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    };
    line.with_values(rounds.iter().map(rate), Some((BARE, limits.iter().map(rate).collect())))
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<44} {:>6.2} M rows/s   {:<38} CPU {:.4} s a M rows, reads alone {:.4}",
        line.case,
        line.value / 1e6,
        report::ratio_words(line),
        line.cpu_s_per_m_rows.unwrap_or_default(),
        line.limit_cpu_s_per_m_rows.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{ABSENT, KEEPS, LOSES};
    use super::*;

    fn run_with(contenders: &[Contender<'_>]) -> io::Result<Vec<Line>> {
        let only = vec!["x 5".into()];
        run(contenders, &Options { dir: std::env::temp_dir(), rounds: 1, rows: 3000, only, json: true, durable: true })
    }

    #[test]
    fn every_kind_of_scan_has_a_line_and_must_be_right() {
        match run_with(&[KEEPS, ABSENT]) {
            Ok(lines) => {
                let cases: Vec<&str> = lines.iter().map(|line| line.case.as_str()).collect();
                let kinds =
                    ["keeps, 11 columns: all x 5", "keeps, 11 columns: one column x 5", "keeps, 11 columns: a tenth of the rows x 5"];
                assert_eq!(cases, kinds);
                assert!(run_with(&[LOSES]).is_err_and(|error| error.to_string().contains("loses: it scanned")));
            }
            // No ring, or no direct I/O, on this machine.
            Err(error) => eprintln!("not tested: {error}"),
        }
    }
}
