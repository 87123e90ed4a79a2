//! `bench append`: durable appends of rows, held to bare writes of the same bytes.
//!
//! A case is a store in steady state: before the clock starts, the log is written past its retention, so that segments are recycled
//! (their blocks were written before, as those of the limit were). Each producer has a writer of its own and appends the same batch again and again,
//! with as many rows as fill its frame to the size of the record. Invariant: what is acknowledged has the offsets and the bytes that it should have.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aquifer_benches::append::{self as harness, Terms};
use aquifer_benches::case::{Case, Contender, Load, Takes};
use aquifer_benches::limit;
use aquifer_node::store::{CreateTable, Options, Store, Table, Writer};
use arrow::array::RecordBatch;

use super::ground::Ground;
use super::{Lines, ROUNDS, VERSION, rows};
use crate::command::arguments::Bench;
use crate::command::outcome::tell;

/// Bytes of a batch in the log, when nothing else is asked for.
const RECORD_BYTES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];

/// Bytes of sealed segments that the table keeps.
const RETENTION: &str = "256MiB";

/// Bytes written before the clock starts, so that full-sized segments are dropped and used again.
const FILL_BYTES: u64 = 640 << 20;

/// Rows of a batch of the fill, about 1 MiB.
const FILL_ROWS: usize = 6000;

/// Runs all loads.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let ours = Contender {
        name: "aquifer",
        version: Some(VERSION),
        driver: Some(ground.driver),
        takes: Takes::Payload,
        in_flight: 1,
        keeps_files: true,
        open: &|dir, load| open(dir, load, &ground.options),
    };
    let queued = if ground.rings { limit::RING } else { limit::POOL };
    let measured = harness::Options {
        dir: ground.dir.clone(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        seconds: arguments.seconds,
        size: if arguments.size.is_empty() { RECORD_BYTES.to_vec() } else { arguments.size.clone() },
        producers: arguments.producers.iter().map(|&producers| producers as usize).collect(),
        only: Vec::new(),
        json: arguments.json,
        terms: Terms { durable: ground.durable, rings: ground.rings, overhead_bytes: 0 },
    };
    harness::run("append", &[limit::INLINE, queued, ours], &measured)
}

/// A table in a store of its own, and who appends to it.
struct Appends {
    producers: Vec<Mutex<Producer>>,
    record_bytes: u64,
    store: Store,
}

struct Producer {
    writer: Writer,
    batch: RecordBatch,
    next_offset_min: u64,
}

/// Opens a store in `dir` for a load, made and filled when it is new.
fn open(dir: &Path, load: Load, options: &Options) -> io::Result<Box<dyn Case>> {
    let is_new = !dir.join("catalog").exists();
    let store = Store::open(dir, options.clone()).map_err(io::Error::other)?;
    let create = || {
        let create = CreateTable::like(rows::schema()).option("retention.bytes", RETENTION);
        store.create_table("rows", create)
    };
    let table = if is_new { create() } else { store.table("rows") }.map_err(io::Error::other)?;
    if is_new {
        fill(&store, &table)?;
    }
    let rows = rows_of(&table, load.record_bytes)?;
    let producers = (0..load.producers).map(|producer| {
        let batch = rows::batch(&rows::schema(), rows, 0, producer as u64 + 1);
        Ok(Mutex::new(Producer { writer: table.writer().map_err(io::Error::other)?, batch, next_offset_min: 0 }))
    });
    Ok(Box::new(Appends { producers: producers.collect::<io::Result<_>>()?, record_bytes: load.record_bytes as u64, store }))
}

/// Writes until segments have their full size and dropped ones wait to be used again.
fn fill(store: &Store, table: &Table) -> io::Result<()> {
    let mut writer = table.writer().map_err(io::Error::other)?;
    let batch = rows::batch(&rows::schema(), FILL_ROWS, 0, 0);
    let mut bytes = 0;
    while bytes < FILL_BYTES {
        for _ in 0..16 {
            writer.send(&batch).map_err(io::Error::other)?;
        }
        let acks = writer.flush().map_err(io::Error::other)?;
        bytes += acks.iter().map(|ack| ack.bytes).sum::<u64>();
        store.expire("rows").map_err(io::Error::other)?;
    }
    Ok(())
}

/// The most rows of which a batch takes `record_bytes` in the log.
fn rows_of(table: &Table, record_bytes: usize) -> io::Result<usize> {
    let mut writer = table.writer().map_err(io::Error::other)?;
    let (mut fits, mut too_many) = (0, record_bytes / rows::ROW_BYTES + 2);
    while too_many - fits > 1 {
        let rows = fits + (too_many - fits) / 2;
        let acks = writer.append(&rows::batch(&rows::schema(), rows, 0, 0)).map_err(io::Error::other)?;
        if acks.iter().map(|ack| ack.bytes).sum::<u64>() <= record_bytes as u64 {
            fits = rows;
        } else {
            too_many = rows;
        }
    }
    if fits == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a row does not fit into {record_bytes} bytes")));
    }
    Ok(fits)
}

impl Case for Appends {
    fn append(&self, producer: usize, _: &[u8]) -> io::Result<()> {
        let mut producer = self.producers[producer].lock().unwrap_or_else(PoisonError::into_inner);
        let Producer { writer, batch, next_offset_min } = &mut *producer;
        let acks = writer.append(batch).map_err(io::Error::other)?;
        let [ack] = &acks[..] else { return Err(io::Error::other("one batch, more than one answer")) };
        let is_right = ack.first_offset >= *next_offset_min && ack.rows == batch.num_rows() as u64 && ack.bytes == self.record_bytes;
        if !is_right {
            return Err(io::Error::other(format!("acknowledged was {ack:?}")));
        }
        *next_offset_min = ack.first_offset + ack.rows;
        Ok(())
    }
}

impl Drop for Appends {
    fn drop(&mut self) {
        for failure in self.store.take_background_failures() {
            tell(format_args!("background work failed: {failure}"));
        }
    }
}
