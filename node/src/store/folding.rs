//! What edits of a store's own ledgers add up to, for tests of what reads them.
//!
//! Invariant: what is folded here is folded as when a store is opened. This module knows nothing of files.

use super::catalog::Catalog;
use super::snapshots::fold_list;
use crate::bucket::ledger::LedgerState;
use crate::error::{Error, Result};

/// Which edits.
#[derive(Clone, Copy, Debug)]
pub enum Ledger {
    /// Those of the catalog.
    Catalog,
    /// Those of a table's list of snapshots.
    Snapshots,
}

/// Folds a JSON array of edits, the payload of a record, and says what they add up to, as an array of one edit.
///
/// Errors: Corrupt for what is none, or makes no sense.
pub fn fold_edits(ledger: Ledger, edits: &[u8]) -> Result<Vec<u8>> {
    match ledger {
        Ledger::Catalog => fold::<Catalog>(edits),
        Ledger::Snapshots => fold_list(edits),
    }
}

pub(super) fn fold<S: LedgerState>(edits: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error| Error::corrupt("these are no edits").caused_by(error);
    let edits: Vec<S::Edit> = serde_json::from_slice(edits).map_err(wrong)?;
    let mut state = S::default();
    edits.into_iter().try_for_each(|edit| state.apply(edit))?;
    serde_json::to_vec(&[state.folded()]).map_err(wrong)
}
