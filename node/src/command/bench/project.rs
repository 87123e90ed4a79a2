//! `bench project`: scans of some columns of a cold log, beside an Arrow IPC file and a Parquet file of the same rows.
//!
//! Ours reads with direct I/O and has no file in the page cache; the others are put out of it before each scan. The store is opened anew after it was
//! written, so that no row is in memory. Knows the engine by its door only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use aquifer_benches::limit::reads::Reads;
use aquifer_benches::machine;
use aquifer_benches::project::{self as harness, Contender, Scanned};
use aquifer_node::store::{CreateTable, Options, ScanBuilder, Store, Table};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::sum;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::properties::WriterProperties;

use super::ground::Ground;
use super::{Lines, ROUNDS, VERSION, rows};
use crate::command::arguments::Bench;

/// Of arrow-ipc and parquet.
const ARROW_VERSION: &str = "58.4.1";

/// Bytes of rows of a log, when nothing else is asked for.
const LOG_BYTES: usize = 1 << 30;

/// Rows of a batch, one log each.
const BATCH_ROWS: [usize; 2] = [10_000, 1_000];

const TABLE: &str = "rows";

/// Runs all sets of columns for both sizes of batches.
pub(super) fn run(ground: &Ground, arguments: &Bench) -> Lines {
    let mut lines = Vec::new();
    for batch_rows in BATCH_ROWS {
        let dir = ground.dir.join("rows");
        std::fs::create_dir_all(&dir)?;
        lines.extend(run_batches(&dir, ground, arguments, batch_rows)?);
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(lines)
}

fn run_batches(dir: &Path, ground: &Ground, arguments: &Bench, batch_rows: usize) -> Lines {
    let bytes = arguments.size.first().copied().unwrap_or(LOG_BYTES);
    let written = Written::new(dir, &ground.options, bytes, batch_rows)?;
    let table = harness::Table {
        batch_rows,
        columns: &column_sets(),
        rounds: arguments.rounds.unwrap_or(ROUNDS) as usize,
        dir,
        limit: &|columns| written.reads(columns),
        cool: &|| written.cool(),
    };
    let by_store = |columns: &[usize], sums| written.by_store(columns, sums);
    let by_ipc = |columns: &[usize], sums| written.by_ipc(columns, sums);
    let by_parquet = |columns: &[usize], sums| written.by_parquet(columns, sums);
    let ours = Contender { name: "aquifer", version: Some(VERSION), driver: Some(ground.driver), scan: &by_store };
    let theirs = Contender { version: Some(ARROW_VERSION), driver: Some("read"), ..ours };
    let contenders = [
        ours,
        Contender { name: "arrow-ipc FileReader", scan: &by_ipc, ..theirs },
        Contender { name: "parquet", scan: &by_parquet, ..theirs },
    ];
    harness::run(&table, &contenders, arguments.json)
}

/// The log and the files of one size of batches.
struct Written {
    #[allow(dead_code, reason = "keeps the store open")]
    store: Store,
    table: Table,
    schema: SchemaRef,
    ipc: PathBuf,
    parquet: PathBuf,
    batch_rows: usize,
}

impl Written {
    /// Writes `bytes` of rows in batches of `batch_rows` into `dir`, three times.
    fn new(dir: &Path, options: &Options, bytes: usize, batch_rows: usize) -> io::Result<Written> {
        let store_dir = dir.join("store");
        let (ipc, parquet) = (dir.join("rows.arrow"), dir.join("rows.parquet"));
        let schema = rows::schema();
        let store = Store::open(&store_dir, options.clone()).map_err(io::Error::other)?;
        let table = store.create_table(TABLE, CreateTable::like(schema.clone())).map_err(io::Error::other)?;
        let mut writer = table.writer().map_err(io::Error::other)?;
        let mut ipc_writer = FileWriter::try_new(File::create(&ipc)?, &schema).map_err(io::Error::other)?;
        // The values are random: a dictionary would be given up after the first pages, and nothing can be compressed.
        let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
        let mut parquet_writer = ArrowWriter::try_new(File::create(&parquet)?, schema.clone(), Some(properties))?;
        for index in 0..(bytes / rows::ROW_BYTES).div_ceil(batch_rows) {
            let batch = rows::batch(&schema, batch_rows, (index * batch_rows) as i64, index as u64 + 1);
            writer.send(&batch).map_err(io::Error::other)?;
            ipc_writer.write(&batch).map_err(io::Error::other)?;
            parquet_writer.write(&batch)?;
        }
        writer.flush().map_err(io::Error::other)?;
        ipc_writer.finish().map_err(io::Error::other)?;
        parquet_writer.close()?;
        drop((writer, table));
        store.close().map_err(io::Error::other)?;
        let store = Store::open(&store_dir, options.clone()).map_err(io::Error::other)?;
        let table = store.table(TABLE).map_err(io::Error::other)?;
        Ok(Written { store, table, schema, ipc, parquet, batch_rows })
    }

    fn scan(&self, columns: &[usize]) -> ScanBuilder {
        let names: Vec<&String> = columns.iter().map(|&column| self.schema.field(column).name()).collect();
        self.table.scan().columns(&names)
    }

    /// Just the reads of the store's scan.
    fn reads(&self, columns: &[usize]) -> io::Result<Reads> {
        let scanner = self.scan(columns).build().map_err(io::Error::other)?;
        Reads::open(&scanner.reads().map_err(io::Error::other)?)
    }

    /// Through the store.
    fn by_store(&self, columns: &[usize], sums: bool) -> io::Result<Scanned> {
        let scanner = self.scan(columns).build().map_err(io::Error::other)?;
        count(scanner.map(|rows| rows.map(|rows| rows.batch).map_err(io::Error::other)), sums)
    }

    /// Through arrow-ipc.
    fn by_ipc(&self, columns: &[usize], sums: bool) -> io::Result<Scanned> {
        let reader = FileReader::try_new_buffered(File::open(&self.ipc)?, Some(columns.to_vec())).map_err(io::Error::other)?;
        count(reader.map(|batch| batch.map_err(io::Error::other)), sums)
    }

    /// Through the parquet crate.
    fn by_parquet(&self, columns: &[usize], sums: bool) -> io::Result<Scanned> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&self.parquet)?)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(self.batch_rows).build()?;
        count(reader.map(|batch| batch.map_err(io::Error::other)), sums)
    }

    /// Puts the files out of the page cache.
    fn cool(&self) -> io::Result<()> {
        [&self.ipc, &self.parquet].into_iter().try_for_each(|path| machine::drop_cache(&File::open(path)?))
    }
}

