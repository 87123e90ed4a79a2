//! Files of edits: records, of whatever kind. `edits` has what they say.

use aquifer_node::bucket::ledger::LedgerState;
use aquifer_node::bucket::manifest::{Edit, State};
use aquifer_node::format::manifest::{fold, record};
use serde_json::Value;

use crate::edits;

/// Kinds of files that there are, and one that there is not.
const KINDS: [u16; 4] = [1, 2, 3, 4];

/// Folds a bucket's manifest; folds the same bytes as edits of any kind; whether they are any of it.
pub fn run(data: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(folded) = fold::<Edit>(State::KIND, data) {
        assert!(folded.last_record <= folded.valid_length && folded.valid_length <= data.len(), "within the file");
        edits::add_up(folded.edits);
    }
    for kind in KINDS {
        let Ok(folded) = fold::<Value>(kind, data) else { continue };
        accepted |= !folded.edits.is_empty();
        let again = record(kind, &folded.edits).expect("it fitted before");
        assert_eq!(fold::<Value>(kind, &again).expect("just written").edits, folded.edits);
        edits::run(&again[aquifer_node::format::manifest::HEAD_BYTES..]);
    }
    accepted
}
