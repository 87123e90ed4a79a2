//! Parses type names as the command line and schema files spell them: `int64`, `decimal128(10,2)`, `timestamp(us, UTC)`,
//! `list<utf8>`, `map<utf8, int64 not null>`, `struct<a: int32, b: utf8 not null>`.
//!
//! Case does not matter in type names. Knows the names of types, nothing of columns.

use std::sync::Arc;

use arrow::datatypes::TimeUnit;

use super::{ColumnType, DEPTH_MAX, Field};
use crate::error::{Error, Result};
use crate::table::nearest::did_you_mean;

/// Longest type name that is looked at, in bytes.
const TEXT_LENGTH_MAX: usize = 64 * 1024;
/// Longest name of a time zone, in bytes.
const ZONE_LENGTH_MAX: usize = 64;

/// Every name that a type can start with: ours first, then the aliases.
const NAMES: &[&str] = &[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "decimal128",
    "date",
    "time",
    "timestamp",
    "utf8",
    "binary",
    "fixed_binary",
    "list",
    "map",
    "struct",
    "boolean",
    "tinyint",
    "byte",
    "smallint",
    "short",
    "int",
    "integer",
    "bigint",
    "long",
    "float",
    "real",
    "double",
    "decimal",
    "numeric",
    "date32",
    "time32",
    "time64",
    "timestamp_ltz",
    "timestamptz",
    "string",
    "text",
    "varchar",
    "str",
    "bytes",
    "varbinary",
    "bytea",
    "fixed_size_binary",
    "array",
    "row",
];

/// Parses a type; ids of nested fields are 0 until a schema gives them.
///
/// # Errors
/// Invalid, with the name that was probably meant.
pub fn parse_type(text: &str) -> Result<ColumnType> {
    let (kind, nullable) = parse_column(text)?;
    match nullable {
        None => Ok(kind),
        Some(_) => Err(Error::invalid(format!("`{text}` says null or not null where only a type belongs"))),
    }
}

