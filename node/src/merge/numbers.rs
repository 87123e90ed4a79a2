//! Aggregates that calculate: sum, product and count, over columns of numbers.
//!
//! Whole numbers wrap around at the end of their type, because an error would depend on what was merged first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};

use super::aggregate::Function;
use super::function::Groups;
use crate::error::{Error, Result};

/// The result for each key, null where no row has a value.
///
/// # Errors
/// Internal when the column has no numbers, or the function is not one of these.
pub(super) fn fold(groups: Groups<'_>, column: usize, function: &Function) -> Result<ArrayRef> {
    let data_type = groups.slots[0].batch.column(column).data_type();
    Ok(match data_type {
        DataType::Int8 => of::<Int8Type>(groups, column, function)?,
        DataType::Int16 => of::<Int16Type>(groups, column, function)?,
        DataType::Int32 => of::<Int32Type>(groups, column, function)?,
        DataType::Int64 => of::<Int64Type>(groups, column, function)?,
        DataType::Float32 => of::<Float32Type>(groups, column, function)?,
        DataType::Float64 => of::<Float64Type>(groups, column, function)?,
        DataType::Decimal128(..) => of::<Decimal128Type>(groups, column, function)?,
        other => return Err(Error::internal(format!("`{}` of a column of {other}", function.name()))),
    })
}

fn of<T: ArrowPrimitiveType>(groups: Groups<'_>, column: usize, function: &Function) -> Result<ArrayRef> {
    match function {
        Function::Sum => Ok(fold_column::<T>(groups, column, sum)),
        Function::Count => {
            Ok(fold_column::<T>(groups, column, |so_far, value, is_back| sum(so_far, value.or(Some(T::Native::ONE)), is_back)))
        }
        Function::Product => Ok(fold_column::<T>(groups, column, product)),
        other => Err(Error::internal(format!("`{}` does not calculate", other.name()))),
    }
}

/// Goes over the rows of each key with what was found so far, the value, and whether the row takes it back.
fn fold_column<T: ArrowPrimitiveType>(
    groups: Groups<'_>,
    column: usize,
    step: impl Fn(Option<T::Native>, Option<T::Native>, bool) -> Option<T::Native>,
) -> ArrayRef {
    let sources: Vec<&PrimitiveArray<T>> = groups.slots.iter().map(|slot| slot.batch.column(column).as_primitive::<T>()).collect();
    let values = groups.iter().map(|group| {
        group.iter().fold(None, |so_far, row| {
            let source = sources[row.slot()];
            let value = source.is_valid(row.row()).then(|| source.value(row.row()));
            step(so_far, value, groups.slots[row.slot()].is_retraction(row.row()))
        })
    });
    let array: PrimitiveArray<T> = values.collect();
    Arc::new(array.with_data_type(sources[0].data_type().clone()))
}

fn sum<N: ArrowNativeTypeOp>(so_far: Option<N>, value: Option<N>, is_back: bool) -> Option<N> {
    let Some(value) = value else { return so_far };
    let total = so_far.unwrap_or(N::ZERO);
    Some(if is_back { total.sub_wrapping(value) } else { total.add_wrapping(value) })
}

/// A retraction of what is not there is lost, and one of zero too: a product does not say what it was without them.
fn product<N: ArrowNativeTypeOp>(so_far: Option<N>, value: Option<N>, is_back: bool) -> Option<N> {
    match (so_far, value) {
        (so_far, None) => so_far,
        (Some(so_far), Some(value)) if is_back => Some(if value.is_zero() { so_far } else { so_far.div_wrapping(value) }),
        (None, Some(_)) if is_back => None,
        (so_far, Some(value)) => Some(so_far.map_or(value, |so_far| so_far.mul_wrapping(value))),
    }
}
