//! The memory that all memtables of a store share: which one is flushed, and who waits for room.
//!
//! Memtables that take rows have one half of the budget. When they need more, the largest of the store is flushed, whatever bucket it is of and whether or not anybody
//! writes to it. The other half is for those that wait to be flushed; as it fills up all writers of the store are slowed down, and stopped when it is full.
//! Invariants: the budget is exceeded by no more than what is on its way when it fills up: batches that were let in and are not durable yet (see
//! [`MemtableBudget`]); what is counted is some open bucket's, so that somebody can flush it; buckets whose flushes come to nothing leave room for others.
//! This module knows nothing of how memtables are flushed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::tree::{Pressure, Tree};
use super::work::Work;
use super::{Bucket, here};
use crate::error::{Error, Kind, Result};
use crate::io::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, wait, wake_all};

/// A memtable is flushed when it alone takes one part in so many of the budget: while some are flushed others go on.
const MEMTABLES_PER_BUDGET: usize = 4;

/// Memtables that take rows have one part in so many of the budget.
const ACTIVE_PARTS: usize = 2;

/// Buckets whose flushes come to nothing are refused rows when together they have one part in so many of the budget.
const FAILING_PARTS: usize = 2;

/// No bucket has more than so many quarters of the budget while there are others: they go on when its flushes begin to come to nothing.
const QUARTERS_OF_ONE: usize = 3;

/// Writers are slowed down from so many eighths of the budget on.
const SLOWED_EIGHTHS: usize = 7;

/// How long a writer waits at most for flushes that are behind, per batch, before there is no room at all.
const SLOWED_MAX: Duration = Duration::from_millis(20);

/// How long a writer waits for room before it looks again whether the bucket is still open.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// See the head of this module. What is on its way is counted when it comes to a memtable: a batch for each writer that waits for its rows, and as many as it sends
/// ahead for one that does not.
pub struct MemtableBudget {
    bytes_max: usize,
    bytes: AtomicUsize,
    /// Those of the bytes that take no more rows.
    waiting: AtomicUsize,
    trees: AtomicUsize,
    /// Open buckets with trees that are written to. One that can be held is open or closed, never let go of: see [`Bucket::end_if_idle`].
    buckets: Mutex<Vec<Weak<Bucket>>>,
    /// One at a time looks for the largest.
    relieving: Mutex<()>,
    /// Changes when there is more room, or a flush came to nothing.
    word: AtomicU32,
}

