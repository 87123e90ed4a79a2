//! Reading given ranges of files with direct I/O, so many in flight, in order: the limit of a scan that needs just those bytes.

use crate::aligned::Aligned;
use io_uring::{IoUring, opcode, types};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Reads in flight.
pub const DEPTH: usize = 16;

/// Files, what is read of them, and the memory to read it to.
pub struct Reads {
    ring: IoUring,
    files: Vec<File>,
    /// File, offset, length.
    ranges: Vec<(usize, u64, usize)>,
    buffers: Vec<Aligned>,
}

impl Reads {
    /// Opens the files; ranges start and end at multiples of a block, and those of a file stand together.
    pub fn open(reads: &[(PathBuf, Range<u64>)]) -> io::Result<Reads> {
        let mut files = Vec::new();
        let mut ranges = Vec::with_capacity(reads.len());
        for (index, (path, range)) in reads.iter().enumerate() {
            if index == 0 || reads[index - 1].0 != *path {
                files.push(OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?);
            }
            ranges.push((files.len() - 1, range.start, (range.end - range.start) as usize));
        }
        let longest = ranges.iter().map(|(_, _, bytes)| *bytes).max().unwrap_or(0);
        let buffers = (0..DEPTH).map(|_| Aligned::zeroed(longest)).collect();
        let ring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(DEPTH as u32);
        let ring = ring.map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        Ok(Reads { ring, files, ranges, buffers })
    }

    /// Bytes of all ranges.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, _, bytes)| *bytes as u64).sum()
    }

    /// Reads everything once.
    pub fn run(&mut self) -> io::Result<()> {
        let mut free: Vec<usize> = (0..DEPTH).collect();
        let mut next = 0;
        let mut expected = [0; DEPTH];
        while next < self.ranges.len() || free.len() < DEPTH {
            while next < self.ranges.len()
                && let Some(slot) = free.pop()
            {
                let (file, offset, bytes) = self.ranges[next];
                let memory = self.buffers[slot].as_mut_ptr();
                let read = opcode::Read::new(types::Fd(self.files[file].as_raw_fd()), memory, bytes as u32).offset(offset).build();
                // SAFETY: a buffer belongs to its slot, which is free again only after the completion; `drop` of the ring ends what is left.
                unsafe { self.ring.submission().push(&read.user_data(slot as u64)).expect("as many entries as slots") };
                expected[slot] = bytes;
                next += 1;
            }
            self.ring.submit_and_wait(1)?;
            for entry in self.ring.completion() {
                let slot = entry.user_data() as usize;
                match usize::try_from(entry.result()) {
                    Ok(bytes) if bytes == expected[slot] => free.push(slot),
                    Ok(bytes) => return Err(io::Error::other(format!("{bytes} of {} bytes read", expected[slot]))),
                    Err(_) => return Err(io::Error::from_raw_os_error(-entry.result())),
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a read of a file that is made for it.
const READ_BYTES: usize = 256 << 10;

/// Makes a file of at least `bytes` bytes, and the reads of all of it.
pub fn of_bytes(path: &Path, bytes: u64) -> io::Result<Reads> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
    let content = Aligned::random(READ_BYTES, 1);
    let reads = bytes.div_ceil(READ_BYTES as u64).max(1);
    let range = |read: u64| read * READ_BYTES as u64..(read + 1) * READ_BYTES as u64;
    for read in 0..reads {
        file.write_all_at(&content, range(read).start)?;
    }
    file.sync_all()?;
    Reads::open(&(0..reads).map(|read| (path.to_path_buf(), range(read))).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_two_files_are_read() {
        let dir = std::env::temp_dir().join(format!("bench-reads-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let paths = [dir.join("a"), dir.join("b")];
        paths.iter().for_each(|path| std::fs::write(path, vec![7; 1 << 16]).unwrap());
        let ranges: Vec<_> = (0..40).map(|index| (paths[index / 20].clone(), 0..4096 * (1 + index as u64 % 16))).collect();
        match Reads::open(&ranges) {
            Ok(mut reads) => {
                assert_eq!(reads.bytes(), ranges.iter().map(|(_, range)| range.end).sum::<u64>());
                reads.run().unwrap();
                assert!(reads.buffers.iter().all(|buffer| buffer[..4096].iter().all(|byte| *byte == 7)));
            }
            // No ring, or no direct I/O, on this machine.
            Err(error) => eprintln!("not tested: {error}"),
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
