//! Who writes when: the calling thread itself while a log is quiet, the ring thread once several callers meet.
//!
//! - Up to [`INLINE_MAX`] callers write their own group at once, while nothing is queued and the ring has no write in flight: no hand-over, no wake.
//! - Else a group is queued; the ring thread takes everything and keeps [`RING_DEPTH`] writes in flight, inline ones counted. It is *sticky*:
//!   nobody goes inline until it has drained, or groups would stay small exactly when they should grow.
//!
//! Invariants: one short lock; what is published (view, fates) is published in order, under it; a thread is woken only after the lock is left.
//! Figures behind the numbers: docs/decisions/0001-commit.md. This module knows nothing of buckets, manifests or the ring itself.

use std::sync::Arc;
use std::time::Duration;

use super::fate::{Deciding, Fate, died};
use super::gather::{Place, gather};
use super::segment::Segment;
use super::view::View;
use super::writer::{Durable, Outcome, Receipt, Record, Step, Write, Writer};
use crate::error::{Error, Result};
use crate::io::sync::{Mutex, MutexGuard};
use crate::io::{Driver, FileCache, Frozen, Pool};

/// Callers that write their own group at the same time.
pub const INLINE_MAX: u32 = 4;

/// Writes of one log that the ring keeps in flight.
pub const RING_DEPTH: usize = 2;

/// Who makes a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// The caller of an append.
    Inline,
    /// The ring thread.
    Ring,
}

/// What the holder of the turn does next.
#[derive(Debug)]
pub enum Turn {
    /// Nothing: the rows are queued with a hand that is busy, or there is nothing to do.
    Done,
    /// Tell the ring thread that this log has something queued.
    CallRing,
    /// Prepare a segment of at least this many bytes and call [`Log::segment_ready`]: everybody else waits for it.
    Prepare {
        /// Bytes of the group that waits.
        bytes: usize,
    },
    /// Make this write and call [`Log::finish`].
    Write(Write),
}

/// What a finished write means for those above and those who wait.
#[derive(Debug, Default)]
#[must_use = "waiters must be woken"]
pub struct Effects {
    /// Dropped, they wake as well: a thread that dies with them in its hands leaves nobody asleep.
    decided: Vec<Deciding>,
    /// Segments that are full and durable, oldest first.
    pub sealed: Vec<Arc<Segment>>,
    /// Groups became durable.
    pub advanced: bool,
    /// Something is queued for the ring thread.
    pub call_ring: bool,
    /// The next segment should be prepared soon.
    pub wants_segment: bool,
}

impl Effects {
    /// Wakes everybody who sleeps until their group is decided.
    pub fn wake(&mut self, now: Duration) {
        for fate in self.decided.drain(..) {
            fate.wake(now);
        }
    }
}

struct Head {
    writer: Writer,
    inline: u32,
    ring: u32,
    preparing: bool,
}

/// Takes every group that became durable, in order, before anybody is told of it.
pub type Sink = Box<dyn Fn(&Durable) + Send + Sync>;

/// Tells the world outside of this process how far the log is durable, before anybody in it is told.
pub type Herald = Box<dyn Fn(&View) + Send + Sync>;

/// The log of one bucket, open for writing.
pub struct Log {
    head: Mutex<Head>,
    view: Arc<View>,
    place: Place,
    durable: bool,
    sink: Option<Sink>,
    herald: Option<Herald>,
}

impl Log {
    /// A log that goes on where `writer` stands. Without `durable`, writes are not synced.
    pub fn new(writer: Writer, view: Arc<View>, place: Place, durable: bool) -> Self {
        Log { head: Mutex::new(Head { writer, inline: 0, ring: 0, preparing: false }), view, place, durable, sink: None, herald: None }
    }

    /// With somebody who tells other processes of it.
    #[must_use]
    pub fn with_herald(mut self, herald: Herald) -> Self {
        self.herald = Some(herald);
        self
    }

    /// With somebody who takes what becomes durable: an index over this log.
    #[must_use]
    pub fn with_sink(mut self, sink: Option<Sink>) -> Self {
        self.sink = sink;
        self
    }

    /// What readers see.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whose log this is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Takes a batch in. With `inline`, the caller is willing to write it itself when its turn comes at once.
    ///
    /// Errors: as [`Writer::enqueue`].
    pub fn submit(&self, record: Record, now_ms: i64, inline: bool) -> Result<(Receipt, Turn)> {
        let mut head = self.head.lock();
        let inline = inline && head.may_go_inline();
        let receipt = head.writer.enqueue(record, now_ms)?;
        if receipt.duplicate {
            return Ok((receipt, Turn::Done));
        }
        let turn = head.turn_behind_new(inline);
        Ok((receipt, turn))
    }

