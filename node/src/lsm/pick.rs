//! Which runs to merge next: universal compaction.
//!
//! A pure function of sizes; what it calls a run is a level, of one file or several (see `sections`). Invariants: only neighbours are merged, so that runs stay in the order of their age; a pick leaves fewer runs.

use std::ops::Range;

/// When runs are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Runs from which on some are merged.
    pub trigger: usize,
    /// An older run is merged with newer ones when it has at most so many times their bytes.
    pub ratio: u64,
    /// Bytes of a file of merged rows, about: more become several files, with other keys each.
    pub file_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { trigger: 8, ratio: 2, file_bytes: 256 << 20 }
    }
}

/// The runs to merge, by their place among `bytes` (older ones first); `None` when all is well.
///
/// At least half of the runs are taken: to force the number down by the newest two alone would write the newer one of them again with each flush.
pub fn pick(rules: &Rules, bytes: &[u64]) -> Option<Range<usize>> {
    if bytes.len() < rules.trigger.max(2) {
        return None;
    }
    let least = (rules.trigger / 2).max(2);
    let mut start = bytes.len() - 1;
    let mut taken = bytes[start];
    while start > 0 && (bytes.len() - start < least || bytes[start - 1] <= taken.saturating_mul(rules.ratio)) {
        start -= 1;
        taken += bytes[start];
    }
    Some(start..bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_stay_few_and_each_byte_is_written_seldom(sizes in proptest::collection::vec(1_u64..100, 1..400)) {
            let rules = Rules::default();
            let (mut runs, mut written, mut flushed): (Vec<u64>, u64, u64) = Default::default();
            for size in sizes {
                runs.push(size);
                flushed += size;
                while let Some(picked) = pick(&rules, &runs) {
                    prop_assert!(picked.len() >= 2 && picked.end == runs.len());
                    let merged: u64 = runs[picked.clone()].iter().sum();
                    written += merged;
                    runs.splice(picked, [merged]);
                }
                prop_assert!(runs.len() < rules.trigger);
            }
            let logarithm = 64 - flushed.leading_zeros() as u64;
            prop_assert!(written <= flushed * (logarithm), "{written} bytes written for {flushed}");
        }
    }

    #[test]
    fn few_runs_are_left_alone() {
        assert_eq!(pick(&Rules::default(), &[]), None);
        assert_eq!(pick(&Rules::default(), &[1, 2, 3, 4, 5, 6, 7]), None);
    }

    #[test]
    fn a_large_old_run_is_spared() {
        assert_eq!(pick(&Rules::default(), &[10_000, 10, 10, 10, 10, 10, 10, 10]), Some(1..8));
        assert_eq!(pick(&Rules::default(), &[10; 8]), Some(0..8));
    }
}
