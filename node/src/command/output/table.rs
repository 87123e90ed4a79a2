//! Rows as an aligned table for eyes.
//!
//! Invariants: holds [`PAGE_ROWS`] rows at most; a column gets wider with a later page that needs it, never narrower, so that the widths of the
//! first page hold for most of a table. Wide columns are cut to the terminal; of a report only the last one: names before it are of no use when they are cut. Knows nothing
//! of files.

use std::io::Write;

use aquifer_node::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Purpose;
use super::destination::{Destination, terminal_columns};
use super::value::Printer;
use crate::command::outcome::Failure;

/// Rows whose widths are measured before they are printed.
const PAGE_ROWS: usize = 500;

/// Characters of a cell at most when the output is no terminal.
const CELL_CHARACTERS_MAX: usize = 100;

/// Characters that a column keeps when columns are cut to the terminal.
const CELL_CHARACTERS_MIN: usize = 8;

/// As [`CELL_CHARACTERS_MIN`], of the last column of a report: it is a sentence, the others are not cut.
const LAST_CHARACTERS_MIN: usize = 40;

/// Spaces between columns.
const GAP: usize = 2;

pub(super) struct Table {
    destination: Destination,
    schema: SchemaRef,
    purpose: Purpose,
    page: Page,
    /// Columns that are numbers stand right.
    right: Vec<bool>,
    /// Of the pages before; none before the first.
    widths: Vec<usize>,
    rows: u64,
}

/// Cells that wait, row by row, with what is needed to align them. One text for all of them: a page costs no allocation.
#[derive(Default)]
struct Page {
    text: String,
    cells: Vec<Cell>,
}

struct Cell {
    /// In the page's text.
    end: usize,
    /// Columns of the terminal.
    width: usize,
}

impl Page {
    fn push(&mut self, from: usize) {
        let cell = &self.text[from..];
        let width = if cell.is_ascii() { cell.len() } else { cell.width() };
        self.cells.push(Cell { end: self.text.len(), width });
    }

    fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
    }
}

impl Table {
    pub(super) fn new(destination: Destination, schema: SchemaRef, purpose: Purpose) -> Self {
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Table { destination, schema, purpose, page: Page::default(), right, widths: Vec::new(), rows: 0 }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let columns = batch.columns().iter().map(Printer::text).collect::<Result<Vec<_>>>()?;
        let blank_nulls = self.purpose == Purpose::Report;
        let mut cell = Vec::new();
        for row in 0..batch.num_rows() {
            for column in &columns {
                cell.clear();
                if !(blank_nulls && column.is_null(row)) {
                    column.print(row, &mut cell);
                }
                let from = self.page.text.len();
                push_printable(&String::from_utf8_lossy(&cell), &mut self.page.text);
                self.page.push(from);
            }
            self.rows += 1;
            if self.page.cells.len() >= PAGE_ROWS * columns.len().max(1) {
                self.print()?;
            }
        }
        if self.purpose == Purpose::Following && !self.page.cells.is_empty() { self.print() } else { Ok(()) }
    }

    /// Prints the rows that wait, under the header if they are the first.
    fn print(&mut self) -> Result<(), Failure> {
        let is_first = self.widths.is_empty();
        let columns = if self.destination.is_terminal() { terminal_columns() } else { None };
        self.widen(columns);
        let Table { destination, schema, page, right, widths, .. } = self;
        let mut lines = String::new();
        if is_first {
            for (place, field) in schema.fields().iter().enumerate() {
                push_cell(field.name(), field.name().width(), (widths[place], right[place]), &mut lines);
            }
            end_line(&mut lines);
            widths.iter().for_each(|width| push_cell(&"-".repeat(*width), *width, (*width, false), &mut lines));
            end_line(&mut lines);
        }
        let mut from = 0;
        for row in page.cells.chunks(widths.len().max(1)) {
            for (place, cell) in row.iter().enumerate() {
                push_cell(&page.text[from..cell.end], cell.width, (widths[place], right[place]), &mut lines);
                from = cell.end;
            }
            end_line(&mut lines);
        }
        page.clear();
        destination.write_all(lines.as_bytes()).map_err(Failure::writing)
    }

