//! What is on its way to a table when it is dropped, on the simulated disk, where nothing comes to the device by itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::io::sim::{Faults, Sim};
use crate::store::{ChangeType, CreateTable, Options, Store, Table};

const PARTS: [&str; 2] = ["a", "b"];

/// A row of each partition.
fn rows() -> RecordBatch {
    let (parts, numbers): (ArrayRef, ArrayRef) = (Arc::new(StringArray::from(PARTS.to_vec())), Arc::new(Int64Array::from(vec![1, 2])));
    RecordBatch::try_from_iter([("part", parts), ("number", numbers)]).unwrap()
}

/// Batches of each bucket that its log has and the device does not.
fn under_way(table: &Table) -> Vec<usize> {
    let open = table.store.open_buckets_of(table.id).unwrap();
    open.iter().map(|bucket| bucket.log.unfinished().1).collect()
}

/// Sends rows to all partitions, has something dropped, and gives how many rows were acknowledged then.
fn acknowledged(is_keyed: bool, dropping: impl Fn(&Store)) -> u64 {
    let store = Store::open_with(Sim::new(1, Faults::default()), "/store", Options::default()).unwrap();
    let create = CreateTable::like(rows().schema()).partition_by("part");
    let create = if is_keyed { create.primary_key(&["part", "number"]) } else { create };
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    match is_keyed {
        true => writer.send_changes(&rows(), &[ChangeType::Insert; 2]).unwrap(),
        false => writer.send(&rows()).unwrap(),
    }
    assert_eq!(under_way(&table), [1, 1]);
    dropping(&store);
    assert!(under_way(&table).into_iter().all(|batches| batches == 0));
    writer.acks().expect("what was handed in before is written before").iter().map(|ack| ack.rows).sum()
}

#[test]
fn what_is_on_its_way_is_durable_before_its_slots_go_to_others() {
    for is_keyed in [false, true] {
        assert_eq!(acknowledged(is_keyed, |store| store.drop_table("t").unwrap()), 2);
        assert_eq!(acknowledged(is_keyed, |store| store.drop_partition("t", "part=a").unwrap()), 2);
        assert_eq!(acknowledged(is_keyed, |store| assert_eq!(store.rescale_table("t", 2, &mut |_| {}).unwrap().rows, 2)), 2);
    }
}
