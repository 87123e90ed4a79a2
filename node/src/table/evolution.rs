//! Changes of a table's schema: add, rename, drop, widen, make nullable; fields nested in structs too, by paths as in `a.b`.
//!
//! Invariant: rows written under any earlier version can be read under the new one (`mapping`), because ids are never used twice,
//! types only widen, and what is added is nullable. Columns that partition or key the table keep their id and type.

use super::expiry::TIME_FIELD;
use super::options::Statistics;
use super::schema::{TableSchema, assign_ids};
use super::spec::TableSpec;
use super::types::{ColumnType, Field};
use crate::error::{Error, Result};
use crate::table::nearest::did_you_mean;

mod parse;

/// One change. Names are paths: `a`, or `a.b` for the field `b` of the struct `a`; elements of lists are called `element`,
/// keys and values of maps `key` and `value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new field; earlier rows have nulls there.
    Add {
        /// The path of the new field.
        name: String,
        /// Its type; ids inside are given anew.
        kind: ColumnType,
        /// Must be true: nobody knows what earlier rows would hold.
        nullable: bool,
        /// Where among its siblings.
        position: Position,
    },
    /// Another name for a field.
    Rename {
        /// The path of the field.
        from: String,
        /// The new name, without the path.
        to: String,
    },
    /// The field goes; its id is never used again.
    Drop {
        /// The path of the field.
        name: String,
    },
    /// A wider type: more bits of the same kind, or more digits of a decimal with the same scale.
    Widen {
        /// The path of the field.
        name: String,
        /// The new type.
        kind: ColumnType,
    },
    /// Nulls are allowed from now on.
    MakeNullable {
        /// The path of the field.
        name: String,
    },
}

/// Where a new field goes among its siblings.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Position {
    /// Before all.
    First,
    /// Behind the sibling of that name.
    After(String),
    /// Behind all.
    #[default]
    Last,
}

impl TableSpec {
    /// The table after `changes`, all together as one new version of the schema.
    ///
    /// # Errors
    /// Invalid when a change is not allowed, saying why; the table stays as it is.
    pub fn evolve(&self, changes: &[Change]) -> Result<TableSpec> {
        if changes.is_empty() {
            return Err(Error::invalid("no change of the schema was asked for"));
        }
        let located = |error: Error| error.at("table", &self.name);
        let mut next = self.clone();
        let mut draft = Draft { fields: self.schema().fields().to_vec(), highest: self.schema().highest_field_id(), fixed: self.fixed() };
        for change in changes {
            draft.apply(change).map_err(located)?;
        }
        let version = self.schema().version().saturating_add(1);
        next.schemas.push(TableSchema::from_parts(version, draft.fields, draft.highest).map_err(located)?)?;
        next.follow(self.schema()).map_err(located)?;
        next.check()?;
        Ok(next)
    }

    /// The columns whose values have chosen partitions and buckets, and what each is for.
    fn fixed(&self) -> Vec<(i32, &'static str)> {
        let partitions = self.partition_by.iter().map(|field| (field.source, "partitions the table"));
        let primary = self.primary_key.iter().map(|id| (*id, "is part of the primary key"));
        let bucket = self.bucket_key.iter().map(|id| (*id, "is part of the bucket key"));
        partitions.chain(primary).chain(bucket).collect()
    }

    /// Lets the options that name columns of the schema `before` name the same ones: by field id, whoever has their names now.
    fn follow(&mut self, before: &TableSchema) -> Result<()> {
        let after = self.schema().clone();
        let id = |name: &String| before.fields().iter().find(|field| field.name == *name).map(|field| field.id);
        if let Some((name, id)) = self.options.record_time_field.as_mut().and_then(|name| id(name).map(|id| (name, id))) {
            let Some(field) = after.field(id) else {
                let timeless =
                    Error::invalid("a column is dropped that has the time of rows").at("column", &*name).at("option", TIME_FIELD);
                return Err(timeless.hint("set the option to another column, or reset it, before"));
            };
            name.clone_from(&field.name);
        }
        let Statistics::Columns(names) = &mut self.options.statistics else { return Ok(()) };
        names.retain_mut(|name| match id(name).map(|id| after.field(id)) {
            Some(Some(field)) => {
                name.clone_from(&field.name);
                true
            }
            Some(None) => false,
            None => true,
        });
        if names.is_empty() {
            self.options.statistics = Statistics::None;
        }
        Ok(())
    }
}

