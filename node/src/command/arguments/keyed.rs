//! Verbs for tables with a primary key, as the user types them.
//!
//! Invariant: what parses here is well formed, though it may name what does not exist. Knows nothing of how a verb is carried out.

use std::path::PathBuf;

use clap::Args;

use super::{At, Feed, InputFormat, Settings};

pub(super) const UPSERT_HELP: &str = "Examples:
  aquifer upsert customers --from customers.csv
  changes | aquifer upsert customers --from - --format ndjson --op-column _op --acks

Inputs are those of append. With --op-column each row says what it is: +I or +U a row (also 0 or 2), -D its end (3),
-U the row before the +U of the same key that follows it (1). A -U and its +U are written together or not at all.";

pub(super) const DELETE_HELP: &str = "Examples:
  aquifer delete customers --keys gone.csv
  echo '{\"id\":7}' | aquifer delete customers --keys - --format ndjson

The input has the columns of the primary key; other columns of the table may be there, and do not matter.
A key that has no row is deleted as well: that is no error.";

pub(super) const LOOKUP_HELP: &str = "Examples:
  aquifer lookup customers --key id=7
  aquifer lookup sales --key country=CH,number=1 --key country=AT,number=9 --output csv
  aquifer lookup customers --keys wanted.csv
  aquifer lookup sales --prefix country=CH
  aquifer lookup customers --key id=7 --snapshot 3
  aquifer lookup sales --prefix country=CH --as-of 2026-01-31T12:00:00Z
  aquifer lookup places --key 'name=\"Paris, Texas\",kind=city'

A value holds commas and equals signs as it stands: name=x,y and name=a=1. In double quotes it holds anything, also what looks like the next
column, and double quotes doubled: name=\"say \"\"hi\"\", n=1\". The shell has quotes of its own: put the whole key in single ones.

Rows come in the order of the keys. How many keys have no row is said on stderr. With --prefix all rows come whose key begins so;
that is fast where the --bucket-key of the table is part of it, else all buckets are asked.";

pub(super) const COMPACT_HELP: &str = "Examples:
  aquifer compact customers
  aquifer compact customers --full

It also happens by itself, where it pays. Afterwards less is read for a scan.";

/// `upsert`
#[derive(Args, Debug)]
pub(crate) struct Upsert {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// The rows; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) from: PathBuf,
    /// A column of the input that says what each row is: +I, -U, +U, -D, or 0 to 3; no column of the table unless it has one of this name
    #[arg(long, value_name = "COLUMN")]
    pub(crate) op_column: Option<String>,
    #[command(flatten)]
    pub(crate) feed: Feed,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `delete`
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// The keys; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) keys: PathBuf,
    #[command(flatten)]
    pub(crate) feed: Feed,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `lookup`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("wanted").required(true).args(["key", "keys", "prefix"]))]
pub(crate) struct Lookup {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// A key, with all columns of the primary key; may be said again for more
    #[arg(long, value_name = "COLUMN=VALUE,..")]
    pub(crate) key: Vec<String>,
    /// The keys; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) keys: Option<PathBuf>,
    /// The first column of the primary key, or the first few: all rows whose key begins so; may be said again for more
    #[arg(long, value_name = "COLUMN=VALUE,..")]
    pub(crate) prefix: Vec<String>,
    /// How the keys of --keys are written [default: by the name and first bytes]
    #[arg(long, value_name = "FORMAT", requires = "keys")]
    pub(crate) format: Option<InputFormat>,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `compact`
#[derive(Args, Debug)]
pub(crate) struct Compact {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Merge all runs of each bucket into one
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}
