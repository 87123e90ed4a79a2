//! Which partition and bucket each row goes to.
//!
//! Invariant: rows of one destination keep their order. This module knows nothing of how they are written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::catalog::PARTITIONS_MAX;
use crate::error::{Error, Result};
use crate::table::bucketing::BucketFunction;
use crate::table::partition::Partitioner;
use crate::table::rows::{Rows, group_rows};
use crate::table::{Assign, TableSpec};

/// Rows for one bucket.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The partition's name; empty in a table without partitions.
    pub(super) partition: Arc<str>,
    /// The bucket.
    pub(super) bucket: u32,
    /// The rows.
    pub(super) rows: RecordBatch,
    /// Where they stood in the batch that was split; `None` when they are all of it.
    pub(super) places: Option<Vec<u32>>,
}

impl Piece {
    /// What its rows have of `values`, one for each row of the batch that was split.
    pub(super) fn pick<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match &self.places {
            None => values.to_vec(),
            Some(places) => places.iter().map(|place| values[*place as usize]).collect(),
        }
    }

    /// An error of one of its rows, with the place that the row has in the batch that was split.
    pub(super) fn located(&self, error: Error) -> Error {
        let row = error.context().find(|(name, _)| *name == "row").and_then(|(_, row)| row.parse::<usize>().ok());
        match (row, &self.places) {
            (Some(row), Some(places)) => error.with("row", places[row]),
            _ => error,
        }
    }
}

/// Rows after which a sticky writer goes to the next bucket, once each bucket has had some.
const STICKY_ROWS: usize = 10_000;

/// Whose turn it is among the buckets of each partition of a table. All writers of the table take their turns here, so that few batches of many
/// writers reach as many buckets as there are batches.
pub(super) struct Turns {
    /// Where the first partition begins. Other opens begin elsewhere, or what is appended by one short-lived process after the other would all be
    /// in one bucket.
    start: u32,
    of_partitions: Mutex<HashMap<Arc<str>, Turn>>,
}

#[derive(Default)]
struct Turn {
    next: u32,
    taken: u32,
}

impl Turns {
    /// Turns that begin where the seed says.
    pub(super) fn new(seed: u64) -> Self {
        // The high bits of a product depend on all of the seed: moments that are near each other begin far from each other.
        let start = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        Turns { start, of_partitions: Mutex::default() }
    }

    /// The next bucket in turn, and whether each has had its turn.
    fn take(&self, partition: &Arc<str>, buckets: u32) -> (u32, bool) {
        let mut turns = self.of_partitions.lock();
        if turns.len() >= PARTITIONS_MAX && !turns.contains_key(partition) {
            turns.clear();
        }
        let begin = self.start.wrapping_add(turns.len() as u32);
        let turn = turns.entry(partition.clone()).or_insert(Turn { next: begin, taken: 0 });
        let bucket = turn.next % buckets;
        (turn.next, turn.taken) = (bucket + 1, turn.taken.saturating_add(1));
        (bucket, turn.taken >= buckets)
    }
}

/// The bucket of a partition that a sticky writer stays in.
#[derive(Clone)]
struct Stay {
    bucket: u32,
    rows: usize,
}

/// Decides for one writer.
#[derive(Clone)]
pub(super) struct Router {
    partitioner: Option<Arc<Partitioner>>,
    function: Option<BucketFunction>,
    buckets: u32,
    assign: Assign,
    turns: Arc<Turns>,
    stays: HashMap<Arc<str>, Stay>,
    unpartitioned: Arc<str>,
}

impl Router {
    /// A router for the rows of a table, whose turns are these.
    pub(super) fn new(spec: &TableSpec, turns: Arc<Turns>) -> Result<Self> {
        let partitioner = match spec.partition_by.is_empty() {
            true => None,
            false => Some(Arc::new(Partitioner::new(spec.schema(), &spec.partition_by)?)),
        };
        let function = match spec.hashed_columns() {
            columns if columns.is_empty() => None,
            columns => Some(BucketFunction::new(spec.schema(), &columns, spec.buckets)?),
        };
        Ok(Router {
            partitioner,
            function,
            buckets: spec.buckets,
            assign: spec.options.bucket_assign,
            turns,
            stays: HashMap::new(),
            unpartitioned: Arc::from(""),
        })
    }

