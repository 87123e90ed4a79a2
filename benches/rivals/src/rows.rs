//! Rows of the tail: bytes that carry the time at which they were due.

use std::io;

/// Bytes of a row.
pub const ROW_BYTES: usize = 100;

/// A row that was due then.
pub fn row(due_ns: u64) -> Vec<u8> {
    let mut row = vec![b'r'; ROW_BYTES];
    row[..8].copy_from_slice(&due_ns.to_le_bytes());
    row
}

/// When a row was due.
pub fn due_ns(row: &[u8]) -> io::Result<u64> {
    let bytes = row.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    Ok(u64::from_le_bytes(*bytes))
}
