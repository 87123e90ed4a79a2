//! The columns of a new table from a schema file (TOML, `[[field]]` with name, type and nullable).
//!
//! Invariant: a schema from here has at least one column and no name twice. Knows nothing of the store.

use std::path::Path;
use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::Deserialize;

use super::type_text::parse_type;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    field: Vec<Column>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    r#type: String,
    #[serde(default = "nullable")]
    nullable: bool,
}

fn nullable() -> bool {
    true
}

/// Reads a schema file.
pub(crate) fn read(path: &Path) -> Result<SchemaRef> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    parse(&text).map_err(|error| error.at("file", path.display()))
}

fn parse(text: &str) -> Result<SchemaRef> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let wrong = Error::invalid(format!("the schema file is not understood: {}", error.message().replace('\n', " ")));
        line.into_iter().fold(wrong, |error, line| error.at("line", line))
    })?;
    if file.field.is_empty() {
        return Err(Error::invalid("the schema file has no column").hint("add a [[field]] with name and type"));
    }
    let mut fields: Vec<Field> = Vec::new();
    for column in file.field {
        if fields.iter().any(|known| *known.name() == column.name) {
            return Err(Error::invalid("a column is there twice").at("column", column.name));
        }
        let data_type = parse_type(&column.r#type).map_err(|what| Error::invalid(what).at("column", &column.name))?;
        fields.push(Field::new(column.name, data_type, column.nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn columns_are_nullable_unless_they_say_no() {
        let schema = parse("[[field]]\nname='a'\ntype='int64'\nnullable=false\n[[field]]\nname='b'\ntype='list<utf8>'").unwrap();
        assert_eq!(schema.field(0), &Field::new("a", DataType::Int64, false));
        assert!(schema.field(1).is_nullable());
    }

    #[test]
    fn mistakes_name_the_line_or_the_column() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("").contains("no column"));
        assert!(message("[[field]]\nname='a'\ntype='int65'").contains("column a"));
        assert!(message("[[field]]\nname='a'\ntype='int64'\ntyp='x'").contains("line 4"));
        assert!(message("[[field]]\nname='a'\ntype='int64'\n[[field]]\nname='a'\ntype='utf8'").contains("twice"));
    }
}
