//! Changes as the command line writes them: `--add-column 'name type'`, `--rename a=b`, `--drop-column a`, `--widen 'name type'`.

use super::{Change, Position};
use crate::error::{Error, Result};
use crate::table::types::{ColumnType, parse_column};

impl Change {
    /// `name type`, and perhaps `first` or `after other` behind it.
    ///
    /// # Errors
    /// Invalid when it is not written like that, or the type is unknown.
    pub fn parse_add(text: &str) -> Result<Change> {
        let (rest, position) = split_position(text.trim());
        let (name, kind, nullable) = split_type(rest)?;
        Ok(Change::Add { name, kind, nullable: nullable.unwrap_or(true), position })
    }

    /// `name type`.
    ///
    /// # Errors
    /// Invalid when it is not written like that, or the type is unknown.
    pub fn parse_widen(text: &str) -> Result<Change> {
        let (name, kind, nullable) = split_type(text.trim())?;
        match nullable {
            None => Ok(Change::Widen { name, kind }),
            Some(_) => Err(Error::invalid("widening a column does not change whether it is nullable").at("column", name)),
        }
    }

    /// `from=to`; the new name may repeat the path of the old one, as in `a.b=a.c`.
    ///
    /// # Errors
    /// Invalid without `=`.
    pub fn parse_rename(text: &str) -> Result<Change> {
        let Some((from, to)) = text.split_once('=') else {
            return Err(Error::invalid(format!("`{text}` does not say from=to")));
        };
        let (from, to) = (from.trim(), to.trim());
        let parent = from.rfind('.').map_or("", |point| &from[..=point]);
        let to = to.strip_prefix(parent).unwrap_or(to);
        Ok(Change::Rename { from: from.to_string(), to: to.to_string() })
    }
}

fn split_type(text: &str) -> Result<(String, ColumnType, Option<bool>)> {
    let Some((name, kind)) = text.split_once(char::is_whitespace) else {
        return Err(Error::invalid(format!("`{text}` does not say a name and a type")).hint("as in 'price decimal128(10,2)'"));
    };
    let (kind, nullable) = parse_column(kind.trim()).map_err(|error| error.at("column", name))?;
    Ok((name.to_string(), kind, nullable))
}

fn split_position(text: &str) -> (&str, Position) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let without = |words: usize| {
        let cut = (0..words).fold(text, |rest, _| rest.trim_end().rsplit_once(char::is_whitespace).map_or("", |(front, _)| front));
        cut.trim_end()
    };
    match words[..] {
        [.., last] if words.len() > 2 && last.eq_ignore_ascii_case("first") => (without(1), Position::First),
        [.., last] if words.len() > 2 && last.eq_ignore_ascii_case("last") => (without(1), Position::Last),
        [.., after, other] if words.len() > 3 && after.eq_ignore_ascii_case("after") => (without(2), Position::After(other.to_string())),
        _ => (text, Position::Last),
    }
}
