//! Random rows of any type that a table may have, from a seed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef, TimeUnit};

/// A seeded source of numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn text(&mut self) -> String {
        let length = self.below(12);
        (0..length).map(|_| char::from_u32(0x61 + self.below(0x300) as u32).unwrap_or('?')).collect()
    }
}

/// Rows of `schema`; in nullable fields about one value in five is null.
pub(crate) fn rows(schema: &SchemaRef, count: usize, dice: &mut Dice) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| array(field.data_type(), field.is_nullable(), count, dice)).collect();
    RecordBatch::try_new(schema.clone(), columns).expect("columns of the schema")
}

/// Values of one type.
pub(crate) fn array(kind: &DataType, nullable: bool, count: usize, dice: &mut Dice) -> ArrayRef {
    use DataType::*;
    let nulls: Vec<bool> = (0..count).map(|_| nullable && dice.below(5) == 0).collect();
    let made: ArrayRef = match kind {
        Boolean => Arc::new(BooleanArray::from_iter(some(&nulls, || dice.below(2) == 1))),
        Int8 => Arc::new(Int8Array::from_iter(some(&nulls, || dice.roll() as i8))),
        Int16 => Arc::new(Int16Array::from_iter(some(&nulls, || dice.roll() as i16))),
        Int32 => Arc::new(Int32Array::from_iter(some(&nulls, || dice.roll() as i32))),
        Int64 => Arc::new(Int64Array::from_iter(some(&nulls, || dice.roll() as i64))),
        Float32 => Arc::new(Float32Array::from_iter(some(&nulls, || dice.roll() as i32 as f32 / 7.0))),
        Float64 => Arc::new(Float64Array::from_iter(some(&nulls, || dice.roll() as i64 as f64 / 7.0))),
        Decimal128(precision, scale) => {
            let limit = 10_i128.pow(u32::from(*precision).min(37));
            let values = some(&nulls, || (i128::from(dice.roll()) * i128::from(dice.roll() >> 2)) % limit);
            Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(*precision, *scale).expect("within the precision"))
        }
        Date32 => same_layout(&Int32Array::from_iter(some(&nulls, || dice.roll() as i32 >> 8)), kind),
        Time32(unit) => same_layout(&Int32Array::from_iter(some(&nulls, || dice.below(day_in(*unit)) as i32)), kind),
        Time64(unit) => same_layout(&Int64Array::from_iter(some(&nulls, || dice.below(day_in(*unit)) as i64)), kind),
        Timestamp(_, _) => same_layout(&Int64Array::from_iter(some(&nulls, || dice.roll() as i64 >> 8)), kind),
        Utf8 => Arc::new(StringArray::from_iter(some(&nulls, || dice.text()))),
        Binary => Arc::new(BinaryArray::from_iter(some(&nulls, || dice.text().into_bytes()))),
        FixedSizeBinary(width) => {
            let values = some(&nulls, || (0..*width).map(|_| dice.roll() as u8).collect::<Vec<u8>>());
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), *width).expect("values of that width"))
        }
        List(element) => {
            let (offsets, inner) = offsets(&nulls, dice);
            let values = array(element.data_type(), element.is_nullable(), inner, dice);
            Arc::new(ListArray::new(element.clone(), offsets, values, null_buffer(&nulls)))
        }
        Map(entries, sorted) => {
            let (offsets, inner) = offsets(&nulls, dice);
            let Struct(fields) = entries.data_type() else { panic!("entries of a map are a struct") };
            let entries_made = structs(fields, inner, None, dice);
            Arc::new(MapArray::new(entries.clone(), offsets, entries_made, null_buffer(&nulls), *sorted))
        }
        Struct(fields) => Arc::new(structs(fields, count, null_buffer(&nulls), dice)),
        other => panic!("no table has {other}"),
    };
    made
}

fn some<T>(nulls: &[bool], mut value: impl FnMut() -> T) -> Vec<Option<T>> {
    nulls.iter().map(|is_null| (!is_null).then(&mut value)).collect()
}

fn day_in(unit: TimeUnit) -> u64 {
    86_400
        * match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        }
}

/// The same bytes under another type.
fn same_layout(array: &dyn Array, kind: &DataType) -> ArrayRef {
    make_array(array.to_data().into_builder().data_type(kind.clone()).build().expect("the same layout"))
}

fn offsets(nulls: &[bool], dice: &mut Dice) -> (OffsetBuffer<i32>, usize) {
    let lengths: Vec<usize> = nulls.iter().map(|is_null| if *is_null { 0 } else { dice.below(4) as usize }).collect();
    let total = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), total)
}

fn null_buffer(nulls: &[bool]) -> Option<NullBuffer> {
    nulls.contains(&true).then(|| NullBuffer::from_iter(nulls.iter().map(|is_null| !is_null)))
}

fn structs(fields: &Fields, count: usize, nulls: Option<NullBuffer>, dice: &mut Dice) -> StructArray {
    let children = fields.iter().map(|field: &Arc<Field>| array(field.data_type(), field.is_nullable(), count, dice)).collect();
    StructArray::new(fields.clone(), children, nulls)
}
