//! What an input should have: the columns of a table, all of them or its key; perhaps one more that says what each row is.
//!
//! Invariant: the column of row kinds is the last. Knows nothing of formats.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::column::Named;
use super::row_kind::RowKinds;
use crate::command::quote::quote;
use crate::command::store::quoted_name;

pub(crate) struct Columns {
    table: SchemaRef,
    row_kinds: Option<String>,
}

impl From<SchemaRef> for Columns {
    fn from(table: SchemaRef) -> Self {
        Columns { table, row_kinds: None }
    }
}

impl Columns {
    /// Those of a key; other columns of the table may be left out.
    pub(crate) fn of_keys(table: &Schema, key: &[String]) -> Self {
        let fields = table.fields().iter().map(|field| field.as_ref().clone().with_nullable(!key.contains(field.name())));
        Columns { table: Arc::new(Schema::new(fields.collect::<Vec<_>>())), row_kinds: None }
    }

    /// With one more, of this name.
    pub(crate) fn with_row_kinds(self, name: &str) -> Self {
        Columns { row_kinds: Some(name.to_string()), ..self }
    }

    /// The schema of batches that are read from text.
    pub(super) fn schema(&self) -> SchemaRef {
        let Some(name) = &self.row_kinds else { return self.table.clone() };
        let row_kinds = Arc::new(Field::new(name, DataType::Int8, false));
        Arc::new(Schema::new(self.table.fields().iter().cloned().chain([row_kinds]).collect::<Vec<_>>()))
    }

    /// Empty columns to be filled from text.
    pub(super) fn named(&self) -> Result<Vec<Named>> {
        let named = |field: &arrow::datatypes::FieldRef| {
            Named::new(field).map_err(|what| Error::invalid(what).at("column", field.name()).hint("write it as parquet or arrow"))
        };
        let mut columns: Vec<Named> = self.table.fields().iter().map(named).collect::<Result<_>>()?;
        if let Some(name) = &self.row_kinds {
            columns.push(Named { name: name.clone(), nullable: false, column: Box::new(RowKinds::default()) });
        }
        Ok(columns)
    }
}

/// Keys as the user types them, `COLUMN=VALUE` for each column of the key, between commas. A name or a value in double quotes may hold anything, double quotes
/// doubled; without, a value may still hold commas, where what follows one does not look like another column of the key.
///
/// Errors: Invalid, with the key, for a column that is missing, unknown or named twice, and for a value that its column does not hold.
pub(crate) fn parse_keys(texts: &[String], table: &Schema, key: &[String]) -> Result<RecordBatch> {
    let fields: Vec<Field> = key.iter().filter_map(|name| table.field_with_name(name).ok().cloned()).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut columns = Columns::from(schema.clone()).named()?;
    for text in texts {
        parse_key(text, &mut columns).map_err(|error| error.at("key", quote(text)))?;
    }
    let arrays = columns.iter_mut().map(|column| column.column.finish(texts.len())).collect();
    RecordBatch::try_new(schema, arrays).map_err(|error| Error::internal("keys do not make a batch").caused_by(error))
}

fn parse_key(text: &str, columns: &mut [Named]) -> Result<()> {
    let mut values: Vec<Option<String>> = vec![None; columns.len()];
    // The column whose value goes on behind the next comma.
    let mut at = None;
    for KeyPart { text: part, named } in key_parts(text) {
        let column = named.as_ref().and_then(|named| columns.iter().position(|column| column.name == named.name));
        match (column, named, at) {
            (Some(column), Some(NamedValue { name, value, is_quoted }), _) => {
                if values[column].replace(value).is_some() {
                    let twice = Error::invalid(format!("column {} is named twice", quote(&name)));
                    return Err(twice.hint("put a value that looks like another column in double quotes, as in a=\"x,b=y\""));
                }
                at = (!is_quoted).then_some(column);
            }
            (_, _, Some(column)) => values[column].get_or_insert_default().extend([",", part]),
            _ => return Err(Error::invalid("a key has the form COLUMN=VALUE").hint(form(columns))),
        }
    }
    let hint = form(columns);
    for (column, value) in columns.iter_mut().zip(values) {
        let missing = || Error::invalid(format!("the key lacks column {}", quote(&column.name))).hint(hint.clone());
        let value = value.ok_or_else(missing)?;
        column.column.text(&value).map_err(|fault| Error::invalid(fault.what).at("column", &column.name))?;
    }
    Ok(())
}

/// What stands between two commas of a key.
pub(crate) struct KeyPart<'a> {
    text: &'a str,
    /// Where it has the form `NAME=VALUE`.
    pub(crate) named: Option<NamedValue>,
}

/// A value of a key, and the name before it.
pub(crate) struct NamedValue {
    pub(crate) name: String,
    value: String,
    /// Whether the value stood in double quotes.
    is_quoted: bool,
}

