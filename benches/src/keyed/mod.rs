//! Benches of stores that keep one row for each key: what is written, who takes part, and how a store is asked.
//!
//! Invariant: all contenders get equal rows in equal batches, each in the form that suits it best, made before the clock starts; what a store holds in
//! the end is compared with what the input says it must hold. Knows nothing of any store.

pub mod input;
pub mod keys;
pub mod lookup;
#[cfg(test)]
mod memory;
pub mod mixed;
pub mod open;
pub mod row;
pub mod scan;
pub mod shape;
pub mod upsert;

use std::io;
use std::path::Path;

use arrow::array::RecordBatch;

use keys::Keys;
use row::{Rows, Sum};
use shape::Shape;

/// A store of rows by key.
pub trait Keyed: Sync {
    /// Writes rows, each in place of the one before it with the same key; returns when all of them are on the device.
    fn upsert(&self, batch: &Batch) -> io::Result<()>;

    /// Finishes all work that was put off, and leaves the rows of the store merged into one sorted run or level.
    fn settle(&self) -> io::Result<()>;

    /// Brings what was written so far into a sorted file of its own.
    fn commit(&self) -> io::Result<()> {
        Err(absent())
    }

    /// Appends rows to a log beside the table; returns when they are on the device.
    fn append(&self, _rows: &Batch) -> io::Result<()> {
        Err(absent())
    }

    /// Reads all rows and sums them up.
    fn sum(&self) -> io::Result<Sum>;

    /// Reads what is wanted of the rows.
    fn scan(&self, _wanted: Wanted) -> io::Result<Scanned> {
        Err(absent())
    }

    /// Reads the rows of some keys, of those that there are.
    fn lookup(&self, _keys: &Batch) -> io::Result<Scanned> {
        Err(absent())
    }
}

/// A contender has no such thing, and takes part where it needs none.
fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "it has no such thing")
}

/// What is wanted of the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All columns of all rows.
    All,
    /// The column behind the key.
    OneColumn,
    /// All columns of the rows with a price below [`shape::CHEAP`].
    Cheap,
}

impl Wanted {
    /// All of them.
    pub const ALL: [Wanted; 3] = [Wanted::All, Wanted::OneColumn, Wanted::Cheap];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Wanted::All => "all",
            Wanted::OneColumn => "one column",
            Wanted::Cheap => "a tenth of the rows",
        }
    }
}

/// What a scan read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Rows.
    pub rows: u64,
    /// The sum of the column behind the key.
    pub sum: i64,
}

impl Scanned {
    /// Adds a row.
    pub fn add(&mut self, second: i64) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(second);
    }
}

/// What is written in a round.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The row.
    pub shape: Shape,
    /// Which keys come when.
    pub keys: Keys,
    /// Rows in all, upserts of four fifths as many keys.
    pub rows: u64,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Whether a batch is on the device when it is answered, or with the operating system.
    pub durable: bool,
    /// Rows that become a sorted file of their own, which nothing merges until it is asked to; `None` where the store does as it likes.
    pub commit_rows: Option<u64>,
    /// Bytes of blocks that the store may keep in memory, with no other cache behind it; `None` for as many as it likes.
    pub cache_bytes: Option<usize>,
}

impl Load {
    /// Keys that rows are drawn from.
    pub fn keys(&self) -> u64 {
        (self.rows * 4 / 5).max(1)
    }

    /// In words: `100 B uniform`.
    pub fn name(&self) -> String {
        format!("{} {}", self.shape.name(), self.keys.name())
    }
}

/// How a contender takes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By columns, as Arrow has them.
    Columns,
    /// Row by row: a key and a value, both bytes.
    Rows,
}

impl Form {
    /// Rows in this form.
    pub fn of(self, columns: RecordBatch) -> Batch {
        match self {
            Form::Columns => Batch::Columns(columns),
            Form::Rows => Batch::Rows(Rows::of(&columns)),
        }
    }
}

/// Rows in one of the forms.
#[derive(Clone, Debug)]
pub enum Batch {
    /// By columns.
    Columns(RecordBatch),
    /// Row by row.
    Rows(Rows),
}

impl Batch {
    /// How many rows.
    pub fn count(&self) -> usize {
        match self {
            Batch::Columns(columns) => columns.num_rows(),
            Batch::Rows(rows) => rows.count(),
        }
    }

    /// The columns, for a contender that asked for them.
    pub fn columns(&self) -> &RecordBatch {
        match self {
            Batch::Columns(columns) => columns,
            Batch::Rows(_) => unreachable!("columns were not asked for"),
        }
    }

    /// The rows, for a contender that asked for them.
    pub fn rows(&self) -> &Rows {
        match self {
            Batch::Rows(rows) => rows,
            Batch::Columns(_) => unreachable!("rows were not asked for"),
        }
    }
}

/// Opens a contender in an empty directory; an error of kind `Unsupported` says why it cannot take part here.
pub type Open<'a> = &'a dyn Fn(&Path, &Load) -> io::Result<Box<dyn Keyed>>;

/// Who takes part.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its version, for what others made.
    pub version: Option<&'static str>,
    /// How it reaches the device.
    pub driver: Option<&'static str>,
    /// How it takes rows.
    pub form: Form,
    /// Opens it for a round.
    pub open: Open<'a>,
}
