//! Changes of a table that has rows: its columns and its options.
//!
//! Invariant: rows written before can be read after; a change is refused whole or made whole. This module knows nothing of rows.

use super::catalog::Edit;
use super::open::{Inner, no_such_table};
use crate::error::{Error, Result};
use crate::merge::merge_function;
pub use crate::table::evolution::{Change as ColumnChange, Position};
use crate::table::{Changelog, TableName};

/// One change of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of its columns.
    Column(ColumnChange),
    /// Of an option, as in `retention.ms` = `7d`.
    Option {
        /// Its name.
        name: String,
        /// Its new value.
        value: String,
    },
}

impl Change {
    /// A new column, as in `price decimal128(10,2)`, behind the others or at a place: `price double after name`, `price double first`.
    pub fn add_column(text: &str) -> Result<Self> {
        ColumnChange::parse_add(text).map(Change::Column)
    }

    /// Another name, as in `old=new`.
    pub fn rename_column(text: &str) -> Result<Self> {
        ColumnChange::parse_rename(text).map(Change::Column)
    }

    /// A wider type, as in `count int64`.
    pub fn widen_column(text: &str) -> Result<Self> {
        ColumnChange::parse_widen(text).map(Change::Column)
    }

    /// A column goes.
    pub fn drop_column(name: &str) -> Self {
        Change::Column(ColumnChange::Drop { name: name.to_string() })
    }

    /// An option gets another value.
    pub fn set_option(name: &str, value: &str) -> Self {
        Change::Option { name: name.to_string(), value: value.to_string() }
    }
}

/// Makes all changes, or none.
pub(super) fn alter(store: &Inner, name: &TableName, changes: &[Change]) -> Result<()> {
    let columns: Vec<ColumnChange> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Column(change) => Some(change.clone()),
            Change::Option { .. } => None,
        })
        .collect();
    let spec = store.change(|catalog| {
        let entry = catalog.find(name).ok_or_else(|| no_such_table(catalog, name))?;
        entry.spec.options.check_known().map_err(|error| error.at("table", name))?;
        let mut spec = match columns.is_empty() {
            true => entry.spec.clone(),
            false => entry.spec.evolve(&columns)?,
        };
        for change in changes {
            if let Change::Option { name, value } = change {
                if Changelog::has_option(name) {
                    let fixed = Error::invalid("what the log of a table holds is fixed when the table is created").at("option", name);
                    return Err(fixed.hint("create another table with it, and upsert the rows of this one there"));
                }
                spec.options.set(name, value)?;
            }
        }
        spec.check()?;
        if !spec.primary_key.is_empty() {
            merge_function(&spec.merge, spec.schema(), &spec.primary_key)
                .map_err(|error| error.at("table", name).hint("the table's merge options name its columns as they are"))?;
        }
        Ok((vec![Edit::TableAltered { spec: spec.clone() }], spec))
    })?;
    store.apply_policy(&spec)
}