impl MemtableBudget {
    /// Of so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        MemtableBudget {
            bytes_max,
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            trees: AtomicUsize::new(0),
            buckets: Mutex::new(Vec::new()),
            relieving: Mutex::new(()),
            word: AtomicU32::new(0),
        }
    }

    /// A tree was opened.
    pub fn enter(&self) {
        self.trees.fetch_add(1, Ordering::Relaxed);
    }

    /// A tree was closed that held so many bytes, of which so many waited.
    pub fn leave(&self, bytes: usize, waiting: usize) {
        self.trees.fetch_sub(1, Ordering::Relaxed);
        self.give_back(bytes, waiting);
    }

    /// From now on a bucket may be told to flush.
    pub(super) fn watch(&self, bucket: &Arc<Bucket>) {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= 2 * self.trees.load(Ordering::Relaxed) {
            buckets.retain(|bucket| bucket.strong_count() > 0);
        }
        buckets.push(Arc::downgrade(bucket));
    }

    /// A memtable has other bytes than before: more, or fewer when small batches were copied together.
    pub fn grow(&self, before: usize, bytes: usize) {
        match bytes >= before {
            true => self.bytes.fetch_add(bytes - before, Ordering::Relaxed),
            false => self.bytes.fetch_sub(before - bytes, Ordering::Relaxed),
        };
    }

    /// A memtable of so many bytes takes no more rows.
    pub fn note_waiting(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Memtables of so many bytes are gone, of which so many waited.
    pub fn give_back(&self, bytes: usize, waiting: usize) {
        self.waiting.fetch_sub(waiting, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.ring();
    }

    /// Bytes of all memtables.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a memtable of so many bytes should make room whatever others have: it alone takes a good part of the budget, or together they are over it and it is
    /// no less than the others on average.
    pub fn is_due(&self, bytes: usize) -> bool {
        let share = self.bytes_max / (ACTIVE_PARTS * self.trees.load(Ordering::Relaxed).max(1));
        bytes >= self.bytes_max / MEMTABLES_PER_BUDGET || (self.bytes() > self.bytes_max && bytes > 0 && bytes >= share)
    }

    /// Whether memtables that take rows have more than their part.
    pub(super) fn is_crowded(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.bytes().saturating_sub(waiting) > self.bytes_max / ACTIVE_PARTS
    }

    /// How writers of a bucket should go on.
    fn pressure(&self, tree: &Tree) -> Pressure {
        let (bytes, slowed_from) = (self.bytes(), self.bytes_max / 8 * SLOWED_EIGHTHS);
        let is_alone = self.trees.load(Ordering::Relaxed) < 2;
        let has_its_share = || !is_alone && tree.memory_bytes() >= self.bytes_max / 4 * QUARTERS_OF_ONE;
        match bytes.checked_sub(slowed_from) {
            _ if bytes >= self.bytes_max || has_its_share() => Pressure::Full,
            None => Pressure::None,
            Some(over) => Pressure::Slow(SLOWED_MAX.mul_f64(over as f64 / (self.bytes_max - slowed_from) as f64)),
        }
    }

    /// There is more room, or a flush came to nothing.
    pub(super) fn ring(&self) {
        self.word.fetch_add(1, Ordering::Release);
        wake_all(&self.word);
    }

    /// Lets the largest memtables be flushed until the others have no more than their part. For who holds the head of no log.
    fn relieve(&self) {
        if !self.is_crowded() {
            return;
        }
        let Some(_one_at_a_time) = self.relieving.try_lock() else { return };
        while self.is_crowded() {
            let open = self.open();
            // What one has whose flushes come to nothing makes no room.
            let Some((bucket, tree)) =
                largest(&open, |tree| !tree.is_failing(), active_bytes).or_else(|| largest(&open, |_| true, active_bytes))
            else {
                return;
            };
            if !bucket.log.with_writer(|_| tree.rotate()) || !bucket.resources.board.post(bucket, Work::Flush) {
                return;
            }
        }
    }

    fn open(&self) -> Vec<Open> {
        // None of them may end while the list is locked.
        let open: Vec<Arc<Bucket>> = self.buckets.lock().iter().filter_map(Weak::upgrade).collect();
        let with_tree = |bucket: Arc<Bucket>| bucket.tree.clone().filter(|_| !bucket.is_closed()).map(|tree| (bucket, tree));
        open.into_iter().filter_map(with_tree).collect()
    }

    /// What may become of the budget that is used up. Where nothing waits that can be flushed, the largest memtable that can is made to.
    fn outlook(&self) -> Outlook {
        let open = self.open();
        let is_well = |tree: &Tree| !tree.is_failing();
        if let Some((bucket, _)) = largest(&open, is_well, Tree::waiting_bytes) {
            // Whoever was asked for it may have found another flush under way that came to nothing.
            bucket.resources.board.post(bucket, Work::Flush);
            return Outlook::Flushes;
        }
        if let Some((bucket, tree)) = largest(&open, is_well, active_bytes) {
            bucket.log.with_writer(|_| tree.rotate());
            bucket.resources.board.post(bucket, Work::Flush);
            return Outlook::Flushes;
        }
        let Some((bucket, tree)) = largest(&open, |_| true, Tree::waiting_bytes) else { return Outlook::Nothing };
        match tree.why_not_flushed() {
            Some(error) => Outlook::Fails(bucket.clone(), here(&bucket.address, error)),
            None => Outlook::Flushes,
        }
    }

    /// Bytes that cannot be flushed, as it seems.
    fn failing_bytes(&self) -> usize {
        self.open().iter().filter(|(_, tree)| tree.is_failing()).map(|(_, tree)| tree.memory_bytes()).sum()
    }
}

type Open = (Arc<Bucket>, Arc<Tree>);

/// See [`MemtableBudget::outlook`].
enum Outlook {
    /// There will be room.
    Flushes,
    /// Nothing that is there can be flushed: the largest of it, and why.
    Fails(Arc<Bucket>, Error),
    /// Nothing is there.
    Nothing,
}

fn active_bytes(tree: &Tree) -> usize {
    tree.levels().active().bytes()
}

/// The one of these buckets with the most bytes of a kind; `None` when none has any.
fn largest(open: &[Open], is_meant: impl Fn(&Tree) -> bool, bytes: impl Fn(&Tree) -> usize) -> Option<&Open> {
    let meant = open.iter().filter(|(_, tree)| is_meant(tree));
    meant.map(|open| (bytes(&open.1), open)).max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0).map(|(_, open)| open)
}

