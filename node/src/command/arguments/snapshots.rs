//! Snapshots, as the user types them.
//!
//! Invariant: what parses here is well formed, though it may name what does not exist. Knows nothing of how a verb is carried out.

use clap::Args;

use super::super::store::Version;
use super::{Settings, time_ms};

pub(super) const HELP: &str = "Examples:
  aquifer snapshots customers
  aquifer snapshots customers --create
  aquifer snapshots customers --create --tag before-migration
  aquifer snapshots customers --tag monday --of 3
  aquifer snapshots customers --delete-tag monday

Without an option it lists them. A snapshot has the rows of all buckets at one moment; it takes room only for what changes afterwards.
Tables make them by themselves with --set snapshot.interval.ms=5min. They expire as snapshot.time-retained and snapshot.num-retained.min
and .max have it; one with a tag does not. `scan --snapshot`, `lookup --snapshot` and `tail --from snapshot:N` read them.";

/// `snapshots`
#[derive(Args, Debug)]
pub(crate) struct Snapshots {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Make one of the rows as they are now
    #[arg(long)]
    pub(crate) create: bool,
    /// Name the one that is made, or another; one with a tag does not expire
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Which one to tag [default: the newest]
    #[arg(long, value_name = "N|TAG", requires = "tag", conflicts_with = "create", value_parser = version)]
    pub(crate) of: Option<Version>,
    /// Take a name away
    #[arg(long, value_name = "TAG", conflicts_with_all = ["create", "tag"])]
    pub(crate) delete_tag: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// A table as it was.
#[derive(Args, Debug)]
pub(crate) struct At {
    /// As a snapshot has them: its number or its tag
    #[arg(long, value_name = "N|TAG", value_parser = version)]
    snapshot: Option<Version>,
    /// As the newest snapshot has them that was made at or before this time (a time, or milliseconds since 1970)
    #[arg(long, value_name = "T", value_parser = time_ms, conflicts_with = "snapshot", allow_hyphen_values = true)]
    as_of: Option<i64>,
}

impl At {
    /// Which snapshot is meant, if any.
    pub(crate) fn version(&self) -> Option<Version> {
        self.snapshot.clone().or(self.as_of.map(Version::AsOf))
    }
}

pub(super) fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|error: aquifer_node::Error| error.message().to_string())
}
