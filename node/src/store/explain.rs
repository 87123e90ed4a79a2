//! What an error means to who reads a table's log: where it was, why, and how to go on.
//!
//! Invariant: damage that a reader meets is counted. This module knows nothing of how logs are read.

use super::dropping::why_gone;
use super::table::Table;
use crate::error::{Error, Kind};

/// Adds where to an error of a bucket; when its table or its partition was dropped, that is why.
pub(super) fn explain(table: &Table, (partition_id, partition, bucket): (u32, &str, u32), error: Error) -> Error {
    let explained = match why_gone(table, partition_id, partition) {
        Some(gone) => return gone.caused_by(error),
        // A file that the manifest names, and rows that were acknowledged with it.
        None if error.kind() == Kind::NotFound => {
            let lost = Error::corrupt(format!("a part of the log is gone: {}", error.message())).hint(Error::VERIFY_LISTS);
            error.context().fold(lost, |lost, (name, value)| lost.at(name, value))
        }
        None => error,
    };
    table.store.resources.files.damages().note(&explained);
    let explained = explained.at("table", &table.name).at("bucket", bucket);
    match read_on(table, (partition, bucket), &explained) {
        Some(command) => {
            let lists = Error::VERIFY_LISTS;
            explained.hint(format!("rows before it can be read, and those behind it with `{command}`; {lists}"))
        }
        None => explained,
    }
}

/// The command that reads a log behind damage; `None` where it is not known where that ends.
fn read_on(table: &Table, (partition, bucket): (&str, u32), error: &Error) -> Option<String> {
    let (_, offset) = error.context().find(|(name, _)| *name == "next_offset")?;
    let entry = table.store.entry(table.id, &table.name).ok()?;
    let mut command = format!("aquifer tail {}", table.name);
    if !entry.spec.primary_key.is_empty() {
        command.push_str(" --changelog");
    }
    if !partition.is_empty() {
        command.push_str(&format!(" --partition '{partition}'"));
    }
    if entry.spec.buckets > 1 {
        command.push_str(&format!(" --bucket {bucket}"));
    }
    Some(format!("{command} --from offset:{offset}"))
}

/// The rows were dropped before they were read.
pub(super) fn fell_behind(table: &Table, bucket: u32, offset: u64, start: u64) -> Error {
    let gone = Error::invalid(format!("rows {offset} to {} were dropped before they were read", start - 1));
    gone.at("table", &table.name).at("bucket", bucket).hint("start at `earliest`, or keep rows longer with the table's option retention.ms")
}
