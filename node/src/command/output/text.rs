//! Json lines and csv.
//!
//! Invariant: in csv a null is an empty cell, an empty text is `""`. Knows nothing of files.

use std::io::Write;

use aquifer_node::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::destination::Destination;
use super::value::{Printer, members, print_object};
use crate::command::outcome::Failure;

/// Bytes that are formatted before they are passed on.
const SCRATCH_BYTES: usize = 64 << 10;

pub(super) struct Text {
    destination: Destination,
    scratch: Vec<u8>,
    is_csv: bool,
}

impl Text {
    pub(super) fn json(destination: Destination) -> Self {
        Text { destination, scratch: Vec::new(), is_csv: false }
    }

    pub(super) fn csv(destination: Destination, schema: &SchemaRef) -> Result<Self, Failure> {
        let mut text = Text { destination, scratch: Vec::new(), is_csv: true };
        for (place, field) in schema.fields().iter().enumerate() {
            text.scratch.extend_from_slice(if place > 0 { b"," } else { b"" });
            print_cell(field.name().as_bytes(), &mut text.scratch);
        }
        text.scratch.push(b'\n');
        text.pass_on()?;
        Ok(text)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        if self.is_csv { self.write_csv(batch) } else { self.write_json(batch) }
    }

    fn write_json(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let members = members(batch.schema_ref().fields(), batch.columns())?;
        for row in 0..batch.num_rows() {
            print_object(&members, row, &mut self.scratch);
            self.end_row()?;
        }
        self.pass_on()
    }

    fn write_csv(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let columns = batch.columns().iter().map(Printer::text).collect::<Result<Vec<_>>>()?;
        let mut cell = Vec::new();
        for row in 0..batch.num_rows() {
            for (place, column) in columns.iter().enumerate() {
                self.scratch.extend_from_slice(if place > 0 { b"," } else { b"" });
                if !column.is_null(row) {
                    cell.clear();
                    column.print(row, &mut cell);
                    print_cell(&cell, &mut self.scratch);
                }
            }
            self.end_row()?;
        }
        self.pass_on()
    }

    fn end_row(&mut self) -> Result<(), Failure> {
        self.scratch.push(b'\n');
        if self.scratch.len() >= SCRATCH_BYTES { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<(), Failure> {
        self.destination.write_all(&self.scratch).map_err(Failure::writing)?;
        self.scratch.clear();
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.destination.flush().map_err(Failure::writing)
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        self.destination.finish()
    }
}

/// Writes a cell, in quotes where it would be misread without.
fn print_cell(cell: &[u8], out: &mut Vec<u8>) {
    if !cell.is_empty() && !cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(cell);
        return;
    }
    out.push(b'"');
    for byte in cell {
        out.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
    }
    out.push(b'"');
}
