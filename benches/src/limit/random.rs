//! Random reads of a block each with direct I/O, up to 16 in flight: the limit of lookups of what is on the device.

use super::reads::DEPTH;
use crate::aligned::{Aligned, BLOCK_BYTES};
use crate::keyed::keys::mix;
use io_uring::{IoUring, opcode, types};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a write before the clock starts.
const WRITE_BYTES: usize = 4 << 20;

/// A file and the memory to read it to.
pub struct RandomReads {
    file: File,
    blocks: u64,
    ring: IoUring,
    buffers: Vec<Aligned>,
}

impl RandomReads {
    /// A new file of at least `bytes` bytes.
    pub fn make(path: &Path, bytes: u64) -> io::Result<RandomReads> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
        let content = Aligned::random(WRITE_BYTES, 1);
        let writes = bytes.div_ceil(WRITE_BYTES as u64).max(1);
        for write in 0..writes {
            file.write_all_at(&content, write * WRITE_BYTES as u64)?;
        }
        file.sync_all()?;
        let ring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(DEPTH as u32);
        let ring = ring.map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        let buffers = (0..DEPTH).map(|_| Aligned::zeroed(BLOCK_BYTES)).collect();
        Ok(RandomReads { file, blocks: writes * (WRITE_BYTES / BLOCK_BYTES) as u64, ring, buffers })
    }

    /// Reads so many blocks, chosen by a seed.
    pub fn read(&mut self, count: usize, seed: u64) -> io::Result<()> {
        let offset = |read: usize| mix(seed ^ read as u64) % self.blocks * BLOCK_BYTES as u64;
        if count == 1 {
            return self.file.read_exact_at(&mut self.buffers[0], offset(0));
        }
        let mut free: Vec<usize> = (0..DEPTH).collect();
        let mut next = 0;
        while next < count || free.len() < DEPTH {
            while next < count
                && let Some(slot) = free.pop()
            {
                let memory = self.buffers[slot].as_mut_ptr();
                let read = opcode::Read::new(types::Fd(self.file.as_raw_fd()), memory, BLOCK_BYTES as u32).offset(offset(next)).build();
                // SAFETY: a buffer belongs to its slot, which is free again only after the completion; `drop` of the ring ends what is left.
                unsafe { self.ring.submission().push(&read.user_data(slot as u64)).expect("as many entries as slots") };
                next += 1;
            }
            self.ring.submit_and_wait(1)?;
            for entry in self.ring.completion() {
                match entry.result() {
                    bytes if bytes == BLOCK_BYTES as i32 => free.push(entry.user_data() as usize),
                    bytes if bytes >= 0 => return Err(io::Error::other(format!("{bytes} of {BLOCK_BYTES} bytes read"))),
                    error => return Err(io::Error::from_raw_os_error(-error)),
                }
            }
        }
        Ok(())
    }
}
