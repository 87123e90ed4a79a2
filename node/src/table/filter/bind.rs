//! Binds a parsed filter to a schema: names become columns, literals become values of their types, negations move into the tests.
//!
//! Comparisons with literals that the type cannot hold are decided here: of an `int8`, `a < 300` is `a is not null`.

use std::sync::Arc;

use arrow::array::StringArray;

use super::{Bound, Comparison, Expression, Literal, Node, Operand, Value};
use crate::error::{Error, Result};
use crate::table::literal::{Place, place};
use crate::table::scalar::{Scalar, array_of};
use crate::table::schema::{Field, TableSchema};
use crate::table::types::ColumnType;

pub(super) fn bind(expression: &Expression, schema: &TableSchema) -> Result<Bound> {
    let mut binder = Binder { schema, columns: Vec::new() };
    let root = binder.node(expression, false)?;
    Ok(Bound { columns: binder.columns, root })
}

/// An unknown name behind a comparison may have been meant for a text.
fn perhaps_text(error: Error, operand: &Operand) -> Error {
    let (Operand::Column(name), Some(advice)) = (operand, error.advice()) else { return error };
    let hint = format!("{advice}; a text stands in single quotes: '{}'", name.replace('\'', "''"));
    error.hint(hint)
}

struct Binder<'a> {
    schema: &'a TableSchema,
    columns: Vec<Field>,
}

