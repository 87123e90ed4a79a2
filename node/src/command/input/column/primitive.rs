//! Columns of fixed-width values: integers, floats, decimals, dates, times and timestamps.

use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, ArrowPrimitiveType, PrimitiveBuilder};
use arrow::datatypes::*;

use super::super::json_text::Json;
use super::super::scalar;
use super::{Column, Fault};
use crate::command::quote::quote;
use crate::command::time_text::{parse_date, parse_time, parse_timestamp};
use crate::command::type_text::unit_digits;

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send>;

struct Primitive<T: ArrowPrimitiveType> {
    values: PrimitiveBuilder<T>,
    parse: Parse<T::Native>,
    name: &'static str,
}

impl<T: ArrowPrimitiveType> Column for Primitive<T> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn null(&mut self) {
        self.values.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.values.append_value((self.parse)(text)?);
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let text = super::scalar(json, self.name)?;
        self.text(&text)
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.values.finish().slice(0, len))
    }
}

fn made<T: ArrowPrimitiveType>(
    data_type: &DataType,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T::Native, String> + Send + 'static,
) -> Option<Box<dyn Column>> {
    let values = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
    Some(Box::new(Primitive { values, parse: Box::new(parse), name }))
}

/// A column of `data_type`, if it is one of fixed width.
pub(super) fn column(data_type: &DataType) -> Option<Box<dyn Column>> {
    use scalar::{float, integer};
    match data_type {
        DataType::Int8 => made::<Int8Type>(data_type, "an int8", |text| integer(text, "int8")),
        DataType::Int16 => made::<Int16Type>(data_type, "an int16", |text| integer(text, "int16")),
        DataType::Int32 => made::<Int32Type>(data_type, "an int32", |text| integer(text, "int32")),
        DataType::Int64 => made::<Int64Type>(data_type, "an int64", |text| integer(text, "int64")),
        DataType::Float32 => made::<Float32Type>(data_type, "a float32", |text| float(text, "float32")),
        DataType::Float64 => made::<Float64Type>(data_type, "a float64", |text| float(text, "float64")),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            made::<Decimal128Type>(data_type, "a decimal", move |text| scalar::decimal(text, precision, scale))
        }
        DataType::Date32 => made::<Date32Type>(data_type, "a date", |text| {
            parse_date(text).and_then(|days| days.try_into().map_err(|_| format!("{} is out of range", quote(text))))
        }),
        DataType::Time32(unit) => time32(data_type, *unit),
        DataType::Time64(TimeUnit::Nanosecond) => made::<Time64NanosecondType>(data_type, "a time", |text| parse_time(text, 9)),
        DataType::Time64(_) => made::<Time64MicrosecondType>(data_type, "a time", |text| parse_time(text, 6)),
        DataType::Timestamp(unit, zone) => timestamp(data_type, *unit, zone.is_some()),
        _ => None,
    }
}

fn time32(data_type: &DataType, unit: TimeUnit) -> Option<Box<dyn Column>> {
    // A day has fewer than 2^31 milliseconds.
    let digits = unit_digits(unit);
    let parse = move |text: &str| parse_time(text, digits).map(|units| units as i32);
    match unit {
        TimeUnit::Second => made::<Time32SecondType>(data_type, "a time", parse),
        _ => made::<Time32MillisecondType>(data_type, "a time", parse),
    }
}

fn timestamp(data_type: &DataType, unit: TimeUnit, zoned: bool) -> Option<Box<dyn Column>> {
    let digits = unit_digits(unit);
    // A whole number is a count, as programs write it; no text of a time is one.
    let parse = move |text: &str| text.parse().or_else(|_| parse_timestamp(text, digits, zoned));
    match unit {
        TimeUnit::Second => made::<TimestampSecondType>(data_type, "a timestamp", parse),
        TimeUnit::Millisecond => made::<TimestampMillisecondType>(data_type, "a timestamp", parse),
        TimeUnit::Microsecond => made::<TimestampMicrosecondType>(data_type, "a timestamp", parse),
        TimeUnit::Nanosecond => made::<TimestampNanosecondType>(data_type, "a timestamp", parse),
    }
}
