//! Rows as plain values, and the way to Arrow and back.
//!
//! Knows nothing of what becomes of rows. Bitmaps are compared by their numbers, everything else by its bits.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int8Array, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Fields, Float64Type, Int8Type, SchemaRef};
use roaring::{RoaringBitmap, RoaringTreemap};

use super::super::*;
use crate::merge::roaring64;
use crate::table::{ColumnType, Field, TableSchema};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int64,
    Int8,
    /// Digits, and those of them behind the point.
    Decimal(u8, u8),
    Float,
    Text,
    Flag,
    /// A list of numbers.
    Items,
    /// A map from numbers to numbers.
    Entries,
    /// A list of structs of two numbers.
    Parts,
    /// A bitmap of 32-bit numbers.
    Narrow,
    /// A bitmap of 64-bit numbers.
    Wide,
}

/// The columns outside the key.
pub(super) const COLUMNS: [(&str, Kind); 13] = [
    ("first", Kind::Int64),
    ("second", Kind::Int64),
    ("number", Kind::Int64),
    ("small", Kind::Int8),
    ("amount", Kind::Decimal(5, 2)),
    ("whole", Kind::Decimal(4, 0)),
    ("ratio", Kind::Float),
    ("text", Kind::Text),
    ("flag", Kind::Flag),
    ("items", Kind::Items),
    ("entries", Kind::Entries),
    ("parts", Kind::Parts),
    ("bits", Kind::Narrow),
];

/// Stands in place of the last column in half of the tables: bitmaps are slow to write.
pub(super) const WIDE: (&str, Kind) = ("bits", Kind::Wide);

/// An element of a list: a number and nothing, an entry, or the two fields of a struct.
pub(super) type Element = Option<(Option<i64>, Option<i64>)>;

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Int(i64),
    Decimal(i128),
    /// Its bits.
    Float(u64),
    Text(String),
    Flag(bool),
    List(Vec<Element>),
    Bits(BTreeSet<u64>),
}

/// The values of a row, by column.
pub(super) type Cells = Vec<Option<Value>>;

/// A row as it is written.
#[derive(Clone, PartialEq)]
pub(super) struct Row {
    pub(super) key: i64,
    pub(super) kind: ChangeType,
    pub(super) cells: Cells,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.kind, self.key, self.cells)
    }
}

/// Whether a row takes back what another one said.
pub(super) fn is_retraction(kind: ChangeType) -> bool {
    matches!(kind, ChangeType::Delete | ChangeType::UpdateBefore)
}

/// The columns of a table.
pub(super) fn columns(is_wide: bool) -> Vec<(&'static str, Kind)> {
    let mut columns = COLUMNS.to_vec();
    if is_wide {
        *columns.last_mut().unwrap() = WIDE;
    }
    columns
}

fn column_type(kind: Kind) -> ColumnType {
    let number = |name: &str| Field::new(name, ColumnType::Int64, true);
    match kind {
        Kind::Int64 => ColumnType::Int64,
        Kind::Int8 => ColumnType::Int8,
        Kind::Decimal(precision, scale) => ColumnType::Decimal { precision, scale },
        Kind::Float => ColumnType::Float64,
        Kind::Text => ColumnType::Utf8,
        Kind::Flag => ColumnType::Boolean,
        Kind::Items => ColumnType::list(ColumnType::Int64, true),
        Kind::Entries => ColumnType::map(ColumnType::Int64, ColumnType::Int64, true),
        Kind::Parts => ColumnType::list(ColumnType::Struct(vec![number("id"), number("value")]), true),
        Kind::Narrow | Kind::Wide => ColumnType::Binary,
    }
}

/// The schema of a table with these columns behind its key.
pub(super) fn schema(columns: &[(&str, Kind)]) -> SchemaRef {
    let key = Field::new("key", ColumnType::Int64, false);
    let values = columns.iter().map(|(name, kind)| Field::new(*name, column_type(*kind), true));
    TableSchema::new(std::iter::once(key).chain(values).collect()).unwrap().arrow().clone()
}

/// Rows as a batch of this schema.
pub(super) fn batch(schema: &SchemaRef, columns: &[(&str, Kind)], rows: &[Row]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.key)));
    let array = |(index, (_, kind)): (usize, &(&str, Kind))| {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.cells[index].as_ref()).collect();
        to_array(*kind, schema.field(index + 1).data_type(), &values)
    };
    let arrays = std::iter::once(keys).chain(columns.iter().enumerate().map(array)).collect();
    RecordBatch::try_new(schema.clone(), arrays).unwrap()
}

/// The values that `of` finds; its panics name what a column cannot hold.
fn some<'a, T>(values: &[Option<&'a Value>], of: impl Fn(&'a Value) -> T) -> Vec<Option<T>> {
    values.iter().map(|value| value.map(&of)).collect()
}

