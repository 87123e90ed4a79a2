//! Durable appends: contenders take turns round by round, each in a fresh directory, held to the limit of the same rounds.

use crate::case::{Case, Contender, Load, Takes};
use crate::report::{self, Line};
use crate::round::{self, Round};
use crate::{limit, machine};
use clap::Args;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much is measured, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory on the disk to be measured; a folder for the data is made in it and removed at the end
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; every contender runs once in each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds measured in a round, after a fifth of it to warm up
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Bytes of a record: multiples of 4096, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [4096, 65536, 1048576])]
    pub size: Vec<usize>,
    /// Numbers of producers, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    pub producers: Vec<usize>,
    /// Only contenders whose name contains one of these, beside the limit
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print JSON, one line a case
    #[arg(long)]
    pub json: bool,
    /// What holds for every record
    #[arg(skip)]
    pub terms: Terms,
}

/// What holds for every record, whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether an append returns when its record is on the device, or when the operating system has it.
    pub durable: bool,
    /// Whether rings may be used: else the limit does without, too.
    pub rings: bool,
    /// Bytes of a record that are left to whatever a format adds.
    pub overhead_bytes: usize,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { durable: true, rings: true, overhead_bytes: 0 }
    }
}

/// Runs every load of the options, prints its lines and returns them.
pub fn run(bench: &'static str, contenders: &[Contender<'_>], options: &Options) -> io::Result<Vec<Line>> {
    let arena = Arena::make(&options.dir)?;
    let Terms { durable, overhead_bytes, .. } = options.terms;
    let mut lines = Vec::new();
    for &record_bytes in &options.size {
        if record_bytes == 0 || !record_bytes.is_multiple_of(crate::aligned::BLOCK_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "--size: multiples of 4096"));
        }
        for &producers in &options.producers {
            let load = Load { record_bytes, payload_bytes: record_bytes - overhead_bytes.min(record_bytes), producers, durable };
            for line in run_load(bench, contenders, load, options, &arena)? {
                report::print(&line, options.json)?;
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

fn run_load(bench: &'static str, contenders: &[Contender<'_>], load: Load, options: &Options, arena: &Arena) -> io::Result<Vec<Line>> {
    let limit = limit::of(load.producers, options.terms.rings);
    let wanted =
        |contender: &&Contender<'_>| options.only.is_empty() || options.only.iter().any(|part| contender.name.contains(part.as_str()));
    let mut entrants = vec![limit];
    entrants.extend(contenders.iter().filter(wanted).filter(|contender| contender.name != limit.name));
    entrants.retain(|entrant| takes_part(entrant, load, arena));

    let order = entrants.clone();
    let mut input = round::input(load);
    let mut rounds: BTreeMap<&str, Vec<Round>> = BTreeMap::new();
    let window = Duration::from_secs_f64(options.seconds);
    for _ in 0..options.rounds.max(1) {
        // Nobody comes always behind the same one.
        if !entrants.is_empty() {
            entrants.rotate_left(1);
        }
        for entrant in &entrants {
            let round = arena.with_case(entrant, load, |case| round::run(case, entrant.takes, &mut input, load, window / 5, window))?;
            rounds.entry(entrant.name).or_default().push(round);
        }
    }
    let limits = rounds.get(limit.name).map(|rounds| (limit.name, rounds.as_slice()));
    let line = |entrant: &Contender<'_>| {
        let held_to = limits.filter(|(name, _)| *name != entrant.name);
        let mut line = report::append_line(bench, entrant, load, &rounds[entrant.name], held_to);
        line.fs = machine::file_system(&options.dir);
        line
    };
    Ok(order.iter().map(line).collect())
}

/// Opens a contender once and checks that what it acknowledged is there; says why when it cannot take part.
fn takes_part(contender: &Contender<'_>, load: Load, arena: &Arena) -> bool {
    let checked = arena.with_case(contender, load, |case| check(case, contender.takes, load));
    if let Err(error) = &checked {
        eprintln!("skipped: {}: {error}", contender.name);
    }
    checked.is_ok()
}

/// Appends a few records from each of a few producers and compares what is stored with what was acknowledged.
fn check(case: &dyn Case, takes: Takes, load: Load) -> io::Result<()> {
    let load = Load { producers: load.producers.min(4), ..load };
    let mut sent = Vec::new();
    for (producer, record) in round::input(load).iter_mut().enumerate() {
        for sequence in 0..8 {
            round::stamp(record, producer, sequence);
            let part = load.part(record, takes);
            case.append(producer, part)?;
            sent.push(part.to_vec());
        }
    }
    let Some(mut stored) = case.stored()? else { return Ok(()) };
    sent.sort();
    stored.sort();
    match stored == sent {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} records acknowledged, {} stored, and they differ", sent.len(), stored.len()))),
    }
}

/// The folder for all data of a run, removed when dropped.
struct Arena(PathBuf);

impl Arena {
    fn make(dir: &Path) -> io::Result<Arena> {
        let path = dir.join(format!("bench-data-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Arena(path))
    }

    /// Does `work` on a case that was opened in a directory of its own.
    fn with_case<T>(&self, contender: &Contender<'_>, load: Load, work: impl FnOnce(&dyn Case) -> io::Result<T>) -> io::Result<T> {
        let dir = self.0.join(contender.name.replace(' ', "-"));
        std::fs::create_dir_all(&dir)?;
        let case = (contender.open)(&dir, load)?;
        let result = work(&*case);
        drop(case);
        if !contender.keeps_files {
            std::fs::remove_dir_all(&dir)?;
            // What removing it costs is not the next one's.
            std::fs::File::open(&self.0)?.sync_all()?;
        }
        result
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const LOAD: Load = Load { record_bytes: 4096, payload_bytes: 4000, producers: 2, durable: true };

    /// Keeps records, and loses or changes one when it is told to.
    struct Memory(Mutex<Vec<Vec<u8>>>, fn(usize, &mut Vec<u8>) -> bool);

    impl Case for Memory {
        fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
            let mut kept = self.0.lock().unwrap();
            let mut record = record.to_vec();
            if self.1(kept.len(), &mut record) {
                kept.push(record);
            }
            Ok(())
        }

        fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
            Ok(Some(self.0.lock().unwrap().clone()))
        }
    }

    fn checked(keep: fn(usize, &mut Vec<u8>) -> bool) -> io::Result<()> {
        check(&Memory(Mutex::new(Vec::new()), keep), Takes::Payload, LOAD)
    }

    #[test]
    fn who_loses_or_changes_a_record_takes_no_part() {
        assert!(checked(|_, _| true).is_ok());
        assert!(checked(|kept, record| kept != 5 || record[8] != 5).is_err(), "lost");
        assert!(
            checked(|kept, record| {
                record[100] ^= u8::from(kept == 7);
                true
            })
            .is_err(),
            "changed"
        );
    }

    #[test]
    fn a_round_counts_what_was_acknowledged() {
        let memory = Memory(Mutex::new(Vec::new()), |_, _| true);
        let window = Duration::from_millis(20);
        let round = round::run(&memory, Takes::Payload, &mut round::input(LOAD), LOAD, Duration::ZERO, window).unwrap();
        let kept = memory.0.lock().unwrap().len() as u64;
        assert!(round.records > 0 && round.records <= kept, "{} counted, {kept} kept", round.records);
        assert!(round.seconds >= window.as_secs_f64());
    }
}
