//! Evaluates a bound filter on a batch, a column at a time, with Arrow's kernels.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, RecordBatch, Scalar};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, ilike, is_not_null, is_null, like, nilike, nlike, not, or_kleene};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;

use super::{Bound, Comparison, Node, Value};
use crate::error::{Error, Result};

pub(super) fn evaluate(bound: &Bound, batch: &RecordBatch) -> Result<BooleanArray> {
    let column = |field: &crate::table::Field| {
        let array = batch.column_by_name(&field.name);
        let array = array.ok_or_else(|| Error::invalid("the batch lacks a column of the filter").at("column", &field.name))?;
        if *array.data_type() != field.kind.to_arrow() {
            let message = format!("the batch has {} where the filter knows {}", array.data_type(), field.kind);
            return Err(Error::invalid(message).at("column", &field.name));
        }
        Ok(normal(array))
    };
    let columns = bound.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    node(&bound.root, &columns, batch.num_rows()).map_err(|error| Error::invalid("cannot evaluate the filter").caused_by(error))
}

/// Floats with one zero and one NaN, because Arrow orders them by their bits.
fn normal(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value + 0.0 }))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value + 0.0 }))
        }
        _ => array.clone(),
    }
}

fn node(node: &Node, columns: &[ArrayRef], rows: usize) -> std::result::Result<BooleanArray, ArrowError> {
    match node {
        Node::Constant(value) => Ok(BooleanArray::from(vec![*value; rows])),
        Node::And(parts) => combine(parts, columns, rows, and_kleene, |so_far| so_far.true_count() == 0 && so_far.null_count() == 0),
        Node::Or(parts) => combine(parts, columns, rows, or_kleene, |so_far| so_far.true_count() == rows),
        Node::Compare { column, comparison, value } => compare(*comparison, &columns[*column], &single(value)),
        Node::CompareColumns { left, comparison, right } => compare(*comparison, &columns[*left], &columns[*right]),
        Node::In { column, values, negated } => within(&columns[*column], values, *negated),
        Node::Like { column, pattern, ignores_case, negated, .. } => {
            let pattern = Scalar::new(pattern.clone());
            match (ignores_case, negated) {
                (false, false) => like(&columns[*column], &pattern),
                (false, true) => nlike(&columns[*column], &pattern),
                (true, false) => ilike(&columns[*column], &pattern),
                (true, true) => nilike(&columns[*column], &pattern),
            }
        }
        Node::IsNull { column, negated: false } => is_null(&columns[*column]),
        Node::IsNull { column, negated: true } => is_not_null(&columns[*column]),
    }
}

/// Combines parts until what is known so far is `decided`, whatever follows.
fn combine(
    parts: &[Node],
    columns: &[ArrayRef],
    rows: usize,
    kernel: fn(&BooleanArray, &BooleanArray) -> std::result::Result<BooleanArray, ArrowError>,
    decided: impl Fn(&BooleanArray) -> bool,
) -> std::result::Result<BooleanArray, ArrowError> {
    let (first, rest) = parts.split_first().ok_or_else(|| ArrowError::ComputeError("a combination has no parts".into()))?;
    let mut so_far = node(first, columns, rows)?;
    for part in rest {
        if decided(&so_far) {
            break;
        }
        so_far = kernel(&so_far, &node(part, columns, rows)?)?;
    }
    Ok(so_far)
}

fn single(value: &Value) -> Scalar<ArrayRef> {
    Scalar::new(value.array.clone())
}

fn compare(comparison: Comparison, left: &dyn Datum, right: &dyn Datum) -> std::result::Result<BooleanArray, ArrowError> {
    match comparison {
        Comparison::Equal => cmp::eq(left, right),
        Comparison::NotEqual => cmp::neq(left, right),
        Comparison::Less => cmp::lt(left, right),
        Comparison::LessOrEqual => cmp::lt_eq(left, right),
        Comparison::Greater => cmp::gt(left, right),
        Comparison::GreaterOrEqual => cmp::gt_eq(left, right),
    }
}

fn within(column: &ArrayRef, values: &[Value], negated: bool) -> std::result::Result<BooleanArray, ArrowError> {
    let mut found: Option<BooleanArray> = None;
    for value in values {
        let equal = cmp::eq(column, &single(value))?;
        found = Some(match found {
            Some(found) => or_kleene(&found, &equal)?,
            None => equal,
        });
    }
    let found = found.unwrap_or_else(|| BooleanArray::from(vec![false; column.len()]));
    if negated { not(&found) } else { Ok(found) }
}
