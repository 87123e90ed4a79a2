//! Edits of a bucket, of the catalog and of a list of snapshots: payloads without their records, whose checksums would keep a fuzzer from them.

use aquifer_node::bucket::ledger::LedgerState;
use aquifer_node::bucket::manifest::{Edit, State};
use aquifer_node::format::manifest::{HEAD_BYTES, MAGIC};
use aquifer_node::store::{Ledger, fold_edits};
use aquifer_node::table::TableSpec;

/// Adds the bytes up as edits of each kind, and reads them as a table; whether they are any of it. A file of one record is what the record has.
pub fn run(data: &[u8]) -> bool {
    let data = if data.starts_with(&MAGIC.to_le_bytes()) { data.get(HEAD_BYTES..).unwrap_or_default() } else { data };
    let mut accepted = bucket(data);
    for ledger in [Ledger::Catalog, Ledger::Snapshots] {
        if let Ok(folded) = fold_edits(ledger, data) {
            assert_eq!(fold_edits(ledger, &folded).expect("a state folds to itself"), folded, "a state folds to itself");
            accepted = true;
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(spec) = TableSpec::from_json(text)
    {
        let again = spec.to_json().expect("it was JSON");
        assert!(TableSpec::from_json(&again).expect("just written") == spec, "a table survives its JSON");
        accepted = true;
    }
    accepted
}

fn bucket(data: &[u8]) -> bool {
    let Ok(edits) = serde_json::from_slice::<Vec<Edit>>(data) else { return false };
    add_up(edits)
}

/// Whether edits of a bucket are ones that hold together.
pub fn add_up(edits: Vec<Edit>) -> bool {
    let mut state = State::default();
    for edit in edits {
        if state.apply(edit).is_err() {
            return false;
        }
    }
    let bytes: u64 = state.sealed.iter().map(|segment| segment.file_bytes).chain(state.open.values().copied()).sum();
    let rows: u64 = state.runs.iter().map(|run| run.rows - run.deletes).sum();
    assert!(bytes <= u64::MAX / 2 && rows <= u64::MAX / 2 && state.sealed_end() >= state.start_offset, "there is room for more");
    let mut again = State::default();
    again.apply(state.folded()).expect("a state folds to itself");
    assert!(again == state, "a state folds to itself");
    true
}
