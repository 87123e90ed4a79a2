//! The schema of a table at one version: its fields with their ids, and the Arrow schema of its batches.
//!
//! Invariant: field ids are unique, from 1 to `highest_field_id`, and never used twice in the life of a table; names are
//! unique among siblings. The Arrow schema carries the ids in its metadata. Knows nothing of keys, buckets or options.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

pub use super::types::Field;
use super::types::{ColumnType, DECIMAL_PRECISION_MAX, DEPTH_MAX};
use crate::error::{Error, Result};
use crate::table::nearest::did_you_mean_of;

/// Most fields of a schema, nested ones included.
pub const FIELDS_MAX: usize = 10_000;
/// Longest name of a field, in bytes.
pub const FIELD_NAME_LENGTH_MAX: usize = 255;
/// Widest fixed binary, in bytes.
pub(super) const FIXED_BINARY_WIDTH_MAX: i32 = 1 << 20;

/// The schema of a table at one version; cheap to clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "StoredSchema", into = "StoredSchema")]
pub struct TableSchema {
    version: i16,
    fields: Arc<[Field]>,
    highest_field_id: i32,
    arrow: SchemaRef,
}

impl PartialEq for TableSchema {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.highest_field_id == other.highest_field_id && self.fields == other.fields
    }
}

impl Eq for TableSchema {}

impl TableSchema {
    /// Version 0 of a schema: gives every field, nested ones too, its id; top-level fields get 1 to n.
    ///
    /// # Errors
    /// Invalid: no fields, too many, a bad or doubled name, a type out of range.
    pub fn new(mut fields: Vec<Field>) -> Result<Self> {
        let mut highest = 0;
        check_size(&fields)?;
        assign_ids(fields.iter_mut().collect(), &mut highest);
        Self::from_parts(0, fields, highest)
    }

    /// A schema whose fields already have their ids.
    ///
    /// # Errors
    /// Invalid, as for [`TableSchema::new`], and when an id is used twice or lies outside `1..=highest_field_id`.
    pub fn from_parts(version: i16, fields: Vec<Field>, highest_field_id: i32) -> Result<Self> {
        if version < 0 {
            return Err(Error::invalid(format!("schema version {version} is negative")));
        }
        if fields.is_empty() {
            return Err(Error::invalid("a table needs at least one column"));
        }
        check_size(&fields)?;
        check_fields(&fields.iter().collect::<Vec<_>>(), highest_field_id, &mut HashSet::new())?;
        let arrow = Arc::new(Schema::new(fields.iter().map(Field::to_arrow).collect::<Vec<_>>()));
        Ok(TableSchema { version, fields: fields.into(), highest_field_id, arrow })
    }

    /// The schema of `arrow`, which carries a field id on every field, as [`TableSchema::arrow`] does.
    ///
    /// # Errors
    /// Invalid when an id is missing, a type is not one of a table, or the fields do not make a schema.
    pub fn from_arrow(version: i16, arrow: &Schema) -> Result<Self> {
        let fields = super::adopt::fields(arrow)?;
        let mut highest = 0;
        let mut open: Vec<&Field> = fields.iter().collect();
        while let Some(field) = open.pop() {
            highest = highest.max(field.id);
            open.extend(field.kind.children());
        }
        Self::from_parts(version, fields, highest)
    }

    /// The number that stands in each log batch.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The columns in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The highest id ever given in this table, also to fields that were dropped since.
    pub fn highest_field_id(&self) -> i32 {
        self.highest_field_id
    }

    /// The Arrow schema of the table's batches; always the same `Arc`.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Where the column called `name` stands.
    ///
    /// # Errors
    /// Invalid when there is none, with the name that was probably meant.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.fields.iter().position(|field| field.name == name).ok_or_else(|| self.unknown(name))
    }

    /// The column called `name`.
    ///
    /// # Errors
    /// Invalid when there is none, with the name that was probably meant.
    pub fn column(&self, name: &str) -> Result<&Field> {
        Ok(&self.fields[self.index_of(name)?])
    }

    /// Where the column with field id `id` stands, if it is there; nested fields are not looked at.
    pub fn index_of_id(&self, id: i32) -> Option<usize> {
        self.fields.iter().position(|field| field.id == id)
    }

    /// The column with field id `id`, if it is there; nested fields are not looked at.
    pub fn field(&self, id: i32) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// The field ids of `names`.
    ///
    /// # Errors
    /// Invalid when a name is unknown or named twice.
    pub fn ids_of<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<i32>> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let id = self.column(name.as_ref())?.id;
            if ids.contains(&id) {
                return Err(Error::invalid(format!("column `{}` is named twice", name.as_ref())));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::invalid(format!("unknown column `{name}`"));
        let hint = did_you_mean_of(name, self.fields.iter().map(|field| field.name.as_str()));
        if hint.is_empty() { error } else { error.hint(hint) }
    }
}

