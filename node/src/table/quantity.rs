//! Sizes and times as people write them: `64MiB`, `7d`.
//!
//! Invariant: what is printed parses back to the same number. A bare number counts bytes or milliseconds.

use crate::error::{Error, Result};

/// Suffixes of sizes, biggest first; binary ones are those that are printed.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Suffixes of times in milliseconds, biggest first.
const TIMES_MS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1), ("m", 60_000)];

/// Bytes, as in `1048576`, `1024KiB`, `1MiB`, `1.5GiB`; `MB` is a million.
///
/// # Errors
/// Invalid when it is not a size.
pub fn parse_bytes(text: &str) -> Result<u64> {
    parse(text, SIZES, "B").ok_or_else(|| Error::invalid(format!("`{text}` is not a size")).hint("as in 64MiB, 1GiB or 65536"))
}

/// Milliseconds, as in `1500`, `90s`, `15min`, `12h`, `7d`.
///
/// # Errors
/// Invalid when it is not a time.
pub fn parse_duration_ms(text: &str) -> Result<u64> {
    parse(text, TIMES_MS, "ms").ok_or_else(|| Error::invalid(format!("`{text}` is not a time")).hint("as in 500ms, 90s, 15min, 12h or 7d"))
}

/// The shortest exact way to write a size.
pub fn print_bytes(bytes: u64) -> String {
    print(bytes, &SIZES[..4], "B")
}

/// The shortest exact way to write a time.
pub fn print_duration_ms(ms: u64) -> String {
    print(ms, &TIMES_MS[..4], "ms")
}

fn parse(text: &str, units: &[(&str, u64)], bare: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = (&text[..end], text[end..].trim());
    let suffix = if suffix.is_empty() { bare } else { suffix };
    let (_, unit) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(*unit)?;
    if number.contains('.') {
        let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(*unit) / 10u128.pow(digits);
        total = total.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(total)
}

fn print(amount: u64, units: &[(&str, u64)], bare: &str) -> String {
    let exact = units.iter().find(|(_, unit)| amount >= *unit && amount.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{amount}{bare}"), |(name, unit)| format!("{}{name}", amount / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        for (text, bytes) in [("65536", 65536), ("64MiB", 64 << 20), ("1.5 gib", 3 << 29), ("2MB", 2_000_000), ("7b", 7)] {
            assert_eq!(parse_bytes(text).expect(text), bytes);
        }
        for (text, ms) in [("7d", 604_800_000), ("90s", 90_000), ("15min", 900_000), ("1m", 60_000), ("250", 250), ("0.5h", 1_800_000)] {
            assert_eq!(parse_duration_ms(text).expect(text), ms);
        }
        for text in ["", "MiB", "-1", "1..5MiB", "1.MiB", "5 parsecs", "99999999999999999999", "18446744073709551615KiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_parses_back() {
        assert_eq!(print_bytes(64 << 20), "64MiB");
        assert_eq!(print_bytes(1000), "1000B");
        assert_eq!(print_duration_ms(604_800_000), "7d");
        for amount in [0, 1, 1023, 1024, 90_000, 3_600_000, u64::MAX] {
            assert_eq!(parse_bytes(&print_bytes(amount)).expect("size"), amount);
            assert_eq!(parse_duration_ms(&print_duration_ms(amount)).expect("time"), amount);
        }
    }
}
