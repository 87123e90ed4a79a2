//! Stretches of the key space: which keys of a table are wanted.
//!
//! Bounds are bytes that compare as keys do (docs/format/key.md); a key that is a number stands for its eight bytes. Invariants: the ranges of a set ascend, none
//! is empty, and no two have a key in common. A set may hold more keys than were asked for, never fewer. Knows nothing of filters or of where keys are kept.

use std::ops::Range;

use super::key::{KeyRef, Keys};

/// Ranges that a set has at most; neighbours of more are joined, with what is between them.
pub const RANGES_MAX: usize = 1024;

/// Keys from one on up to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// Not less than this; without a byte from the first key on.
    pub from: Vec<u8>,
    /// Less than this; `None` up to the last key.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with these bytes.
    pub fn of_prefix(prefix: Vec<u8>) -> Self {
        let to = successor(&prefix);
        KeyRange { from: prefix, to }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    /// The keys that are in both.
    pub fn intersect(&self, other: &KeyRange) -> KeyRange {
        let to = match (&self.to, &other.to) {
            (Some(left), Some(right)) => Some(left.min(right).clone()),
            (left, right) => left.as_ref().or(right.as_ref()).cloned(),
        };
        KeyRange { from: self.from.clone().max(other.from.clone()), to }
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && self.to.as_ref().is_none_or(|to| key < &to[..])
    }
}

/// The first bytes behind all that begin with these; `None` when nothing is behind them.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRanges(Vec<KeyRange>);

impl KeyRanges {
    /// Every key.
    pub fn all() -> Self {
        KeyRanges(vec![KeyRange::default()])
    }

    /// The keys that are in one of these.
    pub fn of(mut ranges: Vec<KeyRange>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable();
        let mut joined: Vec<KeyRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut().filter(|last| last.to.as_ref().is_none_or(|to| *to > range.from)) {
                Some(last) => extend(last, range.to),
                None => joined.push(range),
            }
        }
        while joined.len() > RANGES_MAX {
            let pairs = joined.chunks(2).map(|pair| KeyRange { from: pair[0].from.clone(), to: pair[pair.len() - 1].to.clone() });
            joined = pairs.collect();
        }
        KeyRanges(joined)
    }

    /// The ranges.
    pub fn ranges(&self) -> &[KeyRange] {
        &self.0
    }

    /// Whether every key is in it.
    pub fn is_all(&self) -> bool {
        matches!(&self.0[..], [only] if *only == KeyRange::default())
    }

    /// Whether no key is in it.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that are in both.
    #[must_use]
    pub fn intersect(&self, other: &KeyRanges) -> KeyRanges {
        if self.is_all() || other.is_all() {
            return if self.is_all() { other.clone() } else { self.clone() };
        }
        let (mut left, mut right, mut both) = (0, 0, Vec::new());
        while let (Some(one), Some(another)) = (self.0.get(left), other.0.get(right)) {
            both.push(one.intersect(another));
            // Whichever ends first has nothing in common with what comes behind the other one.
            let ends_first = match (&one.to, &another.to) {
                (Some(one), Some(another)) => one <= another,
                (one, _) => one.is_some(),
            };
            if ends_first { left += 1 } else { right += 1 }
        }
        KeyRanges::of(both)
    }

    /// The keys that are in one of both.
    #[must_use]
    pub fn unite(&self, other: &KeyRanges) -> KeyRanges {
        KeyRanges::of([&self.0[..], &other.0[..]].concat())
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: KeyRef<'_>) -> bool {
        if self.is_all() {
            return true;
        }
        with_bytes(key, |key| {
            let behind = self.0.partition_point(|range| &range.from[..] <= key);
            behind > 0 && self.0[behind - 1].contains(key)
        })
    }

    /// Which of some rows, whose keys ascend, are in it.
    pub fn rows(&self, keys: &Keys) -> Vec<Range<usize>> {
        if self.is_all() {
            return std::iter::once(0..keys.len()).collect();
        }
        let (mut stretches, mut at) = (Vec::new(), 0);
        let first = if keys.is_empty() { 0 } else { with_bytes(keys.get(0), |key| self.first_ending_behind(key)) };
        for range in &self.0[first..] {
            let start = at + count_below(keys, at, &range.from);
            at = range.to.as_ref().map_or(keys.len(), |to| start + count_below(keys, start, to));
            if at > start {
                stretches.push(start..at);
            }
            if at == keys.len() {
                break;
            }
        }
        stretches
    }

    /// The first range that does not end before a key.
    fn first_ending_behind(&self, key: &[u8]) -> usize {
        self.0.partition_point(|range| range.to.as_ref().is_some_and(|to| &to[..] <= key))
    }
}

