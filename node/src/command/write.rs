//! `append`, `upsert` and `delete`: rows of a file or pipe into a table.
//!
//! Invariant: whatever ends it (the end of the input, a bad row, an interrupt), what was sent before is made durable and counted;
//! a bad row ends it when the rows before it were sent. Knows nothing of formats.

use std::path::Path;
use std::time::{Duration, Instant};

use aquifer_node::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::arguments::{Append, Delete, Feed, OnError, Upsert};
use super::changes::Changes;
use super::input::{Columns, Event, Input, Placed, bad_row, way_out};
use super::outcome::{Failure, Outcome, tell};
use super::output::write_line;
use super::progress::{Pace, Progress};
use super::report::Report;
use super::session::Session;
use super::store::{Ack, Table, Writer};
use super::{interrupt, latency};

/// With a rate, a batch holds the rows of so many seconds at most.
const PACED_BATCH_SECONDS: f64 = 0.05;

pub(crate) fn append(session: &Session, arguments: &Append) -> Outcome {
    write(session, &arguments.table, &arguments.from, &arguments.feed, |table| {
        if !table.describe()?.primary_key.is_empty() {
            let keyed = Error::invalid("a table with a primary key takes upserts, not appends").at("table", table.name());
            return Err(keyed.hint("call aquifer upsert").into());
        }
        Ok((Deed::Append, table.schema()?.into()))
    })
}

pub(crate) fn upsert(session: &Session, arguments: &Upsert) -> Outcome {
    write(session, &arguments.table, &arguments.from, &arguments.feed, |table| {
        let key = table.describe()?.primary_key;
        if key.is_empty() {
            let keyless = Error::invalid("a table without a primary key takes no upserts").at("table", table.name());
            return Err(keyless.hint("call aquifer append, or create it with a --primary-key").into());
        }
        let changes = Changes::new(arguments.op_column.as_deref(), table.schema()?, key);
        let columns = changes.columns();
        Ok((Deed::Upsert(changes), columns))
    })
}

pub(crate) fn delete(session: &Session, arguments: &Delete) -> Outcome {
    write(session, &arguments.table, &arguments.keys, &arguments.feed, |table| {
        let key = table.describe()?.primary_key;
        if key.is_empty() {
            let keyless = Error::invalid("a table without a primary key has nothing to delete by").at("table", table.name());
            return Err(keyless.hint("rows of a log leave it by its retention").into());
        }
        Ok((Deed::Delete, Columns::of_keys(&*table.schema()?, &key)))
    })
}

/// What is done with rows.
enum Deed {
    Append,
    Upsert(Changes),
    Delete,
}

impl Deed {
    fn verb(&self) -> &'static str {
        match self {
            Deed::Append => "append",
            Deed::Upsert(_) => "upsert",
            Deed::Delete => "delete",
        }
    }

    /// The rows that it was done with, in a message.
    fn rows_done(&self) -> &'static str {
        match self {
            Deed::Append => "rows_appended",
            Deed::Upsert(_) => "rows_upserted",
            Deed::Delete => "rows_deleted",
        }
    }
}

fn write(session: &Session, name: &str, from: &Path, feed: &Feed, deed: impl FnOnce(&Table) -> Outcome<(Deed, Columns)>) -> Outcome {
    let store = session.store_to_change()?;
    let table = store.table(name)?;
    let (deed, columns) = deed(&table)?;
    let batch_rows = feed.rate.map_or(feed.batch_rows, |rate| feed.batch_rows.min((rate * PACED_BATCH_SECONDS).max(1.0) as u32));
    let mut input = Input::open(from, feed.format, columns, batch_rows, feed.on_error).map_err(Failure::of_data)?;
    interrupt::catch();
    let progress = Progress::new(deed.verb(), input.rows_total(), session.config.quiet);
    let writer = table.writer()?;
    let mut run = Run {
        deed,
        writer,
        progress,
        latencies: latency::histogram(),
        rows: 0,
        open: false,
        answered: Vec::new(),
        prints_acks: feed.acks,
        on_error: feed.on_error,
        skipped: 0,
    };
    let ended = run.pump(&mut input, feed.rate);
    let settled = run.settle();
    let pace = run.progress.finish();
    let rows_done = run.deed.rows_done();
    let outcome = match ended.and(settled) {
        Err(Failure::Error(error, code)) => Err(Failure::Error(error.at(rows_done, run.rows), code)),
        other => other,
    };
    if let Ok(()) | Err(Failure::Interrupted(_)) = outcome {
        if outcome.is_err() {
            session.say(&format!("interrupted; {}: {}", rows_done.replace('_', " "), run.rows));
        }
        run.report(session, name, pace, input.skipped() + run.skipped)?;
    }
    session.close(store)?;
    outcome
}

