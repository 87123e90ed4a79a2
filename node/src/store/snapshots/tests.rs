//! Snapshots, held against copies of a map: what is in the list reads as it was, whatever was written, merged, expired and opened again since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::*;
use crate::bucket::ledger::LedgerState;
use crate::bucket::manifest::{FILE_BYTES_MAX, OFFSETS_END, State};
use crate::error::Kind;
use crate::format::{manifest, pages};
use crate::io::Driver;
use crate::io::sim::{Faults, Sim};
use crate::store::{Change, ChangeType, CreateTable, Next, Options, ScanBatch, Start, Store};

mod steps;
mod travel;

const DIR: &str = "/store";

type Model = BTreeMap<i64, i64>;

fn rows(rows: &[(i64, i64)]) -> RecordBatch {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let (keys, values) = rows.iter().copied().unzip();
    RecordBatch::try_from_iter([("key", column(keys)), ("value", column(values))]).unwrap()
}

fn create(buckets: u32) -> CreateTable {
    CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).buckets(buckets)
}

/// Memtables of this store are flushed every few batches.
fn open(sim: &Arc<Sim>) -> Store {
    Store::open_with(sim.clone(), DIR, Options { memtable_bytes_max: 256 << 10, run_bytes_max: 4 << 10, ..Options::default() }).unwrap()
}

fn new(create: CreateTable) -> (Arc<Sim>, Store, Table) {
    let sim = Sim::new(1, Faults::default());
    let store = open(&sim);
    let table = store.create_table("t", create).unwrap();
    (sim, store, table)
}

fn outside(sim: &Arc<Sim>) -> Table {
    Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap().table("t").unwrap()
}

fn upsert(table: &Table, batch: &[(i64, i64)]) {
    table.writer().unwrap().upsert(&rows(batch)).unwrap();
}

fn values(batch: &RecordBatch) -> impl Iterator<Item = (i64, i64)> + '_ {
    let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().iter().copied();
    column(0).zip(column(1))
}

fn collect(found: impl Iterator<Item = Result<ScanBatch>>) -> Result<Model> {
    let mut all = Model::new();
    for found in found {
        for (key, value) in values(&found?.batch) {
            assert!(all.insert(key, value).is_none(), "key {key} once");
        }
    }
    Ok(all)
}

fn at(table: &Table, version: Version) -> Result<Model> {
    collect(table.scan().at(version).build()?)
}

fn ids(table: &Table) -> Vec<u64> {
    table.snapshots().unwrap().iter().map(|snapshot| snapshot.id).collect()
}

/// Applies changes as a reader of the changelog would.
fn apply(model: &mut Model, batch: &RecordBatch) {
    let ops = batch.column_by_name("_op").unwrap().as_string::<i32>();
    for (row, (key, value)) in values(batch).enumerate() {
        match ops.value(row) {
            "-D" => _ = model.remove(&key),
            _ => _ = model.insert(key, value),
        }
    }
}

fn run_files(sim: &Sim, dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in sim.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        match entry.is_dir {
            true => found.extend(run_files(sim, &path)),
            false if entry.name.ends_with(".run") => found.push(path),
            false => {}
        }
    }
    found
}

