//! Everything the catalog knows of a table: name, id, schemas, keys, partitions, buckets, options.
//!
//! Invariant (kept by [`TableSpec::check`]): every field id named here is a column of the current schema, and old schemas stay,
//! because batches written with them stay. Knows nothing of files and offsets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::changelog::Changelog;
use super::expiry::Expiry;
use super::name::TableName;
use super::options::{Statistics, TableOptions};
use super::partition::PartitionField;
use super::schema::{Field, TableSchema};
use super::types::ColumnType;
use crate::error::{Error, Result};

/// Most buckets of a table: as many slots as the commit page has beside the store's and the table's own.
pub const BUCKETS_MAX: u32 = 65_534;
/// Most versions that the schema of a table can have: the number of a version is 16 bits in a batch.
pub const SCHEMA_VERSIONS_MAX: usize = 1 << 15;

/// What the catalog knows of a table. Its JSON is stable; fields that are not known are refused, for they would be lost with the next change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// The name.
    pub name: TableName,
    /// The number that stands in frames and names the directory; never used twice in a store.
    pub id: u32,
    /// Every version of the schema.
    pub schemas: SchemaHistory,
    /// Field ids of the primary key; empty for a log table.
    #[serde(default)]
    pub primary_key: Vec<i32>,
    /// What cuts the table into partitions; empty for a single one.
    #[serde(default)]
    pub partition_by: Vec<PartitionField>,
    /// Buckets of each partition.
    pub buckets: u32,
    /// Field ids whose hash chooses the bucket; empty when the writer may choose.
    #[serde(default)]
    pub bucket_key: Vec<i32>,
    /// The settings.
    #[serde(default)]
    pub options: TableOptions,
    /// How rows of one key are merged and what its log says of it, by Paimon's names: `merge-engine` and what goes with it, `changelog-producer`.
    /// Empty keeps the last row of each key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merge: BTreeMap<String, String>,
    /// How often that has changed since the table was created.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merge_changes: u32,
    /// When the table was created, in milliseconds since 1970.
    pub created_ms: u64,
}

impl TableSpec {
    /// A log table with one bucket, one partition and default options. Set the rest, then [`TableSpec::check`].
    pub fn new(name: TableName, id: u32, schema: TableSchema, created_ms: u64) -> Self {
        TableSpec {
            name,
            id,
            schemas: SchemaHistory(vec![schema]),
            primary_key: Vec::new(),
            partition_by: Vec::new(),
            buckets: 1,
            bucket_key: Vec::new(),
            options: TableOptions::default(),
            merge: BTreeMap::new(),
            merge_changes: 0,
            created_ms,
        }
    }

    /// The current schema.
    pub fn schema(&self) -> &TableSchema {
        self.schemas.current()
    }

    /// What rows of this table are read and merged by.
    pub fn generation(&self) -> Generation {
        Generation { schema: self.schema().version(), merge: self.merge_changes }
    }

    /// The schema of a batch that carries `version`, if there was one.
    pub fn schema_at(&self, version: i16) -> Option<&TableSchema> {
        self.schemas.get(version)
    }

    /// The table as it was when its schema had `version`, and rows were merged like this; `None` when there was no such version.
    pub fn as_it_was(&self, version: i16, merge: &BTreeMap<String, String>) -> Option<TableSpec> {
        let schemas = self.schemas.up_to(version)?;
        let mut was = TableSpec { schemas, merge: merge.clone(), ..self.clone() };
        // Rows expire by the column that has their time now, whatever its name was then; without it they do not.
        let time = self.options.record_time_field.as_ref().and_then(|name| self.schema().column(name).ok());
        was.options.record_time_field = time.and_then(|time| was.schema().field(time.id)).map(|field| field.name.clone());
        was.options.record_expire_ms = self.options.record_expire_ms.filter(|_| was.options.record_time_field.is_some());
        Some(was)
    }

    /// The columns whose hash chooses the bucket: the bucket key, else the primary key without what partitions the table, or all of it when that is nothing: a key is
    /// in one bucket whatever happens. Empty when the writer may choose.
    pub fn hashed_columns(&self) -> Vec<i32> {
        if !self.bucket_key.is_empty() {
            return self.bucket_key.clone();
        }
        let partitioned = |id: &i32| self.partition_by.iter().any(|field| field.source == *id);
        let rest: Vec<i32> = self.primary_key.iter().copied().filter(|id| !partitioned(id)).collect();
        if rest.is_empty() { self.primary_key.clone() } else { rest }
    }

