//! Memory that direct I/O accepts: aligned to a block, touched before the clock starts.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a block: direct I/O starts, ends and lies in memory at multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// A large page. Memory of [`LARGE_FROM_BYTES`] and more is made of such where the system gives them: a transfer from small pages is an entry for the device for
/// each of them, and what a contender may do its limit must do as well.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Smaller memory is not worth a large page.
const LARGE_FROM_BYTES: usize = 32 << 10;

/// Owned bytes whose address and length are multiples of [`BLOCK_BYTES`].
pub struct Aligned {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory alone, as a Vec does.
unsafe impl Send for Aligned {}
// SAFETY: shared access only reads.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// Zeroed memory of at least `bytes` bytes, at least one block, every page of it touched.
    pub fn zeroed(bytes: usize) -> Aligned {
        let bytes = bytes.max(1).next_multiple_of(BLOCK_BYTES);
        let layout = Self::layout(bytes);
        // SAFETY: the layout has a size above zero.
        let start = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the advice is about memory that was just allocated; asked for before the first touch, it decides which pages it is made of, and where it is
        // refused small ones are as good. All of it is written before anybody reads it.
        unsafe {
            if layout.align() == LARGE_PAGE_BYTES {
                libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
            }
            start.as_ptr().write_bytes(0, layout.size());
        }
        Aligned { start, bytes }
    }

    /// The same, filled with bytes from `seed` that do not compress.
    pub fn random(bytes: usize, seed: u64) -> Aligned {
        let mut made = Self::zeroed(bytes);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for word in made.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        made
    }

    fn layout(bytes: usize) -> Layout {
        let page_bytes = if bytes < LARGE_FROM_BYTES { BLOCK_BYTES } else { LARGE_PAGE_BYTES };
        Layout::from_size_align(bytes.next_multiple_of(page_bytes), page_bytes).expect("a length that memory can have")
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is owned, initialised and `bytes` long.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody holds it any more.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
    }
}
