//! One value as text (csv, table) or JSON: the inverse of how input reads it.
//!
//! Invariant: exact. Decimals keep their scale, floats their shortest digits, times every digit; bytes are hex; numbers that JSON
//! does not have (NaN, inf) are texts. Knows nothing of rows and files.

use std::io::Write;

use aquifer_node::{Error, Result};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::*;

use crate::command::time_text::{print_date, print_time, print_timestamp};
use crate::command::type_text::{print_type, unit_digits};

/// Writes the value of a row, which is not null.
type Print<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Prints values of one column.
pub(super) struct Printer<'a> {
    array: &'a dyn Array,
    print: Print<'a>,
}

impl<'a> Printer<'a> {
    /// Prints plain text; lists, maps and structs as JSON.
    pub(super) fn text(array: &'a ArrayRef) -> Result<Self> {
        let print = match scalar(array) {
            Some(print) => print,
            None => json(array)?,
        };
        Ok(Printer { array, print })
    }

    /// Prints JSON.
    pub(super) fn json(array: &'a ArrayRef) -> Result<Self> {
        Ok(Printer { array, print: json(array)? })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends the value of a row to `out`; `null` for a null.
    pub(super) fn print(&self, row: usize, out: &mut Vec<u8>) {
        match self.is_null(row) {
            true => out.extend_from_slice(b"null"),
            false => (self.print)(row, out),
        }
    }
}

/// Writes a text with quotes and escapes.
pub(super) fn print_json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

/// A moment in milliseconds since 1970.
pub(crate) fn print_utc_ms(moment_ms: i64) -> String {
    let mut out = Vec::new();
    print_timestamp(moment_ms, 3, true, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn display<'a, T>(array: &'a dyn Array) -> Option<Print<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>();
    Some(Box::new(move |row, out| write!(out, "{}", values.value(row)).expect("writing to memory does not fail")))
}

/// Floats with the fewest digits that read back to the same value.
fn float<'a, T>(array: &'a dyn Array) -> Option<Print<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: std::fmt::Debug,
{
    let values = array.as_primitive::<T>();
    Some(Box::new(move |row, out| write!(out, "{:?}", values.value(row)).expect("writing to memory does not fail")))
}

fn units<'a, T>(array: &'a dyn Array, print: impl Fn(i64, &mut Vec<u8>) + 'a) -> Option<Print<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let values = array.as_primitive::<T>();
    Some(Box::new(move |row, out| print(values.value(row).into(), out)))
}

/// How a value that is not nested is written as text.
fn scalar(array: &dyn Array) -> Option<Print<'_>> {
    match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            Some(Box::new(|row, out| out.extend_from_slice(if values.value(row) { b"true" } else { b"false" })))
        }
        DataType::Int8 => display::<Int8Type>(array),
        DataType::Int16 => display::<Int16Type>(array),
        DataType::Int32 => display::<Int32Type>(array),
        DataType::Int64 => display::<Int64Type>(array),
        DataType::UInt32 => display::<UInt32Type>(array),
        DataType::UInt64 => display::<UInt64Type>(array),
        DataType::Float32 => float::<Float32Type>(array),
        DataType::Float64 => float::<Float64Type>(array),
        DataType::Decimal128(_, scale) => decimal(array, *scale),
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Some(Box::new(|row, out| out.extend_from_slice(values.value(row).as_bytes())))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Some(Box::new(|row, out| print_hex(values.value(row), out)))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            Some(Box::new(|row, out| print_hex(values.value(row), out)))
        }
        DataType::Date32 => units::<Date32Type>(array, print_date),
        DataType::Time32(_) | DataType::Time64(_) => time(array),
        DataType::Timestamp(unit, zone) => timestamp(array, *unit, zone.is_some()),
        _ => None,
    }
}

fn time(array: &dyn Array) -> Option<Print<'_>> {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => units::<Time32SecondType>(array, |time, out| print_time(time, 0, out)),
        DataType::Time32(_) => units::<Time32MillisecondType>(array, |time, out| print_time(time, 3, out)),
        DataType::Time64(TimeUnit::Nanosecond) => units::<Time64NanosecondType>(array, |time, out| print_time(time, 9, out)),
        _ => units::<Time64MicrosecondType>(array, |time, out| print_time(time, 6, out)),
    }
}