struct Run {
    deed: Deed,
    writer: Writer,
    progress: Progress,
    latencies: Histogram<u64>,
    /// Rows acknowledged.
    rows: u64,
    /// Something was sent that is not known to be acknowledged.
    open: bool,
    /// Of calls that waited; not counted yet.
    answered: Vec<Ack>,
    prints_acks: bool,
    on_error: OnError,
    /// Rows that were read and left out.
    skipped: u64,
}

impl Run {
    /// Sends what the input has, at `rate` rows per second if one is given.
    fn pump(&mut self, input: &mut Input, rate: Option<f64>) -> Outcome {
        let started = Instant::now();
        let mut sent = 0_u64;
        loop {
            interrupt::check()?;
            match input.next().map_err(Failure::of_data)? {
                Event::Rows(batch) => {
                    if let Some(rate) = rate {
                        interrupt::wait_until(started + Duration::from_secs_f64(sent as f64 / rate))?;
                    }
                    let batch = match &mut self.deed {
                        Deed::Upsert(changes) => changes.whole_updates(batch)?,
                        _ => batch,
                    };
                    self.send(&batch)?;
                    sent += batch.len() as u64;
                    self.count_answered()?;
                    let acks = self.writer.acks().map_err(Failure::of_data)?;
                    self.count(&acks)?;
                }
                // Nothing more comes at once: the time to wait for what is under way.
                Event::Idle => self.settle()?,
                Event::End => return self.send_rest(),
            }
            if rate.is_some() {
                self.settle()?;
            }
        }
    }

    /// Half an update that nothing followed, which is refused.
    fn send_rest(&mut self) -> Outcome {
        let Deed::Upsert(changes) = &mut self.deed else { return Ok(()) };
        match changes.rest() {
            Some(half) => self.send(&half),
            None => Ok(()),
        }
    }

    fn send(&mut self, batch: &Placed) -> Outcome {
        let Err(error) = self.hand_over(&batch.rows) else { return Ok(()) };
        match bad_row(&error) {
            Some(_) if self.on_error == OnError::Skip => self.send_without_bad(batch),
            Some(row) => self.send_before_bad(batch, row, error),
            None => Err(Failure::of_data(without_meta(&batch.rows, batch.locate(error)))),
        }
    }

    /// Sends the rows before one that does not fit the table, and fails.
    fn send_before_bad(&mut self, batch: &Placed, mut row: usize, mut error: Error) -> Outcome {
        // The row is the first bad one of its column and bucket: another may have one before it, which is told then.
        loop {
            // Of an update that has no second row, the first is not written either.
            let count = if row > 0 && self.is_update(&batch.rows, row - 1) { row - 1 } else { row };
            match self.hand_over(&batch.rows.slice(0, count)) {
                Ok(()) => return Err(Failure::of_data(with_way_out(batch, batch.locate(error)))),
                Err(earlier) => error = earlier,
            }
            match bad_row(&error) {
                Some(earlier) => row = earlier,
                None => return Err(Failure::of_data(batch.locate(error))),
            }
        }
    }

    /// Sends a batch without its bad rows: a part that has one is cut in halves until the row is alone. All of a part is looked at when it is
    /// tried, so that cut at one row after the other, a batch of such rows would never end.
    fn send_without_bad(&mut self, batch: &Placed) -> Outcome {
        let mut parts = vec![batch.clone()];
        while let Some(part) = parts.pop() {
            let Err(error) = self.hand_over(&part.rows) else { continue };
            if bad_row(&error).is_none() {
                return Err(Failure::of_data(part.locate(error)));
            }
            match self.middle(&part.rows) {
                Some(middle) => parts.extend([part.slice(middle..part.len()), part.slice(0..middle)]),
                None => self.leave_out(&part, &error),
            }
        }
        Ok(())
    }

    /// Where a batch can be cut in halves; `None` for a row, and for the two of an update.
    fn middle(&self, batch: &RecordBatch) -> Option<usize> {
        let count = batch.num_rows();
        let Deed::Upsert(changes) = &self.deed else { return (count > 1).then_some(count / 2) };
        match count {
            2 if changes.is_update(batch, 0) => None,
            0..=2 => (count == 2).then_some(1),
            // Keys are compared only of two rows alone: which ones are the same is for the table to say.
            _ => Some(if changes.may_be_update(batch, count / 2 - 1) { count / 2 + 1 } else { count / 2 }),
        }
    }

    fn is_update(&self, batch: &RecordBatch, row: usize) -> bool {
        matches!(&self.deed, Deed::Upsert(changes) if changes.is_update(batch, row))
    }