    /// Splits rows that fit the table.
    pub(super) fn route(&mut self, rows: &RecordBatch) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        match self.partitioner.clone() {
            None => {
                let unpartitioned = self.unpartitioned.clone();
                self.spread(unpartitioned, rows.clone(), None, &mut pieces)?;
            }
            Some(partitioner) => {
                for (key, chosen) in partitioner.split(rows)? {
                    self.spread(Arc::from(key.name()), chosen.of(rows)?, places(&chosen, None), &mut pieces)?;
                }
            }
        }
        Ok(pieces)
    }

    fn spread(&mut self, partition: Arc<str>, rows: RecordBatch, stood: Option<Vec<u32>>, pieces: &mut Vec<Piece>) -> Result<()> {
        if self.buckets == 1 {
            pieces.push(Piece { partition, bucket: 0, rows, places: stood });
            return Ok(());
        }
        let Some(function) = &self.function else {
            let bucket = self.next_bucket(&partition, rows.num_rows());
            pieces.push(Piece { partition, bucket, rows, places: stood });
            return Ok(());
        };
        for (bucket, chosen) in group_rows(&function.buckets(&rows)?, self.buckets as usize) {
            let places = places(&chosen, stood.as_deref());
            pieces.push(Piece { partition: partition.clone(), bucket, rows: chosen.of(&rows)?, places });
        }
        Ok(())
    }

    /// A sticky writer stays for a while, because batches that follow each other in one log share its writes; but not before each bucket has rows.
    fn next_bucket(&mut self, partition: &Arc<str>, rows: usize) -> u32 {
        if let Some(stay) = self.stays.get_mut(partition) {
            stay.rows += rows;
            let bucket = stay.bucket;
            if stay.rows >= STICKY_ROWS {
                self.stays.remove(partition);
            }
            return bucket;
        }
        let (bucket, all_had_one) = self.turns.take(partition, self.buckets);
        if self.assign == Assign::Sticky && all_had_one && rows < STICKY_ROWS {
            if self.stays.len() >= PARTITIONS_MAX {
                self.stays.clear();
            }
            self.stays.insert(partition.clone(), Stay { bucket, rows });
        }
        bucket
    }
}

/// Where the chosen rows stood in the first batch, when the rows that they are chosen from stood in it at `stood`.
fn places(chosen: &Rows, stood: Option<&[u32]>) -> Option<Vec<u32>> {
    match (chosen, stood) {
        (Rows::All, stood) => stood.map(<[u32]>::to_vec),
        (Rows::Some(indices), None) => Some(indices.values().to_vec()),
        (chosen, Some(stood)) => Some(chosen.pick(stood)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{Int64Array, RecordBatch};

    use super::*;
    use crate::store::CreateTable;

    fn rows(count: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("number", Arc::new(Int64Array::from_iter_values(0..count)) as _)]).unwrap()
    }

    fn spec(assign: &str, partition_by: &str) -> TableSpec {
        let create = CreateTable::like(rows(1).schema()).buckets(8).option("bucket.assign", assign).partition_by(partition_by);
        create.spec(&"t".parse().unwrap(), 1, 0).unwrap()
    }

    fn bucket_of(router: &mut Router, count: i64) -> u32 {
        router.route(&rows(count)).unwrap().remove(0).bucket
    }

    #[test]
    fn few_batches_of_any_writers_reach_as_many_buckets() {
        for (seed, assign) in [(0, "sticky"), (1, "sticky"), (7, "round-robin")] {
            let (spec, turns) = (spec(assign, ""), Arc::new(Turns::new(seed)));
            let mut writers: Vec<Router> = (0..3).map(|_| Router::new(&spec, turns.clone()).unwrap()).collect();
            let mut reached = HashSet::new();
            for batch in 0..8 {
                reached.insert(bucket_of(&mut writers[batch % 5 % 3], 20));
                assert_eq!(reached.len(), batch + 1, "{assign}");
            }
        }
    }

    #[test]
    fn a_sticky_writer_stays_once_each_bucket_has_rows_and_then_moves_on() {
        let mut router = Router::new(&spec("sticky", ""), Arc::new(Turns::new(3))).unwrap();
        for _ in 0..7 {
            bucket_of(&mut router, 1);
        }
        let stays: Vec<u32> = (0..8).map(|_| bucket_of(&mut router, 1_000)).collect();
        assert!(stays.iter().all(|bucket| *bucket == stays[0]), "{stays:?}");
        assert_eq!(bucket_of(&mut router, 5_000), stays[0]);
        assert_eq!(bucket_of(&mut router, 1), (stays[0] + 1) % 8);
    }

    #[test]
    fn each_partition_has_its_own_turns() {
        let mut router = Router::new(&spec("sticky", "number"), Arc::new(Turns::new(5))).unwrap();
        let mut reached: HashMap<Arc<str>, HashSet<u32>> = HashMap::new();
        for _ in 0..8 {
            for piece in router.route(&rows(4)).unwrap() {
                reached.entry(piece.partition).or_default().insert(piece.bucket);
            }
        }
        assert!(reached.len() == 4 && reached.values().all(|buckets| buckets.len() == 8), "{reached:?}");
    }

    #[test]
    fn opens_at_near_moments_begin_in_many_buckets() {
        let partition = Arc::from("");
        let begun: HashSet<u32> = (0..64).map(|moment| Turns::new(1_000_000 + moment).take(&partition, 8).0).collect();
        assert!(begun.len() >= 6, "{begun:?}");
    }
}
