//! Rows by their keys.
//!
//! Invariant: a key's row is what a scan begun at the same moment gives. This module knows nothing of where rows lie.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};

use super::alive::Alive;
use super::catalog::TableEntry;
use super::key_plan::KeyPlan;
use super::keyed::{Place, pin, steadily};
use super::snapshots::{Version, steadily_at};
use super::table::Table;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Result};
use crate::table::TableSpec;

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
        lookup_in(table, entry, (&entry.spec, entry.key_plan()?, None), keys, pin)
    })
}

/// As [`lookup`], of the rows as a snapshot has them.
pub(super) fn lookup_at(table: &Table, keys: &RecordBatch, version: &Version) -> Result<Rows> {
    steadily_at(table, version, false, |entry, at| {
        let seen = (&at.spec, &KeyPlan::new(&at.spec)?, Some(at.time_ms()));
        lookup_in(table, entry, seen, keys, |place| at.pin(table, entry, place))
    })
}

/// Of the table as it is now, or at the moment that is given.
fn lookup_in(
    table: &Table,
    entry: &TableEntry,
    (spec, plan, now_ms): (&TableSpec, &KeyPlan, Option<i64>),
    keys: &RecordBatch,
    pin: impl Fn(Place) -> Result<Option<Pinned>>,
) -> Result<Rows> {
    if keys.num_rows() > LOOKUP_KEYS_MAX {
        let many = Error::exhausted(format!("{} keys in one lookup, at most {LOOKUP_KEYS_MAX}", keys.num_rows()));
        return Err(many.at("table", &table.name).hint("look them up in several calls"));
    }
    let mut found = vec![None; keys.num_rows()];
    let mut batches = Vec::new();
    let mut rows = 0;
    for piece in plan.pieces(table, keys)? {
        let Some(partition_id) = entry.partition(&piece.partition) else { continue };
        let wanted = plan.encode(&piece.rows)?;
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
    match Alive::of(table, spec, now_ms)? {
        Some(alive) => alive.found(found),
        None => Ok(found),
    }
}

/// The rows in the order of their keys.
fn in_order(schema: &arrow::datatypes::SchemaRef, batches: Vec<RecordBatch>, found: Vec<Option<usize>>) -> Result<Rows> {
    let failed = |error| Error::internal("cannot put rows together").caused_by(error);
    let all = match <[RecordBatch; 1]>::try_from(batches) {
        Ok([only]) => only,
        Err(batches) => concat_batches(schema, &batches).map_err(failed)?,
    };
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
