//! What each row of an input does to a table with a primary key: all of them upserts, or as a column of the input says.
//!
//! Invariant: a `-U` is handed on together with the row behind it. Knows nothing of files and formats.

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::input::{Columns, RowKind, row_kind, row_kinds};
use super::store::ChangeType;

/// The column of an input that says what its rows are.
struct OpColumn {
    name: String,
    /// The table has a column of this name as well.
    is_of_table: bool,
}

pub(crate) struct Changes {
    table: SchemaRef,
    op: Option<OpColumn>,
    /// The first row of an update, at the end of the last batch.
    half: Option<RecordBatch>,
}

impl Changes {
    /// Of rows for a table with these columns.
    pub(crate) fn new(op_column: Option<&str>, table: SchemaRef) -> Self {
        let op = op_column.map(|name| OpColumn { name: name.to_string(), is_of_table: table.column_with_name(name).is_some() });
        Changes { table, op, half: None }
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
    pub(crate) fn whole_updates(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.op.is_none() {
            return Ok(batch);
        }
        let batch = match self.half.take() {
            None => batch,
            Some(half) => concat_batches(&batch.schema(), [&half, &batch])
                .map_err(|error| Error::internal("batches of one input do not join").caused_by(error))?,
        };
        let count = batch.num_rows();
        if count == 0 || !self.is_before_update(&batch, count - 1) {
            return Ok(batch);
        }
        self.half = Some(batch.slice(count - 1, 1));
        Ok(batch.slice(0, count - 1))
    }

    /// What was kept and is not followed by anything.
    pub(crate) fn rest(&mut self) -> Option<RecordBatch> {
        self.half.take()
    }

    /// Whether a row is the first of the two of an update.
    pub(crate) fn is_before_update(&self, batch: &RecordBatch, row: usize) -> bool {
        let Some(op) = &self.op else { return false };
        batch.column_by_name(&op.name).is_some_and(|column| row_kind(column, row).is_ok_and(|kind| kind == RowKind::UpdateBefore))
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
        Changes::new(Some("op"), table)
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
        assert_eq!(keys(&changes.whole_updates(rows(&[1, 2], &["+I", "-U"])).unwrap()), [1]);
        assert_eq!(keys(&changes.whole_updates(rows(&[2, 3], &["+U", "1"])).unwrap()), [2, 2]);
        assert_eq!(keys(&changes.rest().unwrap()), [3]);
        assert!(changes.rest().is_none());
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
