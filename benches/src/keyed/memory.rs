//! A store in memory for the tests of the harness: it does what it should, or loses a row when everything is settled.

use super::row::{KEY_BYTES, Sum, split};
use super::shape::{CHEAP, Shape};
use super::{Batch, Contender, Form, Keyed, Load, Open, Scanned, Wanted};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;

struct Memory {
    shape: Shape,
    rows: Mutex<BTreeMap<[u8; KEY_BYTES], Vec<u8>>>,
    loses: bool,
}

/// Keeps all rows.
pub(super) const KEEPS: Contender<'static> = contender("keeps", &|_, load| open(load, false));

/// Loses one.
pub(super) const LOSES: Contender<'static> = contender("loses", &|_, load| open(load, true));

/// Cannot take part.
pub(super) const ABSENT: Contender<'static> = contender("absent", &|_: &Path, _: &Load| Err(io::ErrorKind::Unsupported.into()));

const fn contender(name: &'static str, open: Open<'static>) -> Contender<'static> {
    Contender { name, version: None, driver: None, form: Form::Rows, open }
}

fn open(load: &Load, loses: bool) -> io::Result<Box<dyn Keyed>> {
    Ok(Box::new(Memory { shape: load.shape, rows: Mutex::default(), loses }))
}

impl Keyed for Memory {
    fn upsert(&self, batch: &Batch) -> io::Result<()> {
        let rows = batch.rows().iter().map(|row| (*row.first_chunk().unwrap(), row.to_vec()));
        self.rows.lock().unwrap().extend(rows);
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        if self.loses {
            self.rows.lock().unwrap().pop_first();
        }
        Ok(())
    }

    fn commit(&self) -> io::Result<()> {
        self.settle()
    }

    fn append(&self, _: &Batch) -> io::Result<()> {
        Ok(())
    }

    fn sum(&self) -> io::Result<Sum> {
        let mut sum = Sum::default();
        self.rows.lock().unwrap().values().for_each(|row| sum.add(row));
        Ok(sum)
    }

    fn scan(&self, wanted: Wanted) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        for row in self.rows.lock().unwrap().values() {
            let (_, value) = split(row);
            if wanted != Wanted::Cheap || self.shape.price_of(value) < CHEAP {
                scanned.add(self.shape.second_of(value));
            }
        }
        Ok(scanned)
    }

    fn lookup(&self, keys: &Batch) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        let rows = self.rows.lock().unwrap();
        let found = keys.rows().iter().filter_map(|key| rows.get(key));
        found.for_each(|row| scanned.add(self.shape.second_of(split(row).1)));
        Ok(scanned)
    }
}
