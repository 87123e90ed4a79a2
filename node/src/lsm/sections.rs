//! Which runs count as one, and what a compaction does with each run: it is merged with others, or moved as it is.
//!
//! Pure functions of key ranges and sizes. Runs that stand together and have no key in common are one level: a key is in one of them at most, whatever their
//! number. So runs whose keys come in order (numbers that grow, times) are written once and then stay as they are. Small ones are the exception: two of them
//! that follow each other by key count as two levels, until they are merged. Invariant: what a compaction makes of several levels is one level, so there are
//! fewer after each.

use std::ops::Range;

/// What is known of a run.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Its smallest key.
    pub first: &'a [u8],
    /// Its largest key.
    pub last: &'a [u8],
    /// Bytes of it.
    pub bytes: u64,
}

/// What becomes of some runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// One that stays as it is, by its place.
    Moved(usize),
    /// Some that are merged: their places, by key.
    Merged(Vec<usize>),
}

/// Whether a run has so few bytes that it is merged with a neighbour though it has no key in common with it. Files of runs have `file_bytes`, about.
fn is_small(span: &Span<'_>, file_bytes: u64) -> bool {
    span.bytes < file_bytes / 2
}

/// Cuts runs, older ones first, into levels.
pub fn levels(spans: &[Span<'_>], file_bytes: u64) -> Vec<Range<usize>> {
    let mut levels: Vec<Range<usize>> = Vec::new();
    // Those of the last level, by key.
    let mut by_key: Vec<&Span<'_>> = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        let place = by_key.partition_point(|known| known.first < span.first);
        let (before, behind) = (place.checked_sub(1).map(|place| by_key[place]), by_key.get(place));
        let is_apart = before.is_none_or(|before| before.last < span.first) && behind.is_none_or(|behind| span.last < behind.first);
        let is_lone = !is_small(span, file_bytes) || before.into_iter().chain(behind.copied()).all(|near| !is_small(near, file_bytes));
        match levels.last_mut().filter(|_| is_apart && is_lone) {
            Some(level) => {
                level.end = at + 1;
                by_key.insert(place, span);
            }
            None => {
                levels.push(at..at + 1);
                by_key = vec![span];
            }
        }
    }
    levels
}

