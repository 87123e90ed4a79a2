//! What the log of a table with a primary key holds: rows as they were written, or what became of them.
//!
//! Invariant: fixed when the table is created, because how its log is read depends on it. Knows nothing of how rows are merged.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The option that says what a log holds, by Paimon's name.
pub const CHANGELOG_PRODUCER: &str = "changelog-producer";

/// The option that says how changes stand in a log of what became of rows, by Fluss's name.
pub const CHANGELOG_IMAGE: &str = "changelog.image";

/// What the log of a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Changelog {
    /// Rows as they were written; who reads merges them.
    #[default]
    Input,
    /// What became of each key: whole rows, made when the rows were written.
    Lookup(Image),
}

/// How an update stands in a log of what became of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Image {
    /// The row before it as `-U`, the row after it as `+U`.
    #[default]
    Full,
    /// The row after it as `+U`.
    Wal,
}

impl Changelog {
    /// What the options of a table say; others are not looked at.
    ///
    /// # Errors
    /// Invalid for a value that there is not, and for an image where no images are made.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let image = options.get(CHANGELOG_IMAGE).map(|image| parse_image(image)).transpose()?;
        match options.get(CHANGELOG_PRODUCER).map_or("input", |mode| mode.trim()).to_ascii_lowercase().as_str() {
            "lookup" => Ok(Changelog::Lookup(image.unwrap_or_default())),
            "input" if image.is_some() => {
                let idle = Error::invalid("a log of rows as they are written has no images").at("option", CHANGELOG_IMAGE);
                Err(idle.hint(format!("set {CHANGELOG_PRODUCER} = lookup as well")))
            }
            "input" => Ok(Changelog::Input),
            other => {
                let unknown = Error::invalid(format!("`{other}` is not a mode of the changelog")).at("option", CHANGELOG_PRODUCER);
                Err(unknown.hint("one of input, lookup"))
            }
        }
    }

    /// Whether an option is one that this reads.
    pub fn has_option(name: &str) -> bool {
        matches!(name, CHANGELOG_PRODUCER | CHANGELOG_IMAGE)
    }

    /// Whether the log holds what became of rows.
    pub fn has_images(self) -> bool {
        self != Changelog::Input
    }

    /// As the command line names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Changelog::Input => "input",
            Changelog::Lookup(_) => "lookup",
        }
    }
}

fn parse_image(value: &str) -> Result<Image> {
    match value.trim().to_ascii_lowercase().as_str() {
        "full" => Ok(Image::Full),
        "wal" => Ok(Image::Wal),
        other => {
            let unknown = Error::invalid(format!("`{other}` is not an image of a change")).at("option", CHANGELOG_IMAGE);
            Err(unknown.hint("full (-U and +U) or wal (+U alone)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Changelog> {
        Changelog::of(&options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn modes_and_images_are_understood_or_refused() {
        assert_eq!(of(&[("merge-engine", "first-row")]).unwrap(), Changelog::Input);
        assert_eq!(of(&[(CHANGELOG_PRODUCER, "lookup")]).unwrap(), Changelog::Lookup(Image::Full));
        assert_eq!(of(&[(CHANGELOG_PRODUCER, "lookup"), (CHANGELOG_IMAGE, "WAL")]).unwrap(), Changelog::Lookup(Image::Wal));
        let refused: [&[(&str, &str)]; 4] = [
            &[(CHANGELOG_PRODUCER, "none")],
            &[(CHANGELOG_PRODUCER, "lookup"), (CHANGELOG_IMAGE, "half")],
            &[(CHANGELOG_PRODUCER, "input"), (CHANGELOG_IMAGE, "full")],
            &[(CHANGELOG_IMAGE, "wal")],
        ];
        assert!(refused.into_iter().all(|options| of(options).is_err()));
    }
}
