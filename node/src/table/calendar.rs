//! Days, times and timestamps as ISO 8601 text, and back. The calendar is the proleptic Gregorian one, in UTC.
//!
//! Invariant: what is printed parses back to the same number. Knows numbers and text, nothing of Arrow arrays or the clock.

use arrow::datatypes::TimeUnit;

/// Nanoseconds of a day.
const DAY_NS: i128 = 86_400_000_000_000;
/// Digits of the years that times can have: a 64-bit number of seconds ends in the year 292277026596.
const YEAR_DIGITS: std::ops::RangeInclusive<usize> = 4..=12;

/// Steps of `unit` in a second.
pub(super) fn steps_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Year, month from 1 and day from 1 of a number of days since 1970-01-01.
///
/// The algorithm counts days from 0000-03-01 in eras of 400 years, so that the leap day ends a year.
pub(super) fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a day that exists; a month outside 1 to 12 counts into other years.
pub(super) fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-01-31`.
pub(super) fn print_date(days: i64) -> String {
    let (year, month, day) = civil_of_days(days);
    format!("{}-{month:02}-{day:02}", print_year(year))
}

/// At least four digits, with a sign only before year 0.
pub(super) fn print_year(year: i64) -> String {
    if year < 0 { format!("-{:04}", -year) } else { format!("{year:04}") }
}

/// `12:34:56`, and the fraction that the unit has: `12:34:56.789`.
pub(super) fn print_time(value: i64, unit: TimeUnit) -> String {
    let steps = steps_per_second(unit);
    let (second, fraction) = (value.div_euclid(steps), value.rem_euclid(steps));
    let whole = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    match unit {
        TimeUnit::Second => whole,
        TimeUnit::Millisecond => format!("{whole}.{fraction:03}"),
        TimeUnit::Microsecond => format!("{whole}.{fraction:06}"),
        TimeUnit::Nanosecond => format!("{whole}.{fraction:09}"),
    }
}

/// `2026-01-31T12:34:56.789`, in UTC.
pub(super) fn print_timestamp(value: i64, unit: TimeUnit) -> String {
    let day_steps = 86_400 * steps_per_second(unit);
    format!("{}T{}", print_date(value.div_euclid(day_steps)), print_time(value.rem_euclid(day_steps), unit))
}

/// A moment in milliseconds since 1970, as a message says it.
pub fn print_utc_ms(moment_ms: i64) -> String {
    format!("{}Z", print_timestamp(moment_ms, TimeUnit::Millisecond))
}

/// Days since 1970-01-01 of `2026-01-31`.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut parts = unsigned.splitn(3, '-');
    let year = parts.next().filter(|year| YEAR_DIGITS.contains(&year.len()))?;
    let (year, month, day) = (sign * digits(year, year.len())?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let days = days_of_civil(year, month, day);
    // A day that the month does not have would be a day of the next one.
    (civil_of_days(days) == (year, month, day)).then_some(days)
}

/// Nanoseconds since midnight of `12:34`, `12:34:56` or `12:34:56.789`.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(rest) => {
            let (second, fraction) = rest.split_once('.').map_or((rest, None), |(second, fraction)| (second, Some(fraction)));
            (digits(second, 2)?, fraction.map_or(Some(0), fraction_ns)?)
        }
    };
    let valid = hour < 24 && minute < 60 && second < 60;
    valid.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction)
}

/// Nanoseconds since 1970, and whether an offset was named: `2026-01-31`, `2026-01-31 12:34:56.789`, `...T12:34Z`, `...+02:00`.
pub(super) fn parse_timestamp(text: &str) -> Option<(i128, bool)> {
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim())),
        None => (text, None),
    };
    let midnight = i128::from(parse_date(date)?) * DAY_NS;
    let Some(rest) = rest else { return Some((midnight, false)) };
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest[..at].trim_end(), Some(parse_offset(&rest[at..])?)),
        None => (rest, None),
    };
    let local = midnight + i128::from(parse_time(time)?);
    Some((local - i128::from(offset.unwrap_or(0)), offset.is_some()))
}

/// Nanoseconds east of UTC of `Z`, `+02`, `+02:00` or `+0200`.
fn parse_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let plain: String = text.get(1..)?.chars().filter(|character| *character != ':').collect();
    let (hours, minutes) = match plain.len() {
        2 => (digits(&plain, 2)?, 0),
        4 => (digits(plain.get(..2)?, 2)?, digits(plain.get(2..)?, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60 * 1_000_000_000)
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// The nanoseconds of 1 to 9 digits behind the point.
fn fraction_ns(text: &str) -> Option<i64> {
    let count = text.len();
    let value = if (1..=9).contains(&count) { digits(text, count)? } else { return None };
    Some(value * 10i64.pow(9 - count as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_that_exist_and_others() {
        for (text, days) in
            [("1970-01-01", 0), ("1969-12-31", -1), ("2026-01-01", 20_454), ("2000-02-29", 11_016), ("0000-03-01", -719_468)]
        {
            assert_eq!(parse_date(text), Some(days));
            assert_eq!(print_date(days), text);
        }
        for text in ["2026-02-29", "2026-13-01", "2026-00-01", "2026-1-1", "26-01-01", "2026-01-01x", "", "----", "20260101"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(days_of_civil(2026, 13, 1), days_of_civil(2027, 1, 1));
    }

    #[test]
    fn timestamps_with_and_without_offset() {
        let noon = 1_767_268_800_000_000_000;
        let cases = [
            ("2026-01-01T12:00:00", noon, false),
            ("2026-01-01 12:00", noon, false),
            ("2026-01-01T12:00:00.5Z", noon + 500_000_000, true),
            ("2026-01-01T14:00:00+02:00", noon, true),
            ("2026-01-01 09:30:00 -0230", noon, true),
            ("2026-01-01", noon - DAY_NS / 2, false),
        ];
        for (text, expected, offset) in cases {
            assert_eq!(parse_timestamp(text), Some((expected, offset)), "{text}");
        }
        for text in ["2026-01-01T", "2026-01-01T25:00", "2026-01-01T12:00:00.", "2026-01-01T12:00+2", "2026-01-01T12:00+\u{e4}", "T12:00"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_times_parse_back(value: i64) {
            for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
                let steps = steps_per_second(unit);
                let ns = i128::from(value) * i128::from(1_000_000_000 / steps);
                prop_assert_eq!(parse_timestamp(&print_timestamp(value, unit)), Some((ns, false)));
            }
        }

        #[test]
        fn days_go_there_and_back(days in -100_000_000_000i64..100_000_000_000) {
            let (year, month, day) = civil_of_days(days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            prop_assert_eq!(days_of_civil(year, month, day), days);
        }

        #[test]
        fn any_text_is_parsed_or_not(text in "[0-9TZ:. +-]{0,30}|\\PC{0,10}") {
            let _ = (parse_timestamp(&text), parse_time(&text));
        }
    }
}
