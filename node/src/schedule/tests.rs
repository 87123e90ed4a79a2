//! The worker's turns, one by one, on the simulated disk.

pub(crate) mod planted;
mod threads;

use std::path::{Path, PathBuf};

use arrow::array::{BinaryArray, RecordBatch};

use super::*;
use crate::bucket::resources::Limits;
use crate::bucket::tree::Keyed;
use crate::bucket::work::Work;
use crate::bucket::{Address, SegmentPolicy};
use crate::format::{BatchMeta, Compression, Encoder, Layout};
use crate::io::page::SLOT_BYTES;
use crate::io::sim::{Faults, Sim};
use crate::io::{BLOCK_BYTES, Driver};
use crate::log::writer::{HEAD_ROOM, Record};
use crate::table::{ColumnType, Field, TableSchema, TableSpec};
use worker::RUNS_IN_THE_MAKING_MAX;

/// More than half of the first segment of a bucket.
const LARGE_BYTES: usize = 600 << 10;

fn resources(driver: Arc<dyn Driver>, dir: &Path) -> Arc<Resources> {
    let page = driver.page(&dir.join("commit.page"), 64 * SLOT_BYTES, true).unwrap();
    let limits = Limits {
        files_open_max: 16,
        pool_bytes_max: 4 << 20,
        recent_bytes_max: 0,
        spare_bytes_max: 64 << 20,
        scan_bytes_max: 1 << 20,
        memtable_bytes_max: 1 << 20,
        block_bytes_max: 1 << 20,
        run_bytes_max: 1 << 20,
    };
    Resources::new(driver, page, dir.to_path_buf(), 1, true, limits).unwrap()
}

fn simulated() -> Arc<Resources> {
    let sim = Sim::new(1, Faults::default());
    sim.create_dir_all(Path::new("/s")).unwrap();
    let resources = resources(sim, Path::new("/s"));
    *resources.pumped.lock() = Some(Committer::new(&resources).unwrap());
    resources
}

fn bucket(resources: &Arc<Resources>, number: u32) -> Arc<Bucket> {
    open(resources, number, None)
}

/// Of a table whose primary key is what [`record`] has.
fn keyed_bucket(resources: &Arc<Resources>, number: u32) -> Arc<Bucket> {
    let schema = TableSchema::new(vec![Field::new("payload", ColumnType::Binary, false)]).unwrap();
    let mut spec = TableSpec::new("t".parse().unwrap(), 1, schema, 0);
    spec.primary_key = vec![1];
    open(resources, number, Some(Arc::new(Keyed::new(&Arc::new(spec)).unwrap())))
}

fn open(resources: &Arc<Resources>, number: u32, keyed: Option<Arc<Keyed>>) -> Arc<Bucket> {
    let dir: PathBuf = resources.dir.join(format!("tables/1/p0/b{number}"));
    let address = Address { dir, table_id: 1, partition_id: 0, bucket: number, slot: 2 + number as usize, table_slot: 1, serial: 0 };
    Bucket::open(
        resources,
        address,
        SegmentPolicy { bytes_max: 64 << 20, retention_ms: None, retention_bytes: None, has_tree: keyed.is_some(), expiry: None },
        keyed,
    )
    .unwrap()
}

/// One row of about so many bytes.
fn rows(bytes: usize) -> RecordBatch {
    let column = BinaryArray::from_vec(vec![&vec![7; bytes]]);
    RecordBatch::try_from_iter([("payload", Arc::new(column) as _)]).unwrap()
}

/// The same for the log.
fn record(resources: &Resources, bytes: usize) -> Record {
    let batch = rows(bytes);
    let encoder = Encoder::new(&batch.schema(), Layout::Native, Compression::None).unwrap();
    let meta = BatchMeta::append(0);
    let mut buffer = resources.pool.get((HEAD_ROOM + encoder.size_bound(&batch, &meta)).next_multiple_of(BLOCK_BYTES));
    let batch_bytes = encoder.encode(&batch, &meta, &mut buffer[HEAD_ROOM..]).unwrap();
    buffer.set_len((HEAD_ROOM + batch_bytes).next_multiple_of(BLOCK_BYTES));
    Record { buffer, batch_bytes, rows: 1, producer: None }
}

fn append(resources: &Resources, bucket: &Arc<Bucket>, bytes: usize) {
    bucket.append(record(resources, bytes), true).unwrap().wait(resources).unwrap();
}

fn all_open(buckets: Vec<Arc<Bucket>>) -> Buckets {
    Buckets { open: Box::new(move || buckets.clone()), walk: Box::new(|| Ok(false)), tend: Box::new(|| Ok(Vec::new())) }
}

fn shared(resources: &Arc<Resources>, buckets: Vec<Arc<Bucket>>) -> Arc<Shared> {
    Shared::new(resources, all_open(buckets))
}

