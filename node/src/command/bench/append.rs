//! Durable appends: one row of the given size for each producer at a time, encoding and checksums included.
//!
//! Invariant: a record counts when it is acknowledged, and every record that was acknowledged can be read. Knows nothing of the limit.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aquifer_benches::append;
use aquifer_benches::case::{Case, Contender, Load};
use aquifer_node::Error;
use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::failed;
use crate::command::arguments::Bench;
use crate::command::outcome::Outcome;
use crate::command::session::Session;
use crate::command::store::{CreateTable, Options, Store, Table, Writer};

/// Each case runs so often, in turns with its limit.
const ROUNDS: usize = 3;

const AQUIFER: Contender =
    Contender { name: "aquifer", version: None, driver: None, in_flight: 1, keeps_files: false, open: Records::open };

/// What a contender is opened with; it is a plain function and has nowhere else to keep it.
static OPTIONS: OnceLock<Options> = OnceLock::new();

pub(super) fn run(session: &Session, arguments: &Bench) -> Outcome {
    let options = OPTIONS.get_or_init(|| session.config.options.clone());
    let dir = session.config.dir.parent().filter(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    session.say(&format!("bench append in {}, io {:?}, durability {:?}", dir.display(), options.io, options.durability));
    let options = append::Options {
        dir: dir.to_path_buf(),
        rounds: ROUNDS,
        seconds: f64::from(arguments.seconds),
        size: arguments.size.map_or_else(|| vec![4 << 10, 64 << 10, 1 << 20], |size| vec![size]),
        producers: arguments.producers.map_or_else(|| vec![1, 16, 128], |producers| vec![producers as usize]),
        only: Vec::new(),
        json: arguments.json,
    };
    append::run("append", &[AQUIFER], &options).map_err(failed)?;
    Ok(())
}

struct Records {
    store: Store,
    table: Table,
    schema: SchemaRef,
    writers: Vec<Mutex<Writer>>,
}

impl Records {
    fn open(dir: &Path, load: Load) -> io::Result<Box<dyn Case>> {
        Self::make(dir, load).map(|made| Box::new(made) as Box<dyn Case>).map_err(io::Error::other)
    }

    fn make(dir: &Path, load: Load) -> Result<Self, Error> {
        let store = Store::open(dir, OPTIONS.get().cloned().unwrap_or_default())?;
        let schema = Arc::new(Schema::new(vec![Field::new("record", DataType::Binary, false)]));
        let table = store.create_table("records", CreateTable::like(schema))?;
        let writers = (0..load.producers).map(|_| table.writer().map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Records { schema: table.schema()?, store, table, writers })
    }

    fn rows(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut rows = Vec::new();
        for batch in self.table.scan().build()? {
            let batch = batch?.batch;
            let records = batch.column(0).as_binary::<i32>();
            rows.extend((0..records.len()).map(|row| records.value(row).to_vec()));
        }
        Ok(rows)
    }
}

impl Case for Records {
    fn append(&self, producer: usize, record: &[u8]) -> io::Result<()> {
        let rows = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(BinaryArray::from_vec(vec![record]))]);
        let mut writer = self.writers[producer].lock().unwrap_or_else(PoisonError::into_inner);
        writer.append(&rows.map_err(io::Error::other)?).map(|_| ()).map_err(io::Error::other)
    }

    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.rows().map(Some).map_err(io::Error::other)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Its directory goes next; what the store had to say was said by the appends.
        let _ = self.store.clone().close();
    }
}
