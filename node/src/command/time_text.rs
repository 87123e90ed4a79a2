//! Dates, times and timestamps as text and back: ISO 8601, exact for every value of 64 bits.
//!
//! Invariant: what `print` writes, `parse` reads back to the same number, also in years beyond 9999 (`+12345-01-31`).
//! Days are counted in the proleptic Gregorian calendar, as Arrow does. Knows nothing of Arrow or zones: an offset is
//! taken off, what remains is UTC.

use super::quote::quote;

const DAY_SECONDS: i128 = 86_400;

/// Parses `2026-01-31` into days since 1970.
pub(crate) fn parse_date(text: &str) -> Result<i64, String> {
    let mut cursor = Cursor::new(text);
    let days = cursor.date("a date like 2026-01-31")?;
    cursor.end()?;
    Ok(days)
}

/// Parses `23:59:59.123` into units of 10^-digits seconds since midnight.
pub(crate) fn parse_time(text: &str, digits: u32) -> Result<i64, String> {
    let mut cursor = Cursor::new(text);
    let (seconds, fraction) = cursor.time(digits)?;
    cursor.end()?;
    Ok(seconds * 10_i64.pow(digits) + fraction)
}

/// Parses `2026-01-31T23:59:59.123+01:00` (a blank for the `T`; time and offset may be absent) into units of 10^-digits
/// seconds since 1970. An offset is refused unless `zoned`: a wall time has none.
pub(crate) fn parse_timestamp(text: &str, digits: u32, zoned: bool) -> Result<i64, String> {
    let mut cursor = Cursor::new(text);
    let days = cursor.date("a timestamp like 2026-01-31T23:59:59Z")?;
    let (seconds, fraction) = if cursor.skip(b'T') || cursor.skip(b' ') { cursor.time(digits)? } else { (0, 0) };
    let offset_seconds = match cursor.offset()? {
        Some(_) if !zoned => return Err(format!("{} has an offset and the column no zone", quote(text))),
        offset => offset.unwrap_or(0),
    };
    cursor.end()?;
    let seconds = i128::from(days) * DAY_SECONDS + i128::from(seconds) - i128::from(offset_seconds);
    let units = seconds * 10_i128.pow(digits) + i128::from(fraction);
    i64::try_from(units).map_err(|_| format!("{} is out of range", quote(text)))
}

/// Writes days since 1970 as a date.
pub(crate) fn print_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => digits_into(out, year.unsigned_abs(), 4),
        _ => {
            out.push(if year < 0 { b'-' } else { b'+' });
            digits_into(out, year.unsigned_abs(), 4);
        }
    }
    out.push(b'-');
    digits_into(out, month, 2);
    out.push(b'-');
    digits_into(out, day, 2);
}

/// Writes units of 10^-digits seconds since midnight; the fraction only when there is one. Beyond a day the hours go on.
pub(crate) fn print_time(units: i64, digits: u32, out: &mut Vec<u8>) {
    let scale = 10_u64.pow(digits);
    if units < 0 {
        out.push(b'-');
    }
    let (seconds, fraction) = (units.unsigned_abs() / scale, units.unsigned_abs() % scale);
    digits_into(out, seconds / 3600, 2);
    out.push(b':');
    digits_into(out, seconds / 60 % 60, 2);
    out.push(b':');
    digits_into(out, seconds % 60, 2);
    if fraction != 0 {
        out.push(b'.');
        digits_into(out, fraction, digits as usize);
    }
}

/// Writes units of 10^-digits seconds since 1970, with a `Z` behind it if `zoned`.
pub(crate) fn print_timestamp(units: i64, digits: u32, zoned: bool, out: &mut Vec<u8>) {
    let day = 86_400 * 10_i64.pow(digits);
    print_date(units.div_euclid(day), out);
    out.push(b'T');
    print_time(units.rem_euclid(day), digits, out);
    if zoned {
        out.push(b'Z');
    }
}

/// A decimal number with leading zeros up to `width`.
fn digits_into(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut text = [b'0'; 20];
    let (mut rest, mut start) = (value, text.len());
    while rest > 0 {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[start.min(text.len() - width)..]);
}

