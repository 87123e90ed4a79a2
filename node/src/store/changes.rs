//! Changes of a table with a primary key on their way in: upserts, deletes, and rows that say what they are.
//!
//! Invariants: what the table's merge engine could not merge is refused before any of it is sent; a row before an update never comes without the row after
//! it. This module knows nothing of how rows are merged.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array, new_null_array};

use super::table::Table;
use super::writer::{Ack, Writer};
use crate::error::{Error, Result};
use crate::table::key::KeyEncoder;
use crate::table::{ChangeType, Field, TableSchema, TableSpec, conform};

impl Writer {
    /// Writes rows by their key, each in place of the one before it as the table's merge engine has it, and returns when they are durable.
    ///
    /// Errors: as [`Writer::append`]; Invalid for a table without a primary key.
    pub fn upsert(&mut self, batch: &RecordBatch) -> Result<Vec<Ack>> {
        self.apply(batch, &vec![ChangeType::UpdateAfter; batch.num_rows()])
    }

    /// Takes rows away by their key, and returns when that is durable. Columns that are no part of the key do not matter, and may be left out.
    ///
    /// Errors: as [`Writer::upsert`]; Invalid when the table's merge engine takes values back by themselves, or goes by a sequence, which a key alone does
    /// not have: write the whole rows with [`Writer::apply`].
    pub fn delete(&mut self, keys: &RecordBatch) -> Result<Vec<Ack>> {
        self.refresh()?;
        let rows = rows_of_keys(&self.table, &self.spec, keys)?;
        self.apply(&rows, &vec![ChangeType::Delete; rows.num_rows()])
    }

    /// Writes rows that each say what they are: `+I` and `+U` a row, `-D` its end, `-U` the row before the `+U` that follows it. Returns when all is durable.
    ///
    /// Errors: as [`Writer::upsert`]; Invalid for a `-U` that no `+U` of the same key follows, and for a change that the merge engine does not take.
    pub fn apply(&mut self, batch: &RecordBatch, changes: &[ChangeType]) -> Result<Vec<Ack>> {
        self.refuse_without_number()?;
        self.drain();
        self.tell_failure()?;
        let answered = self.acked.len();
        let gate = self.gate.clone();
        let entered = gate.enter();
        let kinds = self.kinds(batch, changes)?;
        let (pieces, cuts) = self.pieces(batch, Some(&kinds))?;
        self.put(&pieces, &cuts, cuts.len() == 1);
        drop(entered);
        self.drain();
        self.tell_failure()?;
        Ok(self.acked.split_off(answered))
    }

    /// As [`Writer::apply`], without waiting: answers come by [`Writer::acks`] and [`Writer::flush`].
    ///
    /// Errors: as [`Writer::apply`] and [`Writer::send`].
    pub fn send_changes(&mut self, batch: &RecordBatch, changes: &[ChangeType]) -> Result<()> {
        self.refuse_without_number()?;
        self.make_room()?;
        let gate = self.gate.clone();
        let _entered = gate.enter();
        let kinds = self.kinds(batch, changes)?;
        let (pieces, cuts) = self.pieces(batch, Some(&kinds))?;
        self.put(&pieces, &cuts, false);
        self.tell_failure()
    }

    /// The changes as they stand in the log, when all of them may.
    fn kinds(&mut self, batch: &RecordBatch, changes: &[ChangeType]) -> Result<Vec<i8>> {
        self.refresh()?;
        if self.spec.primary_key.is_empty() {
            let keyless = Error::invalid("a table without a primary key takes no changes").at("table", &self.table.name);
            return Err(keyless.hint("append rows to it, or create it with a primary key"));
        }
        if changes.len() != batch.num_rows() {
            return Err(Error::invalid("not one change a row").at("changes", changes.len()).at("rows", batch.num_rows()));
        }
        if let Some(row) = changes.iter().position(|change| *change == ChangeType::Append) {
            let append = Error::invalid("`+A` is no change of a table with a primary key").at("row", row);
            return Err(append.at("table", &self.table.name).hint("one of +I, -U, +U, -D"));
        }
        if changes.contains(&ChangeType::UpdateBefore) {
            self.check_updates(batch, changes)?;
        }
        let kinds: Vec<u8> = changes.iter().map(|change| change.to_byte()).collect();
        if let Some(keyed) = &self.keyed {
            keyed.checks().check_kinds(&kinds).map_err(|error| error.at("table", &self.table.name))?;
        }
        Ok(kinds.into_iter().map(|kind| kind as i8).collect())
    }

