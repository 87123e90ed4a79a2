//! Decimals of more digits than their type has: none comes in, and a total that became one is shown as null.
//!
//! Arrow keeps a decimal in 128 bits and does not look at its digits; filters and other readers go by the type. Invariant: a value within its type's digits is never
//! touched. Knows columns at the top level only, where totals and filters are, and nothing of how totals come about.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Decimal128Type, FieldRef};

use super::literal::print_value;
use super::scalar::ScalarRef;
use super::types::ColumnType;
use crate::error::{Error, Result};

/// Checks rows that a user hands in.
///
/// # Errors
/// Invalid for a value with too many digits, with its column and row.
pub(super) fn check(rows: &RecordBatch) -> Result<()> {
    for (array, field) in rows.columns().iter().zip(rows.schema_ref().fields()) {
        let Some((values, limit)) = limited(array).filter(|(values, limit)| may_exceed(values, *limit)) else { continue };
        if let Some(row) = (0..values.len()).find(|row| exceeds(values, *row, limit)) {
            let kind = ColumnType::decimal(values.precision(), values.scale().unsigned_abs())?;
            let value = print_value(ScalarRef::Integer(values.value(row)), &kind);
            let error = Error::invalid(format!("{value} has more digits than {kind} holds"));
            return Err(error.at("column", field.name()).at("row", row));
        }
    }
    Ok(())
}

/// Whether a check may find something; cheap.
pub fn may_have_more(rows: &RecordBatch) -> bool {
    rows.columns().iter().any(has_more)
}

/// Rows as readers see them: null in place of a value with too many digits. Such values are totals, in columns that may be null; another column has no place for a null.
///
/// # Errors
/// Internal; arrays stay as long as they are.
pub fn shown(rows: RecordBatch) -> Result<RecordBatch> {
    if !may_have_more(&rows) {
        return Ok(rows);
    }
    let failed = |error| Error::internal("totals are no column").caused_by(error);
    let show = |(array, field): (&ArrayRef, &FieldRef)| -> Result<ArrayRef> {
        let Some((values, limit)) = limited(array).filter(|_| field.is_nullable()) else { return Ok(array.clone()) };
        let beyond: BooleanArray = (0..values.len()).map(|row| Some(exceeds(values, row, limit))).collect();
        Ok(Arc::new(nullif(values, &beyond).map_err(failed)?))
    };
    let columns = rows.columns().iter().zip(rows.schema_ref().fields()).map(show).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(rows.schema(), columns).map_err(failed)
}

fn has_more(array: &ArrayRef) -> bool {
    limited(array).is_some_and(|(values, limit)| may_exceed(values, limit))
}

/// The values of a column of decimals, and the least number that has too many digits.
fn limited(array: &ArrayRef) -> Option<(&Decimal128Array, u128)> {
    let DataType::Decimal128(precision, _) = array.data_type() else { return None };
    Some((array.as_primitive::<Decimal128Type>(), 10u128.pow(u32::from(*precision))))
}

/// Whether some value may have too many digits; what stands under a null may be anything.
fn may_exceed(values: &Decimal128Array, limit: u128) -> bool {
    values.values().iter().fold(false, |found, value| found | (value.unsigned_abs() >= limit))
}

fn exceeds(values: &Decimal128Array, row: usize, limit: u128) -> bool {
    values.is_valid(row) && values.value(row).unsigned_abs() >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: Vec<Option<i128>>) -> RecordBatch {
        let array = Decimal128Array::from(values).with_precision_and_scale(5, 2).unwrap();
        RecordBatch::try_from_iter([("price", Arc::new(array) as ArrayRef)]).unwrap()
    }

    #[test]
    fn values_with_too_many_digits_are_refused_by_column_and_row() {
        assert!(check(&rows(vec![Some(99_999), None, Some(-99_999)])).is_ok());
        let error = check(&rows(vec![Some(1), Some(-100_000)])).unwrap_err().to_string();
        assert!(error.contains("-1000.00 has more digits than decimal128(5,2) holds, column price, row 1"), "{error}");
    }

    #[test]
    fn totals_with_too_many_digits_are_shown_as_null() {
        let seen = shown(rows(vec![Some(99_999), Some(100_000), None, Some(i128::MIN)])).unwrap();
        assert_eq!(seen, rows(vec![Some(99_999), None, None, None]));
    }

    #[test]
    fn a_column_that_must_not_be_null_stays_as_it_is() {
        let (total, price) = (rows(vec![Some(100_000)]), rows(vec![Some(100_000)]));
        let columns = [("price", price.column(0).clone(), false), ("total", total.column(0).clone(), true)];
        let seen = shown(RecordBatch::try_from_iter_with_nullable(columns).unwrap()).unwrap();
        assert_eq!((seen.column(0), seen.column(1)), (price.column(0), rows(vec![None]).column(0)));
    }
}
