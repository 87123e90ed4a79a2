//! From events to rows of the dashboard's tables, a few hundred at a time.
//!
//! Invariant: an event is added once, whatever comes again; a corrected one is taken back in the batch that says what it was instead.
//! Knows nothing of threads.

use std::collections::HashMap;
use std::time::Duration;

use aquifer_node::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::TimestampMicrosecondType;
use hdrhistogram::Histogram;

use super::super::fraud::FraudDetector;
use super::super::now_us;
use super::Dashboard;
use super::happened::{Happened, Known, News, happened};
use super::rows::{ItemTotals, LastDeed, UserState, item_batch, numbers, user_batch};
use crate::command::latency;
use crate::command::store::{ChangeType, Writer};

/// Rows of a table that are written together, give or take a batch of the log.
const ROWS_MAX: usize = 500;

/// What has to be known of the events of one bucket. Buckets are read at different paces, so none forgets by the time of another.
#[derive(Default)]
struct Bucket {
    known: Known,
    detector: FraudDetector,
}

/// Writes both tables.
pub(super) struct Keeper {
    items: Writer,
    users: Writer,
    buckets: HashMap<u32, Bucket>,
    item_rows: Vec<(i64, ItemTotals)>,
    item_changes: Vec<ChangeType>,
    user_rows: Vec<(i64, UserState)>,
    /// When the first of the rows that wait was sent, in microseconds since 1970.
    oldest_us: i64,
    latencies: Histogram<u64>,
}

impl Keeper {
    pub(super) fn new(dashboard: &Dashboard) -> Result<Self> {
        Ok(Keeper {
            items: dashboard.items.writer()?,
            users: dashboard.users.writer()?,
            buckets: HashMap::new(),
            item_rows: Vec::new(),
            item_changes: Vec::new(),
            user_rows: Vec::new(),
            oldest_us: i64::MAX,
            latencies: latency::histogram(),
        })
    }

    /// Takes rows of a bucket with at least [`super::happened::COLUMNS`].
    pub(super) fn take(&mut self, bucket: u32, batch: &RecordBatch) -> Result<()> {
        let bucket = self.buckets.entry(bucket).or_default();
        let alerts = bucket.detector.take(batch)?;
        let events: Vec<_> = happened(batch)?.into_iter().map(|event| (bucket.known.news(&event), event)).collect();
        for (news, event) in events {
            match news {
                News::First => self.add(&event),
                News::Again => {}
                News::Corrects(before) => self.correct(&before, &event),
            }
        }
        let flag = UserState { is_fraudster: true, ..UserState::default() };
        self.user_rows.extend(alerts.iter().map(|alert| (alert.user_id, flag.clone())));
        let sent = numbers::<TimestampMicrosecondType>(batch, "sent_time")?;
        self.oldest_us = sent.values().iter().fold(self.oldest_us, |oldest_us, sent_us| oldest_us.min(*sent_us));
        if self.item_rows.len().max(self.user_rows.len()) >= ROWS_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn add(&mut self, event: &Happened) {
        if let Some(item_id) = event.item_id {
            self.change(ChangeType::Insert, item_id, event);
        }
        self.user_rows.push((event.user_id, UserState { last: Some(LastDeed::of(event)), events: 1, is_fraudster: false }));
    }

    /// The totals of the item lose what was said before and gain what is said now. The user did not do one thing more; if it was the last,
    /// the row of the same time and number takes its place.
    fn correct(&mut self, before: &Happened, now: &Happened) {
        match (before.item_id, now.item_id) {
            (Some(item_id), Some(same)) if item_id == same => {
                self.change(ChangeType::UpdateBefore, item_id, before);
                self.change(ChangeType::UpdateAfter, item_id, now);
            }
            (before_id, now_id) => {
                before_id.into_iter().for_each(|item_id| self.change(ChangeType::Delete, item_id, before));
                now_id.into_iter().for_each(|item_id| self.change(ChangeType::Insert, item_id, now));
            }
        }
        self.user_rows.push((now.user_id, UserState { last: Some(LastDeed::of(now)), events: 0, is_fraudster: false }));
    }

    fn change(&mut self, change: ChangeType, item_id: i64, event: &Happened) {
        self.item_rows.push((item_id, ItemTotals::of(event)));
        self.item_changes.push(change);
    }

    /// Writes what waits, and returns when it is durable.
    pub(super) fn write(&mut self) -> Result<()> {
        if !self.item_rows.is_empty() {
            self.items.apply(&item_batch(&self.item_rows)?, &self.item_changes)?;
            self.item_rows.clear();
            self.item_changes.clear();
        }
        if !self.user_rows.is_empty() {
            self.users.upsert(&user_batch(&self.user_rows)?)?;
            self.user_rows.clear();
        }
        if self.oldest_us < i64::MAX {
            latency::record(&mut self.latencies, Duration::from_micros(now_us().saturating_sub(self.oldest_us).max(0) as u64));
            self.oldest_us = i64::MAX;
        }
        Ok(())
    }

    /// How long events took.
    pub(super) fn finish(self) -> Histogram<u64> {
        self.latencies
    }
}
