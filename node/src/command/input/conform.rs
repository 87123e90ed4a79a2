//! Batches of a file as batches of the table: columns by name, types by lossless conversion only.
//!
//! Invariant: no value changes. Dictionaries are unpacked, large and view layouts become plain ones, narrow numbers widen;
//! everything else that differs is refused. Knows nothing of files.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::command::type_text::print_type;

/// The batch with the columns of `schema`; `first_row` (from 1) numbers its rows in errors.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef, first_row: u64) -> Result<RecordBatch> {
    if batch.schema_ref().fields() == schema.fields() {
        return RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|error| Error::invalid(error.to_string()));
    }
    check_names(batch.schema_ref(), schema)?;
    let columns = schema.fields().iter().map(|field| column(batch, field, first_row)).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| Error::invalid(format!("the rows do not fit the table: {error}")))
}

fn check_names(found: &Schema, schema: &Schema) -> Result<()> {
    for (place, field) in found.fields().iter().enumerate() {
        if schema.column_with_name(field.name()).is_none() {
            let column = format!("{} {}", field.name(), print_type(&plain_type(field.data_type())));
            let hint = format!("add it with alter --add-column '{column}', or leave it out of the input");
            return Err(Error::invalid("the table has no such column").at("column", field.name()).hint(hint));
        }
        if found.fields()[..place].iter().any(|known| known.name() == field.name()) {
            return Err(Error::invalid("the input has a column twice").at("column", field.name()));
        }
    }
    Ok(())
}

fn column(batch: &RecordBatch, field: &Field, first_row: u64) -> Result<ArrayRef> {
    let Some(found) = batch.column_by_name(field.name()) else {
        return match field.is_nullable() {
            true => Ok(new_null_array(field.data_type(), batch.num_rows())),
            false => Err(Error::invalid("the input lacks a column that may not be null").at("column", field.name())),
        };
    };
    let array = convert(found, field.data_type()).map_err(|what| Error::invalid(what).at("column", field.name()))?;
    if !field.is_nullable() && array.null_count() > 0 {
        let row = (0..array.len()).find(|row| array.is_null(*row)).map_or(0, |row| row as u64);
        return Err(Error::invalid("null in a column that may not be null").at("column", field.name()).at("row", first_row + row));
    }
    Ok(array)
}

/// The same values as another type.
fn convert(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let failed = |error: arrow::error::ArrowError| error.to_string();
    match (array.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(fields)) => structure(array.as_struct(), fields),
        (DataType::List(_), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), field.data_type())?;
            let made = ListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned());
            Ok(Arc::new(made.map_err(failed)?))
        }
        (DataType::LargeList(item), DataType::List(_)) => convert(&cast(array, &DataType::List(item.clone()))?, wanted),
        (DataType::FixedSizeList(item, _), DataType::List(_)) => {
            let list: &FixedSizeListArray = array.as_fixed_size_list();
            convert(&cast(&(Arc::new(list.clone()) as ArrayRef), &DataType::List(item.clone()))?, wanted)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let (map, DataType::Struct(pair)) = (array.as_map(), entries.data_type()) else {
                return Err("a map without key and value".into());
            };
            let columns = map.entries().columns().iter().zip(pair).map(|(column, field)| convert(column, field.data_type()));
            let pairs = StructArray::try_new(pair.clone(), columns.collect::<Result<_, _>>()?, None).map_err(failed)?;
            let made = MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted);
            Ok(Arc::new(made.map_err(failed)?))
        }
        (found, wanted) if is_lossless(found, wanted) => cast(array, wanted),
        (found, wanted) => Err(format!("the input has {} and the table {}", print_type(found), print_type(wanted))),
    }
}

fn cast(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).map_err(|error| error.to_string())
}

fn structure(array: &StructArray, fields: &Fields) -> Result<ArrayRef, String> {
    if let Some(unknown) = array.fields().iter().find(|found| fields.find(found.name()).is_none()) {
        return Err(format!("the table has no field '{}' there", unknown.name()));
    }
    let columns = fields.iter().map(|field| match array.column_by_name(field.name()) {
        Some(column) => convert(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), array.len())),
    });
    let made = StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, array.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

/// Whether every value of `from` is a value of `to`.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Null, _) | (LargeUtf8 | Utf8View, Utf8) | (LargeBinary | BinaryView, Binary) => true,
        (Dictionary(_, values), to) => **values == *to || is_lossless(values, to),
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (UInt8, Int16 | Int32 | Int64) | (UInt16, Int32 | Int64) | (UInt32, Int64) => true,
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s), Decimal128(precision, scale)) => {
            scale >= s && i16::from(*precision) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
        }
        (Time32(_), Time64(_)) => true,
        // The cast fails where a finer unit runs out of range.
        (Time32(from), Time32(to)) | (Time64(from), Time64(to)) => from <= to,
        (Timestamp(from, None), Timestamp(to, None)) | (Timestamp(from, Some(_)), Timestamp(to, Some(_))) => from <= to,
        _ => false,
    }
}

/// The plain type that a table has for the values of `found`.
pub(super) fn plain_type(found: &DataType) -> DataType {
    use DataType::*;
    let plain = |field: &Field| Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()));
    match found {
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView => Binary,
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        Float16 => Float32,
        Dictionary(_, values) => plain_type(values),
        Decimal32(precision, scale) | Decimal64(precision, scale) => Decimal128(*precision, *scale),
        List(item) | LargeList(item) | FixedSizeList(item, _) => List(plain(item)),
        Struct(fields) => Struct(fields.iter().map(|field| plain(field)).collect()),
        Map(entries, sorted) => Map(plain(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, DictionaryArray, Int8Array, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn schema(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn columns_go_by_name_and_values_stay() {
        let names: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
        let found = batch(vec![("b", Arc::new(names)), ("a", Arc::new(Int8Array::from(vec![1, -2, 3])))]);
        let wanted = schema(vec![
            Field::new("a", DataType::Int64, false),
            Field::new("b", DataType::Utf8, true),
            Field::new("c", DataType::Date32, true),
        ]);
        let made = conform(&found, &wanted, 1).unwrap();
        assert_eq!(made.column(0).as_ref(), &Int64Array::from(vec![1, -2, 3]));
        assert_eq!(made.column(1).as_ref(), &StringArray::from(vec!["x", "y", "x"]));
        assert_eq!(made.column(2).null_count(), 3);
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        let refused = |array: ArrayRef, to: DataType| {
            let error = conform(&batch(vec![("a", array)]), &schema(vec![Field::new("a", to, true)]), 1).unwrap_err();
            assert!(error.to_string().contains("column a"), "{error}");
        };
        refused(Arc::new(Int64Array::from(vec![1])), DataType::Int32);
        refused(Arc::new(Int64Array::from(vec![1])), DataType::Utf8);
        let price = Decimal128Array::from(vec![1]).with_precision_and_scale(10, 2).unwrap();
        refused(Arc::new(price), DataType::Decimal128(10, 1));
    }

    #[test]
    fn unknown_missing_and_null_are_named() {
        let found = batch(vec![("a", Arc::new(Int32Array::from(vec![Some(1), None])))]);
        let error = |fields| conform(&found, &schema(fields), 11).unwrap_err().to_string();
        let a = |nullable| Field::new("a", DataType::Int32, nullable);
        assert!(error(vec![Field::new("b", DataType::Int32, true)]).contains("column a; add it with alter --add-column 'a int32'"));
        assert!(error(vec![a(true), Field::new("b", DataType::Int32, false)]).contains("column b"));
        assert!(error(vec![a(false)]).contains("column a, row 12"));
    }
}
