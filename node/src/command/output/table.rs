//! Rows as an aligned table for eyes.
//!
//! Invariant: holds [`SAMPLE_ROWS`] rows at most: their widths are kept for all that follow. Wide columns are cut to the
//! terminal. Knows nothing of files.

use std::io::Write;

use aquifer_node::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use comfy_table::{CellAlignment, ColumnConstraint, Width};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Purpose;
use super::destination::{Destination, terminal_columns};
use super::value::Printer;
use crate::command::outcome::Failure;

/// Rows whose widths are measured.
const SAMPLE_ROWS: usize = 1000;

/// Characters of a cell at most when the output is no terminal.
const CELL_CHARACTERS_MAX: usize = 100;

/// Characters that a column keeps when columns are cut to the terminal.
const CELL_CHARACTERS_MIN: usize = 8;

pub(super) struct Table {
    destination: Destination,
    schema: SchemaRef,
    purpose: Purpose,
    sample: Vec<Vec<String>>,
    /// Once known.
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl Table {
    pub(super) fn new(destination: Destination, schema: SchemaRef, purpose: Purpose) -> Self {
        Table { destination, schema, purpose, sample: Vec::new(), widths: None, rows: 0 }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let columns = batch.columns().iter().map(Printer::text).collect::<Result<Vec<_>>>()?;
        let blank_nulls = self.purpose == Purpose::Report;
        let is_blank = |column: &Printer<'_>, row| blank_nulls && column.is_null(row);
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| if is_blank(column, row) { String::new() } else { cell(column, row) }).collect();
            self.sample.push(cells);
            if self.sample.len() >= SAMPLE_ROWS {
                self.print()?;
            }
        }
        self.rows += batch.num_rows() as u64;
        if self.purpose == Purpose::Following && !self.sample.is_empty() { self.print() } else { Ok(()) }
    }

    /// Prints the rows that wait, under the header if they are the first.
    fn print(&mut self) -> Result<(), Failure> {
        let sample = std::mem::take(&mut self.sample);
        let is_first = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| widths(&self.schema, &sample));
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        if is_first {
            let rule = widths.iter().map(|width| "-".repeat(*width));
            table.add_row(self.schema.fields().iter().zip(&*widths).map(|(field, width)| fitted(field.name(), *width)));
            table.add_row(rule);
        }
        for row in &sample {
            table.add_row(row.iter().zip(&*widths).map(|(cell, width)| fitted(cell, *width)));
        }
        for (place, field) in self.schema.fields().iter().enumerate() {
            if let Some(column) = table.column_mut(place) {
                column.set_padding((0, 2));
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed((widths[place] + 2) as u16)));
                let right = field.data_type().is_numeric();
                column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
            }
        }
        for line in table.lines() {
            writeln!(self.destination, "{}", line.trim_end()).map_err(Failure::writing)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.destination.flush().map_err(Failure::writing)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.widths.is_none() || !self.sample.is_empty() {
            self.print()?;
        }
        if self.purpose != Purpose::Report {
            let plural = if self.rows == 1 { "" } else { "s" };
            writeln!(self.destination, "{} row{plural}", self.rows).map_err(Failure::writing)?;
        }
        self.destination.finish()
    }
}

fn cell(column: &Printer<'_>, row: usize) -> String {
    let mut bytes = Vec::new();
    column.print(row, &mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A cell of `width` columns of the terminal at most, so that every part of the table is as wide as the first.
fn fitted(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_string();
    }
    let mut left = width.saturating_sub(2);
    let fits = |character: &char| {
        let next = left.checked_sub(character.width().unwrap_or(0));
        left = next.unwrap_or(left);
        next.is_some()
    };
    cell.chars().take_while(fits).chain("..".chars().take(width)).collect()
}

/// The width of each column: what its cells need, less when the terminal has not enough for all.
fn widths(schema: &SchemaRef, sample: &[Vec<String>]) -> Vec<usize> {
    let needed = |place: usize, name: &str| {
        let cells = sample.iter().map(|row| row[place].width());
        cells.chain([name.width()]).max().unwrap_or(0).clamp(1, CELL_CHARACTERS_MAX)
    };
    let mut widths: Vec<_> = schema.fields().iter().enumerate().map(|(place, field)| needed(place, field.name())).collect();
    if let Some(columns) = terminal_columns() {
        while widths.iter().sum::<usize>() + 2 * widths.len() > columns {
            match widths.iter_mut().max() {
                Some(widest) if *widest > CELL_CHARACTERS_MIN => *widest -= 1,
                _ => break,
            }
        }
    }
    widths
}
