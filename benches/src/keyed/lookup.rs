//! Lookups of rows by their keys, some at a time: contenders take turns, held to a hash table in memory or to random reads of the device.
//!
//! `hot`: a small table that is in memory, most of it in the cache of blocks and a part in the memtable. `cold`: a table many times the cache, merged into one run, read with direct
//! I/O. One reader looks keys up in a closed loop, a fifth of each window to warm up. Invariant: every lookup counts only when it finds what it must find.

use super::input::Input;
use super::keys::{Keys, mix};
use super::row::{hash, split};
use super::shape::{self, Shape};
use super::{Batch, Contender, Form, Keyed, Load, Scanned};
use crate::limit::hashed::Hashed;
use crate::limit::random::RandomReads;
use crate::report::{self, Line};
use crate::round::histogram;
use crate::{arena, machine};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::Args;
use hdrhistogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
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
    /// Seconds measured in a round, after a fifth of it to warm up
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Rows of the cold table; the hot one has a tenth
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

/// Rows of the cold table, when nothing else is asked for.
pub const ROWS: u64 = 2_000_000;

/// Keys of a lookup.
const BATCHES: [usize; 3] = [1, 128, 1024];

/// Keys that are looked up again and again, in batches made before the clock starts.
const KEYS: usize = 1 << 17;

/// Most batches that are made: of single keys, fewer keys are enough to be many times the cache.
const BATCHES_MAX: usize = 1 << 14;

/// Rows of a batch that is written.
const WRITTEN_ROWS: usize = 10_000;

/// Where the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Hot,
    Cold,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Hot => "hot",
            Place::Cold => "cold",
        }
    }

    /// Bytes of blocks that a store may keep.
    fn cache_bytes(self) -> usize {
        match self {
            Place::Hot => 256 << 20,
            Place::Cold => 8 << 20,
        }
    }

    fn rows(self, options: &Options) -> u64 {
        match self {
            Place::Hot => (options.rows / 10).max(1),
            Place::Cold => options.rows,
        }
    }
}

/// Keys of a lookup, and what it must find.
struct Asked {
    keys: Batch,
    expected: Scanned,
}

/// What a round gave.
struct Round {
    keys: u64,
    seconds: f64,
    cpu_s: f64,
    latency_ns: Histogram<u64>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.keys as f64 / self.seconds
    }
}

/// What is asked for, in words.
fn name(place: Place, present: bool, keys: usize) -> String {
    format!("{} {} x {keys}", place.name(), if present { "present" } else { "absent" })
}

/// Runs every kind of lookup through all contenders, prints the lines and returns them.
pub fn run(contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for place in [Place::Hot, Place::Cold] {
        let kinds: Vec<(bool, usize)> = [true, false].into_iter().flat_map(|present| BATCHES.map(|keys| (present, keys))).collect();
        let is_asked_for = |(present, keys): &(bool, usize)| {
            options.only.is_empty() || options.only.iter().any(|part| name(place, *present, *keys).contains(part.as_str()))
        };
        let kinds: Vec<_> = kinds.into_iter().filter(is_asked_for).collect();
        if !kinds.is_empty() {
            lines.extend(arena::within(&options.dir, |dir| run_place(contenders, place, &kinds, options, dir))?);
        }
    }
    Ok(lines)
}

