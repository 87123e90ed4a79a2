//! A large file that has lost its name, whose blocks go back to the device a few at a time.
//!
//! A file system that tells its device of free blocks (`discard`) stops all writes while it does: on the machine of the benches 100 MiB freed at once held durable
//! appends up for 18 ms; freed 1 MiB at a time, for half of one. Invariant: nobody else reads the file. Who reads or writes data files holds a shared lock on each that is open,
//! and a file that is locked is left as it is: its blocks go when it is closed. This module knows nothing of why a file was removed.

#![expect(clippy::disallowed_methods, reason = "a file is opened to be shortened")]

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that are given back at once.
const STEP_BYTES: u64 = 1 << 20;

/// See the head of this module. Dropped, the rest goes at once.
#[derive(Debug)]
pub struct Remains {
    file: File,
    bytes: u64,
}

impl Remains {
    /// Removes a file; `None` when there is nothing to be done bit by bit, because it is small or others read it.
    ///
    /// # Errors
    /// Those of removing it.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).open(path);
        std::fs::remove_file(path)?;
        // What cannot be opened for writing was removed all the same.
        let Ok(file) = file else { return Ok(None) };
        // It may have other names: backups that share the file.
        let (bytes, is_nameless) = file.metadata().map_or((0, false), |metadata| (metadata.len(), metadata.nlink() == 0));
        let is_free = is_nameless && bytes > STEP_BYTES && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        Ok(is_free.then_some(Remains { file, bytes }))
    }

    /// Gives some of it back; `false` when nothing is left, or it could not be done: the rest goes when this is dropped.
    pub fn step(&mut self) -> bool {
        self.bytes = self.bytes.saturating_sub(STEP_BYTES);
        self.bytes > 0 && self.file.set_len(self.bytes).is_ok()
    }
}

/// Holds a file as it is while it is read, though its name goes.
///
/// # Errors
/// NotFound when it is given back to the device, or was.
pub(super) fn hold(file: &impl AsFd) -> io::Result<()> {
    let removed = || io::Error::new(io::ErrorKind::NotFound, "the file was removed");
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(removed()),
        // Whoever shortened it may be done with it.
        Ok(()) if rustix::fs::fstat(file)?.st_nlink == 0 => Err(removed()),
        // A file system without such locks has files that are removed at once.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::system::{Engine, System};
    use crate::io::{Driver, Mode};
    use std::io::Read;

    fn large() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 10 << 20]).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_shrinks_without_a_name() {
        let (_dir, path) = large();
        let mut remains = Remains::of(&path).unwrap().unwrap();
        assert!(!path.exists());
        let mut sizes = Vec::new();
        while remains.step() {
            sizes.push(remains.file.metadata().unwrap().len() >> 20);
        }
        assert_eq!(sizes, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_file_that_others_hold_is_left_as_it_is() {
        let (_dir, path) = large();
        let mut reader = File::open(&path).unwrap();
        hold(&reader).unwrap();
        assert!(Remains::of(&path).unwrap().is_none() && !path.exists());
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, vec![7; 10 << 20]);
    }

    #[test]
    fn a_file_that_its_owner_reads_is_left_as_it_is() {
        let (_dir, path) = large();
        let driver = System::new(Engine::Threads, "a test");
        let reader = driver.open(&path, Mode::Write, true).unwrap();
        assert!(driver.remove_gently(&path).unwrap().is_none() && !path.exists());
        assert_eq!(driver.len(&reader).unwrap(), 10 << 20);
    }

    #[test]
    fn who_comes_too_late_finds_nothing() {
        let (_dir, path) = large();
        let reader = File::open(&path).unwrap();
        let remains = Remains::of(&path).unwrap();
        assert!(remains.is_some());
        assert_eq!(hold(&reader).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(remains);
        assert_eq!(hold(&reader).unwrap_err().kind(), io::ErrorKind::NotFound, "nobody locks it any more");
    }

    #[test]
    fn a_file_with_another_name_is_left_as_it_is() {
        let (dir, path) = large();
        let backup = dir.path().join("backup");
        std::fs::hard_link(&path, &backup).unwrap();
        assert!(Remains::of(&path).unwrap().is_none() && !path.exists());
        assert_eq!(std::fs::read(backup).unwrap(), vec![7; 10 << 20]);
    }
}
