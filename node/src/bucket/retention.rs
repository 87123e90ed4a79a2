//! What a bucket's retention no longer keeps, and dropping it.
//!
//! Invariants: whole sealed segments go, the oldest first; the start moves in the manifest, then in the view, then in the commit page.
//! This module knows nothing of when that is done, or what becomes of the files.

use std::path::Path;

use super::manifest::{Edit, FILE_NAME, State};
use super::resources::Resources;
use super::{Bucket, SegmentPolicy, ledger};
use crate::error::Result;

/// Segments at the start of a log that may go.
struct Expired {
    segment_ids: Vec<u64>,
    /// Offset behind their last row.
    end_offset: u64,
    bytes: u64,
}

impl SegmentPolicy {
    /// Whether anything is ever dropped.
    pub fn has_retention(&self) -> bool {
        self.retention_ms.is_some() || self.retention_bytes.is_some()
    }

    fn expired(&self, state: &State, now_ms: i64) -> Expired {
        let mut held: u64 = state.sealed.iter().map(|segment| segment.bytes).sum();
        let mut expired = Expired { segment_ids: Vec::new(), end_offset: state.start_offset, bytes: 0 };
        for segment in &state.sealed {
            let too_old = self.retention_ms.is_some_and(|keep| segment.timestamps_ms.1.saturating_add_unsigned(keep) < now_ms);
            let too_many = self.retention_bytes.is_some_and(|keep| held > keep);
            // What only the log has of a tree stays.
            let is_needed = self.has_tree && segment.end_offset > state.flushed_to;
            if is_needed || (!too_old && !too_many) {
                break;
            }
            held -= segment.bytes;
            expired.bytes += segment.bytes;
            expired.end_offset = segment.end_offset;
            expired.segment_ids.push(segment.segment_id);
        }
        expired
    }
}

/// Whether opening the bucket in this directory for [`Bucket::retain`] is worth while, by its manifest alone.
pub fn has_expired(resources: &Resources, dir: &Path, policy: &SegmentPolicy, now_ms: i64) -> Result<bool> {
    let folded = ledger::read::<State>(&*resources.driver, &resources.pool, &dir.join(FILE_NAME))?;
    Ok(folded.is_some_and(|folded| !policy.expired(&folded.state, now_ms).segment_ids.is_empty()))
}

impl Bucket {
    /// Drops sealed segments that the table's retention no longer keeps. Returns rows and bytes that went; none in a damaged log.
    pub fn retain(&self, now_ms: i64) -> Result<(u64, u64)> {
        if self.view().damage().is_some() {
            return Ok((0, 0));
        }
        let _one_at_a_time = self.upkeep.lock();
        let policy = *self.policy.lock();
        let (start_offset, expired) = {
            let manifest = self.manifest.lock();
            (manifest.state().start_offset, policy.expired(manifest.state(), now_ms))
        };
        let Expired { segment_ids, end_offset, bytes } = expired;
        if segment_ids.is_empty() {
            return Ok((0, 0));
        }
        self.settle()?;
        self.edit(Edit::Trimmed { start_offset: end_offset, segment_ids })?;
        let dropped = self.view().trim(end_offset);
        self.show();
        self.dropped.lock().extend(dropped);
        self.resources.page.notify(self.address.table_slot);
        Ok((end_offset - start_offset, bytes))
    }
}
