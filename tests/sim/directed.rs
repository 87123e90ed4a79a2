//! Short histories that were thought of, not drawn: each goes straight to a place that seeds come to seldom.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::Kind;
use aquifer_node::io::sim::{Call, Faults, Sim};
use aquifer_node::io::{BLOCK_BYTES, Driver, Mode, Pool};
use aquifer_node::store::{Change, CreateTable, Durability, Next, Options, Start, Store, WriterOptions};
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

/// Where frames begin in the only segment of the disk.
fn frames(sim: &Sim, segment: &Path) -> Vec<u64> {
    const SEGMENT_BYTES: usize = 1 << 20;
    let file = sim.open(segment, Mode::Read, true).unwrap();
    let mut bytes = Pool::new(0).get(SEGMENT_BYTES);
    sim.read_at(&file, &mut bytes, SEGMENT_BYTES, 0).unwrap();
    (0..SEGMENT_BYTES).step_by(BLOCK_BYTES).filter(|at| bytes[*at..].starts_with(b"AQFR")).map(|at| at as u64).collect()
}

/// A disk after a crash that lost the block at `block_of` the frame of row 1 in flight, and kept row 2 behind it: the segment goes on behind row 0.
fn with_leftover(block_of: impl FnOnce(u64) -> u64) -> Arc<Sim> {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "6MiB").option("batch.bytes.max", "3MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    (0..3).for_each(|value| drop(writer.append(&row(value, 100_000)).unwrap()));
    drop((writer, table));
    store.close().unwrap();
    let segment = Path::new(DIR).join("tables/0/p0/b0/0000000100000001.log");
    let torn = block_of(frames(&sim, &segment)[1]);
    let file = sim.open(&segment, Mode::Write, true).unwrap();
    sim.write_at(&file, &[Pool::new(0).zeros(BLOCK_BYTES)], torn, true).unwrap();
    // Nothing was acknowledged.
    sim.remove(&Path::new(DIR).join("commit.page")).unwrap();
    sim
}

/// Row 0 is there; these come behind it: a reader that follows from outside sees them, and so does one that comes later.
fn follows_past_a_leftover(sim: &Arc<Sim>, behind: &[(u8, usize)]) {
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    assert_eq!(values(&store), [0]);
    let outside = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
    let mut scanner = outside.table("t").unwrap().scan().follow(true).build().unwrap();
    let mut seen = Vec::new();
    let mut look = |seen: &mut Vec<u8>| {
        while let Next::Batch(found) = scanner.next_within(Some(Duration::ZERO)).unwrap() {
            seen.push(found.batch.column(0).as_binary::<i32>().value(0)[0]);
        }
    };
    look(&mut seen);
    let mut writer = store.table("t").unwrap().writer().unwrap();
    behind.iter().for_each(|(value, bytes)| drop(writer.append(&row(*value, *bytes)).unwrap()));
    look(&mut seen);
    let expected: Vec<u8> = std::iter::once(0).chain(behind.iter().map(|(value, _)| *value)).collect();
    assert_eq!(seen, expected);
    let later = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
    assert_eq!(values(&later), expected);
}

#[test]
fn a_follower_does_not_take_a_lost_row_for_one_of_the_next_segment() {
    let sim = with_leftover(|frame| frame);
    follows_past_a_leftover(&sim, &[(11, 100_000), (12, 900_000), (13, 1)]);
}

#[test]
fn a_follower_goes_past_a_torn_frame_behind_a_full_segment() {
    let sim = with_leftover(|frame| frame + BLOCK_BYTES as u64);
    follows_past_a_leftover(&sim, &[(11, 1_000_000), (12, 1)]);
}

#[test]
fn a_bucket_that_takes_no_more_rows_is_not_opened_again_by_the_same_writer() {
    let sim = Sim::new(1, Faults::default());
    let options = Options { buckets_open_max: 1, ..Options::default() };
    let store = Store::open_with(sim.clone(), DIR, options).unwrap();
    let put =
        |table: &str, value: u8| store.table(table).and_then(|table| table.writer()).and_then(|mut writer| writer.append(&row(value, 1)));
    for table in ["t", "u"] {
        store.create_table(table, CreateTable::like(row(0, 1).schema())).unwrap();
    }
    put("t", 0).unwrap();
    sim.fail_next(Call::Write, ".log", libc::EIO);
    put("t", 1).unwrap_err();
    put("u", 2).unwrap();
    let error = put("t", 3).unwrap_err();
    assert!(error.to_string().contains("takes no more rows"), "{error}");
}

