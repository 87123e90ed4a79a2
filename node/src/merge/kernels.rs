//! The loops that copy values by reference: one for each width of values, one for bits, two passes for texts.
//!
//! They are most of what a flush, a merge or a scan costs, and a check of each place a row and a column would double them. Instead places are checked
//! once a call of many columns ([`Picks`]), and columns once a slot ([`Fixed`], [`Bits`], [`Texts`]): every row of a slot is a row of its column. Only then does
//! unchecked code read. Invariant: nothing is read outside of a column, and nothing written outside of what was handed in. Knows nothing of Arrow's types.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, GenericByteArray};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::ByteArrayType;

use super::reference::{Ref, SLOT_ROWS_MAX};
use crate::table::stored::ColumnRef;

/// References into some slots that were checked against the rows which each slot has.
#[derive(Clone, Copy)]
pub struct Picks<'a> {
    rows: &'a [Ref],
    /// Rows of each slot.
    lengths: &'a [u32],
    has_none: bool,
}

impl<'a> Picks<'a> {
    /// Checks `rows`: each is a row of a slot, or no row. Panics when one is not.
    pub fn new(rows: &'a [Ref], lengths: &'a [u32]) -> Self {
        let mut has_none = false;
        for row in rows {
            if *row == Ref::NONE {
                has_none = true;
            } else {
                assert!((row.row() as u32) < lengths[row.slot()], "row {} of slot {}", row.row(), row.slot());
            }
        }
        Picks { rows, lengths, has_none }
    }

    /// Checks other references into the same slots.
    pub fn others(&self, rows: &'a [Ref]) -> Picks<'a> {
        Picks::new(rows, self.lengths)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The references.
    pub fn rows(&self) -> &'a [Ref] {
        self.rows
    }

    /// Whether some refer to no row.
    pub fn has_none(&self) -> bool {
        self.has_none
    }

    /// Some of them. Panics when there are not so many.
    pub fn part(&self, start: usize, count: usize) -> Picks<'a> {
        Picks { rows: &self.rows[start..start + count], ..*self }
    }

    /// Sets a bit for each that refers to a row. Panics when `out` has not one bit for each.
    pub fn copy_presence(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.len().div_ceil(8), "a bit a row");
        for (byte, rows) in out.iter_mut().zip(self.rows.chunks(8)) {
            let bit = |(place, row): (usize, &Ref)| u8::from(*row != Ref::NONE) << place;
            *byte = rows.iter().enumerate().map(bit).fold(0, |byte, bit| byte | bit);
        }
    }

    fn fits(&self, rows: &[u32]) -> bool {
        // Without a way out of the loop it is a few instructions for all slots.
        let all_fit = rows.iter().zip(self.lengths).fold(true, |all_fit, (has, needs)| all_fit & (has >= needs));
        all_fit && rows.len() >= self.lengths.len()
    }
}

/// A column of values of one width: where it starts in each slot, and how many rows it has there.
pub struct Fixed<'a> {
    width: usize,
    starts: Vec<*const u8>,
    rows: Vec<u32>,
    lifetime: PhantomData<&'a [u8]>,
}

impl<'a> Fixed<'a> {
    /// Of values of `width` bytes: those of each slot, one behind the other. A width without a loop of its own is refused with `None`.
    pub fn new(width: usize, slots: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        if !matches!(width, 1 | 2 | 4 | 8 | 16) {
            return None;
        }
        let (starts, rows) = slots.map(|values| (values.as_ptr(), (values.len() / width) as u32)).unzip();
        Some(Fixed { width, starts, rows, lifetime: PhantomData })
    }

    /// Bytes of a value.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Copies the values of `picks` into `out`, zeros for no row. Panics when `out` is not as long as they are, or slots have fewer rows than `picks` was
    /// checked against.
    pub fn copy(&self, picks: Picks<'_>, out: &mut [u8]) {
        assert!(out.len() == picks.len() * self.width && picks.fits(&self.rows), "{} bytes for {} values", out.len(), picks.len());
        // SAFETY: `out` has room for each value, and `picks` refers to rows that the slots have, or to none.
        unsafe { self.copy_to(picks, out.as_mut_ptr()) };
    }

    /// The values of `picks` as a buffer of their own. Panics as [`Fixed::copy`] does.
    pub fn buffer(&self, picks: Picks<'_>) -> Buffer {
        assert!(picks.fits(&self.rows), "slots have fewer rows than was checked");
        let bytes = picks.len() * self.width;
        let mut buffer = MutableBuffer::with_capacity(bytes);
        // SAFETY: the buffer has room for each value, as for `copy`, and `copy_to` writes all of them.
        unsafe {
            self.copy_to(picks, buffer.as_mut_ptr());
            buffer.set_len(bytes);
        }
        buffer.into()
    }

    /// # Safety
    /// `out` has room for all of `picks`, and these refer to rows of the slots, or to none.
    unsafe fn copy_to(&self, picks: Picks<'_>, out: *mut u8) {
        // SAFETY: as the caller says; there are no other widths.
        unsafe {
            match self.width {
                1 => self.copy_as::<u8>(picks, out),
                2 => self.copy_as::<u16>(picks, out),
                4 => self.copy_as::<u32>(picks, out),
                8 => self.copy_as::<u64>(picks, out),
                _ => self.copy_as::<u128>(picks, out),
            }
        }
    }

