//! What a row says that it is, as Paimon's RowKind: `+I`, `-U`, `+U`, `-D`, or 0 to 3 in this order.
//!
//! Invariant: one of the four or refused. Knows nothing of what becomes of such rows.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int8Builder};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::column::{Column, Fault, scalar};
use super::json_text::Json;
use crate::command::quote::quote;

/// Its numbers are those of Paimon, not those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Insert,
    UpdateBefore,
    UpdateAfter,
    Delete,
}

fn parse(text: &str) -> Result<RowKind, String> {
    match text {
        "+I" | "0" => Ok(RowKind::Insert),
        "-U" | "1" => Ok(RowKind::UpdateBefore),
        "+U" | "2" => Ok(RowKind::UpdateAfter),
        "-D" | "3" => Ok(RowKind::Delete),
        _ => Err(format!("{} is none of +I, -U, +U, -D, nor 0 to 3", quote(text))),
    }
}

/// What each row of a column says, whatever the type of the column.
///
/// Errors: Invalid, with the row from 0, for a value that is none.
pub(crate) fn row_kinds(column: &ArrayRef) -> Result<Vec<RowKind>> {
    let texts = cast(column, &DataType::Utf8)
        .map_err(|_| Error::invalid(format!("a column of type {} does not say what rows are", column.data_type())))?;
    let texts = texts.as_string::<i32>();
    let kind = |row: usize| match texts.is_null(row) {
        true => Err(Error::invalid("null where one of +I, -U, +U, -D belongs").at("row", row)),
        false => parse(texts.value(row)).map_err(|what| Error::invalid(what).at("row", row)),
    };
    (0..texts.len()).map(kind).collect()
}

/// What one row says.
pub(crate) fn row_kind(column: &ArrayRef, row: usize) -> Result<RowKind> {
    Ok(row_kinds(&column.slice(row, 1))?[0])
}

/// A column of them in the making.
#[derive(Default)]
pub(super) struct RowKinds(Int8Builder);

impl Column for RowKinds {
    fn len(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.0)
    }

    fn null(&mut self) {
        self.0.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.0.append_value(parse(text)? as i8);
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let text = scalar(json, "one of +I, -U, +U, -D")?;
        self.text(&text)
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.0.finish().slice(0, len))
    }
}
