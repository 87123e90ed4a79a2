//! The rows that are written: a small one and one of an e-commerce table, their values a function of the key and of when they were written.
//!
//! Invariant: the same number of a key and the same turn give the same row for ever; no two turns give the same row. Knows nothing of which keys come when.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::keys::mix;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 6 columns, 100 bytes in the mean: a key, three numbers, a price, a text of 40 to 72 bytes.
    Small,
    /// 11 columns, 143 bytes in the mean: the order lines of Paimon's cluster benchmark.
    Orders,
}

/// Name of the key column.
pub const KEY: &str = "id";

const SMALL: [(&str, DataType); 6] = [
    (KEY, DataType::Int64),
    ("a", DataType::Int64),
    ("b", DataType::Int64),
    ("c", DataType::Int64),
    (PRICE, DataType::Float64),
    ("note", DataType::Utf8),
];

const ORDERS: [(&str, DataType); 11] = [
    (KEY, DataType::Int64),
    ("item", DataType::Int64),
    ("user", DataType::Int64),
    (PRICE, DataType::Float64),
    ("quantity", DataType::Int32),
    ("status", DataType::Int32),
    ("created", DataType::Int64),
    ("updated", DataType::Int64),
    ("sku", DataType::Utf8),
    ("city", DataType::Utf8),
    ("note", DataType::Utf8),
];

/// Name of the price column.
pub const PRICE: &str = "price";

/// A row with a price below this is cheap: one in ten.
pub const CHEAP: f64 = 100.0;

/// Microseconds since 1970 at which the first row was written.
const FIRST_US: u64 = 1_700_000_000_000_000;

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 2] = [Shape::Small, Shape::Orders];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Small => "100 B",
            Shape::Orders => "11 columns",
        }
    }

    /// Name of the column behind the key, which scans add up.
    pub fn second(self) -> &'static str {
        match self {
            Shape::Small => SMALL[1].0,
            Shape::Orders => ORDERS[1].0,
        }
    }

    /// Its columns; the key is the first.
    pub fn schema(self) -> SchemaRef {
        let columns: &[(&str, DataType)] = match self {
            Shape::Small => &SMALL,
            Shape::Orders => &ORDERS,
        };
        let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The most bytes that a row has as a key and a value.
    pub fn row_bytes_max(self) -> usize {
        match self {
            Shape::Small => 8 * 5 + 4 + 72,
            Shape::Orders => 8 * 6 + 4 * 2 + 3 * 4 + 16 + 20 + 50,
        }
    }

    /// The column behind the key, of a value.
    pub fn second_of(self, value: &[u8]) -> i64 {
        i64::from_le_bytes(number_at(value, 0))
    }

    /// The price, of a value.
    pub fn price_of(self, value: &[u8]) -> f64 {
        let longs_before = match self {
            Shape::Small => 3,
            Shape::Orders => 2,
        };
        f64::from_le_bytes(number_at(value, 8 * longs_before))
    }

    /// Rows of the keys of these numbers, written in turn from `first_turn` on.
    pub fn batch(self, numbers: &[u64], first_turn: u64) -> RecordBatch {
        let turns = || (first_turn..).zip(numbers).map(|(turn, number)| (turn, *number));
        let long = |of: &dyn Fn(u64, u64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(turns().map(|(turn, number)| of(turn, number))))
        };
        let short = |salt: u64, below: u64| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(turns().map(|(turn, _)| (mix(turn ^ salt << 48) % below) as i32)))
        };
        let any = |salt: u64| long(&move |turn, number| mix(number ^ salt << 56 ^ turn << 24) as i64);
        let below = |salt: u64, below: u64| long(&move |turn, _| (mix(turn ^ salt << 48) % below) as i64);
        let time = |salt: u64| long(&move |turn, _| (FIRST_US + turn * 1000 + mix(turn ^ salt << 48) % 1000) as i64);
        let price =
            || -> ArrayRef { Arc::new(Float64Array::from_iter_values(turns().map(|(turn, _)| (mix(turn) % 100_000) as f64 / 100.0))) };
        let key = long(&|_, number| key(number));
        let columns = match self {
            Shape::Small => {
                let note = texts(turns().map(|(turn, _)| (turn, 40 + (mix(turn) % 33) as usize)));
                vec![key, any(1), any(2), any(3), price(), note]
            }
            Shape::Orders => {
                let sku = texts(turns().map(|(turn, _)| (mix(turn) % 100_000, 16)));
                let city = texts(turns().map(|(turn, _)| (mix(turn) % 1000, 10 + (mix(turn) % 11) as usize)));
                let note = texts(turns().map(|(turn, _)| (turn, 38 + (mix(turn) % 13) as usize)));
                let (item, user) = (below(1, 100_000), below(2, 2_000_000));
                vec![key, item, user, price(), short(3, 20), short(4, 6), time(5), time(6), sku, city, note]
            }
        };
        RecordBatch::try_new(self.schema(), columns).expect("the columns are made for this schema")
    }
}

