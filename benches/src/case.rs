//! The seam between a bench and what it measures: a [`Case`] appends records durably, a [`Contender`] opens one for a round.

use std::io;
use std::path::Path;

/// Something that appends records durably.
pub trait Case: Sync {
    /// Appends a record and returns when it is on the device. `record` lies in memory aligned to a block.
    ///
    /// A contender with more than one record of a producer in flight returns when the oldest of them is on the device.
    fn append(&self, producer: usize, record: &[u8]) -> io::Result<()>;

    /// Everything that was appended, in any order, to check that it did its work; `None` when it keeps nothing (the limits).
    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        Ok(None)
    }

    /// CPU seconds that it used so far outside of this process.
    fn cpu_elsewhere_s(&self) -> io::Result<f64> {
        Ok(0.0)
    }
}

/// The load of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of a record.
    pub record_bytes: usize,
    /// Threads that append, each waiting for its own record.
    pub producers: usize,
}

/// Who takes part in a bench.
#[derive(Clone, Copy)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    /// Its version, for what others made.
    pub version: Option<&'static str>,
    /// How it writes: `pwritev2`, `io_uring`, ...
    pub driver: Option<&'static str>,
    /// Records that one producer has in flight.
    pub in_flight: usize,
    /// Whether its directory is kept from round to round, instead of starting empty in each.
    pub keeps_files: bool,
    /// Opens it in a directory that exists; an error of kind `Unsupported` says why it cannot take part here.
    pub open: fn(&Path, Load) -> io::Result<Box<dyn Case>>,
}