/// Lets a range end no earlier than `to`.
fn extend(range: &mut KeyRange, to: Option<Vec<u8>>) {
    range.to = match (range.to.take(), to) {
        (Some(before), Some(to)) => Some(before.max(to)),
        _ => None,
    };
}

/// How many of sorted keys, from one on, are below a bound.
fn count_below(keys: &Keys, from: usize, bound: &[u8]) -> usize {
    let (mut low, mut high) = (from, keys.len());
    while low < high {
        let middle = (low + high) / 2;
        if with_bytes(keys.get(middle), |key| key < bound) { low = middle + 1 } else { high = middle }
    }
    low - from
}

fn with_bytes<R>(key: KeyRef<'_>, look: impl FnOnce(&[u8]) -> R) -> R {
    match key {
        KeyRef::Number(number) => look(&number.to_be_bytes()),
        KeyRef::Bytes(bytes) => look(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::KeyBytes;
    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop::sample::select(vec![0_u8, 1, 7, 254, 255]), 0..4)
    }

    fn ranges() -> impl Strategy<Value = Vec<KeyRange>> {
        proptest::collection::vec((bytes(), proptest::option::of(bytes())).prop_map(|(from, to)| KeyRange { from, to }), 0..6)
    }

    fn is_sound(set: &KeyRanges) -> bool {
        let apart = set.0.windows(2).all(|pair| pair[0].to.as_ref().is_some_and(|to| *to <= pair[1].from));
        apart && set.0.iter().all(|range| !range.is_empty())
    }

    proptest! {
        #[test]
        fn sets_are_what_their_ranges_say(left in ranges(), right in ranges(), keys in proptest::collection::btree_set(bytes(), 0..40)) {
            let (one, other) = (KeyRanges::of(left.clone()), KeyRanges::of(right.clone()));
            let (both, either) = (one.intersect(&other), one.unite(&other));
            prop_assert!([&one, &other, &both, &either].into_iter().all(is_sound));
            let within = |ranges: &[KeyRange], key: &[u8]| ranges.iter().any(|range| range.contains(key));
            let mut sorted = KeyBytes::default();
            for key in &keys {
                let (in_left, in_right) = (within(&left, key), within(&right, key));
                prop_assert_eq!(one.contains(KeyRef::Bytes(key)), in_left);
                prop_assert_eq!(both.contains(KeyRef::Bytes(key)), in_left && in_right);
                prop_assert_eq!(either.contains(KeyRef::Bytes(key)), in_left || in_right);
                sorted.push(key);
            }
            let chosen: Vec<usize> = one.rows(&Keys::Bytes(sorted)).into_iter().flatten().collect();
            let expected = keys.iter().enumerate().filter(|(_, key)| within(&left, key)).map(|(row, _)| row);
            prop_assert!(chosen.into_iter().eq(expected));
        }

        #[test]
        fn what_begins_with_bytes_is_one_range(prefix in bytes(), key in bytes()) {
            prop_assert_eq!(KeyRange::of_prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }
    }

    #[test]
    fn too_many_ranges_are_joined_and_lose_no_key() {
        let point = |number: u64| KeyRange::of_prefix((number * 2).to_be_bytes().to_vec());
        let set = KeyRanges::of((0..3 * RANGES_MAX as u64).map(point).collect());
        assert!(is_sound(&set) && set.ranges().len() <= RANGES_MAX);
        assert!((0..3 * RANGES_MAX as u64).all(|number| set.contains(KeyRef::Number(number * 2))));
        assert!(!set.contains(KeyRef::Number(6 * RANGES_MAX as u64)));
    }
}
