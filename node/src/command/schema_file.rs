//! The columns of a new table from a schema file (TOML, `[[field]]` with name, type and nullable).
//!
//! Invariant: an error names the file. Knows nothing of types.

use std::path::Path;

use aquifer_node::{Error, Result};
use arrow::datatypes::SchemaRef;

use super::store::parse_schema;

/// Reads a schema file.
pub(crate) fn read(path: &Path) -> Result<SchemaRef> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    parse_schema(&text).map_err(|error| error.at("file", path.display()))
}
