//! From stored batches to the rows that a scan asked for: the wanted columns, in today's schema, filtered.
//!
//! Invariant: whatever schema a batch was written with, what comes out has the scan's schema. This module knows nothing of where batches come from.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::{Decoder, statistics};
use crate::log::cursor::Plan;
use crate::log::stored::Stored;
use crate::merge::function::is_retraction;
use crate::table::filter::{Bound, Filter};
use crate::table::mapping::Mapping;
use crate::table::partition::Partitioner;
use crate::table::{ChangeType, Changelog, ColumnStatistics, ScalarRef, TableSchema, TableSpec};

/// How batches of one schema version are read.
struct Version {
    /// Of the columns that are needed, as they were written.
    decoder: Arc<Decoder>,
    /// From those to the scan's schema.
    mapping: Mapping,
}

/// What a scan shows of each row besides its columns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// Where it is in the log.
    pub(super) place: bool,
    /// What it says.
    pub(super) op: bool,
}

/// Looks a table up in the catalog.
pub(super) type Newest = Arc<dyn Fn() -> Result<TableSpec> + Send + Sync>;

/// See the head of this module.
pub(super) struct Reading {
    spec: ArcSwap<TableSpec>,
    /// The table as it is now: rows of a version that `spec` does not know yet may be durable.
    newest: Newest,
    /// The schema that the scan reads in, whatever the table becomes meanwhile.
    wanted: TableSchema,
    /// Columns to read: those that come out, then those that only the filter needs.
    read: Vec<String>,
    /// How many of them come out.
    shown: usize,
    /// They are those of the table, not chosen ones.
    are_all: bool,
    filter: Option<Bound>,
    /// What rows must pass that take others away, where these may have nothing but a key; the same filter without.
    filter_of_keys: Option<Bound>,
    schema: SchemaRef,
    extras: Extras,
    has_partitions: bool,
    versions: Mutex<HashMap<i16, Arc<Version>>>,
}

impl Reading {
    /// Prepares to read `columns` (all without) of the rows for which `filter` holds, of the table `spec`, which `newest` looks up again.
    pub(super) fn new(spec: TableSpec, newest: Newest, columns: Option<&[String]>, filter: Option<&str>, extras: Extras) -> Result<Self> {
        let wanted = spec.schema().clone();
        let mut read: Vec<String> = match columns {
            None => wanted.fields().iter().map(|field| field.name.clone()).collect(),
            Some(names) => names.to_vec(),
        };
        let mut fields = Vec::with_capacity(read.len() + 4);
        for name in &read {
            fields.push(wanted.arrow().field(wanted.index_of(name)?).clone());
        }
        let shown = read.len();
        let filter = filter.map(|text| text.parse::<Filter>().and_then(|filter| filter.bind(&wanted))).transpose()?;
        for column in filter.iter().flat_map(Bound::columns) {
            if !read.contains(&column.name) {
                read.push(column.name.clone());
            }
        }
        let has_keys_alone = !spec.primary_key.is_empty() && spec.changelog()? == Changelog::Input;
        let filter_of_keys = filter.as_ref().filter(|_| has_keys_alone).map(|filter| filter.of_columns(&spec.primary_key));
        let has_partitions = !spec.partition_by.is_empty();
        if extras.place {
            fields.extend(has_partitions.then(|| Field::new("_partition", DataType::Utf8, false)));
            fields.extend(place_fields());
        }
        fields.extend(extras.op.then(|| Field::new("_op", DataType::Utf8, false)));
        let (schema, versions) = (Arc::new(Schema::new(fields)), Mutex::default());
        let spec = ArcSwap::from_pointee(spec);
        let are_all = columns.is_none();
        Ok(Reading { spec, newest, wanted, read, shown, are_all, filter, filter_of_keys, schema, extras, has_partitions, versions })
    }

    /// Which of the stored bytes are needed, for a cursor.
    pub(super) fn plan(self: &Arc<Self>) -> Plan {
        let (decoding, judging) = (self.clone(), self.clone());
        Plan {
            decoder: Arc::new(move |schema_id| Ok(decoding.version(schema_id)?.decoder.clone())),
            may_match: Arc::new(move |schema_id, statistics, rows| judging.may_match(schema_id, statistics, rows)),
            // What a row says stands in the head of its batch.
            is_whole: self.extras.op && !self.spec.load().primary_key.is_empty(),
        }
    }

    /// The columns that come out.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table was altered: batches of new versions will come.
    pub(super) fn refresh(&self, spec: &TableSpec) {
        self.spec.store(Arc::new(spec.clone()));
    }

    /// The same rows in the columns that the table has now; `None` when these are no others, or do not have what the filter is of.
    pub(super) fn renewed(&self, filter: Option<&str>) -> Result<Option<Reading>> {
        let spec = (self.newest)()?;
        match spec.schema().version() == self.wanted.version() {
            true => Ok(None),
            false => Ok(Reading::new(spec, self.newest.clone(), None, filter, self.extras).ok()),
        }
    }