    fn check_updates(&self, batch: &RecordBatch, changes: &[ChangeType]) -> Result<()> {
        let key_spec = key_spec(&self.spec)?;
        let keys = KeyEncoder::new(key_spec.schema(), &key_spec.primary_key)?.encode(&key_columns(&self.table, &key_spec, batch)?)?;
        for (row, _) in changes.iter().enumerate().filter(|(_, change)| **change == ChangeType::UpdateBefore) {
            let is_followed = changes.get(row + 1) == Some(&ChangeType::UpdateAfter) && keys.get(row) == keys.get(row + 1);
            if !is_followed {
                let alone = Error::invalid("a `-U` is not followed by the `+U` of its key").at("row", row).at("table", &self.table.name);
                return Err(alone.hint("write both rows of an update in one batch, or `-D` to take the row away"));
            }
        }
        Ok(())
    }
}

/// A table of the key alone: what says where keys go, and how they compare.
pub(super) fn key_spec(spec: &TableSpec) -> Result<TableSpec> {
    let schema = spec.schema();
    let is_key = |field: &&Field| spec.primary_key.contains(&field.id);
    let fields: Vec<Field> = schema.fields().iter().filter(is_key).cloned().collect();
    let schema = TableSchema::from_parts(schema.version(), fields, schema.highest_field_id())?;
    let mut keys = TableSpec::new(spec.name.clone(), spec.id, schema, spec.created_ms);
    keys.primary_key = spec.primary_key.clone();
    keys.partition_by = spec.partition_by.clone();
    keys.bucket_key = spec.bucket_key.clone();
    keys.buckets = spec.buckets;
    Ok(keys)
}

/// The key columns of a batch, as the table has them.
///
/// Errors: Invalid for one that is missing, null, or has values that its column does not hold.
pub(super) fn key_columns(table: &Table, key_spec: &TableSpec, batch: &RecordBatch) -> Result<RecordBatch> {
    let wanted = key_spec.schema().fields().iter();
    let places = wanted.map(|field| {
        batch.schema_ref().index_of(&field.name).map_err(|_| {
            let missing = Error::invalid("a column of the primary key is missing").at("column", &field.name);
            missing.at("table", &table.name).hint("a key has all columns of the primary key")
        })
    });
    let places = places.collect::<Result<Vec<_>>>()?;
    let are_all = places.len() == batch.num_columns() && places.is_sorted();
    let chosen = if are_all { Ok(batch.clone()) } else { batch.project(&places) };
    let keys = chosen.map_err(|error| Error::internal("cannot choose the key columns").caused_by(error))?;
    conform(&keys, key_spec.schema()).map_err(|error| error.at("table", &table.name))
}

/// Rows that have these keys and nothing else.
fn rows_of_keys(table: &Table, spec: &TableSpec, keys: &RecordBatch) -> Result<RecordBatch> {
    if spec.primary_key.is_empty() {
        let keyless = Error::invalid("a table without a primary key has nothing to delete by").at("table", &table.name);
        return Err(keyless.hint("rows of a log leave it by its retention"));
    }
    check_key_is_enough(table, spec)?;
    let keys = key_columns(table, &key_spec(spec)?, keys)?;
    let count = keys.num_rows();
    let column = |field: &Field| -> Result<ArrayRef> {
        match keys.column_by_name(&field.name) {
            Some(key) => Ok(key.clone()),
            None => empty_values(field, count),
        }
    };
    let columns = spec.schema().fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(spec.schema().arrow().clone(), columns)
        .map_err(|error| Error::internal("keys do not become rows").caused_by(error))
}

fn check_key_is_enough(table: &Table, spec: &TableSpec) -> Result<()> {
    let is_set = |name: &str| spec.merge.get(name).is_some_and(|value| value.trim() == "true");
    let has_sequence = spec.merge.get("sequence.field").is_some_and(|columns| !columns.trim().is_empty());
    if has_sequence && !is_set("ignore-delete") {
        let oldest = Error::invalid("a key alone has no sequence: it would count as older than the row it should take away")
            .at("table", &table.name);
        return Err(oldest.hint("write rows that have their sequence with `_op` = -D: `aquifer upsert --op-column _op`"));
    }
    let takes_back = spec.merge.get("merge-engine").is_some_and(|engine| engine.trim() == "aggregation");
    if !takes_back || is_set("ignore-delete") || is_set("aggregation.remove-record-on-delete") {
        return Ok(());
    }
    let unknown = Error::invalid("a key alone does not say which values an aggregation takes back").at("table", &table.name);
    Err(unknown.hint("write the whole rows with `_op` = -D, or set aggregation.remove-record-on-delete"))
}

/// Values for a column that nobody looks at: nulls, or where it has none whatever takes no room.
fn empty_values(field: &Field, count: usize) -> Result<ArrayRef> {
    let nulls = new_null_array(&field.kind.to_arrow(), count);
    if field.nullable {
        return Ok(nulls);
    }
    let values = nulls.to_data().into_builder().nulls(None).build();
    let values = values.map_err(|error| Error::internal("cannot fill a column").at("column", &field.name).caused_by(error))?;
    Ok(Arc::new(make_array(values)) as ArrayRef)
}

#[cfg(test)]
mod tests;
