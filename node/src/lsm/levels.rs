//! What a bucket's tree consists of at one moment: some memtables and some runs.
//!
//! Invariants: it never changes; both lists are older ones first, and all memtables are newer than all runs; rows of the log before `flushed_to` are in the runs.

use std::sync::Arc;

use super::memtable::Memtable;
use super::run::Run;

/// See the head of this module.
#[derive(Clone)]
pub struct Levels {
    /// Older ones first; the last takes new rows.
    pub memtables: Vec<Arc<Memtable>>,
    /// Older ones first.
    pub runs: Vec<Arc<Run>>,
    /// Offset in the log up to which rows are in the runs.
    pub flushed_to: u64,
}

impl Levels {
    /// No runs, and one memtable that goes on at an offset.
    pub fn new(runs: Vec<Arc<Run>>, flushed_to: u64) -> Self {
        Levels { memtables: vec![Arc::new(Memtable::new(flushed_to))], runs, flushed_to }
    }

    /// The memtable that takes new rows.
    pub fn active(&self) -> &Arc<Memtable> {
        self.memtables.last().expect("one takes new rows")
    }

    /// With a fresh memtable; the one before takes no more rows.
    pub fn rotated(&self) -> Levels {
        let mut next = self.clone();
        next.memtables.push(Arc::new(Memtable::new(self.active().end_offset())));
        next
    }

    /// With the oldest memtable replaced by a run of its rows, or by nothing when all of them came to nothing.
    pub fn flushed(&self, run: Option<Arc<Run>>) -> Levels {
        let mut next = self.clone();
        assert!(next.memtables.len() > 1, "the active memtable is not flushed");
        let oldest = next.memtables.remove(0);
        next.flushed_to = oldest.end_offset();
        next.runs.extend(run);
        next
    }

    /// With a stretch of runs replaced by what they were merged to.
    pub fn compacted(&self, replaced: &[u64], run: Option<Arc<Run>>) -> Levels {
        let mut next = self.clone();
        let at = next.runs.iter().position(|known| known.meta().id == replaced[0]).expect("runs that were merged are there");
        let same = next.runs[at..at + replaced.len()].iter().map(|run| run.meta().id).eq(replaced.iter().copied());
        assert!(same, "runs that are merged stand together");
        next.runs.splice(at..at + replaced.len(), run);
        next
    }

    /// Bytes of all memtables.
    pub fn memory_bytes(&self) -> usize {
        self.memtables.iter().map(|memtable| memtable.bytes()).sum()
    }

    /// Bytes of those that take no more rows.
    pub fn waiting_bytes(&self) -> usize {
        self.memtables[..self.memtables.len() - 1].iter().map(|memtable| memtable.bytes()).sum()
    }
}
