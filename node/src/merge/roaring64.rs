//! Bitmaps of 64-bit numbers in the bytes of Java's `Roaring64Bitmap.serialize`, which is what Paimon's `rbm64` reads and writes.
//!
//! There is no specification but the code. A first byte says whether anything follows; then the upper 48 bits of the numbers as the leaves of a radix tree,
//! each with the place of its container; then the containers, with the lower 16 bits. Numbers are little endian, bytes of a key are big endian. What is
//! written is a function of the numbers alone.

use std::collections::BTreeMap;

use roaring::{RoaringBitmap, RoaringTreemap};

use crate::error::{Error, Result};

/// Bytes of a key of the tree.
const KEY_BYTES: usize = 6;
const NODE_4: u8 = 0;
const NODE_16: u8 = 1;
const NODE_48: u8 = 2;
const NODE_256: u8 = 3;
const LEAF: u8 = 4;

const RUNS: u8 = 0;
const BITS: u8 = 1;
const ARRAY: u8 = 2;
/// Bytes of a container of bits.
const BITS_BYTES: usize = 8192;
/// Numbers that an array has at most.
const ARRAY_MAX: usize = 4096;
/// Stands before each list of containers.
const NOT_TRIMMED: u8 = 0xfe;

/// Reads a bitmap.
///
/// # Errors
/// Invalid for bytes that are none.
pub(crate) fn decode(bytes: &[u8]) -> Result<RoaringTreemap> {
    let mut bytes = Bytes(bytes);
    let mut bitmaps: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
    if bytes.array::<1>()? != [0] {
        let count = u64::from_le_bytes(bytes.array()?);
        let leaves = bytes.leaves()?;
        let mut containers = bytes.containers()?;
        if leaves.len() as u64 != count {
            return Err(malformed());
        }
        for (key, place) in leaves {
            let list = containers.get_mut((place >> 32) as usize).ok_or_else(malformed)?;
            // Each is of one key: otherwise a few bytes could stand for any number of containers.
            let container = list.get_mut(place as u32 as usize).and_then(Option::take).ok_or_else(malformed)?;
            *bitmaps.entry((key >> 16) as u32).or_default() |= container.numbers((key as u32) << 16)?;
        }
    }
    if bytes.0.is_empty() { Ok(RoaringTreemap::from_bitmaps(bitmaps)) } else { Err(malformed()) }
}

fn malformed() -> Error {
    Error::invalid("a value is no 64-bit roaring bitmap").hint("`rbm64` takes what Java's Roaring64Bitmap.serialize writes")
}

/// What is not read yet.
struct Bytes<'a>(&'a [u8]);

/// A container as it lies there.
struct Container<'a> {
    kind: u8,
    data: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    /// The keys of all leaves and the places of their containers: nodes come before their children, so that only their number must be known.
    fn leaves(&mut self) -> Result<Vec<(u64, u64)>> {
        let (mut leaves, mut open) = (Vec::new(), 1_u64);
        while open > 0 {
            let [kind, low, high, prefix] = self.array()?;
            self.take(usize::from(prefix))?;
            open -= 1;
            let keys = match kind {
                NODE_4 => 4,
                NODE_16 => 16,
                NODE_48 => 256,
                NODE_256 => 32,
                LEAF => {
                    let mut key = [0; 8];
                    key[8 - KEY_BYTES..].copy_from_slice(self.take(KEY_BYTES)?);
                    leaves.push((u64::from_be_bytes(key), u64::from_le_bytes(self.array()?)));
                    continue;
                }
                _ => return Err(malformed()),
            };
            self.take(keys)?;
            open += u64::from(u16::from_le_bytes([low, high]));
        }
        Ok(leaves)
    }

    fn containers(&mut self) -> Result<Vec<Vec<Option<Container<'a>>>>> {
        let mut lists = Vec::new();
        for _ in 0..u32::from_le_bytes(self.array()?) {
            let (_mark, mut list) = (self.array::<1>()?, Vec::new());
            for _ in 0..u32::from_le_bytes(self.array()?) {
                list.push(match self.array()? {
                    [0] => None,
                    [1] => Some(self.container()?),
                    _ => return Err(malformed()),
                });
            }
            lists.push(list);
        }
        // How many there are, and where the last one is.
        self.take(8 + 4 + 4)?;
        Ok(lists)
    }

    fn container(&mut self) -> Result<Container<'a>> {
        let [kind] = self.array()?;
        let count = u32::from_le_bytes(self.array()?) as usize;
        let length = match kind {
            RUNS => 4 * usize::from(u16::from_le_bytes(self.array()?)),
            BITS => BITS_BYTES,
            ARRAY if count <= 1 << 16 => 2 * count,
            _ => return Err(malformed()),
        };
        Ok(Container { kind, data: self.take(length)? })
    }
}

