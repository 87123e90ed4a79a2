//! `bench tail`: from append to a waiting reader, in this process and in another one.
//!
//! The first column of a row says when it was due. The reader follows all columns from the newest row on; the other process is this program again,
//! which opens the store read-only. Invariant: both sides are the store as embedders have it.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aquifer_benches::tail::follower::{Follower, Reader, tell};
use aquifer_benches::tail::{self as harness, Contender, Tail, Writer};
use aquifer_node::store::{CreateTable, Next, Options, Scanner, Start, Store, Table};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use super::ground::Ground;
use super::{Lines, ROUNDS, VERSION, rows};
use crate::command::arguments::Bench;

/// The name under which the other process is called; `bench list` does not show it.
pub(super) const READER: &str = "tail-reader";

/// Rows that one append holds at most: a writer that is late appends what is due in several goes.
const ROWS_MAX: usize = 10_000;

/// Written before the clock starts: segments begin small, and the first ones are made while rows wait.
const WARM_UP_BYTES: u64 = 24 << 20;

const TABLE: &str = "rows";

struct Tails {
    store: Store,
    elsewhere: bool,
}

/// Runs all schedules.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let here = |dir: &Path| open(dir, &ground.options, false);
    let elsewhere = |dir: &Path| open(dir, &ground.options, true);
    let ours = Contender {
        name: "aquifer, same process",
        version: Some(VERSION),
        driver: Some(ground.driver),
        row_bytes: rows::ROW_BYTES,
        open: &here,
    };
    let contenders = [ours, Contender { name: "aquifer, another process", open: &elsewhere, ..ours }];
    let measured = harness::Options {
        dir: ground.dir.clone(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        seconds: arguments.seconds,
        json: arguments.json,
        durable: ground.durable,
    };
    harness::run(&contenders, &measured)
}

/// Makes a store in `dir`; its readers are in this process or `elsewhere`.
fn open(dir: &Path, options: &Options, elsewhere: bool) -> io::Result<Box<dyn Tail>> {
    let store = Store::open(dir, options.clone()).map_err(io::Error::other)?;
    let table = store.create_table(TABLE, CreateTable::like(rows::schema())).map_err(io::Error::other)?;
    let mut writer = table.writer().map_err(io::Error::other)?;
    let batch = rows::batch(&rows::schema(), ROWS_MAX, 0, 0);
    let mut bytes = 0;
    while bytes < WARM_UP_BYTES {
        let acks = writer.append(&batch).map_err(io::Error::other)?;
        bytes += acks.iter().map(|ack| ack.bytes).sum::<u64>();
    }
    Ok(Box::new(Tails { store, elsewhere }))
}

impl Tails {
    fn table(&self) -> io::Result<Table> {
        self.store.table(TABLE).map_err(io::Error::other)
    }
}

impl Tail for Tails {
    fn writer(&self) -> io::Result<Box<dyn Writer>> {
        let writer = self.table()?.writer().map_err(io::Error::other)?;
        Ok(Box::new(Rows { writer, batch: rows::batch(&rows::schema(), ROWS_MAX, 0, 1) }))
    }

    fn follower(&self, rows: u64) -> io::Result<Follower> {
        if !self.elsewhere {
            return Ok(Follower::thread(Box::new(Waiting::new(&self.table()?)?), rows));
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--dir").arg(self.store.dir()).args(["bench", READER, "--rows", &rows.to_string()]);
        Follower::process(&mut command)
    }
}

struct Rows {
    writer: aquifer_node::store::Writer,
    /// All columns but the first, for any number of rows.
    batch: RecordBatch,
}

impl Writer for Rows {
    fn append(&mut self, due_ns: &[u64]) -> io::Result<()> {
        for due_ns in due_ns.chunks(ROWS_MAX) {
            let mut columns = self.batch.slice(0, due_ns.len()).columns().to_vec();
            columns[0] = Arc::new(Int64Array::from_iter_values(due_ns.iter().map(|due_ns| *due_ns as i64)));
            let batch = RecordBatch::try_new(self.batch.schema(), columns).map_err(io::Error::other)?;
            self.writer.append(&batch).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

struct Waiting(Scanner);

impl Waiting {
    fn new(table: &Table) -> io::Result<Waiting> {
        let scan = table.scan().start(Start::Latest).follow(true);
        Ok(Waiting(scan.build().map_err(io::Error::other)?))
    }
}

impl Reader for Waiting {
    fn wait(&mut self, due_ns: &mut Vec<u64>) -> io::Result<()> {
        match self.0.next_within(None).map_err(io::Error::other)? {
            Next::Batch(rows) => {
                due_ns.extend(rows.batch.column(0).as_primitive::<Int64Type>().values().iter().map(|due_ns| *due_ns as u64));
                Ok(())
            }
            other => Err(io::Error::other(format!("a scan that follows says {other:?}"))),
        }
    }
}

/// The other process: follows the store in `dir` for so many rows.
pub(super) fn read(dir: &Path, options: &Options, rows: u64) -> io::Result<()> {
    let store = Store::open_read_only(dir, options.clone()).map_err(io::Error::other)?;
    let table = store.table(TABLE).map_err(io::Error::other)?;
    tell(&mut Waiting::new(&table)?, rows)
}
