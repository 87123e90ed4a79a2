//! Memory for I/O: owned, aligned to [`BLOCK_BYTES`], recycled through a [`Pool`].
//!
//! A [`Buffer`] is exclusive and writable; [`Buffer::freeze`] makes it a [`Frozen`], which is shared and read-only and can become an
//! Arrow buffer without a copy. The memory goes back to its pool when the last holder drops it.
//! Invariant: memory has at every moment either one writer or any number of readers.
//! This module knows nothing of files.

use super::BLOCK_BYTES;
use super::slab::{PIECE_BYTES_MIN, Piece, SLAB_BYTES, Shelf};
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest size class: 16 MiB. Larger buffers are exact multiples of [`BLOCK_BYTES`] and go back to the allocator, not to the pool.
pub const CLASS_BYTES_MAX: usize = 16 << 20;

/// A pool that may keep less than this cuts its buffers one by one, not from slabs.
const SLABS_LIMIT_BYTES_MIN: usize = 8 * SLAB_BYTES;

/// Classes of powers of two, from one block to [`CLASS_BYTES_MAX`].
const CLASSES: usize = (CLASS_BYTES_MAX / BLOCK_BYTES).ilog2() as usize + 1;

/// Hands out buffers and keeps returned memory for the next one, up to a limit. Clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shelves>);

struct Shelves {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
    classes: [Mutex<Vec<Memory>>; CLASSES],
    slabs: [Shelf; CLASSES],
}

impl Pool {
    /// A pool that keeps at most `limit_bytes` of idle memory, and a slab of each size that is in use. What is handed out is not counted.
    pub fn new(limit_bytes: usize) -> Self {
        Pool(Arc::new(Shelves {
            limit_bytes,
            held_bytes: AtomicUsize::new(0),
            classes: std::array::from_fn(|_| Mutex::default()),
            slabs: std::array::from_fn(|_| Shelf::default()),
        }))
    }

    /// A buffer of length `bytes` and of at least that capacity. Fresh memory is zeroed, **recycled memory has arbitrary old bytes**.
    pub fn get(&self, bytes: usize) -> Buffer {
        let memory = match class_of(bytes) {
            Some(class) => self.0.take(class).unwrap_or_else(|| Memory::zeroed(class_bytes(class))),
            None => Memory::zeroed(bytes.next_multiple_of(BLOCK_BYTES)),
        };
        Buffer { memory, len: bytes, pool: Some(self.clone()) }
    }

    /// A buffer that holds a copy of `bytes`.
    pub fn copy_of(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.get(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Zeros to write.
    pub fn zeros(&self, bytes: usize) -> Frozen {
        let mut buffer = self.get(bytes);
        buffer.fill(0);
        buffer.freeze()
    }

    /// Idle bytes kept for reuse.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes.load(Ordering::Relaxed)
    }
}

impl Shelves {
    fn take(&self, class: usize) -> Option<Memory> {
        let bytes = class_bytes(class);
        if self.limit_bytes >= SLABS_LIMIT_BYTES_MIN && (PIECE_BYTES_MIN..=SLAB_BYTES).contains(&bytes) {
            let (piece, more) = self.slabs[class].take(bytes)?;
            // Wraps for less.
            self.held_bytes.fetch_add(more as usize, Ordering::Relaxed);
            return Some(Memory { start: piece.start(), capacity: piece.bytes(), piece: Some(piece) });
        }
        let memory = self.classes[class].lock().pop()?;
        self.held_bytes.fetch_sub(memory.capacity, Ordering::Relaxed);
        Some(memory)
    }