fn count(batches: impl Iterator<Item = io::Result<RecordBatch>>, sums: bool) -> io::Result<Scanned> {
    let mut scanned = Scanned { rows: 0, sum: sums.then_some(0) };
    for batch in batches {
        let batch = batch?;
        scanned.rows += batch.num_rows() as u64;
        if let Some(total) = &mut scanned.sum
            && *batch.column(0).data_type() == DataType::Int64
        {
            *total = total.wrapping_add(sum(batch.column(0).as_primitive::<Int64Type>()).unwrap_or(0));
        }
        std::hint::black_box(&batch);
    }
    Ok(scanned)
}

/// Sets of 20, 10, 5, 2 and 1 columns, spread over the row; the first of each is an int64.
fn column_sets() -> Vec<Vec<usize>> {
    let every = |step: usize| (0..20).step_by(step).collect();
    vec![every(1), every(2), every(4), vec![3, 13], vec![5]]
}

#[test]
fn all_three_read_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), &Options::default(), 1 << 20, 1000).unwrap();
    for columns in column_sets() {
        let ours = written.by_store(&columns, true).unwrap();
        assert_eq!(ours.rows % 1000, 0);
        assert_eq!(ours, written.by_ipc(&columns, true).unwrap());
        assert_eq!(ours, written.by_parquet(&columns, true).unwrap());
    }
    let all = written.table.scan().build().unwrap().reads().unwrap();
    let one = written.scan(&[5]).build().unwrap().reads().unwrap();
    let bytes = |reads: &[(PathBuf, std::ops::Range<u64>)]| reads.iter().map(|(_, range)| range.end - range.start).sum::<u64>();
    assert!(bytes(&all) >= 1 << 20 && bytes(&one) < bytes(&all) / 8, "{} of {}", bytes(&one), bytes(&all));
}