    /// Says that a row, or the two of an update, are left out.
    fn leave_out(&mut self, rows: &Placed, error: &Error) {
        let column = error.context().find(|(name, _)| *name == "column");
        let place = column.map_or(String::new(), |(_, column)| format!(", column {column}"));
        let update = if rows.len() > 1 { ", an update" } else { "" };
        tell(format_args!("aquifer: left out {}{update}{place}: {}", rows.name(), error.message()));
        self.skipped += rows.len() as u64;
    }

    /// All rows of a batch, or none and an error.
    fn hand_over(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.open = true;
        // Rows of a schema that the writer knows already would be looked at too late to say which one does not fit.
        let unknown = Schema::clone(batch.schema_ref()).into();
        let rows = batch.clone().with_schema(unknown).map_err(|error| Error::internal("a batch has another schema").caused_by(error))?;
        match &self.deed {
            Deed::Append => self.writer.send(&rows),
            Deed::Upsert(changes) => {
                let (rows, changes) = changes.split(&rows)?;
                self.writer.send_changes(&rows, &changes)
            }
            Deed::Delete => {
                let acks = self.writer.delete(&rows)?;
                self.answered.extend(acks);
                Ok(())
            }
        }
    }

    /// Waits until all that was sent is durable.
    fn settle(&mut self) -> Outcome {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.count_answered()?;
        match self.writer.flush() {
            Ok(acks) => self.count(&acks),
            Err(error) => {
                // What became durable counts, whatever became of the rest.
                let acks = self.writer.acks().unwrap_or_default();
                self.count(&acks)?;
                Err(Failure::of_data(error))
            }
        }
    }

    fn count_answered(&mut self) -> Outcome {
        let acks = std::mem::take(&mut self.answered);
        self.count(&acks)
    }

    fn count(&mut self, acks: &[Ack]) -> Outcome {
        let mut printed = Ok(());
        for ack in acks {
            self.rows += ack.rows;
            self.progress.add(ack.rows, ack.bytes);
            latency::record(&mut self.latencies, ack.latency);
            if self.prints_acks && printed.is_ok() {
                printed = write_line(&ack_line(ack, self.rows));
            }
        }
        printed
    }

    fn report(&self, session: &Session, table: &str, pace: Pace, skipped: u64) -> Outcome {
        if session.config.quiet {
            return Ok(());
        }
        let (p50_ms, p99_ms) = (latency::quantile_ms(&self.latencies, 0.5), latency::quantile_ms(&self.latencies, 0.99));
        if self.prints_acks {
            let (rows_per_s, mb_per_s) = (pace.rows_per_s(), pace.mb_per_s());
            let plural = if self.rows == 1 { "" } else { "s" };
            session.say(&format!(
                "{} row{plural}, {rows_per_s:.0} rows/s, {mb_per_s:.1} MB/s, ack p50 {p50_ms} ms, p99 {p99_ms} ms",
                self.rows
            ));
            return Ok(());
        }
        session.print(&Report::one([
            ("table", table.into()),
            ("rows", self.rows.into()),
            ("skipped", skipped.into()),
            ("bytes", pace.bytes.into()),
            ("seconds", round(pace.seconds).into()),
            ("rows_per_s", pace.rows_per_s().round().into()),
            ("mb_per_s", round(pace.mb_per_s()).into()),
            ("ack_p50_ms", p50_ms.into()),
            ("ack_p99_ms", p99_ms.into()),
        ]))
    }
}

/// What `--acks` prints.
#[derive(Serialize)]
struct AckLine<'a> {
    rows: u64,
    rows_total: u64,
    bucket: u32,
    first_offset: u64,
    /// Left out where it is the number of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    partition: &'a str,
}

fn ack_line(ack: &Ack, rows_total: u64) -> String {
    let Ack { rows, changes, bucket, first_offset, partition, .. } = ack;
    let changes = (changes != rows).then_some(*changes);
    let line = AckLine { rows: *rows, rows_total, bucket: *bucket, first_offset: *first_offset, changes, partition };
    serde_json::to_string(&line).unwrap_or_default()
}

/// What is wrong with a row, with what can be done about it if nothing better is known.
fn with_way_out(batch: &Placed, error: Error) -> Error {
    match error.advice() {
        Some(_) => error,
        None => error.hint(format!("mend the {0}, or leave such {0}s out with --on-error skip", batch.unit())),
    }
}

/// What became of a batch, with how to leave out what `--meta` added to its rows, if it was refused for that.
fn without_meta(batch: &RecordBatch, error: Error) -> Error {
    let is_named = |name: &str| error.message().contains(&format!("no column `{name}`"));
    let schema = batch.schema();
    let mut names = schema.fields().iter().map(|field| field.name());
    match names.find(|name| is_named(name)).and_then(|name| way_out(name)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