impl Binder<'_> {
    /// The node that is true where `expression` is true; where it is false, if `negated`.
    fn node(&mut self, expression: &Expression, negated: bool) -> Result<Node> {
        match expression {
            Expression::Not(inner) => self.node(inner, !negated),
            Expression::And(parts) => self.combined(parts, negated, !negated),
            Expression::Or(parts) => self.combined(parts, negated, negated),
            Expression::Compare(left, comparison, right) => {
                self.compare(left, if negated { comparison.negated() } else { *comparison }, right)
            }
            Expression::Between(operand, low, high) => {
                let (from, to) = (Comparison::GreaterOrEqual, Comparison::LessOrEqual);
                let both =
                    [Expression::Compare(operand.clone(), from, low.clone()), Expression::Compare(operand.clone(), to, high.clone())];
                self.combined(&both, negated, !negated)
            }
            Expression::In(operand, list) => self.within(operand, list, negated),
            Expression::Like { operand, pattern, ignores_case } => self.like(operand, pattern, *ignores_case, negated),
            Expression::IsNull(operand) => Ok(Node::IsNull { column: self.column(operand)?, negated }),
            Expression::Operand(Operand::Literal(Literal::Boolean(value))) => Ok(Node::Constant(*value != negated)),
            Expression::Operand(Operand::Literal(Literal::Null)) => Ok(Node::Constant(false)),
            Expression::Operand(operand) => {
                let column = self.column(operand)?;
                self.expect_boolean(column)?;
                self.compare_literal(column, Comparison::Equal, &Literal::Boolean(!negated))
            }
        }
    }

    fn combined(&mut self, parts: &[Expression], negated: bool, all: bool) -> Result<Node> {
        let nodes = parts.iter().map(|part| self.node(part, negated)).collect::<Result<Vec<_>>>()?;
        Ok(if all { Node::And(nodes) } else { Node::Or(nodes) })
    }

    /// The place of a column among those of the filter.
    fn column(&mut self, operand: &Operand) -> Result<usize> {
        let Operand::Column(name) = operand else {
            return Err(Error::invalid("a filter tests columns, not values alone").hint("as in: price > 5"));
        };
        let field = self.schema.column(name)?;
        if let Some(known) = self.columns.iter().position(|column| column.id == field.id) {
            return Ok(known);
        }
        self.columns.push(field.clone());
        Ok(self.columns.len() - 1)
    }

    fn expect_boolean(&self, column: usize) -> Result<()> {
        let Field { name, kind, .. } = &self.columns[column];
        match kind {
            ColumnType::Boolean => Ok(()),
            _ => {
                Err(Error::invalid(format!("`{name}` is {kind}, not true or false")).hint(format!("compare it, as in: {name} is not null")))
            }
        }
    }

    fn compare(&mut self, left: &Operand, comparison: Comparison, right: &Operand) -> Result<Node> {
        match (left, right) {
            (Operand::Column(_), Operand::Literal(value)) => {
                let column = self.column(left)?;
                self.compare_literal(column, comparison, value)
            }
            (Operand::Literal(value), Operand::Column(_)) => {
                let column = self.column(right)?;
                self.compare_literal(column, comparison.flipped(), value)
            }
            _ => {
                let left = self.column(left)?;
                let right = self.column(right).map_err(|error| perhaps_text(error, right))?;
                let (one, other) = (&self.columns[left], &self.columns[right]);
                if one.kind != other.kind || one.kind.is_nested() {
                    let message = format!("cannot compare `{}`, {}, with `{}`, {}", one.name, one.kind, other.name, other.kind);
                    return Err(Error::invalid(message).hint("columns can be compared if they have the same type without nested fields"));
                }
                Ok(Node::CompareColumns { left, comparison, right })
            }
        }
    }

    fn compare_literal(&self, column: usize, comparison: Comparison, literal: &Literal) -> Result<Node> {
        // Whatever is compared with null is unknown.
        if *literal == Literal::Null {
            return Ok(Node::Constant(false));
        }
        let not_null = Node::IsNull { column, negated: true };
        use Comparison::*;
        let (comparison, scalar) = match (self.place(column, literal)?, comparison) {
            (Place::Exact(scalar), comparison) => (comparison, scalar),
            (_, Equal) => return Ok(Node::Constant(false)),
            (_, NotEqual) => return Ok(not_null),
            (Place::After(scalar), Less | LessOrEqual) => (LessOrEqual, scalar),
            (Place::After(scalar), Greater | GreaterOrEqual) => (Greater, scalar),
            (Place::AboveAll, Less | LessOrEqual) | (Place::BelowAll, Greater | GreaterOrEqual) => return Ok(not_null),
            (Place::AboveAll | Place::BelowAll, _) => return Ok(Node::Constant(false)),
        };
        Ok(Node::Compare { column, comparison, value: self.value(column, scalar)? })
    }

    fn place(&self, column: usize, literal: &Literal) -> Result<Place> {
        place(literal, &self.columns[column].kind).map_err(|error| error.at("column", &self.columns[column].name))
    }

    fn value(&self, column: usize, scalar: Scalar) -> Result<Value> {
        let scalar = match scalar {
            Scalar::Float(value) => Scalar::Float(value + 0.0),
            other => other,
        };
        let kind = &self.columns[column].kind;
        let array = array_of(&scalar, &kind.to_arrow());
        let array = array.ok_or_else(|| Error::internal(format!("{scalar:?} was taken for a value of type {kind}")))?;
        Ok(Value { scalar, array })
    }

    fn within(&mut self, operand: &Operand, list: &[Literal], negated: bool) -> Result<Node> {
        let column = self.column(operand)?;
        // Nothing is known to differ from null.
        if negated && list.contains(&Literal::Null) {
            return Ok(Node::Constant(false));
        }
        let mut values = Vec::with_capacity(list.len());
        for literal in list.iter().filter(|literal| **literal != Literal::Null) {
            // What the type cannot hold is equal to no value.
            if let Place::Exact(scalar) = self.place(column, literal)? {
                values.push(self.value(column, scalar)?);
            }
        }
        Ok(match (values.is_empty(), negated) {
            (true, false) => Node::Constant(false),
            (true, true) => Node::IsNull { column, negated: true },
            _ => Node::In { column, values, negated },
        })
    }

    fn like(&mut self, operand: &Operand, pattern: &str, ignores_case: bool, negated: bool) -> Result<Node> {
        let column = self.column(operand)?;
        let Field { name, kind, .. } = &self.columns[column];
        if *kind != ColumnType::Utf8 {
            return Err(Error::invalid(format!("`{name}` is {kind}; like is for utf8")));
        }
        let special = pattern.find(['%', '_', '\\']);
        let prefix = if ignores_case { "" } else { &pattern[..special.unwrap_or(pattern.len())] };
        let (prefix, pattern) = (prefix.to_string(), Arc::new(StringArray::from(vec![pattern])));
        Ok(Node::Like { column, pattern, prefix, ignores_case, negated })
    }
}
