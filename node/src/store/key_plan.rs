//! How keys that somebody hands in are taken: by which columns, to which bucket, as which bytes.
//!
//! Made once for each version of a table: a lookup of one key would spend more on it than on the search. Invariant: a key goes where a row that has it went.
//! This module knows nothing of where rows are.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::changes::{key_columns, key_spec};
use super::route::{Piece, Router, Turns};
use super::table::Table;
use crate::error::{Error, Result};
use crate::table::TableSpec;
use crate::table::key::{KeyEncoder, Keys};

/// See the head of this module.
pub(super) struct KeyPlan {
    /// A table of the key alone.
    spec: TableSpec,
    router: Router,
    encoder: KeyEncoder,
}

impl KeyPlan {
    /// Of a table with a primary key.
    ///
    /// Errors: Invalid for a table without one.
    pub(super) fn new(spec: &TableSpec) -> Result<Self> {
        if spec.primary_key.is_empty() {
            let keyless = Error::invalid("a table without a primary key has no keys to look up").at("table", &spec.name);
            return Err(keyless.hint("scan it with a filter, or create it with a primary key"));
        }
        let spec = key_spec(spec)?;
        let router = Router::new(&spec, Arc::new(Turns::new(0)))?;
        let encoder = KeyEncoder::new(spec.schema(), &spec.primary_key)?;
        Ok(KeyPlan { spec, router, encoder })
    }

    /// The key columns of a batch, by the buckets that rows with these keys are in.
    ///
    /// Errors: Invalid for a column that is missing, null, or has values that the table's does not hold.
    pub(super) fn pieces(&self, table: &Table, keys: &RecordBatch) -> Result<Vec<Piece>> {
        let keys = key_columns(table, &self.spec, keys)?;
        if keys.num_rows() == 0 { Ok(Vec::new()) } else { self.router.clone().route(&keys) }
    }

    /// The keys of a piece.
    ///
    /// Errors: Exhausted for a key that is too long.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Keys> {
        self.encoder.encode(rows)
    }
}

impl fmt::Debug for KeyPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyPlan").field("table", &self.spec.name).finish_non_exhaustive()
    }
}
