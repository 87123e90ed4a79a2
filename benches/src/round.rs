//! One round of one case: producers in a closed loop, each with its own record, a warm-up, then a measured window.

use crate::aligned::Aligned;
use crate::case::{Case, Load, Takes};
use crate::machine;
use hdrhistogram::Histogram;
use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// What a round gave.
pub struct Round {
    /// Records that were acknowledged in the window.
    pub records: u64,
    /// Length of the window.
    pub seconds: f64,
    /// CPU seconds in the window, of this process and of the case elsewhere.
    pub cpu_s: f64,
    /// Nanoseconds from a producer's call to its return.
    pub latency_ns: Histogram<u64>,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// The input of a load, made before the clock starts: a record for each producer.
pub fn input(load: Load) -> Vec<Aligned> {
    (0..load.producers).map(|producer| Aligned::random(load.record_bytes, producer as u64 + 1)).collect()
}

/// Makes a record differ from every other, so that nobody can keep it once.
pub fn stamp(record: &mut [u8], producer: usize, sequence: u64) {
    record[..8].copy_from_slice(&(producer as u64).to_le_bytes());
    record[8..16].copy_from_slice(&sequence.to_le_bytes());
}

/// Runs the producers for `warm_up` and then for `window`; each hands in the part of its record that the case takes.
pub fn run(case: &dyn Case, takes: Takes, input: &mut [Aligned], load: Load, warm_up: Duration, window: Duration) -> io::Result<Round> {
    let phase = AtomicU8::new(WARMING);
    let ready = Barrier::new(input.len() + 1);
    std::thread::scope(|scope| {
        let mut producers = Vec::with_capacity(input.len());
        for (producer, record) in input.iter_mut().enumerate() {
            let (phase, ready) = (&phase, &ready);
            let append = move |record: &[u8]| case.append(producer, load.part(record, takes));
            producers.push(scope.spawn(move || produce(append, producer, record, phase, ready)));
        }
        ready.wait();
        std::thread::sleep(warm_up);
        let cpu_before_s = cpu_s(case);
        let started = Instant::now();
        phase.store(MEASURING, Ordering::SeqCst);
        std::thread::sleep(window);
        phase.store(STOPPING, Ordering::SeqCst);
        let seconds = started.elapsed().as_secs_f64();
        // Only now may an error end the round: the producers have been told to stop.
        let cpu_s = cpu_s(case)? - cpu_before_s?;
        let mut latency_ns = histogram();
        for producer in producers {
            latency_ns.add(producer.join().expect("a producer does not panic")?).expect("equal histograms");
        }
        Ok(Round { records: latency_ns.len(), seconds, cpu_s, latency_ns })
    })
}

/// CPU seconds of this process and of the case elsewhere.
fn cpu_s(case: &dyn Case) -> io::Result<f64> {
    Ok(machine::cpu_s() + case.cpu_elsewhere_s()?)
}

fn produce(
    append: impl Fn(&[u8]) -> io::Result<()>,
    producer: usize,
    record: &mut [u8],
    phase: &AtomicU8,
    ready: &Barrier,
) -> io::Result<Histogram<u64>> {
    let mut latency_ns = histogram();
    let mut sequence = 0;
    ready.wait();
    loop {
        stamp(record, producer, sequence);
        sequence += 1;
        let started = Instant::now();
        append(record)?;
        let took = started.elapsed();
        match phase.load(Ordering::Relaxed) {
            WARMING => {}
            MEASURING => latency_ns.saturating_record(took.as_nanos() as u64),
            _ => return Ok(latency_ns),
        }
    }
}

/// An empty histogram of nanoseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("bounds that a histogram can have")
}
