//! A piece of a segment in memory, moved along it frame by frame.
//!
//! Invariant: the bytes of the frame found last are in the window. This module judges nothing beyond `frame::parse`.

use crate::format::frame::{self, Frame, Parsed};
use crate::io::{BLOCK_BYTES, Buffer, Driver, File, Pool};

/// Most bytes of one read, unless a frame is longer.
pub const READ_BYTES: usize = 256 << 10;

/// Bytes of the first read: whoever follows a log wants its newest frame only. Each later one has [`GROWTH`] times as many.
const FIRST_READ_BYTES: usize = 16 << 10;

/// See [`FIRST_READ_BYTES`].
const GROWTH: usize = 4;

/// What stands at a position.
#[derive(Debug)]
pub enum Found {
    /// A frame, all of its bytes in the window.
    Frame(Frame),
    /// A frame that a newer program wrote, with its version.
    Newer(u16),
    /// No frame; why.
    End(Parsed),
}

/// See the head of this module.
pub struct Window<'a> {
    driver: &'a dyn Driver,
    file: &'a File,
    pool: &'a Pool,
    buffer: Buffer,
    position: u64,
    filled: usize,
    next_bytes: usize,
}

impl<'a> Window<'a> {
    /// An empty window.
    pub fn new(driver: &'a dyn Driver, file: &'a File, pool: &'a Pool) -> Self {
        Window { driver, file, pool, buffer: pool.get(FIRST_READ_BYTES), position: 0, filled: 0, next_bytes: FIRST_READ_BYTES }
    }

    /// The frame at `position`, when it has the id and at least the epoch.
    pub fn frame(&mut self, position: u64, segment_id: u64, epoch_min: u32) -> std::io::Result<Found> {
        let mut needed = BLOCK_BYTES;
        loop {
            if !self.fill(position, needed)? {
                return Ok(Found::End(Parsed::Torn("the file ends within the frame")));
            }
            match frame::parse(self.bytes(position, needed), segment_id, epoch_min) {
                Parsed::Short { needed: more } if more > needed => needed = more.next_multiple_of(BLOCK_BYTES),
                Parsed::Frame(frame) if frame.length > needed => needed = frame.length,
                Parsed::Frame(frame) => return Ok(Found::Frame(frame)),
                Parsed::Newer(version) => return Ok(Found::Newer(version)),
                end => return Ok(Found::End(end)),
            }
        }
    }

    /// Bytes that were found; `[position, position + len)` lies in the window.
    pub fn bytes(&self, position: u64, len: usize) -> &[u8] {
        let start = (position - self.position) as usize;
        &self.buffer[start..start + len]
    }

    /// Makes `[position, position + len)` part of the window; `false` when the file ends before.
    fn fill(&mut self, position: u64, len: usize) -> std::io::Result<bool> {
        if position >= self.position && position + len as u64 <= self.position + self.filled as u64 {
            return Ok(true);
        }
        let wanted = len.max(self.next_bytes);
        self.next_bytes = (self.next_bytes * GROWTH).min(READ_BYTES);
        if self.buffer.capacity() < wanted {
            self.buffer = self.pool.get(wanted);
        }
        self.position = position;
        self.filled = self.driver.read_at(self.file, &mut self.buffer, wanted, position)?;
        Ok(self.filled >= len)
    }
}
