//! The truth about one bucket: which segments it has and where its log starts.
//!
//! Invariants: sealed segments follow each other without a gap, from where the log starts; a segment is prepared before it is sealed; ids stand once; no number
//! overflows; what a newer program added is refused, because it would be lost when the edits are folded.
//! `ledger` keeps the edits; docs/format/manifest.md has the bytes. This module knows nothing of what segments hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, LedgerState};
use crate::error::{Error, Result};
use crate::log::segment::Sealed;
use crate::lsm::run::RunMeta;

/// The manifest of a bucket.
pub type Manifest = Ledger<State>;

/// Name of the file in the bucket's directory.
pub const FILE_NAME: &str = "manifest";

/// No row that a manifest tells of has this offset or a larger one: what comes behind does not overflow either.
pub const OFFSETS_END: u64 = 1 << 62;

/// One edit, or several that hold together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// A file stands ready to take frames.
    Prepared {
        /// Its id.
        segment_id: u64,
        /// Bytes that it can take.
        bytes: u64,
    },
    /// A segment is full and durable.
    Sealed {
        /// Its id.
        segment_id: u64,
        /// Offset of its first row.
        base_offset: u64,
        /// Offset behind its last row.
        end_offset: u64,
        /// Bytes of frames.
        bytes: u64,
        /// Smallest and largest commit time, in milliseconds.
        timestamps_ms: (i64, i64),
    },
    /// The log starts at `offset`; these segments are gone.
    Trimmed {
        /// Offset of the oldest row that can be read.
        start_offset: u64,
        /// Gone.
        segment_ids: Vec<u64>,
    },
    /// Rows of the log before `flushed_to` are in runs.
    Flushed {
        /// Those that no run had before; `None` when nothing came of them.
        run: Option<RunMeta>,
        /// Where the rest of the log begins.
        flushed_to: u64,
    },
    /// Runs that stand together were merged.
    Compacted {
        /// What they were, older ones first.
        run_ids: Vec<u64>,
        /// What stands in their place: runs with other keys each, some of which may be the same as before.
        runs: Vec<RunMeta>,
    },
    /// The runs as they are now are kept for a snapshot.
    Kept {
        /// Its number in the table.
        snapshot_id: u64,
        /// Offset in the log up to which these runs have rows.
        end_offset: u64,
    },
    /// Nothing is kept any more for these snapshots.
    Released {
        /// Their numbers.
        snapshot_ids: Vec<u64>,
    },
    /// Everything before this edit, folded.
    Folded(State),
}

/// What a bucket keeps for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRuns {
    /// Older ones first.
    pub runs: Vec<RunMeta>,
    /// Offset in the log up to which they have rows.
    pub end_offset: u64,
}

/// A sealed segment in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSegment {
    /// Its id.
    pub segment_id: u64,
    /// Offset of its first row.
    pub base_offset: u64,
    /// Offset behind its last row.
    pub end_offset: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Smallest and largest commit time, in milliseconds.
    pub timestamps_ms: (i64, i64),
}

impl SealedSegment {
    /// As the log sees it.
    pub fn sealed(&self) -> Sealed {
        Sealed { end_offset: self.end_offset, bytes: self.bytes, timestamps_ms: self.timestamps_ms }
    }
}

/// What the edits add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Offset of the oldest row that can be read.
    pub start_offset: u64,
    /// By offset.
    pub sealed: Vec<SealedSegment>,
    /// Prepared or in use, by id, with the bytes of the file.
    pub open: BTreeMap<u64, u64>,
    /// Runs of the tree, older ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunMeta>,
    /// Offset in the log up to which rows are in runs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flushed_to: u64,
    /// By the number of the snapshot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<u64, KeptRuns>,
    /// While no segment is sealed: the last that was, and is gone. The file of its directory stays, because it alone remembers who wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_dropped: Option<u64>,
}

fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

impl LedgerState for State {
    type Edit = Edit;

    const KIND: u16 = 1;

    fn folded(&self) -> Edit {
        Edit::Folded(self.clone())
    }