#[test]
fn a_log_that_takes_no_more_rows_is_read_until_the_store_is_opened_again() {
    for failing in 1..12_u8 {
        let sim = Sim::new(u64::from(failing), Faults::default());
        let store = filled(&sim, failing);
        let table = store.table("t").unwrap();
        let mut tail = table.scan().follow(true).build().unwrap();
        sim.fail_next(Call::Write, ".log", libc::EIO);
        let mut writer = table.writer().unwrap();
        writer.append(&row(100, 1_000)).unwrap_err();
        let known: Vec<u8> = (0..failing).collect();
        let mut seen = 0;
        while let Next::Batch(found) = tail.next_within(Some(Duration::ZERO)).unwrap() {
            seen = found.next_offset;
        }
        assert_eq!(seen, u64::from(failing), "a tail goes on to the last row that was acknowledged");
        for _ in 0..3 {
            assert!(writer.append(&row(101, 1)).unwrap_err().to_string().contains("takes no more rows"));
            let outside = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
            for reader in [&store, &outside] {
                assert_eq!(values(reader), known);
                assert_eq!(reader.stats(None).unwrap()[0].rows, known.len() as u64);
                assert_eq!(reader.verify(None, &mut |_| {}).unwrap().problems, []);
            }
            store.pump().unwrap();
        }
        drop((table, tail, writer));
        store.close().unwrap();
        let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
        let found = values(&store);
        assert!(found.starts_with(&known) && found.len() <= known.len() + 1, "{found:?}");
        store.table("t").unwrap().writer().unwrap().append(&row(102, 1)).unwrap();
        assert_eq!(values(&store), [found, vec![102]].concat());
    }
}

/// A table in segments that two rows of half a megabyte fill, with as many of them.
fn filled(sim: &Arc<Sim>, count: u8) -> Store {
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
    (0..count).for_each(|value| drop(writer.append(&row(value, 500_000)).unwrap()));
    store
}

#[test]
fn a_directory_is_not_made_again_before_it_is_written() {
    let sim = Sim::new(1, Faults::default());
    let store = filled(&sim, 3);
    sim.fail_next(Call::Read, ".log", libc::EIO);
    store.table("t").unwrap().scan().start(Start::Timestamp(0)).build().unwrap();
}

#[test]
fn full_segments_that_the_manifest_does_not_know_as_sealed_are_sound_from_outside() {
    let sim = Sim::new(1, Faults::default());
    let store = filled(&sim, 5);
    let outside = Store::open_read_only_with(sim.clone(), DIR, Options::default()).unwrap();
    let report = outside.verify(None, &mut |_| {}).unwrap();
    assert_eq!((report.problems.as_slice(), report.rows), ([].as_slice(), 5));
    let bytes = |store: &Store| store.stats(None).unwrap()[0].bytes;
    assert_eq!(bytes(&outside), bytes(&store), "of what it has not read, frames count, not the files");
    assert_eq!(values(&outside), [0, 1, 2, 3, 4]);
    assert_eq!(bytes(&outside), bytes(&store), "it has read everything");
}

#[test]
fn a_tail_that_began_on_the_disk_goes_on_in_memory() {
    let sim = Sim::new(1, Faults::default());
    filled(&sim, 3).close().unwrap();
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let table = store.table("t").unwrap();
    let mut scanner = table.scan().follow(true).build().unwrap();
    let mut seen = 0;
    while let Next::Batch(found) = scanner.next_within(Some(Duration::ZERO)).unwrap() {
        seen = found.next_offset;
    }
    assert_eq!(seen, 3);
    table.writer().unwrap().append(&row(3, 100)).unwrap();
    sim.fail_next(Call::Read, ".log", libc::EIO);
    let next = scanner.next_within(Some(Duration::ZERO)).unwrap();
    assert!(matches!(&next, Next::Batch(found) if found.first_offset == 3), "{next:?}");
}

#[test]
fn a_busy_bucket_leaves_a_turn_to_the_others() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim, DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).buckets(4).bucket_key(&["payload"]);
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let buckets: HashSet<u32> = (0..40).map(|value| writer.append(&row(value, 1)).unwrap()[0].bucket).collect();
    let mut scanner = table.scan().follow(true).build().unwrap();
    let mut next = || match scanner.next_within(Some(Duration::ZERO)).unwrap() {
        Next::Batch(found) => found.bucket,
        other => panic!("{other:?}"),
    };
    let first: HashSet<u32> = (0..buckets.len()).map(|_| next()).collect();
    assert_eq!(first, buckets);
}

