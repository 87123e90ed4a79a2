//! The merge function of a table, from its options by Paimon's names.
//!
//! Invariant: what comes out keeps the laws of [`MergeFunction`], but for the retractions that [`super::aggregate`] names; options under which the result
//! of rows alone would depend on what was merged first are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::aggregate::{Aggregate, Function};
use super::aggregation::Aggregation;
use super::deduplicate::Deduplicate;
use super::deletes::Deletes;
use super::first_row::FirstRow;
use super::function::MergeFunction;
use super::partial_update::{PartialUpdate, SequenceGroup};
use super::sequence::Sequence;
use crate::error::{Error, Result};
use crate::table::changelog::{CHANGELOG_IMAGE, CHANGELOG_PRODUCER};
use crate::table::options::OPTIONS as TABLE_OPTIONS;
use crate::table::{Changelog, ColumnType, Field, TableSchema, did_you_mean, parse_names};

/// The merge engines.
pub const ENGINES: [&str; 4] = ["deduplicate", "first-row", "partial-update", "aggregation"];

/// Options that stand by themselves.
pub const OPTIONS: [&str; 8] = [
    "merge-engine",
    CHANGELOG_PRODUCER,
    CHANGELOG_IMAGE,
    SEQUENCE_FIELD,
    "ignore-delete",
    "partial-update.remove-record-on-delete",
    "aggregation.remove-record-on-delete",
    DEFAULT_FUNCTION,
];

/// Options of a field: `fields.X.` and one of these.
pub const FIELD_OPTIONS: [&str; 6] = ["aggregate-function", "ignore-retract", DELIMITER, "distinct", NESTED_KEY, SEQUENCE_GROUP];

/// What the name of an engine begins with that is a module of the user's.
const MODULE: &str = "wasm:";

const DEFAULT_FUNCTION: &str = "fields.default-aggregate-function";
pub(super) const SEQUENCE_FIELD: &str = "sequence.field";
pub(super) const SEQUENCE_GROUP: &str = "sequence-group";
pub(super) const NESTED_KEY: &str = "nested-key";
const DELIMITER: &str = "list-agg-delimiter";
const DELIMITER_DEFAULT: &str = ",";

/// Makes the merge function of a table with this schema, whose key has the columns with the field ids `key`.
///
/// # Errors
/// Invalid for an unknown engine, option, function or column, with the nearest name; for an option that the engine does not have; for an aggregate on a
/// type that has none; for columns that may not be null where a merge may leave them empty; for a function that rows in sequence order cannot have.
pub fn merge_function(options: &BTreeMap<String, String>, schema: &TableSchema, key: &[i32]) -> Result<Arc<dyn MergeFunction>> {
    let table = Table { options, schema, key };
    let engine = table.get("merge-engine").unwrap_or(ENGINES[0]);
    if engine.starts_with(MODULE) {
        let absent = Error::invalid("merge functions in WASM modules are not there yet").at("merge-engine", engine);
        return Err(absent.hint(format!("it is one of {}", ENGINES.join(", "))));
    }
    if !ENGINES.contains(&engine) {
        return Err(Error::invalid(format!("unknown merge engine `{engine}`")).hint(did_you_mean(engine, ENGINES)));
    }
    for name in options.keys().filter(|name| !Changelog::has_option(name)) {
        table.check_option(name, engine)?;
    }
    Changelog::of(options)?;
    let ignore_delete = table.flag("ignore-delete")?;
    Ok(match engine {
        "first-row" => Arc::new(FirstRow { ignore_delete }),
        "partial-update" => Arc::new(table.partial_update()?),
        "aggregation" => Arc::new(table.aggregation()?),
        _ => {
            Arc::new(Deduplicate { sequence: table.sequence("sequence.field", table.get("sequence.field").unwrap_or(""))?, ignore_delete })
        }
    })
}

struct Table<'a> {
    options: &'a BTreeMap<String, String>,
    schema: &'a TableSchema,
    key: &'a [i32],
}

