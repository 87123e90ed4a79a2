//! The order of rows by key: of one batch, and of several sorted stretches together.
//!
//! Only keys and references move. A key is compared by eight bytes of it first: a number is these eight bytes, of bytes the eight behind what all keys of
//! the call have in common. Invariant: rows of one key come oldest first, that is, by the order of their stretches.

use std::ops::Range;

use super::reference::Ref;
use crate::table::key::{KeyBytes, KeyRef, Keys};

/// Eight bytes of a key, and the row.
pub type Entry = (u64, Ref);

/// What must be known of keys to compare entries: how many first bytes they share, and where the rest is.
#[derive(Clone, Copy)]
pub struct Prefixes<'a> {
    slots: &'a [&'a Keys],
    shared: usize,
}

impl<'a> Prefixes<'a> {
    /// For rows of these slots whose keys all lie between `low` and `high`.
    pub fn between(slots: &'a [&'a Keys], low: KeyRef<'_>, high: KeyRef<'_>) -> Self {
        let shared = match (low, high) {
            (KeyRef::Bytes(low), KeyRef::Bytes(high)) => low.iter().zip(high).take_while(|(low, high)| low == high).count(),
            _ => 0,
        };
        Prefixes { slots, shared }
    }

    /// Adds the entries of some rows of a slot.
    pub fn extend(&self, slot: usize, rows: Range<usize>, out: &mut Vec<Entry>) {
        match self.slots[slot] {
            Keys::Numbers(numbers) => {
                let entries = numbers[rows.clone()].iter().zip(rows);
                out.extend(entries.map(|(number, row)| (*number, Ref::new(slot, row))));
            }
            Keys::Bytes(bytes) => out.extend(rows.map(|row| (self.prefix(bytes, row), Ref::new(slot, row)))),
        }
    }

    fn prefix(&self, bytes: &KeyBytes, row: usize) -> u64 {
        let rest = bytes.get(row).get(self.shared..).unwrap_or_default();
        let mut prefix = [0; 8];
        let length = rest.len().min(8);
        prefix[..length].copy_from_slice(&rest[..length]);
        u64::from_be_bytes(prefix)
    }

    fn key(&self, at: Ref) -> KeyRef<'a> {
        self.slots[at.slot()].get(at.row())
    }

    fn has_numbers(&self) -> bool {
        self.slots.iter().all(|keys| matches!(keys, Keys::Numbers(_)))
    }

    /// Whether both have the same key.
    #[inline]
    fn same(&self, left: Entry, right: Entry, numbers: bool) -> bool {
        left.0 == right.0 && (numbers || self.key(left.1) == self.key(right.1))
    }

    /// Sorts entries by key, then by reference.
    pub fn sort(&self, entries: &mut [Entry]) {
        match self.has_numbers() {
            true => entries.sort_unstable(),
            false => entries.sort_unstable_by(|left, right| {
                left.0.cmp(&right.0).then_with(|| self.key(left.1).cmp(&self.key(right.1))).then_with(|| left.1.cmp(&right.1))
            }),
        }
    }
}

/// Merges sorted stretches; kept between calls for its memory.
#[derive(Default)]
pub struct Merger {
    from: Vec<Entry>,
    to: Vec<Entry>,
}

impl Merger {
    /// Merges `stretches` of `entries`, which lie one behind the other, each sorted, older ones first. The result is in key order, older rows first.
    pub fn merge(&mut self, prefixes: Prefixes<'_>, entries: Vec<Entry>, stretches: Vec<Range<usize>>) -> &[Entry] {
        debug_assert!(stretches.windows(2).all(|pair| pair[0].end == pair[1].start), "stretches follow each other");
        let numbers = prefixes.has_numbers();
        self.from = entries;
        self.to.resize(self.from.len(), (0, Ref::NONE));
        let mut stretches = stretches;
        while stretches.len() > 1 {
            let smallest =
                (0..stretches.len() - 1).min_by_key(|index| stretches[index + 1].end - stretches[*index].start).expect("two of them");
            let (left, right) = (stretches[smallest].clone(), stretches.remove(smallest + 1));
            let out = &mut self.to[left.start..right.end];
            match numbers {
                true => merge_two(&self.from[left.clone()], &self.from[right.clone()], out, |left, right| left.0 <= right.0),
                false => {
                    let is_first = |left: &Entry, right: &Entry| {
                        left.0 < right.0 || left.0 == right.0 && prefixes.key(left.1) <= prefixes.key(right.1)
                    };
                    merge_two(&self.from[left.clone()], &self.from[right.clone()], out, is_first);
                }
            }
            self.from[left.start..right.end].copy_from_slice(&self.to[left.start..right.end]);
            stretches[smallest] = left.start..right.end;
        }
        &self.from
    }
}

