//! The log writer: a state machine without threads, files or clock.
//!
//! `enqueue` gives a batch its offset and puts it into the open *group*; `next_write` closes the oldest group and says where it goes;
//! `completed` takes the result of a write and returns the groups that are durable by it, **in order**. Whoever holds the machine may write:
//! the caller of an append, the ring thread, the simulator.
//!
//! Invariants: offsets follow each other without a gap; a group is durable only after all before it; after a failed write nothing
//! more is taken in (the log is *poisoned* until it is opened again), because what the device holds is no longer known.
//! The page `docs/format/frame.md` says what a write looks like on disk. This module knows nothing of buckets, tables or who waits.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fate::{Deciding, Fate};
use super::producers::{Producer, Producers, Sent, Verdict};
use super::segment::{Sealed, Segment};
use crate::error::{Error, Result};
use crate::format::frame;
use crate::io::{Buffer, Frozen};

/// A group is closed before it grows beyond this many bytes; a larger batch is a group of its own.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// Batches of one group; their places stand in the head of a frame.
pub const GROUP_BATCHES_MAX: usize = 512;

/// Bytes before the batch in a record's buffer: room for the head of a frame of its own.
pub const HEAD_ROOM: usize = frame::head_bytes(1);

/// A batch in a buffer of its own from here on is written from there, a smaller one is copied into the frame that its group shares.
pub const OWN_FRAME_BYTES_MIN: usize = 32 << 10;

/// A batch that waits to be written: `[HEAD_ROOM][batch][zeros to a whole block]`.
#[derive(Debug)]
pub struct Record {
    /// The whole frame, its head still unwritten.
    pub buffer: Buffer,
    /// Bytes of the batch behind the room for the head.
    pub batch_bytes: usize,
    /// Offsets that it takes; at least one.
    pub rows: u32,
    /// Who sent it, when the writer is idempotent.
    pub producer: Option<Producer>,
}

/// A record with its place in the log.
#[derive(Debug)]
pub struct Placed {
    /// The batch.
    pub record: Record,
    /// Offset of its first row.
    pub first_offset: u64,
    /// Commit time, never before that of the batch in front of it.
    pub timestamp_ms: i64,
}

/// The answer to `enqueue`: once `fate` says durable, the rows from `first_offset` on are durable.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The group's fate, to wait for.
    pub fate: Arc<Fate>,
    /// Offset of the first row.
    pub first_offset: u64,
    /// The batch was here before; this is where.
    pub duplicate: bool,
}

/// A write to make: the records, one frame or more, at `position` of `segment`.
#[derive(Debug)]
pub struct Write {
    /// Names it in `completed`.
    pub group: u64,
    /// Where to.
    pub segment: Arc<Segment>,
    /// Bytes from the start of the segment.
    pub position: u64,
    /// Length of all frames together.
    pub bytes: usize,
    /// What to write.
    pub records: Vec<Placed>,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Nothing waits.
    Nothing,
    /// The next group needs a segment of at least this many bytes: `add_segment`, or `refuse` when there is none to be had.
    NeedSegment {
        /// Bytes of the group that waits.
        bytes: usize,
    },
    /// Make this write, then call `completed`.
    Write(Write),
}

/// A group that became durable.
#[derive(Debug)]
pub struct Durable {
    /// To tell those who wait.
    pub fate: Deciding,
    /// Where its frames lie.
    pub segment: Arc<Segment>,
    /// Bytes from the start of the segment.
    pub position: u64,
    /// The frames as written.
    pub frames: Vec<Frozen>,
    /// Offset of its first row.
    pub first_offset: u64,
    /// Offset behind its last row.
    pub end_offset: u64,
    /// Commit time of its last batch.
    pub timestamp_ms: i64,
}

/// What came of a completion.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In order.
    pub durable: Vec<Durable>,
    /// Given up; the reason is the error handed to `completed`, or the one that led to `refuse`.
    pub failed: Vec<Deciding>,
    /// Segments that have just been sealed, oldest first.
    pub sealed: Vec<Arc<Segment>>,
}

#[derive(Debug)]
struct Group {
    id: u64,
    fate: Deciding,
    records: Vec<Placed>,
    /// Bytes if each batch were a frame of its own: an upper bound that needs no layout.
    bytes_bound: usize,
}