/// A schema in the making.
struct Draft {
    fields: Vec<Field>,
    highest: i32,
    fixed: Vec<(i32, &'static str)>,
}

/// Where a field is: the index on each level.
type Place = Vec<usize>;

impl Draft {
    fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Add { name, kind, nullable, position } => {
                self.add(name, kind, *nullable, position).map_err(|error| error.at("column", name))
            }
            Change::Rename { from, to } => self.rename(from, to).map_err(|error| error.at("column", from)),
            Change::Drop { name } => self.drop(name).map_err(|error| error.at("column", name)),
            Change::Widen { name, kind } => self.widen(name, kind).map_err(|error| error.at("column", name)),
            Change::MakeNullable { name } => self.make_nullable(name).map_err(|error| error.at("column", name)),
        }
    }

    fn add(&mut self, path: &str, kind: &ColumnType, nullable: bool, position: &Position) -> Result<()> {
        if !nullable {
            let error = Error::invalid("a new column must be nullable");
            return Err(error.hint("rows that were written before have no value for it"));
        }
        let (parent, name) = self.parent_of_new(path)?;
        let mut field = Field::new(name, kind.clone(), true);
        assign_ids(vec![&mut field], &mut self.highest);
        let siblings = self.siblings_mut(&parent)?;
        refuse_twice(siblings, name)?;
        let index = match position {
            Position::First => 0,
            Position::Last => siblings.len(),
            Position::After(other) => 1 + position_of(siblings, other)?,
        };
        siblings.insert(index, field);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let mut place = self.find(from)?;
        let index = place.pop().unwrap_or(0);
        let siblings = self.siblings_mut(&place)?;
        if siblings[index].name != to {
            refuse_twice(siblings, to)?;
        }
        siblings[index].name = to.to_string();
        Ok(())
    }

    fn drop(&mut self, path: &str) -> Result<()> {
        let mut place = self.find(path)?;
        self.refuse_fixed(&place, "dropped")?;
        let index = place.pop().unwrap_or(0);
        let siblings = self.siblings_mut(&place)?;
        if siblings.len() == 1 {
            return Err(Error::invalid("the last field cannot be dropped").hint("add another one first"));
        }
        siblings.remove(index);
        Ok(())
    }

    fn widen(&mut self, path: &str, kind: &ColumnType) -> Result<()> {
        let place = self.find(path)?;
        self.refuse_fixed(&place, "widened")?;
        let field = self.field_mut(&place);
        if !widens(&field.kind, kind) {
            let error = Error::invalid(format!("{} cannot be widened to {kind}", field.kind));
            return Err(error.hint(
                "integers and floats can get more bits, decimals more digits with the same scale; of nested types, widen a field as in a.b",
            ));
        }
        field.kind = kind.clone();
        Ok(())
    }

    fn make_nullable(&mut self, path: &str) -> Result<()> {
        let place = self.find(path)?;
        let (parent, index) = place.split_at(place.len() - 1);
        if !parent.is_empty() && index == [0] && matches!(self.field_mut(parent).kind, ColumnType::Map { .. }) {
            return Err(Error::invalid("keys of a map are never null"));
        }
        self.field_mut(&place).nullable = true;
        Ok(())
    }

    /// Finds a field by its path. A name that contains points is found by its whole name first.
    fn find(&self, path: &str) -> Result<Place> {
        let mut place = Vec::new();
        if search(&self.fields.iter().collect::<Vec<_>>(), path, &mut place) {
            return Ok(place);
        }
        let error = Error::invalid(format!("unknown column `{path}`"));
        let hint = did_you_mean(path, paths("", &self.fields.iter().collect::<Vec<_>>()).iter().map(String::as_str));
        Err(if hint.is_empty() { error } else { error.hint(hint) })
    }

    /// The struct that a new field goes into (empty for the table), and the name of the field.
    fn parent_of_new<'a>(&self, path: &'a str) -> Result<(Place, &'a str)> {
        let Some((parent, name)) = path.rsplit_once('.') else { return Ok((Vec::new(), path)) };
        Ok((self.find(parent)?, name))
    }

    /// The fields of the struct at `parent`, or those of the table.
    fn siblings_mut(&mut self, parent: &[usize]) -> Result<&mut Vec<Field>> {
        if parent.is_empty() {
            return Ok(&mut self.fields);
        }
        match &mut self.field_mut(parent).kind {
            ColumnType::Struct(fields) => Ok(fields),
            other => Err(Error::invalid(format!("{other} has no fields that could be added, renamed or dropped"))),
        }
    }

    fn field_mut(&mut self, place: &[usize]) -> &mut Field {
        let (first, rest) = place.split_first().expect("a place has at least one level");
        rest.iter().fold(&mut self.fields[*first], |field, index| field.kind.children_mut().swap_remove(*index))
    }

    fn refuse_fixed(&self, place: &[usize], what: &str) -> Result<()> {
        let [top] = place else { return Ok(()) };
        let id = self.fields[*top].id;
        match self.fixed.iter().find(|(fixed, _)| *fixed == id) {
            Some((_, why)) => Err(Error::invalid(format!("a column that {why} cannot be {what}")).hint("create a new table")),
            None => Ok(()),
        }
    }
}

fn search(fields: &[&Field], path: &str, place: &mut Place) -> bool {
    if let Some(index) = fields.iter().position(|field| field.name == path) {
        place.push(index);
        return true;
    }
    for (index, field) in fields.iter().enumerate() {
        let Some(rest) = path.strip_prefix(field.name.as_str()).and_then(|rest| rest.strip_prefix('.')) else { continue };
        place.push(index);
        if search(&field.kind.children(), rest, place) {
            return true;
        }
        place.pop();
    }
    false
}

/// The paths of all fields.
fn paths(prefix: &str, fields: &[&Field]) -> Vec<String> {
    let of_field = |field: &&Field| {
        let path = format!("{prefix}{}", field.name);
        let nested = paths(&format!("{path}."), &field.kind.children());
        std::iter::once(path).chain(nested).collect::<Vec<_>>()
    };
    fields.iter().flat_map(of_field).collect()
}

fn position_of(siblings: &[Field], name: &str) -> Result<usize> {
    siblings.iter().position(|field| field.name == name).ok_or_else(|| {
        let hint = did_you_mean(name, siblings.iter().map(|field| field.name.as_str()));
        Error::invalid(format!("unknown column `{name}`")).hint(hint)
    })
}

fn refuse_twice(siblings: &[Field], name: &str) -> Result<()> {
    match siblings.iter().any(|field| field.name == name) {
        true => Err(Error::invalid(format!("there is a column `{name}` already"))),
        false => Ok(()),
    }
}

/// Whether values of `from` can be read as `to`, as Paimon and Iceberg agree.
pub(super) fn widens(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType::*;
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) => true,
        (Decimal { precision, scale }, Decimal { precision: wider, scale: same }) => wider > precision && same == scale,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
