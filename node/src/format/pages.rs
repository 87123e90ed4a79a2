//! The byte tables of the format pages say what the constants here say, and so do versions, magics and limits in their prose. The floors above hold their
//! edits against the pages.

use serde::de::DeserializeOwned;

use super::golden::{folder, read};
use super::{BODY_ALIGNMENT, bloom, directory, frame, log_batch, manifest, run_index, shape, statistics};
use crate::table::key;
use crate::table::pages;
pub(crate) use crate::table::pages::thousands;

fn page_text(page: &str) -> String {
    String::from_utf8(read(&folder().join("../../node/docs/format").join(page))).unwrap()
}

/// The page says all of these, wherever its lines end.
pub(crate) fn assert_says(page: &str, said: &[String]) {
    pages::assert_says(&page_text(page), said);
}

/// As pages say it: `64 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    let unit = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = (count.trailing_zeros() / 10).min(4);
    format!("{} {}", count >> (10 * power), unit[power as usize])
}

/// The table under this heading of the page has the names of all edits and of their fields, and no others. A cell that names no fields is not looked at.
pub(crate) fn assert_edits<E: DeserializeOwned>(page: &str, heading: &str) {
    let text = page_text(page);
    let (_, behind) = text.split_once(heading).expect(heading);
    let rows = behind.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let mut found = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_string();
        let mut fields: Vec<String> = match cells[1].contains('`') {
            true => cells[1].split('`').skip(1).step_by(2).map(str::to_string).collect(),
            false => cells[1].split(", ").map(str::to_string).collect(),
        };
        if !fields.iter().any(|field| field.contains(' ')) {
            let mut known = expected::<E>(&format!(r#"{{"{name}":{{"?":0}}}}"#));
            fields.sort();
            known.sort();
            assert_eq!(fields, known, "{page}: fields of {name}");
        }
        found.push(name);
    }
    assert_eq!(found, expected::<E>(r#"{"?":0}"#), "{page}: edits under {heading:?}");
}

/// What a reader of JSON would have taken in the place of `?`: only its error says it.
fn expected<E: DeserializeOwned>(json: &str) -> Vec<String> {
    let error = serde_json::from_str::<E>(json).err().expect("nothing is called that").to_string();
    let (_, names) = error.split_once("expected ").unwrap_or_else(|| panic!("{json}: {error}"));
    names.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// The rows of a page's byte table: at, size, field. Only its rows begin with a number.
fn table(page: &str) -> Vec<(usize, usize, String)> {
    let text = page_text(page);
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

/// A magic number, as the page writes it.
fn magic(magic: u32) -> String {
    let bytes = magic.to_le_bytes();
    let text = std::str::from_utf8(&bytes).expect("letters");
    format!("magic | `{text}` |")
}

#[test]
fn prose_of_frames() {
    use frame::*;
    let alignment = format!("a multiple of {FRAME_ALIGNMENT}");
    let said = [
        format!("# Frame, version {VERSION}"),
        magic(MAGIC),
        format!("version | {VERSION} |"),
        format!("{alignment}, at most {}", bytes(FRAME_BYTES_MAX as u64)),
        format!("1 to {}", thousands(BATCHES_MAX)),
        format!("zeros up to {alignment} bytes"),
        format!("starts at a multiple of {BODY_ALIGNMENT},"),
        format!("**first {BATCH_HEAD_BYTES} bytes of each batch**"),
    ];
    assert_says("frame.md", &said);
}

#[test]
fn prose_of_log_batches() {
    let said = [
        format!("nested up to {} deep", shape::NESTING_MAX),
        format!("version, {} |", statistics::VERSION),
        format!("(up to {}, else no bound)", statistics::TEXT_BYTES_MAX),
        format!("starts at a multiple of {BODY_ALIGNMENT} of the batch"),
        "bit 0: append-only".to_string(),
        format!("whole batch is {} longer", log_batch::LENGTH_OVERHEAD),
        format!("batch sequence | {}: none", log_batch::NO_SEQUENCE),
    ];
    assert_says("log_batch.md", &said);
    assert_eq!(log_batch::APPEND_ONLY, 1, "bit 0");
}

#[test]
fn prose_of_directories() {
    use directory::*;
    let large = bytes(BATCH_BYTES_MIN as u64);
    let said = [
        format!("# Directory of a segment, version {VERSION}"),
        magic(MAGIC),
        format!("version | {VERSION}; 1 is read too |"),
        format!("each batch of {large} and more"),
        format!("it is {large} or longer"),
        format!("blocks* are bytes / {}", frame::FRAME_ALIGNMENT),
    ];
    assert_says("directory.md", &said);
}

#[test]
fn prose_of_manifests() {
    use manifest::*;
    let said = [
        format!("# Manifest records, version {VERSION}"),
        format!("magic | `{}` and 0xff", std::str::from_utf8(&MAGIC.to_le_bytes()[..3]).unwrap()),
        format!("version | {VERSION};"),
        format!("at most {} |", bytes(PAYLOAD_BYTES_MAX as u64)),
        format!("first {CRC_AT} bytes and the payload"),
    ];
    assert_says("manifest.md", &said);
    assert_eq!(MAGIC.to_le_bytes()[3], 0xff);
}

#[test]
fn prose_of_runs_and_keys() {
    use run_index::*;
    let said = [
        format!("# Run of a primary-key bucket, version {VERSION}"),
        magic(MAGIC),
        format!("version | {VERSION} |"),
        format!("multiple of {BODY_ALIGNMENT} bytes"),
        format!("{} bits a key up to 2,097,152 keys and {} of more", bloom::BITS_PER_KEY_OF_FEW, bloom::BITS_PER_KEY),
        format!("`x * {:x}`", bloom::FACTOR),
        format!("`S` is `{:016x}`", bloom::SEED),
    ];
    assert_says("run.md", &said);
    assert_eq!(bloom::FEW_KEYS_MAX, 2_097_152);
    assert_says("key.md", &[format!("at most {}", bytes(key::KEY_BYTES_MAX as u64))]);
}
