//! Merge options name columns; columns are renamed and dropped. This lets the options follow, by field ids.
//!
//! Invariant: what comes out names the columns that were meant before, never others that took their names. This module knows nothing of what the options mean.

use std::collections::BTreeMap;

use super::engine::{NESTED_KEY, SEQUENCE_FIELD, SEQUENCE_GROUP, field_option};
use crate::table::{ColumnType, Field, TableSchema, parse_names, print_names};

/// Merge options after a change of the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Those whose columns are all there, under the names that these have now.
    pub options: BTreeMap<String, String>,
    /// Those that name a column that is gone, and which.
    pub orphans: BTreeMap<String, String>,
}

/// The options of a table whose schema was `before` and is `after`. Names that `before` does not know are left as they are: whoever checks the options finds them.
pub fn follow_columns(options: &BTreeMap<String, String>, before: &TableSchema, after: &TableSchema) -> Followed {
    let mut followed = Followed::default();
    for (option, value) in options {
        let renamed = name_of_option(option, before, after).and_then(|name| Ok((name, value_of_option(option, value, before, after)?)));
        match renamed {
            Ok((name, value)) => _ = followed.options.insert(name, value),
            Err(Gone(column)) => _ = followed.orphans.insert(option.clone(), column),
        }
    }
    followed
}

/// A column that was dropped.
struct Gone(String);

fn name_of_option(option: &str, before: &TableSchema, after: &TableSchema) -> Result<String, Gone> {
    let Some((columns, kind)) = field_option(option) else { return Ok(option.to_string()) };
    let columns = match kind {
        SEQUENCE_GROUP => renamed_list(columns, before.fields(), after.fields())?,
        _ => renamed(columns, before.fields(), after.fields())?,
    };
    Ok(format!("fields.{columns}.{kind}"))
}

fn value_of_option(option: &str, value: &str, before: &TableSchema, after: &TableSchema) -> Result<String, Gone> {
    match (option, field_option(option)) {
        (SEQUENCE_FIELD, _) | (_, Some((_, SEQUENCE_GROUP))) => renamed_list(value, before.fields(), after.fields()),
        (_, Some((column, NESTED_KEY))) => match (nested_fields(column, before), id_of(column, before)) {
            (Some(nested), Some(id)) => {
                let now = after.field(id).map(|field| elements(&field.kind)).unwrap_or_default();
                renamed_list(value, &nested, &now)
            }
            _ => Ok(value.to_string()),
        },
        _ => Ok(value.to_string()),
    }
}

fn id_of(column: &str, schema: &TableSchema) -> Option<i32> {
    schema.fields().iter().find(|field| field.name == column).map(|field| field.id)
}

fn nested_fields(column: &str, schema: &TableSchema) -> Option<Vec<Field>> {
    schema.fields().iter().find(|field| field.name == column).map(|field| elements(&field.kind))
}

/// The fields of the structs in a list.
fn elements(kind: &ColumnType) -> Vec<Field> {
    match kind {
        ColumnType::List(element) => element.kind.children().into_iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// What is no list of names is left as it is, as are names that nobody knows.
fn renamed_list(list: &str, before: &[Field], after: &[Field]) -> Result<String, Gone> {
    let Ok(names) = parse_names(list) else { return Ok(list.to_string()) };
    let now = names.iter().map(|name| renamed(name, before, after)).collect::<Result<Vec<_>, Gone>>()?;
    Ok(if now == names { list.to_string() } else { print_names(&now) })
}

fn renamed(name: &str, before: &[Field], after: &[Field]) -> Result<String, Gone> {
    let Some(known) = before.iter().find(|field| field.name == name) else { return Ok(name.to_string()) };
    match after.iter().find(|field| field.id == known.id) {
        Some(now) if now.name == known.name => Ok(name.to_string()),
        Some(now) => Ok(now.name.clone()),
        None => Err(Gone(known.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, i32)]) -> TableSchema {
        let field = |(name, id): &(&str, i32)| Field { id: *id, ..Field::new(*name, ColumnType::Int64, true) };
        TableSchema::from_parts(0, columns.iter().map(field).collect(), 9).unwrap()
    }

    fn follow(options: &[(&str, &str)], after: &[(&str, i32)]) -> Followed {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        follow_columns(&options, &schema(&[("key", 1), ("a", 2), ("b", 3), ("c", 4)]), &schema(after))
    }

    fn map(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn names_follow_their_columns_also_when_they_are_swapped() {
        let options = [
            ("merge-engine", "partial-update"),
            ("sequence.field", "a, b"),
            ("fields.a.aggregate-function", "sum"),
            ("fields.a,b.sequence-group", "c"),
            ("fields.default-aggregate-function", "max"),
        ];
        let swapped = follow(&options, &[("key", 1), ("b", 2), ("a", 3), ("d", 4)]);
        let expected = [
            ("merge-engine", "partial-update"),
            ("sequence.field", "b,a"),
            ("fields.b.aggregate-function", "sum"),
            ("fields.b,a.sequence-group", "d"),
            ("fields.default-aggregate-function", "max"),
        ];
        assert_eq!(swapped, Followed { options: map(&expected), orphans: BTreeMap::new() });
    }

    #[test]
    fn options_of_a_column_that_is_gone_are_told_apart() {
        let options = [("fields.a.aggregate-function", "sum"), ("sequence.field", "b,c"), ("fields.x.aggregate-function", "max")];
        // Another column has the name of the one that went.
        let followed = follow(&options, &[("key", 1), ("a", 5), ("c", 4)]);
        assert_eq!(followed.options, map(&[("fields.x.aggregate-function", "max")]));
        assert_eq!(followed.orphans, map(&[("fields.a.aggregate-function", "a"), ("sequence.field", "b")]));
    }

    #[test]
    fn names_with_commas_come_to_stand_in_quotes_and_lose_them() {
        let comma = [("key", 1), ("a,\"b", 2), ("b", 3), ("c", 4)];
        let options = [("sequence.field", "c, a"), ("fields.a,b.sequence-group", "c"), ("fields.a.ignore-retract", "true")];
        let quoted =
            [("sequence.field", r#"c,"a,""b""#), (r#"fields."a,""b",b.sequence-group"#, "c"), (r#"fields.a,"b.ignore-retract"#, "true")];
        assert_eq!(follow(&options, &comma).options, map(&quoted));
        let back = follow_columns(&map(&quoted), &schema(&comma), &schema(&[("key", 1), ("a", 2), ("b", 3), ("c", 4)]));
        assert_eq!(back.options, map(&[("sequence.field", "c,a"), options[1], options[2]]));
        assert_eq!(follow(&[("sequence.field", r#"a,"b"#)], &comma).options, map(&[("sequence.field", r#"a,"b"#)]), "no list");
    }

    #[test]
    fn what_is_not_renamed_stays_as_it_was_written() {
        let options = [("sequence.field", " a , b"), ("fields.c.list-agg-delimiter", " ; ")];
        let followed = follow(&options, &[("key", 1), ("a", 2), ("b", 3), ("c", 4)]);
        assert_eq!(followed.options, map(&options));
    }
}
