//! Rows of an input together with where each of them stands in it, so that whoever refuses one later can still say which it was.
//!
//! Invariant: a number a row, ascending; the same one however the input is cut into batches. Knows nothing of why rows are refused.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use aquifer_node::{Error, Kind, Result};
use arrow::array::RecordBatch;
use arrow::buffer::ScalarBuffer;
use arrow::compute::concat_batches;

use super::shown;

/// What an input is called, and what is counted in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    name: String,
    unit: &'static str,
}

impl Source {
    /// Text, where a row is found by the line that it begins on.
    pub(super) fn of_lines(path: &Path) -> Arc<Self> {
        Arc::new(Source { name: shown(path).to_string(), unit: "line" })
    }

    /// A format that has no lines.
    pub(super) fn of_rows(path: &Path) -> Arc<Self> {
        Arc::new(Source { name: shown(path).to_string(), unit: "row" })
    }
}

/// Rows, and their numbers from 1.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) rows: RecordBatch,
    numbers: ScalarBuffer<u64>,
    source: Arc<Source>,
}

impl Placed {
    /// Rows that begin on these lines.
    pub(super) fn on_lines(rows: RecordBatch, lines: Vec<u64>, source: &Arc<Source>) -> Self {
        assert_eq!(rows.num_rows(), lines.len(), "a line for each row");
        Placed { rows, numbers: lines.into(), source: source.clone() }
    }

    /// Rows behind so many others.
    pub(super) fn behind(rows: RecordBatch, count: u64, source: &Arc<Source>) -> Self {
        let numbers = (count + 1..=count + rows.num_rows() as u64).collect::<Vec<_>>().into();
        Placed { rows, numbers, source: source.clone() }
    }

    /// Rows on the first lines of a text.
    #[cfg(test)]
    pub(crate) fn of_text(rows: RecordBatch) -> Self {
        let lines = (1..=rows.num_rows() as u64).collect();
        Self::on_lines(rows, lines, &Source::of_lines(Path::new("x.csv")))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Some of the rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let (from, count) = (rows.start, rows.len());
        Placed { rows: self.rows.slice(from, count), numbers: self.numbers.slice(from, count), source: self.source.clone() }
    }

    /// These rows, then others of the same input.
    pub(crate) fn and(&self, next: &Placed) -> Result<Self> {
        let rows = concat_batches(&next.rows.schema(), [&self.rows, &next.rows])
            .map_err(|error| Error::internal("batches of one input do not join").caused_by(error))?;
        let numbers = self.numbers.iter().chain(next.numbers.iter()).copied().collect::<Vec<_>>().into();
        Ok(Placed { rows, numbers, source: self.source.clone() })
    }

    /// What is wrong with one of these rows, by its place in the input instead of the one in the batch; or with all of them.
    pub(crate) fn locate(&self, error: Error) -> Error {
        let is_of_input = error.kind() == Kind::Invalid && !has_rows_failed(&error);
        match bad_row(&error).and_then(|row| self.numbers.get(row)) {
            Some(number) => error.without("row").at("file", &self.source.name).at(self.source.unit, number),
            None if is_of_input => error.at("file", &self.source.name),
            None => error,
        }
    }

    /// Which row this is of its input, or which rows the first and the last are.
    pub(crate) fn name(&self) -> String {
        let Source { name, unit } = &*self.source;
        match *self.numbers {
            [first, .., last] => format!("{unit}s {first} and {last} of {name}"),
            [only] => format!("{unit} {only} of {name}"),
            [] => format!("no {unit} of {name}"),
        }
    }

    /// What a row is called in the input.
    pub(crate) fn unit(&self) -> &'static str {
        self.source.unit
    }
}

/// The row of its batch, from 0, that an error is about; `None` when it is about more, or when others of the batch may have been written.
pub(crate) fn bad_row(error: &Error) -> Option<usize> {
    let (_, row) = error.context().find(|(name, _)| *name == "row" && !has_rows_failed(error))?;
    row.parse().ok()
}

fn has_rows_failed(error: &Error) -> bool {
    error.context().any(|(name, _)| name == "rows_failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn rows(count: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from_iter_values(0..count)) as _)]).unwrap()
    }

    #[test]
    fn a_row_keeps_its_number_however_batches_are_cut_and_joined() {
        let source = Source::of_lines(Path::new("x.csv"));
        let placed = Placed::on_lines(rows(4), vec![2, 5, 6, 9], &source);
        let joined = placed.slice(1..2).and(&placed.slice(3..4)).unwrap();
        assert_eq!((joined.name(), joined.slice(1..2).name()), ("lines 5 and 9 of x.csv".into(), "line 9 of x.csv".into()));
        let error = joined.locate(Error::invalid("no").at("row", 1).at("table", "t"));
        assert_eq!(error.to_string(), "no, table t, file x.csv, line 9");
        let error = joined.locate(Error::invalid("no").at("rows_failed", 2).at("row", 1));
        assert_eq!(error.to_string(), "no, rows_failed 2, row 1", "others of the batch may have been written");
        assert_eq!(joined.locate(Error::invalid("no").at("column", "a")).to_string(), "no, column a, file x.csv");
    }

    #[test]
    fn rows_without_lines_are_counted_from_one() {
        let placed = Placed::behind(rows(2), 7, &Source::of_rows(Path::new("-")));
        assert_eq!(placed.slice(1..2).name(), "row 9 of standard input");
        assert_eq!(placed.locate(Error::invalid("no").at("row", 0)).to_string(), "no, file standard input, row 8");
    }
}
