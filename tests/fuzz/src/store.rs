//! A whole store whose files are damaged: it may refuse, but what it reads is what was written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use aquifer_node::Result;
use aquifer_node::io::page::{SLOT_BYTES, View};
use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::io::{Driver, Mode, Pool};
use aquifer_node::store::{CreateTable, Options, Store, Version};
use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use crate::forge;

const DIR: &str = "/store";
const PAGE: &str = "/store/commit.page";

/// Slots that are in use.
const SLOTS: usize = 6;

/// Rows in the log table.
const ROWS: usize = 20_009;

/// Keys in the other one. The first of them were written again, the last not flushed.
const KEYS: i64 = 300;
const KEYS_AGAIN: i64 = 50;

/// Bytes of one damage: file, place, what is done there.
const DAMAGE_BYTES: usize = 8;

/// Damages at a time.
const DAMAGES_MAX: usize = 8;

/// A disk with a small store on it, and its files.
struct Sample {
    sim: Arc<Sim>,
    files: Vec<(PathBuf, u64)>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let sim = Sim::new(1, Faults { short_one_in: 0, ..Faults::default() });
    let store = Store::open_with(sim.clone(), DIR, Options::default()).expect("a healthy disk");
    fill_log(&store).and_then(|()| fill_keyed(&store)).expect("a healthy disk");
    store.close().expect("a healthy disk");
    let mut files = Vec::new();
    list(&sim, Path::new(DIR), &mut files);
    Sample { sim, files }
});

fn fill_log(store: &Store) -> Result<()> {
    let create = CreateTable::like(rows(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let mut writer = store.create_table("t", create)?.writer()?;
    for (from, count) in [(0, 3), (3, 2000), (2003, 1), (2004, 9000), (11_004, 9000), (20_004, 5)] {
        writer.append(&rows(from, count))?;
    }
    store.expire("t").map(drop)
}

/// A run, a snapshot that has it, another run, and rows that are in none.
fn fill_keyed(store: &Store) -> Result<()> {
    let table = store.create_table("k", CreateTable::like(rows(0, 1).schema()).primary_key(&["number"]))?;
    let mut writer = table.writer()?;
    writer.upsert(&rows(0, KEYS))?;
    table.create_snapshot(Some("first"))?;
    writer.upsert(&rows_again(0, KEYS_AGAIN))?;
    store.flush("k")?;
    writer.upsert(&rows(KEYS, 5)).map(drop)
}

fn list(sim: &Sim, dir: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in sim.list(dir).expect("it is there") {
        let path = dir.join(&entry.name);
        match entry.is_dir {
            true => list(sim, &path, files),
            // What is in the page's slots is another process's memory, not bytes of a file.
            false if entry.bytes > 0 && entry.name != "commit.page" => files.push((path, entry.bytes)),
            false => {}
        }
    }
}

fn text(number: i64) -> String {
    format!("row {number} {}", "x".repeat(number as usize % 50))
}

fn rows(from: i64, count: i64) -> RecordBatch {
    rows_of(from, count, text)
}

fn rows_again(from: i64, count: i64) -> RecordBatch {
    rows_of(from, count, |number| format!("again {number}"))
}

fn rows_of(from: i64, count: i64, text: impl Fn(i64) -> String) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(from..from + count);
    let texts = StringArray::from_iter_values((from..from + count).map(text));
    RecordBatch::try_from_iter([("number", Arc::new(numbers) as _), ("text", Arc::new(texts) as _)]).expect("two columns")
}

/// Takes the bytes as damages, then follows the store, opens it, reads and checks it; whether all could be read.
pub fn run(data: &[u8]) -> bool {
    let Sample { sim, files } = &*SAMPLE;
    let sim = sim.kill(1);
    sim.set_faults(Faults { short_one_in: 0, ..Faults::default() });
    let mut is_forged = false;
    for damage in data.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX) {
        let (path, bytes) = &files[damage[0] as usize % files.len()];
        let place = u64::from(u32::from_le_bytes(damage[1..5].try_into().expect("four bytes")));
        // Most of a segment is empty; most decisions stand at the start of a file.
        let place = if damage[5] & 1 == 0 { place % bytes } else { place % bytes.min(&8192) };
        // What a slot of the page says is believed: it is another process's memory. So are edits with a good checksum.
        let done = match damage[5] >> 3 {
            0 => publish(&sim, damage).map(|()| true),
            1..=7 => put(&sim, path, place, damage).and_then(|()| forge(&sim, path)),
            _ => put(&sim, path, place, damage).map(|()| false),
        };
        is_forged |= done.unwrap_or(true);
    }
    if let Ok(follower) = Store::open_read_only_with(sim.clone(), DIR, Options::default()) {
        let _ = (read(&follower, is_forged), read_keyed(&follower, is_forged));
    }
    let mut is_whole = false;
    if let Ok(store) = Store::open_with(sim.clone(), DIR, Options::default()) {
        is_whole = read(&store, is_forged).is_ok_and(|rows| rows == ROWS);
        is_whole &= read_keyed(&store, is_forged).is_ok_and(|rows| rows == (KEYS as usize, KEYS as usize + 5));
        let _ = store.verify(None, &mut |_| {}).map(|report| report.problems.len());
        let _ = store.table("t").and_then(|table| table.writer()).and_then(|mut writer| writer.append(&rows(1_000_000, 1)));
        let _ = store.table("k").and_then(|table| table.writer()).and_then(|mut writer| writer.upsert(&rows(1_000_000, 1)));
        let _ = (store.expire("t"), store.flush("k"), store.compact("k", true), store.expire("k"));
    }
    is_whole
}