    /// Whether rows of this version of the schema may have columns that are not shown.
    pub(super) fn is_older_than(&self, schema_id: i16) -> bool {
        self.wanted.version() < schema_id
    }

    /// Whether the columns that come out are other ones in the table now.
    pub(super) fn is_outdated(&self) -> bool {
        let now = self.spec.load();
        if now.schema().version() == self.wanted.version() {
            return false;
        }
        if self.are_all {
            return now.schema().fields() != self.wanted.fields();
        }
        let of_now = |id| now.schema().index_of_id(id).map(|index| &now.schema().fields()[index]);
        let shown = self.wanted.fields().iter().filter(|field| self.read[..self.shown].contains(&field.name));
        shown.into_iter().any(|field| of_now(field.id) != Some(field))
    }

    /// Whether a batch with these statistics may hold a wanted row. What cannot be read rules nothing out.
    fn may_match(&self, schema_id: i16, bytes: &[u8], rows: u64) -> bool {
        let (Some(filter), spec) = (self.filter_of_keys.as_ref().or(self.filter.as_ref()), self.spec.load()) else { return true };
        let Some(written) = spec.schema_at(schema_id) else { return true };
        let Ok(known) = statistics::decode(written.arrow(), bytes) else { return true };
        filter.may_match(&|id| {
            let Some(column) = written.index_of_id(id) else { return Some(ColumnStatistics::all_null(rows)) };
            let found = known.iter().find(|found| found.column == column)?;
            let (min, max) = (found.min.as_ref().map(scalar), found.max.as_ref().map(scalar));
            Some(ColumnStatistics { min, max, null_count: found.nulls as u64, rows })
        })
    }

    /// Whether a partition may hold a wanted row.
    pub(super) fn may_hold(&self, partitioner: &Partitioner, partition: &str) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let key = partitioner.parse(partition)?;
        Ok(filter.may_match(&|column| partitioner.statistics(&key, column)))
    }

    fn version(&self, schema_id: i16) -> Result<Arc<Version>> {
        let mut versions = self.versions.lock();
        if let Some(known) = versions.get(&schema_id) {
            return Ok(known.clone());
        }
        if self.spec.load().schema_at(schema_id).is_none() {
            self.refresh(&(self.newest)()?);
        }
        let spec = self.spec.load();
        let unknown = || Error::corrupt(format!("a batch of the unknown schema version {schema_id}")).at("table", &spec.name);
        let written = spec.schema_at(schema_id).ok_or_else(unknown)?;
        let mapping = Mapping::new(written, &self.wanted, Some(&self.read))?;
        let decoder = Arc::new(Decoder::projected(written.arrow(), mapping.read_columns())?);
        let made = Arc::new(Version { decoder, mapping });
        versions.insert(schema_id, made.clone());
        Ok(made)
    }

    /// The wanted rows among those with an offset in `offsets` of a partition's bucket; `None` when there are none.
    pub(super) fn rows(&self, stored: &Stored, place: (&str, u32), offsets: Range<u64>) -> Result<Option<RecordBatch>> {
        let version = self.version(stored.schema_id)?;
        let all = version.mapping.apply(&stored.decode(&version.decoder)?)?;
        let skip = (offsets.start - stored.first_offset) as usize;
        let count = (offsets.end - offsets.start) as usize;
        if skip + count > all.num_rows() {
            return Err(Error::corrupt("a batch has fewer rows than offsets").at("offset", stored.first_offset));
        }
        let Said { passed, kinds } = self.said(&all, stored)?;
        let whole = count == all.num_rows();
        let rows = if whole { all } else { all.slice(skip, count) };
        let kinds = kinds.as_deref().map(|kinds| &kinds[skip..skip + count]);
        let shown = self.show(rows, kinds, stored.timestamp_ms, place, offsets)?;
        let kept = match passed.map(|passed| if whole { passed } else { passed.slice(skip, count) }) {
            None => shown,
            Some(passed) => filter_record_batch(&shown, &passed).map_err(|error| Error::internal("cannot filter rows").caused_by(error))?,
        };
        Ok((kept.num_rows() > 0).then_some(kept))
    }

    /// Which rows of a whole batch pass, and what they say then: what becomes of an update depends on both of its rows.
    fn said(&self, rows: &RecordBatch, stored: &Stored) -> Result<Said> {
        let kinds = if self.extras.op { stored.kinds()? } else { None };
        let Some(filter) = &self.filter else { return Ok(Said { passed: None, kinds: kinds.map(|kinds| kinds.to_vec()) }) };
        let passed = filter.evaluate(rows)?;
        let Some(kinds) = kinds else { return Ok(Said { passed: Some(passed), kinds: None }) };
        if kinds.len() != rows.num_rows() {
            return Err(Error::corrupt("a batch says not of each row what it is").at("offset", stored.first_offset));
        }
        let of_keys = match &self.filter_of_keys {
            Some(of_keys) if kinds.iter().any(|kind| is_retraction(*kind)) => Some(of_keys.evaluate(rows)?),
            _ => None,
        };
        let passes = |mask: &BooleanArray, row: usize| mask.is_valid(row) && mask.value(row);
        let row_passes = |row: usize| match &of_keys {
            Some(of_keys) if is_retraction(kinds[row]) => passes(of_keys, row),
            _ => passes(&passed, row),
        };
        let passed: Vec<bool> = (0..kinds.len()).map(row_passes).collect();
        let kinds = kinds_of_passed(&kinds, &passed);
        Ok(Said { passed: Some(passed.into()), kinds: Some(kinds) })
    }

    /// The columns that come out, with what else is wanted of each row.
    fn show(
        &self,
        rows: RecordBatch,
        kinds: Option<&[u8]>,
        timestamp_ms: i64,
        place: (&str, u32),
        offsets: Range<u64>,
    ) -> Result<RecordBatch> {
        if rows.num_columns() == self.shown && !self.extras.place && !self.extras.op {
            return Ok(rows);
        }
        let mut columns: Vec<ArrayRef> = rows.columns()[..self.shown].to_vec();
        if self.extras.place {
            columns.extend(self.place_columns(place, timestamp_ms, offsets));
        }
        if self.extras.op {
            let kind = |row: usize| kinds.map_or(ChangeType::Append, |kinds| ChangeType::from_byte(kinds[row]).unwrap_or_default());
            columns.push(Arc::new(StringArray::from_iter_values((0..rows.num_rows()).map(|row| kind(row).as_str()))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal("cannot put columns together").caused_by(error))
    }

    /// Rows of the table, of the columns that come out, as changes that make them.
    pub(super) fn inserted(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let kinds = StringArray::from_iter_values(std::iter::repeat_n(ChangeType::Insert.as_str(), rows.num_rows()));
        let columns = rows.columns().iter().cloned().chain([Arc::new(kinds) as ArrayRef]).collect();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| Error::internal("cannot put columns together").caused_by(error))
    }

    fn place_columns(&self, (partition, bucket): (&str, u32), timestamp_ms: i64, offsets: Range<u64>) -> Vec<ArrayRef> {
        let count = (offsets.end - offsets.start) as usize;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(4);
        if self.has_partitions {
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(partition, count))));
        }
        columns.push(Arc::new(UInt32Array::from_value(bucket, count)));
        columns.push(Arc::new(Int64Array::from_iter_values(offsets.map(|offset| offset as i64))));
        columns.push(Arc::new(TimestampMillisecondArray::from_value(timestamp_ms, count).with_timezone("UTC")));
        columns
    }
}

