//! A filter over keys: says for sure which keys are not there.
//!
//! Split blocks of 256 bits, as Parquet's: a key sets one bit in each of the eight words of one block. Ten bits a key let 1.3 % of absent keys by, sixteen 0.14 %:
//! the small runs, of which there are many, have these; a large one would take much memory.
//! Invariant: a key that was added is always found. docs/format/run.md has the hash.

/// Bits of a filter for each key.
const BITS_PER_KEY: usize = 10;

/// Bits for each of few keys.
const BITS_PER_KEY_OF_FEW: usize = 16;

/// So many keys at most are few.
const FEW_KEYS_MAX: usize = 1 << 21;

const WORDS: usize = 8;

const SALT: [u32; WORDS] = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

const SEED: u64 = 0x51_7cc1_b727_220a;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a key that is a number.
#[inline]
pub fn hash_number(number: u64) -> u64 {
    fold(number ^ SEED)
}

/// The hash of a key that is bytes.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let hash = words.iter().chain([&last]).fold(SEED, |hash, word| fold(hash ^ u64::from_le_bytes(*word)));
    fold(hash ^ bytes.len() as u64)
}

/// Upper and lower half of the product, together.
#[inline]
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
}

/// See the head of this module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bloom {
    blocks: Vec<[u32; WORDS]>,
}

impl Bloom {
    /// A filter for so many keys.
    pub fn new(keys: usize) -> Self {
        let bits_per_key = if keys <= FEW_KEYS_MAX { BITS_PER_KEY_OF_FEW } else { BITS_PER_KEY };
        Bloom { blocks: vec![[0; WORDS]; (keys * bits_per_key).div_ceil(32 * WORDS).max(1)] }
    }

    #[inline]
    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Adds a key by its hash.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        let at = self.block(hash);
        for (word, salt) in self.blocks[at].iter_mut().zip(SALT) {
            *word |= 1 << ((hash as u32).wrapping_mul(salt) >> 27);
        }
    }

    /// Whether a key may be there.
    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block(hash)];
        let missing =
            block.iter().zip(SALT).fold(0, |missing, (word, salt)| missing | (!word & (1 << ((hash as u32).wrapping_mul(salt) >> 27))));
        missing == 0
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * WORDS * 4
    }

    /// Appends the words, little-endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.blocks.iter().flatten().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    /// Reads what [`Bloom::write`] wrote; `None` when that is no filter.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<{ WORDS * 4 }>();
        if blocks.is_empty() || !rest.is_empty() {
            return None;
        }
        let words = |block: &[u8; WORDS * 4]| {
            let mut words = [0; WORDS];
            words.iter_mut().zip(block.as_chunks::<4>().0).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
            words
        };
        Some(Bloom { blocks: blocks.iter().map(words).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_that_were_added_and_few_others() {
        for hash in [|key: u64| hash_number(key), |key: u64| hash_bytes(format!("customer-{key:08}").as_bytes())] {
            let mut bloom = Bloom::new(20_000);
            (0..20_000).for_each(|key| bloom.add(hash(key)));
            let mut bytes = Vec::new();
            bloom.write(&mut bytes);
            let bloom = Bloom::read(&bytes).unwrap();
            assert!((0..20_000).all(|key| bloom.may_hold(hash(key))));
            let wrong = (20_000..120_000).filter(|key| bloom.may_hold(hash(*key))).count();
            assert!(wrong < 300, "{wrong} of 100000 let by");
        }
    }

    #[test]
    fn hashes_are_those_of_the_format_page() {
        assert_eq!(hash_bytes(b""), fold(fold(SEED)));
        assert_ne!(hash_bytes(b"a"), hash_bytes(b"a\0"));
        assert_eq!(Bloom::read(&[0; 31]), None);
    }
}
