//! Whether statistics rule out that any of some rows passes a filter.
//!
//! Invariant: when in doubt, the answer is that one may.

use std::cmp::Ordering;

use super::{Bound, Comparison, Node, Value};
use crate::table::scalar::ScalarRef;
use crate::table::statistics::ColumnStatistics;

type Known<'k, 'a> = &'k dyn Fn(usize) -> Option<ColumnStatistics<'a>>;

pub(super) fn may_match<'a>(bound: &Bound, statistics: &dyn Fn(i32) -> Option<ColumnStatistics<'a>>) -> bool {
    let known = |column: usize| statistics(bound.columns[column].id).map(without_nan);
    node(&bound.root, &known)
}

/// A NaN says that there are values which no bound covers.
fn without_nan(known: ColumnStatistics) -> ColumnStatistics {
    let is_nan = |bound: Option<ScalarRef>| matches!(bound, Some(ScalarRef::Float(value)) if value.is_nan());
    if is_nan(known.min) || is_nan(known.max) { ColumnStatistics { min: None, max: None, ..known } } else { known }
}

fn node(node: &Node, known: Known) -> bool {
    match node {
        Node::Constant(value) => *value,
        Node::And(parts) => parts.iter().all(|part| self::node(part, known)),
        Node::Or(parts) => parts.iter().any(|part| self::node(part, known)),
        Node::Compare { column, comparison, value } => {
            let value = Some(value.scalar.as_ref());
            with_values(known(*column), |known| compare((known.min, known.max), *comparison, (value, value)))
        }
        Node::CompareColumns { left, comparison, right } => with_values(known(*left), |left| {
            with_values(known(*right), |right| compare((left.min, left.max), *comparison, (right.min, right.max)))
        }),
        Node::In { column, values, negated } => with_values(known(*column), |known| within(&known, values, *negated)),
        Node::Like { column, prefix, negated, .. } => with_values(known(*column), |known| *negated || has_prefix(&known, prefix)),
        Node::IsNull { column, negated: false } => known(*column).is_none_or(|known| known.null_count > 0),
        Node::IsNull { column, negated: true } => with_values(known(*column), |_| true),
    }
}

/// Tests pass only values that are not null: without any, nothing passes; with unknown statistics, anything may.
fn with_values<'a>(known: Option<ColumnStatistics<'a>>, test: impl FnOnce(ColumnStatistics<'a>) -> bool) -> bool {
    known.is_none_or(|known| known.null_count < known.rows && test(known))
}

type Range<'a> = (Option<ScalarRef<'a>>, Option<ScalarRef<'a>>);

/// Whether a value of the left range can compare so with a value of the right one.
fn compare(left: Range, comparison: Comparison, right: Range) -> bool {
    let ordered = |a: Option<ScalarRef>, b: Option<ScalarRef>, accept: fn(Ordering) -> bool| match (a, b) {
        (Some(a), Some(b)) => a.compare(b).is_none_or(accept),
        _ => true,
    };
    match comparison {
        Comparison::Less => ordered(left.0, right.1, Ordering::is_lt),
        Comparison::LessOrEqual => ordered(left.0, right.1, Ordering::is_le),
        Comparison::Greater => ordered(left.1, right.0, Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(left.1, right.0, Ordering::is_ge),
        Comparison::Equal => ordered(left.0, right.1, Ordering::is_le) && ordered(left.1, right.0, Ordering::is_ge),
        // Only if every value on both sides is the same one does none differ.
        Comparison::NotEqual => ordered(left.0, right.1, Ordering::is_ne) || ordered(left.1, right.0, Ordering::is_ne),
    }
}

fn within(known: &ColumnStatistics, values: &[Value], negated: bool) -> bool {
    let against = |value: &Value, comparison| {
        let value = Some(value.scalar.as_ref());
        compare((known.min, known.max), comparison, (value, value))
    };
    match negated {
        false => values.iter().any(|value| against(value, Comparison::Equal)),
        true => values.iter().all(|value| against(value, Comparison::NotEqual)),
    }
}

/// Whether a text between the bounds can start with `prefix`.
fn has_prefix(known: &ColumnStatistics, prefix: &str) -> bool {
    let not_above = match known.min {
        Some(ScalarRef::Text(min)) => min <= prefix || min.starts_with(prefix),
        _ => true,
    };
    let not_below = match known.max {
        Some(ScalarRef::Text(max)) => max >= prefix,
        _ => true,
    };
    not_above && not_below
}
