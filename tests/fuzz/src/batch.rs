//! Log batches: header, change types, statistics, Arrow message, columns; whole and in parts.

use std::sync::LazyLock;

use aquifer_node::format::log_batch::{BatchHeader, Batches};
use aquifer_node::format::{Decoder, statistics};
use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;

use crate::sample::SCHEMA;

/// Some columns of different shapes, not in their order.
const COLUMNS: [usize; 6] = [19, 3, 26, 0, 25, 23];

static WHOLE: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(&SCHEMA).expect("types that logs hold"));
static SOME: LazyLock<Decoder> = LazyLock::new(|| Decoder::projected(&SCHEMA, &COLUMNS).expect("columns that exist"));

/// Reads batches one behind the other, then decodes the first without trusting its checksum; whether that is possible.
pub fn run(data: &[u8]) -> bool {
    for batch in Batches::new(data).take(100).flatten() {
        let _ = batch.header.verify(batch.bytes);
        let _ = batch.header.change_types(batch.bytes);
    }
    let Ok(header) = BatchHeader::read(data) else { return false };
    let _ = header.verify(data);
    if let Some(bytes) = data.get(header.statistics_range()) {
        let _ = statistics::decode(&SCHEMA, bytes);
    }
    let buffer = Buffer::from(data);
    if let Ok(rows) = WHOLE.decode(&buffer) {
        hold(&rows);
    }
    let whole = SOME.decode(&buffer);
    let parts = in_parts(&header, &buffer);
    if let (Ok(whole), Some(parts)) = (&whole, &parts) {
        assert!(
            whole.columns().iter().zip(parts.columns()).all(|(a, b)| a.data_type() == b.data_type() && a.len() == b.len()),
            "the same in parts"
        );
    }
    whole.iter().chain(&parts).for_each(hold);
    whole.is_ok()
}

/// As a scan of some columns reads it.
fn in_parts(header: &BatchHeader, data: &Buffer) -> Option<RecordBatch> {
    let layout = SOME.layout(header, data).ok()?;
    let planned = SOME.plan(&layout).ok()?;
    let read = |range: &std::ops::Range<usize>| {
        (range.start <= range.end && range.end <= data.len()).then(|| data.slice_with_length(range.start, range.len()))
    };
    let parts: Option<Vec<Buffer>> = planned.iter().map(read).collect();
    SOME.decode_parts(&layout, &parts?).ok()
}

/// What a decoder gives is what Arrow allows: everything else would be undefined behaviour further on.
fn hold(rows: &RecordBatch) {
    for column in rows.columns() {
        column.to_data().validate_full().expect("a decoded column holds");
    }
}
