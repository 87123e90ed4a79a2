//! Reading a part of a table: some columns, the rows that pass a filter, the keys with a prefix.

use super::*;
use crate::store::Split;

/// A key of two columns, and what it has.
type Model = BTreeMap<(u8, i32), i64>;

fn region(number: u8) -> String {
    ["at", "ch", "ch\0", "chz", "de"][number as usize % 5].to_string()
}

fn rows_of(rows: &[(u8, i32, i64)]) -> RecordBatch {
    let regions: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| region(row.0))));
    let numbers: ArrayRef = Arc::new(arrow::array::Int32Array::from_iter_values(rows.iter().map(|row| row.1)));
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("note {}", row.2))));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_from_iter([("note", notes), ("number", numbers), ("region", regions), ("value", values)]).unwrap()
}

fn two_columns(buckets: u32, bucket_key: &[&str]) -> CreateTable {
    CreateTable::like(rows_of(&[]).schema()).primary_key(&["region", "number"]).buckets(buckets).bucket_key(bucket_key)
}

/// A filter as text, and what it says of a row.
#[derive(Clone)]
struct Said {
    text: String,
    says: Arc<Says>,
}

/// Of a region, a number and a value.
type Says = dyn Fn(&str, i32, i64) -> bool;

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn said(text: String, says: impl Fn(&str, i32, i64) -> bool + 'static) -> Said {
    Said { text, says: Arc::new(says) }
}

fn filters() -> impl Strategy<Value = Said> {
    let region_is = (0_u8..5).prop_map(|number| {
        let name = region(number);
        said(format!("region = '{name}'"), move |region, _, _| region == name)
    });
    let region_like = Just(said("region like 'ch%'".into(), |region, _, _| region.starts_with("ch")));
    let number_is = (-3_i32..40).prop_map(|bound| said(format!("number = {bound}"), move |_, number, _| number == bound));
    let number_from = (-3_i32..40).prop_map(|bound| said(format!("number >= {bound}"), move |_, number, _| number >= bound));
    let number_to = (-3_i32..40).prop_map(|bound| said(format!("number < {bound}"), move |_, number, _| number < bound));
    let numbers =
        (0_i32..20).prop_map(|one| said(format!("number in ({one}, {})", one + 9), move |_, number, _| number == one || number == one + 9));
    let value = any::<i8>().prop_map(|bound| said(format!("value > {bound}"), move |_, _, value| value > i64::from(bound)));
    prop_oneof![4 => region_is, 1 => region_like, 2 => number_is, 2 => number_from, 2 => number_to, 1 => numbers, 2 => value]
        .prop_recursive(3, 8, 2, |inner| {
            (inner.clone(), inner, any::<bool>()).prop_map(|(one, other, both)| match both {
                true => said(format!("({one:?}) and ({other:?})"), move |region, number, value| {
                    (one.says)(region, number, value) && (other.says)(region, number, value)
                }),
                false => said(format!("({one:?}) or ({other:?})"), move |region, number, value| {
                    (one.says)(region, number, value) || (other.says)(region, number, value)
                }),
            })
        })
}

#[derive(Clone, Debug)]
enum Act {
    Upsert(Vec<(u8, i32, i64)>),
    Delete(Vec<(u8, i32)>),
    Flush,
    Compact,
}

fn changes() -> impl Strategy<Value = Vec<Act>> {
    let row = (0_u8..5, 0_i32..40, any::<i8>().prop_map(i64::from));
    let step = prop_oneof![
        5 => proptest::collection::vec(row, 1..80).prop_map(Act::Upsert),
        2 => proptest::collection::vec((0_u8..5, 0_i32..40), 1..30).prop_map(Act::Delete),
        2 => Just(Act::Flush),
        1 => Just(Act::Compact),
    ];
    proptest::collection::vec(step, 1..12)
}

fn make(store: &Store, table: &Table, model: &mut Model, changes: &[Act]) {
    let mut writer = table.writer().unwrap();
    for change in changes {
        match change {
            Act::Upsert(rows) => {
                writer.upsert(&rows_of(rows)).unwrap();
                model.extend(rows.iter().map(|row| ((row.0, row.1), row.2)));
            }
            Act::Delete(keys) => {
                writer.delete(&rows_of(&keys.iter().map(|key| (key.0, key.1, 0)).collect::<Vec<_>>()).project(&[1, 2]).unwrap()).unwrap();
                keys.iter().for_each(|key| _ = model.remove(key));
            }
            Act::Flush => store.flush("t").unwrap(),
            Act::Compact => store.compact("t", true).unwrap(),
        }
    }
}

/// Some columns of a scan's rows as text, sorted.
fn lines(batches: impl Iterator<Item = RecordBatch>) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    lines
}

