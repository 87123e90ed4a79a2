//! `lookup`: rows by their primary key.
//!
//! Invariant: rows come out in the order of the keys; nothing is printed when no key has a row. Knows nothing of formats.

use std::path::Path;

use aquifer_node::Error;
use arrow::array::RecordBatch;

use super::arguments::{Lookup, OnError};
use super::input::{BATCH_ROWS, Columns, Event, Format, Input, parse_keys};
use super::interrupt;
use super::outcome::{Failure, Outcome};
use super::output::{Output, Purpose};
use super::session::Session;
use super::store::{Table, Version};

pub(crate) fn lookup(session: &Session, arguments: &Lookup) -> Outcome {
    let table = session.store_to_read()?.table(&arguments.table)?;
    let key = table.describe()?.primary_key;
    if key.is_empty() {
        let keyless = Error::invalid("a table without a primary key has no keys to look up").at("table", &arguments.table);
        return Err(keyless.hint("read it with aquifer scan --where").into());
    }
    interrupt::catch();
    let mut found = Found { session, table: &table, output: None, at: arguments.at.version(), keys: 0, rows: 0 };
    match &arguments.keys {
        Some(path) => found.look_up_all(path, arguments.format, &key)?,
        None => found.look_up(&parse_keys(&arguments.key, &*table.schema()?, &key)?)?,
    }
    found.finish(&arguments.table)
}

struct Found<'a> {
    session: &'a Session,
    table: &'a Table,
    at: Option<Version>,
    /// Opened with the first row.
    output: Option<Output>,
    keys: u64,
    rows: u64,
}

impl Found<'_> {
    fn look_up_all(&mut self, path: &Path, format: Option<Format>, key: &[String]) -> Outcome {
        let columns = Columns::of_keys(&*self.table.schema()?, key);
        let mut input = Input::open(path, format, columns, BATCH_ROWS, OnError::Fail).map_err(Failure::of_data)?;
        loop {
            interrupt::check()?;
            match input.next().map_err(Failure::of_data)? {
                Event::Rows(keys) => match self.look_up(&keys) {
                    Err(Failure::Error(error, _)) => return Err(Failure::of_data(error)),
                    other => other?,
                },
                Event::Idle => {}
                Event::End => return Ok(()),
            }
        }
    }

    fn look_up(&mut self, keys: &RecordBatch) -> Outcome {
        let rows = match &self.at {
            Some(version) => self.table.lookup_at(keys, version)?.rows,
            None => self.table.lookup(keys)?.rows,
        };
        self.keys += keys.num_rows() as u64;
        self.rows += rows.num_rows() as u64;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let output = match &mut self.output {
            Some(output) => output,
            None => self.output.insert(self.session.output(rows.schema(), Purpose::Rows)?),
        };
        output.write(&rows)
    }

    fn finish(self, table: &str) -> Outcome {
        let Found { session, output, keys, rows, .. } = self;
        if let Some(output) = output {
            output.finish()?;
        }
        let plural = if keys == 1 { "key" } else { "keys" };
        match rows {
            0 if keys > 0 && session.config.quiet => Err(Failure::not_found()),
            0 if keys > 0 => Err(Error::not_found(format!("no row has the {plural}")).at("table", table).at("keys", keys).into()),
            _ => {
                if rows < keys {
                    session.say(&format!("{} of {keys} {plural} not found", keys - rows));
                }
                Ok(())
            }
        }
    }
}
