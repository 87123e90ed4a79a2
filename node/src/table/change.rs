//! What a record of a log does to its row.
//!
//! Source: Fluss's change types, whose numbers stand in log batches.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The change that a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ChangeType {
    /// A row of a log table.
    #[default]
    Append = 0,
    /// A new row.
    Insert = 1,
    /// The row before an update.
    UpdateBefore = 2,
    /// The row after an update.
    UpdateAfter = 3,
    /// The row is gone.
    Delete = 4,
}

impl ChangeType {
    /// All, by number.
    pub const ALL: [ChangeType; 5] =
        [ChangeType::Append, ChangeType::Insert, ChangeType::UpdateBefore, ChangeType::UpdateAfter, ChangeType::Delete];

    /// As in log batches.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// From a log batch; `None` for a number that stands for nothing.
    pub fn from_byte(byte: u8) -> Option<Self> {
        ChangeType::ALL.get(usize::from(byte)).copied()
    }

    /// `+A`, `+I`, `-U`, `+U` or `-D`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeType::Append => "+A",
            ChangeType::Insert => "+I",
            ChangeType::UpdateBefore => "-U",
            ChangeType::UpdateAfter => "+U",
            ChangeType::Delete => "-D",
        }
    }
}

impl fmt::Display for ChangeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChangeType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = ChangeType::ALL.into_iter().find(|change| change.as_str() == text);
        found.ok_or_else(|| Error::invalid(format!("`{text}` is not a change")).hint("one of +A, +I, -U, +U, -D"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_there_and_back() {
        for (byte, name) in ["+A", "+I", "-U", "+U", "-D"].into_iter().enumerate() {
            let change = ChangeType::from_byte(byte as u8).expect("change");
            assert_eq!((change.to_byte(), change.to_string().as_str()), (byte as u8, name));
            assert_eq!(name.parse::<ChangeType>().expect(name), change);
        }
        assert_eq!(ChangeType::from_byte(5), None);
        assert!("I".parse::<ChangeType>().is_err());
    }
}
