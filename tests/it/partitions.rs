//! Partitions: rows lie in those that their values name, filters open only those that may match, and partitions come to followers by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use aquifer_node::store::CreateTable;
use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use crate::{rows, scratch};

const DAY_US: i64 = 86_400_000_000;

fn sales(days: std::ops::Range<i64>) -> RecordBatch {
    let countries = ["CH", "AT", "a/b c=d%"];
    let numbers: Vec<i64> = (days.start * 30..days.end * 30).collect();
    let times = numbers.iter().map(|number| number / 30 * DAY_US + number % 30 * 1_000_000);
    let country = numbers.iter().map(|number| (number % 4 != 3).then(|| countries[(number % 4) as usize]));
    RecordBatch::try_from_iter([
        ("number", Arc::new(Int64Array::from(numbers.clone())) as _),
        ("country", Arc::new(StringArray::from_iter(country)) as _),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(times)) as _),
    ])
    .unwrap()
}

#[test]
fn rows_lie_where_their_values_say() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(sales(0..1).schema()).partition_by("country, day(at)").buckets(2).bucket_key(&["number"]);
    let table = store.create_table("shop.sales", create).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&sales(0..2)).unwrap();
    let reader = scratch::follow(dir.path());
    let followed = reader.table("shop.sales").unwrap();
    let mut following = followed.scan().follow(true).build().unwrap();
    writer.append(&sales(2..5)).unwrap();
    drop(writer);

    let description = table.describe().unwrap();
    assert_eq!(description.partitions.len(), 4 * 5, "three countries and none, on five days: {:?}", description.partitions);
    let mut all = rows::numbers(table.scan().build().unwrap());
    all.sort();
    rows::assert_range(&all, 0..150);
    for found in table.scan().build().unwrap() {
        let found = found.unwrap();
        for number in rows::numbers_in(&found.batch) {
            assert!(found.partition.contains(&format!("1970-01-{:02}", number / 30 + 1)), "row {number} in {}", found.partition);
        }
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 150 {
        for number in rows::numbers_in(&rows::next(&mut following).batch) {
            assert!(seen.insert(number), "row {number} came twice");
        }
    }
}

#[test]
fn a_filter_opens_only_partitions_that_may_match() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(sales(0..1).schema()).partition_by("country, day(at)");
    let table = store.create_table("sales", create).unwrap();
    table.writer().unwrap().append(&sales(0..6)).unwrap();
    let found = |condition: &str| {
        let scanner = table.scan().filter(condition).build().unwrap();
        let lanes = scanner.positions().len();
        let mut numbers = rows::numbers(scanner);
        numbers.sort();
        (numbers, lanes)
    };
    let (numbers, lanes) = found("country = 'AT'");
    assert_eq!(numbers, (0..180).filter(|number| number % 4 == 1).collect::<Vec<_>>());
    assert_eq!(lanes, 6, "one partition a day");
    let (numbers, lanes) = found("country is null and at >= '1970-01-03T00:00:00' and at < '1970-01-04T00:00:00'");
    assert_eq!(numbers, (60..90).filter(|number| number % 4 == 3).collect::<Vec<_>>());
    assert_eq!(lanes, 1);
    let (numbers, lanes) = found("country = 'a/b c=d%' and number < 10");
    assert_eq!(numbers, [2, 6]);
    assert!(lanes <= 6);
}
