//! The byte tables of the format pages say what the constants here say.

use super::golden::{folder, read};
use super::{directory, frame, log_batch, manifest, run_index};

/// The rows of a page's byte table: at, size, field. Only its rows begin with a number.
fn table(page: &str) -> Vec<(usize, usize, String)> {
    let path = folder().join("../../node/docs/format").join(page);
    let text = String::from_utf8(read(&path)).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let at = cells[0].parse().ok()?;
        // A part of any length has no size here.
        Some((at, cells[1].parse().unwrap_or(0), cells.get(2)?.to_string()))
    });
    rows.collect()
}

/// The fields of this page follow each other without a gap, and are these.
fn assert_page(page: &str, fields: &[(usize, usize, &str)]) {
    let found = table(page);
    for pair in found.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "{page}: behind {}", pair[0].2);
    }
    let fields: Vec<_> = fields.iter().map(|(at, size, name)| (*at, *size, name.to_string())).collect();
    assert_eq!(found, fields, "{page}");
}

#[test]
fn frame_page() {
    use frame::*;
    assert_page(
        "frame.md",
        &[
            (MAGIC_AT, 4, "magic"),
            (VERSION_AT, 2, "version"),
            (FLAGS_AT, 2, "flags"),
            (LENGTH_AT, 4, "frame length"),
            (COUNT_AT, 4, "batch count"),
            (SEGMENT_ID_AT, 8, "segment id"),
            (FIRST_OFFSET_AT, 8, "first offset"),
            (EPOCH_AT, 4, "epoch"),
            (TABLE_ID_AT, 4, "table id"),
            (PARTITION_ID_AT, 4, "partition id"),
            (BUCKET_AT, 4, "bucket"),
            (CRC_AT, 4, "crc32c"),
            (CRC_AT + 4, 4, "zero"),
            (TABLE_AT, TABLE_ENTRY_BYTES, "batch table"),
        ],
    );
}

#[test]
fn log_batch_page() {
    use log_batch::*;
    assert_page(
        "log_batch.md",
        &[
            (BASE_OFFSET_AT, 8, "base offset"),
            (LENGTH_AT, 4, "length"),
            (MAGIC_AT, 1, "magic"),
            (COMMIT_TIMESTAMP_AT, 8, "commit timestamp"),
            (CRC_AT, 4, "crc32c"),
            (SCHEMA_ID_AT, 2, "schema id"),
            (ATTRIBUTES_AT, 1, "attributes"),
            (LAST_OFFSET_DELTA_AT, 4, "last offset delta"),
            (WRITER_ID_AT, 8, "writer id"),
            (SEQUENCE_AT, 4, "batch sequence"),
            (RECORD_COUNT_AT, 4, "record count"),
            (STATISTICS_LENGTH_AT, HEADER_BYTES_V1 - HEADER_BYTES_V0, "statistics length"),
        ],
    );
    assert_eq!(LENGTH_AT + 4, LENGTH_OVERHEAD);
    assert_eq!(SCHEMA_ID_AT, frame::BATCH_HEAD_BYTES);
}

#[test]
fn directory_page() {
    use directory::*;
    assert_page(
        "directory.md",
        &[
            (MAGIC_AT, 4, "magic"),
            (VERSION_AT, 2, "version"),
            (VERSION_AT + 2, 2, "flags"),
            (SEGMENT_ID_AT, 8, "segment id"),
            (ENTRY_COUNT_AT, 4, "entry count"),
            (ENTRY_BYTES_AT, 4, "entry bytes"),
            (WRITER_COUNT_AT, 4, "writer count"),
            (WRITER_BYTES_AT, 4, "writer bytes"),
            (CRC_AT, 4, "crc32c"),
            (HEAD_BYTES - 4, 4, "zero"),
        ],
    );
}

#[test]
fn manifest_page() {
    use manifest::*;
    assert_page(
        "manifest.md",
        &[
            (MAGIC_AT, 4, "magic"),
            (VERSION_AT, 2, "version"),
            (KIND_AT, 2, "kind"),
            (LENGTH_AT, 4, "length"),
            (CRC_AT, 4, "crc32c"),
            (HEAD_BYTES, 0, "payload"),
        ],
    );
}

#[test]
fn run_page() {
    use run_index::*;
    assert_page(
        "run.md",
        &[
            (MAGIC_AT, 4, "magic"),
            (VERSION_AT, 2, "version"),
            (FLAGS_AT, 2, "flags"),
            (BLOCK_COUNT_AT, 4, "block count"),
            (KEY_BYTES_AT, 4, "key bytes"),
            (BLOOM_BYTES_AT, 4, "bloom bytes"),
            (CRC_AT, 4, "crc32c"),
            (ROWS_AT, 8, "rows"),
            (DELETES_AT, 8, "deletes"),
            (HEAD_BYTES, 0, "entries"),
        ],
    );
    let page = include_str!("../../docs/format/run.md");
    assert!(page.contains(&format!("{ENTRY_BYTES} bytes a block")));
}

#[test]
fn commit_page_page() {
    use crate::io::page::{FIELDS, MAGIC, SLOT_BYTES};
    let slot = FIELDS.map(|(at, size, name)| (SLOT_BYTES + at, size, name));
    let start = FIELDS.iter().find(|field| field.2 == "start").unwrap().0;
    let word = FIELDS.iter().find(|field| field.2 == "word").unwrap().0;
    let generation = FIELDS.iter().find(|field| field.2 == "generation").unwrap().0;
    let head = [
        (0, MAGIC.len(), "magic"),
        (4, 2, "version"),
        (6, 2, "zero"),
        (start, 8, "boot"),
        (word, 4, "word"),
        (word + 4, 4, "zero"),
        (generation, 4, "generation"),
        (generation + 4, SLOT_BYTES - generation - 4, "zero"),
    ];
    assert_page("commit_page.md", &[&head[..], &slot[..]].concat());
}
