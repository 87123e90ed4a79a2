//! Which levels to merge next: universal compaction.
//!
//! A pure function of sizes. Invariants: only neighbours are merged, so that levels stay in the order of their age; a pick leaves fewer levels. This module knows
//! nothing of what levels are made of (see `sections`).

use std::ops::Range;

/// When levels are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Levels from which on some are merged.
    pub trigger: usize,
    /// An older level is merged with newer ones when it has at most so many times their bytes.
    pub ratio: u64,
    /// All are merged when newer ones together have more than so many times the bytes of the oldest: about so many times what is needed may be stored.
    pub amplification: u64,
    /// All are merged when newer ones delete one in so many rows of the oldest.
    pub deleted_part: u64,
    /// Bytes of a file of merged rows, about: more become several files, with other keys each.
    pub file_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { trigger: 8, ratio: 2, amplification: 2, deleted_part: 2, file_bytes: 256 << 20 }
    }
}

/// What is known of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Rows that say that their key is gone.
    pub deletes: u64,
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        let add = |sum: Size, size: Size| Size {
            bytes: sum.bytes.saturating_add(size.bytes),
            rows: sum.rows.saturating_add(size.rows),
            deletes: sum.deletes.saturating_add(size.deletes),
        };
        sizes.fold(Size::default(), add)
    }
}

/// What is merged as a whole: a level, or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// How many runs it has.
    pub runs: usize,
    /// Whether one of them was found damaged.
    pub is_damaged: bool,
    /// What it has.
    pub size: Size,
}

/// The runs to merge next, by their place among those of `units` (older ones first): whole units. Only what is newer than one that was found damaged is merged: what has
/// that one would be given up at its end, again and again.
pub fn picked_runs(rules: &Rules, units: &[Unit]) -> Option<Range<usize>> {
    let first = units.iter().rposition(|unit| unit.is_damaged).map_or(0, |damaged| damaged + 1);
    let sizes: Vec<Size> = units[first..].iter().map(|unit| unit.size).collect();
    let start = |unit: usize| units[..unit].iter().map(|unit| unit.runs).sum();
    pick(rules, &sizes).map(|picked| start(first + picked.start)..start(first + picked.end))
}

/// The levels to merge, by their place among `sizes` (older ones first); `None` when all is well.
pub fn pick(rules: &Rules, sizes: &[Size]) -> Option<Range<usize>> {
    if wastes_space(rules, sizes) {
        return Some(0..sizes.len());
    }
    if sizes.len() < rules.trigger.max(2) {
        return None;
    }
    // At least half of them: to force the number down by the newest two alone would write the newer one of them again with each flush.
    let least = (rules.trigger / 2).max(2);
    let mut start = sizes.len() - 1;
    let mut taken = sizes[start].bytes;
    while start > 0 && (sizes.len() - start < least || sizes[start - 1].bytes <= taken.saturating_mul(rules.ratio)) {
        start -= 1;
        taken = taken.saturating_add(sizes[start].bytes);
    }
    Some(start..sizes.len())
}