    /// Keeps the memory, or lets it go when the pool is full.
    fn put(&self, mut memory: Memory) {
        let bytes = memory.capacity;
        let Some(class) = class_of(bytes).filter(|_| bytes > 0) else { return };
        if let Some(piece) = memory.piece.take() {
            memory.capacity = 0;
            let is_over = self.held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit_bytes;
            if self.slabs[class].put(piece, is_over) {
                self.held_bytes.fetch_sub(SLAB_BYTES, Ordering::Relaxed);
            }
            return;
        }
        if self.held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit_bytes {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        self.classes[class].lock().push(memory);
    }
}

/// The class that holds `bytes`; `None` beyond the largest.
fn class_of(bytes: usize) -> Option<usize> {
    if bytes > CLASS_BYTES_MAX {
        return None;
    }
    let blocks = bytes.div_ceil(BLOCK_BYTES).max(1).next_power_of_two();
    Some(blocks.ilog2() as usize)
}

fn class_bytes(class: usize) -> usize {
    BLOCK_BYTES << class
}

/// One aligned allocation, or a piece of a slab; a capacity of 0 is no allocation at all.
struct Memory {
    start: NonNull<u8>,
    capacity: usize,
    piece: Option<Piece>,
}

// SAFETY: Memory owns its allocation and has no thread affinity.
unsafe impl Send for Memory {}
// SAFETY: a shared Memory gives out its address only; reading and writing are governed by Buffer and Frozen.
unsafe impl Sync for Memory {}

impl Memory {
    fn zeroed(capacity: usize) -> Memory {
        let layout = Self::layout(capacity);
        // SAFETY: every class and every multiple of a block is at least one block, so the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Memory { start, capacity, piece: None },
            None => handle_alloc_error(layout),
        }
    }

    fn none() -> Memory {
        Memory { start: NonNull::dangling(), capacity: 0, piece: None }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, BLOCK_BYTES).expect("a capacity below isize::MAX")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.capacity > 0 && self.piece.is_none() {
            // SAFETY: it was allocated with this very layout, and this is its only owner.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
        }
    }
}

/// Exclusive, writable, aligned memory. Derefs to its first [`Buffer::len`] bytes.
pub struct Buffer {
    memory: Memory,
    len: usize,
    pool: Option<Pool>,
}

impl Buffer {
    /// A buffer without memory, to leave behind when another is moved out.
    pub fn empty() -> Buffer {
        Buffer { memory: Memory::none(), len: 0, pool: None }
    }

    /// Bytes in use, at most [`Buffer::capacity`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory, a multiple of [`BLOCK_BYTES`].
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Sets how many bytes are in use; bytes that come into use have arbitrary values. Panics beyond the capacity.
    pub fn set_len(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity(), "a buffer cannot be longer than its memory");
        self.len = bytes;
    }

    /// Where the memory starts.
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.memory.start.as_ptr()
    }

    /// Ends writing: the first [`Buffer::len`] bytes, shared.
    pub fn freeze(self) -> Frozen {
        let end = self.len;
        Frozen { whole: Arc::new(Whole(self)), start: 0, end }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.0.put(std::mem::replace(&mut self.memory, Memory::none()));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len <= capacity`, all of it was initialised by the allocation, and `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for deref, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len, self.capacity())
    }
}

struct Whole(Buffer);

// A pool is consistent after any panic: its only state is lists of idle memory behind mutexes.
impl RefUnwindSafe for Whole {}

/// A shared, read-only range of a buffer. Clones and slices share the memory.
#[derive(Clone)]
pub struct Frozen {
    whole: Arc<Whole>,
    start: usize,
    end: usize,
}

