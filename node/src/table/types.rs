//! The types a column can have, and how Arrow and the command line call them.
//!
//! Invariant: every [`ColumnType`] has exactly one Arrow type and one printed name, and parsing the name gives the type back.
//! Field ids of nested fields live inside the type, so that structs evolve as tables do. Knows nothing of tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod parse;

pub(in crate::table) use parse::is_zone;
pub use parse::{parse_column, parse_type};

/// Types nested deeper than this are refused.
pub const DEPTH_MAX: usize = 32;
/// Digits of the widest decimal.
pub const DECIMAL_PRECISION_MAX: u8 = 38;
/// The key of the Arrow field metadata that carries a field id; Parquet writers turn it into Parquet's own field id.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// The child name of lists and the entry names of maps, as Parquet and Iceberg call them.
const LIST_ELEMENT: &str = "element";
const MAP_ENTRIES: &str = "entries";
const MAP_KEY: &str = "key";
const MAP_VALUE: &str = "value";

/// The type of a column or of a nested field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredType", into = "StoredType")]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754, 32 bits.
    Float32,
    /// IEEE 754, 64 bits.
    Float64,
    /// An exact number of `precision` digits (1 to 38), `scale` of them behind the point.
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits behind the point, at most `precision`.
        scale: u8,
    },
    /// Days since 1970-01-01, 32 bits.
    Date,
    /// Time since midnight in the unit: 32 bits for seconds and milliseconds, else 64.
    Time(TimeUnit),
    /// Time since 1970-01-01 00:00:00, 64 bits.
    Timestamp {
        /// What one step of the number is.
        unit: TimeUnit,
        /// With a zone the number counts from UTC, and the zone says how to print it; without, it is a wall clock.
        zone: Option<Arc<str>>,
    },
    /// Text in UTF-8.
    Utf8,
    /// Bytes.
    Binary,
    /// Exactly so many bytes.
    FixedBinary(i32),
    /// Any number of elements.
    List(Box<Field>),
    /// Keys, never null, with their values.
    Map {
        /// The key; its `nullable` is false.
        key: Box<Field>,
        /// The value.
        value: Box<Field>,
    },
    /// Named fields.
    Struct(Vec<Field>),
}

/// A column of a table, or a field nested in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Which field this is, for ever: names and positions may change. From 1; 0 until a schema has given it one.
    pub id: i32,
    /// The name, unique among its siblings; case matters.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether nulls are allowed.
    pub nullable: bool,
}

impl Field {
    /// A field that has no id yet.
    pub fn new(name: impl Into<String>, kind: ColumnType, nullable: bool) -> Self {
        Field { id: 0, name: name.into(), kind, nullable }
    }

    /// The Arrow field, with the id in its metadata.
    pub fn to_arrow(&self) -> ArrowField {
        let metadata = HashMap::from([(FIELD_ID_KEY.to_string(), self.id.to_string())]);
        ArrowField::new(&self.name, self.kind.to_arrow(), self.nullable).with_metadata(metadata)
    }
}

impl fmt::Display for Field {
    /// The type and ` not null`, without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, if self.nullable { "" } else { " not null" })
    }
}

impl ColumnType {
    /// A list of nullable or non-null elements.
    pub fn list(element: ColumnType, nullable: bool) -> Self {
        ColumnType::List(Box::new(Field::new(LIST_ELEMENT, element, nullable)))
    }

    /// A map.
    pub fn map(key: ColumnType, value: ColumnType, value_nullable: bool) -> Self {
        ColumnType::Map { key: Box::new(Field::new(MAP_KEY, key, false)), value: Box::new(Field::new(MAP_VALUE, value, value_nullable)) }
    }

    /// A decimal.
    ///
    /// # Errors
    /// Invalid when the precision is not 1 to 38 or the scale exceeds it.
    pub fn decimal(precision: u8, scale: u8) -> Result<Self> {
        if precision == 0 || precision > DECIMAL_PRECISION_MAX || scale > precision {
            let message = format!("decimal({precision},{scale}) is out of range");
            return Err(Error::invalid(message).hint("the precision is 1 to 38, the scale 0 to the precision"));
        }
        Ok(ColumnType::Decimal { precision, scale })
    }

