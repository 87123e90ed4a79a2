//! What is too large is cut or refused, never half-written; many buckets need little.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Options, Store};
use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch};

use crate::{child, rows, scratch};

fn blobs(sizes: &[usize]) -> RecordBatch {
    let values = sizes.iter().enumerate().map(|(index, size)| vec![index as u8; *size]);
    RecordBatch::try_from_iter([("blob", Arc::new(BinaryArray::from_iter_values(values)) as ArrayRef)]).unwrap()
}

#[test]
fn a_large_batch_is_cut_and_a_larger_row_refused() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(blobs(&[1]).schema()).option("batch.bytes.max", "64KiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let sizes = [10_000, 20_000, 50_000, 1, 60_000, 30_000, 30_000];
    let acks = writer.append(&blobs(&sizes)).unwrap();
    assert!(acks.len() >= 4 && acks.iter().map(|ack| ack.rows).sum::<u64>() == 7, "{acks:?}");
    let error = writer.append(&blobs(&[5, 70_000])).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted);
    assert!(error.to_string().contains("batch.bytes.max"), "{error}");
    writer.append(&blobs(&[3])).unwrap();
    let found = rows::collect(table.scan().build().unwrap());
    let lengths: Vec<usize> = found.column(0).as_binary::<i32>().iter().map(|blob| blob.unwrap().len()).collect();
    assert_eq!(lengths[..7], sizes);
    assert_eq!(*lengths.last().unwrap(), 3);
    assert!(lengths.len() <= 9, "{lengths:?}");
}

#[test]
fn a_row_larger_than_a_segment_gets_a_larger_one() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let create = CreateTable::like(blobs(&[1]).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "32MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    for sizes in [[5, 6], [20 << 20, 7], [8, 9]] {
        writer.append(&blobs(&sizes)).unwrap();
    }
    let found = rows::collect(table.scan().build().unwrap());
    let lengths: Vec<usize> = found.column(0).as_binary::<i32>().iter().map(|blob| blob.unwrap().len()).collect();
    assert_eq!(lengths, [5, 6, 20 << 20, 7, 8, 9]);
}

const BUCKETS: u32 = 1_000;

/// A child's job: opens a store of many buckets, reads all of it, says milliseconds, peak of memory and of open files, bytes written.
pub(crate) fn read_many_buckets(dir: &str, role: &str) {
    let began = Instant::now();
    let options = Options { files_open_max: 64, ..Options::default() };
    let store = match role {
        "writer" => Store::open(Path::new(dir), options),
        _ => Store::open_read_only(Path::new(dir), options),
    };
    let store = store.unwrap();
    let scanner = store.table("t").unwrap().scan().build().unwrap();
    let (mut count, mut files) = (0, 0);
    for found in scanner {
        count += found.unwrap().batch.num_rows();
        if count % 50 == 0 {
            files = files.max(std::fs::read_dir("/proc/self/fd").unwrap().count());
        }
    }
    let elapsed = began.elapsed();
    assert_eq!(count, BUCKETS as usize * 20);
    child::say(format!("{} {} {files} {}", elapsed.as_millis(), peak_kib(), written_bytes()));
    let mut writer = store.table("t").unwrap().writer();
    if let Ok(writer) = &mut writer {
        writer.append(&rows::batch(0..2_000)).unwrap();
    }
}

/// The most memory that this process has held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bytes that this process has sent to a device.
fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("the kernel counts bytes");
    line.parse().unwrap()
}

#[test]
fn a_thousand_buckets_open_fast_and_small() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let create = CreateTable::like(rows::schema()).buckets(BUCKETS).option("bucket.assign", "round-robin");
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        for bucket in 0..i64::from(BUCKETS) {
            writer.send(&rows::batch(bucket * 20..bucket * 20 + 20)).unwrap();
        }
        writer.flush().unwrap();
    }
    for role in ["follower", "writer"] {
        let mut worker = child::start("read_many_buckets", &[dir.path().to_str().unwrap(), role]);
        let said = worker.hears().expect("it measured");
        let figures: Vec<u64> = said.split(' ').map(|figure| figure.parse().unwrap()).collect();
        assert!(worker.ends_well());
        let (millis, kib, files, written) = (figures[0], figures[1], figures[2], figures[3]);
        println!("{BUCKETS} buckets, {role}: {millis} ms, {} MiB, {files} files, {written} bytes written", kib >> 10);
        // Unoptimised and on a busy machine it takes longer; what would make it slow everywhere is a write for each bucket, and these are counted.
        let millis_max = if cfg!(debug_assertions) { 10_000 } else { 1_000 };
        assert!(millis < millis_max, "{millis} ms");
        // A write for each bucket is a block of 4 KiB. The system counts its own blocks of inodes, 16 in each, where it notes that files were read.
        assert!(written < u64::from(BUCKETS) * 2048, "{written} bytes written to open and read");
        assert!(kib < 200 << 10, "{kib} KiB");
        assert!(files < 200, "{files} open files");
    }
}

#[test]
fn a_process_that_may_open_few_files_uses_fewer() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = crate::program::Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"number\"\ntype = \"int64\"\n").unwrap();
    let numbers: String = (0..2_000).map(|number| format!("{number}\n")).collect();
    std::fs::write(dir.path().join("rows.csv"), format!("number\n{numbers}")).unwrap();
    place.done("create t --schema t.toml --buckets 200 --bucket-key number");
    for line in ["append t --from rows.csv --quiet", "scan t --output csv"] {
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(crate::program::path()).arg("--dir").arg(&store);
        let done = limited.args(line.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!line.starts_with("scan") || done.stdout.split(|byte| *byte == b'\n').count() >= 2_001);
    }
}
