//! Damage in several places of one file, as a user meets it: `verify` lists every place, an error says where the next rows are, and they are read from there.

use std::ops::Range;
use std::path::{Path, PathBuf};

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Next, Options, Start, Store, VerifyReport};

use crate::program::Place;
use crate::{rows, scratch};

/// Rows of a small batch, and of a large one.
const SMALL: i64 = 500;
const LARGE: i64 = 10_000;

/// A table whose rows have their offsets as numbers, in batches of so many, in small segments.
fn write(dir: &Path, batch_rows: i64, rows_in_all: i64) {
    let store = scratch::open(dir);
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for first in (0..rows_in_all).step_by(batch_rows as usize) {
        writer.append(&rows::batch(first..first + batch_rows)).unwrap();
    }
    drop((writer, table));
    store.close().unwrap();
}

/// Where in a segment the name of a row stands.
fn find(dir: &Path, number: i64) -> (PathBuf, usize) {
    let names = format!("{}{}{}", rows::name_of(number - 1), rows::name_of(number), rows::name_of(number + 1));
    for path in scratch::files(&dir.join("tables"), ".log") {
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(names.len()).position(|window| window == names.as_bytes()) {
            return (path, at);
        }
    }
    panic!("row {number} lies in no segment");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn flip_rows(dir: &Path, numbers: &[i64]) {
    for number in numbers {
        let (path, at) = find(dir, *number);
        flip(&path, at);
    }
}

/// Turns a bit in the head of the frame that a row is in.
fn flip_head(dir: &Path, number: i64, at_in_head: usize) {
    let (path, at) = find(dir, number);
    let bytes = std::fs::read(&path).unwrap();
    let frame = (0..=at / 4096).rev().map(|block| block * 4096).find(|start| bytes[*start..].starts_with(b"AQFR")).unwrap();
    flip(&path, frame + at_in_head);
}

fn verify(store: &Store) -> VerifyReport {
    store.verify(None, &mut |_| {}).unwrap()
}

/// The rows that `verify` says are damaged.
fn damaged(report: &VerifyReport) -> Vec<Range<u64>> {
    report.problems.iter().map(|problem| problem.offset.unwrap()..problem.next_offset.unwrap_or(0)).collect()
}

/// The rows that are read from an offset on, going on behind each damage where the error says.
fn read_on(store: &Store, from: i64) -> Vec<Range<i64>> {
    let mut read = Vec::new();
    let mut next = from;
    loop {
        let start = next;
        let mut scanner = store.table("t").unwrap().scan().start(Start::Offset(start as u64)).build().unwrap();
        let error = loop {
            match scanner.next_within(None) {
                Ok(Next::Batch(found)) => {
                    rows::check_offsets(&found);
                    assert_eq!(found.first_offset as i64, next);
                    next = found.next_offset as i64;
                }
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        read.push(start..next);
        let Some(error) = error else { return read };
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        let said = error.context().find(|(name, _)| *name == "next_offset");
        let behind: i64 = said.unwrap_or_else(|| panic!("it says where rows go on: {error}")).1.parse().unwrap();
        assert!(error.to_string().contains(&format!("`aquifer tail t --from offset:{behind}`")), "{error}");
        assert!(behind > next, "{error}");
        next = behind;
    }
}

#[test]
fn every_damaged_batch_of_a_segment_is_listed_and_rows_between_are_read() {
    for batch_rows in [SMALL, LARGE] {
        let dir = scratch::directory();
        // Enough for a segment that is sealed.
        let batches_in_all = if batch_rows == SMALL { 150 } else { 40 };
        let all = batches_in_all * batch_rows;
        write(dir.path(), batch_rows, all);
        let batches = [5, 6, 8, 9, 10];
        flip_rows(dir.path(), &batches.map(|batch| batch * batch_rows + 7));
        let expected: Vec<Range<u64>> =
            batches.iter().map(|batch| (batch * batch_rows) as u64..((batch + 1) * batch_rows) as u64).collect();
        for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
            let report = verify(&store);
            assert_eq!(damaged(&report), expected, "{:?}", report.problems);
            assert_eq!((report.damaged, report.batches, report.rows as i64), (5, batches_in_all as u64 - 5, all - 5 * batch_rows));
            assert!(report.problems.iter().all(|problem| problem.position.is_some_and(|position| position % 4096 == 0)), "{report:?}");
            let pieces = read_on(&store, 0).into_iter().filter(|piece| !piece.is_empty());
            assert_eq!(
                pieces.collect::<Vec<_>>(),
                [0..5, 7..8, 11..batches_in_all].map(|piece| piece.start * batch_rows..piece.end * batch_rows)
            );
        }
    }
}

#[test]
fn the_batches_of_a_frame_are_judged_one_by_one() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
        let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
        // They come faster than they are written, so that many share a frame.
        (0..20_000).for_each(|batch| writer.send(&rows::batch(batch * 3..batch * 3 + 3)).unwrap());
        writer.flush().unwrap();
    }
    let damaged_batches = [30, 31, 47, 48, 49, 1_000];
    flip_rows(dir.path(), &damaged_batches.map(|batch| batch * 3 + 1));
    let store = scratch::follow(dir.path());
    let report = verify(&store);
    let expected: Vec<Range<u64>> =
        damaged_batches.iter().map(|batch| batch * 3..batch * 3 + 3).map(|rows| rows.start as u64..rows.end as u64).collect();
    assert_eq!(damaged(&report), expected, "{:?}", report.problems);
    assert!((report.batches, report.rows) == (19_994, 59_982) && report.segments > 1, "{report:?}");
    assert!(report.bytes < 10_000 * 4096, "many share a frame: {report:?}");
    let pieces: Vec<_> = read_on(&store, 0).into_iter().filter(|piece| !piece.is_empty()).collect();
    assert_eq!(pieces, [0..90, 96..141, 150..3_000, 3_003..60_000]);
}