    /// Takes batches in, one behind the other, if the next offset is `at`: else what the caller made them from is no longer there, and `None` is the answer.
    /// Of no batches the answer is the fate of the rows before them. With `inline` as [`Log::submit`].
    ///
    /// Errors: as [`Writer::enqueue`].
    pub fn submit_at(&self, at: u64, records: Vec<Record>, now_ms: i64, inline: bool) -> Result<Option<(Receipt, Turn)>> {
        let mut head = self.head.lock();
        if let Some(error) = head.writer.poison() {
            return Err(error.replica());
        }
        if head.writer.next_offset() != at {
            return Ok(None);
        }
        if records.is_empty() {
            let fate = head.writer.newest_fate().cloned().unwrap_or_else(Fate::durable);
            return Ok(Some((Receipt { fate, first_offset: at, duplicate: false }, Turn::Done)));
        }
        let inline = inline && head.may_go_inline();
        let mut last = None;
        for record in records {
            last = Some(head.writer.enqueue(record, now_ms)?);
        }
        let last = last.expect("there are some");
        let turn = head.turn_behind_new(inline);
        Ok(Some((Receipt { first_offset: at, ..last }, turn)))
    }

    /// The ring thread's next write of this log, if it may start one.
    pub fn ring_turn(&self) -> Turn {
        let mut head = self.head.lock();
        if head.is_busy() {
            return Turn::Done;
        }
        head.take_turn(Hand::Ring)
    }

    /// Frames of a write, ready to go to the device.
    pub fn gather(&self, write: &mut Write, pool: &Pool) -> Vec<Frozen> {
        gather(write, &self.place, pool)
    }

    /// Makes a write in the calling thread and finishes it.
    pub fn write_inline(&self, mut write: Write, driver: &dyn Driver, files: &FileCache, pool: &Pool) -> Effects {
        let mut owed = Owed { log: self, hand: Some(Hand::Inline) };
        let frames = self.gather(&mut write, pool);
        let result = files
            .open(driver, write.segment.path(), true)
            .and_then(|file| driver.write_at(&file, &frames, write.position, self.durable))
            .map_err(|error| Error::io("write", write.segment.path(), error));
        owed.hand = None;
        let effects = self.finish(write.group, result.map(|()| frames), Hand::Inline);
        std::mem::forget(owed);
        effects
    }

    /// Whether writes are synced before they are acknowledged.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Takes the result of a write. Publishes what became durable; the caller wakes.
    pub fn finish(&self, group: u64, result: Result<Vec<Frozen>>, hand: Hand) -> Effects {
        let mut head = self.head.lock();
        match hand {
            Hand::Inline => head.inline -= 1,
            Hand::Ring => head.ring -= 1,
        }
        let reason = result.as_ref().err().map(Error::replica);
        let outcome = head.writer.completed(group, result);
        let mut effects = self.publish(head, outcome, reason);
        // The ring thread looks at a log again after each of its writes.
        effects.call_ring &= hand == Hand::Inline;
        effects
    }

    /// The segment asked for by [`Turn::Prepare`], or why there is none: then what is queued fails and the log goes on.
    pub fn segment_ready(&self, segment: Result<Arc<Segment>>) -> Effects {
        let mut head = self.head.lock();
        assert!(head.preparing, "nobody asked for a segment");
        head.preparing = false;
        match segment {
            Ok(segment) => {
                head.writer.add_segment(segment);
                self.publish(head, Outcome::default(), None)
            }
            Err(error) => {
                let outcome = head.writer.refuse();
                self.publish(head, outcome, Some(error))
            }
        }
    }

    /// Whether the next segment should be prepared: less than half of the active one is left, and nothing stands ready.
    pub fn wants_segment(&self) -> bool {
        self.head.lock().wants_segment()
    }

    /// Fails what is queued, for this reason; what is in flight goes on.
    pub fn give_up(&self, error: Error) -> Effects {
        let mut head = self.head.lock();
        let outcome = head.writer.refuse();
        self.publish(head, outcome, Some(error))
    }

