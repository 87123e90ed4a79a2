//! Aquifer among stores that keep one row for each key: a table with a primary key in a store of its own.
//!
//! `benches/rivals` takes this very file, so that it is the same store that stands beside the rivals. Knows the engine by its door only.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aquifer_benches::keyed::row::Sum;
use aquifer_benches::keyed::shape::{self, Shape};
use aquifer_benches::keyed::{Batch, Keyed, Load, Scanned, Wanted};
use aquifer_node::store::{CreateTable, Options, Store, Table, Writer};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

const TABLE: &str = "rows";

const LOG: &str = "log";

/// A memtable is flushed when it takes a quarter of the budget, and takes some more memory than its rows have bytes.
const BUDGET_OF_COMMIT: usize = 8;

struct Rows {
    shape: Shape,
    store: Store,
    table: Table,
    writer: Mutex<Writer>,
    log: Mutex<Writer>,
}

/// What the log of a table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changelog {
    /// The rows as they were written.
    Input,
    /// What became of each key: old rows are looked up before new ones are written.
    Lookup,
}

/// Opens the store in `dir`, made with empty tables of the load's rows when there is none.
pub(super) fn open(dir: &Path, load: &Load, options: &Options, changelog: Changelog) -> io::Result<Box<dyn Keyed>> {
    let mut options = options.clone();
    let mut create = CreateTable::like(load.shape.schema()).primary_key(&[shape::KEY]);
    if changelog == Changelog::Lookup {
        create = create.option("changelog-producer", "lookup");
    }
    if let Some(rows) = load.commit_rows {
        let commit_bytes = rows as usize * load.shape.row_bytes_max();
        options.memtable_bytes_max = options.memtable_bytes_max.max(BUDGET_OF_COMMIT * commit_bytes);
        create = create.option("write-only", "true");
    }
    options.block_bytes_max = load.cache_bytes.unwrap_or(options.block_bytes_max);
    let is_new = !dir.join("catalog").exists();
    let store = Store::open(dir, options).map_err(io::Error::other)?;
    if is_new {
        store.create_table(TABLE, create).map_err(io::Error::other)?;
        store.create_table(LOG, CreateTable::like(load.shape.schema())).map_err(io::Error::other)?;
    }
    let table = store.table(TABLE).map_err(io::Error::other)?;
    let writer = |table: &Table| table.writer().map(Mutex::new).map_err(io::Error::other);
    let log = writer(&store.table(LOG).map_err(io::Error::other)?)?;
    Ok(Box::new(Rows { shape: load.shape, writer: writer(&table)?, log, store, table }))
}

impl Rows {
    fn add(&self, rows: &RecordBatch, scanned: &mut Scanned) -> io::Result<()> {
        let second = rows.column_by_name(self.shape.second()).ok_or_else(|| io::Error::other("a column is missing"))?;
        second.as_primitive::<Int64Type>().values().iter().for_each(|second| scanned.add(*second));
        Ok(())
    }
}

impl Keyed for Rows {
    fn upsert(&self, batch: &Batch) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.upsert(batch.columns()).map(drop).map_err(io::Error::other)
    }

    fn append(&self, rows: &Batch) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(rows.columns()).map(drop).map_err(io::Error::other)
    }

    fn commit(&self) -> io::Result<()> {
        self.store.flush(TABLE).map_err(io::Error::other)
    }

    fn settle(&self) -> io::Result<()> {
        self.commit()?;
        self.store.compact(TABLE, true).map_err(io::Error::other)?;
        match self.store.take_background_failures().pop() {
            Some(failure) => Err(io::Error::other(failure)),
            None => Ok(()),
        }
    }

    fn scan(&self, wanted: Wanted) -> io::Result<Scanned> {
        let scan = self.table.scan();
        let scan = match wanted {
            Wanted::All => scan,
            Wanted::OneColumn => scan.columns(&[self.shape.second()]),
            Wanted::Cheap => scan.filter(&format!("{} < {}", shape::PRICE, shape::CHEAP)),
        };
        let mut scanned = Scanned::default();
        for rows in scan.build().map_err(io::Error::other)? {
            self.add(&rows.map_err(io::Error::other)?.batch, &mut scanned)?;
        }
        Ok(scanned)
    }

    fn lookup(&self, keys: &Batch) -> io::Result<Scanned> {
        let found = self.table.lookup(keys.columns()).map_err(io::Error::other)?.rows;
        let mut scanned = Scanned::default();
        self.add(&found, &mut scanned)?;
        Ok(scanned)
    }

    fn sum(&self) -> io::Result<Sum> {
        let mut sum = Sum::default();
        for rows in self.table.scan().build().map_err(io::Error::other)? {
            sum.add_batch(&rows.map_err(io::Error::other)?.batch);
        }
        Ok(sum)
    }
}
