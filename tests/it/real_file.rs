//! A real file of a real shop goes in and comes out as it was.

use std::sync::Arc;

use aquifer_node::store::{CreateTable, Table};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{rows, scratch};

/// Where the file lies.
pub(crate) const SUPERSTORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/superstore.parquet");

/// Its rows, in batches of `batch_rows`.
pub(crate) fn superstore(batch_rows: usize) -> (SchemaRef, Vec<RecordBatch>) {
    let file = std::fs::File::open(SUPERSTORE).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(batch_rows).build().unwrap();
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    (schema, reader.map(Result::unwrap).collect())
}

/// The rows in the types of the table, without notes.
fn as_stored(table: &Table, batches: &[RecordBatch]) -> RecordBatch {
    let schema = table.schema().unwrap();
    let cast = |batch: &RecordBatch| {
        let fields = schema.fields().iter().zip(batch.columns());
        let columns = fields.map(|(field, column)| arrow::compute::cast(column, field.data_type()).unwrap()).collect();
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    rows::without_notes(&concat_batches(&schema, &batches.iter().map(cast).collect::<Vec<_>>()).unwrap())
}

#[test]
fn comes_out_equal_in_schema_rows_and_order() {
    for (compression, batch_rows) in [("none", 1024), ("lz4", 100), ("zstd", 9_994)] {
        let dir = scratch::directory();
        let (schema, batches) = superstore(batch_rows);
        let store = scratch::open(dir.path());
        let table = store.create_table("orders", CreateTable::like(schema).option("compression", compression)).unwrap();
        let mut writer = table.writer().unwrap();
        batches.iter().for_each(|batch| writer.send(batch).unwrap());
        writer.flush().unwrap();
        let expected = as_stored(&table, &batches);
        assert_eq!(expected.num_rows(), 9_994);
        assert_eq!(rows::without_notes(&rows::collect(table.scan().build().unwrap())), expected);
        drop((writer, table));
        store.close().unwrap();
        let again = scratch::open(dir.path()).table("orders").unwrap();
        assert_eq!(rows::without_notes(&rows::collect(again.scan().build().unwrap())), expected);
    }
}

#[test]
fn buckets_keep_the_order_of_their_rows() {
    let dir = scratch::directory();
    let (schema, batches) = superstore(777);
    let store = scratch::open(dir.path());
    let key = schema.fields().iter().find(|field| field.name().to_lowercase().contains("customer")).unwrap().name().clone();
    let table = store.create_table("orders", CreateTable::like(schema).buckets(4).bucket_key(&[&key])).unwrap();
    let mut writer = table.writer().unwrap();
    batches.iter().for_each(|batch| writer.send(batch).unwrap());
    writer.flush().unwrap();
    let all = as_stored(&table, &batches);
    let mut found: Vec<Vec<RecordBatch>> = vec![Vec::new(); 4];
    for piece in table.scan().build().unwrap() {
        let piece = piece.unwrap();
        found[piece.bucket as usize].push(rows::without_notes(&piece.batch));
    }
    let mut bucket_of = std::collections::HashMap::new();
    for (bucket, pieces) in found.iter().enumerate() {
        for piece in pieces {
            for customer in piece.column_by_name(&key).unwrap().as_string::<i32>() {
                let before = bucket_of.insert(customer.unwrap().to_string(), bucket);
                assert!(before.is_none_or(|before| before == bucket), "a customer is in one bucket");
            }
        }
    }
    for (bucket, pieces) in found.iter().enumerate() {
        let customers = all.column_by_name(&key).unwrap().as_string::<i32>();
        let here = arrow::array::BooleanArray::from_iter(customers.iter().map(|customer| Some(bucket_of[customer.unwrap()] == bucket)));
        let expected = filter_record_batch(&all, &here).unwrap();
        assert!(expected.num_rows() > 1_000, "each bucket has its share");
        assert_eq!(concat_batches(&Arc::clone(expected.schema_ref()), pieces).unwrap(), expected);
    }
}