/// The first comes first when `is_first` says so; it does for equal ones.
#[inline]
fn merge_two(left: &[Entry], right: &[Entry], out: &mut [Entry], is_first: impl Fn(&Entry, &Entry) -> bool) {
    let (mut at_left, mut at_right) = (0, 0);
    for out in out.iter_mut() {
        let take_left = at_right == right.len() || at_left < left.len() && is_first(&left[at_left], &right[at_right]);
        *out = if take_left { left[at_left] } else { right[at_right] };
        at_left += usize::from(take_left);
        at_right += usize::from(!take_left);
    }
}

/// Where the rows of each key end, among ordered entries.
pub fn group_ends(prefixes: Prefixes<'_>, ordered: &[Entry], ends: &mut Vec<u32>) {
    let numbers = prefixes.has_numbers();
    ends.clear();
    let bounds = ordered.windows(2).enumerate();
    ends.extend(bounds.filter(|(_, pair)| !prefixes.same(pair[0], pair[1], numbers)).map(|(index, _)| index as u32 + 1));
    if !ordered.is_empty() {
        ends.push(ordered.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn bytes(keys: &[Vec<u8>]) -> Keys {
        let mut all = KeyBytes::default();
        keys.iter().for_each(|key| all.push(key));
        Keys::Bytes(all)
    }

    /// Each key with its rows, oldest first, by a map.
    fn expected<'a>(slots: &'a [&'a Keys]) -> BTreeMap<KeyRef<'a>, Vec<Ref>> {
        let mut rows: BTreeMap<KeyRef<'_>, Vec<Ref>> = BTreeMap::new();
        for (slot, keys) in slots.iter().enumerate() {
            (0..keys.len()).for_each(|row| rows.entry(keys.get(row)).or_default().push(Ref::new(slot, row)));
        }
        rows
    }

    fn check(slots: &[Keys]) {
        let slots: Vec<&Keys> = slots.iter().collect();
        let expected = expected(&slots);
        let (Some((low, _)), Some((high, _))) = (expected.first_key_value(), expected.last_key_value()) else { return };
        let prefixes = Prefixes::between(&slots, *low, *high);
        let (mut entries, mut stretches) = (Vec::new(), Vec::new());
        for (slot, keys) in slots.iter().enumerate() {
            let start = entries.len();
            prefixes.extend(slot, 0..keys.len(), &mut entries);
            prefixes.sort(&mut entries[start..]);
            stretches.push(start..entries.len());
        }
        let mut merger = Merger::default();
        let ordered = merger.merge(prefixes, entries, stretches);
        let mut ends = Vec::new();
        group_ends(prefixes, ordered, &mut ends);
        let mut start = 0;
        assert_eq!(ends.len(), expected.len());
        for (end, (key, rows)) in ends.iter().zip(&expected) {
            let found: Vec<Ref> = ordered[start..*end as usize].iter().map(|entry| entry.1).collect();
            assert_eq!(&found, rows, "{key:?}");
            start = *end as usize;
        }
    }

    proptest! {
        #[test]
        fn numbers_come_in_order_older_rows_first(slots in proptest::collection::vec(proptest::collection::vec(0u64..40, 0..60), 1..9)) {
            check(&slots.into_iter().map(Keys::Numbers).collect::<Vec<_>>());
        }

        #[test]
        fn bytes_come_in_order_older_rows_first(
            shared in proptest::collection::vec(any::<u8>(), 0..12),
            slots in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(0u8..3, 0..12), 0..40), 1..9),
        ) {
            let whole = |key: &Vec<u8>| [shared.clone(), key.clone()].concat();
            check(&slots.iter().map(|keys| bytes(&keys.iter().map(whole).collect::<Vec<_>>())).collect::<Vec<_>>());
        }
    }
}
