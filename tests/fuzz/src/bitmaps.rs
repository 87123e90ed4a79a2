//! Bitmaps in rows: `rbm32` and `rbm64`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aquifer_node::merge::{Groups, MergeFunction, Ref, Slot, merge_function};
use aquifer_node::table::{TableSchema, supported};
use arrow::array::{Array, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = [("key", DataType::Int64, false), ("narrow", DataType::Binary, true), ("wide", DataType::Binary, true)];
    Arc::new(Schema::new(fields.map(|(name, kind, nullable)| Field::new(name, kind, nullable)).to_vec()))
});

static MERGE: LazyLock<Arc<dyn MergeFunction>> = LazyLock::new(|| {
    let table: TableSchema = supported(&SCHEMA).expect("types that tables have");
    let options =
        [("merge-engine", "aggregation"), ("fields.narrow.aggregate-function", "rbm32"), ("fields.wide.aggregate-function", "rbm64")];
    let options: BTreeMap<String, String> = options.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    merge_function(&options, &table, &[1]).expect("options that there are")
});

/// Cuts the bytes into two, by the first of them, and takes both as bitmaps of each kind; whether they are bitmaps of one of them.
pub fn run(data: &[u8]) -> bool {
    let Some((cut, rest)) = data.split_first() else { return false };
    let (one, two) = rest.split_at(rest.len() * usize::from(*cut) / 256);
    let pairs: [&[Option<&[u8]>; 2]; 2] = [&[Some(one), Some(two)], &[Some(rest), Some(rest)]];
    let mut accepted = false;
    for pair in pairs {
        accepted |= unite(pair, &[None; 2]) | unite(&[None; 2], pair);
    }
    accepted
}

fn unite(narrow: &[Option<&[u8]>; 2], wide: &[Option<&[u8]>; 2]) -> bool {
    let batch = rows(narrow, wide);
    if MERGE.check_rows(&batch).is_err() {
        return false;
    }
    let united = merge(&batch);
    let values = |column: usize| united.column(column).as_binary::<i32>();
    let value = |column: usize| values(column).is_valid(0).then(|| values(column).value(0));
    let again = merge(&rows(&[value(1), value(1)], &[value(2), value(2)]));
    assert_eq!(again, united, "a union with itself is written as it was");
    true
}

fn rows(narrow: &[Option<&[u8]>; 2], wide: &[Option<&[u8]>; 2]) -> RecordBatch {
    let (narrow, wide) = (BinaryArray::from_iter(narrow), BinaryArray::from_iter(wide));
    RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(Int64Array::from(vec![1, 1])), Arc::new(narrow), Arc::new(wide)])
        .expect("columns fit")
}

fn merge(batch: &RecordBatch) -> RecordBatch {
    let slots = [Slot { columns: batch.into(), kinds: None, is_merged: false }];
    let groups = Groups { slots: &slots, order: &[Ref::new(0, 0), Ref::new(0, 1)], ends: &[2] };
    let merged = MERGE.merge(groups).expect("rows that passed can be merged");
    merged.batch(&slots, false).expect("they are small").0
}
