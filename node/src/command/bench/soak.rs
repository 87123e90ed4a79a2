//! `bench soak`: changes, lookups, scans, flushes, compactions and reopenings in any order for as long as it is told to, each answer held against a model.
//!
//! Budgets are small, so that a short run has many flushes. Memory and files are watched; in the end everything is verified, closed, opened and compared once more.
//! The same seed does the same. Knows the engine by its door only.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aquifer_benches::keyed::keys::mix;
use aquifer_benches::keyed::row::{Rows, Sum, hash};
use aquifer_benches::keyed::shape::{self, Shape};
use aquifer_benches::machine;
use aquifer_benches::report::{self, Line};
use aquifer_node::store::{CreateTable, Options, Store, Writer};
use arrow::array::RecordBatch;

use super::ground::Ground;
use super::{Lines, VERSION};
use crate::command::arguments::Bench;

const TABLE: &str = "rows";

const BUCKETS: u32 = 2;

/// Keys, when nothing else is asked for.
const KEYS: u64 = 100_000;

/// Most rows of a batch that is upserted, deleted, looked up.
const UPSERTED_MAX: u64 = 2000;
const DELETED_MAX: u64 = 300;
const LOOKED_UP_MAX: u64 = 256;

/// Bytes of rows that are in no run, and of blocks of runs in memory.
const BUDGET_BYTES: usize = 8 << 20;

/// Memory that is no store's: what the program has, and what an allocator keeps.
const MEMORY_OF_PROGRAM: u64 = 128 << 20;

/// Steps after which memory and files are looked at.
const LOOK_EVERY: u64 = 32;

/// Runs it.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let options =
        Options { memtable_bytes_max: BUDGET_BYTES, block_bytes_max: BUDGET_BYTES, spare_bytes_max: 64 << 20, ..ground.options.clone() };
    let keys = arguments.rows.unwrap_or(KEYS);
    let mut soak = Soak::new(ground.dir.join("soak"), options, keys, arguments.seed)?;
    let seconds = Duration::from_secs_f64(arguments.seconds);
    let (cpu_before_s, started) = (machine::cpu_s(), Instant::now());
    while started.elapsed() < seconds {
        let done = soak.step();
        done.map_err(|error| io::Error::other(format!("seed {}, step {}: {error}", arguments.seed, soak.steps)))?;
    }
    let measured_s = started.elapsed().as_secs_f64();
    soak.finish().map_err(|error| io::Error::other(format!("seed {}, at the end: {error}", arguments.seed)))?;
    let rate = soak.changed as f64 / measured_s;
    let line = Line {
        bench: "soak",
        case: format!("aquifer, {keys} keys, seed {}", arguments.seed),
        metric: "rows changed",
        unit: "1/s",
        better: "higher",
        cpu_s: machine::cpu_s() - cpu_before_s,
        peak_mb: soak.memory_max.map(|bytes| bytes as f64 / 1e6),
        files_max: Some(soak.files_max),
        driver: Some(ground.driver),
        version: Some(VERSION),
        commit: report::COMMIT,
        load: format!("{} steps, all checked", soak.steps),
        durability: report::durability(ground.durable),
        kernel: machine::kernel(),
        fs: machine::file_system(&ground.dir),
        rounds: 1,
        ..Line::default()
    };
    let line = line.with_values(std::iter::once(rate), None);
    match arguments.json {
        true => report::print(&line, true),
        false => report::say(format_args!(
            "{:<36} {:>8.0} rows/s   {}, {} rows changed   memory {:>5.0} MB   {} files",
            line.case,
            rate,
            line.load,
            soak.changed,
            line.peak_mb.unwrap_or_default(),
            soak.files_max
        )),
    }?;
    Ok(vec![line])
}

struct Soak {
    dir: PathBuf,
    options: Options,
    /// The newest row of each key by its number, as the number of its bytes.
    model: Vec<Option<u64>>,
    /// `None` only while it is being opened anew.
    open: Option<(Store, Writer)>,
    random: u64,
    steps: u64,
    /// Rows upserted or deleted so far: the turn of the next one.
    changed: u64,
    memory_before: Option<u64>,
    memory_max: Option<u64>,
    files_max: usize,
}

impl Soak {
    fn new(dir: PathBuf, options: Options, keys: u64, seed: u64) -> io::Result<Soak> {
        let memory_before = machine::forget_peak_memory();
        let store = Store::open(&dir, options.clone()).map_err(io::Error::other)?;
        let create = CreateTable::like(Shape::Small.schema()).primary_key(&[shape::KEY]).buckets(BUCKETS);
        let create = create.option("segment.bytes", "8MiB").option("retention.bytes", "32MiB");
        let writer = store.create_table(TABLE, create).and_then(|table| table.writer()).map_err(io::Error::other)?;
        Ok(Soak {
            dir,
            options,
            model: vec![None; keys as usize],
            open: Some((store, writer)),
            random: mix(seed),
            steps: 0,
            changed: 0,
            memory_before,
            memory_max: None,
            files_max: 0,
        })
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().expect("it is open").0
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().expect("it is open").1
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = mix(self.random);
        self.random % end
    }

