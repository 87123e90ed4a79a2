//! Bytes on the device change: the reader is told where, rows before it are read, `verify` finds it, and nothing is thrown away on top.

use std::path::{Path, PathBuf};

use aquifer_node::store::{CreateTable, Next, Start, Store};
use aquifer_node::{Error, Kind};

use crate::program::Place;
use crate::{rows, scratch};

const BATCH_ROWS: i64 = 500;

/// A table of `batches` batches in small segments; the number of a row is its offset.
fn write(dir: &Path, batches: i64) {
    let store = scratch::open(dir);
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for batch in 0..batches {
        writer.append(&rows::batch(batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS)).unwrap();
    }
    drop((writer, table));
    store.close().unwrap();
}

/// Turns a bit in the name of row `number`; returns the file.
fn flip_in_row(dir: &Path, number: i64) -> PathBuf {
    let name = rows::name_of(number);
    let before_and_after = format!("{}{name}{}", rows::name_of(number - 1), rows::name_of(number + 1));
    for path in scratch::files(&dir.join("tables"), ".log") {
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(before_and_after.len()).position(|window| window == before_and_after.as_bytes());
        if let Some(at) = found {
            bytes[at + rows::name_of(number - 1).len() + 1] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("row {number} lies in no segment");
}

/// Rows of a scan up to its error.
fn read_until_error(store: &Store, start: Start) -> (Vec<i64>, Option<Error>) {
    let mut numbers = Vec::new();
    let mut scanner = store.table("t").unwrap().scan().start(start).build().unwrap();
    loop {
        match scanner.next_within(None) {
            Ok(Next::Batch(found)) => {
                rows::check_offsets(&found);
                numbers.extend(rows::numbers_in(&found.batch));
            }
            Ok(_) => return (numbers, None),
            Err(error) => return (numbers, Some(error)),
        }
    }
}

/// Everything that a reader and `verify` should say about damage in the batch of row `number`, in `segment`.
fn check(store: &Store, number: i64, segment: &Path) {
    let first_lost = number / BATCH_ROWS * BATCH_ROWS;
    let (numbers, error) = read_until_error(store, Start::Earliest);
    let error = error.expect("damage is an error");
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let segment = segment.file_name().unwrap().to_str().unwrap();
    for said in [segment, &format!("offset {first_lost}"), "table t", "bucket 0"] {
        assert!(error.to_string().contains(said), "it says {said}: {error}");
    }
    rows::assert_range(&numbers, 0..first_lost);

    let report = store.verify(None, &mut |_| {}).unwrap();
    assert!(!report.problems.is_empty(), "verify finds it");
    let problem = &report.problems[0];
    assert_eq!((problem.table.as_str(), problem.bucket, problem.offset), ("t", Some(0), Some(first_lost as u64)), "{problem:?}");
    assert!(problem.file.as_ref().is_some_and(|found| found.ends_with(segment)), "{problem:?}");
}

#[test]
fn in_a_sealed_segment() {
    let dir = scratch::directory();
    write(dir.path(), 150);
    let segment = flip_in_row(dir.path(), 20_777);
    check(&scratch::follow(dir.path()), 20_777, &segment);
    let store = scratch::open(dir.path());
    check(&store, 20_777, &segment);
    check(&scratch::follow(dir.path()), 20_777, &segment);
    let (numbers, error) = read_until_error(&store, Start::Offset(21_000));
    assert!(error.is_none(), "rows behind it are read: {error:?}");
    rows::assert_range(&numbers, 21_000..75_000);
    store.table("t").unwrap().writer().unwrap().append(&rows::batch(75_000..75_010)).unwrap();
    let report = store.verify(Some("t"), &mut |_| {}).unwrap();
    assert_eq!(report.problems.len(), 1, "only that: {:?}", report.problems);
}

#[test]
fn in_the_segment_in_use() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    let segment = flip_in_row(dir.path(), 3_210);
    let size = std::fs::metadata(&segment).unwrap().len();
    check(&scratch::follow(dir.path()), 3_210, &segment);
    let told = String::from_utf8(Place::new(dir.path()).run("verify --output csv").stdout).unwrap();
    assert!(told.contains("rows 3000 to 5999 were acknowledged and cannot be read"), "what is lost behind: {told}");
    assert!(told.contains("scan them into another table") && told.contains("takes no new rows"), "what to do: {told}");
    for _ in 0..2 {
        let store = scratch::open(dir.path());
        check(&store, 3_210, &segment);
        let error = store.table("t").unwrap().writer().unwrap().append(&rows::batch(0..1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "new rows would hide the gap: {error}");
        check(&scratch::follow(dir.path()), 3_210, &segment);
    }
    assert_eq!(std::fs::metadata(&segment).unwrap().len(), size, "the rows behind it may still be rescued");
    assert!(holds_row(&segment, 5_900), "the rows behind it may still be rescued");
}

#[test]
fn in_a_full_segment_that_the_manifest_does_not_know_as_sealed() {
    let dir = scratch::directory();
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let mut worker = crate::child::start("fill", &[dir.path().to_str().unwrap()]);
    assert_eq!(create.buckets, 1);
    while worker.hears().expect("it appends").parse::<i64>().unwrap() < 60_000 {}
    worker.kill();
    drop(rows::eventually("the lock", || Store::open_read_only(dir.path(), Default::default()).ok()));
    let last = scratch::files(&dir.path().join("tables"), ".log").len();
    assert!(last >= 2, "several segments: {last}");
    let segment = flip_in_row(dir.path(), 55_555);
    check(&scratch::follow(dir.path()), 55_555, &segment);
    let store = rows::eventually("the lock", || Store::open(dir.path(), Default::default()).ok());
    check(&store, 55_555, &segment);
    drop(store);
    check(&scratch::open(dir.path()), 55_555, &segment);
    assert!(scratch::files(&dir.path().join("tables"), ".log").iter().any(|path| holds_row(path, 59_000)), "nothing is thrown away on top");
}

/// A child's job: fills segments without end.
pub(crate) fn fill(dir: &str) {
    let store = scratch::open(Path::new(dir));
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    loop {
        writer.append(&rows::batch(next..next + BATCH_ROWS)).unwrap();
        next += BATCH_ROWS;
        crate::child::say(next);
    }
}

fn holds_row(segment: &Path, number: i64) -> bool {
    let text = format!("{}{}", rows::name_of(number), rows::name_of(number + 1));
    std::fs::read(segment).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_lost_or_torn_index_is_made_again() {
    let dir = scratch::directory();
    write(dir.path(), 250);
    let indices = scratch::files(&dir.path().join("tables"), ".index");
    assert!(indices.len() >= 3, "{} sealed segments", indices.len());
    let whole = std::fs::read(&indices[1]).unwrap();
    std::fs::remove_file(&indices[0]).unwrap();
    std::fs::write(&indices[1], &whole[..whole.len() / 2]).unwrap();
    std::fs::write(&indices[2], b"").unwrap();
    for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
        let (numbers, error) = read_until_error(&store, Start::Earliest);
        assert!(error.is_none(), "{error:?}");
        rows::assert_range(&numbers, 0..125_000);
        assert_eq!(read_until_error(&store, Start::Timestamp(1)).0.len(), 125_000);
        // One that is missing is no damage.
        let told: Vec<_> = store.verify(None, &mut |_| {}).unwrap().problems.into_iter().map(|problem| problem.file.unwrap()).collect();
        assert_eq!(told, indices[1..3].iter().map(|index| index.with_extension("log").display().to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_segment_is_named() {
    let dir = scratch::directory();
    write(dir.path(), 150);
    let segments = scratch::files(&dir.path().join("tables"), ".log");
    std::fs::remove_file(&segments[1]).unwrap();
    let store = scratch::open(dir.path());
    let (numbers, error) = read_until_error(&store, Start::Earliest);
    let error = error.expect("a lost segment is an error");
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains(segments[1].file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(!numbers.is_empty(), "rows before it are read");
    let problems = store.verify(None, &mut |_| {}).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].offset, Some(numbers.len() as u64));
}

#[test]
fn a_lost_segment_in_use_is_named() {
    for promises_are_known in [true, false] {
        let dir = scratch::directory();
        write(dir.path(), 150);
        {
            let sound = scratch::open(dir.path());
            let mut writer = sound.create_table("u", CreateTable::like(rows::schema())).unwrap().writer().unwrap();
            writer.append(&rows::batch(0..10)).unwrap();
        }
        let segments = scratch::files(&dir.path().join("tables/0"), ".log");
        let is_sealed = |path: &&PathBuf| path.with_extension("index").exists();
        let sealed = segments.iter().filter(is_sealed).count();
        assert!(sealed >= 2 && sealed < segments.len(), "{sealed} of {}", segments.len());
        segments.iter().filter(|path| !is_sealed(path)).for_each(|path| std::fs::remove_file(path).unwrap());
        if !promises_are_known {
            std::fs::remove_file(dir.path().join("commit.page")).unwrap();
        }
        let check = |store: &Store| {
            let (numbers, error) = read_until_error(store, Start::Earliest);
            let error = error.expect("a lost segment is an error");
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            assert!(numbers.len() > 20_000, "rows before it are read: {}", numbers.len());
            rows::assert_range(&numbers, 0..numbers.len() as i64);
            let report = store.verify(None, &mut |_| {}).unwrap();
            let problem = &report.problems[0];
            let named =
                |path: &PathBuf| problem.file.as_ref().is_some_and(|found| found.ends_with(path.file_name().unwrap().to_str().unwrap()));
            assert!(segments.iter().any(|path| !path.exists() && named(path)), "{problem:?}");
            assert_eq!((problem.offset, report.buckets), (Some(numbers.len() as u64), 2), "{problem:?}");
            assert_eq!(report.rows, numbers.len() as u64 + 10, "the others are checked");
            let is_told = problem.what.contains(&format!("rows_lost {} to 74999", numbers.len()));
            assert_eq!(is_told, promises_are_known, "{problem:?}");
        };
        if promises_are_known {
            check(&scratch::follow(dir.path()));
        }
        let store = scratch::open(dir.path());
        check(&store);
        let refused = store.table("t").unwrap().writer().unwrap().append(&rows::batch(0..1)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt, "new rows would hide the gap: {refused}");
        check(&scratch::follow(dir.path()));
    }
}

#[test]
fn a_bucket_that_cannot_be_opened_is_a_problem_beside_others() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    let manifest = scratch::files(&dir.path().join("tables"), "manifest").remove(0);
    std::fs::remove_file(&manifest).unwrap();
    std::fs::create_dir(&manifest).unwrap();
    let report = scratch::follow(dir.path()).verify(None, &mut |_| {}).unwrap();
    assert_eq!((report.problems.len(), report.buckets), (1, 1), "{:?}", report.problems);
}

#[test]
fn a_lost_manifest_is_damage_when_rows_were_acknowledged() {
    for (what, is_dir) in [("manifest", false), ("b0", true)] {
        let dir = scratch::directory();
        write(dir.path(), 12);
        let bucket = scratch::files(&dir.path().join("tables"), "manifest").remove(0).parent().unwrap().to_path_buf();
        if is_dir {
            std::fs::remove_dir_all(&bucket).unwrap()
        } else {
            std::fs::remove_file(bucket.join("manifest")).unwrap()
        }
        for _ in 0..2 {
            for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
                let (numbers, error) = read_until_error(&store, Start::Earliest);
                assert_eq!((numbers.len(), error.map(|error| error.kind())), (0, Some(Kind::Corrupt)), "{what}");
                let report = store.verify(None, &mut |_| {}).unwrap();
                assert_eq!(report.problems.len(), 1, "{what}: {:?}", report.problems);
                if let Ok(mut writer) = store.table("t").unwrap().writer() {
                    assert_eq!(writer.append(&rows::batch(0..1)).unwrap_err().kind(), Kind::Corrupt, "{what}");
                    assert!(!bucket.join("manifest").exists(), "nothing is made in its place");
                }
            }
        }
    }
}

#[test]
fn a_segment_that_was_cut_gives_the_rows_before_the_cut() {
    let dir = scratch::directory();
    write(dir.path(), 150);
    let segment = scratch::files(&dir.path().join("tables"), ".log").remove(0);
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(300_000).unwrap();
    for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
        let (numbers, error) = read_until_error(&store, Start::Earliest);
        let problems = store.verify(None, &mut |_| {}).unwrap().problems;
        assert_eq!(error.map(|error| error.kind()), Some(Kind::Corrupt));
        assert!(!numbers.is_empty() && problems[0].offset == Some(numbers.len() as u64), "{} rows, {problems:?}", numbers.len());
    }
}

#[test]
fn a_damaged_manifest_loses_no_segment() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    let manifest = scratch::files(&dir.path().join("tables"), "manifest").remove(0);
    let mut bytes = std::fs::read(&manifest).unwrap();
    let sound = bytes.clone();
    let at = bytes.windows(10).position(|window| window == b"segment_id").expect("an edit");
    bytes[at] ^= 1;
    std::fs::write(&manifest, &bytes).unwrap();
    {
        let store = scratch::open(dir.path());
        let error = store.table("t").unwrap().writer().and_then(|mut writer| writer.append(&rows::batch(0..1))).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(!store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    }
    assert!(scratch::files(&dir.path().join("tables"), ".log").iter().any(|path| holds_row(path, 5_000)), "the rows are still there");
    std::fs::write(&manifest, sound).unwrap();
    rows::assert_range(&read_until_error(&scratch::open(dir.path()), Start::Earliest).0, 0..6_000);
}

#[test]
fn a_damaged_catalog_loses_no_table() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    let catalog = dir.path().join("catalog");
    let sound = std::fs::read(&catalog).unwrap();
    let mut bytes = sound.clone();
    let at = bytes.windows(13).position(|window| window == b"table_created").expect("an edit");
    bytes[at] ^= 1;
    std::fs::write(&catalog, &bytes).unwrap();
    let error = Store::open(dir.path(), Default::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(scratch::files(&dir.path().join("tables"), ".log").iter().any(|path| holds_row(path, 5_000)), "the rows are still there");
    std::fs::write(&catalog, sound).unwrap();
    rows::assert_range(&read_until_error(&scratch::open(dir.path()), Start::Earliest).0, 0..6_000);
}

#[test]
fn in_a_large_batch_that_is_read_whole() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let table = store.create_table("t", CreateTable::like(rows::schema()).option("segment.bytes", "1MiB")).unwrap();
        let mut writer = table.writer().unwrap();
        for batch in 0..20 {
            writer.append(&rows::batch(batch * 10_000..(batch + 1) * 10_000)).unwrap();
        }
    }
    let segment = flip_in_row(dir.path(), 15_777);
    for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
        let (numbers, error) = read_until_error(&store, Start::Earliest);
        let error = error.expect("damage is an error");
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.to_string().contains(segment.file_name().unwrap().to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("offset 10000"), "{error}");
        rows::assert_range(&numbers, 0..10_000);
        assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems[0].offset, Some(10_000));
        // The column beside it is sound.
        let sound = store.table("t").unwrap().scan().columns(&["number"]).build().unwrap();
        rows::assert_range(&rows::numbers(sound), 0..200_000);
    }
}