#[test]
fn the_batches_behind_a_damaged_head_are_found() {
    // Its magic, its version, its length, its segment, its first offset, its epoch, its checksum.
    for at_in_head in [0, 5, 9, 17, 25, 33, 49] {
        let dir = scratch::directory();
        write(dir.path(), SMALL, 150 * SMALL);
        flip_head(dir.path(), 12 * SMALL + 7, at_in_head);
        flip_rows(dir.path(), &[14 * SMALL + 7]);
        let store = scratch::follow(dir.path());
        let report = verify(&store);
        assert_eq!(damaged(&report), [6_000..6_500, 7_000..7_500], "{at_in_head}: {:?}", report.problems);
        assert_eq!(report.rows, 74_000);
        if at_in_head != 5 {
            assert_eq!(read_on(&store, 100), [100..6_000, 6_500..7_000, 7_500..75_000], "{at_in_head}");
        }
    }
}

#[test]
fn a_user_reads_behind_damage() {
    let dir = scratch::directory();
    write(dir.path(), SMALL, 150 * SMALL);
    flip_rows(dir.path(), &[3_210, 5_001]);
    let place = Place::new(dir.path());
    let told = place.fails(5, "scan t --columns number --output csv");
    assert!(told.contains("offset 3000, next_offset 3500") && told.contains("`aquifer tail t --from offset:3500`"), "{told}");
    let first = place.run("tail t --from offset:3500 --columns number --output csv");
    let printed = String::from_utf8(first.stdout).unwrap();
    let numbers = |printed: &str| -> Vec<i64> { printed.lines().skip(1).map(|line| line.parse().unwrap()).collect() };
    rows::assert_range(&numbers(&printed), 3_500..5_000);
    assert!(String::from_utf8(first.stderr).unwrap().contains("--from offset:5500"));
    rows::assert_range(&numbers(&place.done("tail t --from offset:5500 --columns number --output csv")), 5_500..75_000);

    let listed = place.run("verify --output table");
    assert_eq!(listed.status.code(), Some(5));
    let (table, said) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    let file = find(dir.path(), 100).0.strip_prefix(dir.path()).unwrap().display().to_string();
    assert_eq!(table.matches(&file).count(), 2, "whole names: {table}");
    assert!(table.lines().next().unwrap().starts_with("table  partition  bucket  file"), "{table}");
    assert!(said.contains("2 problems beside 74000 good rows in 1 buckets"), "{said}");
}

#[test]
fn more_damage_than_anybody_reads_is_counted() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let mut writer =
            store.create_table("t", CreateTable::like(rows::schema()).option("segment.bytes", "1MiB")).unwrap().writer().unwrap();
        (0..600).for_each(|number| _ = writer.append(&rows::batch(number..number + 1)).unwrap());
    }
    let segment = scratch::files(&dir.path().join("tables"), ".index").remove(0).with_extension("log");
    let mut bytes = std::fs::read(&segment).unwrap();
    // Rows 0 to 149, in a frame of one block each; the batch ends within the first 2 KiB.
    (0..150).for_each(|frame| bytes[frame * 4096 + 200] ^= 1);
    std::fs::write(&segment, bytes).unwrap();
    let report = verify(&scratch::follow(dir.path()));
    assert_eq!((report.damaged, report.problems.len(), report.rows), (150, 101, 450));
    let last = report.problems.last().unwrap();
    assert!(last.offset == Some(100) && last.what.starts_with("and 50 more in this file"), "{last:?}");
}

