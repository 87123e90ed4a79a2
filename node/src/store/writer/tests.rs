//! What a writer holds in memory.

use arrow::array::StringArray;

use super::*;
use crate::store::{CreateTable, Options, Store};

fn rows(count: usize) -> RecordBatch {
    let names = StringArray::from_iter_values((0..count).map(|_| "the same again"));
    RecordBatch::try_from_iter([("name", Arc::new(names) as _)]).unwrap()
}

fn writer(dir: &std::path::Path, compression: &str) -> Writer {
    let store = Store::open(dir, Options::default()).unwrap();
    let create = CreateTable::like(rows(1).schema()).option("compression", compression);
    store.create_table("t", create).unwrap().writer().unwrap()
}

/// Bytes used and held of these rows, encoded.
fn encoded(writer: &Writer, rows: &RecordBatch) -> (usize, usize) {
    let (count, bytes_bound) = writer.rows_that_fit(rows, 0).unwrap();
    assert_eq!(count, rows.num_rows());
    let record = writer.encode(rows, bytes_bound, None).unwrap();
    (record.buffer.len(), record.buffer.capacity())
}

#[test]
fn a_batch_that_became_short_does_not_hold_much() {
    for compression in ["zstd", "lz4"] {
        let dir = tempfile::tempdir_in(".").unwrap();
        let mut writer = writer(dir.path(), compression);
        let many = rows(100_000);
        let (used, held) = encoded(&writer, &many);
        assert!(used < 500_000 && held <= 2 * used, "{compression}: {used} of {held} bytes");
        writer.send(&many).unwrap();
        assert_eq!(writer.unacknowledged_bytes(), held as u64);
        let acks = writer.flush().unwrap();
        assert_eq!((acks[0].bytes, writer.unacknowledged_bytes()), (used as u64, 0));
        let found = writer.table.scan().build().unwrap().next().unwrap().unwrap();
        assert_eq!(found.batch.column(0), many.column(0));
    }
}

#[test]
fn budgets_count_what_is_held() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let mut writer = writer(dir.path(), "none");
    let some = rows(1_000);
    let (used, held) = encoded(&writer, &some);
    assert!(used < held, "{used} of {held} bytes");
    writer.send(&some).unwrap();
    assert_eq!(writer.unacknowledged_bytes(), held as u64);
    writer.flush().unwrap();
    let bucket = writer.bucket(ONLY_PARTITION, 0).unwrap();
    assert_eq!(bucket.view().recent_bytes(), held);
}
