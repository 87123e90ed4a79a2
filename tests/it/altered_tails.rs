//! Tails that go on while their table is altered: in the columns that it has then, or in those that they began with, which they say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable, Next, Scanner, Store};
use arrow::array::AsArray;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use crate::program::{Place, Running};
use crate::{rows, scratch};

fn numbered(name: &str, from: i64, rest: &[(&str, ArrayRef)]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 10));
    let columns = [(name, numbers, false)].into_iter();
    RecordBatch::try_from_iter_with_nullable(columns.chain(rest.iter().map(|(name, column)| (*name, column.clone(), true)))).unwrap()
}

fn tens(from: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((from..from + 10).map(|number| number * 10)))
}

/// Everything that is there, which is so many rows.
fn read(scanner: &mut Scanner, count: usize) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    while found.iter().map(RecordBatch::num_rows).sum::<usize>() < count {
        found.push(rows::next(scanner).batch);
    }
    assert!(matches!(scanner.next_within(Some(Duration::ZERO)).unwrap(), Next::Waiting));
    found
}

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    let mut found: Vec<i64> = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    found.sort_unstable();
    found
}

fn scanners(store: &Store, follower: &Store, adapt: bool) -> [Scanner; 2] {
    [store, follower].map(|store| store.table("t").unwrap().scan().follow(true).adapt(adapt).build().unwrap())
}

#[test]
fn a_scan_that_adapts_shows_new_columns_from_their_first_row_on() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let first = numbered("n", 0, &[("narrow", Arc::new(arrow::array::Int32Array::from_iter_values(0..10)))]);
    let create = CreateTable::like(first.schema()).buckets(3).bucket_key(&["n"]);
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&first).unwrap();
    let mut scanners = scanners(&store, &follower, true);
    for scanner in &mut scanners {
        assert_eq!(numbers(&read(scanner, 10)), (0..10).collect::<Vec<_>>());
    }
    // Rows of before that nobody has read yet are shown once, in either columns.
    writer.append(&numbered("n", 10, &[("narrow", Arc::new(arrow::array::Int32Array::from_iter_values(10..20)))])).unwrap();
    let changes = [Change::add_column("more int64").unwrap(), Change::widen_column("narrow int64").unwrap()];
    store.alter_table("t", &changes).unwrap();
    writer.append(&numbered("n", 20, &[("narrow", tens(20)), ("more", tens(20))])).unwrap();
    for scanner in &mut scanners {
        let found = read(scanner, 20);
        assert_eq!(numbers(&found), (10..30).collect::<Vec<_>>());
        let new: Vec<_> = found.iter().filter(|batch| names(batch) == ["n", "narrow", "more"]).collect();
        let newest: i64 = new.iter().map(|batch| batch.num_rows() as i64 - batch.column(2).null_count() as i64).sum();
        assert_eq!(newest, 10, "all rows that have the new column show it");
        assert!(new.iter().all(|batch| *batch.column(1).data_type() == DataType::Int64) && !scanner.is_outdated());
        assert_eq!(names(&RecordBatch::new_empty(scanner.schema())), ["n", "narrow", "more"]);
    }
    // Renamed and dropped, and the next alteration before anybody looks.
    store.alter_table("t", &[Change::rename_column("narrow=wide").unwrap(), Change::drop_column("more")]).unwrap();
    writer.append(&numbered("n", 30, &[("wide", tens(30))])).unwrap();
    store.alter_table("t", &[Change::add_column("last int64").unwrap()]).unwrap();
    writer.append(&numbered("n", 40, &[("last", tens(40))])).unwrap();
    for scanner in &mut scanners {
        let found = read(scanner, 20);
        assert_eq!(numbers(&found), (30..50).collect::<Vec<_>>());
        assert!(found.iter().all(|batch| names(batch)[..2] == ["n", "wide"]), "{found:?}");
        assert_eq!(names(found.last().unwrap()), ["n", "wide", "last"]);
    }
}

#[test]
fn a_scan_with_columns_or_a_filter_of_its_own_keeps_its_columns_and_knows_it() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let first = numbered("n", 0, &[("a", tens(0)), ("b", tens(0))]);
    let table = store.create_table("t", CreateTable::like(first.schema())).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&first).unwrap();
    let scan = || table.scan().follow(true).adapt(true);
    let mut chosen = scan().columns(&["n", "a"]).build().unwrap();
    let mut filtered = scan().filter("b >= 0").build().unwrap();
    let mut fixed = table.scan().follow(true).build().unwrap();
    for scanner in [&mut chosen, &mut filtered, &mut fixed] {
        read(scanner, 10);
    }
    store.alter_table("t", &[Change::add_column("c int64").unwrap()]).unwrap();
    writer.append(&numbered("n", 10, &[("a", tens(10)), ("b", tens(10)), ("c", tens(10))])).unwrap();
    assert_eq!(names(&read(&mut chosen, 10)[0]), ["n", "a"]);
    assert_eq!(names(&read(&mut filtered, 10)[0]), ["n", "a", "b", "c"]);
    assert_eq!(names(&read(&mut fixed, 10)[0]), ["n", "a", "b"]);
    assert_eq!([&chosen, &filtered, &fixed].map(Scanner::is_outdated), [false, false, true]);
    store.alter_table("t", &[Change::drop_column("a"), Change::rename_column("b=d").unwrap()]).unwrap();
    writer.append(&numbered("n", 20, &[("d", tens(20)), ("c", tens(20))])).unwrap();
    assert_eq!(read(&mut chosen, 10)[0].column(1).null_count(), 10, "what was dropped is null");
    assert_eq!(names(&read(&mut filtered, 10)[0]), ["n", "a", "b", "c"], "its filter has the old name");
    assert_eq!([&chosen, &filtered].map(|scanner| scanner.is_outdated()), [true, true]);
    // Without a value for it, there is no row.
    store.alter_table("t", &[Change::drop_column("n")]).unwrap();
    writer.append(&numbered("d", 30, &[])).unwrap();
    let error = fixed.by_ref().find_map(Result::err).unwrap();
    assert!(error.kind() == Kind::Conflict && error.to_string().contains("column n") && error.to_string().contains("start the scan again"));
}

