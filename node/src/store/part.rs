//! The part of a table that a scan reads: all of it, some buckets, one partition.
//!
//! Invariant: what is not there is refused, never read as nothing. This module knows nothing of rows.

use super::catalog::TableEntry;
use crate::error::{Error, Result};
use crate::table::did_you_mean;

/// Partitions that the error for an unknown one names.
const PARTITIONS_NAMED_MAX: usize = 10;

/// The part of a table that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// All without.
    pub(super) buckets: Option<Vec<u32>>,
    /// All without.
    pub(super) partition: Option<String>,
}

impl Part {
    /// Errors: Invalid for a bucket that the table does not have, or a partition of a table without; NotFound for an unknown partition.
    pub(super) fn check(&self, entry: &TableEntry) -> Result<()> {
        let (spec, buckets) = (&entry.spec, entry.spec.buckets);
        if let Some(unknown) = self.buckets.iter().flatten().find(|bucket| **bucket >= buckets) {
            let error = Error::invalid(format!("there is no bucket {unknown}")).at("table", &spec.name);
            return Err(error.hint(if buckets == 1 {
                "it has bucket 0 only".into()
            } else {
                format!("it has buckets 0 to {}", buckets - 1)
            }));
        }
        match &self.partition {
            Some(name) if entry.partition(name).is_none() || name.is_empty() => Err(no_such_partition(entry, name)),
            _ => Ok(()),
        }
    }

    pub(super) fn has_partition(&self, name: &str) -> bool {
        self.partition.as_ref().is_none_or(|wanted| wanted == name)
    }

    pub(super) fn has_bucket(&self, bucket: u32) -> bool {
        self.buckets.as_ref().is_none_or(|wanted| wanted.contains(&bucket))
    }
}

pub(super) fn no_such_partition(entry: &TableEntry, name: &str) -> Error {
    let table = &entry.spec.name;
    if entry.spec.partition_by.is_empty() {
        return Error::invalid("the table has no partitions").at("table", table).hint("read all of it");
    }
    let error = Error::not_found(format!("there is no partition {name}")).at("table", table);
    let names: Vec<&str> = entry.partitions.values().map(|partition| partition.name.as_str()).collect();
    match names.len() {
        0 => error.hint("it has none yet: rows make them"),
        1..=PARTITIONS_NAMED_MAX => error.hint(format!("it has {}", names.join(", "))),
        count => {
            let near = did_you_mean(name, names.iter().copied());
            let near = if near.is_empty() { format!("it has {}, ...", names[..PARTITIONS_NAMED_MAX].join(", ")) } else { near };
            error.hint(format!("{near} ({count} in all; `aquifer describe` shows them)"))
        }
    }
}
