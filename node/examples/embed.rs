//! A program with a store inside: make a table unless it is there, append rows, read some of them back.
//!
//! `cargo run -p aquifer-node --example embed [DIR]`

use std::sync::Arc;

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Options, Store};
use arrow::array::{Int64Array, RecordBatch, StringArray};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "aquifer-data".to_string());
    let clicks = RecordBatch::try_from_iter([
        ("user", Arc::new(Int64Array::from(vec![7, 8, 7])) as _),
        ("page", Arc::new(StringArray::from(vec!["/", "/cart", "/checkout"])) as _),
    ])?;

    let store = Store::open(dir, Options::default())?;
    let table = match store.create_table("clicks", CreateTable::like(clicks.schema())) {
        Err(error) if error.kind() == Kind::Conflict => store.table("clicks")?, // made by an earlier run
        made => made?,
    };
    table.writer()?.append(&clicks)?; // returns when the rows are on the device
    for found in table.scan().columns(&["page"]).filter("user = 7").build()? {
        println!("{:?}", found?.batch.column(0));
    }
    Ok(())
}