    /// Where the columns that have statistics stand in `schema`, a version of this table's.
    pub fn statistics_columns(&self, schema: &TableSchema) -> Vec<usize> {
        let wanted = |field: &Field| match &self.options.statistics {
            Statistics::Times => matches!(field.kind, ColumnType::Date | ColumnType::Time(..) | ColumnType::Timestamp { .. }),
            Statistics::All => has_statistics(&field.kind),
            Statistics::None => false,
            Statistics::Columns(names) => names.iter().any(|name| self.schema().column(name).is_ok_and(|column| column.id == field.id)),
        };
        let columns = schema.fields().iter().enumerate();
        columns.filter(|(_, field)| wanted(field)).map(|(index, _)| index).collect()
    }

    /// Checks all parts against each other.
    ///
    /// # Errors
    /// Invalid, saying which part is wrong.
    pub fn check(&self) -> Result<()> {
        let located = |error: Error| error.at("table", &self.name);
        if self.buckets == 0 || self.buckets > BUCKETS_MAX {
            return Err(located(Error::invalid(format!("{} buckets are out of range", self.buckets)).hint(format!("1 to {BUCKETS_MAX}"))));
        }
        self.check_key("primary key", &self.primary_key).map_err(located)?;
        self.check_key("bucket key", &self.bucket_key).map_err(located)?;
        if let Some(column) = self.primary_key.iter().filter_map(|id| self.schema().field(*id)).find(|column| column.nullable) {
            return Err(located(Error::invalid("a column of the primary key is nullable").at("column", &column.name)));
        }
        PartitionField::check(&self.partition_by, self.schema()).map_err(located)?;
        self.check_places().map_err(located)?;
        if let Some(option) = self.options.set_for_snapshots().filter(|_| self.primary_key.is_empty()) {
            let keyless = Error::invalid("a table without a primary key has no snapshots").at("option", option);
            return Err(located(keyless.hint("its log has all rows: leave the option out")));
        }
        if self.options.write_only && self.primary_key.is_empty() {
            let keyless = Error::invalid("a table without a primary key has no runs to merge").at("option", "write-only");
            return Err(located(keyless.hint("leave the option out")));
        }
        Expiry::of(self).map_err(located)?;
        self.check_statistics().map_err(located)
    }

    fn check_key(&self, what: &str, key: &[i32]) -> Result<()> {
        for (index, id) in key.iter().enumerate() {
            let Some(column) = self.schema().field(*id) else {
                return Err(Error::invalid(format!("the {what} names a column that does not exist")).at("field id", id));
            };
            if key[..index].contains(id) {
                return Err(Error::invalid(format!("the {what} names a column twice")).at("column", &column.name));
            }
            if column.kind.is_nested() {
                let message = format!("{} cannot be in the {what}", column.kind);
                return Err(Error::invalid(message).at("column", &column.name).hint("use columns without nested fields"));
            }
        }
        Ok(())
    }

    /// All rows of a key must go to one bucket, or they would not meet.
    fn check_places(&self) -> Result<()> {
        if self.primary_key.is_empty() {
            return Ok(());
        }
        let named = self
            .partition_by
            .iter()
            .map(|field| ("is partitioned by", field.source))
            .chain(self.bucket_key.iter().map(|id| ("has a bucket key with", *id)));
        for (how, id) in named {
            let Some(column) = self.schema().field(id).filter(|_| !self.primary_key.contains(&id)) else { continue };
            let outside = Error::invalid(format!("a table with a primary key {how} a column outside of it")).at("column", &column.name);
            return Err(outside.hint("add the column to the primary key, or rows of one key would be in several places"));
        }
        Ok(())
    }

    fn check_statistics(&self) -> Result<()> {
        let Statistics::Columns(names) = &self.options.statistics else { return Ok(()) };
        for name in names {
            let column = self.schema().column(name).map_err(|error| error.at("option", "statistics.columns"))?;
            if !has_statistics(&column.kind) {
                let error = Error::invalid(format!("{} has no statistics", column.kind)).at("column", name);
                return Err(error.at("option", "statistics.columns").hint("leave it out"));
            }
        }
        Ok(())
    }

