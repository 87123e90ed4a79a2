//! The pages on schemas and on buckets say what the constants here say, and the known answers of the one on buckets are answers.

use super::binary_row::{COMPACT_PRECISION_MAX, HEADER_BITS, INLINE_LENGTH_MAX, WIDE_DECIMAL_LENGTH};
use super::bucketing::SEED;
use super::partition::PARTITIONS_PER_BATCH_MAX;
use super::schema::{FIELDS_MAX, FIXED_BINARY_WIDTH_MAX};
use super::spec::{BUCKETS_MAX, SCHEMA_VERSIONS_MAX};
use super::types::{DECIMAL_PRECISION_MAX, DEPTH_MAX};

const SCHEMA: &str = include_str!("../../docs/format/schema.md");
const BUCKETING: &str = include_str!("../../docs/format/bucketing.md");

/// The page says all of these, wherever its lines end.
pub(crate) fn assert_says(page: &str, said: &[String]) {
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in said {
        assert!(text.contains(said.as_str()), "the page does not say: {said}");
    }
}

/// As pages say it: `65,536`.
pub(crate) fn thousands(count: usize) -> String {
    if count < 10_000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}

#[test]
fn limits_of_schemas() {
    let said = [
        format!("Types nest at most {DEPTH_MAX} deep"),
        format!("at most {} fields", thousands(FIELDS_MAX)),
        format!("N <= {} MiB", FIXED_BINARY_WIDTH_MAX >> 20),
        format!("1 <= P <= {DECIMAL_PRECISION_MAX}"),
        format!("`buckets` | u32 | 1 to {} |", thousands(BUCKETS_MAX as usize)),
        format!("at most {} partitions", thousands(PARTITIONS_PER_BATCH_MAX)),
    ];
    assert_says(SCHEMA, &said);
    assert_eq!(SCHEMA_VERSIONS_MAX, i16::MAX as usize + 1, "the page gives a version 16 bits with a sign");
}

#[test]
fn constants_of_buckets() {
    let said = [
        format!("seed {SEED}"),
        format!("((fields + {HEADER_BITS} + 63) / 64) * 8"),
        format!("{HEADER_BITS} bits of header"),
        format!("up to {INLINE_LENGTH_MAX} bytes"),
        format!("P <= {COMPACT_PRECISION_MAX} |"),
        format!("P > {COMPACT_PRECISION_MAX} |"),
        format!("minimal length, in {WIDE_DECIMAL_LENGTH} bytes"),
    ];
    assert_says(BUCKETING, &said);
}

/// murmur3_32 as the page puts it: little-endian words, then the length.
fn murmur(row: &[u8]) -> i32 {
    let mut hash = SEED;
    for word in row.chunks_exact(4) {
        let word =
            u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= row.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    (hash ^ hash >> 16) as i32
}

#[test]
fn known_answers_of_buckets() {
    let (_, answers) = BUCKETING.split_once("## Known answers").expect("they are there");
    let rows: Vec<Vec<&str>> = answers
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 8, "{} answers", rows.len());
    for row in rows {
        let hex: Vec<u8> = row[1].bytes().filter(u8::is_ascii_hexdigit).collect();
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
        let bytes: Vec<u8> = hex.chunks(2).map(digits).collect();
        let hash = murmur(&bytes);
        assert_eq!((hash.to_string().as_str(), (hash % 1000).abs().to_string().as_str()), (row[2], row[3]), "{}", row[0]);
    }
}
