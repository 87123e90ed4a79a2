//! Two processes on one directory: one writes, the other follows and sees rows as they become durable.
//!
//! `cargo run -p aquifer-node --example follow [DIR]` starts itself again as the writer. The follower needs no lock and no server: it
//! sleeps on a word that the writer changes with each commit.

use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::store::{CreateTable, Next, Options, Store};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

const BATCHES: i64 = 100;
const ROWS_IN_BATCH: i64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "aquifer-data".to_string());
    match std::env::args().nth(2) {
        Some(_) => write(&dir),
        None => follow(&dir),
    }
}

fn rows(first: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let numbers = Int64Array::from_iter_values(first..first + ROWS_IN_BATCH);
    Ok(RecordBatch::try_from_iter([("number", Arc::new(numbers) as _)])?)
}

fn write(dir: &str) -> Result<(), Box<dyn Error>> {
    let store = Store::open(dir, Options::default())?;
    let mut writer = store.table("numbers")?.writer()?;
    for batch in 0..BATCHES {
        writer.append(&rows(batch * ROWS_IN_BATCH)?)?;
    }
    Ok(())
}

fn follow(dir: &str) -> Result<(), Box<dyn Error>> {
    Store::open(dir, Options::default())?.create_table("numbers", CreateTable::like(rows(0)?.schema()))?;
    let mut writer = Command::new(std::env::current_exe()?).args([dir, "write"]).spawn()?;

    let store = Store::open_read_only(dir, Options::default())?;
    let mut scanner = store.table("numbers")?.scan().follow(true).build()?;
    let mut sum = 0;
    let mut count = 0;
    while count < BATCHES * ROWS_IN_BATCH {
        match scanner.next_within(Some(Duration::from_secs(30)))? {
            Next::Batch(found) => {
                sum += found.batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
                count += found.batch.num_rows() as i64;
            }
            Next::Waiting | Next::End => return Err("the writer is silent".into()),
        }
    }
    println!("{count} rows, sum {sum}");
    writer.wait()?;
    Ok(())
}
