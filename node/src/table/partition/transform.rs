//! The year, month, day and hour of times, counted from 1970 as Iceberg counts them, and how they are written in names.
//!
//! Invariant: what is printed parses back; the bounds of a value hold every time that is transformed to it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::*;

use super::Transform;
use crate::error::{Error, Result};
use crate::table::calendar::{civil_of_days, days_of_civil, parse_date, print_date, print_year, steps_per_second};
use crate::table::scalar::{Scalar, ScalarRef};
use crate::table::types::ColumnType;

const EPOCH_YEAR: i64 = 1970;
const DAY_HOURS: i64 = 24;
const HOUR_SECONDS: i64 = 3_600;

/// The transformed value of every row, as `int64`; the array itself for the identity.
pub(super) fn apply(transform: Transform, array: &ArrayRef) -> Result<ArrayRef> {
    if transform == Transform::Identity {
        return Ok(array.clone());
    }
    let (times, day_steps) = times(array)?;
    let values: Int64Array = match transform {
        Transform::Hour => times.unary(|time| time.div_euclid(day_steps / DAY_HOURS)),
        Transform::Month => times.unary(|time| months_of_days(time.div_euclid(day_steps))),
        Transform::Year => times.unary(|time| civil_of_days(time.div_euclid(day_steps)).0 - EPOCH_YEAR),
        Transform::Identity | Transform::Day => times.unary(|time| time.div_euclid(day_steps)),
    };
    Ok(Arc::new(values))
}

/// Times as numbers, and how many of their steps make a day.
fn times(array: &ArrayRef) -> Result<(Int64Array, i64)> {
    let numbers = match array.data_type() {
        DataType::Date32 => return Ok((array.as_primitive::<Date32Type>().unary(i64::from), 1)),
        DataType::Timestamp(TimeUnit::Second, _) => array.as_primitive::<TimestampSecondType>().reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().reinterpret_cast(),
        other => return Err(Error::invalid(format!("{other} has no days"))),
    };
    let DataType::Timestamp(unit, _) = array.data_type() else { return Ok((numbers, 1)) };
    Ok((numbers, day_steps(*unit)))
}

fn day_steps(unit: TimeUnit) -> i64 {
    DAY_HOURS * HOUR_SECONDS * steps_per_second(unit)
}

fn months_of_days(days: i64) -> i64 {
    let (year, month, _) = civil_of_days(days);
    (year - EPOCH_YEAR) * 12 + month - 1
}

/// `2026`, `2026-01`, `2026-01-31`, `2026-01-31-23`; `None` for the identity, which prints by type.
pub(super) fn print(transform: Transform, value: &Scalar) -> Option<String> {
    let Scalar::Integer(value) = value else { return None };
    let value = i64::try_from(*value).ok()?;
    Some(match transform {
        Transform::Identity => return None,
        Transform::Year => print_year(EPOCH_YEAR + value),
        Transform::Month => format!("{}-{:02}", print_year(EPOCH_YEAR + value.div_euclid(12)), value.rem_euclid(12) + 1),
        Transform::Day => print_date(value),
        Transform::Hour => format!("{}-{:02}", print_date(value.div_euclid(DAY_HOURS)), value.rem_euclid(DAY_HOURS)),
    })
}

/// What [`print`] wrote.
pub(super) fn parse(transform: Transform, text: &str) -> Option<Scalar> {
    let first_of_month = |days| civil_of_days(days).2 == 1;
    let value = match transform {
        Transform::Identity => return None,
        Transform::Year => parse_date(&format!("{text}-01-01")).map(|days| civil_of_days(days).0 - EPOCH_YEAR),
        Transform::Month => parse_date(&format!("{text}-01")).filter(|days| first_of_month(*days)).map(months_of_days),
        Transform::Day => parse_date(text),
        Transform::Hour => {
            let (date, hour) = text.rsplit_once('-')?;
            let hour: i64 = hour.parse().ok().filter(|hour| (0..DAY_HOURS).contains(hour))?;
            parse_date(date).map(|days| days * DAY_HOURS + hour)
        }
    };
    value.map(|value| Scalar::Integer(value.into()))
}

/// The first and the last time of type `kind` that is transformed to `value`.
pub(super) fn bounds(transform: Transform, value: &Scalar, kind: &ColumnType) -> Option<(ScalarRef<'static>, ScalarRef<'static>)> {
    let Scalar::Integer(value) = value else { return None };
    let value = i64::try_from(*value).ok()?;
    let steps = match kind {
        ColumnType::Date => 1,
        ColumnType::Timestamp { unit, .. } => i128::from(day_steps(*unit)),
        _ => return None,
    };
    // Time where the period that follows `value` by so many begins.
    let begin = |later: i64| {
        let value = value.checked_add(later)?;
        Some(match transform {
            Transform::Identity => return None,
            Transform::Year => i128::from(days_of_civil(EPOCH_YEAR.checked_add(value)?, 1, 1)) * steps,
            Transform::Month => i128::from(days_of_civil(EPOCH_YEAR, value.checked_add(1)?, 1)) * steps,
            Transform::Day => i128::from(value) * steps,
            Transform::Hour => i128::from(value) * steps / i128::from(DAY_HOURS),
        })
    };
    Some((ScalarRef::Integer(begin(0)?), ScalarRef::Integer(begin(1)? - 1)))
}
