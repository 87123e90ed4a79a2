//! The name of a table: `name`, or `database.name`.
//!
//! Invariant: both parts are fit to be names of directories in a lake. Knows nothing of what exists.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The database of a table that is named without one.
pub const DEFAULT_DATABASE: &str = "default";
/// Longest name of a database or a table, in characters.
pub const NAME_LENGTH_MAX: usize = 200;

/// The name of a table and of its database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    database: String,
    table: String,
}

impl TableName {
    /// A name from its parts.
    ///
    /// # Errors
    /// Invalid when a part has no characters, too many, or others than letters, digits, `_` and `-`, or starts with `-`.
    pub fn new(database: &str, table: &str) -> Result<Self> {
        check(database, "database")?;
        check(table, "table")?;
        Ok(TableName { database: database.to_string(), table: table.to_string() })
    }

    /// The database, `default` if none was named.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The name without the database.
    pub fn table(&self) -> &str {
        &self.table
    }
}

fn check(part: &str, what: &'static str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if part.is_empty() || part.len() > NAME_LENGTH_MAX || part.starts_with('-') || !part.bytes().all(valid) {
        let hint = format!("names have 1 to {NAME_LENGTH_MAX} letters, digits, `_` or `-`, and start with no `-`");
        return Err(Error::invalid(format!("{part:?} is not the name of a {what}")).hint(hint));
    }
    Ok(())
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((database, table)) => TableName::new(database, table),
            None => TableName::new(DEFAULT_DATABASE, text),
        }
    }
}

impl TryFrom<String> for TableName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        format!("{}.{}", name.database, name.table)
    }
}

impl fmt::Display for TableName {
    /// As the user types it: the default database is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.database != DEFAULT_DATABASE {
            write!(f, "{}.", self.database)?;
        }
        f.write_str(&self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_may_be_left_out() {
        let name: TableName = "clicks".parse().expect("name");
        assert_eq!((name.database(), name.table(), name.to_string().as_str()), ("default", "clicks", "clicks"));
        let name: TableName = "shop.clicks".parse().expect("name");
        assert_eq!((name.database(), name.table(), name.to_string().as_str()), ("shop", "clicks", "shop.clicks"));
        assert_eq!(serde_json::to_string(&name).expect("json"), "\"shop.clicks\"");
    }

    #[test]
    fn names_that_are_no_directory_names_are_refused() {
        let long = "a".repeat(NAME_LENGTH_MAX + 1);
        for text in ["", ".", ".a", "a.", "a.b.c", "a/b", "..", "a b", "\u{e4}", "-a", "a\0", long.as_str()] {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
        assert!("a".repeat(NAME_LENGTH_MAX).parse::<TableName>().is_ok());
    }
}