fn expected(model: &Model, columns: &[&str], says: impl Fn(&str, i32, i64) -> bool) -> Vec<String> {
    let mut lines: Vec<String> = model
        .iter()
        .filter(|((name, number), value)| says(&region(*name), *number, **value))
        .map(|((name, number), value)| {
            let cell = |column: &&str| match *column {
                "region" => region(*name),
                "number" => number.to_string(),
                "note" => format!("note {value}"),
                _ => value.to_string(),
            };
            columns.iter().map(cell).collect::<Vec<_>>().join("|")
        })
        .collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn filters_and_columns_give_what_they_say(
        changes in changes(),
        filters in proptest::collection::vec(filters(), 4),
        columns in proptest::sample::subsequence(vec!["note", "number", "region", "value"], 1..=4).prop_shuffle(),
        buckets in 1_u32..4,
    ) {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let table = store.create_table("t", two_columns(buckets, &[])).unwrap();
        let mut model = Model::new();
        make(&store, &table, &mut model, &changes);
        for filter in &filters {
            let scan = table.scan().columns(&columns).filter(&filter.text).build().unwrap();
            let found = lines(scan.map(|found| found.unwrap().batch));
            prop_assert_eq!(found, expected(&model, &columns, &*filter.says), "{}", filter.text);
        }
    }
}

