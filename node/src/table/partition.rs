//! Partitions of a table: which partition each row of a batch belongs to, what a partition is called, what its name says.
//!
//! Invariant: partition names and keys stand for each other: two keys never share a name. Knows nothing of directories; times
//! count in UTC.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::row::{RowConverter, SortField};

use super::literal::{parse_value, print_value};
use super::rows::Rows;
use super::scalar::{Scalar, ScalarRef};
use super::schema::TableSchema;
use super::statistics::ColumnStatistics;
use super::types::ColumnType;
use crate::error::{Error, Result};

mod field;
mod name;
mod transform;

pub use field::{PARTITION_FIELDS_MAX, PartitionField, Transform};

/// Most partitions that one batch may touch: more is a mistaken partition column, and would open as many logs.
pub const PARTITIONS_PER_BATCH_MAX: usize = 1024;

/// The values that make a partition, and its name.
#[derive(Clone, Debug)]
pub struct PartitionKey {
    name: String,
    values: Vec<Option<Scalar>>,
}

impl PartitionKey {
    /// The only partition of a table without partition fields.
    pub fn unpartitioned() -> Self {
        PartitionKey { name: String::new(), values: Vec::new() }
    }

    /// The canonical name, `c=x/ts_day=2026-01-01`; empty for a table without partition fields.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of each partition field.
    pub fn values(&self) -> &[Option<Scalar>] {
        &self.values
    }
}

impl PartialEq for PartitionKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PartitionKey {}

impl Hash for PartitionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// One partition field as it applies to batches of one schema.
#[derive(Clone, Debug)]
struct Part {
    field: PartitionField,
    column: usize,
    kind: ColumnType,
}

/// Finds the partition of rows.
#[derive(Clone, Debug)]
pub struct Partitioner {
    parts: Vec<Part>,
}

impl Partitioner {
    /// For batches of `schema`.
    ///
    /// # Errors
    /// Invalid when a field does not fit the schema.
    pub fn new(schema: &TableSchema, fields: &[PartitionField]) -> Result<Self> {
        PartitionField::check(fields, schema)?;
        let part = |field: &PartitionField| {
            let column = schema.index_of_id(field.source).ok_or_else(|| Error::invalid("a partition field has no column"))?;
            Ok(Part { field: field.clone(), column, kind: schema.fields()[column].kind.clone() })
        };
        Ok(Partitioner { parts: fields.iter().map(part).collect::<Result<_>>()? })
    }

