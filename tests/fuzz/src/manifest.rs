//! Files of edits, and what the edits add up to.

use aquifer_node::bucket::ledger::LedgerState;
use aquifer_node::bucket::manifest::{Edit, State};
use aquifer_node::format::manifest::{fold, record};
use aquifer_node::table::TableSpec;

/// Folds a bucket's manifest; folds the same bytes as edits of any kind; reads them as edits of a bucket and as a table;
/// whether they are any of it.
pub fn run(data: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(folded) = fold::<Edit>(State::KIND, data) {
        assert!(folded.last_record <= folded.valid_length && folded.valid_length <= data.len(), "within the file");
        add_up(folded.edits);
    }
    for kind in [1, 2] {
        if let Ok(folded) = fold::<serde_json::Value>(kind, data) {
            accepted |= !folded.edits.is_empty();
            let again = record(kind, &folded.edits).expect("it fitted before");
            assert_eq!(fold::<serde_json::Value>(kind, &again).expect("just written").edits, folded.edits);
        }
    }
    // The payload alone: the checksum would keep a fuzzer from it.
    if let Ok(edits) = serde_json::from_slice::<Vec<Edit>>(data) {
        accepted = true;
        add_up(edits);
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

fn add_up(edits: Vec<Edit>) {
    let mut state = State::default();
    for edit in edits {
        if state.apply(edit).is_err() {
            return;
        }
    }
    let mut again = State::default();
    let _ = state.sealed_end();
    again.apply(state.folded()).expect("a state folds to itself");
    assert!(again == state, "a state folds to itself");
}
