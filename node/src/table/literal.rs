//! Text and numbers as values of a column: what a user wrote, placed among the values that the column's type can hold.
//!
//! Invariant: a place is exact or it says between which neighbours the literal lies, so that a comparison with it is never
//! rounded. Knows column types, nothing of columns.

use std::cmp::Ordering;

use arrow::datatypes::TimeUnit;

use super::calendar::{parse_date, parse_time, parse_timestamp, print_date, print_time, print_timestamp, steps_per_second};
use super::scalar::{Scalar, ScalarRef};
use super::types::ColumnType;
use crate::error::{Error, Result};

/// A value as the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// A number, as text.
    Number(String),
    /// Quoted text.
    Text(String),
    /// `X'00ff'`.
    Bytes(Vec<u8>),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`.
    Null,
}

/// Where a literal stands among the values of a type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// It is this value.
    Exact(Scalar),
    /// Greater than this value, less than the next.
    After(Scalar),
    /// Less than all values.
    BelowAll,
    /// Greater than all values.
    AboveAll,
}

/// Places `literal` (not null) among the values of `kind`.
///
/// # Errors
/// Invalid when the literal is not one for that type, with how to write it.
pub(super) fn place(literal: &Literal, kind: &ColumnType) -> Result<Place> {
    let placed = match (literal, kind) {
        (Literal::Boolean(value), ColumnType::Boolean) => Some(Place::Exact(Scalar::Boolean(*value))),
        (Literal::Text(value), ColumnType::Utf8) => Some(Place::Exact(Scalar::Text(value.clone()))),
        (Literal::Bytes(value), ColumnType::Binary) => Some(Place::Exact(Scalar::Bytes(value.clone()))),
        (Literal::Bytes(value), ColumnType::FixedBinary(width)) if usize::try_from(*width) == Ok(value.len()) => {
            Some(Place::Exact(Scalar::Bytes(value.clone())))
        }
        (Literal::Number(text), ColumnType::Float32) => place_float32(text),
        (Literal::Number(text), ColumnType::Float64) => place_float(text, text.parse().ok()),
        (Literal::Number(text), _) => place_number(text, kind),
        (Literal::Text(text), _) => place_time(text, kind),
        _ => None,
    };
    placed.ok_or_else(|| {
        let written = match literal {
            Literal::Number(text) => text.clone(),
            Literal::Text(text) => format!("'{text}'"),
            Literal::Bytes(bytes) => format!("X'{}'", print_hex(bytes)),
            Literal::Boolean(value) => value.to_string(),
            Literal::Null => "null".to_string(),
        };
        Error::invalid(format!("{written} is not a value of type {kind}")).hint(example(kind))
    })
}

/// How values of a type are written.
fn example(kind: &ColumnType) -> String {
    match kind {
        ColumnType::Boolean => "write true or false".into(),
        ColumnType::Date => "write '2026-01-31'".into(),
        ColumnType::Time(_) => "write '12:34:56.789'".into(),
        ColumnType::Timestamp { zone: None, .. } => "write '2026-01-31T12:34:56.789', without an offset".into(),
        ColumnType::Timestamp { .. } => "write '2026-01-31T12:34:56.789Z' or with an offset as in +02:00".into(),
        ColumnType::Utf8 => "write 'text'".into(),
        ColumnType::Binary => "write X'00ff'".into(),
        ColumnType::FixedBinary(width) => format!("write X'00ff' with {width} bytes"),
        ColumnType::Float32 | ColumnType::Float64 => "write a number in its range, Infinity, -Infinity or NaN".into(),
        kind if kind.is_nested() => "nested columns can only be compared with null".into(),
        _ => "write a number".into(),
    }
}

/// The least and the greatest value of a type whose values are integers.
fn range(kind: &ColumnType) -> Option<(i128, i128)> {
    let bits = match kind {
        ColumnType::Int8 => 8,
        ColumnType::Int16 => 16,
        ColumnType::Int32 | ColumnType::Date | ColumnType::Time(TimeUnit::Second | TimeUnit::Millisecond) => 32,
        ColumnType::Int64 | ColumnType::Time(_) | ColumnType::Timestamp { .. } => 64,
        ColumnType::Decimal { precision, .. } => {
            let greatest = 10i128.pow(u32::from(*precision)) - 1;
            return Some((-greatest, greatest));
        }
        _ => return None,
    };
    Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
}

/// Places `floor`, or what lies right behind it.
fn place_integer(floor: i128, exact: bool, kind: &ColumnType) -> Option<Place> {
    let (least, greatest) = range(kind)?;
    Some(match floor {
        _ if floor < least => Place::BelowAll,
        _ if floor > greatest || (floor == greatest && !exact) => Place::AboveAll,
        _ if exact => Place::Exact(Scalar::Integer(floor)),
        _ => Place::After(Scalar::Integer(floor)),
    })
}

/// A number that is too large for the type is not infinity, which is a value of its own.
fn place_float(text: &str, value: Option<f64>) -> Option<Place> {
    let value = value.filter(|value| value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit()))?;
    Some(Place::Exact(Scalar::Float(value)))
}

/// Places the number as a `float64` has it: most are no value of a `float32`, and lie between two.
fn place_float32(text: &str) -> Option<Place> {
    let nearest = text.parse::<f32>().ok()?;
    let Place::Exact(Scalar::Float(rounded)) = place_float(text, Some(nearest.into()))? else { return None };
    let exact: f64 = text.parse().ok()?;
    Some(match exact.partial_cmp(&rounded) {
        Some(Ordering::Less) => Place::After(Scalar::Float(nearest.next_down().into())),
        Some(Ordering::Greater) => Place::After(Scalar::Float(rounded)),
        _ => Place::Exact(Scalar::Float(rounded)),
    })
}

fn place_number(text: &str, kind: &ColumnType) -> Option<Place> {
    let scale = match kind {
        ColumnType::Int8 | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => 0,
        ColumnType::Decimal { scale, .. } => i64::from(*scale),
        _ => return None,
    };
    let (mantissa, exponent) = parse_decimal(text)?;
    let exponent = exponent + scale;
    if mantissa == 0 {
        return place_integer(0, true, kind);
    }
    let power = u32::try_from(exponent.unsigned_abs()).ok().and_then(|digits| 10i128.checked_pow(digits));
    match power {
        Some(power) if exponent >= 0 => match mantissa.checked_mul(power) {
            Some(value) => place_integer(value, true, kind),
            None => Some(if mantissa < 0 { Place::BelowAll } else { Place::AboveAll }),
        },
        None if exponent >= 0 => Some(if mantissa < 0 { Place::BelowAll } else { Place::AboveAll }),
        Some(power) => place_integer(mantissa.div_euclid(power), mantissa.rem_euclid(power) == 0, kind),
        None => place_integer(if mantissa < 0 { -1 } else { 0 }, false, kind),
    }
}

/// `-12.5e3` as mantissa and power of ten; at most 38 digits.
fn parse_decimal(text: &str) -> Option<(i128, i64)> {
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() && fraction.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return if number.contains("0") && digits.is_empty() { Some((0, 0)) } else { None };
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > 38 {
        return None;
    }
    let mantissa: i128 = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    Some((sign * mantissa, i64::from(exponent) - fraction.len() as i64))
}

fn place_time(text: &str, kind: &ColumnType) -> Option<Place> {
    let (ns, unit) = match kind {
        ColumnType::Date => return place_integer(parse_date(text)?.into(), true, kind),
        ColumnType::Time(unit) => (parse_time(text)?.into(), unit),
        ColumnType::Timestamp { unit, zone } => match parse_timestamp(text)? {
            (_, true) if zone.is_none() => return None,
            (ns, _) => (ns, unit),
        },
        _ => return None,
    };
    let step_ns = i128::from(1_000_000_000 / steps_per_second(*unit));
    place_integer(ns.div_euclid(step_ns), ns.rem_euclid(step_ns) == 0, kind)
}

/// A value without quotes, as in `--key a=1`: the text of the value itself.
///
/// # Errors
/// Invalid when the text is not a value of that type.
pub fn parse_value(text: &str, kind: &ColumnType) -> Result<Scalar> {
    let literal = match kind {
        ColumnType::Boolean => match text {
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            _ => Literal::Text(text.into()),
        },
        ColumnType::Utf8 | ColumnType::Date | ColumnType::Time(_) | ColumnType::Timestamp { .. } => Literal::Text(text.into()),
        ColumnType::Binary | ColumnType::FixedBinary(_) => parse_hex(text).map_or_else(|| Literal::Text(text.into()), Literal::Bytes),
        _ => Literal::Number(text.into()),
    };
    match place(&literal, kind)? {
        Place::Exact(value) => Ok(value),
        // What is meant is the value that is printed like that.
        Place::After(_) if *kind == ColumnType::Float32 => Ok(Scalar::Float(text.parse::<f32>().map_or(f64::NAN, f64::from))),
        _ => Err(Error::invalid(format!("{text} is out of range or too precise for {kind}"))),
    }
}

/// A value as [`parse_value`] takes it.
pub fn print_value(value: ScalarRef<'_>, kind: &ColumnType) -> String {
    match (value, kind) {
        (ScalarRef::Boolean(value), _) => value.to_string(),
        (ScalarRef::Float(value), _) => value.to_string(),
        (ScalarRef::Text(value), _) => value.to_string(),
        (ScalarRef::Bytes(value), _) => print_hex(value),
        (ScalarRef::Integer(value), ColumnType::Decimal { scale, .. }) => print_decimal(value, *scale),
        (ScalarRef::Integer(value), kind) => match (i64::try_from(value), kind) {
            (Ok(days), ColumnType::Date) => print_date(days),
            (Ok(time), ColumnType::Time(unit)) => print_time(time, *unit),
            (Ok(time), ColumnType::Timestamp { unit, zone: None }) => print_timestamp(time, *unit),
            (Ok(time), ColumnType::Timestamp { unit, .. }) => format!("{}Z", print_timestamp(time, *unit)),
            _ => value.to_string(),
        },
    }
}

fn print_decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Bytes as hexadecimal digits.
fn print_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal digits as bytes.
pub(super) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::types::parse_type;
    use proptest::prelude::*;

    fn placed(text: &str, kind: &str) -> String {
        let literal = match text.strip_prefix('\'') {
            Some(quoted) => Literal::Text(quoted.trim_end_matches('\'').into()),
            None => Literal::Number(text.into()),
        };
        match place(&literal, &parse_type(kind).expect("type")) {
            Ok(Place::Exact(Scalar::Integer(value))) => format!("={value}"),
            Ok(Place::After(Scalar::Integer(value))) => format!(">{value}"),
            Ok(other) => format!("{other:?}"),
            Err(_) => "refused".into(),
        }
    }

    #[test]
    fn numbers_are_placed_exactly() {
        let cases = [
            ("5", "int8", "=5"),
            ("127", "int8", "=127"),
            ("128", "int8", "AboveAll"),
            ("127.5", "int8", "AboveAll"),
            ("-128", "int8", "=-128"),
            ("-128.5", "int8", "BelowAll"),
            ("5.5", "int32", ">5"),
            ("-5.5", "int32", ">-6"),
            ("5.000", "int32", "=5"),
            ("1e3", "int64", "=1000"),
            ("15e-1", "int64", ">1"),
            ("1e-99", "int64", ">0"),
            ("-1e-99", "int64", ">-1"),
            ("1e99", "int64", "AboveAll"),
            ("-1e2147483647", "int64", "BelowAll"),
            ("0e2147483647", "int64", "=0"),
            ("12.34", "decimal128(5,2)", "=1234"),
            ("12.345", "decimal128(5,2)", ">1234"),
            ("1000", "decimal128(5,2)", "AboveAll"),
            (".5", "decimal128(5,2)", "=50"),
            ("5.", "decimal128(5,2)", "=500"),
            (".0", "int8", "=0"),
            (".", "int8", "refused"),
            ("1.2.3", "int8", "refused"),
            ("1", "utf8", "refused"),
            ("1", "timestamp(us)", "refused"),
            ("'5'", "int32", "refused"),
            ("1e400", "float64", "refused"),
            ("-1e39", "float32", "refused"),
            ("1e39", "float64", "Exact(Float(1e39))"),
            ("-Infinity", "float32", "Exact(Float(-inf))"),
            ("NaN", "float64", "Exact(Float(NaN))"),
            ("NaN", "int64", "refused"),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(placed(text, kind), expected, "{text} {kind}");
        }
    }

    #[test]
    fn times_are_placed_exactly() {
        let cases = [
            ("'2026-01-01'", "date", "=20454"),
            ("'1970-01-01 00:00:01.5'", "timestamp(ms)", "=1500"),
            ("'1970-01-01 00:00:01.5'", "timestamp(s)", ">1"),
            ("'1969-12-31 23:59:59.5'", "timestamp(s)", ">-1"),
            ("'1970-01-01T02:00:00+02:00'", "timestamp(us, UTC)", "=0"),
            ("'1970-01-01T02:00:00+02:00'", "timestamp(us)", "refused"),
            ("'9999-01-01'", "timestamp(ns)", "AboveAll"),
            ("'0001-01-01'", "timestamp(ns)", "BelowAll"),
            ("'00:00:01'", "time(ms)", "=1000"),
            ("'soon'", "date", "refused"),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(placed(text, kind), expected, "{text} {kind}");
        }
    }

    #[test]
    fn refusals_say_how_to_write_it() {
        let error = place(&Literal::Text("x".into()), &ColumnType::Date).expect_err("no date").to_string();
        assert_eq!(error, "'x' is not a value of type date; write '2026-01-31'");
        assert!(parse_value("1.234", &ColumnType::Decimal { precision: 5, scale: 2 }).is_err());
        assert!(parse_value("0", &ColumnType::Boolean).is_err());
        assert!(parse_value("0\u{e4}0", &ColumnType::Binary).is_err());
    }

    proptest! {
        #[test]
        fn printed_values_parse_back(value in any::<i64>(), scale in 0u8..=19, bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            let decimal = ColumnType::Decimal { precision: 38, scale };
            for kind in [decimal, ColumnType::Int64] {
                let printed = print_value(ScalarRef::Integer(value.into()), &kind);
                prop_assert_eq!(parse_value(&printed, &kind).expect("value"), Scalar::Integer(value.into()));
            }
            let printed = print_value(ScalarRef::Bytes(&bytes), &ColumnType::Binary);
            prop_assert_eq!(parse_value(&printed, &ColumnType::Binary).expect("value"), Scalar::Bytes(bytes));
        }

        #[test]
        fn any_number_is_placed_or_refused(text in "[-+0-9.eE]{0,50}") {
            let _ = place(&Literal::Number(text.clone()), &ColumnType::Int64);
            let _ = place(&Literal::Number(text), &ColumnType::Decimal { precision: 38, scale: 38 });
        }
    }
}
