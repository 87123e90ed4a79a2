//! The door for embedders: a [`Store`] is a directory of tables, a [`Table`] gives [`Writer`]s and [`Scanner`]s, data is Arrow.
//!
//! ```
//! use aquifer_node::store::{CreateTable, Options, Store};
//! use arrow::array::{Int64Array, RecordBatch, StringArray};
//! use std::sync::Arc;
//!
//! # fn main() -> aquifer_node::Result<()> {
//! # let scratch = std::env::temp_dir().join(format!("aquifer-doc-{}", std::process::id()));
//! # let dir = &scratch;
//! let clicks = RecordBatch::try_from_iter([
//!     ("user", Arc::new(Int64Array::from(vec![7, 8])) as _),
//!     ("page", Arc::new(StringArray::from(vec!["/", "/cart"])) as _),
//! ]).unwrap();
//!
//! let store = Store::open(dir, Options::default())?;
//! let table = store.create_table("clicks", CreateTable::like(clicks.schema()))?;
//! table.writer()?.append(&clicks)?; // returns when the rows are on the device
//!
//! let mut rows = 0;
//! for batch in table.scan().columns(&["page"]).build()? {
//!     rows += batch?.batch.num_rows();
//! }
//! assert_eq!(rows, 2);
//! # drop(store);
//! # std::fs::remove_dir_all(scratch).unwrap();
//! # Ok(()) }
//! ```
//!
//! One process at a time opens a directory with [`Store::open`]; any number of processes open it with [`Store::open_read_only`] and follow the writer:
//! they see durable rows only, and wait for new ones without polling. Every type here may be shared or sent between threads.
//! Calls block; none needs an async runtime.
//!
//! Invariant: what `append` or `flush` acknowledged survives a crash of the process and of the machine (with `durability = sync`).

mod alive;
mod alter;
mod catalog;
mod changes;
mod dropping;
mod expiry;
mod explain;
mod gate;
mod inspect;
mod key_plan;
mod keyed;
mod lookup;
mod open;
mod options;
mod part;
mod prefix;
mod reading;
mod rescale;
mod route;
mod scanner;
mod snapshots;
mod span;
mod split;
mod table;
mod verify;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::io::probe::{MachineFact, examine_machine};
pub use crate::table::{Assign, ChangeType, TableOptions, parse_names, quoted_name};
pub use alter::{Change, ColumnChange, Position};
pub use inspect::{BucketStats, ExpireReport, Progress, TreeStats, WriterStats};
pub use lookup::{LOOKUP_KEYS_MAX, Rows};
pub use options::{Durability, IoPreference, OptionEntry, Options};
pub use prefix::{PREFIX_ROWS_MAX, PrefixRows};
pub use rescale::RescaleReport;
pub use scanner::{Next, ScanBatch, ScanBuilder, Scanner, Start};
pub use snapshots::{Snapshot, SnapshotEnd, Version};
pub use span::Positions;
pub use split::{SPLITS_MAX, Split};
pub use table::{ColumnDescription, CreateTable, OptionDescription, Table, TableDescription, TableSummary, parse_schema, parse_type};
pub use verify::{Note, Problem, VerifyReport};
pub use writer::{Ack, Writer, WriterOptions};

use crate::error::{Error, Result};
use crate::io::Driver;
use crate::table::TableName;
use open::Inner;

/// A directory of tables. Clones share it; the last one to drop closes it.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