    /// # Safety
    /// `T` is as wide as the values; else as for [`Fixed::copy_to`].
    unsafe fn copy_as<T: Copy + Default>(&self, picks: Picks<'_>, out: *mut u8) {
        let out = out.cast::<T>();
        // SAFETY: as the caller says; slots and rows are within what they refer to.
        let value = |row: Ref| unsafe { self.starts.get_unchecked(row.slot()).cast::<T>().add(row.row()).read_unaligned() };
        for (index, row) in picks.rows.iter().enumerate() {
            let value = if picks.has_none && *row == Ref::NONE { T::default() } else { value(*row) };
            // SAFETY: `out` has room for as many values as there are rows.
            unsafe { out.add(index).write_unaligned(value) };
        }
    }
}

/// What stands for the bits of a slot in which all are set.
static ONES: [u8; SLOT_ROWS_MAX / 8] = [0xFF; SLOT_ROWS_MAX / 8];

/// A column of bits: where they start in each slot, and how many there are.
pub struct Bits<'a> {
    starts: Vec<(*const u8, usize)>,
    rows: Vec<u32>,
    lifetime: PhantomData<&'a [u8]>,
}

impl<'a> Bits<'a> {
    /// For each slot its bytes, the number of its first bit in them, and how many bits it has; `None` when so many bits are all set.
    pub fn new(slots: impl Iterator<Item = (Option<(&'a [u8], usize)>, usize)>) -> Self {
        let (mut starts, mut rows) = (Vec::new(), Vec::new());
        for (bits, count) in slots {
            let (bytes, first) = bits.unwrap_or((&ONES, 0));
            assert!((first + count).div_ceil(8) <= bytes.len(), "{count} bits from {first} on in {} bytes", bytes.len());
            starts.push((bytes.as_ptr(), first));
            rows.push(count as u32);
        }
        Bits { starts, rows, lifetime: PhantomData }
    }

    /// Copies the bits of `picks` into `out`, zero for no row and behind the last; how many are set. Panics as [`Fixed::copy`] does.
    pub fn copy(&self, picks: Picks<'_>, out: &mut [u8]) -> usize {
        assert!(out.len() == picks.len().div_ceil(8) && picks.fits(&self.rows), "{} bytes for {} bits", out.len(), picks.len());
        let mut count = 0;
        for (byte, rows) in out.iter_mut().zip(picks.rows.chunks(8)) {
            *byte = 0;
            for (place, row) in rows.iter().enumerate() {
                if picks.has_none && *row == Ref::NONE {
                    continue;
                }
                // SAFETY: the row is one of the slot's, as `fits` says, and each slot has bytes for all of its rows.
                let bit = unsafe {
                    let (start, first) = *self.starts.get_unchecked(row.slot());
                    let at = first + row.row();
                    *start.add(at / 8) >> (at % 8) & 1
                };
                *byte |= bit << place;
            }
            count += byte.count_ones() as usize;
        }
        count
    }
}

/// Bytes of a text that are copied at once.
const STEP_BYTES: usize = 16;

/// How many rows ahead the places of texts are asked for, and texts themselves.
const AHEAD: (usize, usize) = (32, 16);

/// A column of texts, or of bytes.
pub struct Texts<'a, T: ByteArrayType<Offset = i32>> {
    slots: Vec<TextSlot>,
    rows: Vec<u32>,
    arrays: PhantomData<&'a GenericByteArray<T>>,
}

#[derive(Clone, Copy)]
struct TextSlot {
    /// One more than there are rows.
    offsets: *const [u8; 4],
    bytes: *const u8,
    /// How many bytes there are.
    end: usize,
}

impl<'a, T: ByteArrayType<Offset = i32>> Texts<'a, T> {
    /// Of the texts of each slot, which were checked to be such. Panics for a column of another type.
    pub fn new(slots: impl Iterator<Item = ColumnRef<'a>>) -> Self {
        let slot = |column: ColumnRef<'a>| {
            assert_eq!(*column.data_type(), T::DATA_TYPE, "columns of one type are gathered");
            let (offsets, bytes) = column.texts();
            let slot = TextSlot { offsets: offsets.as_ptr(), bytes: bytes.as_ptr(), end: bytes.len() };
            (slot, (offsets.len() - 1) as u32)
        };
        let (slots, rows) = slots.map(slot).unzip();
        Texts { slots, rows, arrays: PhantomData }
    }

