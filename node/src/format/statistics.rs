//! Statistics of a batch: null count, least and greatest value of chosen columns, so that a scan with a filter can skip it.
//!
//! The form is that of Fluss (version 1 of the batch): the bounds are two rows of Fluss' aligned form, see `row.rs`. A bound may
//! be missing, and it may be wider than the values (times of day are kept in milliseconds), but never narrower. Floats are
//! ordered as Arrow orders them: NaN stands above all numbers.

mod row;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::*;

use self::row::{RowReader, RowWriter};
use super::bytes::{Reader, align_up, array};
use crate::error::{Error, Result};

/// The version of the form.
pub const VERSION: u8 = 1;
/// Texts longer than this are no bounds.
pub const TEXT_BYTES_MAX: usize = 256;
/// At most so many columns have statistics.
pub const COLUMNS_MAX: usize = 1024;

/// A least or greatest value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A boolean.
    Bool(bool),
    /// An integer, date, time or timestamp, in the unit of its column.
    Int(i64),
    /// A float of either width.
    Float(f64),
    /// A decimal, without its scale.
    Decimal(i128),
    /// A text.
    Text(String),
}

/// What is known of one column of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStatistics {
    /// The column, by its number in the schema of the batch.
    pub column: usize,
    /// How many rows are null there.
    pub nulls: usize,
    /// No value is below this. `None`: nothing is known, or all are null.
    pub min: Option<Value>,
    /// No value is above this. `None`: nothing is known, or all are null.
    pub max: Option<Value>,
}

/// Whether statistics can be kept of a column of this type.
pub fn supports(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(..) | Date32 | Time32(_) | Time64(_) | Timestamp(..) | Utf8
    )
}

/// Errors with `Invalid` unless statistics can be kept of these columns of `schema`.
pub(super) fn check(schema: &Schema, columns: &[usize]) -> Result<()> {
    if columns.len() > COLUMNS_MAX {
        return Err(Error::invalid("statistics of too many columns").at("columns", columns.len()).at("limit", COLUMNS_MAX));
    }
    for &column in columns {
        let Some(field) = schema.fields().get(column).filter(|_| i16::try_from(column).is_ok()) else {
            return Err(Error::invalid("statistics of a column that is not there").at("column", column));
        };
        if !supports(field.data_type()) {
            return Err(Error::invalid("no statistics of this type").at("column", field.name()).at("type", field.data_type()));
        }
    }
    Ok(())
}

/// The most bytes that statistics of so many columns take.
pub(super) fn size_bound(columns: usize) -> usize {
    let row = 4 + row::fixed_bytes(columns) + columns * align_up(TEXT_BYTES_MAX, 8);
    3 + 6 * columns + 2 * row
}

/// Appends the statistics of these columns of `batch`, which [`check`] let pass.
pub(super) fn write(batch: &RecordBatch, columns: &[usize], out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&(columns.len() as i16).to_le_bytes());
    columns.iter().for_each(|column| out.extend_from_slice(&(*column as i16).to_le_bytes()));
    let (mut min, mut max) = (RowWriter::new(columns.len()), RowWriter::new(columns.len()));
    for (position, &column) in columns.iter().enumerate() {
        let values = batch.column(column).as_ref();
        out.extend_from_slice(&(values.null_count() as i32).to_le_bytes());
        // Only both bounds together are of use to other readers.
        match bounds(values) {
            Some((low, high)) if min.fits(values.data_type(), &low) && max.fits(values.data_type(), &high) => {
                min.set(position, values.data_type(), &low);
                max.set(position, values.data_type(), &high);
            }
            _ => {
                min.set_null(position);
                max.set_null(position);
            }
        }
    }
    for row in [min.finish(), max.finish()] {
        out.extend_from_slice(&(row.len() as i32).to_le_bytes());
        out.extend_from_slice(&row);
    }
}

