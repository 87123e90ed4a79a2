//! A whole store whose files are damaged: it may refuse, but what it reads is what was written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use aquifer_node::Result;
use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::io::{Driver, Mode, Pool};
use aquifer_node::store::{CreateTable, Options, Store};
use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

const DIR: &str = "/store";

/// Rows in the store.
const ROWS: usize = 20_009;

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
    let create = CreateTable::like(rows(0, 1).schema()).option("segment.bytes", "1MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create).expect("a new table");
    let mut writer = table.writer().expect("a writer");
    for (from, count) in [(0, 3), (3, 2000), (2003, 1), (2004, 9000), (11_004, 9000), (20_004, 5)] {
        writer.append(&rows(from, count)).expect("a healthy disk");
    }
    store.expire("t").expect("segments are sealed");
    store.close().expect("a healthy disk");
    let mut files = Vec::new();
    list(&sim, Path::new(DIR), &mut files);
    Sample { sim, files }
});

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
    let numbers = Int64Array::from_iter_values(from..from + count);
    let texts = StringArray::from_iter_values((from..from + count).map(text));
    RecordBatch::try_from_iter([("number", Arc::new(numbers) as _), ("text", Arc::new(texts) as _)]).expect("two columns")
}

/// Takes the bytes as damages, then follows the store, opens it, reads and checks it; whether all could be read.
pub fn run(data: &[u8]) -> bool {
    let Sample { sim, files } = &*SAMPLE;
    let sim = sim.kill(1);
    sim.set_faults(Faults { short_one_in: 0, ..Faults::default() });
    for damage in data.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX) {
        let (path, bytes) = &files[damage[0] as usize % files.len()];
        let place = u64::from(u32::from_le_bytes(damage[1..5].try_into().expect("four bytes")));
        // Most of a segment is empty; most decisions stand at the start of a file.
        let place = if damage[5] & 1 == 0 { place % bytes } else { place % bytes.min(&8192) };
        let _ = put(&sim, path, place, damage);
    }
    if let Ok(follower) = Store::open_read_only_with(sim.clone(), DIR, Options::default()) {
        let _ = read(&follower);
    }
    let mut is_whole = false;
    if let Ok(store) = Store::open_with(sim.clone(), DIR, Options::default()) {
        is_whole = read(&store).is_ok_and(|rows| rows == ROWS);
        let _ = store.verify(None, &mut |_| {}).map(|report| report.problems.len());
        let _ = store.table("t").and_then(|table| table.writer()).and_then(|mut writer| writer.append(&rows(1_000_000, 1)));
        let _ = store.expire("t");
    }
    is_whole
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

/// Reads on until something is refused. Damage may hide rows, never change them.
fn read(store: &Store) -> Result<usize> {
    let mut rows = 0;
    for next in store.table("t")?.scan().build()? {
        let next = next?;
        let numbers = next.batch.column(0).as_primitive::<Int64Type>();
        let texts = next.batch.column(1).as_string::<i32>();
        rows += next.batch.num_rows();
        for (row, offset) in (next.first_offset..).take(next.batch.num_rows()).enumerate() {
            assert_eq!((numbers.value(row), texts.value(row)), (offset as i64, text(offset as i64).as_str()), "a row at offset {offset}");
        }
    }
    Ok(rows)
}
