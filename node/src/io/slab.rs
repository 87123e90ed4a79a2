//! Slabs: large pages of memory, cut into equal pieces for I/O.
//!
//! The kernel pins and describes the pages of every transfer. A piece of a large page is one stretch of physical memory: one
//! entry for the device instead of one for every 4 KiB, which an append of 1 MiB feels more than its checksum. Where the system
//! gives no large pages a slab is ordinary memory. Invariant: a piece has one owner, or its bit in `free` is set.
//! This module knows nothing of who reads or writes the pieces.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A large page of x86-64, and of aarch64 with pages of 4 KiB.
pub(super) const SLAB_BYTES: usize = 2 << 20;

/// The smallest piece: the free ones of a slab are the bits of one word.
pub(super) const PIECE_BYTES_MIN: usize = SLAB_BYTES / u64::BITS as usize;

/// Memory of [`SLAB_BYTES`], at a multiple of that. Zero when it is new.
pub(super) struct Slab {
    start: NonNull<u8>,
    piece_bytes: usize,
    /// Changed under the lock of its shelf only.
    free: AtomicU64,
}

// SAFETY: a Slab owns its mapping and gives out addresses only; who may use a piece is governed by `free`.
unsafe impl Send for Slab {}
// SAFETY: as for Send; `free` is atomic.
unsafe impl Sync for Slab {}

impl Slab {
    /// A slab whose pieces are all free, or `None` when the system has no memory.
    fn map(piece_bytes: usize) -> Option<Slab> {
        assert!((PIECE_BYTES_MIN..=SLAB_BYTES).contains(&piece_bytes) && piece_bytes.is_power_of_two(), "pieces of {piece_bytes} bytes");
        let bytes = 2 * SLAB_BYTES;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }.ok()?;
        let before = mapped.cast::<u8>().align_offset(SLAB_BYTES);
        // SAFETY: `before` is at most one slab, so slab and rest lie within the mapping; what is unmapped was never used.
        unsafe {
            let start = mapped.cast::<u8>().add(before);
            let rest = SLAB_BYTES - before;
            if before > 0 {
                let _ = munmap(mapped, before);
            }
            if rest > 0 {
                let _ = munmap(start.add(SLAB_BYTES).cast(), rest);
            }
            // Refused where there are no large pages: then it is made of small ones.
            let _ = madvise(start.cast(), SLAB_BYTES, Advice::LinuxHugepage);
            let free = AtomicU64::new(all(SLAB_BYTES / piece_bytes));
            Some(Slab { start: NonNull::new(start)?, piece_bytes, free })
        }
    }

    fn take(&self) -> Option<usize> {
        let free = self.free.load(Ordering::Relaxed);
        let piece = free.trailing_zeros();
        (free != 0).then(|| {
            self.free.store(free & !(1 << piece), Ordering::Relaxed);
            piece as usize
        })
    }

    fn has_free(&self) -> bool {
        self.free.load(Ordering::Relaxed) != 0
    }

    fn is_all_free(&self) -> bool {
        self.free.load(Ordering::Relaxed) == all(SLAB_BYTES / self.piece_bytes)
    }

    fn put(&self, piece: usize) {
        let free = self.free.load(Ordering::Relaxed);
        assert!(free & 1 << piece == 0, "a piece comes back once");
        self.free.store(free | 1 << piece, Ordering::Relaxed);
    }
}

/// As many low bits.
fn all(pieces: usize) -> u64 {
    u64::MAX >> (u64::BITS as usize - pieces)
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: exactly what is left of the mapping; every piece holds the slab, so nobody has one.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), SLAB_BYTES) };
    }
}

/// A piece of a slab, with one owner.
pub(super) struct Piece {
    slab: Arc<Slab>,
    index: usize,
}