#[derive(Debug)]
struct InFlight {
    group: u64,
    fate: Deciding,
    segment: Arc<Segment>,
    position: u64,
    bytes: usize,
    first_offset: u64,
    end_offset: u64,
    timestamps_ms: (i64, i64),
    done: Option<Vec<Frozen>>,
    failed: bool,
    /// This write is the last of its segment; known when the next one goes elsewhere.
    last_of_segment: bool,
}

/// The machine. See the head of this module.
#[derive(Debug)]
pub struct Writer {
    queue: VecDeque<Group>,
    in_flight: VecDeque<InFlight>,
    next_group: u64,
    next_offset: u64,
    durable_offset: u64,
    last_timestamp_ms: i64,
    producers: Producers,
    active: Option<Arc<Segment>>,
    /// Where the next write goes in the active segment.
    position: u64,
    spare: VecDeque<Arc<Segment>>,
    /// Commit times in the active segment, for its seal.
    timestamps_ms: (i64, i64),
    /// Sealed by a roll while nothing of them was in flight.
    rolled: Vec<Arc<Segment>>,
    poison: Option<Error>,
}

/// Where a log goes on after it was opened.
#[derive(Debug)]
pub struct Start {
    /// Offset of the next row.
    pub next_offset: u64,
    /// Commit time of the last batch.
    pub last_timestamp_ms: i64,
    /// Known writers.
    pub producers: Producers,
    /// The segment to go on in, with the commit times in it.
    pub active: Option<(Arc<Segment>, (i64, i64))>,
    /// Prepared segments behind it.
    pub spare: VecDeque<Arc<Segment>>,
}

impl Writer {
    /// A writer that goes on where recovery ended.
    pub fn new(start: Start) -> Self {
        let Start { next_offset, last_timestamp_ms, producers, active, spare } = start;
        let (active, timestamps_ms) = match active {
            Some((segment, timestamps_ms)) => (Some(segment), timestamps_ms),
            None => (None, (i64::MAX, i64::MIN)),
        };
        let position = active.as_ref().map_or(0, |segment| segment.used_bytes());
        Writer {
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_group: 1,
            next_offset,
            durable_offset: next_offset,
            last_timestamp_ms,
            producers,
            active,
            position,
            spare,
            timestamps_ms,
            rolled: Vec::new(),
            poison: None,
        }
    }

    /// Takes a batch in. A repeat of an idempotent writer is answered with the place of the first.
    ///
    /// Errors: Conflict when its writer's count has a gap, Unavailable when the log is poisoned.
    pub fn enqueue(&mut self, record: Record, now_ms: i64) -> Result<Receipt> {
        assert!(record.rows > 0, "a batch takes at least one offset");
        if let Some(error) = &self.poison {
            return Err(error.replica());
        }
        if let Some(producer) = record.producer
            && let Verdict::Duplicate(sent) = self.producers.check(producer)?
        {
            return Ok(Receipt { fate: self.fate_of(sent), first_offset: sent.first_offset, duplicate: true });
        }
        let first_offset = self.next_offset;
        let timestamp_ms = now_ms.max(self.last_timestamp_ms);
        self.next_offset += u64::from(record.rows);
        self.last_timestamp_ms = timestamp_ms;
        let (rows, producer) = (record.rows, record.producer);
        let (group, fate) = self.join(Placed { record, first_offset, timestamp_ms });
        if let Some(producer) = producer {
            self.producers.record(producer.id, Sent { sequence: producer.sequence, first_offset, rows, group }, timestamp_ms);
        }
        Ok(Receipt { fate, first_offset, duplicate: false })
    }

    /// A repeat waits for the group that carries the first.
    fn fate_of(&self, sent: Sent) -> Arc<Fate> {
        let in_flight = self.in_flight.iter().find(|entry| entry.group == sent.group).map(|entry| entry.fate.fate());
        let queued = || self.queue.iter().find(|group| group.id == sent.group).map(|group| group.fate.fate());
        in_flight.or_else(queued).cloned().unwrap_or_else(Fate::durable)
    }