#[test]
fn a_snapshot_shows_what_was_there_when_it_was_made() {
    let (sim, store, table) = new(create(3));
    upsert(&table, &[(1, 10), (2, 20), (3, 30)]);
    let first = table.create_snapshot(None).unwrap();
    assert_eq!((first.id, first.run_rows, first.tags.len(), first.ends.len()), (1, 3, 0, 3));
    upsert(&table, &[(2, 21), (4, 40)]);
    table.writer().unwrap().delete(&rows(&[(1, 0)])).unwrap();
    let second = table.create_snapshot(Some("monday")).unwrap();
    assert_eq!((second.id, second.tags.as_slice()), (2, &["monday".to_string()][..]));
    upsert(&table, &[(5, 50)]);
    store.compact("t", true).unwrap();
    let (one, two) = (Model::from([(1, 10), (2, 20), (3, 30)]), Model::from([(2, 21), (3, 30), (4, 40)]));
    for table in [table.clone(), outside(&sim)] {
        assert_eq!(at(&table, Version::Snapshot(1)).unwrap(), one);
        assert_eq!(at(&table, "monday".parse().unwrap()).unwrap(), two);
        assert_eq!(
            at(&table, Version::AsOf(first.time_ms)).unwrap(),
            if second.time_ms > first.time_ms { one.clone() } else { two.clone() }
        );
        assert_eq!(at(&table, Version::AsOf(i64::MAX)).unwrap(), two);
        let found = table.lookup_at(&rows(&[(1, 0), (4, 0), (5, 0)]), &Version::Snapshot(2)).unwrap();
        assert_eq!(found.places, [None, Some(0), None]);
        let some = table.scan().at(Version::Snapshot(2)).columns(&["value"]).filter("value > 25 and value < 45").build().unwrap();
        assert_eq!(some.map(|found| found.unwrap().batch.num_rows()).sum::<usize>(), 2);
    }
    store.close().unwrap();
    let store = open(&sim);
    assert_eq!(at(&store.table("t").unwrap(), Version::Snapshot(1)).unwrap(), one);
    assert_eq!(store.table("t").unwrap().create_snapshot(None).unwrap().id, 3);
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}

