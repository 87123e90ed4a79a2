//! Rows that have expired are not shown, whether or not a compaction has dropped them.
//!
//! Invariant: what expires is the row that all versions of a key make together, never one of the versions. This module knows nothing of where rows come from.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::lookup::Rows;
use super::table::Table;
use crate::error::{Error, Result};
use crate::table::TableSpec;
use crate::table::expiry::Expiry;

/// Which rows of a table have not expired at one moment.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    expiry: Expiry,
    /// The name of the column that has the time.
    column: String,
    now_ms: i64,
}

impl Alive {
    /// Now, or at the moment that is given; `None` when rows of the table do not expire.
    pub(super) fn of(table: &Table, spec: &TableSpec, now_ms: Option<i64>) -> Result<Option<Alive>> {
        let Some(expiry) = Expiry::of(spec)? else { return Ok(None) };
        let gone = || Error::internal("the column of a table's expiry is gone");
        let column = spec.schema().field(expiry.column()).ok_or_else(gone)?.name.clone();
        let now_ms = now_ms.unwrap_or_else(|| table.store.resources.driver.clock().wall_ms());
        Ok(Some(Alive { expiry, column, now_ms }))
    }

    /// The field id of the column that it needs.
    pub(super) fn column(&self) -> i32 {
        self.expiry.column()
    }

    /// The moment.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Which rows have not expired; `None` when none has.
    pub(super) fn kept(&self, rows: &RecordBatch) -> Option<BooleanArray> {
        rows.column_by_name(&self.column).and_then(|times| self.expiry.kept(times, self.now_ms))
    }

    /// What was found without those that have expired.
    pub(super) fn found(&self, found: Rows) -> Result<Rows> {
        let Some(kept) = self.kept(&found.rows) else { return Ok(found) };
        let mut next = 0;
        let mut place = |place: Option<usize>| {
            let is_kept = place.filter(|place| kept.value(*place));
            is_kept.map(|_| {
                next += 1;
                next - 1
            })
        };
        let places = found.places.into_iter().map(&mut place).collect();
        Ok(Rows { rows: chosen(&found.rows, &kept)?, places })
    }
}

/// Some rows.
pub(super) fn chosen(rows: &RecordBatch, kept: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(rows, kept).map_err(|error| Error::internal("cannot choose rows").caused_by(error))
}