    /// The partitions that a batch of the schema touches, in the order in which they first appear, with their rows.
    ///
    /// # Errors
    /// Exhausted when there are more than [`PARTITIONS_PER_BATCH_MAX`]; Invalid when the batch has another schema.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(PartitionKey, Rows)>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let arrays = self.parts.iter().map(|part| part.values(batch)).collect::<Result<Vec<_>>>()?;
        if arrays.is_empty() {
            return Ok(vec![(PartitionKey::unpartitioned(), Rows::All)]);
        }
        let mut runs = arrow::compute::partition(&arrays).map_err(foreign)?.ranges();
        if let [_] = runs[..] {
            return Ok(vec![(self.key(&arrays, 0)?, Rows::All)]);
        }
        let starts = UInt32Array::from_iter_values(runs.iter().map(|run| run.start as u32));
        let groups = group_runs(&arrays, &starts)?;
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); count];
        for (run, group) in runs.drain(..).zip(groups) {
            rows[group].extend(run.start as u32..run.end as u32);
        }
        let keyed = rows.into_iter().map(|rows| Ok((self.key(&arrays, rows[0] as usize)?, Rows::Some(rows.into()))));
        keyed.collect()
    }

    fn key(&self, arrays: &[ArrayRef], row: usize) -> Result<PartitionKey> {
        let values = arrays.iter().map(|array| ScalarRef::at(array.as_ref(), row).map(ScalarRef::to_owned)).collect();
        Ok(self.key_of(values))
    }

    fn key_of(&self, values: Vec<Option<Scalar>>) -> PartitionKey {
        let mut name = String::new();
        for (part, value) in self.parts.iter().zip(&values) {
            let text = value.as_ref().map(|value| part.print(value));
            name::push_part(&mut name, &part.field.name, text.as_deref());
        }
        PartitionKey { name, values }
    }

    /// The key with that name.
    ///
    /// # Errors
    /// Invalid when it is not the canonical name of a partition of this table.
    pub fn parse(&self, name: &str) -> Result<PartitionKey> {
        let wrong = || Error::invalid(format!("{name:?} is not the name of a partition"));
        let texts = name::split_parts(name, self.parts.iter().map(|part| part.field.name.as_str())).ok_or_else(wrong)?;
        let value = |(part, text): (&Part, Option<String>)| text.map(|text| part.parse(&text)).transpose();
        let values = self.parts.iter().zip(texts).map(value).collect::<Result<Vec<_>>>().map_err(|_| wrong())?;
        let key = self.key_of(values);
        if key.name == name { Ok(key) } else { Err(wrong()) }
    }

    /// What a partition's key says of the column with field id `column`, for skipping the partition.
    /// Counts are those of one row: all rows are null, or none is.
    pub fn statistics<'a>(&self, key: &'a PartitionKey, column: i32) -> Option<ColumnStatistics<'a>> {
        let mut parts = self.parts.iter().zip(&key.values).filter(|(part, _)| part.field.source == column);
        parts.find_map(|(part, value)| part.statistics(value.as_ref()))
    }
}

impl Part {
    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let array = batch.columns().get(self.column).ok_or_else(|| Error::invalid("the batch lacks a partition column"))?;
        transform::apply(self.field.transform, array)
    }

    fn print(&self, value: &Scalar) -> String {
        transform::print(self.field.transform, value).unwrap_or_else(|| print_value(value.as_ref(), &self.kind))
    }

    fn parse(&self, text: &str) -> Result<Scalar> {
        match self.field.transform {
            Transform::Identity => parse_value(text, &self.kind),
            transform => transform::parse(transform, text).ok_or_else(|| Error::invalid(format!("`{text}` is no {transform}"))),
        }
    }

    fn statistics<'a>(&self, value: Option<&'a Scalar>) -> Option<ColumnStatistics<'a>> {
        let Some(value) = value else { return Some(ColumnStatistics::all_null(1)) };
        let (min, max) = match self.field.transform {
            Transform::Identity => (value.as_ref(), value.as_ref()),
            _ => transform::bounds(self.field.transform, value, &self.kind)?,
        };
        Some(ColumnStatistics { min: Some(min), max: Some(max), null_count: 0, rows: 1 })
    }
}

/// The number of the group of each run: runs with equal values share one, numbered as they first appear.
fn group_runs(arrays: &[ArrayRef], starts: &UInt32Array) -> Result<Vec<usize>> {
    let first_rows = arrays.iter().map(|array| take(array, starts, None)).collect::<Result<Vec<_>, _>>().map_err(foreign)?;
    let fields = arrays.iter().map(|array| SortField::new(array.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&first_rows)).map_err(foreign)?;
    let mut numbers: HashMap<&[u8], usize> = HashMap::new();
    let mut groups = Vec::with_capacity(starts.len());
    for row in 0..rows.num_rows() {
        let next = numbers.len();
        groups.push(*numbers.entry(rows.row(row).data()).or_insert(next));
        if numbers.len() > PARTITIONS_PER_BATCH_MAX {
            let error = Error::exhausted(format!("one batch touches more than {PARTITIONS_PER_BATCH_MAX} partitions"));
            return Err(error.hint("partition by a column with fewer values, or write smaller batches"));
        }
    }
    Ok(groups)
}

fn foreign(error: arrow::error::ArrowError) -> Error {
    Error::invalid("cannot partition the batch").caused_by(error)
}

#[cfg(test)]
mod tests;