#[test]
fn a_tag_keeps_rows_from_drops_of_partitions_and_from_rescaling() {
    let (_, store, table) = new(create(2).partition_by("key"));
    upsert(&table, &[(1, 10), (2, 20)]);
    table.create_snapshot(Some("monday")).unwrap();
    table.create_tag("start", &Version::Snapshot(1)).unwrap();
    upsert(&table, &[(2, 21), (3, 30)]);
    table.create_snapshot(None).unwrap();
    let names = table.describe().unwrap().partitions;
    // No tag has rows of the third.
    store.drop_partition("t", &names[2]).unwrap();
    for _ in 0..2 {
        for refused in [store.drop_partition("t", &names[1]).unwrap_err(), store.rescale_table("t", 5, &mut |_| {}).unwrap_err()] {
            assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
            let said = refused.to_string();
            assert!(said.contains("snapshots with tags would lose their rows") && said.contains("--delete-tag"), "{said}");
            assert_eq!(said.contains("tags monday, start"), table.snapshots().unwrap()[0].tags.len() == 2, "{said}");
        }
        table.delete_tag("monday").unwrap_or(());
    }
    assert_eq!(at(&table, "start".parse().unwrap()).unwrap(), Model::from([(1, 10), (2, 20)]), "all of it is there");
    table.delete_tag("start").unwrap();
    store.drop_partition("t", &names[1]).unwrap();
    assert_eq!(collect(table.scan().build().unwrap()).unwrap(), Model::from([(1, 10)]));
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let (_, store, table) = new(create(1));
    let error = at(&table, Version::Snapshot(1)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("has no snapshots"), "{error}");
    upsert(&table, &[(1, 1)]);
    table.create_snapshot(Some("a")).unwrap();
    for (version, what) in [
        (Version::Snapshot(7), "there is no snapshot 7"),
        (Version::Tag("b".into()), "there is no tag b"),
        (Version::AsOf(i64::MIN), "no snapshot is as old"),
    ] {
        let error = at(&table, version).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        let told = error.to_string();
        assert!(told.contains(what) && (told.contains("there is snapshot 1") || told.contains("known are a")), "{told}");
    }
    assert_eq!(table.create_snapshot(Some("a")).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(table.create_tag("a", &Version::Snapshot(1)).unwrap_err().kind(), Kind::Conflict);
    for wrong in ["", "12", " a", "a\n", &"x".repeat(256)] {
        assert_eq!(table.create_tag(wrong, &Version::Snapshot(1)).unwrap_err().kind(), Kind::Invalid, "{wrong:?}");
    }
    assert_eq!(table.delete_tag("b").unwrap_err().kind(), Kind::NotFound);
    table.delete_tag("a").unwrap();
    let log = store.create_table("log", CreateTable::like(rows(&[]).schema())).unwrap();
    for error in [log.create_snapshot(None).unwrap_err(), log.snapshots().unwrap_err(), at(&log, Version::Snapshot(1)).unwrap_err()] {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    assert_eq!(ids(&table), [1], "what was refused left nothing");
}

#[test]
fn snapshots_expire_by_number_and_age_and_their_runs_with_them() {
    let (sim, store, table) = new(create(2).option("snapshot.num-retained.min", "2").option("snapshot.num-retained.max", "4"));
    for round in 0..6 {
        upsert(&table, &(0..50).map(|key| (key, round)).collect::<Vec<_>>());
        table.create_snapshot((round == 1).then_some("kept")).unwrap();
    }
    assert_eq!(ids(&table), [2, 3, 4, 5, 6], "at most four, and the one with a tag");
    sim.advance(std::time::Duration::from_secs(3601)).unwrap();
    assert_eq!(store.expire("t").unwrap().snapshots, 2);
    assert_eq!(ids(&table), [2, 5, 6], "the two newest however old");
    let error = at(&table, Version::Snapshot(3)).unwrap_err();
    assert!(error.kind() == Kind::NotFound && error.to_string().contains("snapshot 3 has expired"), "{error}");
    let reader = table.scan().at(Version::Snapshot(2)).build().unwrap();
    table.delete_tag("kept").unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(store.expire("t").unwrap().snapshots, 1);
    assert_eq!(collect(reader).unwrap(), (0..50).map(|key| (key, 1)).collect(), "a reader that holds it finishes");
    assert_eq!(at(&table, Version::Snapshot(5)).unwrap(), (0..50).map(|key| (key, 4)).collect());
    for _ in 0..3 {
        upsert(&table, &[(1, 1)]);
        sim.advance(std::time::Duration::from_secs(3601)).unwrap();
        table.create_snapshot(None).unwrap();
    }
    assert_eq!(ids(&table), [8, 9]);
    store.compact("t", true).unwrap();
    store.pump().unwrap();
    // Of each bucket one run, and those that the two snapshots have.
    let kept: u64 = table.snapshots().unwrap().iter().map(|snapshot| snapshot.runs).sum();
    assert!(run_files(&sim, Path::new(DIR)).len() as u64 <= 2 + kept, "no run is left behind");
}

#[test]
fn a_follower_that_reads_an_expired_snapshot_finishes() {
    let (sim, store, table) = new(create(1).option("snapshot.num-retained.max", "1"));
    upsert(&table, &(0..5000).map(|key| (key, key)).collect::<Vec<_>>());
    table.create_snapshot(None).unwrap();
    let outside = outside(&sim);
    let reader = outside.scan().at(Version::Snapshot(1)).build().unwrap();
    upsert(&table, &[(1, 7)]);
    table.create_snapshot(None).unwrap();
    store.compact("t", true).unwrap();
    assert_eq!(at(&outside, Version::Snapshot(1)).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(collect(reader).unwrap().len(), 5000);
}

#[test]
fn rows_come_in_the_columns_of_then() {
    let (sim, store, table) = new(create(1));
    upsert(&table, &[(1, 10)]);
    table.create_snapshot(None).unwrap();
    let changes = [Change::rename_column("value=amount").unwrap(), Change::add_column("note utf8").unwrap()];
    store.alter_table("t", &changes).unwrap();
    let names = |scan: crate::store::ScanBuilder| {
        scan.build().unwrap().schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    for table in [table, outside(&sim)] {
        assert_eq!(names(table.scan()), ["key", "amount", "note"]);
        assert_eq!(names(table.scan().at(Version::Snapshot(1))), ["key", "value"]);
        assert_eq!(at(&table, Version::Snapshot(1)).unwrap(), Model::from([(1, 10)]));
        let full = table.changes().from_snapshot(Version::Snapshot(1)).rows_first().build().unwrap();
        assert_eq!(full.schema().field(1).name(), "amount", "rows and changes have the columns of now");
        assert_eq!(full.map(|found| found.unwrap().batch.num_columns()).collect::<Vec<_>>(), [4]);
    }
    let again = store.table("t").unwrap().create_snapshot(None).unwrap();
    assert_eq!(again.schema_version, 1, "both changes made one version");
}

#[test]
fn changes_between_snapshots_are_those_that_the_second_has_and_the_first_has_not() {
    let (sim, store, table) = new(create(2).option("segment.bytes", "1MiB").option("retention.bytes", "1MiB"));
    upsert(&table, &[(1, 1), (2, 2)]);
    table.create_snapshot(None).unwrap();
    upsert(&table, &[(1, 3), (4, 4)]);
    table.create_snapshot(None).unwrap();
    upsert(&table, &[(9, 9)]);
    let between = |table: &Table, from, to| -> Result<Vec<(i64, i64)>> {
        let scan = table.changes().from_snapshot(Version::Snapshot(from)).to_snapshot(Version::Snapshot(to)).build()?;
        let mut all: Vec<_> = scan.map(|found| Ok(values(&found?.batch).collect::<Vec<_>>())).collect::<Result<Vec<_>>>()?.concat();
        all.sort_unstable();
        Ok(all)
    };
    for table in [table.clone(), outside(&sim)] {
        assert_eq!(between(&table, 1, 2).unwrap(), [(1, 3), (4, 4)]);
        assert_eq!(between(&table, 2, 2).unwrap(), []);
        assert_eq!(between(&table, 2, 1).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(between(&table, 2, 3).unwrap_err().kind(), Kind::NotFound);
        assert!(table.changes().start(Start::Latest).from_snapshot(Version::Snapshot(1)).build().is_err());
        assert!(table.scan().from_snapshot(Version::Snapshot(1)).build().is_err());
    }
    for round in 0..80 {
        upsert(&table, &(0..4000).map(|key| (key, round)).collect::<Vec<_>>());
    }
    store.flush("t").unwrap();
    store.expire("t").unwrap();
    assert_eq!(between(&table, 2, 2).unwrap(), [], "nothing of the log is needed for nothing");
    let error = between(&table, 1, 2).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("in the log no longer"), "{error}");
    assert_eq!(at(&table, Version::Snapshot(1)).unwrap(), Model::from([(1, 1), (2, 2)]), "the snapshot itself needs no log");
}

#[test]
fn a_log_table_is_scanned_as_of_a_time() {
    let sim = Sim::new(1, Faults::default());
    let store = open(&sim);
    let log = store.create_table("t", CreateTable::like(rows(&[]).schema())).unwrap();
    let mut times = Vec::new();
    for round in 0..5 {
        sim.advance(std::time::Duration::from_secs(1)).unwrap();
        log.writer().unwrap().append(&rows(&[(round, round), (10 + round, round)])).unwrap();
        times.push(sim.clock().wall_ms());
    }
    for table in [log, outside(&sim)] {
        for (round, time) in times.iter().enumerate() {
            assert_eq!(at(&table, Version::AsOf(*time)).unwrap().len(), 2 * (round + 1));
        }
        assert_eq!(at(&table, Version::AsOf(0)).unwrap().len(), 0);
        assert!(table.scan().follow(true).at(Version::AsOf(0)).build().is_err());
    }
}

#[test]
fn snapshots_are_made_by_themselves_when_rows_came() {
    let (sim, store, table) = new(create(2).option("snapshot.interval.ms", "1min"));
    store.pump().unwrap();
    assert!(ids(&table).is_empty(), "there is nothing to see");
    upsert(&table, &[(1, 1)]);
    for _ in 0..3 {
        store.pump().unwrap();
        assert_eq!(ids(&table), [1]);
    }
    upsert(&table, &[(2, 2)]);
    store.pump().unwrap();
    assert_eq!(ids(&table), [1], "it is too early");
    sim.advance(std::time::Duration::from_secs(61)).unwrap();
    store.pump().unwrap();
    assert_eq!(ids(&table), [1, 2]);
    assert_eq!(at(&table, Version::Snapshot(2)).unwrap().len(), 2);
    for round in 0..12 {
        upsert(&table, &[(round, 3)]);
        sim.advance(std::time::Duration::from_secs(3600)).unwrap();
        store.pump().unwrap();
    }
    assert_eq!(ids(&table), (5..=14).collect::<Vec<_>>(), "ten are kept however old");
    assert!(store.take_background_failures().is_empty());
}

/// Upserts come in while a snapshot is read and its changes are followed: rows and changes together are all of them, each once.
#[test]
fn changes_go_on_where_rows_end() {
    let scratch = std::env::temp_dir().join(format!("aquifer-hybrid-{}", std::process::id()));
    let store = Store::open(&scratch, Options { memtable_bytes_max: 256 << 10, ..Options::default() }).unwrap();
    let table = store.create_table("t", create(3)).unwrap();
    const KEYS: i64 = 500;
    const ROUNDS: i64 = 60;
    let model = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut writer = table.writer().unwrap();
            for round in 1..=ROUNDS {
                writer.upsert(&rows(&(0..KEYS).map(|key| (key, round)).collect::<Vec<_>>())).unwrap();
            }
        });
        // A consumer of rows first, then of every change, of the table as it is now and at a snapshot.
        let consume = |at_snapshot: bool| {
            let changes = table.changes().rows_first().follow(true);
            let changes =
                if at_snapshot { changes.from_snapshot(Version::Snapshot(table.create_snapshot(None).unwrap().id)) } else { changes };
            let mut scanner = changes.build().unwrap();
            let mut model = Model::new();
            while model.len() < KEYS as usize || model.values().any(|round| *round < ROUNDS) {
                match scanner.next_within(None).unwrap() {
                    Next::Batch(found) => {
                        let ops = found.batch.column_by_name("_op").unwrap().as_string::<i32>();
                        for (row, (key, round)) in values(&found.batch).enumerate() {
                            let before = model.insert(key, round);
                            // Each key is written once a round: a gap or a second time would show.
                            match ops.value(row) {
                                "+I" => assert_eq!(before, None),
                                _ => assert_eq!(before.unwrap_or(0) + 1, round, "key {key}"),
                            }
                        }
                    }
                    Next::Waiting => {}
                    Next::End => panic!("it follows"),
                }
            }
            model
        };
        let consumers: Vec<_> = [false, true, true, false].into_iter().map(|at| scope.spawn(move || consume(at))).collect();
        let models: Vec<Model> = consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect();
        writing.join().unwrap();
        assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
        models.into_iter().next().unwrap()
    });
    let mut scan = table.scan().build().unwrap();
    let mut now = Model::new();
    for found in scan.by_ref() {
        now.extend(values(&found.unwrap().batch));
    }
    assert_eq!(now, model);
    let positions = scan.positions();
    upsert(&table, &[(1, 1000)]);
    let later = table.changes().from_positions(positions.clone()).build().unwrap();
    assert_eq!(later.map(|found| values(&found.unwrap().batch).collect::<Vec<_>>()).collect::<Vec<_>>(), [[(1, 1000)]]);
    let none = table.changes().from_positions(positions.clone()).to_positions(positions).build().unwrap();
    assert_eq!(none.count(), 0);
    drop((scan, table, store));
    std::fs::remove_dir_all(scratch).unwrap();
}

