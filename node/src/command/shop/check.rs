//! What is checked while the shop is tailed, and told at its end.
//!
//! Invariant: memory grows by one bit a row. Knows nothing of how rows were written.

use std::collections::{HashMap, HashSet};

use aquifer_node::{Error, Result};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use hdrhistogram::Histogram;

use super::dashboard::Audit;
use super::fraud::Alert;
use crate::command::latency;
use crate::command::report::{Cell, Report};

/// What the tail saw.
pub(super) struct Seen {
    pub(super) rows: u64,
    /// One bit for each sequence number.
    sequences: Vec<u64>,
    twice: u64,
    out_of_order: u64,
    /// Last sequence number and next offset of each bucket.
    buckets: HashMap<(String, u32), (i64, u64)>,
    alerted: Vec<i64>,
    latencies: Histogram<u64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Seen {
            rows: 0,
            sequences: Vec::new(),
            twice: 0,
            out_of_order: 0,
            buckets: HashMap::new(),
            alerted: Vec::new(),
            latencies: latency::histogram(),
        }
    }

    /// Counts rows of a bucket.
    pub(super) fn rows(&mut self, partition: &str, bucket: u32, first_offset: u64, batch: &RecordBatch) -> Result<()> {
        let sequences = batch.column_by_name("sequence").ok_or_else(|| Error::internal("the sequence was not read"))?;
        let state = self.buckets.entry((partition.to_string(), bucket)).or_insert((-1, 0));
        if first_offset != state.1 {
            self.out_of_order += 1;
        }
        state.1 = first_offset + batch.num_rows() as u64;
        for sequence in sequences.as_primitive::<Int64Type>().values() {
            if *sequence <= state.0 {
                self.out_of_order += 1;
            }
            state.0 = *sequence;
            let (word, bit) = (*sequence as usize / 64, 1_u64 << (*sequence % 64));
            if word >= self.sequences.len() {
                self.sequences.resize(word + 1, 0);
            }
            self.twice += u64::from(self.sequences[word] & bit != 0);
            self.sequences[word] |= bit;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Counts an alert that came so long after its click was sent.
    pub(super) fn alert(&mut self, alert: &Alert, after: std::time::Duration) {
        self.alerted.push(alert.user_id);
        latency::record(&mut self.latencies, after);
    }
}

/// What was written.
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    pub(super) acks: Histogram<u64>,
    pub(super) frauds: HashSet<u64>,
}

/// The checks as a table, and whether all hold.
pub(super) fn conclude(written: &Written, seen: &Seen, shown: &Histogram<u64>, audit: &Audit) -> (Report, bool) {
    let mut report = Report::new(["check", "found", "expected", "ok"]);
    let mut all_hold = true;
    let mut check = |name: &str, found: u64, expected: u64| {
        all_hold &= found == expected;
        report.row([name.into(), found.to_string().into(), expected.to_string().into(), (found == expected).into()]);
    };
    let alerted: HashSet<_> = seen.alerted.iter().map(|user_id| *user_id as u64).collect();
    check("rows read", seen.rows, written.rows);
    check("rows missing", written.rows.saturating_sub(ones(&seen.sequences)), 0);
    check("rows read twice", seen.twice, 0);
    check("rows out of order in their bucket", seen.out_of_order, 0);
    check("fraudsters found", alerted.intersection(&written.frauds).count() as u64, written.frauds.len() as u64);
    check("false alerts", (seen.alerted.len() - alerted.intersection(&written.frauds).count()) as u64, 0);
    audit.checks.iter().for_each(|(name, found, expected)| check(name, *found, *expected));
    let mut tell = |name: &str, found: String| report.row([name.into(), found.into(), Cell::None, Cell::None]);
    tell("events per second", format!("{:.0}", written.rows as f64 / written.seconds.max(1e-9)));
    tell("MB per second", format!("{:.1}", written.bytes as f64 / 1e6 / written.seconds.max(1e-9)));
    let latencies = [("durable after", &written.acks), ("alert after the click", &seen.latencies), ("dashboard after the event", shown)];
    for (name, histogram) in latencies {
        let [p50, p99] = [0.5, 0.99].map(|quantile| latency::quantile_ms(histogram, quantile));
        tell(&format!("{name}, p50 / p99"), format!("{p50:.2} / {p99:.2} ms"));
    }
    (report, all_hold)
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::super::event::{Batches, schema};
    use super::super::visits::Visits;
    use super::*;

    fn written(rows: u64) -> Written {
        Written { rows, seconds: 1.0, bytes: 1, acks: latency::histogram(), frauds: HashSet::from([5]) }
    }

    #[test]
    fn everything_that_can_go_wrong_is_told() {
        let mut visits = Visits::new(1, 1000.0);
        let events: Vec<_> = std::iter::from_fn(|| visits.next_before(1_000_000)).take(100).collect();
        let batch = Batches::new(schema(), 0).batch(&events).unwrap();
        let alert = Alert { user_id: 5, sent_us: 0 };
        let outcome = |told: &dyn Fn(&mut Seen)| {
            let mut seen = Seen::new();
            told(&mut seen);
            conclude(&written(100), &seen, &latency::histogram(), &Audit::default()).1
        };
        let all = |seen: &mut Seen| seen.rows("", 0, 0, &batch).unwrap();
        let wait = std::time::Duration::from_millis(1);
        assert!(outcome(&|seen| {
            all(seen);
            seen.alert(&alert, wait);
        }));
        assert!(!outcome(&all), "a fraudster was not found");
        assert!(!outcome(&|seen| {
            all(seen);
            seen.alert(&alert, wait);
            seen.alert(&Alert { user_id: 6, sent_us: 0 }, wait);
        }));
        let twice = |seen: &mut Seen| {
            seen.alert(&alert, wait);
            seen.rows("", 0, 0, &batch.slice(0, 50)).unwrap();
            seen.rows("", 0, 50, &batch.slice(0, 50)).unwrap();
        };
        assert!(!outcome(&twice), "half the rows came twice, the others never");
        let gap = |seen: &mut Seen| {
            seen.alert(&alert, wait);
            seen.rows("", 0, 0, &batch.slice(0, 50)).unwrap();
            seen.rows("", 0, 51, &batch.slice(50, 50)).unwrap();
        };
        assert!(!outcome(&gap), "an offset was left out");
        let (mut seen, mut audit) = (Seen::new(), Audit::default());
        all(&mut seen);
        seen.alert(&alert, wait);
        audit.checks.push(("items as in the log", 99, 100));
        assert!(!conclude(&written(100), &seen, &latency::histogram(), &audit).1, "a table does not agree with the log");
    }
}