fn run_place(contenders: &[Contender<'_>], place: Place, kinds: &[(bool, usize)], options: &Options, dir: &Path) -> io::Result<Vec<Line>> {
    let load = Load {
        shape: Shape::Small,
        keys: Keys::Uniform,
        rows: place.rows(options),
        batch_rows: WRITTEN_ROWS,
        durable: options.durable,
        commit_rows: None,
        cache_bytes: Some(place.cache_bytes()),
    };
    let mut entrants = Vec::new();
    for contender in contenders {
        match fill(contender, place, &load, &dir.join(contender.name)) {
            Ok(store) => entrants.push((contender, store)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => report::skipped(contender.name, &error),
            Err(error) => return Err(error),
        }
    }
    let mut limit = Limit::make(place, &load, &dir.join("bare"))?;
    let newest = newest(&load, place);
    let mut lines = Vec::new();
    for &(present, keys) in kinds {
        let asked = [Form::Columns, Form::Rows].map(|form| asked(&newest, present, keys, form));
        let mut limits = Vec::new();
        let mut rounds: Vec<Vec<Round>> = entrants.iter().map(|_| Vec::new()).collect();
        let window = Duration::from_secs_f64(options.seconds);
        for round in 0..options.rounds.max(1) {
            limits.push(measure(&asked[1], window, |asked| limit.lookup(asked))?);
            // Nobody comes always behind the same one.
            for turn in 0..entrants.len() {
                let index = (turn + round) % entrants.len();
                let (contender, store) = &entrants[index];
                rounds[index].push(measure(&asked[contender.form as usize], window, |asked| find(contender, &**store, asked))?);
            }
        }
        for ((contender, _), rounds) in entrants.iter().zip(&rounds) {
            let line = line(contender, &name(place, present, keys), rounds, (limit.name(), &limits), &load, options);
            print(&line, options.json)?;
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Opens a contender and writes the rows; of a hot table, the first batch comes again and stays in the memtable.
fn fill(contender: &Contender<'_>, place: Place, load: &Load, dir: &Path) -> io::Result<Box<dyn Keyed>> {
    std::fs::create_dir_all(dir)?;
    let store = (contender.open)(dir, load)?;
    let input = Input::make(load, contender.form);
    for batch in &input.batches {
        store.upsert(batch)?;
    }
    store.settle()?;
    if place == Place::Hot {
        store.upsert(&again(load, contender.form))?;
    }
    Ok(store)
}

/// The first keys again, written behind all other rows.
fn again(load: &Load, form: Form) -> Batch {
    form.of(load.shape.batch(&numbers_again(load), load.rows))
}

fn numbers_again(load: &Load) -> Vec<u64> {
    (0..load.keys().min(load.batch_rows as u64)).collect()
}

/// The column behind the key of the newest row of each key.
fn newest(load: &Load, place: Place) -> Vec<i64> {
    let mut newest = vec![0; load.keys() as usize];
    let mut put = |numbers: &[u64], first_turn: u64| {
        let rows = load.shape.batch(numbers, first_turn);
        let seconds = rows.column(1).as_primitive::<Int64Type>().values();
        numbers.iter().zip(seconds).for_each(|(number, second)| newest[*number as usize] = *second);
    };
    let mut draw = load.keys.draw(load.keys());
    for turn in (0..load.rows).step_by(load.batch_rows) {
        let numbers: Vec<u64> = draw.by_ref().take(load.batch_rows.min((load.rows - turn) as usize)).collect();
        put(&numbers, turn);
    }
    if place == Place::Hot {
        put(&numbers_again(load), load.rows);
    }
    newest
}

/// Batches of keys, of some that there are or of some that there are not.
fn asked(newest: &[i64], present: bool, keys: usize, form: Form) -> Vec<Asked> {
    let batches = (KEYS / keys).min(BATCHES_MAX);
    let count = newest.len() as u64;
    let ask = |batch: usize| {
        let numbers: Vec<u64> = (0..keys).map(|at| mix((batch * keys + at) as u64) % count).collect();
        let mut expected = Scanned::default();
        if present {
            numbers.iter().for_each(|number| expected.add(newest[*number as usize]));
        }
        let shift = if present { 0 } else { count };
        Asked { keys: form.of(shape::keys(numbers.iter().map(|number| number + shift))), expected }
    };
    (0..batches).map(ask).collect()
}

fn find(contender: &Contender<'_>, store: &dyn Keyed, asked: &Asked) -> io::Result<()> {
    let found = store.lookup(&asked.keys)?;
    match found == asked.expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{}: it found {found:?} instead of {:?}", contender.name, asked.expected))),
    }
}

/// Looks keys up for a window, after a fifth of it.
fn measure(asked: &[Asked], window: Duration, mut lookup: impl FnMut(&Asked) -> io::Result<()>) -> io::Result<Round> {
    let mut turn = asked.iter().cycle();
    let mut next = || turn.next().expect("it goes round and round");
    let warming = Instant::now();
    while warming.elapsed() < window / 5 {
        lookup(next())?;
    }
    let mut round = Round { keys: 0, seconds: 0.0, cpu_s: 0.0, latency_ns: histogram() };
    let (cpu_before_s, started) = (machine::cpu_s(), Instant::now());
    let mut now = started;
    while now - started < window {
        let asked = next();
        lookup(asked)?;
        let before = std::mem::replace(&mut now, Instant::now());
        round.latency_ns.saturating_record((now - before).as_nanos() as u64);
        round.keys += asked.keys.count() as u64;
    }
    (round.seconds, round.cpu_s) = ((now - started).as_secs_f64(), machine::cpu_s() - cpu_before_s);
    Ok(round)
}

/// What lookups are held to.
enum Limit {
    Hash(Hashed),
    Reads(Box<RandomReads>),
}

impl Limit {
    fn make(place: Place, load: &Load, path: &Path) -> io::Result<Limit> {
        match place {
            Place::Hot => {
                let mut hashed = Hashed::default();
                Input::make(load, Form::Rows).batches.iter().for_each(|batch| hashed.put(batch.rows()));
                hashed.put(again(load, Form::Rows).rows());
                Ok(Limit::Hash(hashed))
            }
            Place::Cold => Ok(Limit::Reads(Box::new(RandomReads::make(path, load.rows * load.shape.row_bytes_max() as u64)?))),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Limit::Hash(_) => "a hash table",
            Limit::Reads(_) => "bare reads of 4 KiB",
        }
    }

    fn lookup(&mut self, asked: &Asked) -> io::Result<()> {
        match self {
            Limit::Hash(hashed) => {
                let mut found = Scanned::default();
                for key in asked.keys.rows().iter() {
                    if let Some(row) = hashed.get(key) {
                        found.add(Shape::Small.second_of(split(row).1));
                    }
                }
                assert_eq!(found, asked.expected, "the hash table holds every row");
            }
            Limit::Reads(reads) => reads.read(asked.keys.count(), hash(asked.keys.rows().as_bytes()))?,
        }
        Ok(())
    }
}

fn line(
    contender: &Contender<'_>,
    name: &str,
    rounds: &[Round],
    (limit_name, limits): (&'static str, &[Round]),
    load: &Load,
    options: &Options,
) -> Line {
    let all = |rounds: &[Round]| {
        let mut latency_ns = histogram();
        rounds.iter().for_each(|round| latency_ns.add(&round.latency_ns).expect("equal histograms"));
        latency_ns
    };
    let us = |histogram: &Histogram<u64>, p: f64| Some(histogram.value_at_quantile(p) as f64 / 1e3);
    let cpu_s = |rounds: &[Round]| rounds.iter().map(|round| round.cpu_s).sum::<f64>();
    let keys: u64 = rounds.iter().map(|round| round.keys).sum();
    let line = Line {
        bench: "lookup",
        case: format!("{}, {name}", contender.name),
        metric: "keys",
        unit: "1/s",
        better: "higher",
        limit_p99_us: us(&all(limits), 0.99),
        cpu_s: cpu_s(rounds),
        limit_cpu_s: Some(cpu_s(limits)),
        cpu_us_per_record: Some(cpu_s(rounds) * 1e6 / keys.max(1) as f64),
        p50_us: us(&all(rounds), 0.5),
        p99_us: us(&all(rounds), 0.99),
        driver: contender.driver,
        version: contender.version,
        commit: report::COMMIT,
        load: format!("{} rows of 100 B, closed loop, one reader", load.rows),
        durability: report::durability(options.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&options.dir),
        rounds: rounds.len(),
        ..Line::default()
    };
    line.with_values(rounds.iter().map(Round::rate), Some((limit_name, limits.iter().map(Round::rate).collect())))
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return report::print(line, true);
    }
    report::say(format_args!(
        "{:<32} {:>10.0} keys/s   {:<48} p50 {:>7.1} p99 {:>7.1} us   CPU {:>6.2} us a key",
        line.case,
        line.value,
        report::ratio_words(line),
        line.p50_us.unwrap_or_default(),
        line.p99_us.unwrap_or_default(),
        line.cpu_us_per_record.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{ABSENT, KEEPS, LOSES};
    use super::*;

    fn run_with(contenders: &[Contender<'_>], only: &str) -> io::Result<Vec<Line>> {
        let dir = std::env::temp_dir();
        run(contenders, &Options { dir, rounds: 1, seconds: 0.01, rows: 30_000, only: vec![only.into()], json: true, durable: true })
    }

    #[test]
    fn what_is_there_is_found_and_nothing_else() {
        let lines = run_with(&[KEEPS, ABSENT], "hot").unwrap();
        assert_eq!(lines.len(), 2 * BATCHES.len());
        assert!(lines.iter().all(|line| line.ratio.is_some_and(|ratio| ratio > 0.0) && line.limit_name == Some("a hash table")));
        match run_with(&[KEEPS], "cold present x 128") {
            Ok(lines) => assert_eq!(lines[0].case, "keeps, cold present x 128"),
            // No ring, or no direct I/O, on this machine.
            Err(error) => eprintln!("not tested: {error}"),
        }
    }

    #[test]
    fn who_loses_a_row_has_no_figure() {
        // The lost key is among the few of this table, all of which are asked for.
        let options = Options { dir: std::env::temp_dir(), rounds: 1, seconds: 0.05, rows: 500, only: vec![], json: true, durable: true };
        let only = vec!["cold present x 1024".to_string()];
        let result = run(&[LOSES], &Options { only, ..options });
        assert!(result.is_err_and(|error| error.to_string().contains("it found") || error.kind() == io::ErrorKind::Unsupported));
    }
}
