//! The whole bucket on the simulated disk: callers, the ring's owner, the background, one who watches the commit page, and the end of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_tests::bucket::committer::{Committer, closed};
use aquifer_tests::bucket::resources::{Limits, Resources};
use aquifer_tests::bucket::tree::Keyed;
use aquifer_tests::bucket::work::Work;
use aquifer_tests::bucket::{Address, Bucket, SegmentPolicy};
use aquifer_tests::error::{Kind, Result};
use aquifer_tests::io::Driver;
use aquifer_tests::io::page::SLOT_BYTES;
use aquifer_tests::io::sim::{Faults, Sim};
use aquifer_tests::io::sync::{self, AtomicBool, Mutex, Ordering};
use shuttle::thread;

use crate::device::{record, strikes};
use crate::driver::Disk;
use crate::{explore, is_found};

/// Slot of the bucket in the commit page.
const SLOT: usize = 1;

/// Slot of its table.
const TABLE_SLOT: usize = 2;

/// Blocks of a large batch: two of them fill most of the first segment, and a third needs another.
const LARGE_BLOCKS: usize = 100;

pub(crate) struct World {
    pub(crate) sim: Arc<Sim>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) bucket: Arc<Bucket>,
    ends: AtomicBool,
    /// Offsets behind acknowledged rows.
    acknowledged: Mutex<Vec<(u64, u64)>>,
}

pub(crate) fn resources(sim: &Arc<Sim>, epoch: u32) -> Result<Arc<Resources>> {
    let driver = Arc::new(Disk(sim.clone()));
    driver.create_dir_all(Path::new("/s")).and_then(|()| driver.sync_dir(Path::new("/"))).expect("a healthy disk");
    let page = driver.page(Path::new("/s/commit.page"), 4 * SLOT_BYTES, true).expect("a healthy disk");
    let limits = Limits {
        files_open_max: 16,
        pool_bytes_max: 4 << 20,
        recent_bytes_max: 0,
        spare_bytes_max: 1 << 20,
        scan_bytes_max: 1 << 20,
        memtable_bytes_max: 1 << 20,
        block_bytes_max: 1 << 20,
        run_bytes_max: 1 << 20,
    };
    Resources::new(driver, page, PathBuf::from("/s"), epoch, true, limits)
}

pub(crate) fn open(resources: &Arc<Resources>, keyed: Option<Arc<Keyed>>) -> Result<Arc<Bucket>> {
    open_another(resources, 0, keyed)
}

/// Bucket 0 or 1 of the table.
pub(crate) fn open_another(resources: &Arc<Resources>, bucket: u32, keyed: Option<Arc<Keyed>>) -> Result<Arc<Bucket>> {
    let dir = PathBuf::from(format!("/s/tables/1/p0/b{bucket}"));
    let slot = SLOT + 2 * bucket as usize;
    let address = Address { dir, table_id: 1, partition_id: 0, bucket, slot, table_slot: TABLE_SLOT, serial: 0 };
    let policy = SegmentPolicy { bytes_max: 1 << 20, retention_ms: None, retention_bytes: None, has_tree: keyed.is_some(), expiry: None };
    Bucket::open(resources, address, policy, keyed)
}