/// The parts of a key.
pub(crate) fn key_parts(text: &str) -> Vec<KeyPart<'_>> {
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let name = key_name(text);
        // A value in quotes ends with them, and so does the part; other quotes belong to the value.
        let is_end = |behind: &str| behind.is_empty() || behind.starts_with(',');
        let value_at = name.as_ref().map_or(0, |(_, behind)| text.len() - behind.len());
        let quoted = name.as_ref().and_then(|(_, behind)| quoted_name(behind).ok().flatten()).filter(|(_, behind)| is_end(behind));
        let end = match &quoted {
            Some((_, behind)) => text.len() - behind.len(),
            None => text[value_at..].find(',').map_or(text.len(), |comma| value_at + comma),
        };
        let is_quoted = quoted.is_some();
        let value = quoted.map_or_else(|| text[value_at..end].to_string(), |(value, _)| value);
        parts.push(KeyPart { text: &text[..end], named: name.map(|(name, _)| NamedValue { name, value, is_quoted }) });
        rest = text.get(end + 1..);
    }
    parts
}

/// The name that a part of a key begins with, and what is behind its equals sign.
fn key_name(text: &str) -> Option<(String, &str)> {
    // Quotes that are not those of a name belong to a value.
    let quoted = quoted_name(text.trim_start()).ok().flatten();
    if let Some((name, behind)) = quoted.and_then(|(name, behind)| Some((name, behind.trim_start().strip_prefix('=')?))) {
        return Some((name, behind));
    }
    let (name, behind) = text.split_once('=')?;
    (!name.contains(',')).then(|| (name.trim().to_string(), behind))
}

fn form(columns: &[Named]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| format!("{}=..", column.name)).collect();
    format!("the table's keys look like {}", columns.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    fn parse(texts: &[&str]) -> Result<RecordBatch> {
        parse_of(["text", "number"], texts)
    }

    fn parse_of(key: [&str; 2], texts: &[&str]) -> Result<RecordBatch> {
        let fields = [(key[0], DataType::Utf8), (key[1], DataType::Int64), ("other", DataType::Utf8)];
        let table = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, false)).to_vec());
        parse_keys(&texts.iter().map(ToString::to_string).collect::<Vec<_>>(), &table, &key.map(String::from))
    }

    #[test]
    fn columns_of_keys_with_commas_stand_in_quotes() {
        let texts = [r#""a,b"=x, "y"="z,"n=m"=1"#, r#" "n=m" =2,"a,b"=,"#];
        let keys = parse_of(["a,b", "n=m"], &texts).unwrap();
        assert_eq!(keys.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), [r#"x, "y"="z"#, ","]);
        assert_eq!(keys.column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
    }

    #[test]
    fn a_value_in_quotes_holds_anything() {
        let text =
            |key: &str| parse(&[key]).map(|keys| keys.column(0).as_string::<i32>().value(0).to_string()).map_err(|error| error.to_string());
        for (key, expected) in [
            (r#""number"=3,"text"="quoted""#, "quoted"),
            (r#"text="x,number=2",number=1"#, "x,number=2"),
            (r#"number=1,text="a=1, ""b"" ""#, "a=1, \"b\" "),
            (r#"text=a=1,number=1"#, "a=1"),
            (r#"text=a,b,number=1"#, "a,b"),
            (r#"text="",number=1"#, ""),
            // Quotes that do not end where the value does are part of it.
            (r#"text=say "hi",number=1"#, r#"say "hi""#),
            (r#"text="a"b,number=1"#, r#""a"b"#),
            (r#"text="open,number=1"#, r#""open"#),
            (r#"text='x',number=1"#, "'x'"),
        ] {
            assert_eq!(text(key).as_deref(), Ok(expected), "{key}");
        }
        assert!(text("text=x,number=2,number=1").unwrap_err().contains("double quotes"));
        assert!(text(r#"text="x",y,number=1"#).unwrap_err().contains("COLUMN=VALUE"));
    }

    #[test]
    fn a_key_is_a_value_for_each_column() {
        let keys = parse(&["text=a,number=1", " number=-2,text=a, b=c,,", "text=,number=3"]).unwrap();
        assert_eq!(keys.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "a, b=c,,", ""]);
        assert_eq!(keys.column(1).as_primitive::<Int64Type>().values(), &[1, -2, 3]);
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_one_looks_like() {
        for (wrong, what) in [
            ("", "COLUMN=VALUE"),
            ("7", "text=..,number=.."),
            ("other=1,text=a", "COLUMN=VALUE"),
            ("text=a", "lacks column 'number'"),
            ("text=a,text=b,number=1", "'text' is named twice"),
            ("text=a,number=x", "column number"),
        ] {
            let error = parse(&["text=a,number=1", wrong]).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(&quote(wrong)), "{wrong}: {error}");
        }
    }
}
