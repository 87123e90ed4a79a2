//! Which partition and bucket each row goes to.
//!
//! Invariant: rows of one destination keep their order. This module knows nothing of how they are written.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::error::Result;
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
}

/// Rows after which a sticky writer goes to the next bucket.
const STICKY_ROWS: usize = 10_000;

/// Decides for one writer.
pub(super) struct Router {
    partitioner: Option<Arc<Partitioner>>,
    function: Option<BucketFunction>,
    buckets: u32,
    assign: Assign,
    current: u32,
    rows_in_current: usize,
    unpartitioned: Arc<str>,
}

impl Router {
    /// A router for the rows of a table.
    pub(super) fn new(spec: &TableSpec) -> Result<Self> {
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
            current: 0,
            rows_in_current: 0,
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
            let bucket = self.next_bucket(rows.num_rows());
            pieces.push(Piece { partition, bucket, rows, places: stood });
            return Ok(());
        };
        for (bucket, chosen) in group_rows(&function.buckets(&rows)?, self.buckets as usize) {
            let places = places(&chosen, stood.as_deref());
            pieces.push(Piece { partition: partition.clone(), bucket, rows: chosen.of(&rows)?, places });
        }
        Ok(())
    }

    fn next_bucket(&mut self, rows: usize) -> u32 {
        let bucket = self.current;
        self.rows_in_current += rows;
        if self.assign == Assign::RoundRobin || self.rows_in_current >= STICKY_ROWS {
            self.current = (self.current + 1) % self.buckets;
            self.rows_in_current = 0;
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