/// Says something else in a slot of the page.
fn publish(sim: &Sim, damage: &[u8]) -> std::io::Result<()> {
    let page = sim.page(Path::new(PAGE), SLOTS * SLOT_BYTES, true)?;
    let index = 1 + damage[0] as usize % (SLOTS - 1);
    let Some(mut view) = page.slot(index).view() else { return Ok(()) };
    let number = u64::from_le_bytes(damage.try_into().expect("eight bytes")) >> (damage[6] % 64);
    match damage[7] % 4 {
        0 => view.start = number,
        1 => view.end = number,
        2 => view.epoch = number as u32,
        _ => view.owner = number,
    }
    page.publish(index, View { ..view });
    Ok(())
}

/// Gives good checksums to the records of a file of edits; whether it is one.
fn forge(sim: &Sim, path: &Path) -> std::io::Result<bool> {
    if path.extension().is_some() {
        return Ok(false);
    }
    let pool = Pool::new(0);
    let file = sim.open(path, Mode::Write, false)?;
    let bytes = sim.len(&file)? as usize;
    let mut buffer = pool.get(bytes.max(1));
    let count = sim.read_at(&file, &mut buffer, bytes, 0)?;
    let mut records = buffer[..count].to_vec();
    forge::records(&mut records);
    sim.write_at(&file, &[pool.copy_of(&records).freeze()], 0, true)?;
    Ok(true)
}

fn put(sim: &Sim, path: &Path, place: u64, damage: &[u8]) -> std::io::Result<()> {
    let pool = Pool::new(0);
    let file = sim.open(path, Mode::Write, false)?;
    if damage[5] & 6 == 6 {
        return sim.set_len(&file, place);
    }
    let mut old = pool.get(2);
    let count = sim.read_at(&file, &mut old, 2, place)?;
    let new: Vec<u8> = old[..count].iter().zip(&damage[6..8]).map(|(old, change)| old ^ change).collect();
    sim.write_at(&file, &[pool.copy_of(&new).freeze()], place, true)
}

/// Reads on until something is refused. Damage may hide rows, never change them; what was forged says what it likes.
fn read(store: &Store, is_forged: bool) -> Result<usize> {
    let mut rows = 0;
    for next in store.table("t")?.scan().build()? {
        let next = next?;
        rows += next.batch.num_rows();
        for (row, offset) in (next.first_offset..).take(next.batch.num_rows()).enumerate() {
            let (number, found) = row_of(&next.batch, row);
            assert!(
                is_forged || (number, found) == (offset as i64, text(offset as i64).as_str()),
                "row {number} at offset {offset}: {found}"
            );
        }
    }
    Ok(rows)
}

/// Reads the keys, as they were and as they are: so many rows each.
fn read_keyed(store: &Store, is_forged: bool) -> Result<(usize, usize)> {
    let table = store.table("k")?;
    let _ = table.snapshots().map(|snapshots| snapshots.len());
    let _ = table.lookup(&rows(KEYS_AGAIN - 1, 3)).map(|found| found.rows.num_rows());
    let was = count(table.scan().at(Version::Tag("first".to_string())).build()?, &|number, found| is_forged || found == text(number))?;
    let is = count(table.scan().build()?, &|number, found| is_forged || found == text(number) || found == format!("again {number}"))?;
    Ok((was, is))
}

fn count(scan: aquifer_node::store::Scanner, is_right: &dyn Fn(i64, &str) -> bool) -> Result<usize> {
    let mut rows = 0;
    for next in scan {
        let batch = next?.batch;
        for row in 0..batch.num_rows() {
            let (number, found) = row_of(&batch, row);
            assert!(is_right(number, found), "row {number}: {found}");
        }
        rows += batch.num_rows();
    }
    Ok(rows)
}

fn row_of(batch: &RecordBatch, row: usize) -> (i64, &str) {
    (batch.column(0).as_primitive::<Int64Type>().value(row), batch.column(1).as_string::<i32>().value(row))
}