    /// Makes each column as wide as its cells in this page need, and never narrower than it was; less when a terminal has not enough for all.
    fn widen(&mut self, terminal_columns: Option<usize>) {
        let is_report = self.purpose == Purpose::Report;
        let cell_max = if is_report { usize::MAX } else { CELL_CHARACTERS_MAX };
        let names = self.schema.fields().iter().map(|field| field.name().width().clamp(1, cell_max));
        let mut needed: Vec<usize> = names.collect();
        for row in self.page.cells.chunks(needed.len().max(1)) {
            row.iter().zip(&mut needed).for_each(|(cell, width)| *width = (*width).max(cell.width.min(cell_max)));
        }
        let before = std::mem::take(&mut self.widths);
        let last = needed.len().saturating_sub(1);
        let least = |place: usize| match before.get(place) {
            Some(before) => *before,
            None if !is_report => CELL_CHARACTERS_MIN,
            None if place == last => LAST_CHARACTERS_MIN,
            None => usize::MAX,
        };
        needed.iter_mut().zip(&before).for_each(|(width, before)| *width = (*width).max(*before));
        let taken = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len();
        while terminal_columns.is_some_and(|columns| taken(&needed) > columns) {
            let widest = (0..needed.len()).filter(|place| needed[*place] > least(*place)).max_by_key(|place| needed[*place]);
            let Some(widest) = widest else { break };
            needed[widest] -= 1;
        }
        self.widths = needed;
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.destination.flush().map_err(Failure::writing)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.widths.is_empty() || !self.page.cells.is_empty() {
            self.print()?;
        }
        if self.purpose != Purpose::Report {
            let plural = if self.rows == 1 { "" } else { "s" };
            writeln!(self.destination, "{} row{plural}", self.rows).map_err(Failure::writing)?;
        }
        self.destination.finish()
    }
}

/// A text with its control characters escaped: they would move the columns.
fn push_printable(text: &str, out: &mut String) {
    if !text.contains(char::is_control) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
}

/// A cell of exactly `width` columns of the terminal and the gap behind it, so that every row is as wide as the others.
fn push_cell(cell: &str, cell_width: usize, (width, right): (usize, bool), line: &mut String) {
    let spaces = |count: usize, line: &mut String| line.extend(std::iter::repeat_n(' ', count));
    if cell_width > width {
        let (cut, cut_width) = cut(cell, width);
        line.push_str(cut);
        line.extend("..".chars().take(width));
        return spaces(width.saturating_sub(cut_width + 2) + GAP, line);
    }
    if right {
        spaces(width - cell_width, line);
    }
    line.push_str(cell);
    spaces(GAP + if right { 0 } else { width - cell_width }, line);
}

/// The start of a cell that leaves room for two dots in `width`, and how wide it is.
fn cut(cell: &str, width: usize) -> (&str, usize) {
    let (room, mut taken) = (width.saturating_sub(2), 0);
    for (at, character) in cell.char_indices() {
        let next = taken + character.width().unwrap_or(0);
        if next > room {
            return (&cell[..at], taken);
        }
        taken = next;
    }
    (cell, taken)
}

/// Ends a line without the spaces at its end.
fn end_line(lines: &mut String) {
    lines.truncate(lines.trim_end_matches(' ').len());
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn table(scratch: &tempfile::TempDir, lengths: impl Iterator<Item = usize>) -> (Table, RecordBatch) {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(lengths.map(|length| "x".repeat(length))));
        let batch = RecordBatch::try_from_iter([("a", texts.clone()), ("b", texts)]).unwrap();
        let destination = Destination::file(&scratch.path().join("table")).unwrap();
        (Table::new(destination, batch.schema(), Purpose::Rows), batch)
    }

    #[test]
    fn columns_get_wider_forwards_and_never_more_than_a_page_waits() {
        let scratch = tempfile::tempdir().unwrap();
        let page = |length| std::iter::repeat_n(length, PAGE_ROWS);
        let (mut table, batch) = table(&scratch, page(3).chain(page(20)).chain(page(5)).chain([1; 7]));
        table.write(&batch).unwrap();
        assert_eq!(table.page.cells.len(), 2 * 7);
        table.finish().unwrap();
        let text = std::fs::read_to_string(scratch.path().join("table")).unwrap();
        let second_at: Vec<usize> = text.lines().skip(2).filter_map(|line| Some(line.rfind(' ')? + 1)).collect();
        assert_eq!(second_at[0], 5, "{text}");
        assert!(second_at[..PAGE_ROWS].iter().all(|at| *at == 5));
        assert!(second_at[PAGE_ROWS..3 * PAGE_ROWS + 7].iter().all(|at| *at == 22));
    }

    #[test]
    fn of_a_report_the_last_column_is_cut() {
        let scratch = tempfile::tempdir().unwrap();
        let (table, batch) = table(&scratch, [160].into_iter());
        let mut report = Table { purpose: Purpose::Report, ..table };
        report.write(&batch).unwrap();
        for (columns, last) in [(240, 76), (80, LAST_CHARACTERS_MIN)] {
            report.widths.clear();
            report.widen(Some(columns));
            assert_eq!(report.widths, [160, last]);
        }
        report.widen(None);
        assert_eq!(report.widths, [160, 160]);
    }

    #[test]
    fn columns_share_what_a_terminal_has() {
        let scratch = tempfile::tempdir().unwrap();
        let (mut table, batch) = table(&scratch, [60].into_iter());
        table.write(&batch).unwrap();
        table.widen(Some(40));
        assert_eq!(table.widths, [18, 18]);
        table.widen(Some(30));
        assert_eq!(table.widths, [18, 18], "never narrower");
        table.widen(Some(50));
        assert_eq!(table.widths, [23, 23]);
        table.widen(None);
        assert_eq!(table.widths, [60, 60]);
    }
}
