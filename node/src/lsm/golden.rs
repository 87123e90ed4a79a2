//! A run as it was written first. The file is never written again: what it holds must stay readable, and the same rows must become the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::builder::RunBuilder;
use super::rows::{Chunk, Reader};
use super::run::{Blocks, Reach, Run, RunMeta, run_path};
use super::tile::Tile;
use crate::format::run_index;
use crate::io::sim::{Faults, Sim};
use crate::io::{Driver, FileCache, Mode, Pool};
use crate::merge::function::{RESTART, RETRACTED};
use crate::merge::{Outcome, Ref};
use crate::table::types::Field;
use crate::table::{ChangeType, ColumnType, TableName, TableSchema, TableSpec};

const DIR: &str = "/bucket";

/// A run, and what the manifest would say of it.
type Golden = (&'static str, RunMeta);

/// With other blocks, and a smaller filter, than runs have now.
const FIRST: Golden = ("run.bin", RunMeta { id: 7, index_at: 29_824, index_bytes: 1_116, rows: 700, deletes: 3 });

/// As runs are written now.
const FULL: Golden = ("run_full.bin", RunMeta { id: 7, index_at: 29_824, index_bytes: 1_628, rows: 700, deletes: 3 });

fn bytes_of((name, _): Golden) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "tests", "golden", "v1", name].iter().collect();
    #[expect(clippy::disallowed_methods, reason = "a golden file is read as it is")]
    std::fs::read(path).unwrap()
}

fn spec() -> TableSpec {
    let name = Field::new("name", ColumnType::Utf8, false);
    let fields = vec![name, Field::new("part", ColumnType::Int64, false), Field::new("value", ColumnType::Int64, true)];
    let mut spec = TableSpec::new(TableName::new("default", "t").unwrap(), 1, TableSchema::new(fields).unwrap(), 0);
    spec.primary_key = vec![1, 2];
    spec
}

fn rows() -> (RecordBatch, Vec<u8>) {
    let names = StringArray::from_iter_values((0..700).map(|row| format!("customer {:03} of many", row / 2)));
    let parts = Int64Array::from_iter_values((0..700).map(|row| row % 2 - 1));
    let values = Int64Array::from_iter((0..700).map(|row| (row % 7 != 0).then_some(row * row)));
    let batch = RecordBatch::try_new(spec().schema().arrow().clone(), vec![Arc::new(names), Arc::new(parts), Arc::new(values)]).unwrap();
    let mut kinds = vec![ChangeType::UpdateAfter.to_byte(); 700];
    for row in [3, 4, 699] {
        kinds[row] = ChangeType::Delete.to_byte();
    }
    (kinds[600], kinds[601]) = (RESTART, RETRACTED);
    (batch, kinds)
}

fn reach() -> (Arc<Sim>, Reach) {
    let driver = Sim::new(1, Faults::default());
    driver.create_dir_all(Path::new(DIR)).unwrap();
    let files = Arc::new(FileCache::new(8, Mode::Read));
    (driver.clone(), Reach { driver, files, pool: Pool::new(1 << 20), blocks: Blocks::new(1 << 20) })
}

#[test]
fn runs_are_read_as_they_were_written_first() {
    [FIRST, FULL].into_iter().for_each(check);
}

fn check(golden: Golden) {
    let (driver, reach) = reach();
    let (bytes, meta) = (bytes_of(golden), golden.1);
    let file = driver.open(&run_path(Path::new(DIR), meta.id), Mode::Create, true).unwrap();
    driver.write_at(&file, &[reach.pool.copy_of(&bytes).freeze()], 0, true).unwrap();
    let reader = Reader::new(Arc::new(spec())).unwrap();
    let run = Run::open(reach, Path::new(DIR), meta, false).unwrap();
    assert_eq!(run.check(&reader, &mut |error| panic!("{error}")).rows, 700);
    let (wanted, wanted_kinds) = rows();
    let mut row = 0;
    for chunk in run.read_blocks(&reader, 0..run.index().blocks().len()).unwrap() {
        assert_eq!(*chunk.columns.view().batch(), wanted.slice(row, chunk.rows()));
        let telling = |kind: u8| crate::merge::function::is_telling(kind);
        for at in 0..chunk.rows() {
            let kind = chunk.kinds.as_ref().map_or(ChangeType::UpdateAfter.to_byte(), |kinds| kinds[at]);
            assert!(kind == wanted_kinds[row + at] || !telling(kind) && !telling(wanted_kinds[row + at]), "row {}", row + at);
        }
        row += chunk.rows();
    }
    assert_eq!((row, wanted.column(2).as_primitive::<Int64Type>().null_count()), (700, 100));
    assert_eq!(run_index::VERSION, 1, "a new version wants a golden file of its own");
}

#[test]
fn the_same_rows_become_the_same_bytes() {
    let (driver, reach) = reach();
    let reader = Reader::new(Arc::new(spec())).unwrap();
    let (_, meta) = FULL;
    let mut builder = RunBuilder::new(&reach, Path::new(DIR), meta.id, reader.schema()).unwrap();
    let (batch, kinds) = rows();
    let keys = reader.keys().encode(&batch).unwrap();
    let chunk = Chunk { columns: batch.into(), kinds: None, keys, has_images: false, is_merged: false };
    let outcome = Outcome::of_rows((0..700).map(|row| Ref::new(0, row)).collect(), Some(kinds));
    builder.push(&Tile::new(vec![Arc::new(chunk)], outcome, None)).unwrap();
    let run = builder.finish().unwrap();
    let file = driver.open(&run_path(Path::new(DIR), meta.id), Mode::Read, true).unwrap();
    let length = driver.len(&file).unwrap() as usize;
    let mut bytes = reach.pool.get(length);
    driver.read_at(&file, &mut bytes, length, 0).unwrap();
    assert_eq!(run.meta(), meta);
    assert!(bytes[..] == bytes_of(FULL)[..], "the run is written to other bytes");
}
