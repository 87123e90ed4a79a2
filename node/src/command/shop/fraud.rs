//! Who clicks too fast: a sliding window of event time for each user, over rows as a tail brings them.
//!
//! Invariant: an event counts once however often it comes, and where it belongs however late it comes (up to [`LATENESS_US`]).
//! Memory is bounded by the clicks of the last few seconds. Knows nothing of who is a fraudster.

use std::collections::HashMap;

use aquifer_node::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::visits::{CLICKS_MAX, LATENESS_US, WINDOW_US};

/// The columns that the detector reads.
pub(super) const COLUMNS: [&str; 6] = ["sequence", "event_id", "event_time", "sent_time", "type", "user_id"];

/// Behind an alert, a user is left alone for so long.
const SILENCE_US: i64 = 10 * WINDOW_US as i64;

/// Clicks older than this cannot share a window with what still comes.
const KEPT_US: i64 = (WINDOW_US + LATENESS_US) as i64;

/// Somebody clicked too fast. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) user_id: i64,
    /// When the click that was one too many was sent.
    pub(super) sent_us: i64,
}

#[derive(Default)]
struct User {
    /// Event time and id of the clicks that still matter, in order.
    clicks: Vec<(i64, i64)>,
    silent_until_us: Option<i64>,
}

#[derive(Default)]
pub(super) struct FraudDetector {
    users: HashMap<i64, User>,
    /// The youngest event time seen.
    newest_us: i64,
    swept_us: i64,
}

impl FraudDetector {
    /// Takes rows with at least [`COLUMNS`]; returns the alerts that they raise.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<Vec<Alert>> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::internal("a column was not read").at("column", name));
        let (ids, users) = (column("event_id")?.as_primitive::<Int64Type>(), column("user_id")?.as_primitive::<Int64Type>());
        let times = column("event_time")?.as_primitive::<TimestampMicrosecondType>();
        let sent = column("sent_time")?.as_primitive::<TimestampMicrosecondType>();
        let types = column("type")?.as_string::<i32>();
        let mut alerts = Vec::new();
        for row in (0..batch.num_rows()).filter(|row| types.is_valid(*row) && types.value(*row) == "click") {
            let user_id = users.value(row);
            if self.click(user_id, times.value(row), ids.value(row)) {
                alerts.push(Alert { user_id, sent_us: sent.value(row) });
            }
        }
        self.sweep();
        Ok(alerts)
    }

    /// Whether this click is one too many.
    fn click(&mut self, user_id: i64, time_us: i64, event_id: i64) -> bool {
        self.newest_us = self.newest_us.max(time_us);
        let user = self.users.entry(user_id).or_default();
        let Err(place) = user.clicks.binary_search(&(time_us, event_id)) else {
            return false;
        };
        user.clicks.insert(place, (time_us, event_id));
        let fast = user.clicks.windows(CLICKS_MAX + 1).skip(place.saturating_sub(CLICKS_MAX)).take(CLICKS_MAX + 1);
        let is_fast = fast.into_iter().any(|window| window[CLICKS_MAX].0 - window[0].0 < WINDOW_US as i64);
        if !is_fast || user.silent_until_us.is_some_and(|until_us| time_us < until_us) {
            return false;
        }
        user.silent_until_us = Some(time_us + SILENCE_US);
        true
    }

    /// Forgets what is too old to matter, about once in a window.
    fn sweep(&mut self) {
        if self.newest_us - self.swept_us < WINDOW_US as i64 {
            return;
        }
        self.swept_us = self.newest_us;
        let kept_from_us = self.newest_us - KEPT_US;
        self.users.retain(|_, user| {
            user.clicks.retain(|(time_us, _)| *time_us >= kept_from_us);
            !user.clicks.is_empty() || user.silent_until_us.is_some_and(|until_us| until_us >= kept_from_us)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Batches, schema};
    use super::super::visits::Visits;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_click_too_many_is_found_in_whatever_order_they_come() {
        let mut detector = FraudDetector::default();
        let mut clicks: Vec<_> = (0..=CLICKS_MAX as i64).map(|click| (click * 1000, click)).collect();
        clicks.swap(0, 15);
        let last = clicks.pop().unwrap();
        assert!(clicks.iter().all(|(time_us, id)| !detector.click(1, *time_us, *id)));
        assert!(clicks.iter().all(|(time_us, id)| !detector.click(1, *time_us, *id)), "a repeated click counted");
        assert!(detector.click(1, last.0, last.1));
        assert!(!detector.click(1, last.0 + 1, 99), "alerted twice");
    }

    #[test]
    fn the_same_clicks_over_a_longer_time_are_fine() {
        let mut detector = FraudDetector::default();
        let gap_us = WINDOW_US as i64 / CLICKS_MAX as i64;
        assert!((0..1000).all(|click| !detector.click(1, click * gap_us, click)));
        assert!(detector.click(1, 500 * gap_us + 1, 1000), "a late click was not counted where it belongs");
    }

    #[test]
    fn finds_exactly_the_planted_frauds_and_forgets_the_rest() {
        let batches = Batches::new(schema(), 1_700_000_000_000_000);
        let (mut visits, mut detector, mut found) = (Visits::new(11, 5000.0), FraudDetector::default(), Vec::new());
        for second in 1..=20 {
            let events: Vec<_> = std::iter::from_fn(|| visits.next_before(second * 1_000_000)).collect();
            let batch = batches.batch(&events).unwrap();
            found.extend(detector.take(&batch).unwrap().into_iter().map(|alert| alert.user_id as u64));
            assert!(detector.users.len() < 50_000);
        }
        assert_eq!(found.len(), visits.frauds().len());
        assert_eq!(found.into_iter().collect::<HashSet<_>>(), visits.frauds());
    }
}
