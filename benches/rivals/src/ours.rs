//! Aquifer with the records of the rivals: one binary column, one row a record, in steady state as `aquifer bench append` has it.
//!
//! Each producer has a writer of its own. Between loads the table is kept, so that segments are recycled; what a check finds is what was appended
//! since the store was opened.

use crate::rows::{self, ROW_BYTES};
use aquifer_benches::case::{Case, Contender, Load, Takes};
use aquifer_benches::tail::follower::{Follower, Reader, tell};
use aquifer_benches::tail::{self, Tail};
use aquifer_node::store::{CreateTable, Next, Options, Scanner, Start, Store, Table, Writer};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Aquifer.
pub const OURS: Contender<'static> = Contender {
    name: "aquifer",
    version: Some("this commit's"),
    driver: Some("io_uring"),
    takes: Takes::Payload,
    in_flight: 1,
    keeps_files: true,
    open: &Appends::open,
};

/// A tail of Aquifer in this process.
pub const TAIL_HERE: tail::Contender<'static> = tail::Contender {
    name: "aquifer, same process",
    version: Some("this commit's"),
    driver: Some("io_uring"),
    row_bytes: ROW_BYTES,
    open: &|dir| Tails::open(dir, false),
};

/// A tail of Aquifer in another process.
pub const TAIL_ELSEWHERE: tail::Contender<'static> =
    tail::Contender { name: "aquifer, another process", open: &|dir| Tails::open(dir, true), ..TAIL_HERE };

/// Name of the verb that the other process is started with.
pub const READER: &str = "tail-reader";

const TABLE: &str = "records";

/// Bytes of sealed segments that the table keeps.
const RETENTION: &str = "256MiB";

/// Bytes written before the clock starts, so that full-sized segments are dropped and used again.
const FILL_BYTES: u64 = 640 << 20;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("record", DataType::Binary, false)]))
}

fn batch<'a>(schema: &SchemaRef, records: impl IntoIterator<Item = &'a [u8]>) -> io::Result<RecordBatch> {
    let column = BinaryArray::from_iter_values(records);
    RecordBatch::try_new(schema.clone(), vec![Arc::new(column)]).map_err(io::Error::other)
}

fn records(batch: &RecordBatch) -> io::Result<&BinaryArray> {
    batch.column(0).as_any().downcast_ref().ok_or_else(|| io::Error::other("the column is not binary"))
}

struct Appends {
    writers: Vec<Mutex<Writer>>,
    schema: SchemaRef,
    table: Table,
    record_bytes: u64,
    /// Offset of the first row of this round.
    first_offset: u64,
}

impl Appends {
    fn open(dir: &Path, load: Load) -> io::Result<Box<dyn Case>> {
        let is_new = !dir.join("catalog").exists();
        let store = Store::open(dir, Options::default()).map_err(io::Error::other)?;
        let schema = schema();
        let table = match is_new {
            true => store.create_table(TABLE, CreateTable::like(schema.clone()).option("retention.bytes", RETENTION)),
            false => store.table(TABLE),
        };
        let table = table.map_err(io::Error::other)?;
        if is_new {
            fill(&store, &table, &schema)?;
        }
        let mut writer = table.writer().map_err(io::Error::other)?;
        let acks = writer.append(&batch(&schema, [&[0; 1][..]])?).map_err(io::Error::other)?;
        let first_offset = acks.iter().map(|ack| ack.first_offset + 1).max().unwrap_or_default();
        let writers = (0..load.producers).map(|_| table.writer().map(Mutex::new)).collect::<Result<_, _>>();
        Ok(Box::new(Appends {
            writers: writers.map_err(io::Error::other)?,
            schema,
            table,
            record_bytes: load.record_bytes as u64,
            first_offset,
        }))
    }
}

