//! The columns of a new table from a schema file (TOML, `[[field]]` with name, type and nullable).
//!
//! Invariant: an error names the file. Knows nothing of types.

use std::path::Path;

use aquifer_node::{Error, Result};
use arrow::datatypes::SchemaRef;

use super::store::parse_schema;

/// Reads a schema file.
pub(crate) fn read(path: &Path) -> Result<SchemaRef> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    let Ok(text) = String::from_utf8(bytes) else {
        let error = Error::invalid("a schema file is a text in TOML, and this is none").at("file", path.display());
        return Err(error.hint("take over the columns of a file with rows with --like"));
    };
    parse_schema(&text).map_err(|error| error.at("file", path.display()))
}
