//! Rows as parquet, which has no unit for times that is coarser than milliseconds: those in seconds become milliseconds.
//!
//! Invariant: a time comes out as the moment that it is, or the rows are refused. Knows nothing of where the bytes go.

use std::sync::Arc;

use aquifer_node::Error;
use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, Time32MillisecondType, Time32SecondType, TimeUnit, TimestampMillisecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::destination::Destination;
use crate::command::outcome::Failure;

/// Bytes of a row group in memory at most.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;

pub(super) struct Parquet {
    writer: ArrowWriter<Destination>,
    schema: SchemaRef,
}

impl Parquet {
    pub(super) fn new(destination: Destination, schema: &Schema) -> Result<Self, Failure> {
        let level = ZstdLevel::try_new(1).map_err(|error| Error::internal(error.to_string()))?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(level)).set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
        let schema = Arc::new(Schema::new(schema.fields().iter().map(in_milliseconds).collect::<Vec<_>>()));
        let writer = ArrowWriter::try_new(destination, schema.clone(), Some(properties)).map_err(failed)?;
        Ok(Parquet { writer, schema })
    }

    /// Writes rows, of which `rows_before` were written.
    pub(super) fn write(&mut self, batch: &RecordBatch, rows_before: u64) -> Result<(), Failure> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(array, field)| converted(array, field, rows_before));
        let columns = columns.collect::<Result<_, _>>().map_err(Failure::of_data)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal(format!("parquet is not written: {error}")))?;
        self.writer.write(&batch).map_err(failed)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Writes what stands behind the last row.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.writer.into_inner().map_err(failed)?.finish()
    }
}

/// The field as parquet holds it.
fn in_milliseconds(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(element) => DataType::List(in_milliseconds(element)),
        DataType::Map(entries, sorted) => DataType::Map(in_milliseconds(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(in_milliseconds).collect()),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

/// The values as the field of the file has them.
fn converted(array: &ArrayRef, field: &Field, rows_before: u64) -> Result<ArrayRef, Error> {
    convert(array, field.data_type()).map_err(|error| {
        let alone = |row: &u32| take(array, &UInt32Array::from(vec![*row]), None).and_then(|array| convert(&array, field.data_type()));
        let row = (0..array.len() as u32).find(|row| alone(row).is_err()).unwrap_or(0);
        let beyond = Error::invalid("a time in seconds is out of the range of milliseconds, the coarsest unit of parquet");
        let located = beyond.at("column", field.name()).at("row", rows_before + u64::from(row)).caused_by(error);
        located.hint("leave the row out with --where, or write arrow")
    })
}

/// By hand: the cast of arrow does not look at the range of times of a day.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match (array.data_type(), to) {
        (from, to) if from == to => array.clone(),
        (DataType::Timestamp(TimeUnit::Second, _), _) => {
            let moments =
                array.as_primitive::<TimestampSecondType>().try_unary::<_, TimestampMillisecondType, _>(|s| s.mul_checked(1000))?;
            Arc::new(moments.with_data_type(to.clone()))
        }
        (DataType::Time32(_), _) => {
            Arc::new(array.as_primitive::<Time32SecondType>().try_unary::<_, Time32MillisecondType, _>(|s| s.mul_checked(1000))?)
        }
        (_, DataType::List(element)) => {
            let lists = array.as_list::<i32>();
            let elements = convert(lists.values(), element.data_type())?;
            Arc::new(ListArray::try_new(element.clone(), lists.offsets().clone(), elements, lists.nulls().cloned())?)
        }
        (_, DataType::Struct(fields)) => Arc::new(convert_fields(array.as_struct(), fields)?),
        (_, DataType::Map(entries, sorted)) => {
            let (map, DataType::Struct(fields)) = (array.as_map(), entries.data_type()) else { return Ok(array.clone()) };
            let pairs = convert_fields(map.entries(), fields)?;
            Arc::new(MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted)?)
        }
        _ => array.clone(),
    })
}

fn convert_fields(rows: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = rows.columns().iter().zip(fields).map(|(array, field)| convert(array, field.data_type()));
    StructArray::try_new_with_length(fields.clone(), columns.collect::<Result<_, _>>()?, rows.nulls().cloned(), rows.len())
}

fn failed(error: ParquetError) -> Failure {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Failure::writing(*error),
            Err(other) => Error::internal(format!("parquet is not written: {other}")).into(),
        },
        other => Error::invalid(format!("parquet is not written: {other}")).into(),
    }
}