    /// Fails everything that is queued or in flight, and takes no more rows: somebody died who had it in hand. `hand` is whose write it was, if it
    /// had not been handed back.
    pub fn abandon(&self, hand: Option<Hand>) -> Effects {
        let mut head = self.head.lock();
        match hand {
            Some(Hand::Inline) => head.inline -= 1,
            Some(Hand::Ring) => head.ring -= 1,
            None => {}
        }
        let error = died();
        head.writer.poison_with(error.replica());
        let outcome = head.writer.abandon();
        self.publish(head, outcome, Some(error))
    }

    /// A segment prepared ahead of need.
    pub fn add_segment(&self, segment: Arc<Segment>) {
        self.head.lock().writer.add_segment(segment);
    }

    /// The log takes no more rows, for this reason; reads go on.
    pub fn poison(&self, error: Error) {
        self.head.lock().writer.poison_with(error);
    }

    /// Writes that callers make, and groups queued or in flight with the ring thread.
    pub fn unfinished(&self) -> (u32, usize) {
        let head = self.head.lock();
        (head.inline, head.ring as usize + head.writer.queued())
    }

    /// Looks at the machine under the lock.
    pub fn with_writer<R>(&self, look: impl FnOnce(&Writer) -> R) -> R {
        look(&self.head.lock().writer)
    }

    /// Looks while none of these logs takes a row, acknowledges one or hands one on: at one moment of all of them.
    /// Who calls this holds no other log's head, and names no log twice.
    pub fn with_all<R>(logs: &[&Log], look: impl FnOnce() -> R) -> R {
        let _heads: Vec<_> = logs.iter().map(|log| log.head.lock()).collect();
        look()
    }

    fn publish(&self, head: MutexGuard<'_, Head>, outcome: Outcome, reason: Option<Error>) -> Effects {
        let mut effects = Effects {
            decided: Vec::with_capacity(outcome.durable.len() + outcome.failed.len()),
            sealed: outcome.sealed,
            advanced: !outcome.durable.is_empty(),
            call_ring: head.writer.queued() > 0 && !head.is_busy(),
            wants_segment: head.wants_segment(),
        };
        // Whatever panics in here drops the rest of what it has in hand, which fails those who wait for it.
        for durable in outcome.durable {
            // Whoever sees the new end finds the rows before it in the index.
            if let Some(sink) = &self.sink {
                sink(&durable);
            }
            let fate = self.view.publish(durable);
            // Who hears that a row is durable, and then starts another process, finds it there.
            if let Some(herald) = &self.herald {
                herald(&self.view);
            }
            fate.succeed();
            effects.decided.push(fate);
        }
        for fate in outcome.failed {
            // A write that failed before the one ahead of it ended is given up only now: it is why the log is poisoned.
            let reason = reason.as_ref().or(head.writer.poison());
            fate.fail(reason.map_or_else(|| Error::internal("a write was given up"), Error::replica));
            effects.decided.push(fate);
        }
        drop(head);
        effects
    }
}

/// A write that the calling thread has taken on. If it dies, the log is abandoned.
struct Owed<'a> {
    log: &'a Log,
    /// Until it hands the write back.
    hand: Option<Hand>,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        drop(self.log.abandon(self.hand));
    }
}

impl Head {
    fn may_go_inline(&self) -> bool {
        self.ring == 0 && self.inline < INLINE_MAX && !self.preparing && self.writer.queued() == 0
    }

    /// What is queued waits for the end of a write, or for a segment.
    fn is_busy(&self) -> bool {
        self.preparing || self.writer.in_flight() >= RING_DEPTH
    }

    fn wants_segment(&self) -> bool {
        let half = self.writer.active().map_or(0, |(segment, _)| segment.capacity_bytes() / 2);
        !self.preparing && self.writer.poison().is_none() && self.writer.spare() == 0 && self.writer.room_bytes() < half
    }

    /// What the caller does who has just queued something.
    fn turn_behind_new(&mut self, inline: bool) -> Turn {
        match inline {
            true => self.take_turn(Hand::Inline),
            // Whoever finishes the next write comes back for what is queued.
            false if self.is_busy() => Turn::Done,
            false => Turn::CallRing,
        }
    }

    fn take_turn(&mut self, hand: Hand) -> Turn {
        match self.writer.next_write() {
            Step::Nothing => Turn::Done,
            Step::NeedSegment { bytes } => {
                self.preparing = true;
                Turn::Prepare { bytes }
            }
            Step::Write(write) => {
                match hand {
                    Hand::Inline => self.inline += 1,
                    Hand::Ring => self.ring += 1,
                }
                Turn::Write(write)
            }
        }
    }
}

#[cfg(test)]
mod tests;
