//! A scan that follows while the table gets other columns: it goes on in those that it began with, or in those that the table has then.
//!
//! Invariant: rows that were written with newer columns are never shown in older ones by a scan that goes along. Knows nothing of how rows are read.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Origin, ScanBuilder, Scanner};
use crate::error::Result;
use crate::log::cursor::Cursor;
use crate::store::reading::Reading;

/// How a scan goes along with its table.
pub(super) struct Adapting {
    pub(super) filter: Option<String>,
}

impl ScanBuilder {
    /// While following, go on in the columns that the table has got, from the first row on that was written with them: batches have another schema then.
    /// Without this, and where columns are chosen or the filter is of one that is gone, the scan keeps the columns that it began with.
    #[must_use]
    pub fn adapt(mut self, adapt: bool) -> Self {
        self.adapts = adapt;
        self
    }
}

impl Scanner {
    /// Whether the table has other columns now than this scan will ever show: it goes on in those that it began with.
    pub fn is_outdated(&self) -> bool {
        self.adapting.is_none() && self.reading.is_outdated()
    }

    /// Goes on in the columns that the table has now, one bucket at `from` and the others where they are; `false` when it cannot.
    pub(super) fn adapt(&mut self, lane: usize, from: u64) -> Result<bool> {
        let Some(adapting) = &self.adapting else { return Ok(false) };
        let Some(reading) = self.reading.renewed(adapting.filter.as_deref())?.filter(has_names_of_its_own) else {
            self.adapting = None;
            return Ok(false);
        };
        self.reading = Arc::new(reading);
        self.lanes[lane].cursor.seek(from);
        for lane in &mut self.lanes {
            let source = self.table.store.resources.source();
            lane.cursor = Cursor::new(lane.origin.view(), source, self.reading.plan(), lane.cursor.offset());
            if let Origin::Followed(_) = lane.origin {
                lane.cursor.locate();
            }
        }
        Ok(true)
    }
}

/// Whether no column is called as what is told of each row.
fn has_names_of_its_own(reading: &Reading) -> bool {
    let mut seen = HashSet::new();
    reading.schema().fields().iter().all(|field| seen.insert(field.name()))
}
