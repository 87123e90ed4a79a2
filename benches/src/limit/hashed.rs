//! Rows in a hash table: the limit of lookups of what is in memory.

use crate::keyed::row::{KEY_BYTES, Rows};
use std::collections::HashMap;
use std::ops::Range;

/// Rows by their keys.
#[derive(Default)]
pub struct Hashed {
    bytes: Vec<u8>,
    places: HashMap<[u8; KEY_BYTES], Range<usize>>,
}

impl Hashed {
    /// Puts rows in place of those with the same keys.
    pub fn put(&mut self, rows: &Rows) {
        for row in rows.iter() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(row);
            self.places.insert(key_of(row), start..self.bytes.len());
        }
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.places.get(&key_of(key)).map(|place| &self.bytes[place.clone()])
    }
}

fn key_of(row: &[u8]) -> [u8; KEY_BYTES] {
    *row.first_chunk().expect("a row begins with its key")
}
