//! A table as embedders hold it.
//!
//! Invariant: a handle stays good when the table is altered, and answers NotFound once it is dropped. This module knows nothing of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use serde::Serialize;

use super::alter::set_option;
use super::lookup::{Rows, lookup, lookup_at};
use super::open::Inner;
use super::prefix::{PrefixRows, lookup_prefix, lookup_prefix_at};
use super::scanner::ScanBuilder;
use super::snapshots::Version;
use super::writer::{Writer, WriterOptions};
use crate::error::{Error, Result};
use crate::merge::merge_function;
use crate::table::{Changelog, KeyEncoder, PartitionField, TableName, TableSchema, TableSpec, parse_schema_file, supported, types};

/// What a new table should be.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Its columns. Types are stored as [`crate::store`] supports them: see [`Table::schema`] for what became of them.
    pub schema: SchemaRef,
    /// As in `country, day(time)`; empty for none.
    pub partition_by: String,
    /// Buckets of each partition (or of the table).
    pub buckets: u32,
    /// Columns whose hash says which bucket a row goes to; empty lets the writer spread batches.
    pub bucket_key: Vec<String>,
    /// Columns whose values tell one row from another; empty for a log table. They hold no nulls, whatever `schema` says.
    pub primary_key: Vec<String>,
    /// As in `compression` = `zstd`, or `merge-engine` = `first-row` in a table with a primary key; see [`super::TableOptions`].
    pub options: Vec<(String, String)>,
}

impl CreateTable {
    /// A table of these columns with one bucket and default options.
    pub fn like(schema: SchemaRef) -> Self {
        CreateTable {
            schema,
            partition_by: String::new(),
            buckets: 1,
            bucket_key: Vec::new(),
            primary_key: Vec::new(),
            options: Vec::new(),
        }
    }

    /// With so many buckets.
    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// With rows spread by the hash of these columns.
    #[must_use]
    pub fn bucket_key(mut self, columns: &[&str]) -> Self {
        self.bucket_key = columns.iter().map(|column| column.to_string()).collect();
        self
    }

    /// With rows that are told apart by these columns: they are upserted, not appended.
    #[must_use]
    pub fn primary_key(mut self, columns: &[&str]) -> Self {
        self.primary_key = columns.iter().map(|column| column.to_string()).collect();
        self
    }

    /// With partitions, as in `country, day(time)`.
    #[must_use]
    pub fn partition_by(mut self, fields: &str) -> Self {
        self.partition_by = fields.to_string();
        self
    }

    /// With an option.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_string(), value.to_string()));
        self
    }

    /// The spec, checked.
    pub(super) fn spec(&self, name: &TableName, id: u32, created_ms: u64) -> Result<TableSpec> {
        let schema = self.with_key_columns(supported(&self.schema)?)?;
        let mut spec = TableSpec::new(name.clone(), id, schema, created_ms);
        if !self.partition_by.trim().is_empty() {
            spec.partition_by =
                PartitionField::parse_list(&self.partition_by, spec.schema()).map_err(|error| error.at("in", "the partitions"))?;
        }
        spec.buckets = self.buckets;
        spec.bucket_key = spec.schema().ids_of(&self.bucket_key).map_err(|error| error.at("in", "the bucket key"))?;
        spec.primary_key = spec.schema().ids_of(&self.primary_key).map_err(|error| error.at("in", "the primary key"))?;
        for (name, value) in &self.options {
            if Changelog::has_option(name) && self.primary_key.is_empty() {
                let keyless = Error::invalid("a log table has no changelog: its rows are never changed").at("option", name);
                return Err(keyless.hint("leave it out, or give the table a primary key"));
            }
            set_option(&mut spec, name, value)?;
        }
        spec.check()?;
        spec.options.check_retained()?;
        if !spec.primary_key.is_empty() {
            KeyEncoder::new(spec.schema(), &spec.primary_key)?;
            merge_function(&spec.merge, spec.schema(), &spec.primary_key)?;
        }
        Ok(spec)
    }

    /// What tells rows apart is never null.
    fn with_key_columns(&self, schema: TableSchema) -> Result<TableSchema> {
        let mut fields = schema.fields().to_vec();
        for field in fields.iter_mut().filter(|field| self.primary_key.contains(&field.name)) {
            field.nullable = false;
        }
        TableSchema::from_parts(schema.version(), fields, schema.highest_field_id())
    }
}

