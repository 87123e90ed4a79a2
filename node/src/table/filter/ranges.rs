//! Which keys rows may have that pass a filter: tests of the first columns of a key, as ranges of its bytes.
//!
//! Invariant: the key of every row that passes is in the ranges; others may be, and are filtered exactly later.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, StringArray};
use arrow::datatypes::DataType;

use super::{Bound, Comparison, Node, Value};
use crate::error::Result;
use crate::table::key::{END, encode_value, value_bytes};
use crate::table::key_range::{KeyRange, KeyRanges, RANGES_MAX, successor};
use crate::table::scalar::Scalar;

/// The ranges of keys that have the columns with these field ids.
pub(super) fn key_ranges(bound: &Bound, key: &[i32]) -> Result<KeyRanges> {
    let parts: Vec<KeyPart> = key
        .iter()
        .map(|id| {
            let place = bound.columns.iter().position(|column| column.id == *id);
            place.map(|place| (place, value_bytes(&bound.columns[place].kind.to_arrow())))
        })
        .collect();
    ranges(&bound.root, &parts)
}

/// A column of the key: its place among those of the filter, and the bytes of its values; `None` for one that the filter does not test.
type KeyPart = Option<(usize, Option<usize>)>;

fn ranges(node: &Node, key: &[KeyPart]) -> Result<KeyRanges> {
    match node {
        Node::Or(parts) => {
            let mut either = KeyRanges::of(Vec::new());
            for part in parts {
                either = either.unite(&ranges(part, key)?);
            }
            Ok(either)
        }
        Node::And(parts) => {
            let mut both = together(parts, key)?;
            // What no single column says: `(a = 1 and b = 2) or (a = 3 and b = 4)`.
            for part in parts.iter().filter(|part| matches!(part, Node::Or(_) | Node::And(_))) {
                both = both.intersect(&ranges(part, key)?);
            }
            Ok(both)
        }
        test => together(std::slice::from_ref(test), key),
    }
}

/// The keys of rows that pass all of `tests`, by what each says of a single column.
fn together(tests: &[Node], key: &[KeyPart]) -> Result<KeyRanges> {
    // What keys begin with, as far as columns have single values.
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    for part in key {
        let Some((column, bytes)) = *part else { break };
        let mut allowed = KeyRanges::all();
        for test in tests {
            if let Some(values) = values(test, column)? {
                allowed = allowed.intersect(&values);
            }
        }
        if allowed.is_all() || prefixes.len() * allowed.ranges().len() > RANGES_MAX {
            break;
        }
        let all_within = |prefix: &Vec<u8>| allowed.ranges().iter().map(|range| within(prefix, range)).collect::<Vec<_>>();
        let behind: Vec<KeyRange> = prefixes.iter().flat_map(all_within).collect();
        if !allowed.ranges().iter().all(|range| is_value(range, bytes)) {
            return Ok(KeyRanges::of(behind));
        }
        prefixes = behind.into_iter().map(|range| range.from).collect();
    }
    Ok(KeyRanges::of(prefixes.into_iter().map(KeyRange::of_prefix).collect()))
}

/// Whether a range of one column's values has a single one, so that the next column's stand behind its bytes.
fn is_value(range: &KeyRange, bytes: Option<usize>) -> bool {
    let is_whole = bytes.map_or(range.from.ends_with(&END), |bytes| range.from.len() == bytes);
    is_whole && range.to == successor(&range.from)
}

/// The keys that begin with `prefix` and go on within a range.
fn within(prefix: &[u8], range: &KeyRange) -> KeyRange {
    let to = match &range.to {
        Some(to) => Some([prefix, to].concat()),
        None => successor(prefix),
    };
    KeyRange { from: [prefix, &range.from].concat(), to }
}

/// The values that a column may have in a row that passes, as parts of keys; `None` when the test says nothing of it alone.
fn values(test: &Node, column: usize) -> Result<Option<KeyRanges>> {
    let is_it = |tested: &usize| *tested == column;
    Ok(match test {
        Node::Constant(false) => Some(KeyRanges::of(Vec::new())),
        Node::Compare { column, comparison, value } if is_it(column) => compared(*comparison, value)?,
        Node::In { column, values, negated: false } if is_it(column) => {
            let points = values.iter().map(|value| Bounds::of(value).map(Bounds::equal));
            Some(KeyRanges::of(points.collect::<Result<_>>()?))
        }
        Node::Like { column, prefix, negated: false, .. } if is_it(column) && !prefix.is_empty() => {
            let text: ArrayRef = Arc::new(StringArray::from(vec![prefix.as_str()]));
            let mut bytes = encode_value(&text, 0)?;
            // Without its end, so that it may go on.
            bytes.truncate(bytes.len() - END.len());
            Some(KeyRanges::of(vec![KeyRange::of_prefix(bytes)]))
        }
        Node::And(parts) => {
            let mut all = None;
            for part in parts {
                all = match (all, values(part, column)?) {
                    (Some(before), Some(more)) => Some(KeyRanges::intersect(&before, &more)),
                    (before, more) => before.or(more),
                };
            }
            all
        }
        Node::Or(parts) => {
            let mut any = KeyRanges::of(Vec::new());
            for part in parts {
                match values(part, column)? {
                    Some(more) => any = any.unite(&more),
                    None => return Ok(None),
                }
            }
            Some(any)
        }
        _ => None,
    })
}

fn compared(comparison: Comparison, value: &Value) -> Result<Option<KeyRanges>> {
    let Bounds { first, behind } = Bounds::of(value)?;
    let range = match comparison {
        Comparison::NotEqual => return Ok(None),
        Comparison::Equal => Some(KeyRange { from: first, to: behind }),
        Comparison::Less => Some(KeyRange { from: Vec::new(), to: Some(first) }),
        Comparison::LessOrEqual => Some(KeyRange { from: Vec::new(), to: behind }),
        Comparison::Greater => behind.map(|behind| KeyRange { from: behind, to: None }),
        Comparison::GreaterOrEqual => Some(KeyRange { from: first, to: None }),
    };
    Ok(Some(KeyRanges::of(range.into_iter().collect())))
}

/// Where the values lie that are equal to one.
struct Bounds {
    /// The first of them.
    first: Vec<u8>,
    /// What is behind the last of them; `None` when nothing is.
    behind: Option<Vec<u8>>,
}

impl Bounds {
    fn of(value: &Value) -> Result<Self> {
        let last = encode_value(&value.array, 0)?;
        // Keys tell the two zeros apart, filters do not.
        let first = match (&value.scalar, value.array.data_type()) {
            (Scalar::Float(zero), DataType::Float32) if *zero == 0.0 => {
                encode_value(&(Arc::new(Float32Array::from(vec![-0.0])) as ArrayRef), 0)?
            }
            (Scalar::Float(zero), _) if *zero == 0.0 => encode_value(&(Arc::new(Float64Array::from(vec![-0.0])) as ArrayRef), 0)?,
            _ => last.clone(),
        };
        Ok(Bounds { first, behind: successor(&last) })
    }

    fn equal(self) -> KeyRange {
        KeyRange { from: self.first, to: self.behind }
    }
}
