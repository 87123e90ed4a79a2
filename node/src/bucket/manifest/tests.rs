//! Edits and states of buckets that cannot be, and some that can.

use super::*;
use crate::error::Kind;

const MIB: u64 = 1 << 20;

fn run(id: u64) -> RunMeta {
    RunMeta { id, index_at: 4096, index_bytes: 100, rows: 10, deletes: 1 }
}

fn prepared(segment_id: u64) -> Edit {
    Edit::Prepared { segment_id, bytes: MIB }
}

fn sealed(segment_id: u64, base_offset: u64, end_offset: u64) -> Edit {
    Edit::Sealed { segment_id, base_offset, end_offset, bytes: 4096, timestamps_ms: (1, 2) }
}

fn trimmed(start_offset: u64, segment_ids: &[u64]) -> Edit {
    Edit::Trimmed { start_offset, segment_ids: segment_ids.to_vec() }
}

fn flushed(id: u64, flushed_to: u64) -> Edit {
    Edit::Flushed { run: Some(run(id)), flushed_to }
}

/// Two sealed segments, one that takes rows, two runs, one of which a snapshot keeps.
fn begun() -> State {
    let kept = Edit::Kept { snapshot_id: 1, end_offset: 5 };
    let log = [prepared(1), prepared(2), prepared(3), sealed(1, 0, 10), sealed(2, 10, 20)];
    folded(log.into_iter().chain([flushed(100, 5), kept, flushed(101, 20)]))
}

fn folded(edits: impl IntoIterator<Item = Edit>) -> State {
    let mut state = State::default();
    edits.into_iter().for_each(|edit| state.apply(edit).unwrap());
    state
}

#[test]
fn edits_that_cannot_be_are_refused() {
    let limit = OFFSETS_END;
    let compacted =
        |run_ids: &[u64], runs: &[u64]| Edit::Compacted { run_ids: run_ids.to_vec(), runs: runs.iter().map(|id| run(*id)).collect() };
    let odd = |change: fn(&mut RunMeta)| {
        let mut meta = run(102);
        change(&mut meta);
        Edit::Flushed { run: Some(meta), flushed_to: 30 }
    };
    let wrong = [
        prepared(3),
        prepared(2),
        Edit::Prepared { segment_id: 4, bytes: u64::MAX },
        sealed(4, 20, 30),
        sealed(3, 21, 30),
        sealed(3, 20, 20),
        sealed(3, 20, limit),
        Edit::Sealed { segment_id: 3, base_offset: 20, end_offset: 30, bytes: MIB + 1, timestamps_ms: (1, 2) },
        trimmed(u64::MAX, &[1]),
        trimmed(20, &[1]),
        trimmed(10, &[]),
        trimmed(20, &[2]),
        trimmed(20, &[2, 1]),
        trimmed(20, &[1, 2, 3]),
        flushed(102, 19),
        flushed(102, limit),
        flushed(101, 30),
        odd(|run| run.deletes = 11),
        odd(|run| run.index_at = u64::MAX),
        odd(|run| (run.rows, run.deletes) = (u64::MAX, 0)),
        compacted(&[], &[]),
        compacted(&[101, 100], &[102]),
        compacted(&[100], &[101]),
        compacted(&[100, 101], &[102, 102]),
        Edit::Kept { snapshot_id: 2, end_offset: 19 },
    ];
    for edit in wrong {
        let refused = begun().apply(edit.clone()).map_err(|error| error.kind());
        assert_eq!(refused, Err(Kind::Corrupt), "{edit:?}");
    }
    let fine =
        [prepared(4), sealed(3, 20, 30), trimmed(10, &[1]), trimmed(20, &[1, 2]), flushed(102, 20), compacted(&[100, 101], &[100, 102])];
    for edit in fine {
        let mut state = begun();
        state.apply(edit.clone()).unwrap_or_else(|error| panic!("{edit:?}: {error}"));
        assert_eq!(folded([state.folded()]), state, "{edit:?}");
    }
}

#[test]
fn states_that_no_edits_make_are_refused() {
    type Change = fn(&mut State);
    let wrong: [(&str, Change); 12] = [
        ("starts elsewhere", |state| state.start_offset = 1),
        ("starts too far", |state| (state.start_offset, state.sealed) = (u64::MAX, Vec::new())),
        ("a gap", |state| state.sealed[1].base_offset = 11),
        ("ends too far", |state| state.sealed[1].end_offset = u64::MAX),
        ("longer than its file", |state| state.sealed[0].bytes = MIB + 1),
        ("a file that is none", |state| _ = state.open.insert(3, u64::MAX)),
        ("a segment twice", |state| state.sealed[1].segment_id = 1),
        ("sealed and open", |state| _ = state.open.insert(2, MIB)),
        ("flushed too far", |state| state.flushed_to = u64::MAX),
        ("a run twice", |state| state.runs[1].id = 100),
        ("a kept run twice", |state| state.kept.get_mut(&1).unwrap().runs.push(run(100))),
        ("kept rows of no run", |state| state.kept.get_mut(&1).unwrap().end_offset = 21),
    ];
    for (what, change) in wrong {
        let mut state = begun();
        change(&mut state);
        let refused = State::default().apply(Edit::Folded(state)).map_err(|error| error.kind());
        assert_eq!(refused, Err(Kind::Corrupt), "{what}");
    }
}

#[test]
fn the_last_segment_that_goes_is_remembered_until_the_next_is_sealed() {
    let mut state = begun();
    state.apply(trimmed(20, &[1, 2])).unwrap();
    assert_eq!((state.last_dropped, state.sealed_end(), state.keeps_index(2)), (Some(2), 20, true));
    state.apply(sealed(3, 20, 30)).unwrap();
    assert_eq!(state.last_dropped, None);
}