    /// What its log holds, when its rows have keys.
    ///
    /// # Errors
    /// Invalid for an option that there is not.
    pub fn changelog(&self) -> Result<Changelog> {
        Changelog::of(&self.merge).map_err(|error| error.at("table", &self.name))
    }

    /// Whether this program may write rows to the table.
    ///
    /// # Errors
    /// Invalid for a table that says more than this program understands.
    pub fn check_writable(&self) -> Result<()> {
        self.options.check_known().map_err(|error| error.at("table", &self.name))
    }

    /// The JSON that the catalog keeps.
    ///
    /// # Errors
    /// Internal; a spec has nothing that JSON cannot hold.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal("cannot write a table as JSON").caused_by(error))
    }

    /// Reads and checks what [`TableSpec::to_json`] wrote, here or in another version of the program.
    ///
    /// # Errors
    /// Corrupt when it is not the JSON of a valid table.
    pub fn from_json(json: &str) -> Result<Self> {
        let corrupt = |why: String| Error::corrupt(format!("the catalog holds no valid table: {why}"));
        let spec: TableSpec = serde_json::from_str(json).map_err(|error| corrupt(error.to_string()))?;
        spec.check().map_err(|error| corrupt(error.to_string()))?;
        Ok(spec)
    }
}

/// Whether batches can carry minimum and maximum of a column: fixed width or text, and comparable with a literal.
fn has_statistics(kind: &ColumnType) -> bool {
    !kind.is_nested() && !matches!(kind, ColumnType::Binary | ColumnType::FixedBinary(_))
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Grows with each change after which rows are read or merged in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// The version of the schema.
    pub schema: i16,
    /// Changes of how rows of a key are merged.
    pub merge: u32,
}

/// The versions of a schema, oldest first: never empty, numbered from 0 without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<TableSchema>", into = "Vec<TableSchema>")]
pub struct SchemaHistory(Vec<TableSchema>);

impl SchemaHistory {
    /// The newest version.
    pub fn current(&self) -> &TableSchema {
        self.0.last().expect("a history is never empty")
    }

    /// One version.
    pub fn get(&self, version: i16) -> Option<&TableSchema> {
        self.0.get(usize::try_from(version).ok()?)
    }

    /// As it was when `version` was the newest.
    fn up_to(&self, version: i16) -> Option<SchemaHistory> {
        let versions = self.0.get(..=usize::try_from(version).ok()?)?;
        Some(SchemaHistory(versions.to_vec()))
    }

    /// All versions, oldest first.
    pub fn all(&self) -> &[TableSchema] {
        &self.0
    }

    /// Adds the next version.
    ///
    /// # Errors
    /// Exhausted when the version does not fit in 16 bits any more; Internal when it is not the next one.
    pub fn push(&mut self, next: TableSchema) -> Result<()> {
        if self.0.len() >= SCHEMA_VERSIONS_MAX {
            return Err(Error::exhausted(format!("the schema has changed {SCHEMA_VERSIONS_MAX} times")).hint("copy the table"));
        }
        if usize::try_from(next.version()) != Ok(self.0.len()) {
            return Err(Error::internal(format!("schema version {} does not follow {}", next.version(), self.0.len() - 1)));
        }
        self.0.push(next);
        Ok(())
    }
}

impl TryFrom<Vec<TableSchema>> for SchemaHistory {
    type Error = Error;

    fn try_from(schemas: Vec<TableSchema>) -> Result<Self> {
        let in_order = schemas.iter().enumerate().all(|(index, schema)| usize::try_from(schema.version()) == Ok(index));
        if schemas.is_empty() || schemas.len() > SCHEMA_VERSIONS_MAX || !in_order {
            return Err(Error::invalid("the versions of the schema are not numbered from 0 without gaps"));
        }
        Ok(SchemaHistory(schemas))
    }
}

impl From<SchemaHistory> for Vec<TableSchema> {
    fn from(history: SchemaHistory) -> Self {
        history.0
    }
}

#[cfg(test)]
mod tests;