#[test]
fn of_one_column_in_a_large_batch() {
    const ROWS: i64 = 20_000;
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "2MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for batch in 0..8 {
        writer.append(&rows::batch(batch * ROWS..(batch + 1) * ROWS)).unwrap();
    }
    drop((writer, table));
    store.close().unwrap();
    assert!(!scratch::files(&dir.path().join("tables"), ".index").is_empty(), "some are sealed");
    // One in a sealed segment, one in that in use.
    for (number, first_lost) in [(150_001, 140_000), (25_001, 20_000)] {
        let segment = flip_number(dir.path(), number);
        for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
            let mut scanner = store.table("t").unwrap().scan().columns(&["number"]).build().unwrap();
            let mut seen = Vec::new();
            let error = loop {
                match scanner.next_within(None) {
                    Ok(Next::Batch(found)) => seen.extend(rows::numbers_in(&found.batch)),
                    Ok(_) => panic!("damage of row {number} is not seen"),
                    Err(error) => break error,
                }
            };
            rows::assert_range(&seen, 0..first_lost);
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            let segment = segment.file_name().unwrap().to_str().unwrap();
            for said in [segment, &format!("offset {first_lost}"), "table t", "bucket 0"] {
                assert!(error.to_string().contains(said), "it says {said}: {error}");
            }
            // What was not damaged is read.
            let halves = store.table("t").unwrap().scan().columns(&["half"]).start(Start::Earliest).build().unwrap();
            let count: usize = halves.map_while(|found| found.ok().map(|found| found.batch.num_rows())).sum();
            assert!(count as i64 >= first_lost, "{count} rows");
        }
    }
}

