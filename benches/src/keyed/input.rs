//! What a round writes, made before its clock starts, and what a store must hold in the end.
//!
//! Invariant: the same load gives the same rows for ever, whatever form they are made in.

use super::row::{Rows, Sum, hash, split};
use super::shape::{CHEAP, Shape};
use super::{Batch, Form, Load, Scanned, Wanted};

/// Batches in order.
pub struct Input {
    /// The batches.
    pub batches: Vec<Batch>,
    /// The newest row of each key, summed up.
    pub expected: Sum,
    /// What each kind of scan must find, in the order of [`Wanted::ALL`].
    pub expected_scans: [Scanned; 3],
    /// Bytes of all keys and values: what has to be written once.
    pub row_bytes: u64,
}

/// What is remembered of the newest row of a key.
struct Newest {
    hash: u64,
    second: i64,
    is_cheap: bool,
}

impl Newest {
    fn of(shape: Shape, row: &[u8]) -> Newest {
        let (_, value) = split(row);
        Newest { hash: hash(row), second: shape.second_of(value), is_cheap: shape.price_of(value) < CHEAP }
    }
}

impl Input {
    /// Of a load, in a form.
    pub fn make(load: &Load, form: Form) -> Input {
        let mut newest: Vec<Option<Newest>> = std::iter::repeat_with(|| None).take(load.keys() as usize).collect();
        let mut draw = load.keys.draw(load.keys());
        let mut batches = Vec::new();
        let (mut turn, mut row_bytes) = (0, 0);
        while turn < load.rows {
            let numbers: Vec<u64> = draw.by_ref().take(load.batch_rows.min((load.rows - turn) as usize)).collect();
            let columns = load.shape.batch(&numbers, turn);
            let rows = Rows::of(&columns);
            for (number, row) in numbers.iter().zip(rows.iter()) {
                newest[*number as usize] = Some(Newest::of(load.shape, row));
            }
            turn += numbers.len() as u64;
            row_bytes += rows.bytes() as u64;
            batches.push(match form {
                Form::Columns => Batch::Columns(columns),
                Form::Rows => Batch::Rows(rows),
            });
        }
        let mut expected = Sum::default();
        let mut expected_scans = [Scanned::default(); Wanted::ALL.len()];
        for row in newest.into_iter().flatten() {
            expected.add_hash(row.hash);
            for wanted in Wanted::ALL {
                if wanted != Wanted::Cheap || row.is_cheap {
                    expected_scans[wanted as usize].add(row.second);
                }
            }
        }
        Input { batches, expected, expected_scans, row_bytes }
    }
}

#[test]
fn both_forms_expect_the_newest_row_of_each_key() {
    use super::keys::Keys;
    use std::collections::HashMap;
    for keys in [Keys::Uniform, Keys::Zipf] {
        let load = Load { shape: Shape::Small, keys, rows: 1001, batch_rows: 100, durable: true, commit_rows: None, cache_bytes: None };
        let (columns, rows) = (Input::make(&load, Form::Columns), Input::make(&load, Form::Rows));
        assert_eq!(columns.expected, rows.expected);
        assert_eq!((columns.batches.len(), rows.batches.len()), (11, 11));
        assert_eq!(columns.row_bytes, rows.row_bytes);
        let mut newest = HashMap::new();
        for (columns, rows) in columns.batches.iter().zip(&rows.batches) {
            assert_eq!(&Rows::of(columns.columns()), rows.rows());
            newest.extend(rows.rows().iter().map(|row| (row[..8].to_vec(), hash(row))));
        }
        let mut expected = Sum::default();
        newest.into_values().for_each(|hash| expected.add_hash(hash));
        assert_eq!(columns.expected, expected);
    }
}
