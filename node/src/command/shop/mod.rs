//! `demo shop`: a shop writes its events, a tail finds the fraudsters while they click, a dashboard keeps the figures of items and users
//! in tables of their own, and at the end everything is checked.
//!
//! Invariant: leaves no data behind unless asked to keep it. The load is open: events are due when the shop says so, however long
//! the writer takes, and latencies count from there.

mod check;
mod dashboard;
mod event;
mod fraud;
mod random;
mod visits;
mod zipf;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aquifer_node::Error;
use hdrhistogram::Histogram;

use super::arguments::Shop;
use super::outcome::{Failure, Outcome};
use super::output::Format;
use super::progress::Progress;
use super::report::Report;
use super::session::Session;
use super::store::{CreateTable, Next, Start, Store, Table, Writer};
use super::{interrupt, latency};
use check::{Seen, Written};
use dashboard::Dashboard;
use event::Batches;
use visits::Visits;

/// Events are gathered so long, at the pace of the shop.
const BATCH_EVERY: Duration = Duration::from_millis(2);

/// Buckets of the table; the events of a user stay together.
const BUCKETS: u32 = 4;

/// When rows are missing at the end, a tail waits so long for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says that the number of rows is not known yet.
const UNKNOWN: u64 = u64::MAX;

pub(crate) fn run(session: &Session, arguments: &Shop) -> Outcome {
    let dir = Directory::make(session, arguments)?;
    interrupt::catch();
    let store = Store::open(&dir.path, session.config.options.clone())?;
    let create = CreateTable {
        schema: event::schema(),
        partition_by: String::new(),
        buckets: BUCKETS,
        bucket_key: vec!["user_id".to_string()],
        primary_key: Vec::new(),
        options: Vec::new(),
    };
    let table = store.create_table("clicks", create)?;
    let dashboard = Dashboard::create(&store)?;
    session.say(&format!(
        "shop: {} events/s for {} s, seed {}, in {}",
        arguments.rate,
        arguments.seconds,
        arguments.seed,
        dir.path.display()
    ));
    let (written, seen, shown) = trade(session, arguments, &table, &dashboard)?;
    let audit = dashboard::audit(&table, &dashboard)?;
    session.close(store)?;
    print_top(session, &dashboard::top_items(&audit))?;
    let (report, all_hold) = check::conclude(&written, &seen, &shown, &audit);
    session.print(&report)?;
    interrupt::check()?;
    if all_hold { Ok(()) } else { Err(Failure::check_failed()) }
}

/// Prints what leads the dashboard, where more than one kind of rows can be printed: a file has the checks alone.
fn print_top(session: &Session, items: &Report) -> Outcome {
    if session.config.out.is_some() {
        return Ok(());
    }
    match session.format() {
        Format::Table => {
            session.print(items)?;
            session.print_text("")
        }
        Format::Json => session.print(items),
        Format::Csv | Format::Arrow | Format::Parquet => Ok(()),
    }
}

/// Where the data of the demo lies.
struct Directory {
    path: PathBuf,
    is_kept: bool,
}

