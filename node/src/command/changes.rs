//! What each row of an input does to a table with a primary key: all of them upserts, or as a column of the input says.
//!
//! Invariant: a `-U` is handed on together with the row behind it. Knows nothing of files and formats.

use aquifer_node::{Error, Result};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::input::{Columns, Placed, RowKind, row_kind, row_kinds};
use super::store::ChangeType;

/// The column of an input that says what its rows are.
struct OpColumn {
    name: String,
    /// The table has a column of this name as well.
    is_of_table: bool,
}

pub(crate) struct Changes {
    table: SchemaRef,
    key: Vec<String>,
    op: Option<OpColumn>,
    /// The first row of an update, at the end of the last batch.
    half: Option<Placed>,
}

impl Changes {
    /// Of rows for a table with these columns and this key.
    pub(crate) fn new(op_column: Option<&str>, table: SchemaRef, key: Vec<String>) -> Self {
        let op = op_column.map(|name| OpColumn { name: name.to_string(), is_of_table: table.column_with_name(name).is_some() });
        Changes { table, key, op, half: None }
    }

    /// What an input should have.
    pub(crate) fn columns(&self) -> Columns {
        let columns = Columns::from(self.table.clone());
        match &self.op {
            Some(op) if !op.is_of_table => columns.with_row_kinds(&op.name),
            _ => columns,
        }
    }

    /// The batch behind what was kept of the one before; a `-U` at its end is kept for the next.
    pub(crate) fn whole_updates(&mut self, batch: Placed) -> Result<Placed> {
        if self.op.is_none() {
            return Ok(batch);
        }
        let batch = match self.half.take() {
            None => batch,
            Some(half) => half.and(&batch)?,
        };
        let count = batch.len();
        if count == 0 || !self.is_kind(&batch.rows, count - 1, RowKind::UpdateBefore) {
            return Ok(batch);
        }
        self.half = Some(batch.slice(count - 1..count));
        Ok(batch.slice(0..count - 1))
    }

    /// What was kept and is not followed by anything.
    pub(crate) fn rest(&mut self) -> Option<Placed> {
        self.half.take()
    }

    /// Whether this row and the next look like the two of an update, whose keys are not compared.
    pub(crate) fn may_be_update(&self, batch: &RecordBatch, row: usize) -> bool {
        self.is_kind(batch, row, RowKind::UpdateBefore) && self.is_kind(batch, row + 1, RowKind::UpdateAfter)
    }

    /// Whether this row and the next are the two of an update.
    pub(crate) fn is_update(&self, batch: &RecordBatch, row: usize) -> bool {
        let has_key = |name: &String| {
            let column = batch.column_by_name(name);
            column.is_some_and(|column| column.is_valid(row) && column.slice(row, 1) == column.slice(row + 1, 1))
        };
        self.may_be_update(batch, row) && self.key.iter().all(has_key)
    }

    fn is_kind(&self, batch: &RecordBatch, row: usize, wanted: RowKind) -> bool {
        let Some(op) = &self.op else { return false };
        let column = batch.column_by_name(&op.name).filter(|column| row < column.len());
        column.is_some_and(|column| row_kind(column, row).is_ok_and(|kind| kind == wanted))
    }

    /// The rows as the table has them, and what each does.
    ///
    /// Errors: Invalid when the column is missing, or for a row that says something else.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<ChangeType>)> {
        let Some(op) = &self.op else { return Ok((batch.clone(), vec![ChangeType::UpdateAfter; batch.num_rows()])) };
        let place = batch.schema_ref().index_of(&op.name).map_err(|_| {
            Error::invalid("the input lacks the column that --op-column names")
                .at("column", &op.name)
                .hint("leave it out when all rows are upserts")
        })?;
        let kinds = row_kinds(batch.column(place)).map_err(|error| error.at("column", &op.name))?;
        let mut rows = batch.clone();
        if !op.is_of_table {
            rows.remove_column(place);
        }
        Ok((rows, kinds.into_iter().map(change).collect()))
    }
}

fn change(kind: RowKind) -> ChangeType {
    match kind {
        RowKind::Insert => ChangeType::Insert,
        RowKind::UpdateBefore => ChangeType::UpdateBefore,
        RowKind::UpdateAfter => ChangeType::UpdateAfter,
        RowKind::Delete => ChangeType::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, UInt8Array};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    fn changes(table_has_op: bool) -> Changes {
        let batch = rows(&[], &[]);
        let table = if table_has_op { batch.schema() } else { Arc::new(batch.schema().project(&[0]).unwrap()) };
        Changes::new(Some("op"), table, vec!["key".into()])
    }

    fn rows(keys: &[i64], ops: &[&str]) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] =
            [("key", Arc::new(Int64Array::from(keys.to_vec()))), ("op", Arc::new(StringArray::from(ops.to_vec())))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn keys(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn an_update_is_not_cut_between_batches() {
        let mut changes = changes(false);
        let mut whole = |keys: &[i64], ops: &[&str]| changes.whole_updates(Placed::of_text(rows(keys, ops))).unwrap();
        assert_eq!(keys(&whole(&[1, 2], &["+I", "-U"]).rows), [1]);
        assert_eq!(keys(&whole(&[2, 3], &["+U", "1"]).rows), [2, 2]);
        assert_eq!(keys(&changes.rest().unwrap().rows), [3]);
        assert!(changes.rest().is_none());
    }

    #[test]
    fn two_rows_are_an_update_if_they_have_one_key() {
        let all = rows(&[1, 1, 2, 3, 4, 5], &["-U", "+U", "-U", "+U", "-U", "-D"]);
        let pairs = |is: &dyn Fn(&Changes, usize) -> bool| (0..6).filter(|row| is(&changes(false), *row)).collect::<Vec<_>>();
        assert_eq!(pairs(&|changes, row| changes.may_be_update(&all, row)), [0, 2]);
        assert_eq!(pairs(&|changes, row| changes.is_update(&all, row)), [0]);
    }

    #[test]
    fn the_column_says_what_rows_do_and_goes_unless_the_table_has_it() {
        use ChangeType::*;
        let all = rows(&[1, 2, 3, 4, 5], &["+I", "1", "2", "-D", "+U"]);
        let (split, found) = changes(false).split(&all).unwrap();
        assert_eq!((split.num_columns(), found), (1, vec![Insert, UpdateBefore, UpdateAfter, Delete, UpdateAfter]));
        assert_eq!(changes(true).split(&all).unwrap().0.num_columns(), 2);
    }

    #[test]
    fn what_is_no_change_is_named_by_its_row() {
        for wrong in ["+A", "4", "-1", "", "1.0"] {
            let error = changes(false).split(&rows(&[1, 2], &["0", wrong])).unwrap_err().to_string();
            assert!(error.contains("row 1") && error.contains("column op"), "{wrong}: {error}");
        }
        let numbers: ArrayRef = Arc::new(UInt8Array::from(vec![Some(0), None]));
        let error = changes(false).split(&RecordBatch::try_from_iter([("op", numbers)]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{error}");
        let missing = rows(&[1], &["0"]).project(&[0]).unwrap();
        assert!(changes(false).split(&missing).unwrap_err().to_string().contains("op"));
    }
}
