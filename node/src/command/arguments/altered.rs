//! Verbs that change or drop a table that has rows, as the user types them.
//!
//! Invariant: what parses here is well formed, though it may name what does not exist. Knows nothing of how a verb is carried out.

use clap::Args;

use super::{Settings, pair};

pub(super) const ALTER_HELP: &str = "Examples:
  aquifer alter clicks --add-column 'device utf8' --rename page=url
  aquifer alter clicks --widen 'quantity int64' --drop-column referrer
  aquifer alter clicks --set retention.ms=7d --reset compression
  aquifer alter totals --merge aggregation --set fields.spent.aggregate-function=sum

All changes hold together, or none: columns are dropped, renamed, widened and added, in this order, then options are reset and set.
Another way to merge holds for rows that are written from now on: those that are there are merged first, as the table was, and the
row of each key then counts as its first. Writers wait meanwhile. Merge options follow a column that is renamed.";

pub(super) const DROP_HELP: &str = "Examples:
  aquifer drop clicks
  aquifer drop sales --partition country=CH/at_day=2026-01-31

`aquifer describe` names the partitions. Rows that are written for a partition that was dropped make it anew.
Partitions of a log table whose rows are all older than retention.ms are dropped by themselves, and by `aquifer expire`.";

pub(super) const RESCALE_HELP: &str = "Example: aquifer rescale clicks --buckets 8

The rows are copied into the new buckets: of a table with a primary key each row as it is now, of a log table all rows, those of
one old bucket in their order. The old table serves readers until the copy takes its place, all at once; it needs room beside it.
Offsets begin anew, and so do commit times, from which retention.ms counts, and the numbers of numbered writers.
Scans and tails that are under way then end with an error that says that the table was dropped: open it again, and begin again.";

/// `alter`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["add_column", "rename", "drop_column", "widen", "merge", "set", "reset"]))]
pub(crate) struct Alter {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Add a nullable column: 'NAME TYPE', perhaps with 'first' or 'after OTHER' behind it
    #[arg(long, value_name = "'NAME TYPE'")]
    pub(crate) add_column: Vec<String>,
    /// Rename a column
    #[arg(long, value_name = "OLD=NEW")]
    pub(crate) rename: Vec<String>,
    /// Drop a column
    #[arg(long, value_name = "NAME")]
    pub(crate) drop_column: Vec<String>,
    /// Give a column a wider type
    #[arg(long, value_name = "'NAME TYPE'")]
    pub(crate) widen: Vec<String>,
    /// What becomes of rows with the same primary key from now on: deduplicate, first-row, partial-update or aggregation
    #[arg(long, value_name = "ENGINE")]
    pub(crate) merge: Option<String>,
    /// Change an option of the table
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Give an option of the table its default again
    #[arg(long, value_name = "KEY")]
    pub(crate) reset: Vec<String>,
}

/// `drop`
#[derive(Args, Debug)]
pub(crate) struct Drop {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Only this partition, as `aquifer describe` names it [default: all of the table]
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `rescale`
#[derive(Args, Debug)]
pub(crate) struct Rescale {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Buckets of each partition from now on, 1 to 65534
    #[arg(long, value_name = "N")]
    pub(crate) buckets: u32,
    #[command(flatten)]
    pub(crate) settings: Settings,
}