fn timestamp(array: &dyn Array, unit: TimeUnit, zoned: bool) -> Option<Print<'_>> {
    let print = move |time: i64, out: &mut Vec<u8>| print_timestamp(time, unit_digits(unit), zoned, out);
    match unit {
        TimeUnit::Second => units::<TimestampSecondType>(array, print),
        TimeUnit::Millisecond => units::<TimestampMillisecondType>(array, print),
        TimeUnit::Microsecond => units::<TimestampMicrosecondType>(array, print),
        TimeUnit::Nanosecond => units::<TimestampNanosecondType>(array, print),
    }
}

fn decimal(array: &dyn Array, scale: i8) -> Option<Print<'_>> {
    let scale = usize::try_from(scale).ok()?;
    let values = array.as_primitive::<Decimal128Type>();
    Some(Box::new(move |row, out| {
        let value = values.value(row);
        let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(if value < 0 { b"-" } else { b"" });
        out.extend_from_slice(whole.as_bytes());
        if scale > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
    }))
}

fn print_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// How a value is written as JSON.
fn json(array: &ArrayRef) -> Result<Print<'_>> {
    match array.data_type() {
        DataType::List(_) => list(array),
        DataType::Map(..) => map(array),
        DataType::Struct(_) => structure(array),
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Ok(Box::new(|row, out| print_json_text(values.value(row), out)))
        }
        DataType::Float32 => {
            let (values, print) = (array.as_primitive::<Float32Type>(), known(array)?);
            Ok(Box::new(move |row, out| quoted_unless(values.value(row).is_finite(), &print, row, out)))
        }
        DataType::Float64 => {
            let (values, print) = (array.as_primitive::<Float64Type>(), known(array)?);
            Ok(Box::new(move |row, out| quoted_unless(values.value(row).is_finite(), &print, row, out)))
        }
        data_type => {
            let bare = data_type.is_numeric() || *data_type == DataType::Boolean;
            let print = known(array)?;
            Ok(Box::new(move |row, out| quoted_unless(bare, &print, row, out)))
        }
    }
}

fn known(array: &ArrayRef) -> Result<Print<'_>> {
    scalar(array).ok_or_else(|| {
        Error::invalid(format!("values of type {} have no text", print_type(array.data_type()))).hint("choose --output arrow or parquet")
    })
}

fn quoted_unless(bare: bool, print: &Print<'_>, row: usize, out: &mut Vec<u8>) {
    let quote: &[u8] = if bare { b"" } else { b"\"" };
    out.extend_from_slice(quote);
    print(row, out);
    out.extend_from_slice(quote);
}

fn list(array: &ArrayRef) -> Result<Print<'_>> {
    let list = array.as_list::<i32>();
    let items = Printer::json(list.values())?;
    Ok(Box::new(move |row, out| {
        out.push(b'[');
        separated(range(list.value_offsets(), row), out, |item, out| items.print(item, out));
        out.push(b']');
    }))
}

fn map(array: &ArrayRef) -> Result<Print<'_>> {
    let map = array.as_map();
    let (keys, values) = (Printer::json(map.keys())?, Printer::json(map.values())?);
    let is_object = *map.keys().data_type() == DataType::Utf8;
    Ok(Box::new(move |row, out| {
        out.push(if is_object { b'{' } else { b'[' });
        separated(range(map.value_offsets(), row), out, |pair, out| {
            out.extend_from_slice(if is_object { b"" } else { b"{\"key\":" });
            keys.print(pair, out);
            out.extend_from_slice(if is_object { b":" } else { b",\"value\":" });
            values.print(pair, out);
            out.extend_from_slice(if is_object { b"" } else { b"}" });
        });
        out.push(if is_object { b'}' } else { b']' });
    }))
}

fn structure(array: &ArrayRef) -> Result<Print<'_>> {
    let members = members(array.as_struct().fields(), array.as_struct().columns())?;
    Ok(Box::new(move |row, out| print_object(&members, row, out)))
}

/// Names, as JSON has them, and printers of the fields of an object.
pub(super) fn members<'a>(fields: &Fields, columns: &'a [ArrayRef]) -> Result<Vec<(Vec<u8>, Printer<'a>)>> {
    let member = |(field, column): (&FieldRef, &'a ArrayRef)| {
        let mut name = Vec::new();
        print_json_text(field.name(), &mut name);
        name.push(b':');
        Ok((name, Printer::json(column)?))
    };
    fields.iter().zip(columns).map(member).collect()
}

/// Writes one row of members as an object.
pub(super) fn print_object(members: &[(Vec<u8>, Printer<'_>)], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    separated(members.iter(), out, |(name, value), out| {
        out.extend_from_slice(name);
        value.print(row, out);
    });
    out.push(b'}');
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

fn separated<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, mut print: impl FnMut(T, &mut Vec<u8>)) {
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        print(item, out);
    }
}
