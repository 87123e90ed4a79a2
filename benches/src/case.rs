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
    /// Bytes that a record takes on the device.
    pub record_bytes: usize,
    /// Bytes of it that are data; the rest is left to whatever a format adds.
    pub payload_bytes: usize,
    /// Threads that append, each waiting for its own record.
    pub producers: usize,
    /// Whether an append returns when its record is on the device, or when the operating system has it.
    pub durable: bool,
}

/// Which part of a record a contender is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// All of it, whole blocks: it adds nothing.
    Record,
    /// Its payload.
    Payload,
}

impl Load {
    /// The part of a record that a contender is given.
    pub fn part(self, record: &[u8], takes: Takes) -> &[u8] {
        match takes {
            Takes::Record => &record[..self.record_bytes],
            Takes::Payload => &record[..self.payload_bytes],
        }
    }
}

/// Opens a contender in a directory that exists; an error of kind `Unsupported` says why it cannot take part here.
pub type Open<'a> = &'a dyn Fn(&Path, Load) -> io::Result<Box<dyn Case>>;

/// Who takes part in a bench.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its version, for what others made.
    pub version: Option<&'static str>,
    /// How it writes: `pwritev2`, `io_uring`, ...
    pub driver: Option<&'static str>,
    /// Which part of a record it is given.
    pub takes: Takes,
    /// Records that one producer has in flight.
    pub in_flight: usize,
    /// Whether its directory is kept from round to round, instead of starting empty in each.
    pub keeps_files: bool,
    /// Opens it for a round.
    pub open: Open<'a>,
}
