//! The log alone: callers that write themselves, a ring thread, a thread that prepares segments.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aquifer_tests::error::{Error, Kind, Result};
use aquifer_tests::format::frame::{Parsed, parse};
use aquifer_tests::format::log_batch::BatchHeader;
use aquifer_tests::io::sync::{self, Mutex};
use aquifer_tests::io::{BLOCK_BYTES, Frozen, Pool};
use aquifer_tests::log::commit::{Effects, Hand, Log, Turn};
use aquifer_tests::log::fate::Fate;
use aquifer_tests::log::gather::Place;
use aquifer_tests::log::producers::Producers;
use aquifer_tests::log::segment::Segment;
use aquifer_tests::log::view::{RecentBudget, View};
use aquifer_tests::log::writer::{Start, Write, Writer};
use shuttle::sync::Condvar;
use shuttle::thread;

use crate::device::{Device, Trouble, failed, record, strikes};
use crate::{explore, is_found};

/// Bytes of a segment: a few records fill it.
const SEGMENT_BYTES: u64 = 4 * BLOCK_BYTES as u64;

/// One log, and everybody around it.
struct World {
    log: Log,
    pool: Pool,
    device: Device,
    trouble: Trouble,
    next_segment: AtomicU64,
    called: shuttle::sync::Mutex<Called>,
    bell: Condvar,
}

/// What the ring thread is told.
#[derive(Default)]
struct Called {
    write: bool,
    prepare: bool,
    stop: bool,
}

impl World {
    fn new(trouble: Trouble) -> Arc<World> {
        let start = Start { next_offset: 0, last_timestamp_ms: 0, producers: Producers::default(), active: None, spare: VecDeque::new() };
        let view = Arc::new(View::new(Vec::new(), 0, 0, RecentBudget::new(0)));
        let place = Place { table_id: 1, partition_id: 0, bucket: 0, epoch: 1 };
        Arc::new(World {
            log: Log::new(Writer::new(start), view, place, true),
            pool: Pool::new(1 << 20),
            device: Device::default(),
            trouble,
            next_segment: AtomicU64::new(1),
            called: shuttle::sync::Mutex::default(),
            bell: Condvar::new(),
        })
    }

    fn tell(&self, what: impl FnOnce(&mut Called)) {
        what(&mut self.called.lock().expect("no panic in here"));
        self.bell.notify_all();
    }

    fn segment(&self, bytes: usize) -> Result<Arc<Segment>> {
        if strikes(self.trouble.no_segment_one_in) {
            return Err(Error::exhausted("the device is full"));
        }
        let id = self.next_segment.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Segment::prepared(id, PathBuf::from(format!("{id}")), SEGMENT_BYTES.max(bytes as u64))))
    }

    /// What the bucket does with a turn of a caller.
    fn take(&self, turn: Turn) {
        match turn {
            Turn::Done => {}
            Turn::CallRing => self.tell(|called| called.write = true),
            Turn::Prepare { bytes } => self.apply(self.log.segment_ready(self.segment(bytes))),
            Turn::Write(write) => self.write(write, Hand::Inline),
        }
    }

    fn write(&self, mut write: Write, hand: Hand) {
        let frames = self.log.gather(&mut write, &self.pool);
        thread::yield_now();
        let result = self.on_device(&frames);
        thread::yield_now();
        let effects = self.log.finish(write.group, result.map(|()| frames), hand);
        self.apply(effects);
    }

    fn on_device(&self, frames: &[Frozen]) -> Result<()> {
        if strikes(self.trouble.write_fails_one_in) {
            return Err(failed());
        }
        frames.iter().for_each(|frame| self.put(frame));
        Ok(())
    }

    fn put(&self, bytes: &Frozen) {
        let segment = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
        let Parsed::Frame(frame) = parse(bytes, segment, 0) else { panic!("a frame that cannot be read") };
        for span in &frame.batches {
            let header = BatchHeader::read(&bytes[span.range()]).expect("a batch of this test");
            self.device.put(header.base_offset as u64, header.next_offset() as u64);
        }
    }

    fn apply(&self, mut effects: Effects) {
        effects.wake(std::time::Duration::from_nanos(1));
        if effects.call_ring {
            self.tell(|called| called.write = true);
        }
        if effects.wants_segment {
            self.tell(|called| called.prepare = true);
        }
    }

    /// The thread of the ring: takes what is queued, has several writes in flight, ends them in any order.
    fn drive(&self) {
        let mut in_flight: Vec<Write> = Vec::new();
        loop {
            let (write, stop) = {
                let mut called = self.called.lock().expect("no panic in here");
                while !called.write && !called.stop && in_flight.is_empty() {
                    called = self.bell.wait(called).expect("no panic in here");
                }
                (std::mem::take(&mut called.write), called.stop)
            };
            if write {
                self.start(&mut in_flight);
            }
            if !in_flight.is_empty() {
                let which = if strikes(2) { 0 } else { in_flight.len() - 1 };
                let write = in_flight.remove(which);
                self.write(write, Hand::Ring);
                self.start(&mut in_flight);
            } else if stop && !write {
                return;
            }
        }
    }

    fn start(&self, in_flight: &mut Vec<Write>) {
        loop {
            match self.log.ring_turn() {
                Turn::Write(write) => in_flight.push(write),
                Turn::Prepare { bytes } => self.apply(self.log.segment_ready(self.segment(bytes))),
                Turn::Done | Turn::CallRing => return,
            }
        }
    }

    /// The background: prepares segments ahead of need.
    fn prepare(&self) {
        loop {
            {
                let mut called = self.called.lock().expect("no panic in here");
                while !called.prepare && !called.stop {
                    called = self.bell.wait(called).expect("no panic in here");
                }
                if called.stop {
                    return;
                }
                called.prepare = false;
            }
            if self.log.wants_segment()
                && let Ok(segment) = self.segment(0)
            {
                self.log.add_segment(segment);
            }
        }
    }
}

