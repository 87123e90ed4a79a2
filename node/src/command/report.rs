//! Small results (lists, figures, checks) as rows, so that every output format serves them like data.
//!
//! Invariant: every row has a cell for every column. Knows nothing of what is reported.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Count(i64),
    Number(f64),
    Flag(bool),
    None,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Cell::Count(count.try_into().unwrap_or(i64::MAX))
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Cell::Flag(flag)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Cell::None, Into::into)
    }
}

/// Rows of cells under named columns.
pub(crate) struct Report {
    columns: Vec<(&'static str, Vec<Cell>)>,
}

impl Report {
    pub(crate) fn new<const N: usize>(names: [&'static str; N]) -> Self {
        Report { columns: names.map(|name| (name, Vec::new())).into() }
    }

    /// A report of one row.
    pub(crate) fn one<const N: usize>(cells: [(&'static str, Cell); N]) -> Self {
        Report { columns: cells.map(|(name, cell)| (name, vec![cell])).into() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        for ((_, column), cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
    }

    /// The rows as a batch; a column without any value is text.
    pub(crate) fn batch(&self) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|(name, cells)| (*name, array(cells), true));
        RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| Error::internal(format!("a report is no batch: {error}")))
    }
}

fn array(cells: &[Cell]) -> ArrayRef {
    match cells.iter().find(|cell| **cell != Cell::None) {
        Some(Cell::Count(_)) => {
            Arc::new(cells.iter().map(|cell| if let Cell::Count(count) = cell { Some(*count) } else { None }).collect::<Int64Array>())
        }
        Some(Cell::Number(_)) => {
            Arc::new(cells.iter().map(|cell| if let Cell::Number(number) = cell { Some(*number) } else { None }).collect::<Float64Array>())
        }
        Some(Cell::Flag(_)) => {
            Arc::new(cells.iter().map(|cell| if let Cell::Flag(flag) = cell { Some(*flag) } else { None }).collect::<BooleanArray>())
        }
        _ => {
            Arc::new(cells.iter().map(|cell| if let Cell::Text(text) = cell { Some(text.as_str()) } else { None }).collect::<StringArray>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_take_the_type_of_their_cells() {
        let mut report = Report::new(["name", "rows", "ratio", "ok", "nothing"]);
        report.row(["a".into(), 1_u64.into(), Cell::None, true.into(), Cell::None]);
        report.row(["b".into(), Cell::None, 0.5.into(), false.into(), Cell::None]);
        let batch = report.batch().unwrap();
        let types: Vec<_> = batch.columns().iter().map(|column| column.data_type().to_string()).collect();
        assert_eq!(types, ["Utf8", "Int64", "Float64", "Boolean", "Utf8"]);
        assert_eq!(batch.column(2).null_count(), 1);
    }
}
