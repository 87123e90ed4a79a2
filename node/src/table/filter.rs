//! Row filters: `a > 5 and (b = 'x' or not c is null) and d in (1, 2, 3)`.
//!
//! Three steps: text is parsed ([`Filter`]), bound to the columns of a schema ([`Bound`]), then evaluated on batches with Arrow's
//! kernels, or asked whether statistics rule a set of rows out. Invariants: SQL's three-valued logic, where only true keeps a
//! row; pruning never rules out a row that evaluation would keep. Floats are ordered with NaN, equal to itself, above all
//! numbers, and with `-0.0` equal to `0.0`.

use std::fmt;
use std::str::FromStr;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};

use super::key_range::KeyRanges;
use super::literal::Literal;
use super::scalar::Scalar;
use super::schema::{Field, TableSchema};
use super::statistics::ColumnStatistics;
use crate::error::{Error, Result};

mod bind;
mod evaluate;
mod lex;
mod parse;
mod prune;
mod ranges;

/// Longest text of a filter, in bytes.
pub const FILTER_LENGTH_MAX: usize = 64 * 1024;
/// Most parentheses and `not`s within each other.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Most values in one `in (...)`.
pub const IN_LIST_MAX: usize = 1000;

/// A filter as it was written; knows no schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    expression: Expression,
}

impl Filter {
    /// Binds names to the columns of `schema`, and literals to their types.
    ///
    /// # Errors
    /// Invalid for an unknown column, with the name that was probably meant, and for a literal or a comparison that the type of
    /// a column does not allow.
    pub fn bind(&self, schema: &TableSchema) -> Result<Bound> {
        bind::bind(&self.expression, schema)
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// Parses a filter. Errors are Invalid and say the position, counted in characters from 1, and what was expected there.
    fn from_str(text: &str) -> Result<Self> {
        Ok(Filter { expression: parse::parse(text)? })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Operand, Comparison, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Literal>),
    Like { operand: Operand, pattern: String, ignores_case: bool },
    IsNull(Operand),
    Operand(Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Column(String),
    Literal(Literal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// True where this is false, of values that are not null.
    fn negated(self) -> Self {
        match self {
            Comparison::Equal => Comparison::NotEqual,
            Comparison::NotEqual => Comparison::Equal,
            Comparison::Less => Comparison::GreaterOrEqual,
            Comparison::LessOrEqual => Comparison::Greater,
            Comparison::Greater => Comparison::LessOrEqual,
            Comparison::GreaterOrEqual => Comparison::Less,
        }
    }

    /// The same with the sides exchanged.
    fn flipped(self) -> Self {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

/// A filter bound to the columns of a schema: what batches and statistics are tested with.
#[derive(Clone, Debug)]
pub struct Bound {
    columns: Vec<Field>,
    root: Node,
}

impl Bound {
    /// The columns that the filter needs, in the order of their first use.
    pub fn columns(&self) -> &[Field] {
        &self.columns
    }

    /// For each row whether it passes: true, false, or null for unknown, which does not pass. The batch needs the columns of the
    /// filter, by name, anywhere; others do not matter.
    ///
    /// # Errors
    /// Invalid when the batch lacks a column or has it with another type.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        evaluate::evaluate(self, batch)
    }

    /// Whether rows with these statistics, by field id, could contain one that passes. `None` says nothing is known.
    pub fn may_match<'a>(&self, statistics: &dyn Fn(i32) -> Option<ColumnStatistics<'a>>) -> bool {
        prune::may_match(self, statistics)
    }

    /// The same for rows of which only the columns with these field ids are known: all of them pass that would with some values in the others.
    #[must_use]
    pub fn of_columns(&self, known: &[i32]) -> Bound {
        let is_known = |column: usize| known.contains(&self.columns[column].id);
        Bound { columns: self.columns.clone(), root: self.root.relaxed(&is_known) }
    }

    /// Which keys rows may have that pass, where keys have the columns with these field ids: all of them unless the filter tests the first ones.
    ///
    /// # Errors
    /// Invalid for columns that no key has.
    pub fn key_ranges(&self, key: &[i32]) -> Result<KeyRanges> {
        ranges::key_ranges(self, key)
    }
}

/// A tree without negations: they are pushed down into the tests. Columns are places in [`Bound::columns`].
#[derive(Clone, Debug)]
enum Node {
    Constant(bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare { column: usize, comparison: Comparison, value: Value },
    CompareColumns { left: usize, comparison: Comparison, right: usize },
    In { column: usize, values: Vec<Value>, negated: bool },
    Like { column: usize, pattern: ArrayRef, prefix: String, ignores_case: bool, negated: bool },
    IsNull { column: usize, negated: bool },
}

impl Node {
    /// With tests of columns that are not known passed: nothing is negated, so no row that would pass is lost.
    fn relaxed(&self, is_known: &impl Fn(usize) -> bool) -> Node {
        let all = |nodes: &[Node]| nodes.iter().map(|node| node.relaxed(is_known)).collect();
        let is_tested = match self {
            Node::And(nodes) => return Node::And(all(nodes)),
            Node::Or(nodes) => return Node::Or(all(nodes)),
            Node::Constant(_) => true,
            Node::CompareColumns { left, right, .. } => is_known(*left) && is_known(*right),
            Node::Compare { column, .. } | Node::In { column, .. } | Node::Like { column, .. } | Node::IsNull { column, .. } => {
                is_known(*column)
            }
        };
        if is_tested { self.clone() } else { Node::Constant(true) }
    }
}

/// A literal of a column's type, for statistics and, as an array of one row, for Arrow's kernels.
#[derive(Clone)]
struct Value {
    scalar: Scalar,
    array: ArrayRef,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scalar.fmt(f)
    }
}

#[cfg(test)]
mod tests;