impl World {
    pub(crate) fn new(faults: Faults, keyed: Option<Arc<Keyed>>) -> Arc<World> {
        let sim = Sim::new(shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng()), Faults { short_one_in: 0, ..Faults::default() });
        let resources = resources(&sim, 1).expect("a healthy disk");
        let bucket = open(&resources, keyed).expect("a healthy disk");
        sim.set_faults(Faults { short_one_in: 0, ..faults });
        Arc::new(World { sim, resources, bucket, ends: AtomicBool::new(false), acknowledged: Mutex::new(Vec::new()) })
    }

    /// The ring's owner.
    pub(crate) fn drive(&self) {
        let mut committer = Committer::new(&self.resources).expect("a healthy queue");
        committer.run().expect("a healthy queue");
        self.resources.calls.end(closed());
        self.resources.board.ring();
    }

    /// The background of the store.
    pub(crate) fn work(&self) {
        let board = &self.resources.board;
        loop {
            let seen = board.word.load(Ordering::Acquire);
            while let Some((bucket, work)) = board.take() {
                // What fails here is tried again when it is needed.
                let _ = self.do_work(&bucket, work);
            }
            if self.ends.load(Ordering::Acquire) && !self.resources.calls.is_driven() {
                return;
            }
            sync::wait(&board.word, seen, None);
        }
    }

    fn do_work(&self, bucket: &Arc<Bucket>, work: Work) -> Result<()> {
        match work {
            // Nobody waits for room in memory.
            Work::Flush | Work::Compact => Ok(()),
            Work::Provide { bytes } => {
                bucket.provide(bytes);
                Ok(())
            }
            Work::Seal => bucket.seal().map(drop),
            Work::Prepare => match bucket.prepare_ahead()? {
                Some(mut preparation) => {
                    while preparation.step(&self.resources)? {}
                    bucket.finish_preparation(preparation)
                }
                None => Ok(()),
            },
        }
    }

    /// A caller: some batches, inline or ahead.
    fn call(&self, batches: u32, blocks: usize) {
        let mut waiting = Vec::new();
        for batch in 0..batches {
            let rows = 1 + batch;
            let inline = strikes(2);
            match self.bucket.append(record(&self.resources.pool, rows, blocks), inline) {
                Ok(pending) => waiting.push((pending, rows)),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                    break;
                }
            }
            if inline {
                self.wait(&mut waiting);
            }
        }
        self.wait(&mut waiting);
    }

    fn wait(&self, waiting: &mut Vec<(aquifer_tests::bucket::Pending, u32)>) {
        for (pending, rows) in waiting.drain(..) {
            if pending.wait(&self.resources).is_err() {
                continue;
            }
            let end = pending.first_offset + u64::from(rows);
            assert!(self.bucket.view().end() >= end, "acknowledged and not to be seen");
            self.acknowledged.lock().push((pending.first_offset, end));
        }
    }

    /// Another process: what the commit page says only grows and is never ahead of the log.
    fn watch(&self) {
        let mut last = 0;
        for _ in 0..5 {
            if let Some(shown) = self.resources.page.slot(SLOT).view() {
                assert!(shown.end >= last && shown.end <= self.bucket.view().end(), "the page says {} after {last}", shown.end);
                last = shown.end;
            }
            thread::yield_now();
        }
    }

    /// The store is closed.
    pub(crate) fn close(&self) {
        self.ends.store(true, Ordering::Release);
        self.resources.calls.stop();
        self.resources.board.ring();
    }
}

struct Scenario {
    callers: u32,
    batches: u32,
    blocks: usize,
    faults: Faults,
    /// The store is closed while callers are at work.
    closes_early: bool,
}

impl Scenario {
    fn run(&self) {
        let world = World::new(self.faults.clone(), None);
        let spawn = |body: fn(&World)| {
            let world = world.clone();
            thread::spawn(move || body(&world))
        };
        let mut background = vec![spawn(World::drive), spawn(World::work), spawn(World::watch)];
        if self.closes_early {
            background.push(spawn(World::close));
        }
        let (batches, blocks) = (self.batches, self.blocks);
        let callers: Vec<_> = (0..self.callers)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.call(batches, blocks))
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
        world.close();
        background.into_iter().for_each(|thread| thread.join().expect("the background"));
        self.check(&world);
    }

    fn check(&self, world: &World) {
        let mut acknowledged = world.acknowledged.lock().clone();
        acknowledged.sort_unstable();
        for pair in acknowledged.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "offsets {pair:?} overlap");
        }
        let end = acknowledged.last().map_or(0, |(_, end)| *end);
        let shown = world.resources.page.slot(SLOT).view().expect("nobody writes it any more").end;
        assert_eq!(shown, world.bucket.view().end(), "in the end the commit page says what is durable");
        let all = u64::from(self.callers * self.batches * (self.batches + 1) / 2);
        if self.faults == Faults::default() && !self.closes_early {
            assert_eq!(end, all, "everything is acknowledged on a healthy disk");
        }
        let sim = world.sim.reboot(7);
        sim.set_faults(Faults::default());
        let again = open(&resources(&sim, 2).expect("a healthy disk"), None).expect("it opens again");
        assert!((end..=all).contains(&again.view().end()), "{end} acknowledged, {} recovered, {all} sent", again.view().end());
    }
}

/// Callers with small batches on a healthy disk.
fn quiet() -> Scenario {
    Scenario { callers: 3, batches: 2, blocks: 1, faults: Faults::default(), closes_early: false }
}

#[test]
fn callers_the_ring_and_the_background() {
    explore(300, || quiet().run());
}

#[test]
fn segments_roll() {
    explore(40, || Scenario { blocks: LARGE_BLOCKS, ..quiet() }.run());
}

#[test]
fn writes_fail() {
    explore(300, || Scenario { faults: Faults { write_error_one_in: 8, ..Faults::default() }, ..quiet() }.run());
}

#[test]
fn the_store_is_closed_in_the_middle() {
    explore(300, || Scenario { closes_early: true, ..quiet() }.run());
}

#[test]
fn a_lost_wake_is_found() {
    let found = is_found(60, || {
        sync::lose_one_wake(2);
        quiet().run();
    });
    assert!(found, "a wake that is not made leaves somebody asleep");
}
