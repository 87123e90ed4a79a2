//! Batches for tests and measurements: the 20 columns that all figures speak of, and random ones of every type.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use proptest::prelude::*;

/// A small generator of numbers, the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// 20 columns, 169 bytes a row: 8 int64, 6 float64, 4 int32, 2 utf8 of 16 and 17 bytes.
pub(super) fn wide_schema() -> SchemaRef {
    let columns = |name: &str, count: usize, kind: DataType| {
        (0..count).map(|index| Field::new(format!("{name}{index}"), kind.clone(), true)).collect::<Vec<_>>()
    };
    let mut fields = columns("l", 8, DataType::Int64);
    fields.extend(columns("d", 6, DataType::Float64));
    fields.extend(columns("i", 4, DataType::Int32));
    fields.extend(columns("s", 2, DataType::Utf8));
    Arc::new(Schema::new(fields))
}

/// Rows of [`wide_schema`], without nulls.
pub(super) fn wide_batch(schema: &SchemaRef, rows: usize, seed: u64) -> RecordBatch {
    let mut random = Random::new(seed);
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        columns.push(match field.data_type() {
            DataType::Int64 => Arc::new((0..rows).map(|_| random.next() as i64).collect::<Int64Array>()),
            DataType::Float64 => Arc::new((0..rows).map(|_| random.next() as f64).collect::<Float64Array>()),
            DataType::Int32 => Arc::new((0..rows).map(|_| random.next() as i32).collect::<Int32Array>()),
            _ if index == 18 => Arc::new((0..rows).map(|_| Some(format!("{:016x}", random.next()))).collect::<StringArray>()),
            _ => Arc::new((0..rows).map(|_| Some(format!("{:017x}", random.next()))).collect::<StringArray>()),
        });
    }
    // Arrays made from iterators carry validity; builders of real programs do not when nothing is null.
    let columns = columns.into_iter().map(without_validity).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn without_validity(array: ArrayRef) -> ArrayRef {
    make_array(array.to_data().into_builder().nulls(None).build().unwrap())
}

/// Any type that batches hold, nested `depth` deep at most.
pub(super) fn any_type(depth: u32) -> impl Strategy<Value = DataType> {
    use DataType::*;
    let unit = prop_oneof![Just(TimeUnit::Second), Just(TimeUnit::Millisecond), Just(TimeUnit::Microsecond), Just(TimeUnit::Nanosecond)];
    let leaf = prop_oneof![
        Just(Boolean),
        Just(Int8),
        Just(Int16),
        Just(Int32),
        Just(Int64),
        Just(Float32),
        Just(Float64),
        Just(Date32),
        Just(Utf8),
        Just(Binary),
        Just(Time32(TimeUnit::Second)),
        Just(Time32(TimeUnit::Millisecond)),
        Just(Time64(TimeUnit::Microsecond)),
        Just(Time64(TimeUnit::Nanosecond)),
        (1u8..=38).prop_map(|precision| Decimal128(precision, (precision / 2) as i8)),
        (1i32..20).prop_map(FixedSizeBinary),
        (unit, any::<bool>()).prop_map(|(unit, zone)| Timestamp(unit, zone.then(|| "Europe/Berlin".into()))),
    ];
    leaf.prop_recursive(depth, 12, 3, |inner| {
        let field = (inner.clone(), any::<bool>());
        prop_oneof![
            field.clone().prop_map(|(kind, nullable)| List(Arc::new(Field::new("element", kind, nullable)))),
            proptest::collection::vec(field, 1..4).prop_map(|fields| {
                let fields = fields.into_iter().enumerate();
                Struct(fields.map(|(index, (kind, nullable))| Field::new(format!("f{index}"), kind, nullable)).collect())
            }),
            (inner.clone(), inner).prop_map(|(key, value)| {
                let entries = [Field::new("key", key, false), Field::new("value", value, true)];
                Map(Arc::new(Field::new("entries", Struct(entries.into_iter().collect()), false)), false)
            }),
        ]
    })
}

