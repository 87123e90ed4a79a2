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
use std::path::{Path, PathBuf};

use aquifer_node::format::manifest::fold;
use aquifer_node::table::TableSpec;
use aquifer_tests::command;
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
    run("manifest", manifest::run, &golden("v1"), 5_000);
}

/// What stands in the records of the golden files, and edits that they do not have.
#[test]
fn edits_of_ledgers() {
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
    seeds.extend([EDITS, LIST, &table, &created].map(|json| json.as_bytes().to_vec()));
    assert!([EDITS, LIST, &table, &created].iter().all(|json| edits::run(json.as_bytes())), "all are what they say");
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
    let seeds: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    run("text", text::run, &seeds, 10_000);
}

#[test]
fn options_and_names() {
    let seeds: Vec<Vec<u8>> = OPTIONS.iter().map(|text| text.as_bytes().to_vec()).collect();
    run("options", options::run, &seeds, 10_000);
}

#[test]
fn what_the_program_reads() {
    let seeds: Vec<Vec<u8>> = ROWS.iter().chain(TEXTS).map(|text| text.as_bytes().to_vec()).collect();
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

const EDITS: &str = r#"[{"prepared":{"segment_id":4294967297,"bytes":1048576}},
{"sealed":{"segment_id":4294967297,"base_offset":0,"end_offset":7,"bytes":4096,"timestamps_ms":[1,2]}},
{"trimmed":{"start_offset":7,"segment_ids":[4294967297]}},{"folded":{"start_offset":7,"sealed":[],"open":{"4294967298":1048576}}}]"#;

const LIST: &str = r#"[{"created":{"id":1,"time_ms":5,"schema_version":0,"merge":{"merge-engine":"first-row"},"rows":9,"runs":1,"bytes":4096,"ends":{"0":[9,0]}}},
{"tagged":{"tag":"first","id":1}},{"created":{"id":2,"time_ms":6,"schema_version":0,"rows":9,"runs":1,"bytes":4096,"ends":{"0":[9,1]}}},
{"untagged":{"tag":"first"}},{"dropped":{"ids":[1]}}]"#;

const OPTIONS: &[&str] = &[
    "compression=zstd:3\nretention.ms=36h\nsegment.bytes=64MiB\nstatistics.columns=c4,c16",
    "merge-engine=aggregation\nfields.c4.aggregate-function=sum\nfields.c19.aggregate-function=listagg\nfields.c19.list-agg-delimiter=;",
    "merge-engine=partial-update\nfields.c9.sequence-group=c4,c19\nfields.c4.aggregate-function=max\nignore-delete=true",
    "merge-engine=first-row\nchangelog-producer=lookup",
    "sequence.field=c16,c4\nsequence.field.sort-order=descending",
    "record-level.expire-time=7d\nrecord-level.time-field=c16\nsnapshot.num-retained.max=3",
    "io=threads\ndurability=os\nfiles.open.max=77",
    r#"{"version":2,"table":"a.b","table_id":1,"schema":0,"rows":5,"pieces":[{"partition":"","partition_id":0,"bucket":1,"rows":{"offsets":{"start":1,"end":9}}}]}"#,
    r#"{"version":3,"table":"a.b","table_id":1,"schema":0,"snapshot":4,"rows":5,"now_ms":7,"pieces":[{"partition":"","partition_id":0,"bucket":1,"rows":{"keys":{"before":9,"range":{"from":"00ff","to":"0a"},"runs":[1,2]}}}]}"#,
    "a,\"b,c\",\"d\"\"e\"",
    "17",
];

const ROWS: &[&str] = &[
    "c0,c4,c6,c19\ntrue,-5,1.5e3,\"a,\"\"b\"\"\nc\"\n,,,\nfalse,9223372036854775807,NaN,\r\n",
    "c7,c9,c12,c16,c18,c20\n12.34,2026-01-31,23:59:59.123456,2026-01-31T00:00:00.5,2026-01-31 00:00:00+01:00,00ff\n",
    "{\"c0\":true,\"c4\":-5,\"c19\":\"a\\u00e4\\n\",\"c22\":[1,null,3],\"c24\":{\"a\":1,\"b\":\"x\"}}\n{\"c25\":{\"k\":7},\"c26\":[{\"a\":1,\"b\":{\"2\":true}}]}\n",
    "{\"c8\":1234567890123456789012345678.0123456789,\"c13\":\"23:59:59.123456789\",\"c21\":\"0011223344\"}",
    "\u{feff}c4\n1\n2\n3\n4\n",
    "n_int=5,n_string=a",
    "c4=-7,c16=2026-01-31T12:00:00",
    "dir = \"/x\"\nio = \"threads\"\n[files.open]\nmax = 77\n",
    "+12345-01-31T23:59:59.999999999Z",
];

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
