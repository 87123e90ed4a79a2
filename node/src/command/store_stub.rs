//! Stands in for the store: tables in memory, shared by directory name.
#![allow(dead_code, reason = "stands in")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use aquifer_node::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options(Vec<(&'static str, String)>);

pub(crate) struct OptionEntry {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) description: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Options(vec![("io", "auto".into()), ("durability", "sync".into()), ("files.open.max", "512".into())])
    }
}

impl Options {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "io" && !["auto", "uring", "threads"].contains(&value) {
            return Err(Error::invalid("no such io"));
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value.into(),
            None => return Err(Error::invalid(format!("unknown option {name}"))),
        }
        Ok(())
    }

    pub(crate) fn entries(&self) -> Vec<OptionEntry> {
        self.0.iter().map(|(name, value)| OptionEntry { name, value: value.clone(), description: "" }).collect()
    }
}

pub(crate) struct CreateTable {
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: String,
    pub(crate) buckets: u32,
    pub(crate) bucket_key: Vec<String>,
    pub(crate) options: Vec<(String, String)>,
}

struct Inner {
    name: String,
    schema: SchemaRef,
    batches: Mutex<Vec<(u64, RecordBatch)>>,
    bell: Condvar,
}

#[derive(Clone)]
pub(crate) struct Table(Arc<Inner>);

type Tables = Mutex<HashMap<String, Table>>;

static STORES: OnceLock<Mutex<HashMap<String, Arc<Tables>>>> = OnceLock::new();

pub(crate) struct Store(Arc<Tables>);

pub(crate) struct TableSummary {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) columns: usize,
    pub(crate) partitions: usize,
    pub(crate) buckets: u32,
}

impl Store {
    pub(crate) fn open(dir: &Path, _: Options) -> Result<Store> {
        let stores = STORES.get_or_init(Default::default);
        Ok(Store(stores.lock().unwrap().entry(dir.display().to_string()).or_default().clone()))
    }

    pub(crate) fn open_read_only(dir: &Path, options: Options) -> Result<Store> {
        Store::open(dir, options)
    }

    pub(crate) fn create_table(&self, name: &str, create: CreateTable) -> Result<Table> {
        let inner = Inner { name: name.into(), schema: create.schema, batches: Mutex::default(), bell: Condvar::new() };
        let table = Table(Arc::new(inner));
        match self.0.lock().unwrap().insert(name.into(), table.clone()) {
            Some(_) => Err(Error::conflict("the table exists").at("table", name)),
            None => Ok(table),
        }
    }

    pub(crate) fn table(&self, name: &str) -> Result<Table> {
        self.0.lock().unwrap().get(name).cloned().ok_or_else(|| Error::not_found("there is no such table").at("table", name))
    }

    pub(crate) fn tables(&self) -> Result<Vec<TableSummary>> {
        let tables = self.0.lock().unwrap();
        let summary = |table: &Table| TableSummary {
            name: table.0.name.clone(),
            id: 1,
            columns: table.0.schema.fields().len(),
            partitions: 1,
            buckets: 1,
        };
        Ok(tables.values().map(summary).collect())
    }

    pub(crate) fn drop_table(&self, name: &str) -> Result<()> {
        self.0.lock().unwrap().remove(name).map(|_| ()).ok_or_else(|| Error::not_found("there is no such table").at("table", name))
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Inner {
    fn rows(&self) -> u64 {
        self.batches.lock().unwrap().last().map_or(0, |(first, batch)| first + batch.num_rows() as u64)
    }
}

pub(crate) struct Ack {
    pub(crate) partition: Arc<str>,
    pub(crate) bucket: u32,
    pub(crate) first_offset: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) latency: Duration,
}

pub(crate) struct Writer {
    table: Table,
    acks: Vec<Ack>,
}

impl Writer {
    pub(crate) fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let started = Instant::now();
        let mut batches = self.table.0.batches.lock().unwrap();
        let first_offset = batches.last().map_or(0, |(first, batch)| first + batch.num_rows() as u64);
        batches.push((first_offset, batch.clone()));
        self.table.0.bell.notify_all();
        let (rows, bytes) = (batch.num_rows() as u64, batch.get_array_memory_size() as u64);
        self.acks.push(Ack { partition: "".into(), bucket: 0, first_offset, rows, bytes, latency: started.elapsed() });
        Ok(())
    }

    pub(crate) fn acks(&mut self) -> Result<Vec<Ack>> {
        Ok(std::mem::take(&mut self.acks))
    }

    pub(crate) fn flush(&mut self) -> Result<Vec<Ack>> {
        self.acks()
    }
}

impl Table {
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(self.0.schema.clone())
    }

    pub(crate) fn writer(&self) -> Result<Writer> {
        Ok(Writer { table: self.clone(), acks: Vec::new() })
    }

    pub(crate) fn scan(&self) -> ScanBuilder {
        ScanBuilder { table: self.clone(), columns: None, limit: None, start: Start::Earliest, follow: false }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Earliest,
    Latest,
    Offset(u64),
    Timestamp(i64),
}

pub(crate) struct ScanBuilder {
    table: Table,
    columns: Option<Vec<String>>,
    limit: Option<u64>,
    start: Start,
    follow: bool,
}

impl ScanBuilder {
    pub(crate) fn columns(mut self, columns: &[&str]) -> Self {
        self.columns = Some(columns.iter().map(ToString::to_string).collect());
        self
    }
    pub(crate) fn filter(self, _: &str) -> Self {
        self
    }
    pub(crate) fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }
    pub(crate) fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
    pub(crate) fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }
    pub(crate) fn meta(self, _: bool) -> Self {
        self
    }
    pub(crate) fn build(self) -> Result<Scanner> {
        let schema = &self.table.0.schema;
        let places = match &self.columns {
            Some(names) => names
                .iter()
                .map(|name| schema.index_of(name))
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| Error::invalid(e.to_string()))?,
            None => (0..schema.fields().len()).collect(),
        };
        let next = match self.start {
            Start::Latest => self.table.0.batches.lock().unwrap().len(),
            _ => 0,
        };
        Ok(Scanner { places, next, left: self.limit.unwrap_or(u64::MAX), follow: self.follow, table: self.table })
    }
}

pub(crate) struct ScanBatch {
    pub(crate) partition: String,
    pub(crate) bucket: u32,
    pub(crate) first_offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) batch: RecordBatch,
}

pub(crate) enum Next {
    Batch(ScanBatch),
    Waiting,
    End,
}

pub(crate) struct Scanner {
    table: Table,
    places: Vec<usize>,
    next: usize,
    left: u64,
    follow: bool,
}

impl Scanner {
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::new(self.table.0.schema.project(&self.places).unwrap())
    }

    pub(crate) fn next(&mut self, timeout: Option<Duration>) -> Result<Next> {
        let mut batches = self.table.0.batches.lock().unwrap();
        if self.left == 0 {
            return Ok(Next::End);
        }
        if self.next >= batches.len() {
            if !self.follow {
                return Ok(Next::End);
            }
            batches = self.table.0.bell.wait_timeout(batches, timeout.unwrap_or(Duration::from_secs(9))).unwrap().0;
            if self.next >= batches.len() {
                return Ok(Next::Waiting);
            }
        }
        let (first_offset, batch) = batches[self.next].clone();
        self.next += 1;
        let batch = batch.slice(0, (batch.num_rows() as u64).min(self.left) as usize).project(&self.places).unwrap();
        self.left -= batch.num_rows() as u64;
        let timestamp_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        Ok(Next::Batch(ScanBatch { partition: String::new(), bucket: 0, first_offset, timestamp_ms, batch }))
    }
}