impl Container<'_> {
    /// The numbers, each with `base` added.
    fn numbers(&self, base: u32) -> Result<RoaringBitmap> {
        let words = || self.data.chunks_exact(2).map(|word| u32::from(u16::from_le_bytes([word[0], word[1]])));
        Ok(match self.kind {
            BITS => RoaringBitmap::from_lsb0_bytes(base, self.data),
            ARRAY => words().map(|low| base | low).collect(),
            _ => {
                let mut numbers = RoaringBitmap::new();
                for (first, more) in words().step_by(2).zip(words().skip(1).step_by(2)) {
                    let last = Some(first + more).filter(|last| *last <= u32::from(u16::MAX)).ok_or_else(malformed)?;
                    numbers.insert_range(base | first..=base | last);
                }
                numbers
            }
        })
    }
}

/// Writes a bitmap.
pub(crate) fn encode(map: &mut RoaringTreemap) -> Vec<u8> {
    if map.is_empty() {
        return vec![0];
    }
    let (mut keys, mut containers) = (Vec::new(), Vec::new());
    let mut lows: Vec<u16> = Vec::new();
    for number in map.iter() {
        let key = number.to_be_bytes()[..KEY_BYTES].try_into().expect("so many bytes");
        if keys.last() != Some(&key) {
            write_container(&lows, &mut containers);
            lows.clear();
            keys.push(key);
        }
        lows.push(number as u16);
    }
    write_container(&lows, &mut containers);
    let count = keys.len() as u32;
    let mut out = vec![1];
    out.extend(u64::from(count).to_le_bytes());
    write_node(&keys, 0, 0, &mut out);
    // One list of them, and nothing behind the last.
    out.extend(1_u32.to_le_bytes());
    out.push(NOT_TRIMMED);
    out.extend(count.to_le_bytes());
    out.extend(containers);
    out.extend(u64::from(count).to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend((count - 1).to_le_bytes());
    out
}

/// Writes the tree of sorted keys that are the same before `depth`; `place` is the one of the first key's container.
fn write_node(keys: &[[u8; KEY_BYTES]], depth: usize, place: u64, out: &mut Vec<u8>) {
    let (first, last) = (keys[0], keys[keys.len() - 1]);
    if first == last {
        out.extend([LEAF, 0, 0, 0]);
        out.extend(first);
        out.extend(place.to_le_bytes());
        return;
    }
    let at = (depth..KEY_BYTES).find(|at| first[*at] != last[*at]).expect("they differ");
    let children: Vec<&[[u8; KEY_BYTES]]> = keys.chunk_by(|left, right| left[at] == right[at]).collect();
    let (kind, mut index) = match children.len() {
        2..=4 => (NODE_4, vec![0; 4]),
        5..=16 => (NODE_16, vec![0; 16]),
        17..=48 => (NODE_48, vec![0xff; 256]),
        _ => (NODE_256, vec![0; 32]),
    };
    for (number, child) in children.iter().enumerate() {
        let byte = child[0][at];
        // Written as numbers of 4 or 8 bytes whose first byte is the upper one.
        match kind {
            NODE_4 => index[3 - number] = byte,
            NODE_16 => index[number ^ 7] = byte,
            NODE_48 => index[usize::from(byte) ^ 7] = number as u8,
            _ => index[usize::from(byte) / 8] |= 1 << (byte % 8),
        }
    }
    out.push(kind);
    out.extend((children.len() as u16).to_le_bytes());
    out.push((at - depth) as u8);
    out.extend(&first[depth..at]);
    out.extend(index);
    let mut place = place;
    for child in children {
        write_node(child, at + 1, place, out);
        place += child.len() as u64;
    }
}

/// Writes the numbers of a container, if there are any, as runs where these are smallest.
fn write_container(lows: &[u16], out: &mut Vec<u8>) {
    if lows.is_empty() {
        return;
    }
    let runs: Vec<&[u16]> = lows.chunk_by(|left, right| left + 1 == *right).collect();
    let kind = match lows.len() {
        count if 2 + 4 * runs.len() < (2 * count).min(BITS_BYTES) => RUNS,
        ..=ARRAY_MAX => ARRAY,
        _ => BITS,
    };
    out.extend([1, kind]);
    out.extend((lows.len() as u32).to_le_bytes());
    match kind {
        RUNS => {
            out.extend((runs.len() as u16).to_le_bytes());
            runs.iter().for_each(|run| [run[0], (run.len() - 1) as u16].iter().for_each(|word| out.extend(word.to_le_bytes())));
        }
        ARRAY => lows.iter().for_each(|low| out.extend(low.to_le_bytes())),
        _ => {
            let start = out.len();
            out.resize(start + BITS_BYTES, 0);
            lows.iter().for_each(|low| out[start + usize::from(*low) / 8] |= 1 << (low % 8));
        }
    }
}

#[cfg(test)]
mod tests;
