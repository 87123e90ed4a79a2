//! Batch headers: round trips, checksums, damage.

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn header() -> BatchHeader {
    BatchHeader {
        base_offset: 1 << 40,
        length: 100,
        version: 1,
        commit_timestamp: 1_700_000_000_123,
        crc: 0xdead_beef,
        schema_id: 3,
        append_only: false,
        last_offset_delta: 4,
        writer_id: 99,
        sequence: 12,
        rows: 5,
        statistics_bytes: 20,
    }
}

#[test]
fn what_is_written_is_read() {
    for (version, statistics_bytes) in [(0, 0), (1, 20)] {
        let header = BatchHeader { version, statistics_bytes, ..header() };
        let mut bytes = [0; 100];
        header.write(&mut bytes);
        assert_eq!(BatchHeader::read(&bytes).unwrap(), header);
        assert_eq!(header.statistics_range(), header.header_bytes()..header.header_bytes() + statistics_bytes);
        assert_eq!(header.message_start(), header.header_bytes() + statistics_bytes + 5);
        assert_eq!(header.next_offset(), (1 << 40) + 5);
    }
}

#[test]
fn patching_leaves_the_checksum_valid() {
    let mut bytes = [7; 100];
    BatchHeader { crc: 0, ..header() }.write(&mut bytes);
    let crc = checksum(&bytes);
    put(&mut bytes, CRC_AT, crc.to_le_bytes());
    patch(&mut bytes, 42, 43);
    let header = BatchHeader::read(&bytes).unwrap();
    assert_eq!((header.base_offset, header.commit_timestamp), (42, 43));
    header.verify(&bytes).unwrap();
    bytes[99] ^= 1;
    assert_eq!(header.verify(&bytes).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(header.verify(&bytes[..99]).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn headers_that_do_not_fit_together_are_refused() {
    let refuse = |change: &dyn Fn(&mut [u8]), kind| {
        let mut bytes = [0; 100];
        header().write(&mut bytes);
        change(&mut bytes);
        assert_eq!(BatchHeader::read(&bytes).unwrap_err().kind(), kind);
    };
    refuse(&|bytes| bytes[MAGIC_AT] = 2, Kind::Unavailable);
    refuse(&|bytes| bytes[ATTRIBUTES_AT] = 2, Kind::Corrupt);
    refuse(&|bytes| put(bytes, LENGTH_AT, (-1i32).to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, LENGTH_AT, 60i32.to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, RECORD_COUNT_AT, (-1i32).to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, RECORD_COUNT_AT, 6i32.to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, LAST_OFFSET_DELTA_AT, (-1i32).to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, BASE_OFFSET_AT, i64::MAX.to_le_bytes()), Kind::Corrupt);
    refuse(&|bytes| put(bytes, STATISTICS_LENGTH_AT, i32::MAX.to_le_bytes()), Kind::Corrupt);
}

#[test]
fn unknown_change_types_are_refused() {
    let mut bytes = [0; 100];
    header().write(&mut bytes);
    assert_eq!(header().change_types(&bytes).unwrap(), Some(&[0; 5][..]));
    bytes[header().change_types_range().start] = 5;
    assert_eq!(header().change_types(&bytes).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_run_ends_behind_its_first_error() {
    let mut run = vec![0; 260];
    header().write(&mut run[..]);
    BatchHeader { base_offset: 5, ..header() }.write(&mut run[100..]);
    BatchHeader { base_offset: 10, ..header() }.write(&mut run[200..]);
    let found: Vec<_> = Batches::new(&run).collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].as_ref().unwrap().position, 100);
    assert!(found[2].as_ref().unwrap_err().to_string().contains("cut off, offset 10, position 200"));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for batch in Batches::new(&bytes).flatten() {
            let _ = (batch.header.verify(batch.bytes), batch.header.change_types(batch.bytes));
        }
    }
}