impl Piece {
    /// Where it starts; as long as its slab's pieces are.
    pub(super) fn start(&self) -> NonNull<u8> {
        // SAFETY: the index is below the number of pieces, so the address lies within the slab.
        unsafe { self.slab.start.add(self.index * self.slab.piece_bytes) }
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.slab.piece_bytes
    }
}

/// The slabs of one size of pieces that have free ones.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Vec<Arc<Slab>>>);

impl Shelf {
    /// A piece, and the idle bytes that became more (of a new slab) or less; `None` when the system has no memory.
    pub(super) fn take(&self, piece_bytes: usize) -> Option<(Piece, isize)> {
        let mut slabs = self.0.lock();
        let mut more = -(piece_bytes as isize);
        if slabs.is_empty() {
            slabs.push(Arc::new(Slab::map(piece_bytes)?));
            more += SLAB_BYTES as isize;
        }
        let slab = slabs.last().expect("one was pushed").clone();
        let index = slab.take().expect("slabs on the shelf have a free piece");
        if !slab.has_free() {
            slabs.pop();
        }
        Some((Piece { slab, index }, more))
    }

    /// Takes a piece back. A slab whose pieces are all back is given up when `is_over`, but for the last one: a reader of one piece after the other would
    /// have the kernel clear a large page for each. Returns whether it was.
    pub(super) fn put(&self, piece: Piece, is_over: bool) -> bool {
        let Piece { slab, index } = piece;
        let mut slabs = self.0.lock();
        if !slab.has_free() {
            slabs.push(slab.clone());
        }
        slab.put(index);
        let is_given_up = is_over && slabs.len() > 1 && slab.is_all_free();
        if is_given_up {
            slabs.retain(|kept| !Arc::ptr_eq(kept, &slab));
        }
        is_given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_come_back() {
        let shelf = Shelf::default();
        let bytes = SLAB_BYTES / 4;
        let mut idle = 0;
        let mut pieces: Vec<_> = (0..6)
            .map(|_| {
                let (piece, more) = shelf.take(bytes).unwrap();
                idle += more;
                piece
            })
            .collect();
        assert_eq!(idle, 2 * bytes as isize, "two slabs of four pieces, six in use");
        let mut starts: Vec<usize> = pieces.iter().map(|piece| piece.start().addr().get()).collect();
        starts.sort();
        assert!(starts.windows(2).all(|pair| pair[0] + bytes <= pair[1]));
        assert!(starts.iter().all(|start| start % bytes == 0));
        let again = pieces.remove(2);
        let start = again.start();
        assert!(!shelf.put(again, true), "its slab is in use");
        assert_eq!(shelf.take(bytes).unwrap().0.start(), start, "the one that was used last is still in the caches");
    }

    #[test]
    fn a_slab_is_given_up_only_when_all_of_it_is_back() {
        let shelf = Shelf::default();
        let take = || shelf.take(SLAB_BYTES / 2).unwrap().0;
        let (first, second, third) = (take(), take(), take());
        assert!(!shelf.put(first, true));
        assert!(shelf.put(second, true), "there is another one, with a free piece");
        assert!(!shelf.put(third, true), "the last one stays");
        assert_eq!(shelf.0.lock().len(), 1);
        let (whole, half, other) = (take(), take(), take());
        assert!(!shelf.put(whole, false) && !shelf.put(half, false) && !shelf.put(other, false), "below the limit all are kept");
        assert_eq!(shelf.0.lock().len(), 2);
    }

    #[test]
    fn the_smallest_and_the_largest_pieces_fill_a_slab() {
        for (bytes, count) in [(PIECE_BYTES_MIN, 64), (SLAB_BYTES, 1)] {
            let shelf = Shelf::default();
            let pieces: Vec<_> = (0..count).map(|_| shelf.take(bytes).unwrap()).collect();
            assert!(shelf.0.lock().is_empty());
            assert_eq!(pieces.iter().map(|(_, more)| more).sum::<isize>(), 0);
            assert!(pieces.iter().all(|(piece, _)| piece.bytes() == bytes));
        }
    }
}
