//! Schema files: TOML with one `[[field]]` table a column, `name`, `type` and perhaps `nullable`.
//!
//! Every error names the line. Knows the text of the file, not where it came from.

use serde::Deserialize;
use toml::Spanned;

use super::schema::TableSchema;
use super::types::{Field, parse_column};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    field: Vec<Spanned<Column>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: Spanned<String>,
    nullable: Option<bool>,
}

/// Parses the text of a schema file; ids are given in the order of the columns.
///
/// # Errors
/// Invalid, with the line, for what is not TOML, unknown keys, unknown types (with the type that was probably meant) and
/// names that are used twice.
pub fn parse_schema_file(text: &str) -> Result<TableSchema> {
    let file: File = toml::from_str(text).map_err(|error| not_toml(text, &error))?;
    if file.field.is_empty() {
        return Err(Error::invalid("the schema file has no columns").hint("write a [[field]] table with name and type for each"));
    }
    let mut fields = Vec::with_capacity(file.field.len());
    for column in file.field {
        let line = line_of(text, column.span().start);
        let column = column.into_inner();
        let type_line = line_of(text, column.kind.span().start);
        fields.push(to_field(column, type_line).map_err(|error| error.at("line", line))?);
    }
    TableSchema::new(fields)
}

fn to_field(column: Column, type_line: usize) -> Result<Field> {
    let located = |error: Error| error.at("column", &column.name).at("line", type_line);
    let (kind, written) = parse_column(column.kind.get_ref()).map_err(located)?;
    match (written, column.nullable) {
        (Some(one), Some(other)) if one != other => Err(located(Error::invalid("`nullable` contradicts the type").hint("say it once"))),
        (one, other) => Ok(Field::new(&column.name, kind, one.or(other).unwrap_or(true))),
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    let made = Error::invalid(format!("cannot parse the schema file: {message}"));
    match error.span() {
        Some(span) => made.at("line", line_of(text, span.start)),
        None => made,
    }
}

/// The line, from 1, on which the byte at `position` stands.
fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[field]]
name = "id"
type = "int64"
nullable = false

[[field]]
name = "tags"
type = "list<string not null>"

[[field]]
name = "price"
type = "decimal(10,2) not null"
"#;

    #[test]
    fn columns_come_in_order_and_are_nullable_unless_told() {
        let schema = parse_schema_file(GOOD).expect("schema");
        let printed: Vec<String> = schema.fields().iter().map(|field| format!("{} {} {field}", field.id, field.name)).collect();
        assert_eq!(printed, ["1 id int64 not null", "2 tags list<utf8 not null>", "3 price decimal128(10,2) not null"]);
        assert_eq!(schema.highest_field_id(), 4);
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            (GOOD.replace("int64", "itn64"), "unknown type `itn64`, column id, line 4; did you mean `int64`?"),
            (GOOD.replace("nullable = false", "nulable = false"), "line 5"),
            (GOOD.replace("name = \"id\"", "name = "), "line 3"),
            (GOOD.replace("type = \"int64\"\n", ""), "missing field `type`, line 2"),
            (GOOD.replace("tags", "id"), "two columns are called `id`"),
            (GOOD.replace("false", "true").replace("int64", "int64 not null"), "contradicts the type, column id, line 4"),
            (String::new(), "no columns"),
        ];
        for (text, expected) in cases {
            let error = parse_schema_file(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
