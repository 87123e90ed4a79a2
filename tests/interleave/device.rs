//! The device as the log sees it: which offsets are on it, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aquifer_tests::error::Error;
use shuttle::rand::{Rng, thread_rng};

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One in so many writes fails; 0 for none.
    pub(crate) write_fails_one_in: u32,
    /// One in so many segments cannot be had; 0 for none.
    pub(crate) no_segment_one_in: u32,
}

/// Offsets on the device. Its own lock is no point of a switch: it is the yardstick, not what is measured.
#[derive(Clone, Default)]
pub(crate) struct Device(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Device {
    /// The rows from one offset to before another are on the device.
    pub(crate) fn put(&self, from: u64, to: u64) {
        let before = self.0.lock().expect("no panic in here").insert(from, to);
        assert!(before.is_none_or(|before| before == to), "offset {from} was written twice and differently");
    }

    /// Offset up to which everything is there.
    pub(crate) fn end(&self) -> u64 {
        let runs = self.0.lock().expect("no panic in here");
        runs.iter().fold(0, |end, (from, to)| if *from <= end { end.max(*to) } else { end })
    }
}

/// True once in so many times; never for 0.
pub(crate) fn strikes(one_in: u32) -> bool {
    one_in > 0 && thread_rng().gen_range(0..one_in) == 0
}

/// As the device reports it.
pub(crate) fn failed() -> Error {
    Error::unavailable("the device failed")
}
