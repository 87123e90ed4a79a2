//! What a writer holds in memory, and what it refuses before it sends anything.

use arrow::array::{Decimal128Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::error::Kind;
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
    let (count, bytes_bound) = writer.rows_that_fit(rows, 0, None).unwrap();
    assert_eq!(count, rows.num_rows());
    let record = writer.encode(rows, None, bytes_bound, None).unwrap();
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

/// Rows of many keys with these names, as somebody has them who does not know that no name may be null.
fn named(schema: &SchemaRef, names: &[Option<&str>]) -> RecordBatch {
    let keys = Int64Array::from_iter_values(0..names.len() as i64);
    RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(StringArray::from(names.to_vec()))]).unwrap()
}

#[test]
fn a_row_that_cannot_be_taken_is_found_before_any_other_of_its_batch_is_sent() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let columns =
        |nullable| Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, false), Field::new("name", DataType::Utf8, nullable)]));
    let create = CreateTable::like(columns(false)).buckets(8).bucket_key(&["key"]).option("batch.bytes.max", "4KiB");
    let table = store.create_table("t", create).unwrap();
    let (mut writer, given) = (table.writer().unwrap(), columns(true));
    writer.append(&named(&given, &[Some("x"); 64])).unwrap();
    let huge = "x".repeat(5_000);
    let stored = || table.scan().build().unwrap().map(|batch| batch.unwrap().batch.num_rows()).sum::<usize>();
    for at in 0..64 {
        for (wrong, kind) in [(None, Kind::Invalid), (Some(huge.as_str()), Kind::Exhausted)] {
            let mut names = [Some("x"); 64];
            names[at] = wrong;
            let error = writer.append(&named(&given, &names)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.context().all(|(name, _)| name != "rows_failed"), "{error}");
            assert_eq!(writer.send(&named(&given, &names)).unwrap_err().kind(), kind);
            assert!(writer.flush().unwrap().is_empty());
        }
    }
    assert_eq!(stored(), 64);
    let null = writer.append(&named(&given, &[Some("x"), None])).unwrap_err().to_string();
    assert!(null.contains("column name") && null.contains("row 1"), "{null}");
    writer.append(&named(&given, &[Some("x"); 64])).unwrap();
    assert_eq!(stored(), 128);
}

#[test]
fn decimals_of_too_many_digits_are_refused_in_every_batch_of_a_schema() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Decimal128(5, 2), false)]));
    let prices = |values: &[i128]| {
        let values = Decimal128Array::from(values.to_vec()).with_precision_and_scale(5, 2).unwrap();
        RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap()
    };
    let table = store.create_table("t", CreateTable::like(schema.clone())).unwrap();
    let mut writer = table.writer().unwrap();
    for _ in 0..2 {
        writer.append(&prices(&[99_999, -99_999])).unwrap();
        let refused = writer.append(&prices(&[1, 100_000])).unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().contains("1000.00 has more digits than decimal128(5,2) holds, column price, row 1"), "{refused}");
    }
    assert_eq!(table.scan().build().unwrap().map(|batch| batch.unwrap().batch.num_rows()).sum::<usize>(), 4);
}

#[test]
fn a_sixth_numbered_batch_waits() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let plain = writer(dir.path(), "none");
    let mut writer = plain.table.writer_with(WriterOptions { id: Some(1) }).unwrap();
    for sequence in 0..12 {
        writer.send_numbered(&rows(1), sequence).unwrap();
        assert!(writer.sent.len() <= 5, "{} are unanswered", writer.sent.len());
    }
    let told: Vec<u64> = writer.flush().unwrap().iter().map(|ack| ack.first_offset).collect();
    assert_eq!(told, (0..12).collect::<Vec<_>>());
}
