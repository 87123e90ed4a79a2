//! The dashboard of the shop: what each item sold and what each user did last, kept in two tables from the log of events.
//!
//! Invariant: tails the log as any program could, with writers of its own, and holds nobody up. Once it has seen all rows, the tables
//! hold what a recount of the log gives. Knows nothing of who writes events.

mod audit;
mod happened;
mod keeper;
mod recount;
mod rows;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Shared;
use crate::command::outcome::Outcome;
use crate::command::store::{Next, Store, Table};
pub(super) use audit::{Audit, audit, top_items};
use keeper::Keeper;

/// The dashboard looks for events so often: rows come in batches then, and alerts have the processors when they need them.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The two tables.
pub(super) struct Dashboard {
    items: Table,
    users: Table,
}

impl Dashboard {
    pub(super) fn create(store: &Store) -> Outcome<Self> {
        let items = store.create_table("items", rows::items_table())?;
        let users = store.create_table("users", rows::users_table())?;
        Ok(Dashboard { items, users })
    }

    /// Keeps the tables while `clicks` grows. Returns how long after they were sent events were on the dashboard, durably.
    pub(super) fn keep(&self, clicks: &Table, shared: &Shared) -> Outcome<Histogram<u64>> {
        let mut scanner = clicks.scan().columns(&happened::COLUMNS).follow(true).build()?;
        let mut keeper = Keeper::new(self)?;
        let (mut rows, mut last_row) = (0, Instant::now());
        while !shared.is_over(rows, last_row) {
            match scanner.next_within(Some(Duration::ZERO))? {
                Next::Batch(found) => {
                    rows += found.batch.num_rows() as u64;
                    keeper.take(found.bucket, &found.batch)?;
                    last_row = Instant::now();
                }
                Next::Waiting | Next::End => {
                    keeper.write()?;
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
        }
        keeper.write()?;
        Ok(keeper.finish())
    }
}