impl Frozen {
    /// A part of this range. Panics when it is not within.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Frozen {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.checked_add(1).expect("a start within the range"),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.checked_add(1).expect("an end within the range"),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.len(),
        };
        assert!(from <= to && to <= self.len(), "slice {from}..{to} of {} bytes", self.len());
        Frozen { whole: self.whole.clone(), start: self.start + from, end: self.start + to }
    }

    /// This range as an Arrow buffer without a copy; it keeps the whole memory alive.
    pub fn arrow(&self) -> arrow::buffer::Buffer {
        let bytes: &[u8] = self;
        let start = NonNull::new(bytes.as_ptr().cast_mut()).expect("slices do not start at null");
        // SAFETY: the range lies within the memory that `whole` keeps alive, and nobody writes to it while any clone of `whole` lives.
        unsafe { arrow::buffer::Buffer::from_custom_allocation(start, bytes.len(), self.whole.clone()) }
    }

    /// Bytes of memory that this range keeps alive.
    pub fn capacity(&self) -> usize {
        self.whole.0.capacity()
    }
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole.0[self.start..self.end]
    }
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen({}..{} of {} bytes)", self.start, self.end, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_two_up_to_the_largest_class_and_exact_beyond() {
        let pool = Pool::new(1 << 20);
        for (bytes, capacity) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (12_288, 16_384), (CLASS_BYTES_MAX, CLASS_BYTES_MAX)] {
            let buffer = pool.get(bytes);
            assert_eq!((buffer.len(), buffer.capacity()), (bytes, capacity));
            assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
        }
        assert_eq!(pool.get(CLASS_BYTES_MAX + 1).capacity(), CLASS_BYTES_MAX + BLOCK_BYTES);
    }

    #[test]
    fn memory_comes_back_and_the_limit_holds() {
        let pool = Pool::new(8192);
        let buffers: Vec<_> = (0..3).map(|_| pool.get(4096)).collect();
        assert!(buffers.iter().all(|buffer| buffer.iter().all(|byte| *byte == 0)));
        drop(buffers);
        assert_eq!(pool.held_bytes(), 8192, "the third went to the allocator");
        let again = pool.get(100);
        assert_eq!(pool.held_bytes(), 4096);
        drop(again);
        drop(pool.get(CLASS_BYTES_MAX + 1));
        assert_eq!(pool.held_bytes(), 8192, "large ones are not kept");
    }

    #[test]
    fn a_large_pool_cuts_slabs_and_gives_them_up_over_its_limit() {
        let pool = Pool::new(SLABS_LIMIT_BYTES_MIN);
        let first = pool.get(100_000);
        assert!(first.iter().all(|byte| *byte == 0));
        assert_eq!((first.capacity(), pool.held_bytes()), (128 << 10, SLAB_BYTES - (128 << 10)));
        drop(first);
        assert_eq!(pool.held_bytes(), SLAB_BYTES);
        let many: Vec<_> = (0..24).map(|_| pool.get(1 << 20)).collect();
        drop(many);
        assert!(pool.held_bytes() <= SLABS_LIMIT_BYTES_MIN, "{} bytes", pool.held_bytes());
        assert!(pool.held_bytes() > SLABS_LIMIT_BYTES_MIN - SLAB_BYTES);
    }

    #[test]
    fn the_last_holder_returns_the_memory() {
        let pool = Pool::new(1 << 20);
        let frozen = pool.copy_of(b"columnar").freeze();
        let (slice, arrow) = (frozen.slice(2..=4), frozen.slice(..3).arrow());
        assert_eq!((&slice[..], &arrow[..]), (&b"lum"[..], &b"col"[..]));
        drop((frozen, slice));
        assert_eq!(pool.held_bytes(), 0, "the Arrow buffer still holds it");
        assert_eq!(&arrow[..], b"col");
        drop(arrow);
        assert_eq!(pool.held_bytes(), 4096);
    }

    #[test]
    #[should_panic(expected = "slice 2..9 of 8 bytes")]
    fn a_slice_stays_within() {
        Pool::new(0).copy_of(b"columnar").freeze().slice(2..9);
    }

    #[test]
    fn threads_share_a_pool() {
        let pool = Pool::new(1 << 20);
        std::thread::scope(|scope| {
            for mark in 0..4u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..500 {
                        let mut buffer = pool.get(4096 << (round % 3));
                        buffer.fill(mark);
                        assert!(buffer.iter().all(|byte| *byte == mark), "nobody else writes to it");
                    }
                });
            }
        });
        assert!(pool.held_bytes() <= 1 << 20);
    }

    proptest! {
        #[test]
        fn slices_of_slices_are_slices_of_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..9000), cuts in any::<[prop::sample::Index; 4]>()) {
            let frozen = Pool::new(0).copy_of(&bytes).freeze();
            let within = |len: usize, a: &prop::sample::Index, b: &prop::sample::Index| {
                let (a, b) = (a.index(len + 1), b.index(len + 1));
                (a.min(b), a.max(b))
            };
            let (a, b) = within(bytes.len(), &cuts[0], &cuts[1]);
            let (c, d) = within(b - a, &cuts[2], &cuts[3]);
            let slice = frozen.slice(a..b).slice(c..d);
            prop_assert_eq!(&slice[..], &bytes[a..b][c..d]);
            let arrow = slice.arrow();
            prop_assert_eq!(arrow.as_slice(), &bytes[a..b][c..d]);
        }
    }
}