/// Writes until segments have their full size and dropped ones wait to be used again.
fn fill(store: &Store, table: &Table, schema: &SchemaRef) -> io::Result<()> {
    let mut writer = table.writer().map_err(io::Error::other)?;
    let large = batch(schema, [&vec![7; 1 << 20][..]])?;
    let mut bytes = 0;
    while bytes < FILL_BYTES {
        let acks = writer.append(&large).map_err(io::Error::other)?;
        bytes += acks.iter().map(|ack| ack.bytes).sum::<u64>();
        store.expire(TABLE).map_err(io::Error::other)?;
    }
    Ok(())
}

impl Case for Appends {
    fn append(&self, producer: usize, record: &[u8]) -> io::Result<()> {
        let mut writer = self.writers[producer].lock().unwrap_or_else(PoisonError::into_inner);
        let acks = writer.append(&batch(&self.schema, [record])?).map_err(io::Error::other)?;
        match acks.iter().map(|ack| ack.bytes).sum::<u64>() {
            bytes if bytes == self.record_bytes => Ok(()),
            bytes => Err(io::Error::other(format!("a record takes {bytes} bytes instead of {}", self.record_bytes))),
        }
    }

    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let scan = self.table.scan().start(Start::Offset(self.first_offset)).build().map_err(io::Error::other)?;
        let mut stored = Vec::new();
        for rows in scan {
            let rows = rows.map_err(io::Error::other)?;
            stored.extend(records(&rows.batch)?.iter().flatten().map(<[u8]>::to_vec));
        }
        Ok(Some(stored))
    }
}

struct Tails {
    store: Store,
    table: Table,
    elsewhere: bool,
}

impl Tails {
    fn open(dir: &Path, elsewhere: bool) -> io::Result<Box<dyn Tail>> {
        let store = Store::open(dir, Options::default()).map_err(io::Error::other)?;
        let table = store.create_table(TABLE, CreateTable::like(schema())).map_err(io::Error::other)?;
        Ok(Box::new(Tails { store, table, elsewhere }))
    }
}

impl Tail for Tails {
    fn writer(&self) -> io::Result<Box<dyn tail::Writer>> {
        Ok(Box::new(Rows { writer: self.table.writer().map_err(io::Error::other)?, schema: schema() }))
    }

    fn follower(&self, rows: u64) -> io::Result<Follower> {
        if !self.elsewhere {
            return Ok(Follower::thread(Box::new(Waiting::new(&self.table)?), rows));
        }
        let mut command = Command::new(std::env::current_exe()?);
        Follower::process(command.arg(READER).arg(self.store.dir()).arg(rows.to_string()))
    }
}

struct Rows {
    writer: Writer,
    schema: SchemaRef,
}

impl tail::Writer for Rows {
    fn append(&mut self, due_ns: &[u64]) -> io::Result<()> {
        let rows: Vec<_> = due_ns.iter().map(|due_ns| rows::row(*due_ns)).collect();
        let batch = batch(&self.schema, rows.iter().map(|row| &row[..]))?;
        self.writer.append(&batch).map(drop).map_err(io::Error::other)
    }
}

struct Waiting(Scanner);

impl Waiting {
    fn new(table: &Table) -> io::Result<Waiting> {
        table.scan().start(Start::Latest).follow(true).build().map(Waiting).map_err(io::Error::other)
    }
}

impl Reader for Waiting {
    fn wait(&mut self, due_ns: &mut Vec<u64>) -> io::Result<()> {
        match self.0.next_within(None).map_err(io::Error::other)? {
            Next::Batch(rows) => records(&rows.batch)?.iter().flatten().try_for_each(|row| {
                due_ns.push(rows::due_ns(row)?);
                Ok(())
            }),
            other => Err(io::Error::other(format!("a scan that follows says {other:?}"))),
        }
    }
}

/// The other process: follows the store in `dir` for so many rows.
pub fn read(dir: &Path, rows: u64) -> io::Result<()> {
    let store = Store::open_read_only(dir, Options::default()).map_err(io::Error::other)?;
    let table = store.table(TABLE).map_err(io::Error::other)?;
    tell(&mut Waiting::new(&table)?, rows)
}
