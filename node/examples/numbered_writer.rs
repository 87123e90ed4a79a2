//! Exactly once: a writer that numbers its batches may send one again, and it is not written again.
//!
//! `cargo run -p aquifer-node --example numbered_writer [DIR]`. The sender keeps its own number beside its input (here: the place in a
//! list); after a crash it sends from the last one it is sure of, and the store answers repeats with the place of the first.

use std::error::Error;
use std::sync::Arc;

use aquifer_node::store::{CreateTable, Options, Store, WriterOptions};
use arrow::array::{Int64Array, RecordBatch};

fn orders(batch: i32) -> Result<RecordBatch, Box<dyn Error>> {
    let ids = Int64Array::from_iter_values((0..3).map(|row| i64::from(batch) * 3 + row));
    Ok(RecordBatch::try_from_iter([("order", Arc::new(ids) as _)])?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "aquifer-data".to_string());
    let identity = WriterOptions { id: Some(42) };
    {
        let store = Store::open(&dir, Options::default())?;
        let table = store.create_table("orders", CreateTable::like(orders(0)?.schema()))?;
        let mut writer = table.writer_with(identity)?;
        for number in 0..4 {
            writer.append_numbered(&orders(number)?, number)?;
        }
    }
    // A new start, unsure of the last two: send them again, then go on.
    let store = Store::open(&dir, Options::default())?;
    let table = store.table("orders")?;
    let mut writer = table.writer_with(identity)?;
    for number in 2..6 {
        // Does not wait: up to five are under way, and the answers come in the order sent.
        writer.send_numbered(&orders(number)?, number)?;
    }
    for (number, ack) in (2..).zip(writer.flush()?) {
        println!("batch {number} is at offset {}{}", ack.first_offset, if ack.duplicate { ", as before" } else { "" });
    }
    let rows: usize = table.scan().build()?.map(|found| found.map(|found| found.batch.num_rows())).sum::<Result<_, _>>()?;
    println!("{rows} rows");
    Ok(())
}
