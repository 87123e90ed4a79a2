//! Columns that grow value by value from text (a csv cell) or JSON, for every type a table has.
//!
//! Invariant: a refused value may leave halves of itself behind, and `finish` cuts them off: whoever was refused a value
//! finishes the rows before it and begins anew. Knows nothing of lines and files.

mod bytes;
mod nested;
mod primitive;

pub(super) use nested::object;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};

use super::json_text::{Json, Token};

/// Why a value was refused: what, and the path of the nested field it happened in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) path: Vec<String>,
}

impl Fault {
    /// The same, one field further out.
    pub(super) fn within(mut self, field: &str) -> Self {
        self.path.insert(0, field.to_string());
        self
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Fault { what, path: Vec::new() }
    }
}

/// A column in the making.
pub(super) trait Column: Send {
    /// Values so far.
    fn len(&self) -> usize;

    /// Adds a null, whether or not the field allows it: who calls checks.
    fn null(&mut self);

    /// Adds the value that `text` writes.
    fn text(&mut self, text: &str) -> Result<(), Fault>;

    /// Adds the value that comes next, which is not null.
    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault>;

    /// The first `len` values, and an empty column again.
    fn finish(&mut self, len: usize) -> ArrayRef;
}

/// A column with what its field says: name and whether null is allowed.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) nullable: bool,
    pub(super) column: Box<dyn Column>,
}

impl Named {
    /// An empty column of the field's type.
    pub(super) fn new(field: &Field) -> Result<Self, String> {
        Ok(Named { name: field.name().clone(), nullable: field.is_nullable(), column: column(field.data_type())? })
    }

    /// Adds a null where the field allows it.
    pub(super) fn null(&mut self) -> Result<(), Fault> {
        match self.nullable {
            true => {
                self.column.null();
                Ok(())
            }
            false => Err(Fault::from("null in a column that may not be null".to_string())),
        }
    }

    /// Adds the value that comes next, null or not.
    pub(super) fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        if json.peek()? == Token::Null {
            json.null()?;
            return self.null();
        }
        self.column.json(json)
    }
}

fn column(data_type: &DataType) -> Result<Box<dyn Column>, String> {
    if let Some(column) = primitive::column(data_type) {
        return Ok(column);
    }
    Ok(match data_type {
        DataType::Boolean => Box::new(bytes::Booleans::default()),
        DataType::Utf8 => Box::new(bytes::Texts::default()),
        DataType::Binary => Box::new(bytes::Bytes::default()),
        DataType::FixedSizeBinary(size) => Box::new(bytes::FixedBytes::new(*size)),
        DataType::List(field) => Box::new(nested::List::new(field.clone())?),
        DataType::Map(entries, sorted) => Box::new(nested::Map::new(entries.clone(), *sorted)?),
        DataType::Struct(fields) => Box::new(nested::Structure::new(fields.clone())?),
        other => return Err(format!("values of type {other} cannot be read from text")),
    })
}

/// The text of a scalar, quoted or not, or why there is none.
pub(super) fn scalar<'a>(json: &mut Json<'a>, wanted: &str) -> Result<std::borrow::Cow<'a, str>, String> {
    match json.peek()? {
        Token::Text => json.text(),
        Token::Bool | Token::Number => json.plain().map(Into::into),
        found => Err(format!("{} where {wanted} belongs", found.name())),
    }
}

#[cfg(test)]
mod tests;