    fn apply(&mut self, edit: Edit) -> Result<()> {
        match edit {
            Edit::Folded(state) => {
                check::state(&state)?;
                *self = state;
            }
            Edit::Prepared { segment_id, bytes } => {
                check::bytes(segment_id, 0, bytes)?;
                let is_known = self.open.contains_key(&segment_id) || self.sealed.iter().any(|segment| segment.segment_id == segment_id);
                check::within(!is_known, "a segment was prepared twice").map_err(|error| error.at("segment", format!("{segment_id:x}")))?;
                self.open.insert(segment_id, bytes);
            }
            Edit::Sealed { segment_id, base_offset, end_offset, bytes, timestamps_ms } => {
                let file_bytes = self.open.remove(&segment_id).ok_or_else(|| unknown(segment_id))?;
                check::rows(segment_id, base_offset..end_offset, self.sealed_end())?;
                check::bytes(segment_id, bytes, file_bytes)?;
                self.last_dropped = None;
                self.sealed.push(SealedSegment { segment_id, base_offset, end_offset, bytes, file_bytes, timestamps_ms });
            }
            Edit::Trimmed { start_offset, segment_ids } => self.trim(start_offset, &segment_ids)?,
            Edit::Flushed { run, flushed_to } => {
                check::within(flushed_to >= self.flushed_to, "a flush ends before the one before it")
                    .and_then(|()| check::offset(flushed_to))
                    .map_err(|error| error.at("offset", flushed_to))?;
                if let Some(run) = run {
                    check::run(&run)?;
                    check::within(!self.has_run(run.id), "a run stands twice").map_err(|error| error.at("run", format!("{:x}", run.id)))?;
                    self.runs.push(run);
                }
                self.flushed_to = flushed_to;
            }
            Edit::Compacted { run_ids, runs } => self.compact(&run_ids, runs)?,
            Edit::Kept { snapshot_id, end_offset } => {
                if end_offset != self.flushed_to {
                    return Err(Error::corrupt("a snapshot ends elsewhere than the runs that are kept for it").at("snapshot", snapshot_id));
                }
                self.kept.insert(snapshot_id, KeptRuns { runs: self.runs.clone(), end_offset });
            }
            Edit::Released { snapshot_ids } => self.kept.retain(|id, _| !snapshot_ids.contains(id)),
        }
        Ok(())
    }
}

impl State {
    /// Drops the first sealed segments: the log starts where the last of them ends.
    fn trim(&mut self, start_offset: u64, segment_ids: &[u64]) -> Result<()> {
        let count = segment_ids.len();
        let dropped = self.sealed.get(..count).filter(|dropped| dropped.iter().map(|segment| &segment.segment_id).eq(segment_ids));
        let Some(last) = dropped.and_then(|dropped| dropped.last()).filter(|last| last.end_offset == start_offset) else {
            return Err(Error::corrupt("a log starts elsewhere than behind the segments that went").at("offset", start_offset));
        };
        if count == self.sealed.len() {
            self.last_dropped = Some(last.segment_id);
        }
        self.sealed.drain(..count);
        self.start_offset = start_offset;
        Ok(())
    }

    fn compact(&mut self, run_ids: &[u64], runs: Vec<RunMeta>) -> Result<()> {
        let stand = |at: usize| self.runs.get(at..at + run_ids.len()).is_some_and(|runs| runs.iter().map(|run| &run.id).eq(run_ids));
        let first = self.runs.iter().position(|known| Some(&known.id) == run_ids.first());
        let Some(at) = first.filter(|at| stand(*at)) else {
            return Err(Error::corrupt("runs were merged that do not stand together").at("runs", format!("{run_ids:x?}")));
        };
        self.runs.splice(at..at + run_ids.len(), runs);
        check::runs(&self.runs)
    }

    /// Whether the tree or a snapshot has a run.
    pub fn has_run(&self, id: u64) -> bool {
        self.runs.iter().any(|run| run.id == id) || self.keeps_run(id)
    }

    /// Whether a snapshot has a run.
    pub fn keeps_run(&self, id: u64) -> bool {
        self.kept.values().any(|kept| kept.runs.iter().any(|run| run.id == id))
    }

    /// Whether the file of this segment's directory is of use.
    pub fn keeps_index(&self, segment_id: u64) -> bool {
        self.last_dropped == Some(segment_id) || self.sealed.iter().any(|segment| segment.segment_id == segment_id)
    }

    /// Offset behind the last sealed segment.
    pub fn sealed_end(&self) -> u64 {
        self.sealed.last().map_or(self.start_offset, |last| last.end_offset)
    }
}

fn unknown(segment_id: u64) -> Error {
    Error::corrupt(format!("segment {segment_id:x} was sealed but never prepared"))
}

mod check;
#[cfg(test)]
mod tests;
