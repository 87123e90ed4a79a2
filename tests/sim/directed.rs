//! Short histories that were thought of, not drawn: each goes straight to a place that seeds come to seldom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::io::sim::{Call, Faults, Sim};
use aquifer_node::io::{Driver, Mode};
use aquifer_node::store::{Change, CreateTable, Options, Store};
use aquifer_node::table::quantity::parse_duration_ms;
use arrow::array::{AsArray, BinaryArray, RecordBatch};

use crate::history::DIR;
use crate::random::Random;

/// A row of `bytes` equal bytes.
fn row(value: u8, bytes: usize) -> RecordBatch {
    RecordBatch::try_from_iter([("payload", Arc::new(BinaryArray::from_vec(vec![&vec![value; bytes]])) as _)]).unwrap()
}

fn values(store: &Store) -> Vec<u8> {
    let scanner = store.table("t").unwrap().scan().build().unwrap();
    scanner
        .flat_map(|next| next.unwrap().batch.column(0).as_binary::<i32>().iter().map(|value| value.unwrap()[0]).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_prepared_segment_that_is_too_small_is_used_later() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "6MiB").option("batch.bytes.max", "3MiB");
    let table = store.create_table("t", create.option("retention.bytes", "0B")).unwrap();
    let mut writer = table.writer().unwrap();
    let mut put = |value: u8, bytes: usize| writer.append(&row(value, bytes)).unwrap();
    // The first segment, of 1 MiB, is filled, dropped and recycled; the second is of 4 MiB.
    put(0, 600_000);
    put(1, 600_000);
    store.expire("t").unwrap();
    store.alter_table("t", &[Change::set_option("retention.bytes", "none")]).unwrap();
    put(2, 2_000_000);
    // Less than half is left: the recycled one is prepared as the third. The next row does not fit into it.
    store.pump().unwrap();
    put(3, 2_500_000);
    // It does not fit either; then these do, behind it.
    put(4, 2_900_000);
    for value in 5..12 {
        put(value, 500_000);
    }
    let before = values(&store);
    assert_eq!(before, (1..12).collect::<Vec<u8>>());
    let sim = sim.reboot(2);
    let store = Store::open_with(sim, DIR, Options::default()).unwrap();
    assert_eq!(values(&store), before);
}

#[test]
fn a_follower_finds_a_first_frame_whose_head_is_longer_than_a_block() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(row(0, 1).schema())).unwrap();
    let mut writer = table.writer().unwrap();
    for value in 0..600 {
        writer.send(&row(value as u8, 1)).unwrap();
    }
    writer.flush().unwrap();
    let expected: Vec<u8> = (0..600).map(|value| value as u8).collect();
    let follower = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
    assert_eq!(values(&follower), expected);
    let sim = sim.reboot(2);
    let store = Store::open_with(sim, DIR, Options::default()).unwrap();
    assert_eq!(values(&store), expected);
}

/// Names in a bucket's directory; none when it does not exist.
fn names(sim: &Sim, bucket: u32) -> Vec<String> {
    let dir = Path::new(DIR).join(format!("tables/0/p0/b{bucket}"));
    sim.list(&dir).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn looking_after_buckets_that_were_never_written_writes_nothing() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    store.create_table("t", CreateTable::like(row(0, 1).schema()).buckets(8)).unwrap();
    assert!(values(&store).is_empty());
    store.pump().unwrap();
    store.expire("t").unwrap();
    assert!((0..8).all(|bucket| names(&sim, bucket).is_empty()));
}

#[test]
fn what_a_crash_left_goes_before_the_first_change_of_a_bucket() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(row(0, 1).schema())).unwrap();
    table.writer().unwrap().append(&row(1, 1)).unwrap();
    let before = names(&sim, 0);
    let orphan = Path::new(DIR).join("tables/0/p0/b0/00000001000000ff.log");
    let sim = sim.kill(2);
    sim.open(&orphan, Mode::Create, true).unwrap();
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    assert_eq!(values(&store), [1]);
    store.pump().unwrap();
    assert_eq!(names(&sim, 0).len(), before.len() + 1, "nothing was changed yet");
    store.table("t").unwrap().writer().unwrap().append(&row(2, 1)).unwrap();
    assert_eq!(names(&sim, 0), before);
}