    /// Up to so many numbers of keys, of all or of a few that lie together.
    fn numbers(&mut self, count_max: u64) -> Vec<u64> {
        let keys = self.model.len() as u64;
        let count = 1 + self.below(count_max);
        let (from, span) = if self.below(2) == 0 { (0, keys) } else { (self.below(keys), 1 + keys / 100) };
        (0..count).map(|_| (from + self.below(span)) % keys).collect()
    }

    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match self.below(1000) {
            0..700 => self.upsert()?,
            700..800 => self.delete()?,
            800..950 => self.look_up()?,
            950..970 => self.scan()?,
            970..985 => self.store().flush(TABLE).map_err(io::Error::other)?,
            985..993 => self.store().compact(TABLE, false).map_err(io::Error::other)?,
            993..996 => self.store().compact(TABLE, true).map_err(io::Error::other)?,
            996..998 => _ = self.store().expire(TABLE).map_err(io::Error::other)?,
            _ => self.reopen()?,
        }
        if self.steps % LOOK_EVERY == 1 {
            self.watch()?;
        }
        Ok(())
    }

    fn upsert(&mut self) -> io::Result<()> {
        let numbers = self.numbers(UPSERTED_MAX);
        let rows = Shape::Small.batch(&numbers, self.changed);
        self.writer().upsert(&rows).map_err(io::Error::other)?;
        for (number, row) in numbers.iter().zip(Rows::of(&rows).iter()) {
            self.model[*number as usize] = Some(hash(row));
        }
        self.changed += numbers.len() as u64;
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        let numbers = self.numbers(DELETED_MAX);
        self.writer().delete(&shape::keys(numbers.iter().copied())).map_err(io::Error::other)?;
        numbers.iter().for_each(|number| self.model[*number as usize] = None);
        self.changed += numbers.len() as u64;
        Ok(())
    }

    fn look_up(&mut self) -> io::Result<()> {
        let numbers = self.numbers(LOOKED_UP_MAX);
        let table = self.store().table(TABLE).map_err(io::Error::other)?;
        let found = table.lookup(&shape::keys(numbers.iter().copied())).map_err(io::Error::other)?;
        let hashes: Vec<u64> = Rows::of(&found.rows).iter().map(hash).collect();
        for (number, place) in numbers.iter().zip(found.places) {
            let (found, expected) = (place.map(|place| hashes[place]), self.model[*number as usize]);
            if found != expected {
                return Err(io::Error::other(format!("key {number}: row {found:?} was found instead of {expected:?}")));
            }
        }
        Ok(())
    }

    fn scan(&mut self) -> io::Result<()> {
        let (mut found, mut expected) = (Sum::default(), Sum::default());
        let scan = self.store().table(TABLE).and_then(|table| table.scan().build()).map_err(io::Error::other)?;
        for rows in scan {
            let batch: RecordBatch = rows.map_err(io::Error::other)?.batch;
            found.add_batch(&batch);
        }
        self.model.iter().flatten().for_each(|hash| expected.add_hash(*hash));
        match found == expected {
            true => Ok(()),
            false => Err(io::Error::other(format!("a scan gave {found:?} instead of {expected:?}"))),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let (store, writer) = self.open.take().expect("it is open");
        drop(writer);
        self.check_background(&store)?;
        store.close().map_err(io::Error::other)?;
        let store = Store::open(&self.dir, self.options.clone()).map_err(io::Error::other)?;
        let writer = store.table(TABLE).and_then(|table| table.writer()).map_err(io::Error::other)?;
        self.open = Some((store, writer));
        Ok(())
    }

    fn check_background(&self, store: &Store) -> io::Result<()> {
        store.take_background_failures().pop().map_or(Ok(()), |failure| Err(io::Error::other(failure)))
    }

    /// Looks at memory and files.
    fn watch(&mut self) -> io::Result<()> {
        self.files_max = self.files_max.max(files(&self.dir, "")?);
        self.memory_max = machine::peak_memory_bytes().zip(self.memory_before).map(|(peak, before)| peak.saturating_sub(before));
        let Options { memtable_bytes_max, block_bytes_max, recent_bytes_max, pool_bytes_max, writer_bytes_max, scan_bytes_max, .. } =
            self.options;
        let budgets = memtable_bytes_max + block_bytes_max + recent_bytes_max + pool_bytes_max + writer_bytes_max + scan_bytes_max;
        match self.memory_max {
            Some(bytes) if bytes > 2 * budgets as u64 + MEMORY_OF_PROGRAM => {
                Err(io::Error::other(format!("{bytes} bytes of memory, and the budgets are {budgets}")))
            }
            _ => Ok(()),
        }
    }

    /// Everything is merged, verified, opened anew and compared; no run is left that nobody knows.
    fn finish(&mut self) -> io::Result<()> {
        self.scan()?;
        self.store().flush(TABLE).map_err(io::Error::other)?;
        self.store().compact(TABLE, true).map_err(io::Error::other)?;
        self.reopen()?;
        self.store().settle().map_err(io::Error::other)?;
        self.scan()?;
        let verified = self.store().verify(Some(TABLE), &mut |_| ()).map_err(io::Error::other)?;
        if let Some(problem) = verified.problems.first() {
            return Err(io::Error::other(format!("{problem:?}")));
        }
        let left = files(&self.dir, ".run")? as u64;
        if left != verified.runs || left > u64::from(BUCKETS) {
            return Err(io::Error::other(format!("{left} files of runs, of which {} are known", verified.runs)));
        }
        self.watch()
    }
}

/// Files below a directory whose names end so.
fn files(dir: &Path, end: &str) -> io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        count += match path.is_dir() {
            true => files(&path, end)?,
            false => usize::from(path.to_string_lossy().ends_with(end)),
        };
    }
    Ok(count)
}
