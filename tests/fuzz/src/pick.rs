//! Which levels are merged next.

use aquifer_node::lsm::pick::{Rules, Size, Unit, picked_runs};

/// Bytes of a level in the input.
const UNIT_BYTES: usize = 12;

/// Merges what is picked of any levels by any rules until nothing is; whether there was anything to merge.
pub fn run(data: &[u8]) -> bool {
    let Some((head, rest)) = data.split_first_chunk::<5>() else { return false };
    let [trigger, ratio, amplification, deleted_part, left] = head.map(u64::from);
    let rules = Rules { trigger: trigger as usize % 16, ratio, amplification, deleted_part, ..Rules::default() };
    let mut units: Vec<Unit> = rest.chunks_exact(UNIT_BYTES).map(unit).collect();
    let begun = units.len();
    for merges in 0..=begun {
        let Some(picked) = picked_runs(&rules, &units) else { return merges > 0 };
        let first = units.iter().rposition(|unit| unit.is_damaged).map_or(0, |damaged| damaged + 1);
        let (mut from, mut runs) = (0, 0);
        while runs < picked.start {
            runs += units[from].runs;
            from += 1;
        }
        assert_eq!(runs, picked.start, "whole levels");
        assert!(from >= first && units.len() - from >= 2, "some that stand together, and none that is damaged");
        assert_eq!(picked.end, units.iter().map(|unit| unit.runs).sum::<usize>(), "up to the newest");
        let merged: Size = units[from..].iter().map(|unit| unit.size).sum();
        let deletes = if from == 0 { 0 } else { merged.deletes };
        let size = Size { bytes: merged.bytes / 256 * left, rows: (merged.rows / 256 * left).max(deletes), deletes };
        units.truncate(from);
        units.extend((size.bytes > 0).then_some(Unit { runs: 1, is_damaged: false, size }));
    }
    panic!("there is something to merge for ever: {units:?}");
}

fn unit(bytes: &[u8]) -> Unit {
    let number = |at: usize| u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])) << (bytes[9] % 33);
    let size = Size { bytes: number(0), rows: number(4), deletes: number(4) / 256 * u64::from(bytes[8]) };
    Unit { runs: 1 + usize::from(bytes[10] % 4), is_damaged: bytes[11] == 0, size }
}
