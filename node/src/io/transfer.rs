//! What every driver does alike: which operations are refused, and how one that moved fewer bytes than asked goes on.
//!
//! Invariant: a write ends whole or with an error; a read ends at its length, at the end of the file, or with an error.
//! This module makes no system call.

use super::{BLOCK_BYTES, Buffer, File, Frozen, Operation, PIECES_MAX};
use std::io;
use std::ops::Range;

/// How often a call may be interrupted, or may move nothing, before that is an error.
const RETRIES_MAX: u32 = 1000;

/// Refuses what `O_DIRECT` refuses, on every driver and file system, so that a misaligned operation fails everywhere.
pub(crate) fn check_write(file: &File, pieces: &[Frozen], offset: u64) -> io::Result<()> {
    if pieces.len() > PIECES_MAX {
        return Err(invalid(format!("{} pieces in one write, at most {PIECES_MAX}", pieces.len())));
    }
    let bytes = pieces.iter().map(|piece| piece.len()).try_fold(0usize, usize::checked_add);
    check_end(bytes, offset)?;
    if file.is_aligned() {
        check_block("offset", offset)?;
        for piece in pieces {
            check_block("length of a piece", piece.len() as u64)?;
            check_block("address of a piece", piece.as_ptr().addr() as u64)?;
        }
    }
    Ok(())
}

/// As [`check_write`], and the bytes must fit in the buffer.
pub(crate) fn check_read(file: &File, buffer: &Buffer, len: usize, offset: u64) -> io::Result<()> {
    if len > buffer.capacity() {
        return Err(invalid(format!("a read of {len} bytes into a buffer of {}", buffer.capacity())));
    }
    check_end(Some(len), offset)?;
    if file.is_aligned() {
        check_block("offset", offset)?;
        check_block("length", len as u64)?;
    }
    Ok(())
}

/// Refuses a misfit operation.
pub(crate) fn check(operation: &Operation) -> io::Result<()> {
    match operation {
        Operation::Read { file, buffer, len, offset } => check_read(file, buffer, *len, *offset),
        Operation::Write { file, pieces, offset, .. } => check_write(file, pieces, *offset),
    }
}

/// Bytes of all pieces.
pub(crate) fn total(pieces: &[Frozen]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// The parts of the pieces within `window`, counted from the start of the first. Empty ones are left out.
pub(crate) fn cut(pieces: &[Frozen], window: Range<usize>) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    pieces.iter().filter_map(move |piece| {
        let from = window.start.clamp(start, start + piece.len()) - start;
        let to = window.end.clamp(start, start + piece.len()) - start;
        start += piece.len();
        (from < to).then(|| &piece[from..to])
    })
}

fn check_end(bytes: Option<usize>, offset: u64) -> io::Result<()> {
    match bytes.and_then(|bytes| offset.checked_add(bytes as u64)) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(invalid(format!("an end beyond {} bytes", i64::MAX))),
    }
}