/// Gives ids in the order of Iceberg: all fields of one level, then what is nested in each.
pub(super) fn assign_ids(fields: Vec<&mut Field>, highest: &mut i32) {
    let mut nested = Vec::new();
    for field in fields {
        *highest += 1;
        field.id = *highest;
        nested.push(&mut field.kind);
    }
    for kind in nested {
        assign_ids(kind.children_mut(), highest);
    }
}

/// Checks depth and number of fields, before anything recurses into them.
fn check_size(fields: &[Field]) -> Result<()> {
    let mut count = 0;
    let mut open: Vec<(&Field, usize)> = fields.iter().map(|field| (field, 1)).collect();
    while let Some((field, depth)) = open.pop() {
        count += 1;
        if depth > DEPTH_MAX {
            return Err(Error::invalid(format!("column nests deeper than {DEPTH_MAX} levels")).at("field", &field.name));
        }
        if count > FIELDS_MAX {
            return Err(Error::invalid(format!("more than {FIELDS_MAX} fields")));
        }
        open.extend(field.kind.children().into_iter().map(|child| (child, depth + 1)));
    }
    Ok(())
}

fn check_fields<'a>(fields: &[&'a Field], highest: i32, ids: &mut HashSet<i32>) -> Result<()> {
    let mut names: HashSet<&'a str> = HashSet::new();
    for field in fields {
        check_name(&field.name)?;
        if !names.insert(&field.name) {
            return Err(Error::invalid(format!("two columns are called `{}`", field.name)));
        }
        if field.id < 1 || field.id > highest || !ids.insert(field.id) {
            let message = format!("field id {} is used twice or not within 1 to {highest}", field.id);
            return Err(Error::invalid(message).at("column", &field.name));
        }
        check_kind(&field.kind).map_err(|error| error.at("column", &field.name))?;
        check_fields(&field.kind.children(), highest, ids).map_err(|error| error.at("column", &field.name))?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > FIELD_NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        let message = format!("{name:?} is not the name of a column");
        return Err(Error::invalid(message).hint(format!("names have 1 to {FIELD_NAME_LENGTH_MAX} bytes and no control characters")));
    }
    Ok(())
}

fn check_kind(kind: &ColumnType) -> Result<()> {
    match kind {
        ColumnType::Decimal { precision, scale } if *precision > DECIMAL_PRECISION_MAX || scale > precision || *precision == 0 => {
            Err(Error::invalid(format!("{kind} is out of range")))
        }
        ColumnType::FixedBinary(width) if !(1..=FIXED_BINARY_WIDTH_MAX).contains(width) => {
            Err(Error::invalid(format!("{kind} is out of range")).hint(format!("the width is 1 to {FIXED_BINARY_WIDTH_MAX} bytes")))
        }
        ColumnType::Map { key, .. } if key.nullable => Err(Error::invalid("keys of a map are never null")),
        ColumnType::Struct(fields) if fields.is_empty() => Err(Error::invalid("a struct needs at least one field")),
        ColumnType::Timestamp { zone: Some(zone), .. } if !super::types::is_zone(zone) => {
            Err(Error::invalid(format!("{zone:?} is not the name of a time zone")).hint("as in UTC, +02:00, Europe/Berlin"))
        }
        _ => Ok(()),
    }
}

/// The JSON of a schema.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSchema {
    version: i16,
    fields: Vec<Field>,
    highest_field_id: i32,
}

impl From<TableSchema> for StoredSchema {
    fn from(schema: TableSchema) -> Self {
        StoredSchema { version: schema.version, fields: schema.fields.to_vec(), highest_field_id: schema.highest_field_id }
    }
}

impl TryFrom<StoredSchema> for TableSchema {
    type Error = Error;

    fn try_from(stored: StoredSchema) -> Result<Self> {
        TableSchema::from_parts(stored.version, stored.fields, stored.highest_field_id)
    }
}

#[cfg(test)]
mod tests;
