//! Rows in the making: from csv records and JSON lines to a batch with the schema of the table.
//!
//! Invariant: a refused row leaves nothing behind; rows before it stay. Knows nothing of lines and files.

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::column::{Fault, Named, object};
use super::columns::Columns;
use super::csv_record::Record;
use super::json_text::Json;
use super::meta::way_out;
use crate::command::quote::quote;

pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Named>,
    /// Rows in `columns`.
    count: usize,
    /// Rows that stood before a refused one.
    done: Vec<RecordBatch>,
    /// Bytes of text behind the rows.
    bytes: usize,
}

impl Rows {
    pub(super) fn new(columns: &Columns) -> Result<Self> {
        Ok(Rows { schema: columns.schema(), columns: columns.named()?, count: 0, done: Vec::new(), bytes: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.count + self.done.iter().map(RecordBatch::num_rows).sum::<usize>()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which column each cell of a csv header names.
    pub(super) fn header(&self, record: &Record) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(record.len());
        for (name, _) in record.cells() {
            let name = String::from_utf8_lossy(name);
            let place = self.columns.iter().position(|column| column.name == name);
            let place = place.ok_or_else(|| {
                let known: Vec<_> = self.columns.iter().map(|column| column.name.as_str()).collect();
                let hint =
                    way_out(&name).unwrap_or_else(|| format!("the first line has to name columns of the table: {}", known.join(",")));
                Error::invalid(format!("the header names an unknown column {}", quote(&name))).hint(hint)
            })?;
            if places.contains(&place) {
                return Err(Error::invalid(format!("the header names column {} twice", quote(&name))));
            }
            places.push(place);
        }
        let missing = |place: &usize| !places.contains(place) && !self.columns[*place].nullable;
        match (0..self.columns.len()).find(missing) {
            None => Ok(places),
            Some(place) => Err(Error::invalid(format!("the header lacks column '{}', which may not be null", self.columns[place].name))),
        }
    }

    /// Adds a csv record whose cells stand as the header said.
    pub(super) fn csv(&mut self, record: &Record, places: &[usize]) -> Result<(), Fault> {
        if record.len() != places.len() {
            return Err(
                format!("{} cell{} where the header has {}", record.len(), if record.len() == 1 { "" } else { "s" }, places.len()).into()
            );
        }
        let outcome = self.cells(record, places);
        self.close(outcome)
    }

    fn cells(&mut self, record: &Record, places: &[usize]) -> Result<(), Fault> {
        for ((cell, quoted), place) in record.cells().zip(places) {
            let column = &mut self.columns[*place];
            let outcome = match std::str::from_utf8(cell) {
                Ok("") if !quoted => column.null(),
                Ok(text) => column.column.text(text),
                Err(_) => Err(Fault::from("not UTF-8".to_string())),
            };
            outcome.map_err(|fault| fault.within(&column.name))?;
            self.bytes += cell.len() + 1;
        }
        let count = self.count;
        self.columns.iter_mut().filter(|column| column.column.len() == count).for_each(|column| column.column.null());
        Ok(())
    }

    /// Adds the object on a line.
    pub(super) fn json(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(line).map_err(|_| Fault::from("not UTF-8".to_string()))?;
        let mut json = Json::new(text);
        let outcome = object(&mut json, &mut self.columns, self.count).and_then(|()| json.end().map_err(Fault::from));
        self.bytes += line.len();
        self.close(outcome)
    }

    fn close(&mut self, outcome: Result<(), Fault>) -> Result<(), Fault> {
        match outcome {
            Ok(()) => self.count += 1,
            Err(fault) => {
                self.cut()?;
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Moves whole rows out of the columns and empties these.
    fn cut(&mut self) -> Result<(), Fault> {
        let count = std::mem::take(&mut self.count);
        let arrays = self.columns.iter_mut().map(|column| column.column.finish(count)).collect();
        if count > 0 {
            let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| Fault::from(error.to_string()))?;
            self.done.push(batch);
        }
        Ok(())
    }

    /// The rows so far, if there are any.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>> {
        self.cut().map_err(|fault| Error::internal(format!("rows do not make a batch: {}", fault.what)))?;
        self.bytes = 0;
        match std::mem::take(&mut self.done).as_slice() {
            [] => Ok(None),
            [batch] => Ok(Some(batch.clone())),
            batches => {
                concat_batches(&self.schema, batches).map(Some).map_err(|error| Error::internal(format!("batches do not join: {error}")))
            }
        }
    }
}