impl<'a> Table<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.options.get(name).map(|value| value.trim())
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Error::invalid(format!("`{other}` is not true or false")).at("option", name)),
        }
    }

    /// Whether `name` is an option, and one of `engine`.
    fn check_option(&self, name: &str, engine: &str) -> Result<()> {
        let engines: &[&str] = match (name, field_option(name)) {
            ("merge-engine", _) | ("ignore-delete", _) => &ENGINES,
            ("sequence.field", _) => &["deduplicate", "aggregation"],
            ("partial-update.remove-record-on-delete", _) => &["partial-update"],
            ("aggregation.remove-record-on-delete", _) => &["aggregation"],
            (DEFAULT_FUNCTION, _) => &["partial-update", "aggregation"],
            (_, Some((_, SEQUENCE_GROUP))) => &["partial-update"],
            (_, Some((column, option))) if FIELD_OPTIONS.contains(&option) => {
                self.value_column(name, column)?;
                &["partial-update", "aggregation"]
            }
            (_, Some((column, option))) => {
                let known = FIELD_OPTIONS.map(|known| format!("fields.{column}.{known}"));
                let unknown = Error::invalid(format!("unknown option `{option}` of a field")).at("option", name);
                return Err(unknown.hint(did_you_mean(name, known.iter().map(String::as_str))));
            }
            _ => return Err(unknown_option(name)),
        };
        if engines.contains(&engine) {
            return Ok(());
        }
        let error = Error::invalid(format!("the merge engine `{engine}` has no option `{name}`"));
        Err(match (name, engine) {
            ("sequence.field", "partial-update") => {
                let error = Error::invalid(
                    "the merge engine `partial-update` cannot go by one `sequence.field`: a merged row would not say by which sequence each of its \
                     columns came, so that what a late row changes would depend on what was merged before it",
                );
                error.hint("say which columns go by which sequence: `fields.X.sequence-group` = a,b")
            }
            _ => error.hint(format!("it is one of {}", engines.join(", "))),
        })
    }

    /// The place of a column that is not part of the key.
    fn value_column(&self, option: &str, name: &str) -> Result<usize> {
        let index = self.schema.index_of(name).map_err(|error| error.at("option", option))?;
        if self.key.contains(&self.schema.fields()[index].id) {
            return Err(Error::invalid(format!("column `{name}` is part of the key")).at("option", option));
        }
        Ok(index)
    }

    fn columns(&self, option: &str, names: &str) -> Result<Vec<usize>> {
        let names = parse_names(names).map_err(|error| error.at("option", option))?;
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let column = self.value_column(option, &name)?;
            if columns.contains(&column) {
                return Err(Error::invalid(format!("column `{name}` is named twice")).at("option", option));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    fn sequence(&self, option: &str, names: &str) -> Result<Sequence> {
        let columns = self.columns(option, names)?;
        match columns.iter().find(|column| self.schema.fields()[**column].kind.is_nested()) {
            Some(column) => Err(Error::invalid("a nested column has no order").at("column", &self.schema.fields()[*column].name)),
            None => Ok(Sequence::new(columns)),
        }
    }

    /// The columns that are no part of the key. All must be able to be null.
    fn value_columns(&self) -> Result<Vec<usize>> {
        let values = self.schema.fields().iter().enumerate().filter(|(_, field)| !self.key.contains(&field.id));
        let check = |(index, field): (usize, &Field)| match field.nullable {
            true => Ok(index),
            false => Err(Error::invalid("a merge may leave a column empty that must not be null")
                .at("column", &field.name)
                .hint("let it be null, or use the merge engine deduplicate or first-row")),
        };
        values.map(check).collect()
    }

    fn deletes(&self, remove: &str, otherwise: Deletes) -> Result<Deletes> {
        match (self.flag("ignore-delete")?, self.flag(remove)?) {
            (true, true) => Err(Error::invalid(format!("`ignore-delete` and `{remove}` exclude each other"))),
            (true, false) => Ok(Deletes::Ignore),
            (false, true) => Ok(Deletes::Remove),
            (false, false) => Ok(otherwise),
        }
    }

    fn aggregation(&self) -> Result<Aggregation> {
        let sequence = self.sequence("sequence.field", self.get("sequence.field").unwrap_or(""))?;
        let values = self.value_columns()?.into_iter().filter(|column| !sequence.columns().contains(column));
        let default = self.get(DEFAULT_FUNCTION).unwrap_or("last_non_null_value");
        let aggregates = values.map(|column| self.aggregate(column, default, !sequence.is_empty())).collect::<Result<Vec<_>>>()?;
        let deletes = self.deletes("aggregation.remove-record-on-delete", Deletes::Retract)?;
        let is_unsure = |aggregate: &&Aggregate| aggregate.ignore_retract && aggregate.function.goes_by_sequence();
        match aggregates.iter().find(is_unsure) {
            Some(aggregate) if !sequence.is_empty() && deletes != Deletes::Ignore => Err(unsure(aggregate)),
            _ => Ok(Aggregation { aggregates, sequence, deletes }),
        }
    }

    fn partial_update(&self) -> Result<PartialUpdate> {
        let mut columns = self.value_columns()?;
        let mut groups = Vec::new();
        for (option, value) in self.options {
            let Some((names, SEQUENCE_GROUP)) = field_option(option) else { continue };
            let sequence = self.sequence(option, names)?;
            if sequence.is_empty() {
                return Err(Error::invalid("a sequence group has no sequence")
                    .at("option", option)
                    .hint("as in `fields.X.sequence-group` = a,b"));
            }
            let members = self.columns(option, value)?;
            for column in sequence.columns().iter().chain(&members) {
                let Some(place) = columns.iter().position(|free| free == column) else {
                    let name = &self.schema.fields()[*column].name;
                    return Err(Error::invalid(format!("column `{name}` goes by two sequences")).at("option", option));
                };
                columns.remove(place);
            }
            groups.push(self.sequence_group(sequence, members)?);
        }
        let is_aggregate =
            |column: &&usize| self.get(&format!("fields.{}.aggregate-function", self.schema.fields()[**column].name)).is_some();
        if let Some(column) = columns.iter().find(is_aggregate) {
            let error = Error::invalid("an aggregate of partial-update needs a sequence group");
            let name = &self.schema.fields()[*column].name;
            return Err(error.at("column", name).hint(format!("`fields.X.sequence-group` = {name}, where X says which row is newer")));
        }
        Ok(PartialUpdate { columns, groups, deletes: self.deletes("partial-update.remove-record-on-delete", Deletes::Refuse)? })
    }

    fn sequence_group(&self, sequence: Sequence, members: Vec<usize>) -> Result<SequenceGroup> {
        let mut group = SequenceGroup { sequence, ..SequenceGroup::default() };
        for column in members {
            let own = self.get(&format!("fields.{}.aggregate-function", self.schema.fields()[column].name));
            match own.or(self.get(DEFAULT_FUNCTION)) {
                Some(name) => group.aggregates.push(self.aggregate(column, name, true)?),
                None => group.columns.push(column),
            }
        }
        Ok(group)
    }

    /// The aggregate of a column, by its own function or else the default one.
    fn aggregate(&self, column: usize, default: &str, has_sequence: bool) -> Result<Aggregate> {
        let field = &self.schema.fields()[column];
        let option = |name: &str| format!("fields.{}.{name}", field.name);
        let located = |error: Error| error.at("column", &field.name);
        let function = self.function(field, self.get(&option("aggregate-function")).unwrap_or(default)).map_err(located)?;
        if !function.takes_type(&field.kind) {
            return Err(located(Error::invalid(format!("there is no `{}` of {}", function.name(), field.kind))));
        }
        if has_sequence && !function.takes_sequence() {
            let error =
                Error::invalid(format!("`{}` cannot go by a sequence: its result would not say where a late row belongs", function.name()));
            return Err(located(error).hint("use last_value, or a function to which order is nothing, such as max or sum"));
        }
        Ok(Aggregate { column, name: field.name.clone(), function, ignore_retract: self.flag(&option("ignore-retract"))? })
    }

    fn function(&self, field: &Field, name: &str) -> Result<Function> {
        Ok(match name {
            "sum" => Function::Sum,
            "product" => Function::Product,
            "count" => Function::Count,
            "max" => Function::Max,
            "min" => Function::Min,
            "last_value" => Function::LastValue,
            "last_non_null_value" => Function::LastNonNullValue,
            "first_value" => Function::FirstValue,
            // The second is an older name of it.
            "first_non_null_value" | "first_not_null_value" => Function::FirstNonNullValue,
            "bool_and" => Function::BoolAnd,
            "bool_or" => Function::BoolOr,
            "listagg" => self.listagg(&field.name)?,
            "collect" => Function::Collect { distinct: self.flag(&format!("fields.{}.distinct", field.name))? },
            "merge_map" => Function::MergeMap,
            "nested_update" => Function::NestedUpdate { key: self.nested_key(field)? },
            "rbm32" => Function::Bitmap32,
            "rbm64" => Function::Bitmap64,
            _ => return Err(Error::invalid(format!("unknown aggregate function `{name}`")).hint(did_you_mean(name, Function::NAMES))),
        })
    }

    /// The places of the fields that tell the structs of a list apart.
    fn nested_key(&self, field: &Field) -> Result<Vec<usize>> {
        let option = format!("fields.{}.nested-key", field.name);
        let fields = match &field.kind {
            ColumnType::List(element) => element.kind.children(),
            _ => Vec::new(),
        };
        let names = parse_names(self.get(&option).unwrap_or("")).map_err(|error| error.at("option", &option))?;
        let mut key = Vec::new();
        for name in names {
            let Some(place) = fields.iter().position(|field| field.name == name) else {
                let unknown = Error::invalid(format!("unknown nested field `{name}`")).at("option", option);
                return Err(unknown.hint(did_you_mean(&name, fields.iter().map(|field| field.name.as_str()))));
            };
            if key.contains(&place) {
                return Err(Error::invalid(format!("nested field `{name}` is named twice")).at("option", option));
            }
            key.push(place);
        }
        Ok(key)
    }

    fn listagg(&self, column: &str) -> Result<Function> {
        let option = format!("fields.{column}.{DELIMITER}");
        // Not trimmed: blanks may be part of it.
        let delimiter = self.options.get(&option).map_or(DELIMITER_DEFAULT, String::as_str).to_string();
        let distinct = self.flag(&format!("fields.{column}.distinct"))?;
        if distinct && delimiter.is_empty() {
            return Err(Error::invalid("parts of a text cannot be told apart without a delimiter").at("option", option));
        }
        Ok(Function::ListAgg { delimiter, distinct })
    }
}

/// The sequence of a merged row may be the one of a retraction that the column passed over: it does not say how new the column's value is.
fn unsure(aggregate: &Aggregate) -> Error {
    let function = aggregate.function.name();
    let error = Error::invalid(format!(
        "`{function}` cannot pass over retractions beside `{SEQUENCE_FIELD}`: a merged row would not say how new its value is, so that what a late row changes \
         would depend on what was merged before it"
    ));
    let option = format!("fields.{}.ignore-retract", aggregate.name);
    error.at("column", &aggregate.name).hint(format!("leave `{option}` out, or set `ignore-delete` = true"))
}

/// Whether the function of these options looks into values that a column's type alone does not say it can read.
pub fn reads_values(options: &BTreeMap<String, String>) -> bool {
    options.values().any(|function| ["rbm32", "rbm64"].contains(&function.trim()))
}

/// Whether rows that were merged under the schema `before` say something else than under `after`, though the options are the same: a new column is one to
/// which rows without it count, or what wraps around or is rounded at the end of a column's type does so no more.
pub fn changes_totals(options: &BTreeMap<String, String>, before: &TableSchema, after: &TableSchema) -> bool {
    let function = |field: &Field| options.get(&format!("fields.{}.aggregate-function", field.name)).or(options.get(DEFAULT_FUNCTION));
    after.fields().iter().any(|field| match (function(field).map(|name| name.trim()), before.field(field.id)) {
        (Some("count"), None) => true,
        // Decimals are calculated in 128 bits, whatever their type's digits are.
        (Some("sum" | "product" | "count"), Some(known)) => known.kind != field.kind && !matches!(field.kind, ColumnType::Decimal { .. }),
        _ => false,
    })
}

/// Whether an option of this name says how rows are merged, in some engine.
pub fn is_merge_option(name: &str) -> bool {
    OPTIONS.contains(&name) || field_option(name).is_some_and(|(_, option)| FIELD_OPTIONS.contains(&option))
}

/// The value of an option as a table keeps it. Blanks around it say nothing, but in a text that stands between others they are part of it.
pub fn kept_value<'a>(name: &str, value: &'a str) -> &'a str {
    match field_option(name) {
        Some((_, DELIMITER)) => value,
        _ => value.trim(),
    }
}

/// A table with a primary key has its own options and those of its merge engine: what was meant may be among either.
fn unknown_option(name: &str) -> Error {
    let known: Vec<&str> = OPTIONS.into_iter().chain(TABLE_OPTIONS.iter().map(|option| option.name)).collect();
    let near = did_you_mean(name, known.iter().copied());
    let hint = if near.is_empty() { format!("known are {}, and fields.COLUMN.OPTION", known.join(", ")) } else { near };
    Error::invalid(format!("unknown option `{name}`")).hint(hint)
}

/// The columns and the name of an option of a field.
pub(super) fn field_option(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.'))
}