/// Howard Hinnant's days_from_civil: eras of 400 years, years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Howard Hinnant's civil_from_days: (year, month, day).
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let days = i128::from(days) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097) as i64, days.rem_euclid(146_097) as i64);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Walks over the bytes of one text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// More digits than any field has; keeps the arithmetic within 64 bits.
    const DIGITS_MAX: usize = 15;

    fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// Between `least` and `most` digits.
    fn number(&mut self, least: usize, most: usize, form: &str) -> Result<i64, String> {
        let bytes = &self.text.as_bytes()[self.at..];
        let count = bytes.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return Err(format!("{} is not {form}", quote(self.text)));
        }
        self.at += count;
        Ok(bytes[..count].iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0')))
    }

    fn date(&mut self, form: &str) -> Result<i64, String> {
        let sign = if self.skip(b'-') { -1 } else { 1 };
        let signed = sign < 0 || self.skip(b'+');
        let year = sign * self.number(4, if signed { Self::DIGITS_MAX } else { 4 }, form)?;
        let separated = self.skip(b'-');
        let month = self.number(2, 2, form)?;
        let separated = separated && self.skip(b'-');
        let day = self.number(2, 2, form)?;
        let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
        let length = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !separated || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
            return Err(format!("{} is not {form}", quote(self.text)));
        }
        Ok(days_from_civil(year, month, day))
    }

    /// Seconds, and the fraction in units of 10^-digits.
    fn time(&mut self, digits: u32) -> Result<(i64, i64), String> {
        let form = "a time like 23:59:59.123";
        let hours = self.number(2, 2, form)?;
        let separated = self.skip(b':');
        let minutes = self.number(2, 2, form)?;
        let seconds = if self.skip(b':') { self.number(2, 2, form)? } else { 0 };
        if !separated || hours > 23 || minutes > 59 || seconds > 59 {
            return Err(format!("{} is not {form}", quote(self.text)));
        }
        let fraction = if self.skip(b'.') { self.fraction(digits)? } else { 0 };
        Ok((hours * 3600 + minutes * 60 + seconds, fraction))
    }

    /// Digits behind the point; those that the unit cannot hold must be zeros.
    fn fraction(&mut self, digits: u32) -> Result<i64, String> {
        let start = self.at;
        let kept = self.number(1, (digits as usize).max(1), "a fraction of a second")?;
        let count = (self.at - start) as u32;
        let (kept, count) = if digits == 0 { (if kept == 0 { 0 } else { -1 }, 0) } else { (kept, count) };
        let mut rest_is_zero = kept >= 0;
        while let Some(digit) = self.text.as_bytes().get(self.at).filter(|byte| byte.is_ascii_digit()) {
            rest_is_zero &= *digit == b'0';
            self.at += 1;
        }
        if !rest_is_zero {
            return Err(format!("{} has more than {digits} digits behind the second", quote(self.text)));
        }
        Ok(kept * 10_i64.pow(digits - count))
    }

    /// `Z`, `+01:00`, `+0100` or `+01`, in seconds.
    fn offset(&mut self) -> Result<Option<i64>, String> {
        if self.skip(b'Z') || self.skip(b'z') {
            return Ok(Some(0));
        }
        let sign = match self.text.as_bytes().get(self.at) {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Ok(None),
        };
        self.at += 1;
        let form = "an offset like +01:00";
        let hours = self.number(2, 2, form)?;
        let minutes = if self.skip(b':') || self.at < self.text.len() { self.number(2, 2, form)? } else { 0 };
        if hours > 23 || minutes > 59 {
            return Err(format!("{} does not end in {form}", quote(self.text)));
        }
        Ok(Some(sign * (hours * 3600 + minutes * 60)))
    }

    fn end(&self) -> Result<(), String> {
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(format!("{} has {} too much", quote(self.text), quote(self.text.get(self.at..).unwrap_or("bytes")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timestamp(units: i64, digits: u32) -> String {
        let mut out = Vec::new();
        print_timestamp(units, digits, true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments_print_as_known_texts() {
        assert_eq!(timestamp(0, 3), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_709_210_096_000_789, 6), "2024-02-29T12:34:56.000789Z");
        assert_eq!(timestamp(-1, 9), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(timestamp(253_402_300_800, 0), "+10000-01-01T00:00:00Z");
        assert_eq!(timestamp(-62_167_219_201, 0), "-0001-12-31T23:59:59Z");
    }

    #[test]
    fn offsets_are_taken_off_and_belong_to_zoned_columns_only() {
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00", 3, true), Ok(0));
        assert_eq!(parse_timestamp("1970-01-01 00:00-0130", 0, true), Ok(5400));
        assert_eq!(parse_timestamp("1970-01-02", 0, true), Ok(86_400));
        assert!(parse_timestamp("1970-01-01T00:00:00Z", 3, false).is_err());
    }

    #[test]
    fn nothing_is_rounded_and_nonsense_is_refused() {
        assert_eq!(parse_time("00:00:00.1230", 3), Ok(123));
        assert_eq!(parse_time("00:00:01.0", 0), Ok(1));
        for wrong in ["00:00:00.1234", "24:00:00", "1:00", "00:60", "00:00:00.", "00:00:00x", ""] {
            assert!(parse_time(wrong, 3).is_err(), "{wrong}");
        }
        assert!(parse_time("00:00:00.5", 0).is_err());
        for wrong in ["2026-02-29", "2026-13-01", "2026-1-1", "20260101", "2026-01-00", "10000-01-01", "2026-01-01T", "\u{e9}"] {
            assert!(parse_timestamp(wrong, 6, true).is_err(), "{wrong}");
        }
        assert!(parse_timestamp("+999999999999999-01-01", 9, true).is_err());
    }

    proptest! {
        #[test]
        fn every_timestamp_comes_back(units: i64, digits in prop::sample::select(vec![0_u32, 3, 6, 9])) {
            prop_assert_eq!(parse_timestamp(&timestamp(units, digits), digits, true), Ok(units));
        }

        #[test]
        fn every_date_and_time_comes_back(days: i32, time in 0..86_400_000_000_i64) {
            let mut out = Vec::new();
            print_date(days.into(), &mut out);
            prop_assert_eq!(parse_date(std::str::from_utf8(&out).unwrap()), Ok(days.into()));
            out.clear();
            print_time(time, 6, &mut out);
            prop_assert_eq!(parse_time(std::str::from_utf8(&out).unwrap(), 6), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[-+0-9:.TZ ]{0,40}", digits in 0_u32..=9) {
            let _ = (parse_timestamp(&text, digits, true), parse_date(&text), parse_time(&text, digits));
        }
    }
}
