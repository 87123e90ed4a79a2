//! The bucket of a row by its key, as Paimon computes it: `abs(murmur3_32(BinaryRow of the key, seed 42) % buckets)`.
//!
//! Invariant: the same as Paimon's Java engine for every type, nulls included, so that buckets can be published without a
//! shuffle. Knows nothing of partitions; rows without a key are assigned by the writer.

use arrow::array::RecordBatch;

use super::binary_row::{Columns, null_bits_length};
use super::schema::TableSchema;
use super::spec::BUCKETS_MAX;
use crate::error::{Error, Result};

pub(super) const SEED: u32 = 42;

/// Chooses buckets by the hash of some columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFunction {
    columns: Vec<usize>,
    buckets: u32,
}

impl BucketFunction {
    /// The function for batches of `schema`, keyed by the columns with the field ids `key`, in that order.
    ///
    /// # Errors
    /// Invalid when the key is empty or names no column of a type that can be hashed, or the buckets are out of range.
    pub fn new(schema: &TableSchema, key: &[i32], buckets: u32) -> Result<Self> {
        if key.is_empty() || buckets == 0 || buckets > BUCKETS_MAX {
            return Err(Error::invalid(format!("cannot hash {} columns into {buckets} buckets", key.len())));
        }
        let index = |id: &i32| match schema.index_of_id(*id) {
            Some(index) if !schema.fields()[index].kind.is_nested() => Ok(index),
            Some(index) => Err(Error::invalid("nested columns cannot be hashed").at("column", &schema.fields()[index].name)),
            None => Err(Error::invalid("the bucket key names a column that does not exist").at("field id", id)),
        };
        Ok(BucketFunction { columns: key.iter().map(index).collect::<Result<_>>()?, buckets })
    }

    /// How many buckets there are.
    pub fn bucket_count(&self) -> u32 {
        self.buckets
    }

    /// The bucket of each row of a batch that has the schema this function was made for.
    ///
    /// # Errors
    /// Invalid when the batch has another schema.
    pub fn buckets(&self, batch: &RecordBatch) -> Result<Vec<u32>> {
        if self.buckets == 1 {
            return Ok(vec![0; batch.num_rows()]);
        }
        let buckets = self.buckets as i32;
        Ok(self.hashes(batch)?.into_iter().map(|hash| (hash as i32 % buckets).unsigned_abs()).collect())
    }

    fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u32>> {
        let array = |index: &usize| batch.columns().get(*index).ok_or_else(|| Error::invalid("the batch lacks a column of the bucket key"));
        let arrays = self.columns.iter().map(array).collect::<Result<Vec<_>>>()?;
        let columns = Columns::new(&arrays, batch.num_rows())?;
        Ok(match columns.slots() {
            Some(slots) => hash_slots(&columns, &slots),
            None => hash_rows(&columns),
        })
    }
}

/// Column by column: all rows have the same length, so their hashes advance together.
fn hash_slots(columns: &Columns, slots: &[&[u64]]) -> Vec<u32> {
    let head = null_bits_length(slots.len());
    let mut bits = vec![0; head];
    let mut hashes = vec![mix_words(SEED, &bits); columns.rows()];
    if !columns.is_dense() {
        for (row, hash) in hashes.iter_mut().enumerate() {
            bits.fill(0);
            columns.write_null_bits(row, &mut bits);
            *hash = mix_words(SEED, &bits);
        }
    }
    for values in slots {
        for (hash, slot) in hashes.iter_mut().zip(*values) {
            *hash = mix(mix(*hash, *slot as u32), (*slot >> 32) as u32);
        }
    }
    let length = head + 8 * slots.len();
    hashes.iter_mut().for_each(|hash| *hash = finish(*hash, length));
    hashes
}

fn hash_rows(columns: &Columns) -> Vec<u32> {
    let mut bytes = Vec::new();
    let hash = |row| {
        columns.write_row(row, &mut bytes);
        finish(mix_words(SEED, &bytes), bytes.len())
    };
    (0..columns.rows()).map(hash).collect()
}

/// Mixes bytes, a multiple of 4 of them, as little-endian words.
fn mix_words(hash: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    debug_assert!(rest.is_empty(), "rows are made of words");
    words.iter().fold(hash, |hash, word| mix(hash, u32::from_le_bytes(*word)))
}

/// One step of murmur3_32.
fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// The last step of murmur3_32.
fn finish(hash: u32, length: usize) -> u32 {
    let mut hash = hash ^ length as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests;