#[test]
fn rows_that_are_too_old_go_from_buckets_that_nobody_opens() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).buckets(4).option("bucket.assign", "round-robin");
    let table = store.create_table("t", create.option("retention.ms", "1h")).unwrap();
    let mut writer = table.writer().unwrap();
    // Two segments in each of the first buckets.
    (0..6).for_each(|value| drop(writer.append(&row(value, 600_000)).unwrap()));
    store.pump().unwrap();
    let before: Vec<_> = (0..2).map(|bucket| names(&sim, bucket).len()).collect();
    drop(writer);
    store.close().unwrap();
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    sim.advance(Duration::from_secs(7200)).unwrap();
    store.pump().unwrap();
    let after: Vec<_> = (0..2).map(|bucket| names(&sim, bucket).len()).collect();
    // Its first segment and the directory of that are gone.
    assert_eq!(after, before.iter().map(|count| count - 2).collect::<Vec<_>>());
    let stats = store.stats(Some("t")).unwrap();
    assert!(stats[..2].iter().all(|bucket| (bucket.start_offset, bucket.end_offset) == (1, 2)));
    assert!(stats[2..].iter().all(|bucket| (bucket.start_offset, bucket.end_offset) == (0, 1)));
}

#[test]
fn a_full_disk_gives_up_its_spare_segments() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "4MiB");
    let old = store.create_table("old", create.clone().option("retention.bytes", "0B")).unwrap();
    let mut writer = old.writer().unwrap();
    // The second segment is of 4 MiB, and full with these.
    (0..7).for_each(|value| drop(writer.append(&row(value, 700_000)).unwrap()));
    store.expire("old").unwrap();
    let spare_bytes = || -> u64 { sim.list(&Path::new(DIR).join("spare")).unwrap().iter().map(|entry| entry.bytes).sum() };
    assert!(spare_bytes() >= 4 << 20);
    let table = store.create_table("t", create.buckets(3).option("bucket.assign", "round-robin")).unwrap();
    // One bucket may still take the spare segment of 1 MiB; for the others there is no room but that of the large one.
    sim.set_faults(Faults { capacity_bytes: Some(bytes_below(&sim, Path::new("/"))), ..Faults::default() });
    let mut writer = table.writer().unwrap();
    (0..3).for_each(|value| drop(writer.append(&row(value, 1)).unwrap()));
    assert_eq!(spare_bytes(), 0);
    let mut kept = values(&store);
    kept.sort();
    assert_eq!(kept, [0, 1, 2]);
}

/// Bytes of all files.
fn bytes_below(sim: &Sim, dir: &Path) -> u64 {
    let entries = sim.list(dir).unwrap();
    entries.iter().map(|entry| if entry.is_dir { bytes_below(sim, &dir.join(&entry.name)) } else { entry.bytes }).sum()
}

/// Changes of the catalog after which it is rewritten, about.
const CHANGES: u64 = 520;

#[test]
fn a_catalog_is_rewritten_through_crashes_and_full_disks() {
    for seed in 0..12 {
        let sim = Sim::new(seed, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
        store.create_table("t", CreateTable::like(row(0, 1).schema())).unwrap();
        let alter = |value: u64| store.alter_table("t", &[Change::set_option("retention.ms", &format!("{value}ms"))]);
        (1..500).for_each(|value| alter(value).unwrap());
        match seed % 3 {
            // The device fails the new file; the edits themselves are not affected.
            0 => sim.fail_next(Call::Create, "catalog.next", libc::ENOSPC),
            1 => sim.fail_next(Call::Sync, "catalog.next", libc::EIO),
            _ => {}
        }
        sim.crash_after(10 + Random::new(seed).below(80));
        let made = (500..CHANGES).take_while(|value| alter(*value).is_ok()).last().unwrap_or(499);
        drop(store);
        let sim = if seed % 2 == 0 { sim.reboot(seed) } else { sim.kill(seed) };
        let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
        let options = store.table("t").unwrap().describe().unwrap().options;
        let kept = options.into_iter().find(|option| option.name == "retention.ms").unwrap().value;
        assert!([made, made + 1].iter().any(|value| parse_duration_ms(&kept).unwrap() == *value), "seed {seed}: {kept} after {made}");
        assert!(sim.list(Path::new(DIR)).unwrap().iter().all(|entry| entry.name != "catalog.next"), "seed {seed}");
    }
}
