//! A row among several batches, in 32 bits: which batch (its slot), and which row of it.

/// Bits of the row's number.
const ROW_BITS: u32 = 16;

/// Rows that a slot may have.
pub const SLOT_ROWS_MAX: usize = 1 << ROW_BITS;

/// Slots that one merge may have; the last one stands for no row at all.
pub const SLOTS_MAX: usize = (1 << (32 - ROW_BITS)) - 1;

/// See the head of this module. They compare by slot, then by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(u32);

impl Ref {
    /// No row: a column takes null from it.
    pub const NONE: Ref = Ref(u32::MAX);

    /// A row of a slot.
    #[inline]
    pub fn new(slot: usize, row: usize) -> Ref {
        debug_assert!(slot < SLOTS_MAX && row < SLOT_ROWS_MAX);
        Ref((slot as u32) << ROW_BITS | row as u32)
    }

    /// The slot.
    #[inline]
    pub fn slot(self) -> usize {
        (self.0 >> ROW_BITS) as usize
    }

    /// The row.
    #[inline]
    pub fn row(self) -> usize {
        (self.0 & (SLOT_ROWS_MAX as u32 - 1)) as usize
    }

    /// As a number, for an index.
    #[inline]
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// From [`Ref::to_bits`].
    #[inline]
    pub fn from_bits(bits: u32) -> Ref {
        Ref(bits)
    }
}
