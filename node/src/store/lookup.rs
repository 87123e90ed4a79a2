//! Rows by their keys.
//!
//! Invariant: a key's row is what a scan begun at the same moment gives. This module knows nothing of where rows lie.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};

use super::alive::Alive;
use super::catalog::TableEntry;
use super::changes::{key_columns, key_spec};
use super::keyed::{Place, pin, steadily};
use super::route::{Router, Turns};
use super::snapshots::{Version, steadily_at};
use super::table::Table;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Result};
use crate::table::TableSpec;
use crate::table::key::KeyEncoder;

/// Keys that one call looks up at most.
pub const LOOKUP_KEYS_MAX: usize = 1 << 20;

/// What was found for some keys.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The rows that there are, with the table's columns, in the order of the keys.
    pub rows: RecordBatch,
    /// For each key its row among them, if it has one.
    pub places: Vec<Option<usize>>,
}

/// Looks up the row of each key: `keys` has the columns of the primary key, others do not matter.
///
/// Errors: Invalid for a table without a primary key, or keys that are none; those of reading.
pub(super) fn lookup(table: &Table, keys: &RecordBatch) -> Result<Rows> {
    steadily(table, |entry, is_again| {
        let pin = |place| pin(table, entry, place, is_again).map(Some);
        lookup_in(table, entry, &entry.spec, keys, pin)
    })
}

/// As [`lookup`], of the rows as a snapshot has them.
pub(super) fn lookup_at(table: &Table, keys: &RecordBatch, version: &Version) -> Result<Rows> {
    steadily_at(table, version, false, |entry, at| lookup_in(table, entry, &at.spec, keys, |place| at.pin(table, entry, place)))
}

fn lookup_in(
    table: &Table,
    entry: &TableEntry,
    spec: &TableSpec,
    keys: &RecordBatch,
    pin: impl Fn(Place) -> Result<Option<Pinned>>,
) -> Result<Rows> {
    if spec.primary_key.is_empty() {
        let keyless = Error::invalid("a table without a primary key has no keys to look up").at("table", &table.name);
        return Err(keyless.hint("scan it with a filter, or create it with a primary key"));
    }
    if keys.num_rows() > LOOKUP_KEYS_MAX {
        let many = Error::exhausted(format!("{} keys in one lookup, at most {LOOKUP_KEYS_MAX}", keys.num_rows()));
        return Err(many.at("table", &table.name).hint("look them up in several calls"));
    }
    let key_spec = key_spec(spec)?;
    let keys = key_columns(table, &key_spec, keys)?;
    let encoder = KeyEncoder::new(key_spec.schema(), &key_spec.primary_key)?;
    let mut found = vec![None; keys.num_rows()];
    let mut batches = Vec::new();
    let mut rows = 0;
    let pieces = if keys.num_rows() == 0 { Vec::new() } else { Router::new(&key_spec, Arc::new(Turns::new(0)))?.route(&keys)? };
    for piece in pieces {
        let Some(partition_id) = entry.partition(&piece.partition) else { continue };
        let wanted = encoder.encode(&piece.rows)?;
        let place = Place { partition_id, bucket: piece.bucket };
        let Some(pinned) = pin(place)? else { continue };
        let of_piece = pinned.lookup(&wanted)?;
        for (key, at) in of_piece.places.iter().enumerate() {
            let key = piece.places.as_ref().map_or(key, |places| places[key] as usize);
            found[key] = at.map(|at| rows + at as usize);
        }
        rows += of_piece.rows.num_rows();
        batches.push(of_piece.rows);
    }
    let found = in_order(spec.schema().arrow(), batches, found)?;
    match Alive::of(table, spec, None)? {
        Some(alive) => alive.found(found),
        None => Ok(found),
    }
}

/// The rows in the order of their keys.
fn in_order(schema: &arrow::datatypes::SchemaRef, batches: Vec<RecordBatch>, found: Vec<Option<usize>>) -> Result<Rows> {
    let failed = |error| Error::internal("cannot put rows together").caused_by(error);
    let all = concat_batches(schema, &batches).map_err(failed)?;
    let order: UInt32Array = found.iter().flatten().map(|at| *at as u32).collect();
    let is_ordered = order.values().iter().enumerate().all(|(index, at)| index == *at as usize) && order.len() == all.num_rows();
    let rows = if is_ordered { all } else { take_record_batch(&all, &order).map_err(failed)? };
    let mut next = 0;
    let place = |at: &Option<usize>| {
        at.map(|_| {
            next += 1;
            next - 1
        })
    };
    let places = found.iter().map(place).collect();
    Ok(Rows { rows, places })
}
