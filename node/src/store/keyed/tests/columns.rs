//! Columns change under rows that are there: whoever reads them, wherever they stand, finds what was meant when they were written.

use arrow::array::{Float32Array, Float64Array, Int8Array};
use arrow::datatypes::DataType;

use super::*;

type Column = (&'static str, ArrayRef);

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn batch(columns: Vec<Column>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, name != "key"))).unwrap()
}

/// What stands in a column, as text, in the order of the keys.
fn read(table: &Table, column: &str) -> Vec<String> {
    let batches = table.scan().columns(&["key", column]).build().unwrap().map(|found| found.unwrap().batch);
    let shown = |batch: RecordBatch| -> Vec<String> {
        let value = |row| arrow::util::display::array_value_to_string(batch.column(1), row).unwrap();
        (0..batch.num_rows()).map(value).collect()
    };
    batches.flat_map(shown).collect()
}

fn runs(store: &Store) -> usize {
    store.stats(Some("t")).unwrap().iter().map(|bucket| bucket.tree.as_ref().map_or(0, |tree| tree.runs)).sum()
}

fn keyed(like: &RecordBatch, options: &[(&str, &str)]) -> CreateTable {
    let create = CreateTable::like(like.schema()).primary_key(&["key"]);
    options.iter().fold(create, |create, (name, value)| create.option(name, value))
}

/// What comes of rows of one key under a function: rows before the column is widened, and rows after it, wherever those before stand then.
fn check_widened(function: &str, (before, widened, after): (&[ArrayRef], &str, &ArrayRef), expected: &str) {
    for flushes in [0, 1, before.len()] {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let row = |value: &ArrayRef| batch(vec![("key", numbers(&[1])), ("n", value.clone())]);
        let options = [("merge-engine", "aggregation"), ("fields.n.aggregate-function", function)];
        let table = store.create_table("t", keyed(&row(&before[0]), &options)).unwrap();
        for (number, value) in before.iter().enumerate() {
            table.writer().unwrap().upsert(&row(value)).unwrap();
            if before.len() - number <= flushes {
                store.flush("t").unwrap();
            }
        }
        store.alter_table("t", &[Change::widen_column(widened).unwrap()]).unwrap();
        table.writer().unwrap().upsert(&row(after)).unwrap();
        assert_eq!(read(&table, "n"), [expected], "{function}, {flushes} flushes");
        store.flush("t").unwrap();
        store.compact("t", true).unwrap();
        assert_eq!(read(&table, "n"), [expected], "{function}, {flushes} flushes, merged");
    }
}

#[test]
fn totals_are_those_of_the_type_that_the_column_had() {
    let small = |value: Option<i8>| -> ArrayRef { Arc::new(Int8Array::from(vec![value])) };
    let single = |value: f32| -> ArrayRef { Arc::new(Float32Array::from(vec![value])) };
    check_widened("sum", (&[small(Some(127)), small(Some(1))], "n int64", &numbers(&[-1])), "-129");
    check_widened("product", (&[small(Some(64)), small(Some(2))], "n int64", &numbers(&[2])), "-256");
    check_widened("count", (&[small(Some(127)), small(None)], "n int64", &numbers(&[0])), "-128");
    let double: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
    // Too small beside the other one in 32 bits, but not in 64.
    check_widened("sum", (&[single(16_777_216.0), single(1.0)], "n float64", &double), "16777216.0");
    check_widened("max", (&[small(Some(127)), small(Some(1))], "n int64", &numbers(&[128])), "128");
}

