//! Files of rows in the order of their keys, written and read with direct I/O, a few MiB at a time.
//!
//! A row is its length (two bytes) and its bytes; behind the last row the file is zeros, and no row is empty. Knows nothing of keys.

use crate::aligned::{Aligned, BLOCK_BYTES};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a write.
const WRITE_BYTES: usize = 4 << 20;

/// Bytes of a read.
const READ_BYTES: usize = 1 << 20;

/// Bytes of the length before a row.
const LENGTH_BYTES: usize = 2;

/// Writes rows behind each other.
pub struct Sink {
    file: File,
    buffer: Aligned,
    filled: usize,
    offset: u64,
}

impl Sink {
    /// A new file.
    pub fn create(path: &Path) -> io::Result<Sink> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
        Ok(Sink { file, buffer: Aligned::zeroed(WRITE_BYTES), filled: 0, offset: 0 })
    }

    /// Adds a row, which is not empty.
    pub fn push(&mut self, row: &[u8]) -> io::Result<()> {
        let length = u16::try_from(row.len()).expect("rows are short").to_le_bytes();
        if self.filled + LENGTH_BYTES + row.len() <= self.buffer.len() {
            let place = &mut self.buffer[self.filled..self.filled + LENGTH_BYTES + row.len()];
            place[..LENGTH_BYTES].copy_from_slice(&length);
            place[LENGTH_BYTES..].copy_from_slice(row);
            self.filled += place.len();
            return Ok(());
        }
        self.write(&length)?;
        self.write(row)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let fits = bytes.len().min(self.buffer.len() - self.filled);
            self.buffer[self.filled..self.filled + fits].copy_from_slice(&bytes[..fits]);
            self.filled += fits;
            bytes = &bytes[fits..];
            if self.filled == self.buffer.len() {
                self.file.write_all_at(&self.buffer, self.offset)?;
                self.offset += self.filled as u64;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left; all rows are on the device then.
    pub fn finish(mut self) -> io::Result<()> {
        let end = self.filled.next_multiple_of(BLOCK_BYTES);
        self.buffer[self.filled..end].fill(0);
        self.file.write_all_at(&self.buffer[..end], self.offset)?;
        self.file.sync_data()
    }
}

/// Reads rows one behind the other.
pub struct Reader {
    file: File,
    offset: u64,
    /// A block for what is left of the read before, and the newest read behind it.
    buffer: Aligned,
    at: usize,
    end: usize,
}

impl Reader {
    /// Opens a file at its first row.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
        let buffer = Aligned::zeroed(BLOCK_BYTES + READ_BYTES);
        let mut reader = Reader { file, offset: 0, buffer, at: BLOCK_BYTES, end: BLOCK_BYTES };
        reader.fill()?;
        Ok(reader)
    }

    /// The row that it stands at; `None` behind the last.
    pub fn row(&self) -> Option<&[u8]> {
        let bytes = self.length();
        (bytes > 0).then(|| &self.buffer[self.at + LENGTH_BYTES..self.at + LENGTH_BYTES + bytes])
    }

    /// Goes to the next row.
    pub fn advance(&mut self) -> io::Result<()> {
        self.at += LENGTH_BYTES + self.length();
        let is_whole = self.at + LENGTH_BYTES <= self.end && self.at + LENGTH_BYTES + self.length() <= self.end;
        if is_whole { Ok(()) } else { self.fill() }
    }

    fn length(&self) -> usize {
        match self.buffer[self.at..self.end] {
            [low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        }
    }

    /// Reads on behind what is left.
    fn fill(&mut self) -> io::Result<()> {
        let left = self.end - self.at;
        assert!(left <= BLOCK_BYTES, "a row is shorter than a block");
        self.buffer.copy_within(self.at..self.end, BLOCK_BYTES - left);
        self.at = BLOCK_BYTES - left;
        let read = self.file.read_at(&mut self.buffer[BLOCK_BYTES..], self.offset)?;
        self.offset += read as u64;
        self.end = BLOCK_BYTES + read;
        Ok(())
    }
}

#[test]
fn rows_come_back_as_they_were() {
    let path = std::env::temp_dir().join(format!("bench-runs-{}", std::process::id()));
    let rows: Vec<Vec<u8>> = (0..70_000_usize).map(|row| vec![row as u8; 1 + row % 150]).collect();
    for count in [0, 1, 37, 13_000, rows.len()] {
        let Ok(mut sink) = Sink::create(&path) else { return eprintln!("not tested: no direct I/O") };
        rows[..count].iter().for_each(|row| sink.push(row).unwrap());
        sink.finish().unwrap();
        let mut reader = Reader::open(&path).unwrap();
        for row in &rows[..count] {
            assert_eq!(reader.row(), Some(&row[..]));
            reader.advance().unwrap();
        }
        assert_eq!(reader.row(), None);
    }
    std::fs::remove_file(&path).unwrap();
}
