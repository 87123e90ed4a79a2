//! The threads that merge runs, so that a flush never waits behind a compaction, and buckets compact side by side.
//!
//! A bucket waits here until a thread is free, which then takes its compaction step by step to its end. Invariants: a bucket compacts once at a time (`bucket` sees
//! to that); after a stop no thread begins another step. Where there are no threads, or none is left, the worker compacts. This module knows nothing of
//! how runs are merged.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Shared, caught};
use crate::bucket::Bucket;
use crate::bucket::upkeep::Extent;
use crate::io::sync::{AtomicU32, Mutex, Ordering, wait, wake_all};

/// Threads at most: each may keep a core busy.
const THREADS_MAX: usize = 4;

/// See the head of this module.
#[derive(Default)]
pub(super) struct Compactors {
    waiting: Mutex<Waiting>,
    /// Changes when there is something to look at.
    word: AtomicU32,
}

#[derive(Default)]
struct Waiting {
    buckets: VecDeque<Arc<Bucket>>,
    threads: usize,
}

/// How many threads are worth their while on this machine: the other half of its cores is for who reads and writes.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, THREADS_MAX))
}

impl Compactors {
    /// One more thread will come here.
    pub(super) fn enter(&self) {
        self.waiting.lock().threads += 1;
    }

    /// Takes a bucket that wants to compact; `false` when there is no thread for it.
    pub(super) fn take_on(&self, bucket: &Arc<Bucket>) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.threads == 0 {
            return false;
        }
        if !waiting.buckets.iter().any(|known| Arc::ptr_eq(known, bucket)) {
            waiting.buckets.push_back(bucket.clone());
        }
        drop(waiting);
        self.ring();
        true
    }

    /// Wakes the threads.
    pub(super) fn ring(&self) {
        self.word.fetch_add(1, Ordering::Release);
        wake_all(&self.word);
    }

    /// Nobody compacts any more what waits.
    pub(super) fn clear(&self) {
        let buckets = std::mem::take(&mut self.waiting.lock().buckets);
        drop(buckets);
    }

    fn next(&self) -> Option<Arc<Bucket>> {
        self.waiting.lock().buckets.pop_front()
    }

    /// A thread is gone. What waits for the last one is the worker's again.
    fn leave(&self, shared: &Shared) {
        let mut waiting = self.waiting.lock();
        waiting.threads -= 1;
        let left = if waiting.threads == 0 { std::mem::take(&mut waiting.buckets) } else { VecDeque::new() };
        drop(waiting);
        for bucket in left {
            shared.resources.board.post(&bucket, crate::bucket::work::Work::Compact);
        }
    }
}

/// What such a thread does until the store is closed.
pub(super) fn compact(shared: &Arc<Shared>) {
    let compactors = &shared.compactors;
    let worked = caught("aquifer-compact", || {
        loop {
            let seen = compactors.word.load(Ordering::Acquire);
            if shared.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            match compactors.next() {
                Some(bucket) => compact_bucket(shared, &bucket),
                None => wait(&compactors.word, seen, None),
            }
        }
    });
    compactors.leave(shared);
    if let Err(error) = worked {
        shared.failed(error);
    }
}

fn compact_bucket(shared: &Shared, bucket: &Arc<Bucket>) {
    let step = || -> crate::error::Result<()> {
        let Some(mut job) = bucket.begin_compaction(Extent::Picked)? else { return Ok(()) };
        while bucket.step(&mut job)? {
            if shared.stop.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(())
    };
    if let Err(error) = shared.unless_closed(bucket, step()) {
        shared.failed(error);
    }
}