impl Directory {
    fn make(session: &Session, arguments: &Shop) -> Outcome<Self> {
        let named = arguments.keep.as_ref().or_else(|| session.config.dir_of_flag());
        let path = named.cloned().unwrap_or_else(|| std::env::temp_dir().join(format!("aquifer-demo-{}", std::process::id())));
        let is_empty = || std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && named.is_some() && is_empty() => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let full = Error::conflict("the demo begins in a directory that is new or empty").at("dir", path.display());
                return Err(full.hint("name another with --dir or --keep, or leave them out").into());
            }
            made => made.map_err(|error| Error::io("make the directory", &path, error))?,
        }
        Ok(Directory { path, is_kept: named.is_some() })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_kept {
            // A leftover in the directory for temporary files is only untidy.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// What the sides of the shop tell each other.
struct Shared {
    /// Rows that will have been written, once known.
    rows: AtomicU64,
    /// One side failed: the other need not go on.
    failed: AtomicBool,
}

impl Shared {
    /// Whether a tail that saw so many rows need not go on.
    fn is_over(&self, seen: u64, last_row: Instant) -> bool {
        let rows = self.rows.load(Ordering::Acquire);
        seen >= rows || self.failed.load(Ordering::Relaxed) || rows != UNKNOWN && last_row.elapsed() > PATIENCE
    }
}

/// Writes on this thread, tails on another, and keeps the dashboard on a third.
fn trade(session: &Session, arguments: &Shop, table: &Table, dashboard: &Dashboard) -> Outcome<(Written, Seen, Histogram<u64>)> {
    let shared = Shared { rows: AtomicU64::new(UNKNOWN), failed: AtomicBool::new(false) };
    let mut progress = Progress::new("shop", Some((arguments.rate * f64::from(arguments.seconds)) as u64), session.config.quiet);
    std::thread::scope(|scope| {
        let tail = scope.spawn(|| watched(&shared, || tail(table, &shared)));
        let keep = scope.spawn(|| watched(&shared, || dashboard.keep(table, &shared)));
        let written = watched(&shared, || write(arguments, table, &shared, &mut progress));
        let seen = tail.join().unwrap_or_else(|_| Err(Error::internal("the tail panicked").into()));
        let shown = keep.join().unwrap_or_else(|_| Err(Error::internal("the dashboard panicked").into()));
        progress.finish();
        Ok((written?, seen?, shown?))
    })
}

fn watched<T>(shared: &Shared, side: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let outcome = side();
    if outcome.is_err() {
        shared.failed.store(true, Ordering::Relaxed);
    }
    outcome
}

fn write(arguments: &Shop, table: &Table, shared: &Shared, progress: &mut Progress) -> Outcome<Written> {
    let mut visits = Visits::new(arguments.seed, arguments.rate);
    let mut writer = table.writer()?;
    let batches = Batches::new(table.schema()?, now_us());
    let started = Instant::now();
    let end = Duration::from_secs(arguments.seconds.into());
    let mut written = Written { rows: 0, seconds: 0.0, bytes: 0, acks: latency::histogram(), frauds: Default::default() };
    let mut due = Duration::ZERO;
    while due < end && !interrupt::came() && !shared.failed.load(Ordering::Relaxed) {
        due = (due + BATCH_EVERY).max(started.elapsed()).min(end);
        // An interrupt ends the wait; the loop sees it too.
        let _ = interrupt::wait_until(started + due);
        let events: Vec<_> = std::iter::from_fn(|| visits.next_before(due.as_micros() as u64)).collect();
        if !events.is_empty() {
            writer.send(&batches.batch(&events)?)?;
            written.rows += events.len() as u64;
        }
        count(&mut writer, &mut written, progress, false)?;
    }
    count(&mut writer, &mut written, progress, true)?;
    written.seconds = started.elapsed().as_secs_f64();
    written.frauds = visits.frauds();
    shared.rows.store(written.rows, Ordering::Release);
    Ok(written)
}

fn count(writer: &mut Writer, written: &mut Written, progress: &mut Progress, is_last: bool) -> Outcome {
    let acks = if is_last { writer.flush()? } else { writer.acks()? };
    for ack in acks {
        latency::record(&mut written.acks, ack.latency);
        written.bytes += ack.bytes;
        progress.add(ack.rows, ack.bytes);
    }
    Ok(())
}

fn tail(table: &Table, shared: &Shared) -> Outcome<Seen> {
    let mut scanner = table.scan().columns(&fraud::COLUMNS).start(Start::Earliest).follow(true).build()?;
    let (mut seen, mut detector) = (Seen::new(), fraud::FraudDetector::default());
    let mut last_row = Instant::now();
    while !shared.is_over(seen.rows, last_row) {
        if let Next::Batch(found) = scanner.next_within(Some(interrupt::LOOK_EVERY))? {
            let alerts = detector.take(&found.batch)?;
            for alert in &alerts {
                seen.alert(alert, Duration::from_micros(now_us().saturating_sub(alert.sent_us).max(0) as u64));
            }
            seen.rows(&found.partition, found.bucket, found.first_offset, &found.batch)?;
            last_row = Instant::now();
        }
    }
    Ok(seen)
}

/// Microseconds since 1970.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