/// Rows that were sent, with what became of them.
type Sent = Arc<Mutex<Vec<(u64, u32, bool)>>>;

/// One caller: a few batches, some inline, some sent ahead and waited for at the end.
fn call(world: &World, sent: &Sent, batches: u32) {
    let mut waiting: Vec<(Arc<Fate>, u64, u32)> = Vec::new();
    for batch in 0..batches {
        let inline = strikes(2);
        let rows = 1 + batch;
        let record = record(&world.pool, rows, if strikes(3) { 2 } else { 1 });
        let (receipt, turn) = match world.log.submit(record, 5, inline) {
            Ok(submitted) => submitted,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "only a poisoned log refuses: {error}");
                break;
            }
        };
        world.take(turn);
        waiting.push((receipt.fate, receipt.first_offset, rows));
        if inline {
            acknowledge(world, sent, &mut waiting);
        }
    }
    acknowledge(world, sent, &mut waiting);
}

fn acknowledge(world: &World, sent: &Sent, waiting: &mut Vec<(Arc<Fate>, u64, u32)>) {
    for (fate, first_offset, rows) in waiting.drain(..) {
        let end = first_offset + u64::from(rows);
        let result = fate.wait_awake();
        let is_durable = result.is_ok();
        if let Err(error) = result {
            assert_ne!(error.kind(), Kind::Internal, "what failed has a reason: {error}");
        }
        if is_durable {
            assert!(world.device.end() >= end, "rows {first_offset} to {end} are acknowledged and not on the device");
            assert!(world.log.view().end() >= end, "rows {first_offset} to {end} are acknowledged and cannot be seen");
        }
        sent.lock().push((first_offset, rows, is_durable));
    }
}

fn scenario(callers: u32, batches: u32, trouble: Trouble) {
    let world = World::new(trouble);
    let sent: Sent = Arc::new(Mutex::new(Vec::new()));
    let spawn = |body: fn(&World)| {
        let world = world.clone();
        thread::spawn(move || body(&world))
    };
    let background = [spawn(World::drive), spawn(World::prepare)];
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (world, sent) = (world.clone(), sent.clone());
            thread::spawn(move || call(&world, &sent, batches))
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    world.tell(|called| called.stop = true);
    background.into_iter().for_each(|thread| thread.join().expect("the background"));
    check(&world, &sent, trouble);
}

/// The acknowledged rows are the log: from 0 to its end, each once.
fn check(world: &World, sent: &Sent, trouble: Trouble) {
    let mut acknowledged: Vec<(u64, u32)> =
        sent.lock().iter().filter(|(_, _, durable)| *durable).map(|(first, rows, _)| (*first, *rows)).collect();
    acknowledged.sort_unstable();
    let end = acknowledged.iter().fold(0, |end, (first, rows)| {
        assert_eq!(*first, end, "offsets follow each other");
        first + u64::from(*rows)
    });
    assert_eq!(world.log.view().end(), end, "what can be seen is what was acknowledged");
    assert_eq!(world.log.with_writer(|writer| writer.durable_offset()), end);
    if trouble == Trouble::default() {
        assert!(sent.lock().iter().all(|(_, _, durable)| *durable), "nothing fails on a healthy device");
    }
}

#[test]
fn two_callers_and_the_ring() {
    explore(4000, || scenario(2, 3, Trouble::default()));
}

#[test]
fn more_callers_than_may_write_themselves() {
    explore(300, || scenario(6, 2, Trouble::default()));
}

#[test]
fn a_failed_write_poisons_and_wakes_everybody() {
    explore(600, || scenario(3, 3, Trouble { write_fails_one_in: 6, ..Trouble::default() }));
}

#[test]
fn without_a_segment_the_queue_fails_and_the_log_goes_on() {
    explore(600, || scenario(3, 3, Trouble { no_segment_one_in: 3, ..Trouble::default() }));
}

#[test]
fn both_at_once() {
    explore(400, || scenario(3, 3, Trouble { write_fails_one_in: 8, no_segment_one_in: 4 }));
}

#[test]
fn a_lost_wake_is_found() {
    let found = is_found(400, || {
        sync::lose_one_wake(1);
        scenario(3, 3, Trouble::default());
    });
    assert!(found, "a wake that is not made leaves somebody asleep");
}
