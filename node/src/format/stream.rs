//! Copies that leave the processor's caches alone.
//!
//! A large batch is copied once, checked once and read next by the device: bytes that are stored past the caches spare the
//! read of the memory they replace, and do not push out what the next batch needs. Each piece of the source is
//! checksummed and copied while it is in the nearest cache. Invariant: what `copy` returns from is visible to every thread
//! that learns of it in an ordinary way. Knows nothing of batches.

use crc_fast::Digest;

/// Bytes that are checksummed and copied together; they fit into the nearest cache several times.
const PIECE_BYTES: usize = 8 << 10;

/// One line of the caches.
const LINE_BYTES: usize = 64;

/// Copies `from` to `to` past the caches and adds it to `digest`. Panics when their lengths differ.
pub(super) fn copy(to: &mut [u8], from: &[u8], digest: &mut Digest) {
    assert_eq!(to.len(), from.len(), "a copy is as long as its source");
    for (to, from) in to.chunks_mut(PIECE_BYTES).zip(from.chunks(PIECE_BYTES)) {
        digest.update(from);
        store(to, from);
    }
    settle();
}

#[cfg(target_arch = "x86_64")]
fn store(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    if !to.as_ptr().addr().is_multiple_of(LINE_BYTES) {
        return to.copy_from_slice(from);
    }
    let (lines, rest) = to.as_chunks_mut::<LINE_BYTES>();
    let (sources, tail) = from.as_chunks::<LINE_BYTES>();
    for (line, source) in lines.iter_mut().zip(sources) {
        let (line, source) = (line.as_mut_ptr().cast::<__m128i>(), source.as_ptr().cast::<__m128i>());
        for part in 0..LINE_BYTES / size_of::<__m128i>() {
            // SAFETY: both point to whole lines, `line` starts at a multiple of its length, and every x86-64 has SSE2.
            unsafe { _mm_stream_si128(line.add(part), _mm_loadu_si128(source.add(part))) };
        }
    }
    rest.copy_from_slice(tail);
}

/// Streamed stores are ordered with ordinary ones only by a fence.
#[cfg(target_arch = "x86_64")]
fn settle() {
    // SAFETY: every x86-64 has SSE.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn store(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(not(target_arch = "x86_64"))]
fn settle() {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_copy_is_equal_and_its_checksum_is_that_of_the_source(
            bytes in proptest::collection::vec(any::<u8>(), 0..3 * PIECE_BYTES),
            shift in 0..LINE_BYTES,
        ) {
            let mut to = vec![0xA5; bytes.len() + 3 * LINE_BYTES];
            let start = to.as_ptr().align_offset(LINE_BYTES) + shift;
            let mut digest = Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
            copy(&mut to[start..start + bytes.len()], &bytes, &mut digest);
            prop_assert_eq!(&to[start..start + bytes.len()], &bytes[..]);
            prop_assert_eq!(digest.finalize() as u32, crc_fast::crc32_iscsi(&bytes));
            prop_assert!(to[..start].iter().chain(&to[start + bytes.len()..]).all(|byte| *byte == 0xA5), "nothing around it");
        }
    }
}