impl Bucket {
    /// Waits until the store has room for rows in memory.
    ///
    /// # Errors
    /// Why flushes come to nothing, when there is no room.
    pub(super) fn wait_for_memory(self: &Arc<Self>, tree: &Tree) -> Result<()> {
        let budget = &self.resources.memtables;
        let clock = self.resources.driver.clock();
        let is_alone = self.resources.driver.is_single_threaded();
        loop {
            let (seen, started) = (budget.word.load(Ordering::Acquire), clock.monotonic());
            if let Some(error) = tree.why_not_flushed().filter(|_| budget.failing_bytes() >= budget.bytes_max / FAILING_PARTS) {
                if is_alone {
                    return or_later(self.flush());
                }
                // By the next rows there may be room.
                self.resources.board.post(self, Work::Flush);
                return Err(self.here(error));
            }
            budget.relieve();
            match budget.pressure(tree) {
                Pressure::None => return Ok(()),
                Pressure::Slow(_) if is_alone => return Ok(()),
                Pressure::Slow(pause) => {
                    wait(&budget.word, seen, Some(pause));
                    self.note_stall(tree, clock.monotonic() - started);
                    return Ok(());
                }
                Pressure::Full if is_alone => return self.make_room(),
                Pressure::Full => {
                    match budget.outlook() {
                        Outlook::Flushes => {}
                        Outlook::Nothing => return Ok(()),
                        Outlook::Fails(bucket, error) => {
                            self.resources.board.post(&bucket, Work::Flush);
                            return Err(error);
                        }
                    }
                    if self.is_closed() || self.resources.board.has_ended() {
                        return Ok(());
                    }
                    wait(&budget.word, seen, Some(LOOK_AGAIN));
                    self.note_stall(tree, clock.monotonic() - started);
                }
            }
        }
    }

    /// Flushes what waits, the largest first, until there is room. Where one thread does everything.
    fn make_room(self: &Arc<Self>) -> Result<()> {
        let budget = &self.resources.memtables;
        let mut open = budget.open();
        open.sort_by_key(|(_, tree)| std::cmp::Reverse(tree.waiting_bytes()));
        for (bucket, tree) in open.iter().filter(|(_, tree)| tree.waiting_bytes() > 0) {
            match bucket.flush() {
                // That is for its own writers.
                Err(_) if !Arc::ptr_eq(bucket, self) => {}
                flushed => or_later(flushed)?,
            }
            if budget.pressure(tree) != Pressure::Full {
                break;
            }
        }
        Ok(())
    }
}

/// A flush that is under way goes on when the background is given time.
fn or_later(flushed: Result<()>) -> Result<()> {
    flushed.or_else(|error| if error.kind() == Kind::Unavailable { Ok(()) } else { Err(error) })
}
