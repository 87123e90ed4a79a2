//! Writers that number their batches: one that is sent again is answered with the place of the first, also after a new start.

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable, Table, Writer, WriterOptions};

use crate::{rows, scratch};

fn numbered_writer(table: &Table, id: i64) -> Writer {
    table.writer_with(WriterOptions { id: Some(id) }).unwrap()
}

fn piece(sequence: i32) -> arrow::array::RecordBatch {
    rows::batch(i64::from(sequence) * 10..i64::from(sequence) * 10 + 10)
}

#[test]
fn a_batch_sent_again_is_not_written_again() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = numbered_writer(&table, 4);
    for sequence in 0..8 {
        let ack = writer.append_numbered(&piece(sequence), sequence).unwrap();
        assert_eq!((ack.first_offset, ack.rows, ack.duplicate), (sequence as u64 * 10, 10, false));
    }
    for sequence in 3..8 {
        let again = numbered_writer(&table, 4).append_numbered(&piece(sequence), sequence).unwrap();
        assert_eq!((again.first_offset, again.duplicate), (sequence as u64 * 10, true));
    }
    let gap = numbered_writer(&table, 4).append_numbered(&piece(9), 9).unwrap_err();
    assert_eq!(gap.kind(), Kind::Conflict);
    assert!(gap.to_string().contains('8'), "it says which comes next: {gap}");
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..80);
}

#[test]
fn the_numbers_survive_a_new_start_and_sealed_segments() {
    let dir = scratch::directory();
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    scratch::open(dir.path()).create_table("t", create).unwrap();
    let mut next_filler = 1_000_000;
    for round in 0..4 {
        let store = scratch::open(dir.path());
        let table = store.table("t").unwrap();
        let mut writer = numbered_writer(&table, 9);
        if round > 0 {
            let last = round * 3 - 1;
            assert!(writer.append_numbered(&piece(last), last).unwrap().duplicate, "round {round}");
        }
        for sequence in round * 3..round * 3 + 3 {
            assert!(!writer.append_numbered(&piece(sequence), sequence).unwrap().duplicate);
        }
        // Others fill more than a segment, so that this writer is remembered by sealed ones only.
        let mut other = table.writer().unwrap();
        for _ in 0..3 {
            other.append(&rows::batch(next_filler..next_filler + 20_000)).unwrap();
            next_filler += 20_000;
        }
    }
    let numbers = rows::numbers(scratch::open(dir.path()).table("t").unwrap().scan().filter("number < 1000000").build().unwrap());
    rows::assert_range(&numbers, 0..120);
}

#[test]
fn each_bucket_counts_for_itself() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema()).buckets(2).bucket_key(&["number"])).unwrap();
    let mut writer = numbered_writer(&table, 1);
    let split = writer.append_numbered(&rows::batch(0..100), 0).unwrap_err();
    assert_eq!(split.kind(), Kind::Invalid, "{split}");
    let mut bucket_of = Vec::new();
    for number in 0..20 {
        let sequence = bucket_of.iter().filter(|bucket| **bucket == 0).count();
        let other = bucket_of.len() - sequence;
        let one = rows::batch(number..number + 1);
        let ack = writer.append_numbered(&one, sequence as i32).or_else(|_| writer.append_numbered(&one, other as i32)).unwrap();
        bucket_of.push(ack.bucket);
    }
    assert_eq!(rows::numbers(table.scan().build().unwrap()).len(), 20);
}

#[test]
fn without_an_identity_there_are_no_numbers() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    assert_eq!(table.writer().unwrap().append_numbered(&piece(0), 0).unwrap_err().kind(), Kind::Invalid);
    let empty = numbered_writer(&table, 4).append_numbered(&rows::batch(0..0), 0).unwrap_err();
    assert_eq!(empty.kind(), Kind::Invalid, "{empty}");
    let negative = numbered_writer(&table, -4).append_numbered(&piece(0), 0).unwrap_err();
    assert_eq!(negative.kind(), Kind::Invalid, "{negative}");
}

#[test]
fn numbers_go_on_across_an_alter() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = numbered_writer(&table, 2);
    writer.append_numbered(&piece(0), 0).unwrap();
    store.alter_table("t", &[Change::add_column("more int64").unwrap()]).unwrap();
    assert!(writer.append_numbered(&piece(0), 0).unwrap().duplicate);
    assert!(!writer.append_numbered(&piece(1), 1).unwrap().duplicate);
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..20);
}

#[test]
fn a_batch_that_would_be_cut_is_refused_and_its_number_is_not_taken() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema()).option("batch.bytes.max", "64KiB")).unwrap();
    let mut writer = numbered_writer(&table, 3);
    let error = writer.append_numbered(&rows::batch(0..20_000), 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.to_string().contains("batch.bytes.max"), "{error}");
    for sequence in 0..3 {
        let ack = writer.append_numbered(&piece(sequence), sequence).unwrap();
        assert_eq!((ack.first_offset, ack.rows, ack.duplicate), (sequence as u64 * 10, 10, false));
    }
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..30);
}