/// The columns of a prefix.
fn prefixes(rows: &[(u8, i32)], columns: usize) -> RecordBatch {
    let rows: Vec<_> = rows.iter().map(|row| (row.0, row.1, 0)).collect();
    rows_of(&rows).project(&[2, 1][..columns]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_prefix_finds_what_a_filter_finds(
        changes in changes(),
        asked in proptest::collection::vec((0_u8..5, 0_i32..40), 0..12),
        buckets in 1_u32..4,
        is_decided in any::<bool>(),
        is_partitioned in any::<bool>(),
    ) {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let create = two_columns(buckets, if is_decided { &["region"] } else { &[] });
        // By the first column of the key, which a prefix has, or the second, which it may lack.
        let create = if is_partitioned { create.partition_by(if is_decided { "region" } else { "number" }) } else { create };
        let create = if is_partitioned && is_decided { create.bucket_key(&["region", "number"]) } else { create };
        let table = store.create_table("t", create).unwrap();
        let mut model = Model::new();
        make(&store, &table, &mut model, &changes);
        for columns in 1..=2 {
            let found = table.lookup_prefix(&prefixes(&asked, columns)).unwrap();
            prop_assert_eq!(found.rows.schema(), table.schema().unwrap());
            let mut at = 0;
            for ((region_number, number), count) in asked.iter().zip(&found.counts) {
                let of_prefix = lines(std::iter::once(found.rows.slice(at, *count)));
                let is_it = |name: &str, other: i32, _| name == region(*region_number) && (columns == 1 || other == *number);
                prop_assert_eq!(of_prefix, expected(&model, &["note", "number", "region", "value"], is_it));
                at += count;
            }
            prop_assert_eq!(at, found.rows.num_rows());
        }
    }

    #[test]
    fn splits_together_are_the_scan(
        changes in changes(),
        filter in filters(),
        buckets in 1_u32..4,
        count in 1_usize..9,
        later in changes(),
    ) {
        let sim = Sim::new(1, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let table = store.create_table("t", two_columns(buckets, &[])).unwrap();
        let mut model = Model::new();
        make(&store, &table, &mut model, &changes);
        let splits = table.scan().splits(count).unwrap();
        prop_assert!((1..=count).contains(&splits.len()));
        let follower = Store::open_read_only_with(sim, DIR, options()).unwrap().table("t").unwrap();
        let read = |table: &Table, splits: &[Split]| {
            let mut found = Vec::new();
            for split in splits {
                let scan = table.scan().columns(&["region", "number", "value"]).filter(&filter.text).split(split).build()?;
                found.extend(scan.map(|found| found.map(|found| found.batch)).collect::<crate::Result<Vec<_>>>()?);
            }
            Ok::<_, crate::Error>(lines(found.into_iter()))
        };
        let expected = expected(&model, &["region", "number", "value"], &*filter.says);
        prop_assert_eq!(&read(&table, &splits).unwrap(), &expected);
        let texts: Vec<Split> = splits.iter().map(|split| Split::from_json(&split.to_json().unwrap()).unwrap()).collect();
        prop_assert_eq!(&read(&follower, &texts).unwrap(), &expected);
        // Whatever comes later, this process holds what it saw; others have it, or are told that it is gone.
        make(&store, &table, &mut model, &later);
        prop_assert_eq!(&read(&table, &splits).unwrap(), &expected);
        match read(&follower, &texts) {
            Ok(found) => prop_assert_eq!(&found, &expected),
            Err(error) => prop_assert_eq!(error.kind(), Kind::Conflict, "{}", error),
        }
    }
}

#[test]
fn splits_of_many_rows_are_of_a_size_and_have_their_place() {
    let (_dir, store) = real();
    let table = store.create_table("t", two_columns(2, &[])).unwrap();
    let log = store.create_table("log", CreateTable::like(rows_of(&[]).schema()).buckets(2)).unwrap();
    let all = |round: i32| (0..4_000).map(|number| ((number % 5) as u8, number + round * 2_000, i64::from(round))).collect::<Vec<_>>();
    for round in 0..4 {
        table.writer().unwrap().upsert(&rows_of(&all(round))).unwrap();
        log.writer().unwrap().append(&rows_of(&all(round))).unwrap();
        if round < 2 {
            store.flush("t").unwrap();
        }
    }
    let count = |scan: crate::store::ScanBuilder| scan.build().unwrap().map(|found| found.unwrap().batch.num_rows()).sum::<usize>();
    for (table, rows) in [(&table, 10_000), (&log, 16_000)] {
        let splits = table.scan().splits(7).unwrap();
        assert_eq!(splits.len(), 7);
        let counts: Vec<usize> = splits.iter().map(|split| count(table.scan().split(split))).collect();
        assert_eq!(counts.iter().sum::<usize>(), rows);
        // Where rows of a run lie is known by the block, which has some hundred of these.
        assert!(counts.iter().all(|count| (rows / 40..rows / 3).contains(count)), "{counts:?}");
        assert_eq!(count(table.scan().split(&splits[1]).limit(5)), 5);
    }
    let of_rows = table.scan().splits(3).unwrap();
    let of_log = log.scan().splits(3).unwrap();
    let of_changes = table.changes().splits(3).unwrap();
    assert_eq!(of_changes.iter().map(|split| count(table.changes().split(split))).sum::<usize>(), 16_000);
    let refused = [
        table.scan().split(&of_log[0]).build().map(|_| ()),
        table.scan().split(&of_changes[0]).build().map(|_| ()),
        table.changes().split(&of_rows[0]).build().map(|_| ()),
        table.scan().split(&of_rows[0]).buckets(&[0]).build().map(|_| ()),
        table.scan().splits(0).map(|_| ()),
        table.scan().limit(1).splits(2).map(|_| ()),
        log.scan().follow(true).splits(2).map(|_| ()),
        Split::from_json("{}").map(|_| ()),
        Split::from_json(&of_rows[0].to_json().unwrap().replace("\"version\":2", "\"version\":1")).map(|_| ()),
        Split::from_json(&of_rows[0].to_json().unwrap().replace("\"version\":2", "\"version\":4")).map(|_| ()),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), Kind::Invalid, "case {index}");
    }
    store.alter_table("t", &[Change::add_column("more int64").unwrap()]).unwrap();
    assert_eq!(table.scan().split(&of_rows[0]).build().map(|_| ()).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn splits_are_read_by_threads() {
    let (_dir, store) = real();
    let table = store.create_table("t", two_columns(1, &[])).unwrap();
    let all: Vec<_> = (0..5_000).map(|number| (0, number, i64::from(number))).collect();
    table.writer().unwrap().upsert(&rows_of(&all)).unwrap();
    let splits = table.scan().splits(4).unwrap();
    let total: i64 = std::thread::scope(|scope| {
        let table = &table;
        let sum = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        let read = |split| {
            move || table.scan().columns(&["value"]).split(split).build().unwrap().map(|found| sum(&found.unwrap().batch)).sum::<i64>()
        };
        let threads: Vec<_> = splits.iter().map(|split| scope.spawn(read(split))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(total, (0..5_000).sum::<i64>());
}

#[test]
fn columns_that_no_key_begins_with_are_refused() {
    let (_dir, store) = real();
    let table = store.create_table("t", two_columns(1, &[])).unwrap();
    let log = store.create_table("log", CreateTable::like(rows_of(&[]).schema())).unwrap();
    let row = rows_of(&[(1, 1, 1)]);
    for (columns, said) in
        [(&[1][..], "no key begins"), (&[0], "not part of the primary key"), (&[], "no key begins"), (&[2, 3], "not part")]
    {
        let error = table.lookup_prefix(&row.project(columns).unwrap()).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains(said), "{error}");
    }
    assert_eq!(log.lookup_prefix(&row.project(&[2]).unwrap()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_split_of_a_partition_that_was_dropped_is_refused_though_another_has_its_name() {
    let (_dir, store) = real();
    let create = |name: &str| CreateTable::like(rows_of(&[]).schema()).partition_by(name);
    let keyed = create("region").primary_key(&["region", "number"]);
    for (name, create) in [("t", keyed), ("log", create("region"))] {
        let table = store.create_table(name, create).unwrap();
        let write = |value: i64| match name {
            "t" => table.writer().unwrap().upsert(&rows_of(&[(1, 1, value), (2, 1, value)])).map(|_| ()),
            _ => table.writer().unwrap().append(&rows_of(&[(1, 1, value), (2, 1, value)])).map(|_| ()),
        };
        write(10).unwrap();
        let split = table.scan().splits(1).unwrap().remove(0);
        let as_text = || Split::from_json(&split.to_json().unwrap()).unwrap();
        let partition = table.describe().unwrap().partitions.remove(0);
        assert_eq!(table.scan().split(&as_text()).build().unwrap().count(), 2);
        store.drop_partition(name, &partition).unwrap();
        for _ in 0..2 {
            let error = table.scan().split(&as_text()).build().map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
            assert!(error.to_string().contains("the partition of a split was dropped"), "{error}");
            // Another of that name, with rows at the same offsets.
            write(20).unwrap();
        }
    }
}