/// Writers send each row to another bucket, one after the other: a snapshot with a row has all rows before it.
#[test]
fn a_snapshot_is_one_moment_of_all_buckets() {
    let scratch = std::env::temp_dir().join(format!("aquifer-cut-{}", std::process::id()));
    let store = Store::open(&scratch, Options::default()).unwrap();
    let table = store.create_table("t", create(8).option("snapshot.num-retained.max", "100")).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut writer = table.writer().unwrap();
            for key in 0..600 {
                writer.upsert(&rows(&[(key, key)])).unwrap();
            }
        });
        while !writing.is_finished() {
            table.create_snapshot(None).unwrap();
        }
    });
    let mut last = 0;
    for id in ids(&table) {
        let found = at(&table, Version::Snapshot(id)).unwrap();
        assert!(found.keys().copied().eq(0..found.len() as i64), "snapshot {id} has a row and not the one before it");
        assert!(found.len() >= last);
        last = found.len();
    }
    drop((table, store));
    std::fs::remove_dir_all(scratch).unwrap();
}

fn golden(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "tests", "golden", "v1", name].iter().collect();
    #[expect(clippy::disallowed_methods, reason = "a golden file is read as it is")]
    std::fs::read(path).unwrap()
}

/// The edits of a golden file, which are written to the same bytes in records of so many, and what they add up to.
fn folded<S: LedgerState>(name: &str, records: &[usize]) -> S {
    let bytes = golden(name);
    let edits = manifest::fold::<S::Edit>(S::KIND, &bytes).unwrap().edits;
    let (mut again, mut rest) = (Vec::new(), edits.as_slice());
    for count in records {
        let (edits, behind) = rest.split_at(*count);
        again.extend(manifest::record(S::KIND, edits).unwrap());
        rest = behind;
    }
    assert!(again == bytes && rest.is_empty(), "the edits of {name} are written to other bytes");
    let mut state = S::default();
    manifest::fold::<S::Edit>(S::KIND, &bytes).unwrap().edits.into_iter().for_each(|edit| state.apply(edit).unwrap());
    let mut once_more = S::default();
    let json = serde_json::to_string(&state.folded()).unwrap();
    once_more.apply(serde_json::from_str(&json).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&once_more.folded()).unwrap(), json, "folded, {name} is the same");
    state
}

