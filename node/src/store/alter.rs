//! Changes of a table that has rows: its columns and its options.
//!
//! Invariants: rows written before can be read after; a change is refused whole or made whole; rows are merged as the table was when they were written. This
//! module knows nothing of where rows lie.

use super::catalog::{Edit, TableEntry};
use super::open::{Inner, no_such_table};
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::merge::names::Followed;
use crate::merge::{MergeFunction, changes_totals, follow_columns, is_merge_option, kept_value, merge_function, reads_values};
pub use crate::table::evolution::{Change as ColumnChange, Position};
use crate::table::key_range::KeyRanges;
use crate::table::{Changelog, TableName, TableSpec};

/// One change of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of its columns.
    Column(ColumnChange),
    /// Of an option, as in `retention.ms` = `7d`, or `merge-engine` = `first-row` in a table with a primary key.
    Option {
        /// Its name.
        name: String,
        /// Its new value.
        value: String,
    },
    /// Of an option, to its default.
    Reset {
        /// Its name.
        name: String,
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

    fn of_columns(&self) -> Option<ColumnChange> {
        match self {
            Change::Column(change) => Some(change.clone()),
            Change::Option { .. } | Change::Reset { .. } => None,
        }
    }

    /// An option gets its default again.
    pub fn reset_option(name: &str) -> Self {
        Change::Reset { name: name.to_string() }
    }

    /// An option gets another value.
    pub fn set_option(name: &str, value: &str) -> Self {
        Change::Option { name: name.to_string(), value: value.to_string() }
    }
}

/// Makes all changes, or none. When rows of a key are merged in another way from now on, those that are there are merged first, in the way that they
/// were written for: writers wait meanwhile.
pub(super) fn alter(store: &Inner, name: &TableName, changes: &[Change]) -> Result<()> {
    let catalog = store.catalog()?;
    let before = catalog.find(name).ok_or_else(|| no_such_table(&catalog, name))?;
    let id = before.spec.id;
    let after = altered(before, changes)?;
    if after.merge_changes == before.spec.merge_changes {
        return store.apply_policy(&commit(store, name, changes, None)?);
    }
    let gate = store.gate(id)?;
    let _closed = gate.close();
    merge_rows(store, &*store.entry(id, name)?, &after)?;
    store.apply_policy(&commit(store, name, changes, Some(id))?)
}

/// Changes the catalog. `settled` is the table whose rows are merged, as a change of how they are merged needs it.
fn commit(store: &Inner, name: &TableName, changes: &[Change], settled: Option<u32>) -> Result<TableSpec> {
    store.change(|catalog| {
        let before = catalog.find(name).ok_or_else(|| no_such_table(catalog, name))?;
        let spec = altered(before, changes)?;
        if spec.merge_changes != before.spec.merge_changes && settled != Some(spec.id) {
            return Err(Error::conflict("the table was changed by somebody else").at("table", name).hint("try again"));
        }
        Ok((vec![Edit::TableAltered { spec: spec.clone() }], spec))
    })
}

/// What the changes make of a table.
fn altered(entry: &TableEntry, changes: &[Change]) -> Result<TableSpec> {
    let before = &entry.spec;
    let located = |error: Error| error.at("table", &before.name);
    before.options.check_known().map_err(located)?;
    let columns: Vec<ColumnChange> = changes.iter().filter_map(Change::of_columns).collect();
    let mut spec = match columns.is_empty() {
        true => before.clone(),
        false => before.evolve(&columns)?,
    };
    let Followed { options, mut orphans } = follow_columns(&before.merge, before.schema(), spec.schema());
    let is_bereft = !orphans.is_empty();
    spec.merge.clone_from(&options);
    for change in changes {
        match change {
            Change::Column(_) => {}
            Change::Option { name, .. } | Change::Reset { name } if Changelog::has_option(name.trim()) => {
                let fixed = Error::invalid("what the log of a table holds is fixed when the table is created").at("option", name);
                return Err(located(fixed).hint("create another table with it, and upsert the rows of this one there"));
            }
            Change::Option { name, value } => {
                orphans.remove(name.trim());
                set_option(&mut spec, name, value).map_err(located)?;
            }
            Change::Reset { name } => {
                let name = name.trim();
                let was_set = orphans.remove(name).or_else(|| spec.merge.remove(name)).is_some();
                let may_be_set = !spec.primary_key.is_empty() && is_merge_option(name);
                if !was_set && !may_be_set {
                    spec.options.reset(name).map_err(located)?;
                }
            }
        }
    }
    if let Some((option, column)) = orphans.first_key_value() {
        let named = Error::invalid("a column is dropped that a merge option names").at("column", column).at("option", option);
        return Err(located(named).hint(format!("change the option too, or take it away with `--reset {option}`")));
    }
    spec.check()?;
    if spec.options != before.options {
        spec.options.check_retained().map_err(located)?;
    }
    if !spec.primary_key.is_empty() {
        merge_function(&spec.merge, spec.schema(), &spec.primary_key).map_err(located)?;
    }
    let is_other_total = changes_totals(&options, before.schema(), spec.schema());
    spec.merge_changes += u32::from(is_bereft || is_other_total || spec.merge != options);
    Ok(spec)
}

/// Sets an option: of the table, or of how rows with the same primary key are merged.
pub(super) fn set_option(spec: &mut TableSpec, name: &str, value: &str) -> Result<()> {
    let name = name.trim();
    match spec.options.get(name) {
        None if !spec.primary_key.is_empty() => _ = spec.merge.insert(name.to_string(), kept_value(name, value).to_string()),
        None if is_merge_option(name) => {
            let keyless = Error::invalid("a table without a primary key merges no rows").at("option", name);
            return Err(keyless.hint("leave the option out, or create the table with a primary key"));
        }
        _ => spec.options.set(name, value)?,
    }
    Ok(())
}

/// Merges the rows of a table as it is, one run a bucket, and checks that `after` can go on from there.
fn merge_rows(store: &Inner, entry: &TableEntry, after: &TableSpec) -> Result<()> {
    let function = merge_function(&after.merge, after.schema(), &after.primary_key)?;
    for &partition_id in entry.partitions.keys() {
        for number in 0..entry.spec.buckets {
            let key = (entry.spec.id, partition_id, number);
            let was_open = store.is_open(key)?;
            let bucket = store.bucket(entry, partition_id, number)?;
            let merged = bucket.merge_all().and_then(|()| match reads_values(&after.merge) {
                true => check_values(&bucket, &*function),
                false => Ok(()),
            });
            if !was_open {
                store.let_go(key, bucket)?;
            }
            merged.map_err(|error| error.at("table", &entry.spec.name))?;
        }
    }
    Ok(())
}

/// Values that a function cannot read would fail every merge from now on.
fn check_values(bucket: &Bucket, function: &dyn MergeFunction) -> Result<()> {
    let Some(tree) = bucket.tree() else { return Ok(()) };
    let pinned = tree.pin(bucket.view())?;
    let all: Vec<usize> = (0..pinned.schema().fields().len()).collect();
    let mut rows = pinned.rows(&all, &KeyRanges::all())?;
    while let Some(tile) = rows.next_tile()? {
        function.check_rows(&tile.batch()?).map_err(|error| error.hint("rows that are there do not fit; create a new table"))?;
    }
    Ok(())
}
