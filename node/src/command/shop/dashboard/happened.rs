//! Events as the log of the shop has them, and which of them came before.
//!
//! Invariant: of the copies of an event the first one is new, and a later one that says something else corrects it. Memory is bounded by
//! the events of the last few seconds. Knows nothing of what is made of them.

use std::collections::HashMap;

use aquifer_node::{Error, Result};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::super::event::Deed;
use super::super::visits::LATENESS_US;
use super::rows::{numbers, texts};

/// The columns that are read: those of [`Happened`], and what the detector of fraud and latencies need.
pub(super) const COLUMNS: [&str; 9] = ["event_id", "event_time", "sent_time", "type", "user_id", "item_id", "price", "quantity", "page"];

/// Events are forgotten about so often, in microseconds of event time.
const SWEEP_EVERY_US: i64 = 1_000_000;

/// Something that a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) event_id: i64,
    /// Microseconds since 1970.
    pub(super) time_us: i64,
    pub(super) deed: Deed,
    pub(super) user_id: i64,
    pub(super) item_id: Option<i64>,
    /// What was paid: of purchases only.
    pub(super) cents: i128,
    pub(super) page: String,
}

/// The events of rows with at least [`COLUMNS`].
pub(super) fn happened(batch: &RecordBatch) -> Result<Vec<Happened>> {
    let (ids, users) = (numbers::<Int64Type>(batch, "event_id")?, numbers::<Int64Type>(batch, "user_id")?);
    let times = numbers::<TimestampMicrosecondType>(batch, "event_time")?;
    let (types, pages) = (texts(batch, "type")?, texts(batch, "page")?);
    let items = numbers::<Int64Type>(batch, "item_id")?;
    let (prices, quantities) = (numbers::<Decimal128Type>(batch, "price")?, numbers::<Int32Type>(batch, "quantity")?);
    let event = |row: usize| {
        let name = types.value(row);
        let deed = Deed::of_name(name).ok_or_else(|| Error::internal("an event is of no known type").at("type", name))?;
        let is_paid = deed == Deed::Purchase && prices.is_valid(row) && quantities.is_valid(row);
        Ok(Happened {
            event_id: ids.value(row),
            time_us: times.value(row),
            deed,
            user_id: users.value(row),
            item_id: items.is_valid(row).then(|| items.value(row)),
            cents: if is_paid { prices.value(row) * i128::from(quantities.value(row)) } else { 0 },
            page: pages.value(row).to_string(),
        })
    };
    (0..batch.num_rows()).map(event).collect()
}

/// What an event is to those that came before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    First,
    Again,
    /// In place of this one.
    Corrects(Happened),
}

/// The events of one bucket that may still come again.
#[derive(Default)]
pub(super) struct Known {
    events: HashMap<i64, Happened>,
    /// The youngest event time seen.
    newest_us: i64,
    swept_us: i64,
}

impl Known {
    /// Takes events in the order of the bucket's log.
    pub(super) fn news(&mut self, event: &Happened) -> News {
        self.newest_us = self.newest_us.max(event.time_us);
        self.sweep();
        match self.events.insert(event.event_id, event.clone()) {
            None => News::First,
            Some(before) if before == *event => News::Again,
            Some(before) => News::Corrects(before),
        }
    }

    /// Forgets what is too old to come again.
    fn sweep(&mut self) {
        if self.newest_us - self.swept_us >= SWEEP_EVERY_US {
            self.swept_us = self.newest_us;
            let kept_from_us = self.newest_us - LATENESS_US as i64;
            self.events.retain(|_, event| event.time_us >= kept_from_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purchase(event_id: i64, time_us: i64) -> Happened {
        Happened { event_id, time_us, deed: Deed::Purchase, user_id: 1, item_id: Some(2), cents: 300, page: "/checkout".to_string() }
    }

    #[test]
    fn a_copy_is_no_news_and_a_correction_names_what_it_corrects() {
        let mut known = Known::default();
        let cart = Happened { deed: Deed::Cart, cents: 0, ..purchase(1, 10) };
        assert_eq!(known.news(&purchase(1, 10)), News::First);
        assert_eq!(known.news(&purchase(2, 10)), News::First);
        assert_eq!(known.news(&purchase(1, 10)), News::Again);
        assert_eq!(known.news(&cart), News::Corrects(purchase(1, 10)));
        assert_eq!(known.news(&cart), News::Again);
    }

    #[test]
    fn an_event_is_known_as_long_as_it_may_come_again_and_not_for_ever() {
        let mut known = Known::default();
        for second in 0..100 {
            let time_us = second * 1_000_000;
            assert_eq!(known.news(&purchase(second, time_us)), News::First);
            let late = second - LATENESS_US as i64 / 1_000_000;
            if late >= 0 {
                assert_eq!(known.news(&purchase(late, late * 1_000_000)), News::Again);
            }
            assert!(known.events.len() < 10);
        }
    }
}
