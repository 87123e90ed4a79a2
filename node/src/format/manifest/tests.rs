//! Ledgers of edits: torn tails are cut, damage in the middle is found.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::error::Kind;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Edit {
    Added { id: u64, name: String },
    Moved(i64),
}

fn added(id: u64) -> Edit {
    Edit::Added { id, name: "\u{e4}\"{".into() }
}

/// Three records and where each starts.
fn file() -> (Vec<u8>, [usize; 3], Vec<Edit>) {
    let edits = [vec![added(1), Edit::Moved(-5)], vec![Edit::Moved(7)], vec![added(2)]];
    let mut bytes = Vec::new();
    let starts = edits.each_ref().map(|edits| {
        let start = bytes.len();
        bytes.extend(record(3, edits).unwrap());
        start
    });
    (bytes, starts, edits.concat())
}

#[test]
fn what_is_appended_is_folded() {
    let (bytes, starts, edits) = file();
    let folded = fold::<Edit>(3, &bytes).unwrap();
    assert_eq!(folded, Folded { edits, valid_length: bytes.len(), last_record: starts[2], tail: Tail::Clean });
    assert_eq!(fold::<Edit>(3, &[]).unwrap().valid_length, 0);
    let padded = [&bytes[..], &[0; 5000]].concat();
    assert_eq!(fold::<Edit>(3, &padded).unwrap(), folded);
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let (bytes, starts, edits) = file();
    for end in 0..bytes.len() {
        // The rest of the record was never written: the file ends there, or zeros follow.
        for bytes in [bytes[..end].to_vec(), [&bytes[..end], &vec![0; bytes.len() - end]].concat()] {
            let folded = fold::<Edit>(3, &bytes).unwrap();
            let whole = starts.iter().filter(|start| **start <= end).max().unwrap();
            assert_eq!(folded.valid_length, *whole);
            assert!(edits.starts_with(&folded.edits));
            assert_eq!(folded.tail, if starts.contains(&end) { Tail::Clean } else { Tail::Torn });
        }
    }
}

#[test]
fn damage_in_the_middle_is_corrupt_and_says_where() {
    let (bytes, starts, _) = file();
    for at in 0..starts[2] {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        let error = fold::<Edit>(3, &broken).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "byte {at}: {error}");
        let record = starts.iter().filter(|start| **start <= at).max().unwrap();
        assert!(error.to_string().contains(&format!("position {record}")), "{error}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = record(3, &[added(1)]).unwrap();
    put(&mut bytes, VERSION_AT, 9u16.to_le_bytes());
    let crc = checksum(&bytes);
    put(&mut bytes, CRC_AT, crc.to_le_bytes());
    let error = fold::<Edit>(3, &bytes).unwrap_err();
    assert_eq!(error.to_string(), "a manifest of a newer version, version 9, supported 1, position 0; upgrade this program");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[test]
fn other_kinds_and_unknown_edits_are_refused() {
    let (bytes, ..) = file();
    assert_eq!(fold::<Edit>(4, &bytes).unwrap_err().kind(), Kind::Corrupt);
    let unknown = record(3, &[serde_json::json!({ "Painted": 1 })]).unwrap();
    let error = fold::<Edit>(3, &unknown).unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.to_string().contains("does not know"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index) {
        let _ = fold::<Edit>(3, &bytes);
        let mut bytes = bytes;
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, record(3, &[added(1)]).unwrap());
        let _ = fold::<Edit>(3, &bytes);
    }
}