    /// The Arrow type that columns of this type have in memory and in the log.
    pub fn to_arrow(&self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Int8 => DataType::Int8,
            ColumnType::Int16 => DataType::Int16,
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float32 => DataType::Float32,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
            ColumnType::Date => DataType::Date32,
            ColumnType::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(*unit),
            ColumnType::Time(unit) => DataType::Time64(*unit),
            ColumnType::Timestamp { unit, zone } => DataType::Timestamp(*unit, zone.clone()),
            ColumnType::Utf8 => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::FixedBinary(width) => DataType::FixedSizeBinary(*width),
            ColumnType::List(element) => DataType::List(Arc::new(element.to_arrow())),
            ColumnType::Map { key, value } => {
                let entries = DataType::Struct(Fields::from(vec![key.to_arrow(), value.to_arrow()]));
                DataType::Map(Arc::new(ArrowField::new(MAP_ENTRIES, entries, false)), false)
            }
            ColumnType::Struct(fields) => DataType::Struct(fields.iter().map(Field::to_arrow).collect()),
        }
    }

    /// The nested fields, in order.
    pub fn children(&self) -> Vec<&Field> {
        match self {
            ColumnType::List(element) => vec![element],
            ColumnType::Map { key, value } => vec![key, value],
            ColumnType::Struct(fields) => fields.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The nested fields, in order, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Field> {
        match self {
            ColumnType::List(element) => vec![element],
            ColumnType::Map { key, value } => vec![key, value],
            ColumnType::Struct(fields) => fields.iter_mut().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether there are nested fields.
    pub fn is_nested(&self) -> bool {
        matches!(self, ColumnType::List(_) | ColumnType::Map { .. } | ColumnType::Struct(_))
    }

    /// Whether both print alike: equal but for field ids.
    pub fn same_as(&self, other: &ColumnType) -> bool {
        if !self.is_nested() {
            return self == other;
        }
        let (ours, theirs) = (self.children(), other.children());
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(a, b)| a.name == b.name && a.nullable == b.nullable && a.kind.same_as(&b.kind))
    }
}

/// `s`, `ms`, `us` or `ns`.
pub(super) fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("bool"),
            ColumnType::Int8 => f.write_str("int8"),
            ColumnType::Int16 => f.write_str("int16"),
            ColumnType::Int32 => f.write_str("int32"),
            ColumnType::Int64 => f.write_str("int64"),
            ColumnType::Float32 => f.write_str("float32"),
            ColumnType::Float64 => f.write_str("float64"),
            ColumnType::Decimal { precision, scale } => write!(f, "decimal128({precision},{scale})"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Time(unit) => write!(f, "time({})", unit_name(*unit)),
            ColumnType::Timestamp { unit, zone: None } => write!(f, "timestamp({})", unit_name(*unit)),
            ColumnType::Timestamp { unit, zone: Some(zone) } => write!(f, "timestamp({}, {zone})", unit_name(*unit)),
            ColumnType::Utf8 => f.write_str("utf8"),
            ColumnType::Binary => f.write_str("binary"),
            ColumnType::FixedBinary(width) => write!(f, "fixed_binary({width})"),
            ColumnType::List(element) => write!(f, "list<{element}>"),
            ColumnType::Map { key, value } => write!(f, "map<{}, {value}>", key.kind),
            ColumnType::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {field}", parse::quoted(&field.name))?;
                }
                f.write_str(">")
            }
        }
    }
}

/// The JSON of a type: its name, or an object around the nested fields, because those have ids.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum StoredType {
    List(Box<Field>),
    Map {
        key: Box<Field>,
        value: Box<Field>,
    },
    Struct(Vec<Field>),
    #[serde(untagged)]
    Name(String),
}

impl From<ColumnType> for StoredType {
    fn from(kind: ColumnType) -> Self {
        match kind {
            ColumnType::List(element) => StoredType::List(element),
            ColumnType::Map { key, value } => StoredType::Map { key, value },
            ColumnType::Struct(fields) => StoredType::Struct(fields),
            plain => StoredType::Name(plain.to_string()),
        }
    }
}

impl TryFrom<StoredType> for ColumnType {
    type Error = Error;

    fn try_from(stored: StoredType) -> Result<Self> {
        match stored {
            StoredType::List(element) => Ok(ColumnType::List(element)),
            StoredType::Map { key, value } => Ok(ColumnType::Map { key, value }),
            StoredType::Struct(fields) => Ok(ColumnType::Struct(fields)),
            StoredType::Name(name) => parse_type(&name),
        }
    }
}

#[cfg(test)]
pub(in crate::table) mod tests;
