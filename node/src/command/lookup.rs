//! `lookup`: rows by their primary key, or by what it begins with.
//!
//! Invariant: rows come out in the order of the keys; nothing is printed when no key has a row. Knows nothing of formats.

use std::path::Path;

use aquifer_node::Error;
use arrow::array::RecordBatch;

use super::arguments::{Lookup, OnError};
use super::input::{BATCH_ROWS, Columns, Event, Format, Input, key_parts, parse_keys};
use super::interrupt;
use super::outcome::{Failure, Outcome};
use super::output::{Output, Purpose};
use super::quote::quote;
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
    let what = if arguments.prefix.is_empty() { "key" } else { "prefix" };
    let mut found = Found { session, table: &table, output: None, at: arguments.at.version(), keys: 0, missing: 0, what };
    match &arguments.keys {
        Some(path) => found.look_up_all(path, arguments.format, &key)?,
        None if !arguments.prefix.is_empty() => {
            let first = first_columns(&arguments.prefix[0], &key).map_err(|error| error.at("table", &arguments.table))?;
            found.look_up_prefixes(&parse_keys(&arguments.prefix, &*table.schema()?, first)?)?;
        }
        None => found.look_up(&parse_keys(&arguments.key, &*table.schema()?, &key)?)?,
    }
    found.finish(&arguments.table)
}

/// The columns of the key that a prefix has.
fn first_columns<'a>(prefix: &str, key: &'a [String]) -> aquifer_node::Result<&'a [String]> {
    let names: Vec<String> = key_parts(prefix).into_iter().filter_map(|part| Some(part.named?.name)).collect();
    let named = key.iter().filter(|column| names.contains(column)).count();
    let first = &key[..named.max(1)];
    match first.iter().all(|column| names.contains(column)) {
        true => Ok(first),
        false => {
            let gap = Error::invalid("no key begins with these columns").at("prefix", quote(prefix));
            Err(gap.hint(format!("the primary key is {}: give the first of them, or the first few", key.join(", "))))
        }
    }
}

struct Found<'a> {
    session: &'a Session,
    table: &'a Table,
    at: Option<Version>,
    /// Opened with the first row.
    output: Option<Output>,
    keys: u64,
    /// Keys without a row.
    missing: u64,
    /// What the keys are.
    what: &'static str,
}

impl Found<'_> {
    fn look_up_all(&mut self, path: &Path, format: Option<Format>, key: &[String]) -> Outcome {
        let columns = Columns::of_keys(&*self.table.schema()?, key);
        let mut input = Input::open(path, format, columns, BATCH_ROWS, OnError::Fail).map_err(Failure::of_data)?;
        loop {
            interrupt::check()?;
            match input.next().map_err(Failure::of_data)? {
                Event::Rows(keys) => match self.look_up(&keys.rows) {
                    Err(Failure::Error(error, _)) => return Err(Failure::of_data(keys.locate(error))),
                    other => other?,
                },
                Event::Idle => {}
                Event::End => return Ok(()),
            }
        }
    }

    fn look_up(&mut self, keys: &RecordBatch) -> Outcome {
        let found = match &self.at {
            Some(version) => self.table.lookup_at(keys, version)?,
            None => self.table.lookup(keys)?,
        };
        self.keys += keys.num_rows() as u64;
        self.missing += found.places.iter().filter(|place| place.is_none()).count() as u64;
        self.show(&found.rows)
    }

    fn look_up_prefixes(&mut self, prefixes: &RecordBatch) -> Outcome {
        let found = match &self.at {
            Some(version) => self.table.lookup_prefix_at(prefixes, version)?,
            None => self.table.lookup_prefix(prefixes)?,
        };
        self.keys += prefixes.num_rows() as u64;
        self.missing += found.counts.iter().filter(|count| **count == 0).count() as u64;
        self.show(&found.rows)
    }

    fn show(&mut self, rows: &RecordBatch) -> Outcome {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let output = match &mut self.output {
            Some(output) => output,
            None => self.output.insert(self.session.output(rows.schema(), Purpose::Rows)?),
        };
        output.write(rows)
    }

    fn finish(self, table: &str) -> Outcome {
        let Found { session, output, keys, missing, what, .. } = self;
        if let Some(output) = output {
            output.finish()?;
        }
        let plural = match (keys, what) {
            (1, _) => what.to_string(),
            (_, "key") => "keys".to_string(),
            _ => format!("{what}es"),
        };
        match keys - missing {
            0 if keys > 0 && session.config.quiet => Err(Failure::not_found()),
            0 if keys > 0 => Err(Error::not_found(format!("no row has the {plural}")).at("table", table).at("keys", keys).into()),
            _ => {
                if missing > 0 {
                    session.say(&format!("{missing} of {keys} {plural} not found"));
                }
                Ok(())
            }
        }
    }
}