/// Which rows of a batch pass, and what they say.
struct Said {
    /// `None` without a filter.
    passed: Option<BooleanArray>,
    /// As in log batches; `None` where it does not matter, or each row was appended.
    kinds: Option<Vec<u8>>,
}

/// What changes say to who sees only those that pass. Of an update of which one row does: that the row came, or that it went. A row before an update stands
/// in one batch with the row behind it.
fn kinds_of_passed(kinds: &[u8], passed: &[bool]) -> Vec<u8> {
    let mut said = kinds.to_vec();
    for row in 1..kinds.len() {
        if kinds[row - 1] == ChangeType::UpdateBefore.to_byte() && kinds[row] == ChangeType::UpdateAfter.to_byte() {
            match (passed[row - 1], passed[row]) {
                (true, false) => said[row - 1] = ChangeType::Delete.to_byte(),
                (false, true) => said[row] = ChangeType::Insert.to_byte(),
                _ => {}
            }
        }
    }
    said
}

fn scalar(value: &statistics::Value) -> ScalarRef<'_> {
    match value {
        statistics::Value::Bool(value) => ScalarRef::Boolean(*value),
        statistics::Value::Int(value) => ScalarRef::Integer(i128::from(*value)),
        statistics::Value::Float(value) => ScalarRef::Float(*value),
        statistics::Value::Decimal(value) => ScalarRef::Integer(*value),
        statistics::Value::Text(value) => ScalarRef::Text(value),
    }
}

fn place_fields() -> [Field; 3] {
    [
        Field::new("_bucket", DataType::UInt32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))), false),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::table::CreateTable;
    use super::*;
    use crate::table::evolution::Change;

    #[test]
    fn rows_of_a_version_that_is_newer_than_the_look_at_the_table_are_read() {
        let columns = Schema::new(vec![Field::new("number", DataType::Int64, false)]);
        let spec = CreateTable::like(Arc::new(columns)).spec(&"t".parse().unwrap(), 1, 0).unwrap();
        let evolved = spec.evolve(&[Change::parse_add("more int64").unwrap()]).unwrap();
        let (before, after) = (spec.schema().version(), evolved.schema().version());
        let reading = Reading::new(spec, Arc::new(move || Ok(evolved.clone())), None, None, Extras::default()).unwrap();
        assert!(reading.version(before).is_ok());
        assert!(reading.version(after).is_ok());
        let error = reading.version(after + 1).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Corrupt, "{error}");
    }
}
