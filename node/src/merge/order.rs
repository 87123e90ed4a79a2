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

    /// The entry of a row.
    pub fn entry(&self, at: Ref) -> Entry {
        match self.slots[at.slot()] {
            Keys::Numbers(numbers) => (numbers[at.row()], at),
            Keys::Bytes(bytes) => (self.prefix(bytes, at.row()), at),
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

    /// Whether keys are numbers, which their entries hold whole.
    pub fn has_numbers(&self) -> bool {
        self.slots.iter().all(|keys| matches!(keys, Keys::Numbers(_)))
    }

    /// Whether both have the same key.
    #[inline]
    fn same(&self, left: Entry, right: Entry) -> bool {
        left.0 == right.0 && self.key(left.1) == self.key(right.1)
    }

    /// Sorts entries, which come in the order of their references, by key; those of one key stay in this order.
    pub fn sort(&self, entries: &mut Vec<Entry>) {
        match self.has_numbers() {
            true => sort_numbers(entries),
            false => entries.sort_unstable_by(|left, right| {
                left.0.cmp(&right.0).then_with(|| self.key(left.1).cmp(&self.key(right.1))).then_with(|| left.1.cmp(&right.1))
            }),
        }
    }
}

/// Sorts 64-bit integers instead of entries: the upper bits of a key, without those that all keys share, and the number of its entry below them. What was cut
/// off a key matters only among keys that are equal but for it.
fn sort_numbers(entries: &mut Vec<Entry>) {
    let (low, high) = entries.iter().fold((u64::MAX, 0), |(low, high), entry| (low.min(entry.0), high.max(entry.0)));
    let index_bits = usize::BITS - entries.len().leading_zeros();
    let shared_bits = (low ^ high).leading_zeros().min(u64::BITS - 1);
    let index_mask = (1 << index_bits) - 1;
    let pack = |(index, entry): (usize, &Entry)| (entry.0 << shared_bits & !index_mask) | index as u64;
    let mut packed: Vec<u64> = entries.iter().enumerate().map(pack).collect();
    packed.sort_unstable();
    let mut sorted: Vec<Entry> = packed.iter().map(|packed| entries[(packed & index_mask) as usize]).collect();
    if shared_bits < index_bits {
        let mut start = 0;
        for end in 1..=packed.len() {
            if end == packed.len() || (packed[end] ^ packed[start]) & !index_mask != 0 {
                if end - start > 1 {
                    sorted[start..end].sort_by_key(|entry| entry.0);
                }
                start = end;
            }
        }
    }
    *entries = sorted;
}

/// Merges sorted stretches; kept between calls for its memory.
#[derive(Default)]
pub struct Merger {
    /// Each stretch stands in one of the two.
    sides: [Vec<Entry>; 2],
    spans: Vec<Span>,
}

/// A stretch, and in which side it stands.
struct Span {
    range: Range<usize>,
    side: usize,
}

impl Merger {
    /// Where the entries of the next merge are put, one stretch behind the other.
    pub fn entries(&mut self) -> &mut Vec<Entry> {
        self.sides[0].clear();
        &mut self.sides[0]
    }

    /// Merges `stretches` of the entries, which lie one behind the other, each sorted, older ones first. The result is in key order, older rows first.
    pub fn merge(&mut self, prefixes: Prefixes<'_>, stretches: &[Range<usize>]) -> &[Entry] {
        debug_assert!(stretches.windows(2).all(|pair| pair[0].end == pair[1].start), "stretches follow each other");
        let numbers = prefixes.has_numbers();
        let Merger { sides: [left, right], spans } = self;
        right.resize(left.len(), (0, Ref::NONE));
        spans.clear();
        spans.extend(stretches.iter().map(|range| Span { range: range.clone(), side: 0 }));
        while spans.len() > 1 {
            let bytes = |index: &usize| spans[index + 1].range.end - spans[*index].range.start;
            let smallest = (0..spans.len() - 1).min_by_key(bytes).expect("two of them");
            let second = spans.remove(smallest + 1);
            let first = &mut spans[smallest];
            if first.side != second.side {
                // The shorter one is brought over to the other.
                let (moved, side) =
                    if first.range.len() < second.range.len() { (&first.range, second.side) } else { (&second.range, first.side) };
                let (from, to) = if side == 0 { (&right[..], &mut left[..]) } else { (&left[..], &mut right[..]) };
                to[moved.clone()].copy_from_slice(&from[moved.clone()]);
                first.side = side;
            }
            let (from, to) = if first.side == 0 { (&left[..], &mut right[..]) } else { (&right[..], &mut left[..]) };
            let out = &mut to[first.range.start..second.range.end];
            let (older, newer) = (&from[first.range.clone()], &from[second.range.clone()]);
            match numbers {
                true => merge_two(older, newer, out, |older, newer| older.0 <= newer.0),
                false => merge_two(older, newer, out, |older, newer| {
                    older.0 < newer.0 || older.0 == newer.0 && prefixes.key(older.1) <= prefixes.key(newer.1)
                }),
            }
            first.range.end = second.range.end;
            first.side = 1 - first.side;
        }
        &self.sides[self.spans.first().map_or(0, |span| span.side)]
    }
}

/// The first comes first when `is_first` says so; it does for equal ones.
#[inline]
fn merge_two(left: &[Entry], right: &[Entry], out: &mut [Entry], is_first: impl Fn(&Entry, &Entry) -> bool) {
    let (mut at_left, mut at_right) = (0, 0);
    while at_left < left.len() && at_right < right.len() {
        let (first, second) = (&left[at_left], &right[at_right]);
        let takes_left = is_first(first, second);
        // Which of them it is nobody can foretell.
        out[at_left + at_right] = *std::hint::select_unpredictable(takes_left, first, second);
        at_left += usize::from(takes_left);
        at_right += usize::from(!takes_left);
    }
    let rest = &mut out[at_left + at_right..];
    match at_left < left.len() {
        true => rest.copy_from_slice(&left[at_left..]),
        false => rest.copy_from_slice(&right[at_right..]),
    }
}

/// Where the rows of each key end, among ordered entries.
pub fn group_ends(prefixes: Prefixes<'_>, ordered: &[Entry], ends: &mut Vec<u32>) {
    ends.clear();
    if ordered.is_empty() {
        return;
    }
    match prefixes.has_numbers() {
        true => note_ends(ordered, ends, |left, right| left.0 == right.0),
        false => note_ends(ordered, ends, |left, right| prefixes.same(*left, *right)),
    }
}

/// Writes every place and moves on only behind the last of a key: no branch depends on the keys.
#[inline]
fn note_ends(ordered: &[Entry], ends: &mut Vec<u32>, is_same: impl Fn(&Entry, &Entry) -> bool) {
    ends.resize(ordered.len(), 0);
    let mut count = 0;
    for (index, pair) in ordered.windows(2).enumerate() {
        ends[count] = index as u32 + 1;
        count += usize::from(!is_same(&pair[0], &pair[1]));
    }
    ends[count] = ordered.len() as u32;
    ends.truncate(count + 1);
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
        let (mut merger, mut stretches) = (Merger::default(), Vec::new());
        let entries = merger.entries();
        for (slot, keys) in slots.iter().enumerate() {
            let (start, mut own) = (entries.len(), Vec::new());
            prefixes.extend(slot, 0..keys.len(), &mut own);
            prefixes.sort(&mut own);
            entries.append(&mut own);
            stretches.push(start..entries.len());
        }
        let ordered = merger.merge(prefixes, &stretches);
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

        /// Keys that differ in their upper bits, in the lower ones, which a packed sort cuts off, or in both.
        #[test]
        fn numbers_that_differ_anywhere_come_in_order(slots in proptest::collection::vec(proptest::collection::vec((0_u64..3, 0_u64..6), 0..60), 1..9)) {
            let whole = |(upper, lower): (u64, u64)| upper << 62 | lower;
            check(&slots.into_iter().map(|keys| Keys::Numbers(keys.into_iter().map(whole).collect())).collect::<Vec<_>>());
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
