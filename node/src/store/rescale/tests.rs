//! Rescaling under a power cut, on the simulated disk.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use super::*;
use crate::io::sim::{Faults, Sim};
use crate::store::{CreateTable, Durability, Options, Store};

const DIR: &str = "/store";
const ROWS: i64 = 3_000;

fn open(sim: &Arc<Sim>, durability: Durability) -> Store {
    Store::open_with(sim.clone(), DIR, Options { durability, ..Options::default() }).unwrap()
}

fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("number", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)]).unwrap()
}

fn numbers(store: &Store) -> BTreeSet<i64> {
    let found = store.table("t").unwrap().scan().build().unwrap();
    found.flat_map(|found| found.unwrap().batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// The old rows are on the device, and go when the new table has its name: by then the new ones are there too, though acknowledged rows need not be.
#[test]
fn rows_outlive_a_power_cut_behind_a_rescale_that_need_not_sync() {
    for seed in 0..12 {
        let create = CreateTable::like(rows(0..0).schema()).buckets(2);
        let create = if seed % 2 == 0 { create } else { create.primary_key(&["number"]) };
        let sim = Sim::new(seed, Faults::default());
        let store = open(&sim, Durability::Sync);
        let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
        match seed % 2 {
            0 => writer.append(&rows(0..ROWS)).map(drop).unwrap(),
            _ => writer.upsert(&rows(0..ROWS)).map(drop).unwrap(),
        }
        drop(writer);
        store.close().unwrap();
        let store = open(&sim, Durability::Os);
        assert_eq!(store.rescale_table("t", 5, &mut |_| {}).unwrap().rows, ROWS as u64);
        let sim = sim.reboot(seed);
        let store = open(&sim, Durability::Sync);
        assert_eq!(store.table("t").unwrap().describe().unwrap().buckets, 5);
        assert!(numbers(&store).into_iter().eq(0..ROWS), "seed {seed}: {} rows", numbers(&store).len());
    }
}
