//! The fuzz targets on mutations of the golden files, always the same ones: what `cargo fuzz` looks for at random, in a few seconds and with
//! nothing but `cargo test`.
#![allow(clippy::disallowed_methods, reason = "golden files are read as they are")]
#![allow(unreachable_pub, reason = "the targets are a library of their own")]

#[path = "fuzz/src/batch.rs"]
mod batch;
#[path = "fuzz/src/bitmaps.rs"]
mod bitmaps;
#[path = "fuzz/src/directory.rs"]
mod directory;
#[path = "fuzz/src/edits.rs"]
mod edits;
#[path = "fuzz/src/forge.rs"]
mod forge;
#[path = "fuzz/src/frame.rs"]
mod frame;
#[path = "fuzz/src/manifest.rs"]
mod manifest;
#[path = "fuzz/src/options.rs"]
mod options;
#[path = "fuzz/src/page.rs"]
mod page;
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
use std::path::PathBuf;

use aquifer_node::format::manifest::fold;
use aquifer_node::table::TableSpec;
use aquifer_tests::command;
use random::Random;

/// Values at which code changes its mind.
const EDGES: [u64; 12] = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u64::MAX];

/// Golden files longer than this are cut: their later parts are like their earlier ones.
const SEED_BYTES_MAX: usize = 64 << 10;

fn golden(part: &str) -> Vec<Vec<u8>> {
    files_in(&["golden", part])
}

/// Inputs that a target accepts, for which there is no golden file.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    files_in(&["fuzz", "seeds", target])
}

fn files_in(folder: &[&str]) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.iter().fold(PathBuf::from(env!("CARGO_MANIFEST_DIR")), |path, part| path.join(part))];
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
        match random.below(8) {
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
            6 => {
                // A number as text.
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let start = bytes[..at].iter().rposition(|byte| !is_digit(byte)).map_or(0, |before| before + 1);
                let end = at + bytes[at..].iter().take_while(|byte| is_digit(byte)).count();
                let value = random.pick(&EDGES).to_string();
                bytes.splice(start..end.max(start), value.into_bytes());
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
    run("manifest", manifest::run, &golden("v1"), 3_000);
}

/// What stands in the records of the golden files, and edits that they do not have.
#[test]
fn edits_of_ledgers() {
    let seeds_of_edits = seeds("edits");
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for file in golden("v1") {
        for kind in 1..=3 {
            let Ok(folded) = fold::<serde_json::Value>(kind, &file) else { continue };
            seeds.extend((!folded.edits.is_empty()).then(|| serde_json::to_vec(&folded.edits).expect("it was JSON")));
        }
    }
    let schema = aquifer_node::table::supported(&sample::SCHEMA).expect("types that tables have");
    let table = TableSpec::new("a.b".parse().expect("a name"), 1, schema, 2).to_json().expect("a table");
    let created = format!(
        r#"[{{"table_created":{{"spec":{table},"slot":1}}}},{{"partition_created":{{"table_id":1,"partition_id":0,"name":"","slot":2,"serial":1}}}}]"#
    );
    let whole = [vec![table.into_bytes(), created.into_bytes()], seeds_of_edits].concat();
    assert!(whole.iter().all(|json| edits::run(json)), "all are what they say");
    seeds.extend(whole);
    run("edits", edits::run, &seeds, 8_000);
}

#[test]
fn pages() {
    let mut seeds = golden("v1");
    let slot: Vec<u8> = (0..64).collect();
    seeds.push([&b"AQPG\x01\0\0\0"[..], &[0; 56], &slot, &slot].concat());
    run("page", page::run, &seeds, 2_000);
}

/// As Java writes them: of 32 and of 64 bits, each of two, with the byte before it that says where the second begins.
#[test]
fn bitmaps_of_rows() {
    let narrow = [0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 1, 0, 5, 0];
    let runs = [0x3b, 0x30, 0, 0, 1, 0, 0, 9, 0, 1, 0, 1, 0, 9, 0];
    let mut seeds = vec![[&[128][..], &narrow, &narrow].concat(), [&[0][..], &narrow].concat(), [&[0][..], &runs].concat()];
    seeds.push(vec![0, 0]);
    run("bitmaps", bitmaps::run, &seeds, 10_000);
}

#[test]
fn texts() {
    run("text", text::run, &seeds("text"), 10_000);
}

#[test]
fn options_and_names() {
    run("options", options::run, &seeds("options"), 4_000);
}

#[test]
fn what_the_program_reads() {
    let seeds = [seeds("command"), seeds("text")].concat();
    run("command", command::run, &seeds, 5_000);
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
