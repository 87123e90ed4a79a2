//! Runs of which a key is in one at most: see `sections`.
//!
//! Invariants: no run is empty; they stand in the order of their keys. This module knows nothing of other levels.

use std::ops::Range;
use std::sync::Arc;

use super::pick::Size;
use super::run::{Run, key_bytes};
use super::sections::{self, Span};
use crate::table::key::Keys;

/// See the head of this module.
#[derive(Clone)]
pub struct Level {
    runs: Vec<Arc<Run>>,
}

impl Level {
    /// Of one run.
    pub fn one(run: &Arc<Run>) -> Self {
        Level { runs: vec![run.clone()] }
    }

    /// Runs that were found to have no key in common.
    pub(super) fn of(runs: &[Arc<Run>]) -> Self {
        let mut runs = runs.to_vec();
        runs.sort_by(|left, right| left.index().first_key(0).cmp(right.index().first_key(0)));
        let are_apart = runs.windows(2).all(|pair| pair[0].index().last_key() < pair[1].index().first_key(0));
        assert!(are_apart, "runs of a level have no key in common");
        Level { runs }
    }

    /// The levels of runs, which are given with older ones first.
    pub fn all(runs: &[Arc<Run>], file_bytes: u64) -> Vec<Level> {
        sections::levels(&spans(runs), file_bytes).into_iter().map(|level| Level::of(&runs[level])).collect()
    }

    /// Its runs, by key.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// What they have together.
    pub fn size(&self) -> Size {
        self.runs.iter().map(|run| run.size()).sum()
    }

    /// Whether one of them was found damaged.
    pub fn is_damaged(&self) -> bool {
        self.runs.iter().any(|run| run.is_damaged())
    }

    /// Some of `keys`, in order, by the run that may have them: each run, and which of `wanted` these are.
    pub(super) fn shares(&self, keys: &Keys, wanted: &[u32]) -> Vec<(&Run, Range<usize>)> {
        let (mut start, mut shares) = (0, Vec::with_capacity(self.runs.len()));
        for run in &self.runs {
            let (last, mut number) = (run.index().last_key(), [0; 8]);
            let is_within = |key: &u32| key_bytes(keys.get(*key as usize), &mut number) <= last;
            let end = start + wanted[start..].partition_point(is_within);
            if end > start {
                shares.push((&**run, start..end));
            }
            start = end;
        }
        shares
    }
}

/// What is known of runs.
pub(super) fn spans(runs: &[Arc<Run>]) -> Vec<Span<'_>> {
    runs.iter().map(|run| Span { first: run.index().first_key(0), last: run.index().last_key(), bytes: run.meta().bytes() }).collect()
}
