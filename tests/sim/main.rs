//! The whole store on a simulated disk: seeded histories of use, failures and crashes, held against an oracle.
//!
//! Each run takes fresh seeds from the clock and the seeds in `seeds.txt`, which found something once. `AQUIFER_SIM_SEEDS=N` runs N fresh
//! ones, `AQUIFER_SIM_SEED=x` runs one again and says what happens in it.
#![allow(clippy::disallowed_methods, reason = "fresh seeds come from the clock, outside of any simulation")]

mod changing;
mod directed;
mod disk;
mod history;
mod keyed;
mod opening;
mod oracle;
mod random;
mod reading;
mod reshaping;
mod rows;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use history::{History, Planted, Summary};

/// Fresh seeds of a run that nobody asked more of.
const SEEDS_DEFAULT: u64 = 40;

/// Seeds that found something once, a line each: the number, and what it found.
const KNOWN: &str = include_str!("seeds.txt");

fn known_seeds() -> Vec<u64> {
    let number =
        |line: &str| line.split_whitespace().next().filter(|word| !word.starts_with('#')).map(|word| word.parse().expect("a seed"));
    KNOWN.lines().filter_map(number).collect()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// One history; a panic in it is a finding as well.
fn run(seed: u64, planted: Planted, verbose: bool) -> Result<Summary, String> {
    caught(|| History::run(seed, planted, verbose))
}

fn caught<R>(run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// A history that takes so long hangs: most take less than a second.
const HISTORY_MAX: Duration = Duration::from_secs(90);

/// Ends the whole process with the seed of a history that hangs, because nothing can be said of its threads. Dropping it calls it off.
struct Watch(#[expect(dead_code, reason = "dropping it is its use")] Sender<()>);

impl Watch {
    fn over(seed: u64) -> Watch {
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            if is_done.recv_timeout(HISTORY_MAX) == Err(RecvTimeoutError::Timeout) {
                eprintln!("AQUIFER_SIM_SEED={seed} cargo test -p aquifer-tests --test sim no_history -- --nocapture\n    hangs");
                std::process::abort();
            }
        });
        Watch(done)
    }
}

/// Runs seeds on all processors; what they found.
fn run_all(seeds: &[u64], planted: Planted) -> (Vec<(u64, String)>, Summary) {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    let work = || {
        let (mut found, mut sum) = (Vec::new(), Summary::default());
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let watch = Watch::over(*seed);
            let ran = run(*seed, planted, false);
            drop(watch);
            match ran {
                Ok(summary) => {
                    sum.steps += summary.steps;
                    sum.crashes += summary.crashes;
                    sum.rows += summary.rows;
                }
                Err(finding) => found.push((*seed, finding)),
            }
        }
        (found, sum)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = (Vec::new(), Summary::default());
        for thread in threads {
            let (found, sum) = thread.join().expect("findings are caught");
            all.0.extend(found);
            all.1.steps += sum.steps;
            all.1.crashes += sum.crashes;
            all.1.rows += sum.rows;
        }
        all
    })
}

fn fresh_seeds(count: u64) -> Vec<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let mut random = random::Random::new(now);
    (0..count).map(|_| random.below(1 << 40)).collect()
}

#[test]
fn no_history_breaks_a_promise() {
    if let Some(seed) = setting("AQUIFER_SIM_SEED") {
        println!("{:?}", run(seed, Planted::Nothing, true).unwrap_or_else(|finding| panic!("seed {seed}: {finding}")));
        return;
    }
    let mut seeds = known_seeds();
    seeds.extend(fresh_seeds(setting("AQUIFER_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT)));
    let start = Instant::now();
    let (found, sum) = run_all(&seeds, Planted::Nothing);
    println!("{} seeds, {} crashes, {} steps, {} rows kept, {:.1?}", seeds.len(), sum.crashes, sum.steps, sum.rows, start.elapsed());
    for (seed, finding) in &found {
        println!("AQUIFER_SIM_SEED={seed} cargo test -p aquifer-tests --test sim no_history -- --nocapture\n    {finding}");
    }
    assert!(found.is_empty(), "{} of {} histories broke a promise", found.len(), seeds.len());
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..4 {
        assert_eq!(run(seed, Planted::Nothing, false), run(seed, Planted::Nothing, false), "seed {seed}");
    }
}

/// Whether at least so many in a hundred histories find the defect.
fn is_found(planted: Planted, percent: usize) {
    let seeds: Vec<u64> = (0..12).collect();
    let (found, _) = run_all(&seeds, planted);
    println!("{planted:?}: found by {} of {} seeds", found.len(), seeds.len());
    assert!(found.len() * 100 >= seeds.len() * percent, "{planted:?} was found by {} of {} seeds only", found.len(), seeds.len());
}

#[test]
fn acknowledging_too_early_is_found() {
    is_found(Planted::AcknowledgedTooEarly, 50);
}

#[test]
fn a_forgotten_identity_is_found() {
    is_found(Planted::ForgottenIdentity, 10);
}