fn check_block(what: &str, value: u64) -> io::Result<()> {
    match value % BLOCK_BYTES as u64 {
        0 => Ok(()),
        _ => Err(invalid(format!("direct I/O with {what} {value}, not a multiple of {BLOCK_BYTES}"))),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// How far an operation has come.
#[derive(Debug)]
pub(crate) struct Transfer {
    len: usize,
    done: usize,
    direct: bool,
    retries: u32,
}

impl Transfer {
    /// Nothing of `len` bytes moved yet. With `direct` it can only go on from the start of a block.
    pub(crate) fn new(len: usize, direct: bool) -> Transfer {
        Transfer { len, done: 0, direct, retries: 0 }
    }

    /// The bytes to ask for next, at most `bytes_max` of them.
    pub(crate) fn window(&self, bytes_max: usize) -> Range<usize> {
        self.done..self.len.min(self.done.saturating_add(bytes_max))
    }

    /// Takes what the last call wrote; gives the outcome when this was the last.
    pub(crate) fn wrote(&mut self, result: io::Result<usize>) -> Option<io::Result<usize>> {
        let before = self.done;
        match result {
            Ok(moved) => self.done += moved,
            Err(error) if is_passing(&error) && self.may_retry() => return None,
            Err(error) => return Some(Err(error)),
        }
        if self.done >= self.len {
            return Some(Ok(self.len));
        }
        self.step_back();
        if self.done == before && !self.may_retry() {
            return Some(Err(io::ErrorKind::WriteZero.into()));
        }
        None
    }

    /// Takes what the last call read at `offset` plus what was done; `file_bytes` tells the length of the file.
    pub(crate) fn read(
        &mut self,
        result: io::Result<usize>,
        offset: u64,
        file_bytes: impl FnOnce() -> io::Result<u64>,
    ) -> Option<io::Result<usize>> {
        match result {
            Ok(0) => return Some(Ok(self.done)),
            Ok(moved) => self.done += moved,
            Err(error) if is_passing(&error) && self.may_retry() => return None,
            Err(error) => return Some(Err(error)),
        }
        if self.done >= self.len {
            return Some(Ok(self.len));
        }
        if self.direct && !self.done.is_multiple_of(BLOCK_BYTES) {
            match file_bytes() {
                Ok(bytes) if offset + self.done as u64 >= bytes || !self.may_retry() => return Some(Ok(self.done)),
                Ok(_) => self.step_back(),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn step_back(&mut self) {
        if self.direct {
            self.done -= self.done % BLOCK_BYTES;
        }
    }

    fn may_retry(&mut self) -> bool {
        self.retries += 1;
        self.retries <= RETRIES_MAX
    }
}

/// Whether nothing happened and the same call may be made again. The kernel cancels what a ring has not begun when the thread that
/// submitted it ends.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_direct_write_goes_on_from_a_block() {
        let mut transfer = Transfer::new(12_288, true);
        assert!(transfer.wrote(Ok(4096 + 512)).is_none());
        assert_eq!(transfer.window(usize::MAX), 4096..12_288);
        assert_eq!(transfer.window(4096), 4096..8192);
        assert_eq!(transfer.wrote(Ok(8192)).unwrap().unwrap(), 12_288);
    }

    #[test]
    fn a_write_that_never_moves_ends() {
        let mut transfer = Transfer::new(4096, true);
        let end = (0..=RETRIES_MAX + 1).find_map(|_| transfer.wrote(Ok(512)));
        assert_eq!(end.unwrap().unwrap_err().kind(), io::ErrorKind::WriteZero);
        let mut transfer = Transfer::new(4096, false);
        let end = (0..=RETRIES_MAX + 1).find_map(|_| transfer.wrote(Err(io::Error::from_raw_os_error(libc::EINTR))));
        assert_eq!(end.unwrap().unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn errors_of_the_device_are_reported_at_once() {
        let mut transfer = Transfer::new(4096, true);
        assert!(transfer.wrote(Err(io::Error::from_raw_os_error(libc::EIO))).unwrap().is_err());
        assert!(Transfer::new(4096, true).wrote(Err(io::Error::from_raw_os_error(libc::ECANCELED))).is_none());
    }

    #[test]
    fn a_direct_read_ends_at_an_odd_end_of_the_file_and_nowhere_else() {
        let mut transfer = Transfer::new(16_384, true);
        assert!(transfer.read(Ok(5000), 4096, || Ok(20_000)).is_none(), "the file goes on");
        assert_eq!(transfer.window(usize::MAX), 4096..16_384);
        assert_eq!(transfer.read(Ok(904), 4096, || Ok(9096)).unwrap().unwrap(), 5000);
    }

    #[test]
    fn windows_cut_pieces() {
        let pool = super::super::Pool::new(0);
        let pieces: Vec<_> = [&b"abc"[..], b"", b"defg", b"h"].map(|bytes| pool.copy_of(bytes).freeze()).into();
        let cut = |window| cut(&pieces, window).map(|part| std::str::from_utf8(part).unwrap()).collect::<Vec<_>>();
        assert_eq!(cut(0..8), ["abc", "defg", "h"]);
        assert_eq!(cut(2..5), ["c", "de"]);
        assert_eq!(cut(7..8), ["h"]);
        assert_eq!(cut(3..3), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_cut_of_calls_moves_every_byte_once(len in 1usize..100_000, cuts in proptest::collection::vec(1usize..20_000, 1..40)) {
            let mut transfer = Transfer::new(len, false);
            let mut expected = 0;
            for cut in cuts.iter().cycle() {
                let window = transfer.window(usize::MAX);
                prop_assert_eq!(window.start, expected);
                let moved = window.len().min(*cut);
                expected += moved;
                if let Some(end) = transfer.wrote(Ok(moved)) {
                    prop_assert_eq!(end.unwrap(), len);
                    prop_assert_eq!(expected, len);
                    break;
                }
            }
        }
    }
}
