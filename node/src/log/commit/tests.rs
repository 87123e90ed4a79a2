//! Whoever waits is told, also when a thread dies between the end of a write and the wake.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;

use super::*;
use crate::io::BLOCK_BYTES;
use crate::log::producers::Producers;
use crate::log::view::RecentBudget;
use crate::log::writer::{HEAD_ROOM, Start};

/// How long somebody is given to wake up.
const PATIENCE: Duration = Duration::from_secs(20);

fn log() -> Log {
    let start = Start { next_offset: 0, last_timestamp_ms: 0, producers: Producers::default(), active: None, spare: VecDeque::new() };
    let view = Arc::new(View::new(Vec::new(), 0, 0, RecentBudget::new(0)));
    let log = Log::new(Writer::new(start), view, Place { table_id: 1, partition_id: 0, bucket: 0, epoch: 1 }, true);
    log.add_segment(Arc::new(Segment::prepared(1, PathBuf::from("segment"), 1 << 20)));
    log
}

/// Sends a group whose write the ring makes, and a thread that sleeps until its fate is decided and then says how.
fn send(log: &Log, pool: &Pool, decided: &mpsc::Sender<Result<()>>) -> Write {
    let batch_bytes = 100;
    let record = Record { buffer: pool.get((HEAD_ROOM + batch_bytes).next_multiple_of(BLOCK_BYTES)), batch_bytes, rows: 1, producer: None };
    let (receipt, _) = log.submit(record, 1, false).unwrap();
    let decided = decided.clone();
    std::thread::spawn(move || decided.send(receipt.fate.wait()));
    let Turn::Write(write) = log.ring_turn() else { panic!("nothing is in its way") };
    write
}

/// What is no frame: publishing it is a bug, and panics.
fn no_frame(pool: &Pool) -> Vec<Frozen> {
    let mut buffer = pool.get(BLOCK_BYTES);
    buffer.set_len(BLOCK_BYTES);
    vec![buffer.freeze()]
}

#[test]
fn nobody_sleeps_on_when_a_thread_dies_while_it_publishes() {
    // The write that cannot be published is the first of two, or behind one that can: then that one's rows are durable.
    for (bad, durable) in [(0, 0), (1, 1)] {
        let (log, pool) = (log(), Pool::new(1 << 20));
        let (decided, told) = mpsc::channel();
        let writes: Vec<Write> = (0..2).map(|_| send(&log, &pool, &decided)).collect();
        let queued = pool.get(BLOCK_BYTES);
        let receipt = log.submit(Record { buffer: queued, batch_bytes: 100, rows: 1, producer: None }, 1, false).unwrap().0;
        // Groups become durable in order: the end of the first publishes both.
        for index in [1, 0] {
            let frames = if index == bad { no_frame(&pool) } else { Vec::new() };
            let group = writes[index].group;
            let finished = catch_unwind(AssertUnwindSafe(|| drop(log.finish(group, Ok(frames), Hand::Ring))));
            assert_eq!(finished.is_err(), index == 0, "it publishes what it must not");
        }
        let told: Vec<Result<()>> = (0..2).map(|_| told.recv_timeout(PATIENCE).expect("somebody sleeps for ever")).collect();
        assert_eq!(told.iter().filter(|result| result.is_ok()).count(), durable);
        assert!(receipt.fate.poll().is_none(), "what is still queued is for who abandons the log");
        drop(log.abandon(None));
        assert!(receipt.fate.wait().is_err());
    }
}
