//! Sums of decimals that outgrow the digits of their type: null for every reader, wherever the rows stand, and never a value that the type does not have.

use arrow::array::Decimal128Array;
use arrow::datatypes::Decimal128Type;

use super::*;

/// Amounts in hundredths, of three digits before the point.
fn amounts(rows: &[(i64, i128)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key)));
    let values = Decimal128Array::from_iter_values(rows.iter().map(|(_, value)| *value)).with_precision_and_scale(5, 2).unwrap();
    RecordBatch::try_from_iter_with_nullable([("key", keys, false), ("total", Arc::new(values) as ArrayRef, true)]).unwrap()
}

fn summing(changelog: &str) -> CreateTable {
    let create = CreateTable::like(amounts(&[]).schema()).primary_key(&["key"]).option("merge-engine", "aggregation");
    create.option("fields.total.aggregate-function", "sum").option("changelog-producer", changelog)
}

fn totals(table: &Table, filter: Option<&str>) -> BTreeMap<i64, Option<i128>> {
    let scan = filter.map_or_else(|| table.scan(), |filter| table.scan().filter(filter));
    let of = |batch: RecordBatch| -> Vec<(i64, Option<i128>)> {
        let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Decimal128Type>());
        (0..batch.num_rows()).map(|row| (keys.value(row), values.is_valid(row).then(|| values.value(row)))).collect()
    };
    scan.build().unwrap().flat_map(|found| of(found.unwrap().batch)).collect()
}

/// Checks all ways to read a table that has these totals.
fn check_totals(table: &Table, expected: &BTreeMap<i64, Option<i128>>) {
    assert_eq!(&totals(table, None), expected);
    let kept = |keeps: fn(Option<i128>) -> bool| -> BTreeMap<i64, Option<i128>> {
        expected.iter().filter(|(_, total)| keeps(**total)).map(|(key, total)| (*key, *total)).collect()
    };
    assert!(totals(table, Some("total > 1000")).is_empty(), "no value of the type is larger");
    assert!(totals(table, Some("total > 999.99")).is_empty());
    assert_eq!(totals(table, Some("total < 1e40")), kept(|total| total.is_some()));
    assert_eq!(totals(table, Some("total >= -1000")), kept(|total| total.is_some()));
    assert_eq!(totals(table, Some("total is null")), kept(|total| total.is_none()));
    assert_eq!(totals(table, Some("total >= 500")), kept(|total| total.is_some_and(|total| total >= 50_000)));
    let keys: Vec<i64> = expected.keys().copied().collect();
    let asked = amounts(&keys.iter().map(|key| (*key, 0)).collect::<Vec<_>>()).project(&[0]).unwrap();
    let found = table.lookup(&asked).unwrap();
    for (key, place) in keys.iter().zip(found.places) {
        let (place, values) = (place.unwrap(), found.rows.column(1).as_primitive::<Decimal128Type>());
        assert_eq!(values.is_valid(place).then(|| values.value(place)), expected[key], "key {key}");
    }
    let prefix = table.lookup_prefix(&asked).unwrap();
    let nulls = expected.values().filter(|total| total.is_none()).count();
    assert_eq!(prefix.rows.column(1).null_count(), nulls);
}

/// Rows, and the totals that are there behind them.
type Written<'a> = (&'a [(i64, i128)], &'a [(i64, Option<i128>)]);

/// Writes, and checks the totals in memory, in several runs, and in one.
fn check_everywhere(changelog: &str, steps: &[Written<'_>]) {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim, DIR, options()).unwrap();
    let table = store.create_table("t", summing(changelog)).unwrap();
    let mut writer = table.writer().unwrap();
    for (number, (rows, expected)) in steps.iter().enumerate() {
        writer.upsert(&amounts(rows)).unwrap();
        let expected = expected.iter().copied().collect();
        check_totals(&table, &expected);
        store.flush("t").unwrap();
        check_totals(&table, &expected);
        if number % 2 == 1 {
            store.compact("t", true).unwrap();
            check_totals(&table, &expected);
        }
    }
}

#[test]
fn a_sum_of_too_many_digits_is_null_until_it_has_fewer() {
    let steps: [Written<'_>; 4] = [
        (&[(1, 99_999), (2, 50_000)], &[(1, Some(99_999)), (2, Some(50_000))]),
        (&[(1, 1), (2, -1)], &[(1, None), (2, Some(49_999))]),
        (&[(1, 99_999), (2, -99_999), (2, -99_999)], &[(1, None), (2, None)]),
        (&[(1, -99_999), (1, -2)], &[(1, Some(99_999 - 1)), (2, None)]),
    ];
    check_everywhere("input", &steps);
}

#[test]
fn images_have_null_for_it_and_the_next_value_begins_anew() {
    let steps: [Written<'_>; 3] = [
        (&[(1, 99_999), (2, 50_000)], &[(1, Some(99_999)), (2, Some(50_000))]),
        (&[(1, 1), (2, -1)], &[(1, None), (2, Some(49_999))]),
        (&[(1, 7)], &[(1, Some(7)), (2, Some(49_999))]),
    ];
    check_everywhere("lookup", &steps);
}

#[test]
fn the_whole_total_is_there_once_the_type_has_room_and_not_before() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim, DIR, options()).unwrap();
    let table = store.create_table("t", summing("input")).unwrap();
    table.writer().unwrap().upsert(&amounts(&[(1, 99_999), (1, 99_999)])).unwrap();
    // Who goes on from it with another rule shows no more digits either.
    store.alter_table("t", &[Change::set_option("fields.total.aggregate-function", "max")]).unwrap();
    assert_eq!(totals(&table, None), BTreeMap::from([(1, None)]));
}

#[test]
fn a_decimal_of_too_many_digits_is_refused() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim, DIR, options()).unwrap();
    let table = store.create_table("t", summing("input")).unwrap();
    let refused = table.writer().unwrap().upsert(&amounts(&[(1, 5), (2, -100_000)])).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(refused.to_string().contains("-1000.00 has more digits than decimal128(5,2) holds"), "{refused}");
    assert!(totals(&table, None).is_empty());
}