/// A batch of up to 5 columns of any type, cut out of a longer one.
pub(super) fn any_batch() -> impl Strategy<Value = RecordBatch> {
    let columns = proptest::collection::vec((any_type(3), any::<bool>()), 1..6);
    (columns, 0usize..70, 0usize..70, 0usize..12, any::<u64>()).prop_map(|(columns, rows, before, behind, seed)| {
        let mut random = Random::new(seed);
        let fields = columns.iter().enumerate().map(|(index, (kind, nullable))| Field::new(format!("c{index}"), kind.clone(), *nullable));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let total = before + rows + behind;
        let arrays = schema.fields().iter().map(|field| any_array(field.data_type(), field.is_nullable(), total, &mut random)).collect();
        RecordBatch::try_new(schema, arrays).unwrap().slice(before, rows)
    })
}

fn any_nulls(nullable: bool, length: usize, random: &mut Random) -> Option<NullBuffer> {
    let share = [0, 0, 1, 7, 10][random.below(5)];
    (nullable && share > 0).then(|| NullBuffer::new(BooleanBuffer::collect_bool(length, |_| random.below(10) >= share)))
}

fn any_offsets(length: usize, width: usize, random: &mut Random) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths((0..length).map(|_| random.below(width)))
}

fn any_bytes(length: usize, random: &mut Random) -> Buffer {
    // From a slice, so that it is aligned for every type even when it is empty.
    Buffer::from((0..length).map(|_| random.next() as u8).collect::<Vec<u8>>().as_slice())
}

pub(super) fn any_array(kind: &DataType, nullable: bool, length: usize, random: &mut Random) -> ArrayRef {
    let nulls = any_nulls(nullable, length, random);
    match kind {
        DataType::Boolean => Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(length, |_| random.below(2) > 0), nulls)),
        DataType::Utf8 => {
            const LETTERS: [&str; 4] = ["a", "\u{e4}", "\u{65e5}", "\u{1f600}"];
            let texts: Vec<String> = (0..length).map(|_| (0..random.below(6)).map(|_| LETTERS[random.below(4)]).collect()).collect();
            let strings = StringArray::from_iter_values(texts);
            Arc::new(StringArray::new(strings.offsets().clone(), strings.values().clone(), nulls))
        }
        DataType::Binary => {
            let offsets = any_offsets(length, 9, random);
            let bytes = any_bytes(offsets[length] as usize, random);
            Arc::new(BinaryArray::new(offsets, bytes, nulls))
        }
        DataType::FixedSizeBinary(width) => Arc::new(FixedSizeBinaryArray::new(*width, any_bytes(length * *width as usize, random), nulls)),
        DataType::List(item) => {
            let offsets = any_offsets(length, 4, random);
            let values = any_array(item.data_type(), item.is_nullable(), offsets[length] as usize, random);
            Arc::new(ListArray::new(item.clone(), offsets, values, nulls))
        }
        DataType::Map(entries, sorted) => {
            let offsets = any_offsets(length, 4, random);
            let values = any_array(entries.data_type(), false, offsets[length] as usize, random);
            Arc::new(MapArray::new(entries.clone(), offsets, values.as_struct().clone(), nulls, *sorted))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| any_array(field.data_type(), field.is_nullable(), length, random)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        flat => {
            let width = flat.primitive_width().unwrap();
            let values = flat_values(flat, length, width, random);
            make_array(ArrayData::builder(flat.clone()).len(length).add_buffer(values).nulls(nulls).build().unwrap())
        }
    }
}

/// Values of a type of fixed width; floats are numbers, so that they equal themselves.
fn flat_values(kind: &DataType, length: usize, width: usize, random: &mut Random) -> Buffer {
    match kind {
        DataType::Float32 => ScalarBuffer::from_iter((0..length).map(|_| random.next() as i32 as f32)).into_inner(),
        DataType::Float64 => ScalarBuffer::from_iter((0..length).map(|_| random.next() as i64 as f64)).into_inner(),
        DataType::Decimal128(..) => ScalarBuffer::from_iter((0..length).map(|_| i128::from(random.below(10) as i64 - 5))).into_inner(),
        _ => any_bytes(length * width, random),
    }
}
