//! The table schema that fits a foreign Arrow schema, for `create --like FILE`.
//!
//! Types that tables do not have become the nearest one that holds every value; where there is none, the column is
//! refused by name and with the reason. The same rules, on data, are in `cast`.

use arrow::datatypes::{DataType, Field as ArrowField, Schema, TimeUnit};

use super::schema::TableSchema;
use super::types::{ColumnType, DEPTH_MAX, FIELD_ID_KEY, Field};
use crate::error::{Error, Result};

/// A new table schema for data that comes with `arrow`; ids are given afresh.
///
/// # Errors
/// Invalid, naming the column, when a type has no counterpart.
pub fn supported(arrow: &Schema) -> Result<TableSchema> {
    TableSchema::new(fields(arrow)?)
}

/// The type of a column for values of one Arrow type.
///
/// # Errors
/// Invalid when it has no counterpart.
pub(super) fn kind_of(data_type: &DataType) -> Result<ColumnType> {
    adopt_type(data_type, 1)
}

/// The fields of `arrow`, with the ids from the metadata, or 0.
pub(super) fn fields(arrow: &Schema) -> Result<Vec<Field>> {
    arrow.fields().iter().map(|field| adopt(field, field.name(), 1).map_err(|error| error.at("column", field.name()))).collect()
}

fn adopt(field: &ArrowField, name: &str, depth: usize) -> Result<Field> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!("types nest deeper than {DEPTH_MAX} levels")));
    }
    let id = field.metadata().get(FIELD_ID_KEY).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Field { id, name: name.to_string(), kind: adopt_type(field.data_type(), depth)?, nullable: field.is_nullable() })
}

fn adopt_type(data_type: &DataType, depth: usize) -> Result<ColumnType> {
    Ok(match data_type {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 => ColumnType::Int8,
        DataType::Int16 | DataType::UInt8 => ColumnType::Int16,
        DataType::Int32 | DataType::UInt16 => ColumnType::Int32,
        DataType::Int64 | DataType::UInt32 => ColumnType::Int64,
        DataType::Float16 | DataType::Float32 => ColumnType::Float32,
        DataType::Float64 => ColumnType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) => ColumnType::decimal(*precision, scale)?,
            Err(_) => return Err(refused(data_type, "decimals with a negative scale are not supported")),
        },
        DataType::Date32 => ColumnType::Date,
        DataType::Date64 => ColumnType::Timestamp { unit: TimeUnit::Millisecond, zone: None },
        DataType::Time32(unit) | DataType::Time64(unit) => ColumnType::Time(*unit),
        DataType::Timestamp(unit, zone) => ColumnType::Timestamp { unit: *unit, zone: zone.clone() },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ColumnType::Binary,
        DataType::FixedSizeBinary(width) => ColumnType::FixedBinary(*width),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Map(_, _)
        | DataType::Struct(_)
        | DataType::Dictionary(_, _)
        | DataType::RunEndEncoded(_, _) => adopt_nested(data_type, depth)?,
        DataType::UInt64 => return Err(refused(data_type, "no integer type is wider; declare the column as decimal128(20,0)")),
        DataType::Null => return Err(refused(data_type, "only nulls, so no type is known; declare the column in a schema file")),
        DataType::Duration(_) | DataType::Interval(_) => return Err(refused(data_type, "convert it to int64 first")),
        DataType::Union(_, _) => return Err(refused(data_type, "use a struct with one nullable field for each alternative")),
        DataType::ListView(_) | DataType::LargeListView(_) => return Err(refused(data_type, "convert it to a list first")),
    })
}

fn adopt_nested(data_type: &DataType, depth: usize) -> Result<ColumnType> {
    Ok(match data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            let adopted = adopt(element, "", depth + 1)?;
            let mut kind = ColumnType::list(adopted.kind, adopted.nullable);
            copy_ids(&mut kind, &[adopted.id]);
            kind
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Err(refused(data_type, "its entries are no struct")) };
            let [key, value] = &fields[..] else { return Err(refused(data_type, "its entries have not two fields")) };
            let (key, value) = (adopt(key, "", depth + 1)?, adopt(value, "", depth + 1)?);
            let mut kind = ColumnType::map(key.kind, value.kind, value.nullable);
            copy_ids(&mut kind, &[key.id, value.id]);
            kind
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| adopt(field, field.name(), depth + 1).map_err(|error| error.at("field", field.name())));
            ColumnType::Struct(fields.collect::<Result<_>>()?)
        }
        DataType::Dictionary(_, values) => adopt_type(values, depth + 1)?,
        DataType::RunEndEncoded(_, values) => adopt_type(values.data_type(), depth + 1)?,
        other => return Err(refused(other, "it is not supported")),
    })
}

fn copy_ids(kind: &mut ColumnType, ids: &[i32]) {
    for (child, id) in kind.children_mut().into_iter().zip(ids) {
        child.id = *id;
    }
}

fn refused(data_type: &DataType, why: &str) -> Error {
    Error::invalid(format!("Arrow type {data_type} has no counterpart in a table")).hint(why)
}