fn number_at(value: &[u8], at: usize) -> [u8; 8] {
    *value[at..].first_chunk().expect("numbers stand in front of texts")
}

/// The key of a number: scattered, so that numbers that follow each other are far apart, and no two are equal.
pub fn key(number: u64) -> i64 {
    mix(number) as i64
}

/// Rows of keys alone.
pub fn keys(numbers: impl Iterator<Item = u64>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new(KEY, DataType::Int64, false)]));
    let keys = Int64Array::from_iter_values(numbers.map(key));
    RecordBatch::try_new(schema, vec![Arc::new(keys)]).expect("the column is made for this schema")
}

/// Texts of hexadecimal digits from a seed and with a length each.
fn texts(seeds: impl Iterator<Item = (u64, usize)>) -> ArrayRef {
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for (seed, length) in seeds {
        let mut word = seed;
        for at in 0..length {
            if at % 16 == 0 {
                word = mix(word ^ at as u64);
            }
            bytes.push(b"0123456789abcdef"[(word >> (at % 16 * 4) & 15) as usize]);
        }
        ends.push(bytes.len() as i32);
    }
    let array = StringArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), None);
    Arc::new(array.expect("digits are text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};

    use crate::keyed::row::{KEY_BYTES, Rows, hash};

    #[test]
    fn rows_have_the_bytes_they_are_said_to_have() {
        let numbers: Vec<u64> = (0..10_000).collect();
        for (shape, mean) in [(Shape::Small, 100.0), (Shape::Orders, 143.0)] {
            let rows = Rows::of(&shape.batch(&numbers, 0));
            let found = rows.bytes() as f64 / numbers.len() as f64;
            assert!((found - mean).abs() < 1.0, "{shape:?}: {found}");
            assert!(rows.iter().all(|row| row.len() <= shape.row_bytes_max()));
        }
    }

    #[test]
    fn numbers_are_found_in_bytes() {
        for shape in Shape::ALL {
            let batch = shape.batch(&(0..1000).collect::<Vec<_>>(), 0);
            let seconds = batch.column_by_name(shape.second()).unwrap().as_primitive::<Int64Type>();
            let prices = batch.column_by_name(PRICE).unwrap().as_primitive::<Float64Type>();
            for (index, row) in Rows::of(&batch).iter().enumerate() {
                let (_, value) = row.split_at(KEY_BYTES);
                assert_eq!((shape.second_of(value), shape.price_of(value)), (seconds.value(index), prices.value(index)));
            }
            let cheap = prices.values().iter().filter(|price| **price < CHEAP).count();
            assert!((50..200).contains(&cheap), "{cheap} of 1000");
        }
    }

    #[test]
    fn a_row_depends_on_its_key_and_its_turn_only() {
        for shape in Shape::ALL {
            let hashes = |numbers: &[u64], turn| Rows::of(&shape.batch(numbers, turn)).iter().map(hash).collect::<Vec<_>>();
            let three = hashes(&[5, 5, 6], 10);
            assert_eq!(hashes(&[5], 11), three[1..2]);
            assert!(three[0] != three[1] && three[1] != three[2]);
        }
    }
}