#[test]
fn a_segment_in_use_that_cannot_be_read_is_told_and_tried_again() {
    let sim = Sim::new(1, Faults::default());
    filled(&sim, 3).close().unwrap();
    sim.fail_next(Call::Read, "2.log", libc::EIO);
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let problems = store.verify(None, &mut |_| {}).unwrap().problems;
    assert!(matches!(&problems[..], [one] if one.offset == Some(2) && one.what.contains("2.log")), "{problems:?}");
    sim.fail_next(Call::Read, "2.log", libc::EIO);
    store.table("t").unwrap().writer().unwrap().append(&row(3, 1)).unwrap_err();
    // The device is well again.
    store.table("t").unwrap().writer().unwrap().append(&row(4, 1)).unwrap();
    assert_eq!(values(&store), [0, 1, 2, 4]);
    store.close().unwrap();
    let store = Store::open_with(sim, DIR, Options::default()).unwrap();
    assert_eq!(values(&store), [0, 1, 2, 4]);
}

fn rows_failed(error: &aquifer_node::Error) -> u64 {
    error.context().find(|(name, _)| *name == "rows_failed").expect("it says how many").1.parse().unwrap()
}

#[test]
fn a_failure_is_told_once_and_the_writer_goes_on() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let table = store.create_table("t", CreateTable::like(row(0, 1).schema())).unwrap();
    let mut writer = table.writer().unwrap();
    sim.fail_next(Call::Create, ".log", libc::ENOSPC);
    (0..3).for_each(|value| writer.send(&row(value, 1)).unwrap());
    let error = writer.append(&row(3, 1)).unwrap_err();
    assert_eq!((error.kind(), rows_failed(&error)), (Kind::Exhausted, 3), "{error}");
    assert_eq!(writer.unacknowledged_bytes(), 0);
    // Nothing of the fourth was sent with the failed ones.
    writer.append(&row(3, 1)).unwrap();
    writer.send(&row(4, 1)).unwrap();
    let acks = writer.append(&row(5, 1)).unwrap();
    assert_eq!((acks.len(), acks[0].first_offset), (1, 2), "its own answer");
    assert_eq!(writer.flush().unwrap().len(), 1, "the answer of the one before it");
    assert_eq!(values(&store), [3, 4, 5]);
}

#[test]
fn what_did_not_fail_of_an_append_is_answered() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let bytes: Vec<Vec<u8>> = (0..20).map(|value| vec![value; 10]).collect();
    let column = BinaryArray::from_iter_values(&bytes);
    let rows = RecordBatch::try_from_iter([("payload", Arc::new(column) as _)]).unwrap();
    let table = store.create_table("t", CreateTable::like(rows.schema()).buckets(2).bucket_key(&["payload"])).unwrap();
    let mut writer = table.writer().unwrap();
    sim.fail_next(Call::Create, ".log", libc::ENOSPC);
    let failed = rows_failed(&writer.append(&rows).unwrap_err());
    let answered: u64 = writer.acks().unwrap().iter().map(|ack| ack.rows).sum();
    assert!(failed > 0 && answered > 0, "{failed} failed, {answered} are there");
    assert_eq!(failed + answered, 20);
    assert_eq!(values(&store).len() as u64, answered);
    assert_eq!(writer.append(&rows).unwrap().iter().map(|ack| ack.rows).sum::<u64>(), 20);
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
    // Two segments in each of the two buckets that have their turn first.
    (0..6).for_each(|value| drop(writer.append(&row(value, 600_000)).unwrap()));
    store.pump().unwrap();
    let (first, others): (Vec<_>, Vec<_>) = store.stats(Some("t")).unwrap().into_iter().partition(|bucket| bucket.end_offset == 2);
    assert_eq!((first.len(), others.len()), (2, 2));
    let before: Vec<_> = first.iter().map(|stats| names(&sim, stats.bucket).len()).collect();
    drop(writer);
    store.close().unwrap();
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    sim.advance(Duration::from_secs(7200)).unwrap();
    store.pump().unwrap();
    let after: Vec<_> = first.iter().map(|stats| names(&sim, stats.bucket).len()).collect();
    // Its first segment is gone; its directory stays, because no other remembers who wrote.
    assert_eq!(after, before.iter().map(|count| count - 1).collect::<Vec<_>>());
    let stats = store.stats(Some("t")).unwrap();
    let reaches = |bucket: u32| (stats[bucket as usize].start_offset, stats[bucket as usize].end_offset);
    assert!(first.iter().all(|stats| reaches(stats.bucket) == (1, 2)));
    assert!(others.iter().all(|stats| reaches(stats.bucket) == (0, 1)));
}

