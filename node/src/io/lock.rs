//! The kernel's lock on a file that one process holds to write in a directory.
//!
//! Locks belong to the *opening* of a file (`F_OFD_SETLK`), not to the process: two openings exclude each other also within one
//! process, the lock goes when its holder dies, and closing an unrelated descriptor of the same file does not drop it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Tries to take the write lock on the whole file; whether it worked.
pub(crate) fn acquire(file: &impl AsFd) -> io::Result<bool> {
    let mut region = whole_file(libc::F_WRLCK);
    match control(file, libc::F_OFD_SETLK, &mut region) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back.
pub(crate) fn release(file: &impl AsFd) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, &mut whole_file(libc::F_UNLCK))
}

/// Whether another opening of the file holds the lock.
pub(crate) fn is_held_elsewhere(file: &impl AsFd) -> io::Result<bool> {
    let mut region = whole_file(libc::F_WRLCK);
    control(file, libc::F_OFD_GETLK, &mut region)?;
    Ok(region.l_type != libc::F_UNLCK as libc::c_short)
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 }
}

fn control(file: &impl AsFd, command: libc::c_int, region: &mut libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open for the length of the call and `region` is a valid flock that the kernel may write to.
        if unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, std::ptr::from_mut(region)) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
