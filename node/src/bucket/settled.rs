//! A bucket to which nobody writes for a while: everything that came to it is in one place.
//!
//! Invariant: whoever calls this keeps new rows away until it is done. This module knows nothing of why.

use std::sync::Arc;

use super::upkeep::Extent;
use super::{Bucket, CLOSING_LOOK};
use crate::error::{Error, Result};
use crate::io::Wait;
use crate::io::sync::{AtomicU32, wait};

impl Bucket {
    /// Waits until no row is on its way to the device.
    ///
    /// # Errors
    /// Why the log takes no rows: what of them is there is not known then; Unavailable when nobody writes what is queued.
    pub fn quiesce(&self) -> Result<()> {
        let nobody = AtomicU32::new(0);
        while self.log.unfinished() != (0, 0) {
            if !self.resources.driver.is_single_threaded() {
                if let Some(reason) = self.resources.calls.why_ended() {
                    return Err(self.here(reason));
                }
                wait(&nobody, 0, Some(CLOSING_LOOK));
                continue;
            }
            let mut pumped = self.resources.pumped.lock();
            let committer = pumped.as_mut().ok_or_else(|| Error::internal("nobody drives the ring"))?;
            if !committer.step(Wait::Completion)? {
                return Err(self.here(Error::internal("rows are on their way and nothing is in flight")));
            }
        }
        match self.log.with_writer(|writer| writer.poison().map(Error::replica)) {
            Some(reason) => Err(self.here(reason)),
            None => Ok(()),
        }
    }

    /// Brings all rows of its tree into runs.
    ///
    /// # Errors
    /// As [`Bucket::quiesce`]; why rows could not be indexed; those of flushes.
    pub fn settle_rows(self: &Arc<Self>) -> Result<()> {
        let Some(tree) = self.tree() else { return Ok(()) };
        self.quiesce()?;
        if let Some(error) = tree.failure() {
            return Err(self.here(error));
        }
        self.flush()
    }

    /// Merges all rows of its tree into one run, whose rows say nothing but that they are there. It is durable also where they were found merged: an earlier open may have failed over
    /// the edit that says so and left it where a power cut takes it, and then the rows would be merged again, in another way.
    ///
    /// # Errors
    /// As [`Bucket::settle_rows`]; those of compactions.
    pub fn merge_all(self: &Arc<Self>) -> Result<()> {
        self.settle_rows()?;
        self.compact_to(Extent::Plain)?;
        let is_unwritten = self.manifest.lock().is_missing();
        if is_unwritten { Ok(()) } else { self.settle() }
    }
}