impl Store {
    /// Opens a directory for writing, made if it does not exist.
    ///
    /// Errors: Conflict when another process has it open for writing; Corrupt for a damaged catalog; Invalid when a newer program wrote it, or
    /// the directory cannot be written.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let driver = open::driver(&options)?;
        Self::open_with(driver, dir, options)
    }

    /// Opens a directory to read, and follows its writer if there is one.
    ///
    /// Errors: NotFound when there is no store; as [`Store::open`].
    pub fn open_read_only(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let driver = open::driver(&options)?;
        Self::open_read_only_with(driver, dir, options)
    }

    /// [`Store::open`] on a driver of the caller's.
    #[doc(hidden)]
    pub fn open_with(driver: Arc<dyn Driver>, dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        Inner::open(driver, dir.as_ref(), options).map(Store)
    }

    /// [`Store::open_read_only`] on a driver of the caller's.
    #[doc(hidden)]
    pub fn open_read_only_with(driver: Arc<dyn Driver>, dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        Inner::open_read_only(driver, dir.as_ref(), options).map(Store)
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Whether this process may write to it.
    pub fn is_writable(&self) -> bool {
        self.0.is_writable()
    }

    /// Makes a table called `name` or `db.name`.
    ///
    /// Errors: Conflict when it exists; Invalid for a schema, key or option that is not possible; Exhausted at the limit of buckets.
    pub fn create_table(&self, name: &str, create: CreateTable) -> Result<Table> {
        let name: TableName = name.parse()?;
        let id = self.0.create_table(&name, create)?;
        Ok(Table::new(self.0.clone(), id, name))
    }

    /// The table called `name` or `db.name`.
    ///
    /// Errors: NotFound, with the nearest name.
    pub fn table(&self, name: &str) -> Result<Table> {
        let name: TableName = name.parse()?;
        let catalog = self.0.catalog()?;
        let entry = catalog.find(&name).ok_or_else(|| open::no_such_table(&catalog, &name))?;
        Ok(Table::new(self.0.clone(), entry.spec.id, name))
    }

    /// All tables, by name.
    pub fn tables(&self) -> Result<Vec<TableSummary>> {
        table::summaries(&self.0)
    }

    /// Changes a table: its columns or its options. All changes hold together.
    ///
    /// Errors: Invalid for a change that would make stored rows unreadable, or names what does not exist.
    pub fn alter_table(&self, name: &str, changes: &[Change]) -> Result<()> {
        alter::alter(&self.0, &name.parse()?, changes)
    }

    /// Drops a table and its rows, for good.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        self.0.drop_table(&name.parse()?)
    }

    /// Drops one partition of a table and its rows, for good. Rows that are written for it later make it anew.
    ///
    /// Errors: NotFound for an unknown partition; Invalid for a table without partitions.
    pub fn drop_partition(&self, table: &str, partition: &str) -> Result<()> {
        self.0.drop_partition(&table.parse()?, partition)
    }

    /// Gives a table another number of buckets, and puts its rows into them: of a table with a primary key the rows as they are now. Writers wait meanwhile.
    /// Offsets begin anew; whoever holds the table, or reads it, hears that it was dropped, and opens it again. `progress` hears how many rows there are so far.
    ///
    /// Errors: Invalid for a number that is out of range; those of reading and writing. Nothing has changed then.
    pub fn rescale_table(&self, name: &str, buckets: u32, progress: &mut dyn FnMut(Progress)) -> Result<RescaleReport> {
        rescale::rescale(&self.0, &name.parse()?, buckets, progress)
    }

    /// Checks every checksum and invariant of one table or of all. Damage is found, not an error.
    pub fn verify(&self, table: Option<&str>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
        verify::verify(&self.0, table, progress)
    }

    /// What is stored of one table or of all, bucket by bucket.
    pub fn stats(&self, table: Option<&str>) -> Result<Vec<BucketStats>> {
        inspect::stats(&self.0, table)
    }

    /// Brings all rows of a table with a primary key that are durable now from its log into runs.
    ///
    /// Errors: Invalid for a table without a primary key, and for a store that is open read-only; those of the device.
    pub fn flush(&self, table: &str) -> Result<()> {
        inspect::each_tree(&self.0, table, |bucket| bucket.flush())
    }

    /// Merges runs of a table with a primary key where there are many; with `full`, each bucket's into one.
    ///
    /// Errors: as [`Store::flush`].
    pub fn compact(&self, table: &str, full: bool) -> Result<()> {
        inspect::each_tree(&self.0, table, |bucket| bucket.compact(full))
    }

    /// Drops what a table's retention no longer keeps, now.
    pub fn expire(&self, table: &str) -> Result<ExpireReport> {
        inspect::expire(&self.0, table)
    }

    /// Does the background work that is due, in the calling thread. Only the simulator needs to.
    #[doc(hidden)]
    pub fn pump(&self) -> Result<()> {
        self.0.pump()
    }

    /// Makes ready for its first change every bucket that can be changed: what a crash left in its directory goes.
    #[doc(hidden)]
    pub fn settle(&self) -> Result<()> {
        inspect::settle(&self.0)
    }

    /// Failures of background work (retention, preparing segments) since the last call. Appends and reads are not affected by them.
    pub fn take_background_failures(&self) -> Vec<Error> {
        self.0.take_failures()
    }

    /// The way to the kernel that was chosen, and why.
    pub fn io(&self) -> (&'static str, String) {
        (self.0.resources.driver.name(), self.0.resources.driver.reason().to_string())
    }

    /// Ends background work and closes the directory for this process. Writers and scanners of it end too.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }
}

/// Directory of a bucket.
fn bucket_dir(dir: &Path, table_id: u32, partition_id: u32, bucket: u32) -> PathBuf {
    partition_dir(dir, table_id, partition_id).join(format!("b{bucket}"))
}

/// Directory of a partition.
fn partition_dir(dir: &Path, table_id: u32, partition_id: u32) -> PathBuf {
    table_dir(dir, table_id).join(format!("p{partition_id}"))
}

/// The directory of all tables, in a store's.
const TABLES: &str = "tables";

/// Directory of a table.
fn table_dir(dir: &Path, table_id: u32) -> PathBuf {
    dir.join(TABLES).join(table_id.to_string())
}