#[test]
fn with_an_identity_every_batch_needs_a_number() {
    let dir = scratch::directory();
    let table = scratch::open(dir.path()).create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = numbered_writer(&table, 3);
    for error in [writer.append(&piece(0)).map(drop).unwrap_err(), writer.send(&piece(0)).unwrap_err()] {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains("append_numbered"), "{error}");
    }
    assert!(writer.flush().unwrap().is_empty());
    assert!(rows::numbers(table.scan().build().unwrap()).is_empty());
}

#[test]
fn a_bucket_that_the_writer_chooses_takes_no_numbers() {
    let dir = scratch::directory();
    let table = scratch::open(dir.path()).create_table("t", CreateTable::like(rows::schema()).buckets(2)).unwrap();
    let error = numbered_writer(&table, 3).append_numbered(&piece(0), 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("bucket key"), "{error}");
}

fn fill(table: &Table, from: i64) {
    let mut other = table.writer().unwrap();
    for batch in 0..12 {
        other.append(&rows::batch(from + batch * 10_000..from + (batch + 1) * 10_000)).unwrap();
    }
}

fn small_segments() -> CreateTable {
    CreateTable::like(rows::schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB")
}

#[test]
fn the_numbers_survive_the_loss_of_directories() {
    let dir = scratch::directory();
    let table = scratch::open(dir.path()).create_table("t", small_segments()).unwrap();
    for sequence in 0..3 {
        numbered_writer(&table, 9).append_numbered(&piece(sequence), sequence).unwrap();
    }
    fill(&table, 1_000_000);
    drop(table);
    let indices = || scratch::files(&dir.path().join("tables"), ".index");
    assert!(indices().len() > 2, "its batches are in the first of several segments: {}", indices().len());
    // The newest alone, then all.
    for all in [false, true] {
        let lost = if all { indices() } else { indices().split_off(indices().len() - 1) };
        lost.iter().for_each(|index| std::fs::remove_file(index).unwrap());
        let table = scratch::open(dir.path()).table("t").unwrap();
        let again = numbered_writer(&table, 9).append_numbered(&piece(2), 2).unwrap();
        assert_eq!((again.first_offset, again.duplicate), (20, true));
        assert!(numbered_writer(&table, 9).append_numbered(&piece(4), 4).is_err(), "3 comes next");
    }
}

#[test]
fn the_numbers_survive_retention_of_everything() {
    let dir = scratch::directory();
    let indices = || scratch::files(&dir.path().join("tables"), ".index");
    {
        let store = scratch::open(dir.path());
        let table = store.create_table("t", small_segments().option("retention.bytes", "0B")).unwrap();
        numbered_writer(&table, 9).append_numbered(&piece(0), 0).unwrap();
        fill(&table, 1_000_000);
        store.expire("t").unwrap();
        drop(table);
        store.close().unwrap();
    }
    assert_eq!(indices().len(), 1, "the last one remembers: {:?}", indices());
    for _ in 0..2 {
        let store = scratch::open(dir.path());
        let table = store.table("t").unwrap();
        assert!(store.stats(Some("t")).unwrap()[0].start_offset > 10, "its row is gone");
        let again = numbered_writer(&table, 9).append_numbered(&piece(0), 0).unwrap();
        assert_eq!((again.first_offset, again.duplicate), (0, true));
        drop(table);
        store.close().unwrap();
    }
    // The next seal remembers for it.
    let store = scratch::open(dir.path());
    let table = store.table("t").unwrap();
    fill(&table, 2_000_000);
    store.expire("t").unwrap();
    assert!(numbered_writer(&table, 9).append_numbered(&piece(0), 0).unwrap().duplicate);
    drop(table);
    store.close().unwrap();
    assert_eq!(indices().len(), 1, "{:?}", indices());
}

#[test]
fn several_are_under_way_at_a_time() {
    let dir = scratch::directory();
    let table = scratch::open(dir.path()).create_table("t", CreateTable::like(rows::schema())).unwrap();
    let mut writer = numbered_writer(&table, 4);
    (0..20).for_each(|sequence| writer.send_numbered(&piece(sequence), sequence).unwrap());
    assert_eq!(writer.flush().unwrap().len(), 20);
    // The last five again, as after a crash of the application; then on.
    let mut again = numbered_writer(&table, 4);
    (15..25).for_each(|sequence| again.send_numbered(&piece(sequence), sequence).unwrap());
    let told: Vec<_> = again.flush().unwrap().iter().map(|ack| (ack.first_offset, ack.duplicate)).collect();
    assert_eq!(told, (15..25).map(|sequence| (sequence as u64 * 10, sequence < 20)).collect::<Vec<_>>());
    assert_eq!(again.send_numbered(&piece(26), 26).unwrap_err().kind(), Kind::Conflict);
    assert!(!again.append_numbered(&piece(25), 25).unwrap().duplicate, "an error of one does not stop the others");
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..260);
}