/// Least and greatest value, if there is any.
fn bounds(array: &dyn Array) -> Option<(Value, Value)> {
    use DataType::*;
    use TimeUnit::*;
    match array.data_type() {
        Boolean => {
            let array = array.as_boolean();
            Some((Value::Bool(compute::min_boolean(array)?), Value::Bool(compute::max_boolean(array)?)))
        }
        Utf8 => {
            let array = array.as_string::<i32>();
            let (low, high) = (compute::min_string(array)?, compute::max_string(array)?);
            let short = low.len() <= TEXT_BYTES_MAX && high.len() <= TEXT_BYTES_MAX;
            short.then(|| (Value::Text(low.into()), Value::Text(high.into())))
        }
        Int8 => flat::<Int8Type>(array, |value| Value::Int(value.into())),
        Int16 => flat::<Int16Type>(array, |value| Value::Int(value.into())),
        Int32 => flat::<Int32Type>(array, |value| Value::Int(value.into())),
        Int64 => flat::<Int64Type>(array, Value::Int),
        Float32 => flat::<Float32Type>(array, |value| Value::Float(value.into())),
        Float64 => flat::<Float64Type>(array, Value::Float),
        Decimal128(..) => flat::<Decimal128Type>(array, Value::Decimal),
        Date32 => flat::<Date32Type>(array, |value| Value::Int(value.into())),
        Time32(Second) => flat::<Time32SecondType>(array, |value| Value::Int(value.into())),
        Time32(_) => flat::<Time32MillisecondType>(array, |value| Value::Int(value.into())),
        Time64(Nanosecond) => flat::<Time64NanosecondType>(array, Value::Int),
        Time64(_) => flat::<Time64MicrosecondType>(array, Value::Int),
        Timestamp(Second, _) => flat::<TimestampSecondType>(array, Value::Int),
        Timestamp(Millisecond, _) => flat::<TimestampMillisecondType>(array, Value::Int),
        Timestamp(Microsecond, _) => flat::<TimestampMicrosecondType>(array, Value::Int),
        Timestamp(Nanosecond, _) => flat::<TimestampNanosecondType>(array, Value::Int),
        _ => None,
    }
}

fn flat<T: ArrowPrimitiveType>(array: &dyn Array, value: impl Fn(T::Native) -> Value) -> Option<(Value, Value)>
where
    T::Native: PartialOrd,
{
    let array = array.as_primitive::<T>();
    Some((value(compute::min(array)?), value(compute::max(array)?)))
}

/// Reads the statistics of a batch of `schema`. Bytes behind them are ignored, and so are columns that `schema` does not have.
///
/// Errors with `Corrupt` when they make no sense. Statistics of another version are none.
pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<Vec<ColumnStatistics>> {
    if bytes.first().is_none_or(|version| *version != VERSION) {
        return Ok(Vec::new());
    }
    read(schema, bytes).ok_or_else(|| Error::corrupt("the statistics of a batch make no sense"))
}

fn read(schema: &Schema, bytes: &[u8]) -> Option<Vec<ColumnStatistics>> {
    let mut reader = Reader { rest: &bytes[1..] };
    let count = usize::try_from(reader.i16()?).ok()?;
    let columns = reader.bytes(count * 2)?;
    let nulls = reader.bytes(count * 4)?;
    let mut row = || {
        let length = usize::try_from(reader.i32()?).ok()?;
        RowReader::new(count, reader.bytes(length)?)
    };
    let (min, max) = (row()?, row()?);
    let mut found = Vec::with_capacity(count);
    for position in 0..count {
        let column = usize::try_from(i16::from_le_bytes(array(columns, position * 2)?)).ok()?;
        let nulls = usize::try_from(i32::from_le_bytes(array(nulls, position * 4)?)).ok()?;
        let Some(field) = schema.fields().get(column).filter(|field| supports(field.data_type())) else { continue };
        let bound =
            |row: &RowReader<'_>, upper| if row.is_null(position) { Some(None) } else { row.get(position, field.data_type(), upper) };
        found.push(ColumnStatistics { column, nulls, min: bound(&min, false)?, max: bound(&max, true)? });
    }
    Some(found)
}

#[cfg(test)]
mod tests;
