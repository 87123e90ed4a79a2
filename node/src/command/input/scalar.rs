//! One value from its text: numbers, decimals, dates and times, bytes.
//!
//! Invariant: exact or refused. Nothing is rounded, cut or wrapped. Knows nothing of rows and columns.

use crate::command::quote::quote;

/// Parses a decimal into units of 10^-scale; digits that it cannot hold must be zeros. An exponent moves the point.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, String> {
    let not_a_decimal = || format!("{} is not a decimal number", quote(text));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 1000).ok_or_else(not_a_decimal)?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_decimal());
    }
    let too_big = || format!("{} has more digits than decimal128({precision},{scale}) holds", quote(text));
    let point = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    for (place, digit) in digits.enumerate() {
        let digit = i128::from(digit - b'0');
        if (place as i64) < point {
            value = value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or_else(too_big)?;
        } else if digit != 0 {
            return Err(too_big());
        }
    }
    for _ in (whole.len() + fraction.len()) as i64..point {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10).ok_or_else(too_big)?;
    }
    if value >= 10_i128.pow(precision.into()) {
        return Err(too_big());
    }
    Ok(if negative { -value } else { value })
}

/// Parses an integer.
pub(super) fn integer<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{} is not an {name} in range", quote(text)))
}

/// Parses a float: a number to the nearest that there is, or `NaN`, `inf` and `Infinity`. A number that is too large for the type is not infinity.
pub(super) fn float<T: std::str::FromStr + Into<f64> + Copy>(text: &str, name: &str) -> Result<T, String> {
    let value = text.parse::<T>().ok().filter(|value| (*value).into().is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit()));
    value.ok_or_else(|| format!("{} is not a {name} in range", quote(text)))
}

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "TRUE" | "True" => Ok(true),
        "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{} is not true or false", quote(text))),
    }
}

/// Parses bytes written as pairs of hex digits.
pub(super) fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("{} is not bytes as pairs of hex digits", quote(text));
    if !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    for pair in text.as_bytes().chunks_exact(2) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal("12.3", 10, 2), Ok(1230));
        assert_eq!(decimal("-0.010", 10, 2), Ok(-1));
        assert_eq!(decimal(".5", 10, 2), Ok(50));
        assert_eq!(decimal("1.5e2", 10, 2), Ok(15_000));
        assert_eq!(decimal("150e-2", 10, 2), Ok(150));
        assert_eq!(decimal("0e900", 10, 2), Ok(0));
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0), Ok(10_i128.pow(38) - 1));
        for wrong in ["1.239", "123456789", "", "-", ".", "1.2.3", "1e", "1e99999", "0x1", "1e900", "1 ", "NaN"] {
            assert!(decimal(wrong, 10, 2).is_err(), "{wrong}");
        }
        assert!(decimal("100000000000000000000000000000000000000", 38, 0).is_err());
        assert!(decimal(&"9".repeat(100), 38, 0).is_err());
    }

    #[test]
    fn a_float_is_infinite_only_if_it_says_so() {
        for wrong in ["1e400", "-1e400", "1e999999999999", "", "1e", "0x1"] {
            assert!(float::<f64>(wrong, "float64").is_err(), "{wrong}");
        }
        assert!(float::<f32>("1e39", "float32").is_err() && float::<f32>("-3.5e38", "float32").is_err());
        assert_eq!(float::<f64>("1e308", "float64"), Ok(1e308));
        assert_eq!(float::<f32>("3.4e38", "float32"), Ok(3.4e38));
        assert_eq!(float::<f64>("1e-400", "float64"), Ok(0.0));
        for text in ["inf", "Infinity", "+infinity", "-inf", "NaN"] {
            assert!(!float::<f64>(text, "float64").unwrap().is_finite(), "{text}");
        }
    }

    #[test]
    fn bytes_are_hex() {
        let mut out = Vec::new();
        hex("00fFa0", &mut out).unwrap();
        assert_eq!(out, [0, 255, 160]);
        assert!(hex("0", &mut out).is_err() && hex("zz", &mut out).is_err() && hex("\u{e9}", &mut out).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}|[-+.eE0-9]{0,60}", precision in 1..=38_u8, scale in 0..=38_i8) {
            let _ = decimal(&text, precision, scale);
        }
    }
}
