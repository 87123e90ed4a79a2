//! Bytes that Java wrote, and bytes of all kinds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hex.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Written by Paimon 2.0.0 for Java: what it is made of, and the bytes.
fn golden() -> Vec<(Vec<u64>, Vec<u8>)> {
    let one = "01010000000000000004000000000000000000000000000000000001000000fe01000000010201000000050001000000000000000000000000000000";
    let few = "010400000000000000000200000000ff0000020001000000010000020002000000000100040000000000000000000000000000000000040000000000
        00000001010000000000000004000000000001000000020000000000000004000000ffffffffffff030000000000000001000000fe04000000010202
        0000000100030001020100000007000102010000000000010201000000ffff04000000000000000000000003000000";
    vec![(vec![], vec![0]), (vec![5], bytes(one)), (vec![1, 3, 65536 + 7, 1 << 40, u64::MAX], bytes(few))]
}

#[test]
fn what_java_writes_is_written() {
    for (numbers, bytes) in golden() {
        let mut map: RoaringTreemap = numbers.into_iter().collect();
        assert_eq!(decode(&bytes).unwrap(), map);
        assert_eq!(encode(&mut map), bytes);
    }
}

/// Numbers of some keys of the tree: in turn a run, every second number, and three numbers.
fn numbers_of_keys(keys: u64) -> RoaringTreemap {
    let mut map = RoaringTreemap::new();
    for key in 0..keys {
        let (count, step) = [(5000, 1), (5000, 2), (3, 7)][key as usize % 3];
        map.extend((0..count).map(|number| (key << 40) + (key << 16) + number * step));
    }
    map
}

#[test]
fn every_node_and_container_is_written_as_java_writes_it() {
    // Length and crc32c of what Paimon 2.0.0 for Java writes.
    for (keys, length, crc) in [(6, 16_608, 0x92d7_fbc7), (19, 49_982, 0x689a_aa57), (94, 256_658, 0x65c7_14d4)] {
        let mut map = numbers_of_keys(keys);
        let bytes = encode(&mut map);
        assert_eq!((bytes.len(), crc_fast::crc32_iscsi(&bytes)), (length, crc), "{keys} keys");
        assert_eq!(decode(&bytes).unwrap(), map);
    }
}

#[test]
fn places_without_a_container_are_read() {
    // Written by Java, which put the larger numbers in first and left room behind the last container.
    let padded = "010500000000000000010500050000000000000000040302010000000000000000000400000000000000000004000000000000000400000000000000
        000103000000000000000400000000000000000202000000000000000400000000000000000301000000000000000400000000000000000400000000
        0000000001000000fe060000000102010000000400010201000000030001020100000002000102010000000100010201000000000000050000000000
        00000000000004000000";
    assert_eq!(decode(&bytes(padded)).unwrap(), (0..5).map(|key| (key << 16) + key).collect());
}

#[test]
fn a_container_stands_for_one_key() {
    let mut bytes = encode(&mut numbers_of_keys(2));
    let leaf = |key: u8| [[4, 0, 0, 0, 0, 0].as_slice(), &[key, 0, 0, key], &[key]].concat();
    let at = bytes.windows(11).position(|window| window == leaf(1)).expect("the second leaf") + 10;
    bytes[at] = 0;
    assert_eq!(decode(&bytes).unwrap_err().kind(), Kind::Invalid);
}

fn sets() -> impl Strategy<Value = BTreeSet<u64>> {
    let run =
        (0_u64..4, 0_u64..1 << 17, 1_u64..20_000).prop_map(|(high, start, count)| ((high << 32) + start..).take(count as usize).collect());
    let steps = (any::<u64>(), 1_u64..9000).prop_map(|(start, count)| (0..count).map(|number| start.wrapping_add(number * 2)).collect());
    let keys = (0_u32..48, 1_u64..400).prop_map(|(shift, count)| (0..count).map(|number| (number << 16) << (shift / 2)).collect());
    prop_oneof![proptest::collection::btree_set(any::<u64>(), 0..300), run, steps, keys]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn goes_there_and_back(one in sets(), other in sets()) {
        let mut map: RoaringTreemap = one.iter().collect();
        let bytes = encode(&mut map);
        let read = decode(&bytes).unwrap();
        prop_assert!(read.iter().eq(one.iter().copied()));
        // What is written does not depend on how the numbers came together.
        let mut union = decode(&bytes).unwrap() | decode(&encode(&mut other.iter().collect())).unwrap();
        let mut all: RoaringTreemap = one.union(&other).copied().collect();
        prop_assert_eq!(encode(&mut union), encode(&mut all));
    }

    #[test]
    fn damage_is_invalid_or_another_bitmap(numbers in proptest::collection::btree_set(0_u64..1 << 20, 1..20), at: usize, byte: u8, length: usize) {
        let mut bytes = encode(&mut numbers.into_iter().collect());
        let at = at % bytes.len();
        bytes[at] = byte;
        let short = &bytes[..length % bytes.len()];
        prop_assert!(short == [0] || decode(short).is_err());
        if let Err(error) = decode(&bytes) {
            prop_assert_eq!(error.kind(), Kind::Invalid);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..200)) {
        if let Ok(mut map) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&mut map)).unwrap(), map);
        }
    }
}
