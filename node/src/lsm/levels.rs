//! What a bucket's tree consists of at one moment: some memtables and some runs.
//!
//! Invariants: it never changes; both lists are older ones first, and all memtables are newer than all runs; rows of the log before `flushed_to` are in the runs.
//! Runs that stand together and have no key in common are one level (see `sections`).

use std::ops::Range;
use std::sync::Arc;

use super::level::Level;
use super::memtable::Memtable;
use super::pick::{Rules, Unit, picked_runs};
use super::run::Run;

/// See the head of this module.
#[derive(Clone)]
pub struct Levels {
    /// Older ones first; the last takes new rows.
    pub memtables: Vec<Arc<Memtable>>,
    /// Offset in the log up to which rows are in the runs.
    pub flushed_to: u64,
    runs: Vec<Arc<Run>>,
    levels: Arc<[Level]>,
    rules: Rules,
}

impl Levels {
    /// Some runs, older ones first, and one memtable that goes on at an offset.
    pub fn new(runs: Vec<Arc<Run>>, flushed_to: u64, rules: Rules) -> Self {
        let levels = Level::all(&runs, rules.file_bytes).into();
        Levels { memtables: vec![Arc::new(Memtable::new(flushed_to))], flushed_to, runs, levels, rules }
    }

    /// The runs, older ones first.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// The runs by level, older ones first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// When runs are merged.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The runs to merge next: whole levels; with `each`, every run counts for itself. See [`picked_runs`].
    pub fn picked(&self, each: bool) -> Option<Range<usize>> {
        let of_run = |run: &Arc<Run>| Unit { runs: 1, is_damaged: run.is_damaged(), size: run.size() };
        let of_level = |level: &Level| Unit { runs: level.runs().len(), is_damaged: level.is_damaged(), size: level.size() };
        let units: Vec<Unit> = if each { self.runs.iter().map(of_run).collect() } else { self.levels.iter().map(of_level).collect() };
        picked_runs(&self.rules, &units)
    }

    fn with_runs(mut self, runs: Vec<Arc<Run>>) -> Levels {
        self.levels = Level::all(&runs, self.rules.file_bytes).into();
        self.runs = runs;
        self
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
        let runs = next.runs.iter().cloned().chain(run).collect();
        next.with_runs(runs)
    }

    /// With a stretch of runs replaced by what they were merged to.
    pub fn compacted(&self, replaced: &[u64], made: &[Arc<Run>]) -> Levels {
        let mut runs = self.runs.clone();
        let at = runs.iter().position(|known| known.meta().id == replaced[0]).expect("runs that were merged are there");
        let same = runs[at..at + replaced.len()].iter().map(|run| run.meta().id).eq(replaced.iter().copied());
        assert!(same, "runs that are merged stand together");
        runs.splice(at..at + replaced.len(), made.iter().cloned());
        self.clone().with_runs(runs)
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
