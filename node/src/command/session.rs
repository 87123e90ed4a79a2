//! What verbs share: the configuration, the opened store, and printing small results.
//!
//! Invariant: a store is opened for writing only by verbs that write. Knows nothing of single verbs.

use std::io::IsTerminal;

use aquifer_node::Error;
use arrow::datatypes::SchemaRef;
use serde::Serialize;

use super::config::Config;
use super::outcome::{Outcome, tell};
use super::output::{Format, Output, Purpose, Reader, write_line, write_text};
use super::report::Report;
use super::store::Store;

pub(crate) struct Session {
    pub(crate) config: Config,
}

impl Session {
    /// The store to write to; makes its directory.
    pub(crate) fn store(&self) -> Outcome<Store> {
        self.dir_is_there()?;
        let store = Store::open(&self.config.dir, self.config.options.clone())?;
        self.tell_io(&store);
        Ok(store)
    }

    /// Whether the directory has a store that can be read, perhaps while somebody writes to it.
    pub(crate) fn has_store(&self) -> Outcome<bool> {
        Ok(self.dir_is_there()? && Store::open_read_only(&self.config.dir, self.config.options.clone()).is_ok())
    }

    /// The store to write to, which must be there: nothing is made for a table that cannot be in it.
    pub(crate) fn store_to_change(&self) -> Outcome<Store> {
        self.check_dir()?;
        self.store()
    }

    /// Closes a store that was written to, and says what its background work could not do: nothing that was acknowledged is lost by it, but nobody else would hear of it.
    pub(crate) fn close(&self, store: Store) -> Outcome {
        for failure in store.take_background_failures() {
            tell(format_args!("aquifer: background work failed: {failure}"));
        }
        Ok(store.close()?)
    }

    /// The store to read from, which must be there.
    pub(crate) fn store_to_read(&self) -> Outcome<Store> {
        self.check_dir()?;
        let store = Store::open_read_only(&self.config.dir, self.config.options.clone())?;
        self.tell_io(&store);
        Ok(store)
    }

    fn tell_io(&self, store: &Store) {
        if self.config.verbose {
            let (driver, reason) = store.io();
            tell(format_args!("{}: io {driver} ({reason}), durability {:?}", store.dir().display(), self.config.options.durability));
        }
    }

    fn check_dir(&self) -> Outcome {
        if self.dir_is_there()? {
            return Ok(());
        }
        let missing = Error::not_found("there is no data directory").at("dir", self.config.dir.display());
        Err(missing.hint("name it with --dir, or make it with aquifer init").into())
    }

    /// Whether the data directory is there, which may also be empty.
    pub(crate) fn dir_is_there(&self) -> Outcome<bool> {
        let dir = &self.config.dir;
        match dir.metadata() {
            Ok(found) if found.is_dir() => Ok(true),
            Ok(_) => {
                let file = Error::invalid("the data directory is a file").at("dir", dir.display());
                Err(file.hint("name a directory with --dir").into())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("look at", dir, error).into()),
        }
    }

    /// The format of the output: as asked for, else a table on a terminal and json lines elsewhere.
    pub(crate) fn format(&self) -> Format {
        self.format_asked_for().unwrap_or(if self.prints_to_terminal() { Format::Table } else { Format::Json })
    }

    /// The format that --output says, else the name of --out, else the settings: what is set for all command lines does not
    /// put text into a file that this one calls .parquet.
    pub(crate) fn format_asked_for(&self) -> Option<Format> {
        let config = &self.config;
        let of_name = || config.out.as_deref().and_then(Format::of_name);
        let of_flag = config.output.filter(|_| config.output_is_flag);
        of_flag.or_else(of_name).or(config.output)
    }

    /// Refuses a file whose name promises a format that rows are not printed in, before anything is done for it.
    pub(crate) fn check_out(&self) -> Outcome {
        let Some(path) = &self.config.out else { return Ok(()) };
        match path.extension() {
            Some(extension) if !self.config.output_is_flag && Format::of_name(path).is_none() => {
                let unknown = format!("no format is called .{}", extension.to_string_lossy());
                let unknown = Error::invalid(unknown).at("out", path.display());
                Err(unknown
                    .hint("name the file .json, .jsonl, .ndjson, .csv, .arrow, .arrows (both an arrow stream) or .parquet, or say --output")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody reads the output as it comes.
    pub(crate) fn prints_to_terminal(&self) -> bool {
        self.config.out.is_none() && std::io::stdout().is_terminal()
    }

    /// Who reads the output, if it goes to a pipe or a socket.
    pub(crate) fn reader(&self) -> Option<Reader> {
        if self.config.out.is_none() { Reader::of_standard_output() } else { None }
    }

    /// Opens the output for rows.
    pub(crate) fn output(&self, schema: SchemaRef, purpose: Purpose) -> Outcome<Output> {
        Output::open(self.format(), self.config.out.as_deref(), schema, purpose)
    }

    /// Prints a small result.
    pub(crate) fn print(&self, report: &Report) -> Outcome {
        let batch = report.batch()?;
        let mut output = self.output(batch.schema(), Purpose::Report)?;
        output.write(&batch)?;
        output.finish()?;
        Ok(())
    }

    /// Prints a result that is more than rows as one line of JSON.
    pub(crate) fn print_json(&self, result: &impl Serialize) -> Outcome {
        let line = serde_json::to_string(result).map_err(|error| Error::internal(format!("a result is no JSON: {error}")))?;
        self.print_text(&line)
    }

    /// Prints text and ends its line.
    pub(crate) fn print_text(&self, text: &str) -> Outcome {
        match &self.config.out {
            Some(path) => write_text(path, &format!("{text}\n")),
            None => write_line(text),
        }
    }

    /// Says that something was done, to people only.
    pub(crate) fn say(&self, text: &str) {
        if !self.config.quiet {
            tell(text);
        }
    }
}
