//! Aggregates of columns of serialized bitmaps: the union of each key's, as `rbm32` and `rbm64` write it.
//!
//! A key with one bitmap keeps its bytes. Unions are written one way only, whatever was united first: each container in its smallest form.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use roaring::RoaringBitmap;

use super::aggregate::Function;
use super::function::Groups;
use super::reference::Ref;
use super::roaring64;
use crate::error::{Error, Result};

/// The union of each key, null where all are.
///
/// # Errors
/// Invalid for bytes that are no bitmap; Exhausted when the bitmaps are too large for one array; Internal when the function is not one of these.
pub(super) fn unite(groups: Groups<'_>, column: usize, function: &Function) -> Result<ArrayRef> {
    match function {
        Function::Bitmap32 => unite_with(groups, column, decode32, |all, other| *all |= other, encode32),
        Function::Bitmap64 => unite_with(groups, column, roaring64::decode, |all, other| *all |= other, roaring64::encode),
        other => Err(no_bitmaps(other)),
    }
}

/// Checks that each value is a bitmap.
///
/// # Errors
/// Invalid for the first that is not, with its row; Internal when the function is not one of these.
pub(super) fn check(column: &ArrayRef, function: &Function) -> Result<()> {
    let values =
        column.as_binary_opt::<i32>().ok_or_else(|| Error::internal(format!("`{}` of {}", function.name(), column.data_type())))?;
    for (row, value) in values.iter().enumerate() {
        let Some(value) = value else { continue };
        let checked = match function {
            Function::Bitmap32 => decode32(value).map(drop),
            Function::Bitmap64 => roaring64::decode(value).map(drop),
            other => Err(no_bitmaps(other)),
        };
        checked.map_err(|error| error.at("row", row))?;
    }
    Ok(())
}

fn no_bitmaps(function: &Function) -> Error {
    Error::internal(format!("`{}` is not of bitmaps", function.name()))
}

fn unite_with<S>(
    groups: Groups<'_>,
    column: usize,
    decode: impl Fn(&[u8]) -> Result<S>,
    add: impl Fn(&mut S, S),
    encode: impl Fn(&mut S) -> Vec<u8>,
) -> Result<ArrayRef> {
    let sources: Vec<&BinaryArray> = groups.slots.iter().map(|slot| slot.column(column).as_binary::<i32>()).collect();
    let value = |row: &Ref| sources[row.slot()].is_valid(row.row()).then(|| sources[row.slot()].value(row.row()));
    let mut out = BinaryBuilder::new();
    let mut total = 0;
    for group in groups.iter() {
        let mut values = group.iter().filter_map(value);
        let (first, second) = (values.next(), values.next());
        let union = match (first, second) {
            (Some(first), Some(second)) => {
                let mut all = decode(first)?;
                for value in std::iter::once(second).chain(values) {
                    add(&mut all, decode(value)?);
                }
                Some(encode(&mut all))
            }
            _ => None,
        };
        let bytes = union.as_deref().or(first);
        total += bytes.map_or(0, <[u8]>::len);
        if total > i32::MAX as usize {
            return Err(Error::exhausted(format!("{total} bytes of bitmaps in one column of a merge")).hint("smaller bitmaps"));
        }
        out.append_option(bytes);
    }
    Ok(Arc::new(out.finish()))
}

/// The portable format: <https://github.com/RoaringBitmap/RoaringFormatSpec>.
fn decode32(bytes: &[u8]) -> Result<RoaringBitmap> {
    let mut rest = bytes;
    let malformed = || Error::invalid("a value is no 32-bit roaring bitmap").hint("`rbm32` takes the portable format of RoaringBitmap");
    let bitmap = RoaringBitmap::deserialize_from(&mut rest).map_err(|error| malformed().caused_by(error))?;
    if rest.is_empty() { Ok(bitmap) } else { Err(malformed()) }
}

fn encode32(bitmap: &mut RoaringBitmap) -> Vec<u8> {
    // Where runs are no smaller, a container that came as runs would stay so: what is written must not depend on that.
    bitmap.remove_run_compression();
    bitmap.optimize();
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("a vector takes all bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(has_runs: bool, count in 0_u8..4, rest in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..60)) {
            let head = if has_runs { [0x3b, 0x30, count, 0].to_vec() } else { [0x3a, 0x30, 0, 0, count, 0, 0, 0].to_vec() };
            if let Ok(mut bitmap) = decode32(&[head, rest].concat()) {
                prop_assert_eq!(decode32(&encode32(&mut bitmap)).unwrap(), bitmap);
            }
        }

        #[test]
        fn a_damaged_bitmap_is_read_without_a_panic(numbers in proptest::collection::vec(0_u32..1 << 18, 0..40), run in 0_u32..9000, at: usize, byte: u8) {
            let mut bytes = encode32(&mut numbers.into_iter().chain(1 << 17..(1 << 17) + run).collect());
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(mut bitmap) = decode32(&bytes) {
                bitmap |= RoaringBitmap::from_iter(0..100);
                prop_assert_eq!(decode32(&encode32(&mut bitmap)).unwrap(), bitmap);
            }
        }
    }

    #[test]
    fn every_container_is_written_as_java_writes_it() {
        let runs = 0..5000;
        let bits = (0..5000).map(|number| (1 << 20) + 2 * number);
        let array = (0..3).map(|number| (1 << 25) + 7 * number);
        let mut all: RoaringBitmap = runs.chain(bits).chain(array).collect();
        let bytes = encode32(&mut all);
        // Length and crc32c of what Paimon 2.0.0 for Java writes.
        assert_eq!((bytes.len(), crc_fast::crc32_iscsi(&bytes)), (8221, 0x7275_d9aa));
        assert_eq!(decode32(&bytes).unwrap(), all);
    }

    #[test]
    fn bytes_behind_a_bitmap_are_refused() {
        let mut bytes = encode32(&mut (0..9).collect());
        assert!(decode32(&bytes).is_ok());
        bytes.push(0);
        assert!(decode32(&bytes).is_err());
    }
}