#[test]
fn what_reads_and_checks_find_is_counted_and_shown_to_others() {
    let dir = scratch::directory();
    write(dir.path(), SMALL, 150 * SMALL);
    flip_rows(dir.path(), &[3_210, 5_001, 9_001]);
    let store = scratch::open(dir.path());
    let count = |store: &Store| store.stats(None).unwrap()[0].damaged;
    let shown = || {
        let metrics = Place::new(dir.path()).done("metrics");
        let line = metrics.lines().find(|line| line.starts_with("aquifer_damaged{")).unwrap().to_string();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(count(&store), 0);
    assert!(store.table("t").unwrap().scan().build().unwrap().any(|found| found.is_err()));
    assert_eq!(count(&store), 1);
    assert!(store.table("t").unwrap().scan().build().unwrap().any(|found| found.is_err()));
    assert_eq!(count(&store), 1, "the same again");
    rows::eventually("the page", || (shown() == 1).then_some(()));
    verify(&store);
    assert_eq!(count(&store), 3);
    let reader = scratch::follow(dir.path());
    assert_eq!(verify(&reader).damaged, 3);
    assert_eq!(count(&reader), 3, "its own");
    rows::eventually("the page", || (shown() == 3).then_some(()));
    let told = String::from_utf8(Place::new(dir.path()).run("stats t --output csv").stderr).unwrap();
    assert!(told.contains("damaged: table t, bucket 0: 3 places"), "{told}");
}

/// A table with a primary key whose rows are in `runs` runs.
fn write_runs(dir: &Path, runs: i64, keys: i64) -> Store {
    let store = Store::open(dir, Options::default()).unwrap();
    let create = CreateTable::like(rows::schema()).primary_key(&["number"]).option("write-only", "true");
    let table = store.create_table("t", create).unwrap();
    for _ in 0..runs {
        table.writer().unwrap().upsert(&rows::batch(0..keys)).unwrap();
        store.flush("t").unwrap();
    }
    store
}

#[test]
fn every_damaged_block_of_a_run_is_listed() {
    let dir = scratch::directory();
    write_runs(dir.path(), 1, 50_000).close().unwrap();
    let run = scratch::files(&dir.path().join("tables"), ".run").remove(0);
    let bytes = std::fs::metadata(&run).unwrap().len() as usize;
    assert!(bytes > 1 << 20, "{bytes}");
    // They are read 16 at a time; each has about 16 KiB.
    for at in [100_000, 300_000, 330_000, 700_000] {
        flip(&run, at);
    }
    let store = scratch::follow(dir.path());
    assert!(store.table("t").unwrap().scan().build().unwrap().any(|found| found.is_err()));
    assert_eq!(store.stats(None).unwrap()[0].damaged, 1, "what a read met");
    let report = verify(&store);
    assert_eq!((report.damaged, report.runs, report.rows, report.changes), (4, 1, 0, 50_000), "{report:?}");
    assert!((40_000..50_000).contains(&report.run_rows), "what is good is counted: {report:?}");
    let name = run.file_name().unwrap().to_str().unwrap();
    for problem in &report.problems {
        assert!(problem.file.as_ref().is_some_and(|file| file.ends_with(name)) && problem.what.contains("block "), "{problem:?}");
    }
    let positions: Vec<u64> = report.problems.iter().map(|problem| problem.position.unwrap()).collect();
    assert!(positions.is_sorted() && positions[0] <= 100_000 && positions[3] <= 700_000, "{positions:?}");
    assert_eq!(store.stats(None).unwrap()[0].damaged, 4);
    let place = Place::new(dir.path());
    let table = String::from_utf8(place.run("verify --output table").stdout).unwrap();
    assert_eq!(table.matches(run.strip_prefix(dir.path()).unwrap().to_str().unwrap()).count(), 4, "{table}");
    let told = place.fails(5, "scan t --output csv");
    assert!(told.contains(name) && told.contains("other keys can be read; `aquifer verify` lists everything that is damaged"), "{told}");
}

#[test]
fn runs_beside_one_whose_index_is_damaged_are_checked() {
    let dir = scratch::directory();
    write_runs(dir.path(), 3, 20_000).close().unwrap();
    let runs = scratch::files(&dir.path().join("tables"), ".run");
    // The index stands at the end.
    let bytes = std::fs::metadata(&runs[0]).unwrap().len() as usize;
    flip(&runs[0], bytes - 10_000);
    flip(&runs[2], 100_000);
    let report = verify(&scratch::follow(dir.path()));
    let named =
        |run: &PathBuf| report.problems.iter().filter(|problem| problem.file.as_ref().is_some_and(|file| Path::new(file) == run)).count();
    assert_eq!((named(&runs[0]), named(&runs[1]), named(&runs[2]), report.problems.len()), (1, 0, 1, 2), "{:?}", report.problems);
    assert_eq!(report.runs, 2);
}

#[test]
fn runs_that_were_replaced_a_moment_ago_are_removed_when_the_store_is_closed() {
    let dir = scratch::directory();
    let store = write_runs(dir.path(), 9, 20_000);
    let merged = || store.stats(None).unwrap()[0].tree.as_ref().is_some_and(|tree| tree.runs < 9);
    // From now on runs are merged in the background.
    store.alter_table("t", &[aquifer_node::store::Change::reset_option("write-only")]).unwrap();
    store.table("t").unwrap().writer().unwrap().upsert(&rows::batch(0..10)).unwrap();
    rows::eventually("a compaction", || merged().then_some(()));
    let known = store.stats(None).unwrap()[0].tree.as_ref().unwrap().runs;
    store.close().unwrap();
    assert_eq!(scratch::files(&dir.path().join("tables"), ".run").len(), known);
    assert_eq!(verify(&scratch::follow(dir.path())).notes, []);
}