#[test]
fn large_files_of_what_is_dropped_are_given_back_in_the_background() {
    let sim = Sim::new(1, Faults::default());
    let open = |sim: &Arc<Sim>| Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let (store, removed) = (open(&sim), Path::new(DIR).join("removed"));
    let waiting = |sim: &Sim| sim.list(&removed).map_or(0, |entries| entries.len());
    let schema = row(0, 1).schema();
    for name in ["t", "u"] {
        let create = CreateTable::like(schema.clone()).buckets(3).option("bucket.assign", "round-robin");
        let mut writer = store.create_table(name, create).unwrap().writer().unwrap();
        (0..3).for_each(|value| drop(writer.append(&row(value, 1)).unwrap()));
    }
    let create = CreateTable::like(schema).partition_by("payload");
    store.create_table("parted", create).unwrap().writer().unwrap().append(&row(7, 1)).unwrap();
    store.drop_table("t").unwrap();
    assert_eq!(waiting(&sim), 3);
    store.pump().unwrap();
    assert_eq!(waiting(&sim), 0);
    let partition = store.table("parted").unwrap().describe().unwrap().partitions.remove(0);
    store.drop_partition("parted", &partition).unwrap();
    store.drop_table("u").unwrap();
    assert_eq!((waiting(&sim), sim.list(&Path::new(DIR).join("tables")).unwrap().len()), (4, 1));
    let sim = sim.kill(2);
    let store = open(&sim);
    assert_eq!(waiting(&sim), 4);
    store.pump().unwrap();
    assert_eq!(waiting(&sim), 0);
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

#[test]
fn a_directory_that_cannot_be_opened_now_is_not_taken_for_lost() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let numbered = |store: &Store| {
        let options = WriterOptions { id: Some(3) };
        store.table("t").and_then(|table| table.writer_with(options)).and_then(|mut writer| writer.append_numbered(&row(0, 1), 0))
    };
    assert!(!numbered(&store).unwrap().duplicate);
    let mut writer = table.writer().unwrap();
    (1..8).for_each(|value| drop(writer.append(&row(value, 400_000)).unwrap()));
    store.pump().unwrap();
    drop((writer, table));
    store.close().unwrap();
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    sim.fail_next(Call::Open, ".index", libc::EMFILE);
    let error = numbered(&store).unwrap_err();
    assert_ne!(error.kind(), Kind::Corrupt, "{error}");
    assert!(numbered(&store).unwrap().duplicate, "the second try knows who wrote");
}

#[test]
fn an_edit_that_failed_on_a_full_device_does_not_come_true_later() {
    for power_cut in [false, true] {
        let sim = Sim::new(1, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
        let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        writer.append(&row(0, 600_000)).unwrap();
        // The edit that names the next segment is written whole, and finds no space when it is synced.
        sim.fail_next(Call::Sync, "b0/manifest", libc::ENOSPC);
        assert_eq!(writer.append(&row(1, 600_000)).unwrap_err().kind(), Kind::Exhausted);
        drop((writer, table));
        drop(store);
        let sim = if power_cut { sim.reboot(2) } else { sim.kill(2) };
        let store = Store::open_with(sim, DIR, Options::default()).unwrap();
        assert_eq!(values(&store), [0]);
        assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems, []);
        store.table("t").unwrap().writer().unwrap().append(&row(2, 600_000)).unwrap();
        assert_eq!(values(&store), [0, 2]);
    }
}

#[test]
fn an_edit_that_cannot_be_taken_back_is_the_last() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, Options::default()).unwrap();
    let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    writer.append(&row(0, 600_000)).unwrap();
    sim.fail_next(Call::Sync, "b0/manifest", libc::ENOSPC);
    sim.fail_next(Call::Resize, "b0/manifest", libc::EIO);
    assert_eq!(writer.append(&row(1, 600_000)).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(writer.append(&row(1, 600_000)).unwrap_err().kind(), Kind::Unavailable);
    drop((writer, table));
    drop(store);
    // The edit may be true now, and what it names is there.
    let store = Store::open_with(sim.kill(2), DIR, Options::default()).unwrap();
    assert_eq!(values(&store), [0]);
    assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems, []);
    store.table("t").unwrap().writer().unwrap().append(&row(2, 600_000)).unwrap();
    assert_eq!(values(&store), [0, 2]);
}

#[test]
fn what_a_seal_promises_is_on_the_device_whatever_an_acknowledgement_means() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Faults::default());
        let options = || Options { durability: Durability::Os, ..Options::default() };
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let create = CreateTable::like(row(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        (0..6).for_each(|value| drop(writer.append(&row(value, 400_000)).unwrap()));
        store.pump().unwrap();
        drop((writer, table));
        let store = Store::open_with(sim.reboot(seed), DIR, Options::default()).unwrap();
        assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems, [], "seed {seed}");
        let kept = values(&store);
        assert!(kept.len() >= 2 && kept == (0..kept.len() as u8).collect::<Vec<_>>(), "seed {seed}: {kept:?}");
    }
}
