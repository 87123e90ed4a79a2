//! Aggregates that calculate: sum, product and count, over columns of numbers.
//!
//! Whole numbers wrap around at the end of their type, because an error would depend on what was merged first. Decimals are calculated in 128 bits whatever their
//! type's digits: readers see null in place of more digits, and the total again once it has no more of them. A product that leaves 128 bits stays at their end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};

use super::aggregate::Function;
use super::function::Groups;
use super::reference::Ref;
use crate::error::{Error, Result};

/// The result for each key, null where no row has a value.
///
/// # Errors
/// Internal when the column has no numbers, or the function is not one of these.
pub(super) fn fold(groups: Groups<'_>, column: usize, function: &Function) -> Result<ArrayRef> {
    let data_type = groups.slots[0].column(column).data_type();
    Ok(match data_type {
        DataType::Int8 => of::<Int8Type>(groups, column, function, product)?,
        DataType::Int16 => of::<Int16Type>(groups, column, function, product)?,
        DataType::Int32 => of::<Int32Type>(groups, column, function, product)?,
        DataType::Int64 => of::<Int64Type>(groups, column, function, product)?,
        DataType::Float32 => of::<Float32Type>(groups, column, function, product)?,
        DataType::Float64 => of::<Float64Type>(groups, column, function, product)?,
        DataType::Decimal128(..) => of::<Decimal128Type>(groups, column, function, decimal_product)?,
        other => return Err(Error::internal(format!("`{}` of a column of {other}", function.name()))),
    })
}

/// A step of a product: what was found so far, a value, and whether its row takes it back.
type Times<N> = fn(Option<N>, Option<N>, bool) -> Option<N>;

fn of<T: ArrowPrimitiveType>(groups: Groups<'_>, column: usize, function: &Function, times: Times<T::Native>) -> Result<ArrayRef> {
    match function {
        Function::Sum => Ok(fold_column::<T>(groups, column, sum)),
        Function::Count => {
            Ok(fold_column::<T>(groups, column, |so_far, value, is_back| sum(so_far, value.or(Some(T::Native::ONE)), is_back)))
        }
        Function::Product => Ok(fold_column::<T>(groups, column, times)),
        other => Err(Error::internal(format!("`{}` does not calculate", other.name()))),
    }
}

/// Goes over the rows of each key with what was found so far, the value, and whether the row takes it back.
fn fold_column<T: ArrowPrimitiveType>(
    groups: Groups<'_>,
    column: usize,
    step: impl Fn(Option<T::Native>, Option<T::Native>, bool) -> Option<T::Native>,
) -> ArrayRef {
    let sources: Vec<&PrimitiveArray<T>> = groups.slots.iter().map(|slot| slot.column(column).as_primitive::<T>()).collect();
    let value = |row: &Ref| {
        let source = sources[row.slot()];
        source.is_valid(row.row()).then(|| source.value(row.row()))
    };
    let values = groups.iter().map(|group| match groups.is_done(group) {
        true => value(&group[0]),
        false => group.iter().fold(None, |so_far, row| step(so_far, value(row), groups.slots[row.slot()].is_retraction(row.row()))),
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

/// As [`product`], but it does not wrap around: what did could have few digits again. Nothing brings it back but zero, so what is merged first does not matter.
fn decimal_product(so_far: Option<i128>, value: Option<i128>, is_back: bool) -> Option<i128> {
    let (Some(total), Some(factor)) = (so_far, value) else { return product(so_far, value, is_back) };
    let is_at_end = |number: i128| number.unsigned_abs() >= i128::MAX.unsigned_abs();
    match total.checked_mul(factor) {
        _ if is_back && is_at_end(total) => Some(total),
        _ if is_back => product(so_far, value, true),
        Some(more) if !is_at_end(more) => Some(more),
        _ => Some(if (total < 0) == (factor < 0) { i128::MAX } else { -i128::MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(factors: &[i128]) -> Option<i128> {
        factors.iter().fold(None, |so_far, factor| decimal_product(so_far, Some(*factor), false))
    }

    /// Factors of all sizes, so that products leave 128 bits soon, or become zero.
    fn factors() -> impl Strategy<Value = Vec<i128>> {
        let factor = (any::<i128>(), 0_u32..128).prop_map(|(number, bits)| number >> bits);
        proptest::collection::vec(factor.prop_filter("as large as the end", |factor| *factor != i128::MIN), 0..12)
    }

    proptest! {
        #[test]
        fn a_decimal_product_does_not_depend_on_what_was_merged_first(factors in factors(), cut in 0_usize..12) {
            let (left, right) = factors.split_at(cut.min(factors.len()));
            prop_assert_eq!(decimal_product(folded(left), folded(right), false), folded(&factors));
        }
    }

    #[test]
    fn a_decimal_product_never_comes_back_with_few_digits() {
        assert_eq!(folded(&[2; 126]), Some(1 << 126));
        assert_eq!(folded(&[2; 128]), Some(i128::MAX), "it would wrap around to zero");
        assert_eq!(folded(&[&[2; 128][..], &[-1]].concat()), Some(-i128::MAX));
        assert_eq!(folded(&[&[2; 128][..], &[0]].concat()), Some(0));
        assert_eq!(decimal_product(Some(i128::MAX), Some(2), true), Some(i128::MAX), "what it was is not known");
    }
}
