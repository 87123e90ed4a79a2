//! The shape of a schema in an Arrow message: how many field nodes and buffers each column takes, and which of the buffers
//! are validity bitmaps. Both sides of the format derive it from the schema, in the same order. Knows nothing of values.

use arrow::datatypes::{DataType, Schema, TimeUnit};

use crate::error::{Error, Result};

/// Types may be nested this deep.
pub(super) const NESTING_MAX: usize = 64;

/// One column: where its nodes and buffers stand in the message, and what its buffers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Index of its first node.
    pub(super) node: usize,
    /// Index of its first buffer.
    pub(super) buffer: usize,
    /// For each buffer: the node whose validity it is, if it is one.
    pub(super) validity: Vec<Option<usize>>,
    /// How many nodes.
    nodes: usize,
}

/// All columns of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) columns: Vec<Column>,
    pub(super) nodes: usize,
    pub(super) buffers: usize,
}

impl Shape {
    /// Errors with `Invalid` when a column has a type that batches do not hold.
    pub(super) fn of(schema: &Schema) -> Result<Self> {
        let mut shape = Shape { columns: Vec::with_capacity(schema.fields().len()), nodes: 0, buffers: 0 };
        for field in schema.fields() {
            let mut column = Column { node: shape.nodes, buffer: shape.buffers, validity: Vec::new(), nodes: 0 };
            column.add(field.data_type(), 0).map_err(|error| error.at("column", field.name()))?;
            shape.nodes += column.nodes;
            shape.buffers += column.validity.len();
            shape.columns.push(column);
        }
        Ok(shape)
    }
}

impl Column {
    fn add(&mut self, data_type: &DataType, depth: usize) -> Result<()> {
        if depth == NESTING_MAX {
            return Err(Error::invalid("types nested too deep").at("limit", NESTING_MAX));
        }
        self.validity.push(Some(self.node + self.nodes));
        self.nodes += 1;
        match data_type {
            DataType::Utf8 | DataType::Binary => self.validity.extend([None, None]),
            DataType::List(item) | DataType::Map(item, _) => {
                self.validity.push(None);
                self.add(item.data_type(), depth + 1)?;
            }
            DataType::Struct(fields) if !fields.is_empty() => {
                for field in fields {
                    self.add(field.data_type(), depth + 1)?;
                }
            }
            other if is_flat(other) => self.validity.push(None),
            other => return Err(Error::invalid("a type that log batches do not hold").at("type", other)),
        }
        Ok(())
    }
}

/// Whether values of the type lie in one buffer, each as wide as the other.
fn is_flat(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(..) | Date32 | Timestamp(..) => true,
        Time32(unit) => matches!(unit, TimeUnit::Second | TimeUnit::Millisecond),
        Time64(unit) => matches!(unit, TimeUnit::Microsecond | TimeUnit::Nanosecond),
        FixedSizeBinary(width) => *width > 0,
        _ => false,
    }
}