/// What a compaction does with runs, in the order of their keys. `may_move` says of each whether it may stay as it is.
pub fn parts(spans: &[Span<'_>], may_move: impl Fn(usize) -> bool, file_bytes: u64) -> Vec<Part> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|at| spans[*at].first);
    let mut parts = Vec::new();
    let mut gathered: Vec<usize> = Vec::new();
    let end = |gathered: &mut Vec<usize>, parts: &mut Vec<Part>| match gathered[..] {
        [] => {}
        [alone] if may_move(alone) => parts.push(Part::Moved(alone)),
        _ => parts.push(Part::Merged(gathered.clone())),
    };
    let mut rest = &order[..];
    while !rest.is_empty() {
        let (section, others) = rest.split_at(section_end(spans, rest));
        rest = others;
        match section {
            [alone] if may_move(*alone) && !is_small(&spans[*alone], file_bytes) => {
                end(&mut gathered, &mut parts);
                gathered.clear();
                parts.push(Part::Moved(*alone));
            }
            _ => gathered.extend(section),
        }
    }
    end(&mut gathered, &mut parts);
    parts
}

/// How many of these runs, which are in the order of their first keys, hang together with the first one by keys that lie in two of them.
fn section_end(spans: &[Span<'_>], order: &[usize]) -> usize {
    let mut last = spans[order[0]].last;
    let mut count = 1;
    while count < order.len() && spans[order[count]].first <= last {
        last = last.max(spans[order[count]].last);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First and last key, and bytes.
    type Known = (u8, u8, u64);

    const FILE_BYTES: u64 = 100;

    fn spans(runs: &[([u8; 2], u64)]) -> Vec<Span<'_>> {
        runs.iter().map(|(keys, bytes)| Span { first: &keys[..1], last: &keys[1..], bytes: *bytes }).collect()
    }

    fn of(known: &[Known]) -> Vec<([u8; 2], u64)> {
        known.iter().map(|(from, to, bytes)| ([*from.min(to), *from.max(to)], *bytes)).collect()
    }

    fn levels_of(known: &[Known]) -> Vec<Range<usize>> {
        levels(&spans(&of(known)), FILE_BYTES)
    }

    fn counts_of(known: &[Known]) -> Vec<usize> {
        levels_of(known).iter().map(Range::len).collect()
    }

    fn parts_of(known: &[Known]) -> Vec<Part> {
        parts(&spans(&of(known)), |_| true, FILE_BYTES)
    }

    #[test]
    fn large_runs_with_other_keys_are_one_level() {
        assert_eq!(counts_of(&[(0, 9, 100), (20, 29, 100), (10, 19, 100)]), [3]);
        assert_eq!(counts_of(&[(0, 9, 100), (9, 29, 100)]), [1, 1], "they have key 9 in common");
        assert_eq!(counts_of(&[(0, 50, 100), (20, 29, 100)]), [1, 1], "one lies within the other");
        assert_eq!(counts_of(&[(20, 29, 100), (0, 50, 100)]), [1, 1], "one lies around the other");
    }

    #[test]
    fn small_runs_side_by_side_are_levels_of_their_own() {
        assert_eq!(counts_of(&[(0, 9, 1), (10, 19, 1)]), [1, 1]);
        assert_eq!(counts_of(&[(0, 9, 1), (10, 19, 100), (20, 29, 1)]), [3], "a large one lies between them");
    }

    #[test]
    fn what_overlaps_nothing_is_moved() {
        let merged = |places: &[usize]| Part::Merged(places.to_vec());
        assert_eq!(parts_of(&[(0, 9, 100), (20, 29, 100), (25, 40, 10)]), [Part::Moved(0), merged(&[1, 2])]);
        assert_eq!(parts_of(&[(20, 29, 3), (0, 9, 3), (10, 19, 100)]), [Part::Moved(1), Part::Moved(2), Part::Moved(0)]);
        assert_eq!(parts_of(&[(20, 29, 3), (30, 39, 3)]), [merged(&[0, 1])], "small ones become one");
        assert_eq!(parts_of(&[(0, 50, 100), (10, 19, 100), (20, 29, 100)]), [merged(&[0, 1, 2])]);
        let kept = of(&[(0, 9, 100)]);
        assert_eq!(parts(&spans(&kept), |_| false, FILE_BYTES), [merged(&[0])], "it may not be moved");
    }

    /// Runs as a compaction would leave them: what is merged becomes files of the right size, cut anywhere.
    fn compacted(known: &[Known], parts: &[Part]) -> Vec<Known> {
        let mut made = Vec::new();
        for part in parts {
            match part {
                Part::Moved(at) => made.push(known[*at]),
                Part::Merged(places) => {
                    let from = places.iter().map(|at| known[*at].0).min().unwrap();
                    let to = places.iter().map(|at| known[*at].1).max().unwrap();
                    let bytes: u64 = places.iter().map(|at| known[*at].2).sum();
                    let files = (bytes / FILE_BYTES).clamp(1, u64::from(to - from) + 1) as u8;
                    let keys = (to - from + 1) / files;
                    let mut left = bytes;
                    for file in 0..files {
                        let is_last = file + 1 == files;
                        let start = from + file * keys;
                        let end = if is_last { to } else { start + keys - 1 };
                        let of_file = if is_last { left } else { FILE_BYTES };
                        left -= of_file;
                        made.push((start, end, of_file));
                    }
                }
            }
        }
        made
    }

    proptest! {
        #[test]
        fn levels_are_apart_and_a_compaction_makes_one_of_several(
            runs in proptest::collection::vec((0_u8..100, 0_u8..6, 1_u64..150), 1..40),
            older in 0_usize..40,
        ) {
            let known: Vec<Known> = runs.iter().map(|(from, width, bytes)| (*from, from + width, *bytes)).collect();
            let levels = levels_of(&known);
            prop_assert_eq!(levels.iter().flat_map(Range::clone).collect::<Vec<_>>(), (0..known.len()).collect::<Vec<_>>());
            for level in &levels {
                for (at, one) in level.clone().zip(&known[level.clone()]) {
                    prop_assert!(known[at + 1..level.end].iter().all(|other| one.1 < other.0 || other.1 < one.0));
                }
            }
            let start = levels[older % levels.len()].start;
            let picked = &known[start..];
            let parts = parts_of(picked);
            let mut places: Vec<usize> = Vec::new();
            let mut last = None;
            for part in &parts {
                let of_part = match part { Part::Moved(at) => vec![*at], Part::Merged(places) => places.clone() };
                prop_assert!(of_part.iter().all(|at| last.is_none_or(|last| last < picked[*at].0)), "parts are apart, and ascend");
                last = last.max(of_part.iter().map(|at| picked[*at].1).max());
                places.extend(of_part);
            }
            places.sort_unstable();
            prop_assert_eq!(places, (0..picked.len()).collect::<Vec<_>>());
            let after = [&known[..start], &compacted(picked, &parts)].concat();
            let of_older = levels_of(&known[..start]).len();
            prop_assert!(levels_of(&after).len() <= of_older + 1, "{:?} of {:?}", levels_of(&after), after);
        }
    }
}
