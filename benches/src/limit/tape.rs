//! A file whose every block was written before, written round and round: the cheapest target of a durable write.

use crate::aligned::{Aligned, BLOCK_BYTES};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Length of the file: many times what is ever in flight.
const TAPE_BYTES: u64 = 512 << 20;

/// The file and where the next write goes.
pub struct Tape {
    file: File,
    path: PathBuf,
    next: AtomicU64,
    durable: bool,
}

impl Tape {
    /// Opens the tape of a directory with direct I/O, and writes its zeros when it is new. Without `durable`, writes are not synced.
    pub fn open(dir: &Path, durable: bool) -> io::Result<Tape> {
        let path = dir.join("tape");
        if !std::fs::metadata(&path).is_ok_and(|found| found.len() == TAPE_BYTES) {
            write_zeros(&path)?;
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(&path)?;
        Ok(Tape { file, path, next: AtomicU64::new(0), durable })
    }

    /// Its path, for whoever opens it in another way.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The flags of a write.
    pub fn flags(&self) -> i32 {
        if self.durable { libc::RWF_DSYNC } else { 0 }
    }

    /// The place of the next write of `bytes` bytes.
    pub fn claim(&self, bytes: usize) -> u64 {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES) as u64;
        let claimed = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(start(next, bytes) + bytes));
        start(claimed.expect("the closure always gives a place"), bytes)
    }

    /// Writes the pieces at the next place.
    pub fn write(&self, pieces: &[libc::iovec]) -> io::Result<()> {
        let bytes: usize = pieces.iter().map(|piece| piece.iov_len).sum();
        let offset = self.claim(bytes) as libc::off_t;
        // SAFETY: the pieces are alive for the call, as whoever handed them in promised.
        let written = unsafe { libc::pwritev2(self.descriptor(), pieces.as_ptr(), pieces.len() as i32, offset, self.flags()) };
        match usize::try_from(written) {
            Ok(written) if written == bytes => Ok(()),
            Ok(written) => Err(io::Error::other(format!("{written} of {bytes} bytes written"))),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// Where a write of `bytes` bytes starts when `next` is the first free place: there, or at the front when the end is too near.
fn start(next: u64, bytes: u64) -> u64 {
    if next + bytes > TAPE_BYTES { 0 } else { next }
}

fn write_zeros(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
    let zeros = Aligned::zeroed(1 << 20);
    for offset in (0..TAPE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()
}

#[test]
fn writes_start_again_at_the_front() {
    assert_eq!(start(0, 4096), 0);
    assert_eq!(start(TAPE_BYTES - 4096, 4096), TAPE_BYTES - 4096);
    assert_eq!(start(TAPE_BYTES - 4096, 8192), 0);
    assert_eq!(start(TAPE_BYTES, 4096), 0);
}
