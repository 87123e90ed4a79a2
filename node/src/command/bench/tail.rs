//! From append to visible: a reader waits, a row comes every 10 ms, and both the commit and the reader look at the clock.
//!
//! Invariant: rows are due at fixed times (open load), and each is seen exactly once. Knows nothing of how readers are woken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_benches::machine;
use aquifer_benches::report::{self, Line};
use aquifer_node::Error;
use arrow::array::{Int64Array, RecordBatch};
use hdrhistogram::Histogram;

use crate::command::arguments::Bench;
use crate::command::interrupt;
use crate::command::latency;
use crate::command::outcome::Outcome;
use crate::command::report::Report;
use crate::command::session::Session;
use crate::command::store::{CreateTable, Durability, Next, Store, Table};

/// A row comes so often.
const EVERY: Duration = Duration::from_millis(10);

/// Nothing takes longer than this but a reader that was never woken.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(session: &Session, arguments: &Bench) -> Outcome {
    let dir = session.config.dir.with_extension(format!("bench-{}", std::process::id()));
    let store = Store::open(&dir, session.config.options.clone())?;
    let rows = Int64Array::from(vec![0]);
    let batch = RecordBatch::try_from_iter([("row", Arc::new(rows) as _)]).map_err(|error| Error::internal(error.to_string()))?;
    let table = store.create_table("rows", CreateTable::like(batch.schema()))?;
    interrupt::catch();
    let cpu_before_s = machine::cpu_s();
    let measured = measure(&table, &batch, arguments.seconds);
    let cpu_s = machine::cpu_s() - cpu_before_s;
    let driver = store.io().0;
    store.close()?;
    std::fs::remove_dir_all(&dir).map_err(|error| Error::io("remove", &dir, error))?;
    let (commits, sights) = measured?;
    let [commit_us, p50_us] = [&commits, &sights].map(|histogram| histogram.value_at_quantile(0.5) as f64);
    let line = Line {
        bench: "tail",
        case: "aquifer 1 row / 10 ms, same process".into(),
        metric: "latency",
        value: p50_us,
        min: sights.min() as f64,
        max: sights.max() as f64,
        unit: "us",
        better: "lower",
        limit_name: Some("commit"),
        limit: Some(commit_us),
        ratio: Some(p50_us / commit_us.max(1.0)),
        cpu_s,
        cpu_us_per_record: cpu_s * 1e6 / sights.len().max(1) as f64,
        p50_us: Some(p50_us),
        p99_us: Some(sights.value_at_quantile(0.99) as f64),
        driver: Some(driver),
        load: "open loop, 100 rows/s".into(),
        durability: if session.config.options.durability == Durability::Sync { "sync" } else { "os" },
        kernel: machine::kernel(),
        fs: machine::file_system(session.config.dir.parent().unwrap_or(&session.config.dir)),
        rounds: 1,
        ..Line::default()
    };
    if arguments.json {
        report::print(&line, true);
        return Ok(());
    }
    let p99_us = sights.value_at_quantile(0.99) as f64;
    session.print(&Report::one([
        ("rows", sights.len().into()),
        ("commit_p50_us", commit_us.into()),
        ("commit_p99_us", (commits.value_at_quantile(0.99) as f64).into()),
        ("visible_p50_us", p50_us.into()),
        ("visible_p99_us", p99_us.into()),
    ]))
}

/// Latencies of commits and of the reader, in microseconds from when each row was due.
fn measure(table: &Table, batch: &RecordBatch, seconds: u32) -> Outcome<(Histogram<u64>, Histogram<u64>)> {
    let count = (Duration::from_secs(seconds.into()).as_micros() / EVERY.as_micros()) as u32;
    let mut scanner = table.scan().follow(true).build()?;
    let started = Instant::now() + EVERY;
    let due = |row: u32| started + EVERY * row;
    let (mut writer, mut commits) = (table.writer()?, latency::histogram());
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut sights, mut row) = (latency::histogram(), 0);
            while row < count && !interrupt::came() {
                let Next::Batch(found) = scanner.next_within(Some(PATIENCE))? else {
                    return Err(Error::internal("a row never came").at("row", row));
                };
                let now = Instant::now();
                for _ in 0..found.batch.num_rows() {
                    latency::record(&mut sights, now.saturating_duration_since(due(row)));
                    row += 1;
                }
            }
            Ok(sights)
        });
        for row in 0..count {
            interrupt::wait_until(due(row))?;
            writer.append(batch)?;
            latency::record(&mut commits, due(row).elapsed());
        }
        let sights = reader.join().unwrap_or_else(|_| Err(Error::internal("the reader panicked")))?;
        Ok((commits, sights))
    })
}
