//! Which rows of a batch belong together: all of them, or some by index; and how many bytes they are.

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::error::{Error, Result};

/// Bytes of the values of a batch, wherever they lie.
pub fn value_bytes(batch: &RecordBatch) -> u64 {
    // What Arrow does not count has no values of its own.
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64).sum()
}

/// Rows of a batch, in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// The whole batch: nothing needs to be copied.
    All,
    /// These rows, ascending.
    Some(UInt32Array),
}

impl Rows {
    /// These rows of `batch`; the batch itself, cheaply, when it is all of them.
    ///
    /// # Errors
    /// Invalid when the strings of the result exceed 2 GiB.
    pub fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Rows::All => Ok(batch.clone()),
            Rows::Some(indices) => take_record_batch(batch, indices)
                .map_err(|error| Error::invalid("cannot split the batch").hint("write smaller batches").caused_by(error)),
        }
    }

    /// What these rows have of `values`, one for each row of the batch.
    pub fn pick<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match self {
            Rows::All => values.to_vec(),
            Rows::Some(indices) => indices.values().iter().map(|index| values[*index as usize]).collect(),
        }
    }

    /// How many rows these are of a batch of `rows`.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Rows::All => rows,
            Rows::Some(indices) => indices.len(),
        }
    }
}

/// Groups rows by the number given to each (below `groups`): the groups that have rows, ascending, rows in order.
pub fn group_rows(numbers: &[u32], groups: usize) -> Vec<(u32, Rows)> {
    let Some(first) = numbers.first() else { return Vec::new() };
    if numbers.iter().all(|number| number == first) {
        return vec![(*first, Rows::All)];
    }
    let mut counts = vec![0usize; groups];
    for number in numbers {
        counts[*number as usize] += 1;
    }
    let mut rows: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (row, number) in numbers.iter().enumerate() {
        rows[*number as usize].push(row as u32);
    }
    let filled = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    filled.map(|(number, rows)| (number as u32, Rows::Some(rows.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn groups_keep_the_order_of_rows() {
        let groups = group_rows(&[2, 0, 2, 2], 4);
        assert_eq!(groups, [(0, Rows::Some(vec![1].into())), (2, Rows::Some(vec![0, 2, 3].into()))]);
        assert_eq!(group_rows(&[3, 3], 4), [(3, Rows::All)]);
        assert_eq!(group_rows(&[], 4), []);
        let batch = RecordBatch::try_from_iter([("a", Arc::new(UInt32Array::from(vec![10, 11, 12, 13])) as _)]).expect("batch");
        assert_eq!(groups[1].1.of(&batch).expect("take").column(0).as_ref(), &UInt32Array::from(vec![10, 12, 13]));
        assert_eq!(groups[1].1.pick(&[1, 2, 3, 4]), [1, 3, 4]);
        assert_eq!((Rows::All.count(4), groups[1].1.count(4)), (4, 3));
    }
}
