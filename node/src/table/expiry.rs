//! When rows of a table come to their end by themselves: so long after the time that stands in one of their columns.
//!
//! Invariant: a row without a time never expires; a row that has expired stays so as time goes on. Knows no clock: the time is given in.

use arrow::array::{Array, BooleanArray};
use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use super::scalar::ScalarRef;
use super::spec::TableSpec;
use super::types::ColumnType;
use crate::error::{Error, Result};

/// The option that says how long rows are kept.
pub const EXPIRE_TIME: &str = "record-level.expire-time";

/// The option that says which column has the time of a row.
pub const TIME_FIELD: &str = "record-level.time-field";

/// Whole numbers of 64 bits from here on count milliseconds, smaller ones seconds.
const MILLISECONDS_FROM: i128 = 1_000_000_000_000;

/// See the head of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// The field id of the column that has the time.
    column: i32,
    keep_ms: u64,
}

impl Expiry {
    /// That of a table, if its rows expire.
    ///
    /// # Errors
    /// Invalid for a table without a primary key, or without a column that has the time.
    pub fn of(spec: &TableSpec) -> Result<Option<Expiry>> {
        let Some(keep_ms) = spec.options.record_expire_ms else { return Ok(None) };
        if spec.primary_key.is_empty() {
            let log = Error::invalid("rows of a log do not expire one by one").at("option", EXPIRE_TIME);
            return Err(log.hint("set retention.ms, or give the table a primary key"));
        }
        let Some(name) = &spec.options.record_time_field else {
            let timeless = Error::invalid("rows cannot expire without a time").at("option", EXPIRE_TIME);
            return Err(timeless.hint(format!("name the column that has it: {TIME_FIELD}")));
        };
        let field = spec.schema().column(name).map_err(|error| error.at("option", TIME_FIELD))?;
        match field.kind {
            ColumnType::Int32 | ColumnType::Int64 | ColumnType::Timestamp { .. } => Ok(Some(Expiry { column: field.id, keep_ms })),
            _ => {
                let other = Error::invalid(format!("{} is no time of a row", field.kind)).at("column", name).at("option", TIME_FIELD);
                Err(other.hint("use a timestamp, int32 seconds, or int64 seconds or milliseconds"))
            }
        }
    }

    /// The field id of the column that has the time.
    pub fn column(&self) -> i32 {
        self.column
    }

    /// Which rows with these times have not expired; `None` when none has.
    pub fn kept(&self, times: &dyn Array, now_ms: i64) -> Option<BooleanArray> {
        let oldest_ms = i128::from(now_ms) - i128::from(self.keep_ms);
        let is_kept = |row| match ScalarRef::at(times, row) {
            Some(ScalarRef::Integer(time)) => milliseconds(time, times.data_type()) >= oldest_ms,
            _ => true,
        };
        let kept: Vec<bool> = (0..times.len()).map(is_kept).collect();
        kept.contains(&false).then(|| kept.into())
    }
}

fn milliseconds(time: i128, data_type: &DataType) -> i128 {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => time.div_euclid(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => time.div_euclid(1_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => time,
        DataType::Int64 if time >= MILLISECONDS_FROM => time,
        _ => time * 1_000,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn times_of_all_types_expire_at_the_same_moment() {
        // 100 seconds are kept; it is 2,000,000,000 seconds and 1 millisecond.
        let (expiry, now_ms) = (Expiry { column: 1, keep_ms: 100_000 }, 2_000_000_000_001);
        let (gone, kept) = (1_999_999_900_i64, 1_999_999_901_i64);
        let scaled = |unit: i64| [Some(gone * unit), None, Some(kept * unit)];
        let columns: Vec<std::sync::Arc<dyn Array>> = vec![
            std::sync::Arc::new(Int32Array::from(scaled(1).map(|time| time.map(|time| time as i32)).to_vec())) as ArrayRef,
            std::sync::Arc::new(Int64Array::from(scaled(1).to_vec())),
            std::sync::Arc::new(Int64Array::from(scaled(1_000).to_vec())),
            std::sync::Arc::new(TimestampSecondArray::from(scaled(1).to_vec())),
            std::sync::Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000).to_vec())),
            std::sync::Arc::new(TimestampNanosecondArray::from(scaled(1_000_000_000).to_vec())),
        ];
        for times in &columns {
            let found = expiry.kept(times, now_ms).unwrap_or_else(|| panic!("{}", times.data_type()));
            assert_eq!(found, BooleanArray::from(vec![false, true, true]), "{}", times.data_type());
            assert_eq!(expiry.kept(times, now_ms - 1), None, "{}", times.data_type());
            let all_but_null = expiry.kept(times, i64::MAX).expect("expired");
            assert_eq!(all_but_null, BooleanArray::from(vec![false, true, false]));
        }
    }
}