/// The columns that a schema file describes: TOML, with `[[field]]`, `name`, `type` and `nullable` (true unless it says no).
///
/// Errors: Invalid, with the line, for what is not understood.
pub fn parse_schema(text: &str) -> Result<SchemaRef> {
    Ok(parse_schema_file(text)?.arrow().clone())
}

/// The Arrow type of a name such as `int64`, `decimal128(10,2)`, `timestamp(us, UTC)` or `list<utf8>`.
///
/// Errors: Invalid, with what was probably meant.
pub fn parse_type(text: &str) -> Result<DataType> {
    Ok(types::parse_type(text)?.to_arrow())
}

/// A table of a store. Clones are cheap.
#[derive(Clone)]
pub struct Table {
    pub(super) store: Arc<Inner>,
    pub(super) id: u32,
    pub(super) name: TableName,
}

/// One line of `aquifer list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableSummary {
    /// `name`, or `db.name` outside the default database.
    pub name: String,
    /// Unique in the store for ever.
    pub id: u32,
    /// Columns.
    pub columns: usize,
    /// Partitions; 1 in a table without partitions.
    pub partitions: usize,
    /// Buckets of each partition.
    pub buckets: u32,
}

/// What `aquifer describe` prints.
#[derive(Clone, Debug, Serialize)]
pub struct TableDescription {
    /// `name`, or `db.name` outside the default database.
    pub name: String,
    /// Unique in the store for ever.
    pub id: u32,
    /// The version of its schema.
    pub schema_version: i16,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
    /// Its partition fields, as in `day(time)`.
    pub partition_by: Vec<String>,
    /// Names of its partitions; empty in a table without.
    pub partitions: Vec<String>,
    /// Buckets of each partition.
    pub buckets: u32,
    /// Columns of the bucket key.
    pub bucket_key: Vec<String>,
    /// Columns of the primary key; empty in a log table.
    pub primary_key: Vec<String>,
    /// How rows of one key are merged, as it was asked for.
    pub merge: BTreeMap<String, String>,
    /// What the log of a table with a primary key holds: `input`, rows as they were written, or `lookup`, what became of each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changelog: Option<String>,
    /// Its options: name, value, whether that is the default, what for.
    pub options: Vec<OptionDescription>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// One column of a [`TableDescription`].
#[derive(Clone, Debug, Serialize)]
pub struct ColumnDescription {
    /// Never changes, whatever the column is called.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// As a schema file has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may hold nulls.
    pub nullable: bool,
}

/// One option of a [`TableDescription`].
#[derive(Clone, Debug, Serialize)]
pub struct OptionDescription {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether nobody set it.
    pub is_default: bool,
    /// What it is for.
    pub description: String,
}

impl Table {
    pub(super) fn new(store: Arc<Inner>, id: u32, name: TableName) -> Self {
        Table { store, id, name }
    }

    /// `name`, or `db.name` outside the default database.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// The columns as they are now.
    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(self.store.entry(self.id, &self.name)?.spec.schema().arrow().clone())
    }

    /// A writer. Each thread should have its own; they share the device well.
    pub fn writer(&self) -> Result<Writer> {
        self.writer_with(WriterOptions::default())
    }

    /// A writer with options, such as an identity that makes what it sends again count once.
    pub fn writer_with(&self, options: WriterOptions) -> Result<Writer> {
        Writer::new(self.clone(), options)
    }

    /// A scan to be described: columns, filter, where from, following or not.
    pub fn scan(&self) -> ScanBuilder {
        ScanBuilder::new(self.clone())
    }

    /// The changes of a table with a primary key as they were written, each with its `_op`: a scan of its log.
    pub fn changes(&self) -> ScanBuilder {
        ScanBuilder::of_changes(self.clone())
    }