    /// The texts of `picks` as an array; `None` when they are too long for one. Panics as [`Fixed::copy`] does.
    pub fn array(&self, picks: Picks<'_>, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
        let bytes = (picks.len() + 1) * size_of::<i32>();
        let mut offsets = MutableBuffer::from_len_zeroed(bytes);
        let end = self.copy_offsets(picks, &mut offsets);
        i32::try_from(end).ok()?;
        let mut texts = MutableBuffer::with_capacity(end);
        // SAFETY: there is room for `end` bytes, and the second pass writes as many.
        unsafe {
            self.copy_to(picks, texts.as_mut_ptr(), end);
            texts.set_len(end);
        }
        assert!(nulls.as_ref().is_none_or(|nulls| nulls.len() == picks.len()), "one validity a text");
        // SAFETY: offsets ascend from zero to the number of bytes, and whole values of arrays of this type are values of it.
        Some(unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::new(offsets.into(), 0, picks.len() + 1));
            Arc::new(GenericByteArray::<T>::new_unchecked(offsets, texts.into(), nulls))
        })
    }

    /// Where a text is: start and end in its slot's bytes.
    ///
    /// # Safety
    /// The row is one of the slot's.
    #[inline(always)]
    unsafe fn span(&self, row: Ref) -> (TextSlot, usize, usize) {
        // SAFETY: as the caller says; a slot has one offset more than rows.
        unsafe {
            let slot = *self.slots.get_unchecked(row.slot());
            let at = slot.offsets.add(row.row());
            (slot, u32::from_le_bytes(*at) as usize, u32::from_le_bytes(*at.add(1)) as usize)
        }
    }

    /// The first pass: writes where each text begins in the result, and at last where they end, as 32-bit numbers; gives that end, which may be too large for
    /// one. Panics as [`Fixed::copy`] does.
    pub fn copy_offsets(&self, picks: Picks<'_>, out: &mut [u8]) -> usize {
        let out = out.as_chunks_mut::<4>().0;
        assert!(out.len() == picks.len() + 1 && picks.fits(&self.rows), "{} offsets for {} texts", out.len(), picks.len());
        let mut end = 0_usize;
        out[0] = [0; 4];
        for (out, row) in out[1..].iter_mut().zip(picks.rows) {
            if !picks.has_none || *row != Ref::NONE {
                // SAFETY: the row is one of the slot's, as `fits` says.
                let (_, from, to) = unsafe { self.span(*row) };
                end += to - from;
            }
            *out = (end as u32).to_le_bytes();
        }
        end
    }

    /// The second pass: the texts one behind the other. Panics as [`Fixed::copy`] does.
    pub fn copy(&self, picks: Picks<'_>, out: &mut [u8]) {
        assert!(picks.fits(&self.rows), "slots have fewer rows than was checked");
        // SAFETY: it has room for its own length, and `picks` refers to rows that the slots have, or to none.
        unsafe { self.copy_to(picks, out.as_mut_ptr(), out.len()) };
    }

    /// Writes exactly `room` bytes, or panics.
    ///
    /// # Safety
    /// `out` has this room, and `picks` refers to rows of the slots, or to none.
    unsafe fn copy_to(&self, picks: Picks<'_>, out: *mut u8, room: usize) {
        let mut at = 0;
        for (index, row) in picks.rows.iter().enumerate() {
            self.ask_ahead(picks, index);
            if picks.has_none && *row == Ref::NONE {
                continue;
            }
            // SAFETY: the row is one of the slot's, as the caller says.
            let (slot, from, to) = unsafe { self.span(*row) };
            let length = to - from;
            let steps = length.next_multiple_of(STEP_BYTES);
            if from + steps <= slot.end && at + steps <= room {
                // SAFETY: both reach as far as the steps do; what is written too much is written over by the next text.
                unsafe { copy_steps(slot.bytes.add(from), out.add(at), steps) };
            } else {
                assert!(at + length <= room, "texts are as long as the first pass said");
                // SAFETY: offsets stay within the bytes of their slot, and `out` has the room.
                unsafe { std::ptr::copy_nonoverlapping(slot.bytes.add(from), out.add(at), length) };
            }
            at += length;
        }
        assert_eq!(at, room, "texts are as long as the first pass said");
    }

    /// Texts lie anywhere: asks for those that come, so that they are near when their turn comes.
    #[inline(always)]
    fn ask_ahead(&self, picks: Picks<'_>, index: usize) {
        let (places, texts) = AHEAD;
        let Some(row) = picks.rows.get(index + places).filter(|row| **row != Ref::NONE) else { return };
        // SAFETY: the row is one of the slot's.
        unsafe { ask(self.slots.get_unchecked(row.slot()).offsets.add(row.row()).cast()) };
        let row = picks.rows[index + texts];
        if row != Ref::NONE {
            // SAFETY: as above; the text is within the bytes of its slot.
            unsafe {
                let (slot, from, to) = self.span(row);
                ask(slot.bytes.add(from));
                ask(slot.bytes.add(to));
            }
        }
    }
}

/// Copies whole steps.
///
/// # Safety
/// Both are valid for so many bytes, a multiple of [`STEP_BYTES`], and do not overlap.
#[inline(always)]
unsafe fn copy_steps(from: *const u8, to: *mut u8, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        // SAFETY: `at` is a whole step before the end.
        unsafe { to.add(at).cast::<u128>().write_unaligned(from.add(at).cast::<u128>().read_unaligned()) };
        at += STEP_BYTES;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: it is a hint, of any address, and every x86-64 knows it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn ask(_: *const u8) {}
