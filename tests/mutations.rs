//! The fuzz targets on mutations of the golden files, always the same ones: what `cargo fuzz` looks for at random, in a few seconds and with
//! nothing but `cargo test`.
#![allow(clippy::disallowed_methods, reason = "golden files are read as they are")]
#![allow(unreachable_pub, reason = "the targets are a library of their own")]

#[path = "fuzz/src/batch.rs"]
mod batch;
#[path = "fuzz/src/directory.rs"]
mod directory;
#[path = "fuzz/src/frame.rs"]
mod frame;
#[path = "fuzz/src/manifest.rs"]
mod manifest;
#[path = "fuzz/src/pick.rs"]
mod pick;
#[path = "sim/random.rs"]
mod random;
#[path = "fuzz/src/run.rs"]
mod run_index;
#[path = "fuzz/src/sample.rs"]
mod sample;
#[path = "fuzz/src/store.rs"]
mod store;
#[path = "fuzz/src/text.rs"]
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use aquifer_node::table::TableSpec;
use random::Random;

/// Values at which code changes its mind.
const EDGES: [u64; 12] = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u64::MAX];

/// Golden files longer than this are cut: their later parts are like their earlier ones.
const SEED_BYTES_MAX: usize = 64 << 10;

fn golden(part: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(part)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("golden files") {
            let path = entry.expect("golden files").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let read = |path: &PathBuf| {
        let mut bytes = std::fs::read(path).expect("a golden file");
        bytes.truncate(SEED_BYTES_MAX);
        bytes
    };
    files.iter().map(read).collect()
}

/// One to four changes: bits, bytes, words at the edge, pieces cut out, doubled or moved.
fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.between(1, 4) {
        if bytes.is_empty() {
            return bytes;
        }
        // The first bytes decide most.
        let reach = if random.one_in(2) { bytes.len() } else { bytes.len().min(256) };
        let at = random.below(reach as u64) as usize;
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 | 3 => {
                let width = *random.pick(&[1, 2, 4, 8]);
                let value = random.pick(&EDGES).to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + random.between(1, 64) as usize).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + random.between(1, 64) as usize).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// Runs a target on every seed and on `count` mutations of them. What it fails on is written to a file that `cargo fuzz` can run.
fn run(name: &str, target: fn(&[u8]) -> bool, seeds: &[Vec<u8>], count: usize) {
    let mut random = Random::new(name.len() as u64);
    let accepted = seeds.iter().filter(|seed| target(seed)).count();
    assert!(accepted > 0, "{name} refuses all seeds, so mutations reach nothing");
    for round in 0..count {
        let mut input = mutate(&seeds[round % seeds.len()], &mut random);
        if random.one_in(8) {
            let other: &Vec<u8> = random.pick(seeds);
            let at = random.below(input.len() as u64 + 1) as usize;
            input.truncate(at);
            input.extend(other.iter().skip(at));
        }
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let path = std::env::temp_dir().join(format!("aquifer-{name}-{round}"));
            std::fs::write(&path, &input).expect("a place for what was found");
            panic!("{name} fails in round {round}; run it again with `cargo fuzz run --fuzz-dir tests/fuzz {name} {}`", path.display());
        }
    }
}

#[test]
fn frames() {
    run("frame", frame::run, &golden("v1"), 10_000);
}

#[test]
fn batches() {
    let seeds = [golden("v1"), golden("fluss")].concat();
    run("batch", batch::run, &seeds, 3_000);
}

#[test]
fn directories() {
    run("directory", directory::run, &golden("v1"), 10_000);
}

#[test]
fn indexes_of_runs() {
    run("run", run_index::run, &golden("v1"), 10_000);
}

#[test]
fn manifests() {
    let mut seeds = golden("v1");
    let schema = aquifer_node::table::supported(&sample::SCHEMA).expect("types that tables have");
    let table = TableSpec::new("a.b".parse().expect("a name"), 1, schema, 2).to_json().expect("a table");
    seeds.extend([EDITS, &table].map(|json| json.as_bytes().to_vec()));
    run("manifest", manifest::run, &seeds, 5_000);
}

#[test]
fn texts() {
    let seeds: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    run("text", text::run, &seeds, 10_000);
}

#[test]
fn picks() {
    let mut random = Random::new(8);
    let seeds: Vec<Vec<u8>> = (0..64).map(|seed| (0..seed * 8).map(|_| random.next() as u8).collect()).collect();
    run("pick", pick::run, &seeds, 10_000);
}

#[test]
fn stores() {
    let mut random = Random::new(9);
    let seeds: Vec<Vec<u8>> = (0..32).map(|seed| (0..seed).map(|_| random.next() as u8).collect()).collect();
    run("store", store::run, &seeds, 100);
}

const EDITS: &str = r#"[{"prepared":{"segment_id":4294967297,"bytes":1048576}},
{"sealed":{"segment_id":4294967297,"base_offset":0,"end_offset":7,"bytes":4096,"timestamps_ms":[1,2]}},
{"trimmed":{"start_offset":7,"segment_ids":[4294967297]}},{"folded":{"start_offset":7,"sealed":[],"open":{"4294967298":1048576}}}]"#;

const TEXTS: &[&str] = &[
    "c4 > 5 and not (c19 like 'a%' or c0 = true) and c9 >= date '2026-01-02'",
    "c3 in (1, 2, -3) or c19 is not null and c6 between 0.5 and 1e9",
    "c7 = 12.34 or c8 < -0.0000000001 or c16 >= '2026-01-02 03:04:05.678901'",
    "c20 = x'00ff' or c15 = timestamp '1969-12-31 23:59:59'",
    "id int64 not null\nname string\nprice decimal128(10,2)\ntags list<string>\nplace struct<x double, y double>\nmore map<string, list<int32>>",
    "c19, day(c16), bucket(4, c4), truncate(3, c19), hour(c18)",
    "c4=7/c19=%C3%A4/c16_day=2026-01-01",
    "shop.clicks",
    "10GiB",
    "7d 3h",
    "price decimal128(10,2) after c4",
    "old=new",
    "count int64",
    "-170141183460469231731687303715884105728",
    "2026-02-29T24:00:00.999999999+14:00",
    "1e400",
];