/// Turns a bit in the number of row `number`; returns the file.
fn flip_number(dir: &Path, number: i64) -> PathBuf {
    let three: Vec<u8> = (number - 1..number + 2).flat_map(i64::to_le_bytes).collect();
    for path in scratch::files(&dir.join("tables"), ".log") {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(three.len()).position(|window| window == three) {
            bytes[at + 8] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("row {number} lies in no segment");
}

#[test]
fn in_the_directory_of_a_segment() {
    let dir = scratch::directory();
    write(dir.path(), 150);
    let index = scratch::files(&dir.path().join("tables"), ".index").remove(0);
    let whole = std::fs::read(&index).unwrap();
    let problems = |store: Store| store.verify(None, &mut |_| {}).unwrap().problems;
    assert_eq!(problems(scratch::follow(dir.path())), []);
    let mut broken = whole.clone();
    broken[whole.len() / 2] ^= 1;
    for damaged in [broken, vec![0; whole.len()], whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&index, damaged).unwrap();
        for store in [scratch::follow(dir.path()), scratch::open(dir.path())] {
            let found = problems(store.clone());
            assert_eq!(found.len(), 1, "{found:?}");
            let name = index.file_stem().unwrap().to_str().unwrap();
            assert!(found[0].file.as_ref().is_some_and(|segment| segment.contains(name)), "{found:?}");
            rows::assert_range(&rows::numbers(store.table("t").unwrap().scan().build().unwrap()), 0..75_000);
        }
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(problems(scratch::follow(dir.path())), [], "it can be made again");
    std::fs::write(&index, whole).unwrap();
    assert_eq!(problems(scratch::open(dir.path())), []);
}

#[test]
fn what_a_crash_left_is_noted_and_no_damage() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    let check = |store: Store| store.verify(None, &mut |_| {}).unwrap();
    assert_eq!(check(scratch::follow(dir.path())).notes, []);
    let manifest = scratch::files(&dir.path().join("tables"), "manifest").remove(0);
    let sound = std::fs::read(&manifest).unwrap();
    let sound_page = dir.path().join("commit.page").metadata().unwrap().len();
    let torn = [&sound[..], &sound[..21]].concat();
    std::fs::write(&manifest, torn).unwrap();
    for name in ["00000007000000ff.log", "00000007000000fe.run"] {
        std::fs::write(manifest.with_file_name(name), [1; 100]).unwrap();
    }
    let report = check(scratch::follow(dir.path()));
    assert_eq!((report.problems.len(), report.rows), (0, 6_000), "{:?}", report.problems);
    let mut noted: Vec<_> = report.notes.iter().map(|note| (note.file.rsplit('/').next().unwrap(), note.bytes)).collect();
    noted.sort();
    assert_eq!(noted, [("00000007000000fe.run", 100), ("00000007000000ff.log", 100), ("manifest", 21)]);
    assert!(report.notes.iter().all(|note| (note.table.as_str(), note.bucket) == ("t", Some(0))), "{:?}", report.notes);

    let printed = Place::new(dir.path()).run("verify --output table");
    let told = String::from_utf8(printed.stderr).unwrap();
    assert!(printed.status.success() && told.matches("note: ").count() == 3 && told.contains("bytes 21"), "{told}");

    {
        let store = scratch::open(dir.path());
        assert_eq!(check(scratch::follow(dir.path())).notes, [], "it may be at work");
        store.table("t").unwrap().writer().unwrap().append(&rows::batch(6_000..6_001)).unwrap();
    }
    // Its next edit, whenever it comes, is written over the torn one.
    assert!(check(scratch::follow(dir.path())).notes.iter().all(|note| note.file.ends_with("manifest")));
    std::fs::write(&manifest, [&sound[..], &sound[..21], &sound[..]].concat()).unwrap();
    let damaged = check(scratch::follow(dir.path()));
    assert_eq!((damaged.problems.len(), damaged.notes.len()), (1, 0), "good records behind it: damage");
    // Without a promise of rows, files alone are no damage; who has lost a manifest hears of them before they go.
    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(check(scratch::follow(dir.path())).problems.len(), 1, "rows were promised");
    std::fs::remove_file(dir.path().join("commit.page")).unwrap();
    std::fs::File::create(dir.path().join("commit.page")).unwrap().set_len(sound_page).unwrap();
    let left = check(scratch::follow(dir.path()));
    assert!(left.problems.is_empty() && left.notes.iter().any(|note| note.file.ends_with(".log")), "{left:?}");
}

#[test]
fn a_catalog_that_lost_its_newest_edits_is_found() {
    let cut_at = |bytes: &[u8], edit: &[u8]| bytes.windows(edit.len()).rposition(|window| window == edit).expect("an edit");
    let table_created = |bytes: &mut Vec<u8>| bytes.truncate(cut_at(bytes, b"table_created"));
    let flipped = |bytes: &mut Vec<u8>| {
        let at = cut_at(bytes, b"table_created");
        bytes[at] ^= 1;
    };
    let partition_created = |bytes: &mut Vec<u8>| bytes.truncate(cut_at(bytes, b"partition_created"));
    type Harm<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damages: [(&str, bool, Harm); 4] = [
        ("table 0", false, &|bytes| bytes.clear()),
        ("table 0", false, &table_created),
        ("table 0", false, &flipped),
        ("partition 2 of table t", true, &partition_created),
    ];
    for (lost, has_partitions, damage) in damages {
        let dir = scratch::directory();
        match has_partitions {
            false => write(dir.path(), 12),
            true => {
                let place = Place::new(dir.path());
                let rows = dir.path().with_extension("csv");
                std::fs::write(&rows, "kind,number\nx,1\ny,2\n").unwrap();
                place.done(&format!("create t --like {} --partition-by kind", rows.display()));
                place.done(&format!("append t --from {} --quiet", rows.display()));
                std::fs::remove_file(rows).unwrap();
            }
        }
        let catalog = dir.path().join("catalog");
        let mut bytes = std::fs::read(&catalog).unwrap();
        damage(&mut bytes);
        std::fs::write(&catalog, &bytes).unwrap();
        let report = scratch::follow(dir.path()).verify(None, &mut |_| {}).unwrap();
        assert_eq!(report.problems.len(), 1, "{lost}: {report:?}");
        assert!(report.problems[0].what.contains(&format!("the catalog has lost {lost}")), "{report:?}");
        let is_torn = report.notes.iter().any(|note| note.file.ends_with("catalog") && note.bytes > 0);
        assert_eq!(is_torn, !bytes.is_empty(), "{lost}: {report:?}");
        let told = Place::new(dir.path()).run("verify --output table");
        assert_eq!(told.status.code(), Some(5), "{told:?}");
        let refused = Store::open(dir.path(), Default::default()).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
    }
}

#[test]
fn an_offset_behind_damage_is_told_as_damage() {
    let dir = scratch::directory();
    write(dir.path(), 12);
    flip_in_row(dir.path(), 210);
    let place = Place::new(dir.path());
    let told = place.fails(5, "tail t --from offset:1500");
    assert!(told.contains("CORRUPT") && told.contains("rows 0 to 5999 were acknowledged and cannot be read"), "{told}");
    for line in ["stats t", "stats t --output csv --quiet"] {
        let told = String::from_utf8(place.run(line).stderr).unwrap();
        assert!(told.contains("damaged: table t, bucket 0: rows 0 to 5999"), "{line}: {told}");
    }
    assert!(place.done("metrics").contains("aquifer_damaged{table=\"t\",partition=\"\",bucket=\"0\"} 1"));
}