fn to_array(kind: Kind, data_type: &DataType, values: &[Option<&Value>]) -> ArrayRef {
    let int = |value: &Value| if let Value::Int(number) = value { *number } else { panic!("{value:?}") };
    let float = |value: &Value| if let Value::Float(bits) = value { f64::from_bits(*bits) } else { panic!("{value:?}") };
    let text = |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
    let flag = |value: &Value| if let Value::Flag(flag) = value { *flag } else { panic!("{value:?}") };
    match kind {
        Kind::Int64 => Arc::new(Int64Array::from(some(values, int))),
        Kind::Int8 => Arc::new(Int8Array::from(some(values, |value| i8::try_from(int(value)).unwrap()))),
        Kind::Decimal(precision, scale) => {
            let decimal = |value: &Value| if let Value::Decimal(number) = value { *number } else { panic!("{value:?}") };
            let array = Decimal128Array::from(some(values, decimal));
            Arc::new(array.with_precision_and_scale(precision, scale.try_into().unwrap()).unwrap())
        }
        Kind::Float => Arc::new(Float64Array::from(some(values, float))),
        Kind::Text => Arc::new(StringArray::from(some(values, text))),
        Kind::Flag => Arc::new(BooleanArray::from(some(values, flag))),
        Kind::Items | Kind::Entries | Kind::Parts => lists(data_type, values),
        Kind::Narrow | Kind::Wide => {
            let bytes = |value: &Value| if let Value::Bits(bits) = value { bitmap(kind, bits) } else { panic!("{value:?}") };
            Arc::new(BinaryArray::from_iter(some(values, bytes)))
        }
    }
}

fn bitmap(kind: Kind, bits: &BTreeSet<u64>) -> Vec<u8> {
    if kind == Kind::Wide {
        return roaring64::encode(&mut bits.iter().collect::<RoaringTreemap>());
    }
    let mut bytes = Vec::new();
    let mut narrow: RoaringBitmap = bits.iter().map(|bit| u32::try_from(*bit).unwrap()).collect();
    narrow.optimize();
    narrow.serialize_into(&mut bytes).unwrap();
    bytes
}

fn lists(data_type: &DataType, values: &[Option<&Value>]) -> ArrayRef {
    let list = |value: &Value| if let Value::List(list) = value { list.clone() } else { panic!("{value:?}") };
    let lists: Vec<Option<Vec<Element>>> = some(values, list);
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.as_ref().map_or(0, Vec::len)));
    let nulls: NullBuffer = lists.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let all: Vec<Element> = lists.into_iter().flatten().flatten().collect();
    let left = || -> ArrayRef { Arc::new(all.iter().map(|element| element.and_then(|pair| pair.0)).collect::<Int64Array>()) };
    let right = || -> ArrayRef { Arc::new(all.iter().map(|element| element.and_then(|pair| pair.1)).collect::<Int64Array>()) };
    let structs = |fields: &Fields, nulls| StructArray::new(fields.clone(), vec![left(), right()], nulls);
    match data_type {
        DataType::Map(field, _) => {
            let DataType::Struct(fields) = field.data_type() else { panic!("entries are structs") };
            Arc::new(MapArray::new(field.clone(), offsets, structs(fields, None), Some(nulls), false))
        }
        DataType::List(field) => {
            let elements: ArrayRef = match field.data_type() {
                DataType::Struct(fields) => {
                    let valid: NullBuffer = all.iter().map(Option::is_some).collect::<Vec<bool>>().into();
                    Arc::new(structs(fields, Some(valid)))
                }
                _ => left(),
            };
            Arc::new(ListArray::new(field.clone(), offsets, elements, Some(nulls)))
        }
        other => panic!("{other} is no list"),
    }
}

/// A value of an array.
pub(super) fn value(kind: Kind, array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match kind {
        Kind::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        Kind::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        Kind::Decimal(..) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        Kind::Float => Value::Float(array.as_primitive::<Float64Type>().value(row).to_bits()),
        Kind::Text => Value::Text(array.as_string::<i32>().value(row).to_string()),
        Kind::Flag => Value::Flag(array.as_boolean().value(row)),
        Kind::Items => Value::List(number_elements(&array.as_list::<i32>().value(row))),
        Kind::Entries => Value::List(pair_elements(&array.as_map().value(row))),
        Kind::Parts => Value::List(pair_elements(array.as_list::<i32>().value(row).as_struct())),
        Kind::Narrow => {
            let bitmap = RoaringBitmap::deserialize_from(array.as_binary::<i32>().value(row)).unwrap();
            Value::Bits(bitmap.iter().map(u64::from).collect())
        }
        Kind::Wide => Value::Bits(roaring64::decode(array.as_binary::<i32>().value(row)).unwrap().iter().collect()),
    })
}

fn number(array: &ArrayRef, row: usize) -> Option<i64> {
    let numbers = array.as_primitive::<Int64Type>();
    numbers.is_valid(row).then(|| numbers.value(row))
}

fn number_elements(array: &ArrayRef) -> Vec<Element> {
    (0..array.len()).map(|row| number(array, row).map(|number| (Some(number), None))).collect()
}

fn pair_elements(array: &StructArray) -> Vec<Element> {
    let pair = |row| (number(array.column(0), row), number(array.column(1), row));
    (0..array.len()).map(|row| array.is_valid(row).then(|| pair(row))).collect()
}

/// Keys and rows of a batch that has all columns.
pub(super) fn read(columns: &[(&str, Kind)], batch: &RecordBatch) -> Vec<(i64, Cells)> {
    let keys = batch.column(0).as_primitive::<Int64Type>();
    let cells = |row| columns.iter().enumerate().map(|(index, (_, kind))| value(*kind, batch.column(index + 1), row)).collect();
    (0..batch.num_rows()).map(|row| (keys.value(row), cells(row))).collect()
}