    /// The row of each key, as it is now. `keys` has the columns of the primary key; others do not matter.
    ///
    /// Errors: Invalid for a table without a primary key, or for values that are no keys; Exhausted for more than [`super::LOOKUP_KEYS_MAX`].
    pub fn lookup(&self, keys: &RecordBatch) -> Result<Rows> {
        lookup(self, keys)
    }

    /// As [`Table::lookup`], of the rows as a snapshot has them.
    ///
    /// Errors: as [`Table::lookup`]; NotFound when there is no such snapshot.
    pub fn lookup_at(&self, keys: &RecordBatch, version: &Version) -> Result<Rows> {
        lookup_at(self, keys, version)
    }

    /// The rows whose primary key begins with these values: `prefixes` has its first column, or its first few, and no others. Only the bucket of each is
    /// read if they have the columns that choose it (the bucket key, else all of the key), else all buckets.
    ///
    /// Errors: Invalid for a table without a primary key, for other columns, or values that are none; Exhausted for more than [`super::LOOKUP_KEYS_MAX`] prefixes, or
    /// more than [`super::PREFIX_ROWS_MAX`] rows.
    pub fn lookup_prefix(&self, prefixes: &RecordBatch) -> Result<PrefixRows> {
        lookup_prefix(self, prefixes)
    }

    /// As [`Table::lookup_prefix`], of the rows as a snapshot has them.
    ///
    /// Errors: as [`Table::lookup_prefix`]; NotFound when there is no such snapshot.
    pub fn lookup_prefix_at(&self, prefixes: &RecordBatch, version: &Version) -> Result<PrefixRows> {
        lookup_prefix_at(self, prefixes, version)
    }

    /// Everything that is known of it but its rows.
    pub fn describe(&self) -> Result<TableDescription> {
        let entry = self.store.entry(self.id, &self.name)?;
        let spec = &entry.spec;
        let column = |field: &crate::table::Field| ColumnDescription {
            id: field.id,
            name: field.name.clone(),
            kind: field.kind.to_string(),
            nullable: field.nullable,
        };
        let option = |(doc, value, is_default): (crate::table::OptionDoc, String, bool)| OptionDescription {
            name: doc.name.to_string(),
            value,
            is_default,
            description: doc.doc.to_string(),
        };
        let is_keyed = !spec.primary_key.is_empty();
        let is_had = |(doc, _, is_default): &(crate::table::OptionDoc, String, bool)| is_keyed || !doc.is_of_keyed_tables() || !is_default;
        let name_of = |id: &i32| spec.schema().field(*id).map_or_else(|| format!("#{id}"), |field| field.name.clone());
        Ok(TableDescription {
            name: self.name(),
            id: self.id,
            schema_version: spec.schema().version(),
            columns: spec.schema().fields().iter().map(column).collect(),
            partition_by: spec.partition_by.iter().map(|field| field.name.clone()).collect(),
            partitions: entry.partitions.values().filter(|partition| !partition.name.is_empty()).map(|p| p.name.clone()).collect(),
            buckets: spec.buckets,
            bucket_key: spec.bucket_key.iter().map(name_of).collect(),
            primary_key: spec.primary_key.iter().map(name_of).collect(),
            merge: spec.merge.clone(),
            changelog: match spec.primary_key.is_empty() {
                true => None,
                false => Some(spec.changelog()?.as_str().to_string()),
            },
            options: spec.options.describe().into_iter().filter(is_had).map(option).collect(),
            created_ms: spec.created_ms,
        })
    }
}

/// One line for each table, by name.
pub(super) fn summaries(store: &Inner) -> Result<Vec<TableSummary>> {
    let catalog = store.catalog()?;
    let mut all: Vec<TableSummary> = catalog
        .shown()
        .map(|entry| TableSummary {
            name: entry.spec.name.to_string(),
            id: entry.spec.id,
            columns: entry.spec.schema().fields().len(),
            partitions: entry.partitions.len(),
            buckets: entry.spec.buckets,
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
