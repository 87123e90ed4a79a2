//! Column types as text and back: `int64`, `decimal128(10,2)`, `timestamp(us, UTC)`, `list<utf8>`, `struct<a: int32 not null>`.
//!
//! Invariant: what `print` writes, `parse` reads back to the same type. Knows nothing of files or tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// Types within types; more is a mistake or an attack.
const DEPTH_MAX: usize = 32;

/// Parses a type.
pub(crate) fn parse_type(text: &str) -> Result<DataType, String> {
    let mut cursor = Cursor { text, at: 0 };
    let data_type = cursor.data_type(0)?;
    cursor.end()?;
    Ok(data_type)
}

/// The type as `parse_type` takes it; a type that tables do not have as Arrow prints it.
pub(crate) fn print_type(data_type: &DataType) -> String {
    let inner = |field: &Field| {
        let null = if field.is_nullable() { "" } else { " not null" };
        format!("{}{null}", print_type(field.data_type()))
    };
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Date32 => "date".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", print_unit(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", print_unit(*unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp({}, {zone})", print_unit(*unit)),
        DataType::FixedSizeBinary(bytes) => format!("fixed_size_binary({bytes})"),
        DataType::List(field) => format!("list<{}>", inner(field)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => format!("map<{}, {}>", print_type(pair[0].data_type()), inner(&pair[1])),
            other => other.to_string(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name(), inner(field))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn print_unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Digits behind the second that a unit holds.
pub(crate) fn unit_digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    fn skip(&mut self, mark: &str) -> bool {
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len() } else { 0 };
        found
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        match self.skip(mark) {
            true => Ok(()),
            false => Err(format!("type '{}': expected '{mark}' at '{}'", self.text.trim(), self.rest())),
        }
    }

    /// Everything up to the next mark of the notation.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| "<>(),:".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn end(&mut self) -> Result<(), String> {
        match self.rest() {
            "" => Ok(()),
            rest => Err(format!("type '{}': '{rest}' is too much", self.text.trim())),
        }
    }

    fn nullable_type(&mut self, depth: usize) -> Result<(DataType, bool), String> {
        let data_type = self.data_type(depth)?;
        let not_null = self.skip("not null") || self.skip("NOT NULL");
        Ok((data_type, !not_null))
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a type is nested more than {DEPTH_MAX} deep"));
        }
        let name = self.word().to_ascii_lowercase();
        Ok(match name.as_str() {
            "bool" | "boolean" => DataType::Boolean,
            "int8" | "tinyint" => DataType::Int8,
            "int16" | "smallint" => DataType::Int16,
            "int32" | "int" => DataType::Int32,
            "int64" | "bigint" => DataType::Int64,
            "float32" | "float" => DataType::Float32,
            "float64" | "double" => DataType::Float64,
            "utf8" | "string" => DataType::Utf8,
            "binary" | "bytes" => DataType::Binary,
            "date" | "date32" => DataType::Date32,
            "decimal128" | "decimal" => self.decimal()?,
            "time" | "time32" | "time64" => self.time()?,
            "timestamp" => self.timestamp()?,
            "fixed_size_binary" => self.fixed_size_binary()?,
            "list" | "array" => self.list(depth)?,
            "map" => self.map(depth)?,
            "struct" | "row" => self.structure(depth)?,
            _ => {
                return Err(format!(
                    "'{name}' is no type; known are bool, int8..int64, float32, float64, decimal128(p,s), date, time(unit), timestamp(unit[, zone]), utf8, binary, fixed_size_binary(n), list<t>, map<k, v>, struct<name: t>"
                ));
            }
        })
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("type '{}': '{word}' is not a number that fits", self.text.trim()))
    }

    fn decimal(&mut self) -> Result<DataType, String> {
        self.expect("(")?;
        let precision: u8 = self.number()?;
        let scale: i8 = if self.skip(",") { self.number()? } else { 0 };
        self.expect(")")?;
        if !(1..=38).contains(&precision) || scale < 0 || scale as u8 > precision {
            return Err(format!("decimal128({precision},{scale}): the precision is 1 to 38, the scale 0 to the precision"));
        }
        Ok(DataType::Decimal128(precision, scale))
    }

    fn unit(&mut self) -> Result<TimeUnit, String> {
        match self.word() {
            "s" => Ok(TimeUnit::Second),
            "ms" => Ok(TimeUnit::Millisecond),
            "us" => Ok(TimeUnit::Microsecond),
            "ns" => Ok(TimeUnit::Nanosecond),
            other => Err(format!("'{other}' is no unit of time; known are s, ms, us and ns")),
        }
    }

    fn time(&mut self) -> Result<DataType, String> {
        self.expect("(")?;
        let unit = self.unit()?;
        self.expect(")")?;
        Ok(match unit {
            TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
            TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
        })
    }

    fn timestamp(&mut self) -> Result<DataType, String> {
        if !self.skip("(") {
            return Ok(DataType::Timestamp(TimeUnit::Microsecond, None));
        }
        let unit = self.unit()?;
        let zone = if self.skip(",") { Some(self.zone()?) } else { None };
        self.expect(")")?;
        Ok(DataType::Timestamp(unit, zone))
    }

    fn zone(&mut self) -> Result<Arc<str>, String> {
        let rest = self.rest();
        let end = rest.find(')').unwrap_or(rest.len());
        self.at += end;
        match rest[..end].trim() {
            "" => Err(format!("type '{}': the zone is missing, as in timestamp(us, UTC)", self.text.trim())),
            zone => Ok(zone.into()),
        }
    }

    fn fixed_size_binary(&mut self) -> Result<DataType, String> {
        self.expect("(")?;
        let bytes: i32 = self.number()?;
        self.expect(")")?;
        match bytes {
            1.. => Ok(DataType::FixedSizeBinary(bytes)),
            _ => Err("fixed_size_binary holds at least 1 byte".into()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<DataType, String> {
        self.expect("<")?;
        let (item, nullable) = self.nullable_type(depth + 1)?;
        self.expect(">")?;
        Ok(DataType::List(Arc::new(Field::new("item", item, nullable))))
    }

    fn map(&mut self, depth: usize) -> Result<DataType, String> {
        self.expect("<")?;
        let (key, _) = self.nullable_type(depth + 1)?;
        self.expect(",")?;
        let (value, nullable) = self.nullable_type(depth + 1)?;
        self.expect(">")?;
        let pair = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, nullable)]);
        Ok(DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false))
    }

    fn structure(&mut self, depth: usize) -> Result<DataType, String> {
        self.expect("<")?;
        let mut fields = Vec::new();
        loop {
            let name = self.word();
            self.expect(":")?;
            let (data_type, nullable) = self.nullable_type(depth + 1)?;
            fields.push(Field::new(name, data_type, nullable));
            if !self.skip(",") {
                break;
            }
        }
        self.expect(">")?;
        Ok(DataType::Struct(fields.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_type_comes_back_from_its_text() {
        for text in [
            "bool",
            "int8",
            "int64",
            "float32",
            "decimal128(38,0)",
            "date",
            "time(ms)",
            "time(ns)",
            "timestamp(s)",
            "timestamp(us, UTC)",
            "timestamp(ns, Europe/Amsterdam)",
            "timestamp(ms, +02:00)",
            "utf8",
            "binary",
            "fixed_size_binary(16)",
            "list<list<int32 not null>>",
            "map<utf8, decimal128(10,2)>",
            "struct<a: int32 not null, b: list<struct<c: date>>>",
        ] {
            let parsed = parse_type(text).unwrap();
            assert_eq!(print_type(&parsed), text);
            assert_eq!(parse_type(&print_type(&parsed)).unwrap(), parsed);
        }
    }

    #[test]
    fn wrong_types_are_named() {
        for wrong in [
            "",
            "int65",
            "decimal128(39,0)",
            "decimal128(5,6)",
            "list<int32",
            "timestamp(day)",
            "struct<a int32>",
            "utf8 x",
            "time(us",
            "timestamp(us, )",
        ] {
            assert!(parse_type(wrong).is_err(), "{wrong}");
        }
        assert!(parse_type(&"list<".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|(list<|struct<|map<|a: |int32|, |>|timestamp\\(|us|\\)){0,12}") {
            let _ = parse_type(&text);
        }
    }
}