#[test]
fn a_plain_column_is_widened_without_merging_the_runs_that_are_there() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let small = |keys: &[i64], values: Vec<Option<i8>>| {
        batch(vec![("key", numbers(keys)), ("n", Arc::new(Int8Array::from(values.clone()))), ("m", Arc::new(Int8Array::from(values)))])
    };
    let options = [("merge-engine", "aggregation"), ("fields.n.aggregate-function", "max"), ("fields.m.aggregate-function", "last_value")];
    let table = store.create_table("t", keyed(&small(&[], vec![]), &options)).unwrap();
    for rows in [small(&[1, 2], vec![Some(-7), Some(127)]), small(&[2, 3], vec![None, Some(3)]), small(&[1], vec![Some(-8)])] {
        table.writer().unwrap().upsert(&rows).unwrap();
        store.flush("t").unwrap();
    }
    table.writer().unwrap().upsert(&small(&[3], vec![Some(5)])).unwrap();
    store.alter_table("t", &[Change::widen_column("n int16").unwrap(), Change::widen_column("m int64").unwrap()]).unwrap();
    assert_eq!(runs(&store), 3);
    let wide: ArrayRef = Arc::new(arrow::array::Int16Array::from(vec![1_000]));
    table.writer().unwrap().upsert(&batch(vec![("key", numbers(&[4])), ("n", wide), ("m", numbers(&[i64::MAX]))])).unwrap();
    let check = |table: &Table| {
        assert_eq!(read(table, "n"), ["-7", "127", "5", "1000"]);
        assert_eq!(read(table, "m"), ["-8", "", "5", &i64::MAX.to_string()]);
    };
    check(&table);
    store.flush("t").unwrap();
    check(&table);
    store.compact("t", true).unwrap();
    check(&table);
    assert_eq!(table.schema().unwrap().field(1).data_type(), &DataType::Int16);
}

#[test]
fn a_sequence_follows_a_column_whose_new_name_reads_like_two() {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let row = |columns: [&'static str; 3], values: [i64; 3]| {
        let values = columns.into_iter().zip(values).map(|(name, value)| (name, numbers(&[value])));
        batch([("key", numbers(&[1]))].into_iter().chain(values).collect())
    };
    let table = store.create_table("t", keyed(&row(["v", "a", "b"], [0; 3]), &[("sequence.field", "v")])).unwrap();
    table.writer().unwrap().upsert(&row(["v", "a", "b"], [9, 1, 1])).unwrap();
    store.alter_table("t", &[Change::rename_column("v=a,b").unwrap()]).unwrap();
    table.writer().unwrap().upsert(&row(["a,b", "a", "b"], [8, 2, 2])).unwrap();
    assert_eq!(read(&table, "a"), ["1"], "it is older by what was called `v`");
    table.writer().unwrap().upsert(&row(["a,b", "a", "b"], [10, 0, 0])).unwrap();
    assert_eq!(read(&table, "a"), ["0"]);
    let like = row(["a,b", "a", "b"], [0; 3]);
    let by_quoted = store.create_table("q", keyed(&like, &[("sequence.field", "\"a,b\", a")])).unwrap();
    by_quoted.writer().unwrap().upsert(&row(["a,b", "a", "b"], [5, 1, 1])).unwrap();
    by_quoted.writer().unwrap().upsert(&row(["a,b", "a", "b"], [4, 2, 2])).unwrap();
    assert_eq!(read(&by_quoted, "a"), ["1"]);
}

#[test]
fn the_time_of_rows_stays_the_column_that_it_was() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let times = |name: &'static str, other: &'static str, time: i64| {
        batch(vec![("key", numbers(&[1])), (name, numbers(&[time])), (other, numbers(&[i64::from(u32::MAX)]))])
    };
    let expiring = [("record-level.time-field", "t"), ("record-level.expire-time", "100s")];
    let table = store.create_table("t", keyed(&times("t", "u", 0), &expiring)).unwrap();
    table.writer().unwrap().upsert(&times("t", "u", 1)).unwrap();
    assert!(read(&table, "t").is_empty(), "it has expired");
    for name in ["t=none", "none=\"none", "\"none=a,b", "a,b=t"] {
        store.alter_table("t", &[Change::rename_column(name).unwrap()]).unwrap();
        let opened = Store::open_read_only_with(sim.clone(), DIR, options()).unwrap();
        assert!(read(&opened.table("t").unwrap(), "key").is_empty(), "{name}");
    }
    let drop = Change::drop_column("t");
    for instead in [Change::add_column("t int64").unwrap(), Change::rename_column("u=t").unwrap()] {
        let error = store.alter_table("t", &[drop.clone(), instead]).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("has the time of rows"), "{error}");
    }
    let swapped = ["t=w", "u=t", "w=u"].map(|change| Change::rename_column(change).unwrap());
    store.alter_table("t", &swapped).unwrap();
    assert!(read(&table, "t").is_empty(), "the time is called `u` now");
    table.writer().unwrap().upsert(&times("u", "t", i64::from(u32::MAX))).unwrap();
    store.alter_table("t", &[Change::set_option("record-level.time-field", "t")]).unwrap();
    store.alter_table("t", &[Change::drop_column("u")]).unwrap();
    assert_eq!(read(&table, "t"), [u32::MAX.to_string()]);
}