#[test]
fn changes_of_a_table_with_a_primary_key_get_its_columns_too() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let follower = scratch::follow(dir.path());
    let first = numbered("n", 0, &[("a", tens(0))]);
    let table = store.create_table("t", CreateTable::like(first.schema()).primary_key(&["n"]).buckets(2)).unwrap();
    let mut writer = table.writer().unwrap();
    writer.upsert(&first).unwrap();
    let rows_first = || follower.table("t").unwrap().changes().rows_first();
    let mut scanners = [table.changes(), rows_first()].map(|scan| scan.follow(true).adapt(true).build().unwrap());
    store.alter_table("t", &[Change::add_column("b int64").unwrap()]).unwrap();
    writer.upsert(&numbered("n", 10, &[("a", tens(10)), ("b", tens(10))])).unwrap();
    for scanner in &mut scanners {
        let found = read(scanner, 20);
        assert_eq!(numbers(&found), (0..20).collect::<Vec<_>>());
        let new = found.iter().filter(|batch| names(batch) == ["n", "a", "b", "_op"]);
        assert_eq!(new.map(|batch| batch.num_rows() - batch.column(2).null_count()).sum::<usize>(), 10);
    }
}

fn alter(place: Place<'_>, change: &[&str], input: &str) {
    place.done_of(&[&["alter", "t"], change].concat());
    let fed = place.feed("append t --from - --format ndjson --quiet", input.as_bytes());
    assert!(fed.status.success(), "{}", String::from_utf8_lossy(&fed.stderr));
}

#[test]
fn json_lines_get_the_new_columns_and_other_formats_say_that_they_do_not() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"a\"\ntype = \"int32\"\n[[field]]\nname = \"b\"\ntype = \"utf8\"\n")
        .unwrap();
    place.done("create t --schema t.toml");
    assert!(place.feed("append t --from - --format ndjson", b"{\"a\":1,\"b\":\"x\"}").status.success());
    let tails = ["json", "csv", "json --columns b"].map(|format| place.start(&format!("tail t --follow --output {format}")));
    let line = |tail: &Running| tail.line().1;
    assert_eq!([line(&tails[0]), line(&tails[2])], ["{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\"}"]);
    assert_eq!([line(&tails[1]), line(&tails[1])], ["a,b", "1,x"]);
    alter(place, &["--add-column", "c int64"], "{\"a\":2,\"c\":7}");
    assert_eq!(tails.each_ref().map(line), ["{\"a\":2,\"b\":null,\"c\":7}", "2,", "{\"b\":null}"]);
    alter(place, &["--rename", "b=name"], "{\"a\":3,\"name\":\"y\"}");
    assert_eq!(tails.each_ref().map(line), ["{\"a\":3,\"name\":\"y\",\"c\":null}", "3,y", "{\"b\":\"y\"}"]);
    alter(place, &["--drop-column", "name"], "{\"a\":4}");
    assert_eq!(tails.each_ref().map(line), ["{\"a\":4,\"c\":null}", "4,", "{\"b\":null}"]);
    alter(place, &["--widen", "a int64"], "{\"a\":5}");
    assert_eq!([line(&tails[0]), line(&tails[2])], ["{\"a\":5,\"c\":null}", "{\"b\":null}"]);
    let [json, csv, chosen] = tails;
    let told = "the table changed its columns; this tail goes on with those that it began with: start it again to see the others\n";
    let (code, error) = csv.end();
    assert_eq!(code, Some(4), "{error}");
    let rest = error.strip_prefix(told).expect(&error);
    assert!(rest.lines().count() == 1 && rest.contains("column a") && rest.contains("start the scan again"), "{error}");
    for (tail, says) in [(json, ""), (chosen, told)] {
        tail.signal("INT");
        assert_eq!(tail.end(), (Some(130), says.to_string()));
    }
    check_store(&store);
}

fn check_store(store: &Path) {
    assert!(Place::new(store).done("verify --output csv").ends_with(",0\n"));
}
