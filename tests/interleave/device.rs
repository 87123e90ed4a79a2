//! The device as the log sees it: what is written to it, which offsets are on it, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aquifer_tests::error::Error;
use aquifer_tests::format::{BatchMeta, Compression, Encoder, Layout};
use aquifer_tests::io::{BLOCK_BYTES, Pool};
use aquifer_tests::log::writer::{HEAD_ROOM, Record};
use arrow::array::{BinaryArray, RecordBatch};
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

/// A batch of `rows` rows in about so many blocks.
pub(crate) fn record(pool: &Pool, rows: u32, blocks: usize) -> Record {
    let payload = vec![0; (blocks - 1) * BLOCK_BYTES / rows as usize];
    let column = BinaryArray::from_iter_values((0..rows).map(|_| &payload));
    let batch = RecordBatch::try_from_iter([("payload", Arc::new(column) as _)]).expect("one column");
    let encoder = Encoder::new(&batch.schema(), Layout::Native, Compression::None).expect("a type that logs hold");
    let meta = BatchMeta::append(1);
    let mut buffer = pool.get((HEAD_ROOM + encoder.size_bound(&batch, &meta)).next_multiple_of(BLOCK_BYTES));
    let batch_bytes = encoder.encode(&batch, &meta, &mut buffer[HEAD_ROOM..]).expect("it fits");
    buffer.set_len((HEAD_ROOM + batch_bytes).next_multiple_of(BLOCK_BYTES));
    Record { buffer, batch_bytes, rows, producer: None }
}