    fn join(&mut self, placed: Placed) -> (u64, Arc<Fate>) {
        let bytes = placed.record.buffer.len();
        if let Some(group) = self.queue.back_mut()
            && group.bytes_bound + bytes <= GROUP_BYTES_MAX
            && group.records.len() < GROUP_BATCHES_MAX
        {
            group.bytes_bound += bytes;
            group.records.push(placed);
            return (group.id, group.fate.fate().clone());
        }
        let id = self.next_group;
        self.next_group += 1;
        let deciding = Deciding::begin();
        let fate = deciding.fate().clone();
        self.queue.push_back(Group { id, fate: deciding, records: vec![placed], bytes_bound: bytes });
        (id, fate)
    }

    /// The fate of the newest group that waits or is in flight.
    pub fn newest_fate(&self) -> Option<&Arc<Fate>> {
        let queued = self.queue.back().map(|group| group.fate.fate());
        queued.or_else(|| self.in_flight.back().map(|entry| entry.fate.fate()))
    }

    /// Closes the oldest group and says where it goes.
    pub fn next_write(&mut self) -> Step {
        let Some(group) = self.queue.front() else {
            return Step::Nothing;
        };
        let bytes = frames_bytes(&group.records);
        if !self.make_room(bytes) {
            return Step::NeedSegment { bytes };
        }
        let group = self.queue.pop_front().expect("looked at above");
        let segment = self.active.clone().expect("room was made in it");
        let position = self.position;
        let (first, last) = (&group.records[0], &group.records[group.records.len() - 1]);
        if position == 0 {
            segment.begin(first.first_offset);
        }
        self.position += bytes as u64;
        self.timestamps_ms = (self.timestamps_ms.0.min(first.timestamp_ms), self.timestamps_ms.1.max(last.timestamp_ms));
        self.in_flight.push_back(InFlight {
            group: group.id,
            fate: group.fate,
            segment: segment.clone(),
            position,
            bytes,
            first_offset: first.first_offset,
            end_offset: last.first_offset + u64::from(last.record.rows),
            timestamps_ms: self.timestamps_ms,
            done: None,
            failed: false,
            last_of_segment: false,
        });
        Step::Write(Write { group: group.id, segment, position, bytes, records: group.records })
    }

    /// Whether the active segment has room for `bytes`, rolling to the next prepared one that has.
    fn make_room(&mut self, bytes: usize) -> bool {
        let fits = |segment: &Segment, position: u64| position + bytes as u64 <= segment.capacity_bytes();
        if self.active.as_ref().is_some_and(|active| fits(active, self.position)) {
            return true;
        }
        let Some(found) = self.spare.iter().position(|segment| fits(segment, 0)) else {
            return false;
        };
        let next = self.spare.remove(found).expect("found above");
        if let Some(full) = self.active.replace(next) {
            self.leave(full);
        }
        self.position = 0;
        self.timestamps_ms = (i64::MAX, i64::MIN);
        true
    }

    /// Seals a full segment: now, or with the last write that is in flight to it.
    fn leave(&mut self, full: Arc<Segment>) {
        match self.in_flight.back_mut() {
            Some(last) if Arc::ptr_eq(&last.segment, &full) => last.last_of_segment = true,
            _ => {
                let (end_offset, bytes) = (self.durable_offset, full.used_bytes());
                full.seal(Sealed { end_offset, bytes, timestamps_ms: self.timestamps_ms });
                self.rolled.push(full);
            }
        }
    }

    /// Puts a prepared segment behind the ones in use.
    pub fn add_segment(&mut self, segment: Arc<Segment>) {
        assert_eq!(segment.base_offset(), None, "a prepared segment is empty");
        self.spare.push_back(segment);
    }

    /// Takes the result of a write: its frames, or why it failed.
    pub fn completed(&mut self, group: u64, result: Result<Vec<Frozen>>) -> Outcome {
        let Some(entry) = self.in_flight.iter_mut().find(|entry| entry.group == group) else {
            assert!(self.poison.is_some(), "group {group} is not in flight");
            return Outcome::default();
        };
        match result {
            Ok(frames) => entry.done = Some(frames),
            Err(error) => {
                entry.failed = true;
                self.poison.get_or_insert(
                    Error::unavailable(format!("the log takes no more rows after a failed write ({})", error.message()))
                        .hint("close and open the store again; it recovers everything that was acknowledged"),
                );
            }
        }
        self.collect()
    }

