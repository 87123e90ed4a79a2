//! What goes wrong on the simulated disk: by chance, or once, on demand.

use super::random::Random;
use std::io;
use std::path::Path;

/// Chances of errors, and limits. The default is a healthy disk that reorders and moves few bytes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// One in so many reads fails with EIO; 0 for none.
    pub read_error_one_in: u64,
    /// One in so many writes fails with EIO, having written any of its sectors; 0 for none.
    pub write_error_one_in: u64,
    /// One in so many syncs fails with EIO and loses data for good; 0 for none.
    pub sync_error_one_in: u64,
    /// One in so many new files finds no space; 0 for none.
    pub create_error_one_in: u64,
    /// One in so many transfers moves fewer bytes than asked and goes on later; 0 for none.
    pub short_one_in: u64,
    /// Size of the disk; writes beyond find no space.
    pub capacity_bytes: Option<u64>,
    /// The planted bug: durable writes complete without being durable. Proof that a test sees lost data.
    pub lie_about_durability: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            read_error_one_in: 0,
            write_error_one_in: 0,
            sync_error_one_in: 0,
            create_error_one_in: 0,
            short_one_in: 4,
            capacity_bytes: None,
            lie_about_durability: false,
        }
    }
}

impl Faults {
    /// A disk that fails in every way, seldom.
    pub fn failing() -> Faults {
        Faults { read_error_one_in: 300, write_error_one_in: 300, sync_error_one_in: 50, create_error_one_in: 50, ..Faults::default() }
    }

    fn one_in(&self, call: Call) -> (u64, i32) {
        match call {
            Call::Read => (self.read_error_one_in, libc::EIO),
            Call::Write => (self.write_error_one_in, libc::EIO),
            Call::Sync | Call::SyncDir => (self.sync_error_one_in, libc::EIO),
            Call::Create => (self.create_error_one_in, libc::ENOSPC),
            _ => (0, 0),
        }
    }
}

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reading.
    Read,
    /// Writing, durable or not.
    Write,
    /// Making a file durable, by itself or, only on demand, behind the bytes of a durable write: these are then in the file.
    Sync,
    /// Making names durable.
    SyncDir,
    /// Opening what exists.
    Open,
    /// Making a file or a directory.
    Create,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Setting a length, reserving blocks.
    Resize,
    /// Listing names, asking for a length, locking, mapping.
    Look,
    /// Waiting for completions.
    Wait,
}

/// Errors to come.
#[derive(Clone, Default)]
pub(super) struct Script(Vec<(Call, String, i32)>);

impl Script {
    pub(super) fn add(&mut self, call: Call, path_part: &str, errno: i32) {
        self.0.push((call, path_part.to_string(), errno));
    }

    /// The error that this call gets, if any: scripted ones first, in their order.
    pub(super) fn strike(&mut self, faults: &Faults, random: &mut Random, call: Call, path: &Path) -> Option<io::Error> {
        self.scripted(call, path).or_else(|| {
            let (one_in, errno) = faults.one_in(call);
            random.one_in(one_in).then(|| io::Error::from_raw_os_error(errno))
        })
    }

    /// The error that was asked for, if any.
    pub(super) fn scripted(&mut self, call: Call, path: &Path) -> Option<io::Error> {
        let path = path.to_string_lossy();
        let next = self.0.iter().position(|(which, part, _)| *which == call && path.contains(part))?;
        Some(io::Error::from_raw_os_error(self.0.remove(next).2))
    }
}
