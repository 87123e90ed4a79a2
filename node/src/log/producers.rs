//! What a log remembers of its idempotent writers, so that a batch sent again is answered and not written again.
//!
//! A writer numbers its batches 0, 1, 2, ... for each bucket and keeps at most [`IN_FLIGHT_MAX`] unanswered. The log remembers that many of
//! each writer's last batches; a repeat is answered with its first offset, a gap is refused. The same rule as in Apache Fluss and Kafka.
//!
//! Invariant: the remembered sequences of a writer are consecutive. This module knows nothing of files or threads.

use std::collections::{HashMap, VecDeque};

use crate::error::{Error, Result};
use crate::format::log_batch::{BatchHeader, NO_WRITER_ID};

/// Batches of one writer that may be unanswered at a time.
pub const IN_FLIGHT_MAX: usize = 5;

/// Writers remembered in one log; the one silent for longest is forgotten first.
pub const PRODUCERS_MAX: usize = 10_000;

/// Who sent a batch, and the batch's number in that writer's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Chosen once by the writer; not negative.
    pub id: i64,
    /// 0, 1, 2, ... for each bucket; after `i32::MAX` comes 0.
    pub sequence: i32,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub sequence: i32,
    /// Offset of its first row.
    pub first_offset: u64,
    /// Offsets it took.
    pub rows: u32,
    /// The group that carried it.
    pub group: u64,
}

/// The answer to a batch that wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next of its writer.
    New,
    /// Written before, here.
    Duplicate(Sent),
}

#[derive(Debug, Default)]
struct History {
    last: VecDeque<Sent>,
    seen_ms: i64,
    /// What comes next when nothing is remembered: the first of the batches that were taken back.
    taken_back: Option<i32>,
}

/// The writers of one log.
#[derive(Debug, Default)]
pub struct Producers {
    known: HashMap<i64, History>,
}

impl Producers {
    /// Whether the batch is the next of its writer, a repeat, or out of order (an error of kind Conflict).
    pub fn check(&self, producer: Producer) -> Result<Verdict> {
        if producer.id < 0 || producer.sequence < 0 {
            return Err(Error::invalid(format!("writer {} with sequence {}: neither may be negative", producer.id, producer.sequence)));
        }
        // A writer never seen may start anywhere: its earlier batches may have left with retention.
        let Some(history) = self.known.get(&producer.id) else {
            return Ok(Verdict::New);
        };
        if let Some(sent) = history.last.iter().find(|sent| sent.sequence == producer.sequence) {
            return Ok(Verdict::Duplicate(*sent));
        }
        let expected = history.last.back().map(|sent| successor(sent.sequence)).or(history.taken_back).unwrap_or(0);
        if producer.sequence == expected {
            return Ok(Verdict::New);
        }
        Err(Error::conflict(format!("batch {} of writer {} is out of order, {expected} comes next", producer.sequence, producer.id))
            .hint("send the missing batch first, or take a new writer id"))
    }

    /// Remembers a batch that came in.
    pub fn record(&mut self, producer: i64, sent: Sent, now_ms: i64) {
        if !self.known.contains_key(&producer) && self.known.len() >= PRODUCERS_MAX {
            self.forget_the_longest_silent();
        }
        let history = self.known.entry(producer).or_default();
        if history.last.back().is_some_and(|last| successor(last.sequence) != sent.sequence) {
            history.last.clear();
        }
        history.last.push_back(sent);
        if history.last.len() > IN_FLIGHT_MAX {
            history.last.pop_front();
        }
        history.seen_ms = now_ms;
    }

    /// Remembers a batch that was found in the log.
    pub fn note(&mut self, header: &BatchHeader) {
        if header.writer_id != NO_WRITER_ID {
            let rows = (header.next_offset() - header.base_offset) as u32;
            let sent = Sent { sequence: header.sequence, first_offset: header.base_offset as u64, rows, group: 0 };
            self.record(header.writer_id, sent, header.commit_timestamp);
        }
    }

    /// Takes back every batch at `offset` and behind it: they were never written.
    pub fn rewind(&mut self, offset: u64) {
        for history in self.known.values_mut() {
            let first = history.last.iter().find(|sent| sent.first_offset >= offset).map(|sent| sent.sequence);
            history.last.retain(|sent| sent.first_offset < offset);
            // Without this, one behind a batch that was refused would come in, and that batch never again.
            history.taken_back = first.or(history.taken_back);
        }
    }

    /// Everything remembered, by writer id, for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64, impl Iterator<Item = &Sent>)> {
        self.known.iter().map(|(id, history)| (*id, history.seen_ms, history.last.iter()))
    }

    /// Writers remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no writer is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget_the_longest_silent(&mut self) {
        if let Some(id) = self.known.iter().min_by_key(|(id, history)| (history.seen_ms, **id)).map(|(id, _)| *id) {
            self.known.remove(&id);
        }
    }
}

fn successor(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sequence: i32, first_offset: u64) -> Sent {
        Sent { sequence, first_offset, rows: 10, group: 1 }
    }

    #[test]
    fn a_repeat_is_answered_a_gap_is_refused() {
        let mut producers = Producers::default();
        for sequence in 0..7 {
            assert_eq!(producers.check(Producer { id: 4, sequence }).unwrap(), Verdict::New);
            producers.record(4, sent(sequence, sequence as u64 * 10), 1);
        }
        assert_eq!(producers.check(Producer { id: 4, sequence: 2 }).unwrap(), Verdict::Duplicate(sent(2, 20)));
        assert!(producers.check(Producer { id: 4, sequence: 1 }).is_err(), "older than the last five");
        assert!(producers.check(Producer { id: 4, sequence: 8 }).is_err(), "a gap");
        assert_eq!(producers.check(Producer { id: 5, sequence: 0 }).unwrap(), Verdict::New);
    }

    #[test]
    fn what_was_never_written_may_come_again() {
        let mut producers = Producers::default();
        producers.record(4, sent(0, 0), 1);
        producers.record(4, sent(1, 10), 1);
        producers.rewind(10);
        assert_eq!(producers.check(Producer { id: 4, sequence: 1 }).unwrap(), Verdict::New);
        producers.rewind(0);
        assert!(producers.check(Producer { id: 4, sequence: 1 }).is_err(), "batch 0 was never written");
        assert_eq!(producers.check(Producer { id: 4, sequence: 0 }).unwrap(), Verdict::New);
    }

    #[test]
    fn the_longest_silent_writer_is_forgotten_at_the_limit() {
        let mut producers = Producers::default();
        for id in 0..PRODUCERS_MAX as i64 + 1 {
            producers.record(id, sent(0, id as u64), id);
        }
        assert_eq!(producers.len(), PRODUCERS_MAX);
        assert_eq!(producers.check(Producer { id: 0, sequence: 9 }).unwrap(), Verdict::New);
    }

    #[test]
    fn numbers_wrap_to_zero() {
        let mut producers = Producers::default();
        producers.record(1, sent(i32::MAX, 0), 1);
        assert_eq!(producers.check(Producer { id: 1, sequence: 0 }).unwrap(), Verdict::New);
    }
}