    /// Pops what is finished at the front.
    fn collect(&mut self) -> Outcome {
        let mut outcome = Outcome { sealed: std::mem::take(&mut self.rolled), ..Outcome::default() };
        while let Some(front) = self.in_flight.front_mut() {
            if front.failed {
                outcome.failed = self.give_up_from_front();
                break;
            }
            let Some(frames) = front.done.take() else { break };
            let done = self.in_flight.pop_front().expect("the front");
            assert_eq!(self.durable_offset, done.first_offset, "groups follow each other without a gap");
            self.durable_offset = done.end_offset;
            done.segment.advance(done.position + done.bytes as u64);
            if done.last_of_segment {
                let (end_offset, bytes) = (done.end_offset, done.segment.used_bytes());
                done.segment.seal(Sealed { end_offset, bytes, timestamps_ms: done.timestamps_ms });
                outcome.sealed.push(done.segment.clone());
            }
            outcome.durable.push(Durable {
                fate: done.fate,
                position: done.position,
                frames,
                first_offset: done.first_offset,
                end_offset: done.end_offset,
                timestamp_ms: done.timestamps_ms.1,
                segment: done.segment,
            });
        }
        outcome
    }

    /// Everything in flight and queued will never be durable.
    fn give_up_from_front(&mut self) -> Vec<Deciding> {
        let in_flight = self.in_flight.drain(..).map(|entry| entry.fate);
        let fates = in_flight.chain(self.queue.drain(..).map(|group| group.fate)).collect();
        self.producers.rewind(self.durable_offset);
        self.next_offset = self.durable_offset;
        fates
    }

    /// Gives up what is queued (not what is in flight), because there is no segment for it. The log goes on afterwards.
    pub fn refuse(&mut self) -> Outcome {
        if let Some(first) = self.queue.front() {
            self.next_offset = first.records[0].first_offset;
        }
        self.producers.rewind(self.next_offset);
        Outcome { failed: self.queue.drain(..).map(|group| group.fate).collect(), ..Outcome::default() }
    }

    /// The commit time of its newest row, in milliseconds since 1970; the least of all numbers when it knows of none.
    pub fn last_timestamp_ms(&self) -> i64 {
        self.last_timestamp_ms
    }

    /// Gives up everything, queued or in flight; the log is poisoned before.
    pub fn abandon(&mut self) -> Outcome {
        assert!(self.poison.is_some(), "completions of what was in flight will come");
        Outcome { failed: self.give_up_from_front(), ..Outcome::default() }
    }

    /// Groups that wait for a write.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Writes in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Offset behind the last durable row.
    pub fn durable_offset(&self) -> u64 {
        self.durable_offset
    }

    /// Offset of the next row.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Bytes left in the active and the prepared segments.
    pub fn room_bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |segment| segment.capacity_bytes() - self.position);
        active + self.spare.iter().map(|segment| segment.capacity_bytes()).sum::<u64>()
    }

    /// The segment in use and where the next write goes in it.
    pub fn active(&self) -> Option<(&Arc<Segment>, u64)> {
        self.active.as_ref().map(|segment| (segment, self.position))
    }

    /// Prepared segments that are not in use yet.
    pub fn spare(&self) -> usize {
        self.spare.len()
    }

    /// Known writers.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The log takes nothing more, for this reason.
    pub fn poison_with(&mut self, error: Error) {
        self.poison.get_or_insert(error);
    }

    /// Why the log takes nothing more, if so.
    pub fn poison(&self) -> Option<&Error> {
        self.poison.as_ref()
    }
}

/// Whether a record is written as a frame of its own, from its own buffer.
pub fn has_own_frame(record: &Record, alone: bool) -> bool {
    alone || record.buffer.len() >= OWN_FRAME_BYTES_MIN
}

/// Length of the frames that hold `records`: one shared by the small ones of each stretch, one for each large one.
fn frames_bytes(records: &[Placed]) -> usize {
    let alone = records.len() == 1;
    let mut bytes = 0;
    let mut shared = Vec::new();
    for placed in records {
        if has_own_frame(&placed.record, alone) {
            bytes += shared_bytes(&mut shared) + placed.record.buffer.len();
        } else {
            shared.push(placed.record.batch_bytes);
        }
    }
    bytes + shared_bytes(&mut shared)
}

fn shared_bytes(lengths: &mut Vec<usize>) -> usize {
    if lengths.is_empty() {
        return 0;
    }
    let (_, bytes) = frame::lay_out(lengths).expect("a group is smaller than a frame may be");
    lengths.clear();
    bytes
}

#[cfg(test)]
mod tests;
