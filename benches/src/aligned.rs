//! Memory that direct I/O accepts: aligned to a block, touched before the clock starts.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a block: direct I/O starts, ends and lies in memory at multiples of this.
pub const BLOCK_BYTES: usize = 4096;

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
        let layout = Self::layout(bytes.max(1).next_multiple_of(BLOCK_BYTES));
        // SAFETY: the layout has a size above zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let mut made = Aligned { start, bytes: layout.size() };
        made.chunks_mut(BLOCK_BYTES).for_each(|page| page.fill(0));
        made
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
        Layout::from_size_align(bytes, BLOCK_BYTES).expect("a length that memory can have")
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