#[test]
fn the_page_has_all_edits_of_a_bucket_and_of_a_list() {
    pages::assert_edits::<crate::bucket::manifest::Edit>("manifest.md", "## Edits of a bucket");
    pages::assert_edits::<Edit>("manifest.md", "## Edits of a list of snapshots");
    let longest = pages::bytes(FILE_BYTES_MAX);
    let said = [
        format!("a bucket's manifest (kind {})", State::KIND),
        format!("list of snapshots ({})", List::KIND),
        format!("offsets from 2^{} on, files longer than {longest}", OFFSETS_END.ilog2()),
    ];
    pages::assert_says("manifest.md", &said);
}

#[test]
fn edits_of_snapshots_are_read_and_written_as_ever() {
    let state: State = folded("manifest_snapshots.bin", &[2, 1, 1, 1, 1, 1]);
    let kept = |id: u64| state.kept.get(&id).map(|kept| (kept.runs.iter().map(|run| run.id).collect::<Vec<_>>(), kept.end_offset));
    assert_eq!((kept(1), kept(2), kept(3)), (Some((vec![5], 12)), None, Some((vec![7], 20))));
    assert!(state.keeps_run(5) && !state.has_run(6) && state.runs.len() == 1);
    let list: List = folded("snapshots.bin", &[1, 2, 1, 1, 1, 1]);
    assert_eq!((list.last_id, list.snapshots.len(), list.tags_of(2)), (3, 2, vec!["monday \u{e4}".to_string()]));
    assert_eq!(list.find(&Version::AsOf(1_767_225_719_999)).unwrap().merge["merge-engine"], "first-row");
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Flush,
    Compact(bool),
    Snapshot(bool),
    Untag,
    Expire(u16),
    Reopen,
    Pump,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => proptest::collection::vec(any::<(u8, Option<u8>)>(), 1..80).prop_map(Step::Write),
        1 => Just(Step::Flush),
        2 => any::<bool>().prop_map(Step::Compact),
        3 => any::<bool>().prop_map(Step::Snapshot),
        1 => Just(Step::Untag),
        1 => any::<u16>().prop_map(Step::Expire),
        1 => Just(Step::Reopen),
        1 => Just(Step::Pump),
    ];
    proptest::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_in_the_list_reads_as_it_was(steps in steps(), buckets in 1_u32..3) {
        let options = create(buckets).option("snapshot.num-retained.min", "2").option("snapshot.num-retained.max", "5");
        let (sim, mut store, _) = new(options);
        let mut model = Model::new();
        let mut copies: BTreeMap<u64, Model> = BTreeMap::new();
        for step in steps {
            let table = store.table("t").unwrap();
            match step {
                Step::Write(changes) => {
                    let batch: Vec<_> = changes.iter().map(|(key, value)| (i64::from(*key), i64::from(value.unwrap_or(0)))).collect();
                    let kind = |value: &Option<u8>| if value.is_some() { ChangeType::UpdateAfter } else { ChangeType::Delete };
                    let kinds: Vec<_> = changes.iter().map(|(_, value)| kind(value)).collect();
                    table.writer().unwrap().apply(&rows(&batch), &kinds).unwrap();
                    for (key, value) in &changes {
                        match value {
                            Some(value) => _ = model.insert(i64::from(*key), i64::from(*value)),
                            None => _ = model.remove(&i64::from(*key)),
                        }
                    }
                }
                Step::Flush => store.flush("t").unwrap(),
                Step::Compact(full) => store.compact("t", full).unwrap(),
                Step::Snapshot(has_tag) => {
                    let tag = has_tag.then(|| format!("tag-{}", copies.len()));
                    copies.insert(table.create_snapshot(tag.as_deref()).unwrap().id, model.clone());
                }
                Step::Untag => {
                    let tag = table.snapshots().unwrap().iter().flat_map(|snapshot| snapshot.tags.clone()).next();
                    if let Some(tag) = tag {
                        table.delete_tag(&tag).unwrap();
                    }
                }
                Step::Expire(seconds) => {
                    sim.advance(std::time::Duration::from_secs(u64::from(seconds))).unwrap();
                    store.expire("t").unwrap();
                }
                Step::Reopen => {
                    store.close().unwrap();
                    store = open(&sim);
                }
                Step::Pump => store.pump().unwrap(),
            }
        }
        let listed = ids(&store.table("t").unwrap());
        for table in [store.table("t").unwrap(), outside(&sim)] {
            for id in copies.keys() {
                match at(&table, Version::Snapshot(*id)) {
                    Ok(found) => prop_assert_eq!(&found, &copies[id], "snapshot {}", id),
                    Err(error) => prop_assert!(error.kind() == Kind::NotFound && !listed.contains(id), "snapshot {}: {}", id, error),
                }
            }
            prop_assert!(listed.iter().all(|id| copies.contains_key(id)));
            // From any of them, changes lead to what is there now.
            for id in &listed {
                let mut found = Model::new();
                for batch in table.changes().rows_first().from_snapshot(Version::Snapshot(*id)).build().unwrap() {
                    apply(&mut found, &batch.unwrap().batch);
                }
                prop_assert_eq!(&found, &model);
            }
        }
        let problems = store.verify(None, &mut |_| {}).unwrap().problems;
        prop_assert!(problems.is_empty(), "{:?}", problems);
        // Or the next open would merge what is due.
        store.compact("t", false).unwrap();
        store.close().unwrap();
        let store = open(&sim);
        let runs_before = run_files(&sim, Path::new(DIR)).len();
        store.settle().unwrap();
        prop_assert_eq!(run_files(&sim, Path::new(DIR)).len(), runs_before, "no run is left behind");
    }
}