/// Parses a type and what may follow it: `not null` (false), `null` (true), nothing (None).
///
/// # Errors
/// Invalid, with the name that was probably meant.
pub fn parse_column(text: &str) -> Result<(ColumnType, Option<bool>)> {
    if text.len() > TEXT_LENGTH_MAX {
        return Err(Error::invalid(format!("a type of {} bytes is too long", text.len())));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let kind = parser.kind()?;
    let nullable = parser.nullability()?;
    match parser.peek() {
        None => Ok((kind, nullable)),
        Some(_) => Err(parser.unexpected("the end")),
    }
}

/// A field name as it prints inside `struct<...>`: quoted if it is not a plain word.
pub(super) fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(is_word);
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '$' | '@')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len_utf8();
        }
        found
    }

    fn require(&mut self, expected: char) -> Result<()> {
        if self.take(expected) { Ok(()) } else { Err(self.unexpected(&format!("`{expected}`"))) }
    }

    fn unexpected(&mut self, expected: &str) -> Error {
        let found = self.peek().map_or("the end".to_string(), |character| format!("`{character}`"));
        Error::invalid(format!("cannot parse the type `{}`: expected {expected}, found {found}", self.text)).at("position", self.at + 1)
    }

    fn run(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        self.peek();
        let rest = self.rest();
        let end = rest.find(|character| !accept(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn name(&mut self) -> Result<String> {
        if !self.take('"') {
            let word = self.run(is_word);
            return if word.is_empty() { Err(self.unexpected("a field name")) } else { Ok(word.to_string()) };
        }
        let mut name = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find('"') else { return Err(self.unexpected("a closing quote")) };
            name.push_str(&rest[..end]);
            self.at += end + 1;
            if !self.rest().starts_with('"') {
                return Ok(name);
            }
            name.push('"');
            self.at += 1;
        }
    }

    /// `null`, `not null` or nothing.
    fn nullability(&mut self) -> Result<Option<bool>> {
        let start = self.at;
        match self.run(is_word).to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "null" | "nullable" => Ok(Some(true)),
            "not" if self.run(is_word).eq_ignore_ascii_case("null") => Ok(Some(false)),
            _ => {
                self.at = start;
                Err(self.unexpected("`not null` or nothing"))
            }
        }
    }

    fn child(&mut self, name: impl Into<String>) -> Result<Field> {
        let kind = self.kind()?;
        let nullable = self.nullability()?.unwrap_or(true);
        Ok(Field::new(name, kind, nullable))
    }

    fn kind(&mut self) -> Result<ColumnType> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::invalid(format!("types nest deeper than {DEPTH_MAX} levels")));
        }
        self.peek();
        let word = self.run(is_word);
        let kind = match word.to_ascii_lowercase().as_str() {
            "" => return Err(self.unexpected("a type name")),
            "list" | "array" => self.list()?,
            "map" => self.map()?,
            "struct" | "row" => self.fields()?,
            lower => self.plain(word, lower)?,
        };
        self.depth -= 1;
        Ok(kind)
    }

    fn list(&mut self) -> Result<ColumnType> {
        self.require('<')?;
        let element = self.child(super::LIST_ELEMENT)?;
        self.require('>')?;
        Ok(ColumnType::List(Box::new(element)))
    }

    fn map(&mut self) -> Result<ColumnType> {
        self.require('<')?;
        let key = self.kind()?;
        if self.nullability()? == Some(true) {
            return Err(Error::invalid(format!("cannot parse the type `{}`: keys of a map are never null", self.text)));
        }
        self.require(',')?;
        let value = self.child(super::MAP_VALUE)?;
        self.require('>')?;
        Ok(ColumnType::map(key, value.kind, value.nullable))
    }

    fn fields(&mut self) -> Result<ColumnType> {
        self.require('<')?;
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            self.require(':')?;
            fields.push(self.child(name)?);
            if !self.take(',') {
                break;
            }
        }
        self.require('>')?;
        Ok(ColumnType::Struct(fields))
    }

    /// A type without nested fields; `word` as it was written, `lower` in lower case.
    fn plain(&mut self, word: &str, lower: &str) -> Result<ColumnType> {
        Ok(match lower {
            "bool" | "boolean" => ColumnType::Boolean,
            "int8" | "tinyint" | "byte" => ColumnType::Int8,
            "int16" | "smallint" | "short" => ColumnType::Int16,
            "int32" | "int" | "integer" => ColumnType::Int32,
            "int64" | "bigint" | "long" => ColumnType::Int64,
            "float32" | "float" | "real" => ColumnType::Float32,
            "float64" | "double" => ColumnType::Float64,
            "date" | "date32" => ColumnType::Date,
            "utf8" | "string" | "text" | "varchar" | "str" => ColumnType::Utf8,
            "binary" | "bytes" | "varbinary" | "bytea" => ColumnType::Binary,
            "decimal128" | "decimal" | "numeric" => self.decimal()?,
            "fixed_binary" | "fixed_size_binary" => self.fixed_binary()?,
            "time" | "time32" | "time64" => self.time(lower)?,
            "timestamp" => self.timestamp(None)?,
            "timestamp_ltz" | "timestamptz" => self.timestamp(Some("UTC"))?,
            _ => return Err(unknown(word, lower)),
        })
    }

    /// `(a, b)` as its parts; no parentheses are no parts.
    fn arguments(&mut self) -> Result<Vec<&'a str>> {
        let mut parts = Vec::new();
        if !self.take('(') {
            return Ok(parts);
        }
        loop {
            parts.push(self.run(|character| !matches!(character, ',' | '(' | ')' | '<' | '>')).trim_end());
            if !self.take(',') {
                break;
            }
        }
        self.require(')')?;
        Ok(parts)
    }

    fn refuse(&self, hint: &str) -> Error {
        Error::invalid(format!("cannot parse the type `{}`", self.text)).hint(hint)
    }

    fn decimal(&mut self) -> Result<ColumnType> {
        let arguments = self.arguments()?;
        let digits = |index: usize| arguments.get(index).map_or(Ok(0), |text| text.parse::<u8>());
        match (arguments.len(), digits(0), digits(1)) {
            (1 | 2, Ok(precision), Ok(scale)) => ColumnType::decimal(precision, scale),
            _ => Err(self.refuse("write decimal128(PRECISION, SCALE), as in decimal128(10,2)")),
        }
    }

    fn fixed_binary(&mut self) -> Result<ColumnType> {
        match self.arguments()?[..] {
            [width] if width.parse::<i32>().is_ok_and(|width| width > 0) => Ok(ColumnType::FixedBinary(width.parse().unwrap_or(1))),
            _ => Err(self.refuse("write fixed_binary(BYTES), as in fixed_binary(16)")),
        }
    }

    fn time(&mut self, name: &str) -> Result<ColumnType> {
        let unit = match (self.arguments()?[..].first(), name) {
            (None, "time32") => Some(TimeUnit::Millisecond),
            (None, _) => Some(TimeUnit::Microsecond),
            (Some(unit), _) => parse_unit(unit),
        };
        unit.map(ColumnType::Time).ok_or_else(|| self.refuse("write time(s), time(ms), time(us) or time(ns)"))
    }

    fn timestamp(&mut self, zone: Option<&'a str>) -> Result<ColumnType> {
        let arguments = self.arguments()?;
        let unit = arguments.first().map_or(Some(TimeUnit::Microsecond), |unit| parse_unit(unit));
        let zone = arguments.get(1).copied().or(zone).map(|zone| zone.trim_matches('"'));
        match unit {
            Some(unit) if arguments.len() <= 2 && zone.is_none_or(is_zone) => Ok(ColumnType::Timestamp { unit, zone: zone.map(Arc::from) }),
            _ => Err(self.refuse("write timestamp(UNIT) or timestamp(UNIT, ZONE), as in timestamp(us, UTC); units are s, ms, us, ns")),
        }
    }
}

/// Whether `zone` can be the name of a time zone: an offset or words as in `Europe/Berlin`.
pub(in crate::table) fn is_zone(zone: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'+' | b'-' | b':');
    !zone.is_empty() && zone.len() <= ZONE_LENGTH_MAX && zone.bytes().all(valid)
}

/// A unit by name, or by the number of digits that SQL writes.
fn parse_unit(text: &str) -> Option<TimeUnit> {
    match text.to_ascii_lowercase().as_str() {
        "s" | "second" | "0" => Some(TimeUnit::Second),
        "ms" | "millisecond" | "3" => Some(TimeUnit::Millisecond),
        "us" | "microsecond" | "6" => Some(TimeUnit::Microsecond),
        "ns" | "nanosecond" | "9" => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

fn unknown(word: &str, lower: &str) -> Error {
    let hint = match lower {
        "uint8" => "tables have no unsigned types; use int16".to_string(),
        "uint16" => "tables have no unsigned types; use int32".to_string(),
        "uint32" => "tables have no unsigned types; use int64".to_string(),
        "uint64" => "tables have no unsigned types; use decimal128(20,0)".to_string(),
        "float16" | "half" => "use float32".to_string(),
        "date64" => "use timestamp(ms)".to_string(),
        "large_utf8" | "utf8_view" | "large_string" => "use utf8".to_string(),
        "large_binary" | "binary_view" => "use binary".to_string(),
        _ => did_you_mean(word, NAMES.iter().copied()),
    };
    let error = Error::invalid(format!("unknown type `{word}`"));
    if hint.is_empty() { error } else { error.hint(hint) }
}