fn spare_segments(bucket: &Bucket) -> usize {
    bucket.log.with_writer(|writer| writer.spare())
}

#[test]
fn a_seal_does_not_wait_for_a_segment_that_is_being_zeroed() {
    let resources = simulated();
    let (large, small) = (bucket(&resources, 0), bucket(&resources, 1));
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    append(&resources, &large, LARGE_BYTES);
    assert!(worker.turn().unwrap() && worker.turn().unwrap(), "begun, and one step");
    append(&resources, &small, LARGE_BYTES);
    append(&resources, &small, LARGE_BYTES);
    assert!(worker.turn().unwrap());
    assert_eq!((small.state().sealed.len(), spare_segments(&large)), (1, 0));
    while worker.turn().unwrap() {}
    assert_eq!(spare_segments(&large), 1);
}

#[test]
fn segments_are_zeroed_in_turns() {
    let resources = simulated();
    let (large, small) = (bucket(&resources, 0), bucket(&resources, 1));
    append(&resources, &large, LARGE_BYTES);
    append(&resources, &large, LARGE_BYTES);
    append(&resources, &large, 2 << 20);
    append(&resources, &small, LARGE_BYTES);
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    // The next segment of the large one has 16 MiB, and 64 steps; that of the small one 4 MiB, and 16 steps.
    let turns = (0..).take_while(|_| spare_segments(&small) == 0 && worker.turn().unwrap()).count();
    assert_eq!((spare_segments(&small), spare_segments(&large)), (1, 0), "{turns}");
    let more = (0..).take_while(|_| worker.turn().unwrap()).count();
    assert!(spare_segments(&large) == 1 && more > 40, "{more}");
}

#[test]
fn one_segment_is_prepared_at_a_time_and_none_is_left_half_done() {
    let resources = simulated();
    let bucket = bucket(&resources, 0);
    append(&resources, &bucket, LARGE_BYTES);
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    assert!(worker.turn().unwrap() && worker.turn().unwrap(), "begun, and one step");
    append(&resources, &bucket, 1);
    assert!(resources.board.is_empty() && bucket.prepare_ahead().unwrap().is_none());
    let files = || resources.driver.list(&bucket.address().dir).unwrap().len();
    let before = files();
    drop(worker);
    assert_eq!(files(), before - 1, "the file of the unfinished one is gone");
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    append(&resources, &bucket, 1);
    while worker.turn().unwrap() {}
    assert_eq!((spare_segments(&bucket), files()), (1, before));
}

#[test]
fn looking_after_many_buckets_is_many_turns() {
    let resources = simulated();
    let buckets: Vec<_> = (0..3).map(|number| bucket(&resources, number)).collect();
    let mut worker = Worker::new(&shared(&resources, buckets));
    worker.look_after_all();
    worker.look_after_all();
    assert_eq!((0..).take_while(|_| worker.turn().unwrap()).count(), 4, "and one for the others");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of another store's size, as it is")]
fn blocks_of_removed_files_are_given_back_in_turns() {
    let dir = tempfile::tempdir().unwrap();
    let driver = crate::io::system::System::new(crate::io::system::Engine::Threads, "a test");
    let resources = resources(Arc::new(driver), dir.path());
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    for name in ["0000000100000001.run", "0000000100000002.log"] {
        let path = dir.path().join(name);
        std::fs::write(&path, vec![7; 10 << 20]).unwrap();
        resources.remove(&path).unwrap();
        assert!(!path.exists() && resources.has_removed());
    }
    while resources.has_removed() {
        assert!(worker.turn().unwrap(), "somebody gives them back");
        worker.rests_until = Duration::ZERO;
    }
}

#[test]
fn few_memtables_are_flushed_at_once_however_many_wait() {
    let resources = simulated();
    let buckets: Vec<_> = (0..40).map(|number| keyed_bucket(&resources, number)).collect();
    for bucket in &buckets {
        append(&resources, bucket, 1);
        assert!(bucket.log.with_writer(|_| bucket.tree().unwrap().rotate()));
        // However often it is asked for.
        (0..3).for_each(|_| assert!(resources.board.post(bucket, Work::Flush)));
    }
    assert!(resources.board.len() <= 2 * buckets.len(), "a flush and a segment of each");
    let mut worker = Worker::new(&shared(&resources, Vec::new()));
    while worker.under_way(Work::Flush) < RUNS_IN_THE_MAKING_MAX {
        assert!(worker.turn().unwrap());
    }
    // What rows wait for does not wait for them.
    resources.board.post(&buckets[0], Work::Seal);
    assert!(worker.turn().unwrap() && !resources.board.has(|work| work == Work::Seal));
    while worker.turn().unwrap() {
        assert!(worker.under_way(Work::Flush) <= RUNS_IN_THE_MAKING_MAX);
    }
    assert!(buckets.iter().all(|bucket| bucket.tree().unwrap().levels().runs().len() == 1));
}
