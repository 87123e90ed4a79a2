//! `append`: rows of a file or pipe into a log table.
//!
//! Invariant: whatever ends it (the end of the input, a bad row, an interrupt), what was sent before is made durable and counted;
//! a bad row ends it when the rows before it were sent. Knows nothing of formats.

use std::time::{Duration, Instant};

use aquifer_node::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::arguments::Append;
use super::input::{Event, Input};
use super::outcome::{Failure, Outcome};
use super::output::write_line;
use super::progress::{Pace, Progress};
use super::report::Report;
use super::session::Session;
use super::store::{Ack, Writer};
use super::{interrupt, latency};

/// With a rate, a batch holds the rows of so many seconds at most.
const PACED_BATCH_SECONDS: f64 = 0.05;

pub(crate) fn append(session: &Session, arguments: &Append) -> Outcome {
    let store = session.store_to_change()?;
    let table = store.table(&arguments.table)?;
    let batch_rows =
        arguments.rate.map_or(arguments.batch_rows, |rate| arguments.batch_rows.min((rate * PACED_BATCH_SECONDS).max(1.0) as u32));
    let mut input =
        Input::open(&arguments.from, arguments.format, table.schema()?, batch_rows, arguments.on_error).map_err(Failure::of_data)?;
    interrupt::catch();
    let progress = Progress::new("append", input.rows_total(), session.config.quiet);
    let mut run =
        Run { writer: table.writer()?, progress, latencies: latency::histogram(), rows: 0, open: false, prints_acks: arguments.acks };
    let ended = run.pump(&mut input, arguments.rate);
    let settled = run.settle();
    let pace = run.progress.finish();
    let outcome = match ended.and(settled) {
        Err(Failure::Error(error, code)) => Err(Failure::Error(error.at("rows_appended", run.rows), code)),
        other => other,
    };
    if let Ok(()) | Err(Failure::Interrupted) = outcome {
        if outcome.is_err() {
            session.say(&format!("interrupted; rows appended: {}", run.rows));
        }
        run.report(session, arguments, pace, input.skipped())?;
    }
    store.close()?;
    outcome
}

struct Run {
    writer: Writer,
    progress: Progress,
    latencies: Histogram<u64>,
    /// Rows acknowledged.
    rows: u64,
    /// Something was sent that is not known to be acknowledged.
    open: bool,
    prints_acks: bool,
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
                    self.send(&batch, sent)?;
                    sent += batch.num_rows() as u64;
                    let acks = self.writer.acks().map_err(Failure::of_data)?;
                    self.count(&acks)?;
                }
                // Nothing more comes at once: the time to wait for what is under way.
                Event::Idle => self.settle()?,
                Event::End => return Ok(()),
            }
            if rate.is_some() {
                self.settle()?;
            }
        }
    }

    /// Sends a batch behind `sent` rows; of one with a row that does not fit the table, the rows before it.
    fn send(&mut self, batch: &RecordBatch, sent: u64) -> Outcome {
        self.open = true;
        // Rows of a schema that the writer knows already would be looked at too late to say which one does not fit.
        let unknown = Schema::clone(batch.schema_ref()).into();
        let rows = batch.clone().with_schema(unknown).map_err(|error| Error::internal("a batch has another schema").caused_by(error))?;
        let Err(error) = self.writer.send(&rows) else { return Ok(()) };
        if let Some(row) = row_of(&error) {
            // The row is the first bad one of its column: another column may have one before it, which is told then.
            self.send(&batch.slice(0, row), sent)?;
            return Err(Failure::of_data(error.at("rows_before_batch", sent)));
        }
        Err(Failure::of_data(error))
    }

    /// Waits until all that was sent is durable.
    fn settle(&mut self) -> Outcome {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
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

    fn report(&self, session: &Session, arguments: &Append, pace: Pace, skipped: u64) -> Outcome {
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
            ("table", arguments.table.as_str().into()),
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
    #[serde(skip_serializing_if = "str::is_empty")]
    partition: &'a str,
}

fn ack_line(ack: &Ack, rows_total: u64) -> String {
    let Ack { rows, bucket, first_offset, partition, .. } = ack;
    let line = AckLine { rows: *rows, rows_total, bucket: *bucket, first_offset: *first_offset, partition };
    serde_json::to_string(&line).unwrap_or_default()
}

/// The row of the batch that does not fit, from 0, if it was refused for that: then nothing of it was sent.
fn row_of(error: &Error) -> Option<usize> {
    error.context().find(|(name, _)| *name == "row").and_then(|(_, row)| row.parse().ok())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
