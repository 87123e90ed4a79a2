//! The log writer against a plain model: random batches, writes that end in any order, fail, or find no segment.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::io::{BLOCK_BYTES, Pool};

/// What a history does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Enqueue { bytes: usize, rows: u32 },
    Write,
    Complete { which: usize },
    Fail { which: usize },
    NoSegment,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (1usize..60_000, 1u32..50).prop_map(|(bytes, rows)| Move::Enqueue { bytes, rows }),
        4 => Just(Move::Write),
        4 => (0usize..8).prop_map(|which| Move::Complete { which }),
        1 => Just(Move::NoSegment),
    ];
    (proptest::collection::vec(one, 1..120), proptest::option::of((0usize..120, 0usize..8))).prop_map(|(mut moves, failure)| {
        if let Some((at, which)) = failure {
            moves.insert(at.min(moves.len()), Move::Fail { which });
        }
        moves
    })
}

struct Model {
    writer: Writer,
    pool: Pool,
    segments: u64,
    /// Fates with the rows they stand for.
    waiting: Vec<(Arc<Fate>, u64, u32)>,
    in_flight: Vec<Write>,
    durable: u64,
    failed: bool,
}

impl Model {
    fn new() -> Self {
        let start = Start { next_offset: 7, last_timestamp_ms: 0, producers: Producers::default(), active: None, spare: VecDeque::new() };
        Model {
            writer: Writer::new(start),
            pool: Pool::new(1 << 20),
            segments: 0,
            waiting: Vec::new(),
            in_flight: Vec::new(),
            durable: 7,
            failed: false,
        }
    }

    fn record(&self, bytes: usize, rows: u32) -> Record {
        let buffer = self.pool.get((HEAD_ROOM + bytes).next_multiple_of(BLOCK_BYTES));
        Record { buffer, batch_bytes: bytes.max(frame::BATCH_HEAD_BYTES), rows, producer: None }
    }

    fn enqueue(&mut self, bytes: usize, rows: u32) {
        let record = self.record(bytes, rows);
        match self.writer.enqueue(record, 5) {
            Ok(receipt) => self.waiting.push((receipt.fate, receipt.first_offset, rows)),
            Err(_) => assert!(self.failed, "only a poisoned log refuses rows"),
        }
    }

    fn write(&mut self) {
        loop {
            match self.writer.next_write() {
                Step::Nothing => return,
                Step::Write(write) => return self.in_flight.push(write),
                Step::NeedSegment { bytes } => {
                    self.segments += 1;
                    let capacity = (bytes as u64).max(1 << 17);
                    let segment = Segment::prepared(self.segments, PathBuf::from(format!("{}", self.segments)), capacity);
                    self.writer.add_segment(Arc::new(segment));
                }
            }
        }
    }

    fn complete(&mut self, which: usize, fails: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let write = self.in_flight.remove(which % self.in_flight.len());
        let result = if fails { Err(Error::unavailable("planted")) } else { Ok(Vec::new()) };
        self.failed |= fails;
        let outcome = self.writer.completed(write.group, result);
        self.take(outcome);
    }

    fn take(&mut self, outcome: Outcome) {
        for durable in outcome.durable {
            assert_eq!(durable.first_offset, self.durable, "groups become durable in order, without a gap");
            self.durable = durable.end_offset;
            durable.fate.succeed();
        }
        for fate in outcome.failed {
            fate.fail(Error::unavailable("given up"));
        }
        for segment in outcome.sealed {
            let sealed = segment.sealed().expect("it says so");
            assert!(sealed.end_offset <= self.durable && sealed.bytes <= segment.capacity_bytes());
        }
    }

    /// What was acknowledged is exactly what lies before the durable end, each row once.
    fn check(&self) {
        let mut acknowledged: Vec<(u64, u32)> = Vec::new();
        for (fate, first_offset, rows) in &self.waiting {
            match fate.poll() {
                Some(Ok(())) => acknowledged.push((*first_offset, *rows)),
                Some(Err(_)) => {}
                None => assert!(*first_offset >= self.durable, "row {first_offset} is durable and nobody was told"),
            }
        }
        acknowledged.sort();
        let mut next = 7;
        for (first_offset, rows) in acknowledged {
            assert_eq!(first_offset, next, "acknowledged rows follow each other");
            next += u64::from(rows);
        }
        assert_eq!(next, self.durable);
        assert_eq!(self.writer.durable_offset(), self.durable);
    }
}

proptest! {
    #[test]
    fn acknowledged_rows_are_the_durable_ones_whatever_happens(moves in moves()) {
        let mut model = Model::new();
        for step in moves {
            match step {
                Move::Enqueue { bytes, rows } => model.enqueue(bytes, rows),
                Move::Write => model.write(),
                Move::Complete { which } => model.complete(which, false),
                Move::Fail { which } => model.complete(which, true),
                Move::NoSegment => {
                    let outcome = model.writer.refuse();
                    model.take(outcome);
                }
            }
            model.check();
        }
        while !model.in_flight.is_empty() || (model.writer.queued() > 0 && !model.failed) {
            model.write();
            model.complete(0, false);
        }
        model.check();
        prop_assert!(model.waiting.iter().all(|(fate, _, _)| fate.poll().is_some()), "everybody is told in the end");
    }

    #[test]
    fn writes_never_overlap_and_stay_within_their_segment(moves in moves()) {
        let mut model = Model::new();
        let mut ends: HashMap<u64, u64> = HashMap::new();
        for step in moves {
            if let Move::Enqueue { bytes, rows } = step {
                model.enqueue(bytes, rows);
            } else {
                let before = model.in_flight.len();
                model.write();
                if let Some(write) = model.in_flight.get(before) {
                    let end = ends.entry(write.segment.id()).or_insert(0);
                    prop_assert_eq!(write.position, *end);
                    *end += write.bytes as u64;
                    prop_assert!(*end <= write.segment.capacity_bytes());
                    prop_assert!(write.bytes.is_multiple_of(BLOCK_BYTES));
                }
            }
        }
    }
}

#[test]
fn a_repeat_in_flight_waits_for_the_first_and_one_of_old_is_answered_at_once() {
    let mut model = Model::new();
    let numbered = |model: &Model, sequence| Record { producer: Some(Producer { id: 3, sequence }), ..model.record(100, 2) };
    let first = model.writer.enqueue(numbered(&model, 0), 1).unwrap();
    let again = model.writer.enqueue(numbered(&model, 0), 1).unwrap();
    assert!(again.duplicate && again.first_offset == first.first_offset && again.fate.poll().is_none());
    model.write();
    model.complete(0, false);
    assert!(again.fate.poll().unwrap().is_ok());
    assert!(model.writer.enqueue(numbered(&model, 0), 1).unwrap().fate.poll().unwrap().is_ok());
    assert_eq!(model.writer.enqueue(numbered(&model, 2), 1).unwrap_err().kind(), crate::error::Kind::Conflict);
}

#[test]
fn small_batches_of_a_group_share_a_frame_and_large_ones_have_their_own() {
    let mut model = Model::new();
    for bytes in [100, 100, OWN_FRAME_BYTES_MIN, 100] {
        model.enqueue(bytes, 1);
    }
    model.write();
    let write = &model.in_flight[0];
    assert_eq!(write.records.len(), 4);
    let large = (HEAD_ROOM + OWN_FRAME_BYTES_MIN).next_multiple_of(BLOCK_BYTES);
    assert_eq!(write.bytes, BLOCK_BYTES + large + BLOCK_BYTES);
}
