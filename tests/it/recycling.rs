//! Segments are dropped and used again under readers in another store handle: every row that they get is the one at its offset, always.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable, Next, Options, Scanner, Start, Store};

use crate::{rows, scratch};

/// How long writer and readers race.
const RACE: Duration = Duration::from_secs(4);

/// Appends and expires until told to stop.
fn write(store: Store, stop: Arc<AtomicBool>) {
    let table = store.table("t").unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    // Small ones share frames, large ones lie alone and are read by columns.
    let sizes = [3, 5_000, 40, 2_000, 9_000];
    for size in sizes.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        writer.append(&rows::batch(next..next + size)).unwrap();
        next += size;
        if next % 7 < 3 {
            store.expire("t").unwrap();
        }
    }
}

/// Checks a piece as far as it has columns.
fn check(found: &aquifer_node::store::ScanBatch, columns: &[&str]) {
    if columns.len() == 3 {
        return rows::check_offsets(found);
    }
    let expected: Vec<i64> = (found.first_offset as i64..found.next_offset as i64).collect();
    assert_eq!(rows::numbers_in(&found.batch), expected, "wrong rows at {}", found.first_offset);
}

/// Reads until the end, the deadline or the news that the rows are gone.
fn read(mut scanner: Scanner, columns: &[&str], deadline: Instant, seen: &AtomicU64, gone: &AtomicU64) {
    while Instant::now() < deadline {
        match scanner.next_within(Some(Duration::from_millis(50))) {
            Ok(Next::Batch(found)) => {
                check(&found, columns);
                seen.fetch_add(found.batch.num_rows() as u64, Ordering::Relaxed);
            }
            Ok(Next::Waiting) => {}
            Ok(Next::End) => return,
            Err(error) => {
                assert!(error.kind() == Kind::Invalid && error.to_string().contains("dropped before"), "{error:?}");
                gone.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

#[test]
fn readers_never_see_rows_of_a_later_life() {
    let dir = scratch::directory();
    let options = Options { recent_bytes_max: 0, ..Options::default() };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    store.create_table("t", create.option("retention.bytes", "2MiB")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = std::thread::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        move || write(store, stop)
    });
    let deadline = Instant::now() + RACE;
    let (seen, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = [(false, 0), (true, 0), (false, 1), (true, 1)]
        .into_iter()
        .map(|(follow, some_columns)| {
            let other = Store::open_read_only(dir.path(), options.clone()).unwrap();
            let (seen, gone) = (seen.clone(), gone.clone());
            std::thread::spawn(move || {
                let columns: &[&str] = [&["number", "name", "half"][..], &["number"]][some_columns];
                while Instant::now() < deadline {
                    let table = other.table("t").unwrap();
                    let built = table.scan().columns(columns).start(Start::Earliest).follow(follow).build();
                    read(built.unwrap(), columns, deadline, &seen, &gone);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("a reader saw only right rows");
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    let start = store.stats(Some("t")).unwrap()[0].start_offset;
    let (seen, gone) = (seen.load(Ordering::Relaxed), gone.load(Ordering::Relaxed));
    assert!(start > 50_000 && seen > 50_000, "the race took place: {start} rows dropped, {seen} read, {gone} times overtaken");
}

/// The inodes of the segments in use, by name.
fn inodes(dir: &std::path::Path) -> Vec<(u64, std::path::PathBuf)> {
    use std::os::unix::fs::MetadataExt;
    let segments = scratch::files(&dir.join("tables"), ".log");
    segments.into_iter().map(|path| (std::fs::metadata(&path).unwrap().ino(), path)).collect()
}

#[test]
fn a_reader_in_a_segment_that_is_used_again_is_told() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema()).option("segment.bytes", "1MiB")).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    let mut append = |batches: i64| {
        for _ in 0..batches {
            writer.append(&rows::batch(next..next + 5_000)).unwrap();
            next += 5_000;
        }
    };
    append(20);
    let second = inodes(dir.path()).remove(1);
    // One batch at a time, so that most of the segment is still to be read.
    let other = Store::open_read_only(dir.path(), Options { scan_bytes_max: 1, ..Options::default() }).unwrap();
    let followed = other.table("t").unwrap();
    let mut readers = [["number"].as_slice(), &["name"], &["number", "name", "half"]].map(|columns| {
        let mut scanner = followed.scan().columns(columns).start(Start::Offset(30_000)).build().unwrap();
        assert_eq!(rows::next(&mut scanner).next_offset, 35_000);
        scanner
    });
    store.alter_table("t", &[Change::set_option("retention.bytes", "1MiB")]).unwrap();
    rows::eventually("the file in its next life", || {
        store.expire("t").unwrap();
        append(10);
        inodes(dir.path()).iter().any(|(inode, path)| *inode == second.0 && *path != second.1).then_some(())
    });
    append(10);
    for scanner in &mut readers {
        let error = scanner.next_within(None).map(|found| format!("{found:?}")).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("dropped before"), "{error:?}");
    }
}
