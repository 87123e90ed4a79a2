//! Files of a newer program are refused with a word on what to do, and left as they are.

use std::path::Path;

use aquifer_node::store::{CreateTable, Store};
use aquifer_node::{Error, Kind};

use crate::program::Place;
use crate::{rows, scratch};

fn write(dir: &Path) {
    let store = scratch::open(dir);
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    table.writer().unwrap().append(&rows::batch(0..100)).unwrap();
}

/// crc32c, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// Gives the first record of a file of edits a newer version, as a newer program would have written it.
fn renew_record(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    bytes[4..6].copy_from_slice(&99_u16.to_le_bytes());
    let covered: Vec<u8> = bytes[..12].iter().chain(&bytes[16..16 + length]).copied().collect();
    bytes[12..16].copy_from_slice(&crc32c(&covered).to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn check(error: Error) {
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("version") && text.contains("99") && (text.contains("upgrade") || text.contains("newer program")), "{text}");
}

#[test]
fn a_newer_catalog() {
    let dir = scratch::directory();
    write(dir.path());
    let catalog = dir.path().join("catalog");
    renew_record(&catalog);
    let before = std::fs::read(&catalog).unwrap();
    check(Store::open(dir.path(), Default::default()).map(|_| ()).unwrap_err());
    check(Store::open_read_only(dir.path(), Default::default()).map(|_| ()).unwrap_err());
    assert_eq!(std::fs::read(&catalog).unwrap(), before);
    assert!(!scratch::files(&dir.path().join("tables"), ".log").is_empty());
}

#[test]
fn a_newer_commit_page() {
    let dir = scratch::directory();
    write(dir.path());
    let path = dir.path().join("commit.page");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4] = 99;
    std::fs::write(&path, &bytes).unwrap();
    let catalog = std::fs::read(dir.path().join("catalog")).unwrap();
    check(Store::open(dir.path(), Default::default()).map(|_| ()).unwrap_err());
    check(Store::open_read_only(dir.path(), Default::default()).map(|_| ()).unwrap_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read(dir.path().join("catalog")).unwrap(), catalog);
}

#[test]
fn a_commit_page_that_is_none() {
    let dir = scratch::directory();
    write(dir.path());
    let path = dir.path().join("commit.page");
    let mut bytes = std::fs::read(&path).unwrap();
    // It promises rows that are not there: nobody may believe it.
    bytes[2 * 64] = 200;
    bytes[..8].copy_from_slice(b"not ours");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Store::open_read_only(dir.path(), Default::default()).map(|_| ()).unwrap_err().kind(), Kind::Corrupt);
    let store = scratch::open(dir.path());
    store.table("t").unwrap().writer().unwrap().append(&rows::batch(100..110)).unwrap();
    assert_eq!(store.stats(None).unwrap()[0].end_offset, 110);
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap()[..6], *b"AQPG\x01\0");
    assert_eq!(scratch::follow(dir.path()).stats(None).unwrap()[0].end_offset, 110);
}

#[test]
fn a_newer_manifest() {
    let dir = scratch::directory();
    write(dir.path());
    renew_record(&scratch::files(&dir.path().join("tables"), "manifest")[0]);
    for store in [scratch::open(dir.path()), scratch::follow(dir.path())] {
        check(store.table("t").unwrap().scan().build().map(|_| ()).unwrap_err());
    }
    assert!(!scratch::files(&dir.path().join("tables"), ".log").is_empty());
}

#[test]
fn newer_frames() {
    let dir = scratch::directory();
    write(dir.path());
    let segment = scratch::files(&dir.path().join("tables"), ".log").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4..6].copy_from_slice(&99_u16.to_le_bytes());
    std::fs::write(&segment, &bytes).unwrap();
    for store in [scratch::open(dir.path()), scratch::follow(dir.path())] {
        check(store.table("t").unwrap().scan().build().map(|_| ()).unwrap_err());
    }
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "left as it is");
}

#[test]
fn newer_frames_in_a_full_segment() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB");
        let mut writer = store.create_table("t", create).unwrap().writer().unwrap();
        (0..60).for_each(|batch| _ = writer.append(&rows::batch(batch * 1_000..(batch + 1) * 1_000)).unwrap());
        store.close().unwrap();
    }
    let mut segments = scratch::files(&dir.path().join("tables"), ".log");
    segments.sort();
    assert!(segments.len() > 1);
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[4..6].copy_from_slice(&99_u16.to_le_bytes());
    std::fs::write(&segments[0], &bytes).unwrap();
    for store in [scratch::open(dir.path()), scratch::follow(dir.path())] {
        let mut scan = store.table("t").unwrap().scan().build().unwrap();
        check(scan.next().unwrap().map(|_| ()).unwrap_err());
    }
}

#[test]
fn every_verb_ends_alike_where_a_newer_program_wrote() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    write(&store);
    std::fs::write(dir.path().join("rows.csv"), "number,name,half\n1,a,1.5\n").unwrap();
    let segment = scratch::files(&store.join("tables"), ".log").remove(0);
    let newer: [(&str, &dyn Fn()); 3] = [
        ("frames", &|| {
            let mut bytes = std::fs::read(&segment).unwrap();
            bytes[4..6].copy_from_slice(&99_u16.to_le_bytes());
            std::fs::write(&segment, &bytes).unwrap();
        }),
        ("a manifest", &|| renew_record(&scratch::files(&store.join("tables"), "manifest")[0])),
        ("the catalog", &|| renew_record(&store.join("catalog"))),
    ];
    for (what, renew) in newer {
        renew();
        for verb in ["scan t", "tail t", "append t --from rows.csv"] {
            let error = place.fails(1, verb);
            assert!(error.starts_with("aquifer: UNAVAILABLE: ") && error.contains("version"), "{verb} of {what}: {error}");
            assert!(error.contains("; upgrade this program"), "{verb} of {what}: {error}");
        }
    }
}