/// Whether much of what is stored is rows that newer ones have replaced or deleted.
fn wastes_space(rules: &Rules, sizes: &[Size]) -> bool {
    let Some((oldest, newer)) = sizes.split_first() else { return false };
    let newer: Size = newer.iter().copied().sum();
    newer.bytes > oldest.bytes.saturating_mul(rules.amplification)
        || newer.deletes > 0 && newer.deletes.saturating_mul(rules.deleted_part) >= oldest.rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(bytes: &[u64]) -> Vec<Size> {
        bytes.iter().map(|bytes| Size { bytes: *bytes, rows: *bytes, deletes: 0 }).collect()
    }

    fn picked(bytes: &[u64]) -> Option<Range<usize>> {
        pick(&Rules::default(), &sizes(bytes))
    }

    /// Merges what is picked until nothing is; how many levels are left behind the last damaged one. `left` says how much of what is merged comes out, in percent.
    fn settled(rules: &Rules, mut units: Vec<Unit>, left: u64) -> Vec<Unit> {
        let begun = units.len();
        for merges in 0.. {
            assert!(merges <= begun, "{units:?} after {merges} merges");
            let damaged: usize = units.iter().rposition(|unit| unit.is_damaged).map_or(0, |damaged| damaged + 1);
            let Some(picked) = picked_runs(rules, &units) else { return units.split_off(damaged) };
            let mut ends: Vec<usize> = units.iter().scan(0, |end, unit| (*end += unit.runs, Some(*end)).1).collect();
            ends.insert(0, 0);
            let unit_at = |run: usize| ends.iter().position(|end| *end == run).expect("whole units are picked");
            let (from, to) = (unit_at(picked.start), unit_at(picked.end));
            assert!(from >= damaged && to == units.len() && to - from >= 2, "{picked:?} of {units:?}");
            let merged: Size = units[from..].iter().map(|unit| unit.size).sum();
            let part = |of: u64| of / 100 * left + of % 100 * left / 100;
            let deletes = if from == 0 { 0 } else { merged.deletes };
            let size = Size { bytes: part(merged.bytes), rows: part(merged.rows).max(deletes), deletes };
            units.splice(from.., (size.bytes > 0).then_some(Unit { runs: 1 + merges % 3, is_damaged: false, size }));
        }
        unreachable!("it returns")
    }

    proptest! {
        #[test]
        fn merges_come_to_an_end_whatever_is_there_and_leave_what_is_damaged(
            units in proptest::collection::vec((1_usize..5, 0_u8..8, 0_u32..64, any::<u64>(), 0_u64..5), 0..40),
            trigger in 0_usize..12,
            factors in (0_u64..4, 0_u64..4, 0_u64..4),
            left in 0_u64..=100,
        ) {
            let rules = Rules { trigger, ratio: factors.0, amplification: factors.1, deleted_part: factors.2, ..Rules::default() };
            let unit = |(runs, damage, scale, bytes, deleted): (usize, u8, u32, u64, u64)| {
                let bytes = bytes >> scale;
                Unit { runs, is_damaged: damage == 0, size: Size { bytes, rows: bytes, deletes: bytes / 4 * deleted } }
            };
            let levels = settled(&rules, units.into_iter().map(unit).collect(), left);
            prop_assert!(levels.len() < trigger.max(2));
            let newer: Size = levels.iter().skip(1).map(|unit| unit.size).sum();
            let oldest = levels.first().map(|unit| unit.size).unwrap_or_default();
            prop_assert!(newer.bytes <= oldest.bytes.saturating_mul(factors.1), "{levels:?}");
            prop_assert!(newer.deletes == 0 || newer.deletes.saturating_mul(factors.2) < oldest.rows, "{levels:?}");
        }

        #[test]
        fn levels_stay_few_and_each_byte_is_written_seldom(flushes in proptest::collection::vec((1_u64..100, 0_u64..4), 1..400)) {
            let rules = Rules::default();
            let (mut levels, mut written, mut flushed): (Vec<Size>, u64, u64) = Default::default();
            for (bytes, part) in flushes {
                levels.push(Size { bytes, rows: bytes, deletes: bytes * part / 4 });
                flushed += bytes;
                while let Some(picked) = pick(&rules, &levels) {
                    prop_assert!(picked.len() >= 2 && picked.end == levels.len());
                    let merged: Size = levels[picked.clone()].iter().copied().sum();
                    written += merged.bytes;
                    // What is deleted goes with its delete where nothing older is left.
                    let gone = if picked.start == 0 { merged.deletes.min(merged.rows / 2) } else { 0 };
                    let (rows, deletes) = (merged.rows - 2 * gone, if picked.start == 0 { 0 } else { merged.deletes });
                    let left = (rows > 0).then_some(Size { bytes: rows, rows, deletes });
                    levels.splice(picked, left);
                }
                prop_assert!(levels.len() < rules.trigger);
                let newer: Size = levels.iter().skip(1).copied().sum();
                let oldest = levels.first().copied().unwrap_or_default();
                prop_assert!(newer.bytes <= 2 * oldest.bytes && (newer.deletes == 0 || 2 * newer.deletes < oldest.rows), "{levels:?}");
            }
            let logarithm = 64 - flushed.leading_zeros() as u64;
            prop_assert!(written <= flushed * (logarithm + 3), "{written} bytes written for {flushed}");
        }
    }

    #[test]
    fn few_levels_are_left_alone() {
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[1]), None);
        assert_eq!(picked(&[20, 7, 6, 5, 4, 3, 2]), None);
    }

    #[test]
    fn a_large_old_level_is_spared() {
        assert_eq!(picked(&[10_000, 10, 10, 10, 10, 10, 10, 10]), Some(1..8));
        assert_eq!(picked(&[40, 10, 10, 10, 10, 10, 10, 10]), Some(0..8));
    }

    #[test]
    fn what_was_replaced_or_deleted_goes_in_time() {
        assert_eq!(picked(&[10, 10, 10]), None);
        assert_eq!(picked(&[10, 10, 11]), Some(0..3), "newer levels have more than twice the bytes");
        let deletes = |deletes| [Size { bytes: 10_000, rows: 100, deletes: 0 }, Size { bytes: 10, rows: 60, deletes }];
        assert_eq!(pick(&Rules::default(), &deletes(49)), None);
        assert_eq!(pick(&Rules::default(), &deletes(50)), Some(0..2), "half of the rows are gone");
    }
}
