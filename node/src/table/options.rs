//! The settings of a table, as `--set name=value` writes them and `describe` shows them.
//!
//! Invariant: every option has a default, a line of documentation, and parses what it prints. The catalog keeps only what
//! differs from the defaults. Names of a newer program are kept as they are: an older one reads its tables, and changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::expiry::{EXPIRE_TIME, TIME_FIELD};
use super::names::{in_quotes, parse_names, print_names, quoted_name};
use super::nearest::did_you_mean;
use super::quantity::{parse_bytes, parse_duration_ms, print_bytes, print_duration_ms};
use crate::error::{Error, Result};

/// Batches of fewer rows carry no statistics: they would cost more than they save.
pub const STATISTICS_ROWS_MIN: usize = 1024;
/// The level of `compression=zstd`.
pub const ZSTD_LEVEL_DEFAULT: i32 = 1;

const ZSTD_LEVELS: RangeInclusive<i32> = 1..=22;
const SEGMENT_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
/// What options of snapshots begin with: only tables with a primary key have them.
const SNAPSHOT_PREFIX: &str = "snapshot.";
/// Options beside those of snapshots that only tables with a primary key have a use for.
const KEYED: [&str; 3] = [EXPIRE_TIME, TIME_FIELD, "write-only"];
/// Each snapshot is a flush of every bucket, and tables are looked at every five seconds.
const SNAPSHOT_INTERVAL_MS_MIN: u64 = 5_000;
const BATCH_BYTES: RangeInclusive<u64> = 4 << 10..=256 << 20;

/// How the Arrow bodies of log batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: reads hand the stored bytes on.
    #[default]
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard at this level, 1 to 22.
    Zstd(i32),
}

/// Which columns have minimum, maximum and null count in each batch of at least [`STATISTICS_ROWS_MIN`] rows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Statistics {
    /// Dates, times and timestamps: what most filters of a log ask for. Bounds of all columns take as long as encoding the rows.
    #[default]
    Times,
    /// All top-level columns of fixed width and strings.
    All,
    /// None.
    None,
    /// These.
    Columns(Vec<String>),
}

/// How a writer spreads rows over the buckets of a table without bucket key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Assign {
    /// Fill one bucket's batch, then go to the next.
    #[default]
    Sticky,
    /// Each batch of rows to the next bucket.
    RoundRobin,
}

/// The settings of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct TableOptions {
    /// How the Arrow bodies of log batches are compressed.
    pub compression: Compression,
    /// Which columns have statistics in each batch.
    pub statistics: Statistics,
    /// Rows older than this may be trimmed, in milliseconds.
    pub retention_ms: Option<u64>,
    /// The oldest segments of a bucket that exceeds this may be trimmed, in bytes.
    pub retention_bytes: Option<u64>,
    /// How long a row of a table with a primary key is kept after its time, in milliseconds.
    pub record_expire_ms: Option<u64>,
    /// The column that has the time of a row.
    pub record_time_field: Option<String>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes that an encoded batch may have.
    pub batch_bytes_max: u64,
    /// How rows are spread over buckets without a bucket key.
    pub bucket_assign: Assign,
    /// Whether runs of a table with a primary key are merged only when somebody asks for it.
    pub write_only: bool,
    /// A snapshot is made by itself when rows came and the last one is older than this, in milliseconds.
    pub snapshot_interval_ms: Option<u64>,
    /// So many of the newest snapshots are kept however old they are.
    pub snapshot_num_retained_min: u64,
    /// No more of the newest snapshots are kept however young they are.
    pub snapshot_num_retained_max: Option<u64>,
    /// Snapshots older than this expire, in milliseconds.
    pub snapshot_time_retained_ms: u64,
    /// Options of a newer program.
    unknown: BTreeMap<String, String>,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            compression: Compression::None,
            statistics: Statistics::Times,
            retention_ms: None,
            retention_bytes: None,
            record_expire_ms: None,
            record_time_field: None,
            segment_bytes: 64 << 20,
            batch_bytes_max: 16 << 20,
            bucket_assign: Assign::Sticky,
            write_only: false,
            snapshot_interval_ms: None,
            snapshot_num_retained_min: 10,
            snapshot_num_retained_max: None,
            snapshot_time_retained_ms: 3_600_000,
            unknown: BTreeMap::new(),
        }
    }
}

/// One option for `describe` and the help: its name, what it says, in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    /// The name, as in `--set name=value`.
    pub name: &'static str,
    /// What it decides and what it accepts.
    pub doc: &'static str,
}

/// Every option of a table.
pub const OPTIONS: &[OptionDoc] = &[
    OptionDoc { name: "compression", doc: "how log batches are compressed: none, lz4, zstd or zstd:LEVEL" },
    OptionDoc { name: "statistics.columns", doc: "columns with min, max and null count per batch, for filters: times, *, none or a,b" },
    OptionDoc { name: "retention.ms", doc: "rows older than this may be trimmed: none or a time as in 7d" },
    OptionDoc { name: "retention.bytes", doc: "a bucket bigger than this may be trimmed at its start: none or a size as in 10GiB" },
    OptionDoc { name: EXPIRE_TIME, doc: "a row of a table with a primary key is gone so long after its time: none or a time as in 7d" },
    OptionDoc { name: TIME_FIELD, doc: "the column with the time of a row: a timestamp, int32 seconds, int64 seconds or milliseconds" },
    OptionDoc { name: "segment.bytes", doc: "size of a segment file, 1MiB to 1GiB" },
    OptionDoc { name: "batch.bytes.max", doc: "most bytes of an encoded batch, 4KiB to 256MiB" },
    OptionDoc { name: "bucket.assign", doc: "where rows go without a bucket key: sticky or round-robin" },
    OptionDoc { name: "write-only", doc: "runs are merged only by `compact`, not in the background: true or false" },
    OptionDoc {
        name: "snapshot.interval.ms",
        doc: "how often changed rows get a snapshot by themselves: none or a time as in 5min, at least 5s",
    },
    OptionDoc { name: "snapshot.num-retained.min", doc: "so many newest snapshots are kept however old they are, at least 1" },
    OptionDoc { name: "snapshot.num-retained.max", doc: "no more newest snapshots are kept however young they are: none or at least 1" },
    OptionDoc { name: "snapshot.time-retained", doc: "snapshots older than this expire: a time as in 1h" },
];

impl OptionDoc {
    /// Whether only tables with a primary key have a use for it.
    pub fn is_of_keyed_tables(&self) -> bool {
        self.name.starts_with(SNAPSHOT_PREFIX) || KEYED.contains(&self.name)
    }
}

impl TableOptions {
    /// Sets one option from text; the others stay as they are.
    ///
    /// # Errors
    /// Invalid for an unknown name, with the nearest one, and for a bad value, with what is accepted.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let value = value.trim();
        let located = |error: Error| error.at("option", name);
        match name {
            "compression" => self.compression = parse_compression(value).map_err(located)?,
            "statistics.columns" => self.statistics = parse_statistics(value)?,
            "retention.ms" => self.retention_ms = parse_limit(value, parse_duration_ms).map_err(located)?,
            "retention.bytes" => self.retention_bytes = parse_limit(value, parse_bytes).map_err(located)?,
            EXPIRE_TIME => self.record_expire_ms = parse_limit(value, parse_duration_ms).map_err(located)?,
            TIME_FIELD => self.record_time_field = parse_column(value).map_err(located)?,
            "segment.bytes" => self.segment_bytes = parse_within(value, SEGMENT_BYTES).map_err(located)?,
            "batch.bytes.max" => self.batch_bytes_max = parse_within(value, BATCH_BYTES).map_err(located)?,
            "bucket.assign" => self.bucket_assign = parse_assign(value).map_err(located)?,
            "write-only" => self.write_only = parse_truth(value).map_err(located)?,
            "snapshot.interval.ms" => self.snapshot_interval_ms = parse_limit(value, parse_interval_ms).map_err(located)?,
            "snapshot.num-retained.min" => self.snapshot_num_retained_min = parse_count(value).map_err(located)?,
            "snapshot.num-retained.max" => self.snapshot_num_retained_max = parse_limit(value, parse_count).map_err(located)?,
            "snapshot.time-retained" => self.snapshot_time_retained_ms = parse_duration_ms(value).map_err(located)?,
            _ => {
                let hint = did_you_mean(name, OPTIONS.iter().map(|option| option.name));
                return Err(Error::invalid(format!("unknown option `{name}`")).hint(hint));
            }
        }
        Ok(())
    }

    /// Gives an option its default again.
    ///
    /// # Errors
    /// Invalid for an unknown name, with the nearest one.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        // Whatever stands for an unknown name is not looked at.
        let default = TableOptions::default().get(name).unwrap_or_default();
        self.set(name, &default)
    }

    /// The value of an option as [`TableOptions::set`] would take it; `None` for an unknown name.
    pub fn get(&self, name: &str) -> Option<String> {
        let limit = |value: Option<u64>, print: fn(u64) -> String| value.map_or("none".to_string(), print);
        Some(match name {
            "compression" => match self.compression {
                Compression::None => "none".to_string(),
                Compression::Lz4 => "lz4".to_string(),
                Compression::Zstd(level) => format!("zstd:{level}"),
            },
            "statistics.columns" => match &self.statistics {
                Statistics::Times => "times".to_string(),
                Statistics::All => "*".to_string(),
                Statistics::None => "none".to_string(),
                Statistics::Columns(names) => print_columns(names),
            },
            "retention.ms" => limit(self.retention_ms, print_duration_ms),
            "retention.bytes" => limit(self.retention_bytes, print_bytes),
            EXPIRE_TIME => limit(self.record_expire_ms, print_duration_ms),
            TIME_FIELD => self.record_time_field.as_deref().map_or("none".to_string(), print_column),
            "segment.bytes" => print_bytes(self.segment_bytes),
            "batch.bytes.max" => print_bytes(self.batch_bytes_max),
            "bucket.assign" => match self.bucket_assign {
                Assign::Sticky => "sticky".to_string(),
                Assign::RoundRobin => "round-robin".to_string(),
            },
            "write-only" => self.write_only.to_string(),
            "snapshot.interval.ms" => limit(self.snapshot_interval_ms, print_duration_ms),
            "snapshot.num-retained.min" => self.snapshot_num_retained_min.to_string(),
            "snapshot.num-retained.max" => limit(self.snapshot_num_retained_max, |count| count.to_string()),
            "snapshot.time-retained" => print_duration_ms(self.snapshot_time_retained_ms),
            _ => return None,
        })
    }

    /// Checks options that somebody sets against each other. Tables that were made before may have them otherwise: fewer snapshots are kept then. The
    /// least number is one that was set: the default gives way.
    ///
    /// # Errors
    /// Invalid when at most fewer snapshots are to be kept than at least.
    pub fn check_retained(&self) -> Result<()> {
        let least = self.snapshot_num_retained_min;
        let is_set = least != TableOptions::default().snapshot_num_retained_min;
        match self.snapshot_num_retained_max {
            Some(most) if is_set && most < least => {
                let crossed = Error::invalid(format!("at least {least} snapshots are to be kept, and at most {most}"));
                Err(crossed.at("option", "snapshot.num-retained.max").hint("raise it, or lower snapshot.num-retained.min"))
            }
            _ => Ok(()),
        }
    }

    /// An option of snapshots that was set, if any.
    pub fn set_for_snapshots(&self) -> Option<&'static str> {
        let explicit = self.describe().into_iter().filter(|(_, _, is_default)| !is_default).map(|(option, ..)| option.name);
        explicit.into_iter().find(|name| name.starts_with(SNAPSHOT_PREFIX))
    }

    /// Whether this program knows all options that were set.
    ///
    /// # Errors
    /// Unavailable when a newer program set one: what it asks for is not known, so nothing may be written.
    pub fn check_known(&self) -> Result<()> {
        let Some((name, _)) = self.unknown.first_key_value() else { return Ok(()) };
        let newer = Error::newer("the table was written by a newer program, with an option that this one does not know").at("option", name);
        Err(newer.hint("upgrade to write to it; it can be read"))
    }

    /// Every option with its value and whether that is the default, for `describe`.
    pub fn describe(&self) -> Vec<(OptionDoc, String, bool)> {
        let defaults = TableOptions::default();
        let row = |option: &OptionDoc| {
            let value = self.get(option.name).unwrap_or_default();
            let is_default = defaults.get(option.name).as_ref() == Some(&value);
            (*option, value, is_default)
        };
        OPTIONS.iter().map(row).collect()
    }
}

fn parse_compression(value: &str) -> Result<Compression> {
    let level = match value {
        "none" => return Ok(Compression::None),
        "lz4" => return Ok(Compression::Lz4),
        "zstd" => Some(ZSTD_LEVEL_DEFAULT),
        _ => value.strip_prefix("zstd:").and_then(|level| level.parse().ok()).filter(|level| ZSTD_LEVELS.contains(level)),
    };
    level
        .map(Compression::Zstd)
        .ok_or_else(|| Error::invalid(format!("`{value}` is not a compression")).hint("one of none, lz4, zstd, zstd:1 to zstd:22"))
}

fn parse_statistics(value: &str) -> Result<Statistics> {
    Ok(match value {
        "times" => Statistics::Times,
        "*" => Statistics::All,
        "none" | "" => Statistics::None,
        names => Statistics::Columns(parse_names(names)?),
    })
}

fn print_columns(names: &[String]) -> String {
    let text = print_names(names);
    match text.as_str() {
        // One column that is called like one of the other choices.
        "times" | "*" | "none" => format!("\"{text}\""),
        _ => text,
    }
}

/// One column; it may stand in double quotes, and must where it would be read as something else.
fn parse_column(value: &str) -> Result<Option<String>> {
    match quoted_name(value)? {
        None => Ok((value != "none").then(|| value.to_string())),
        Some((name, "")) => Ok(Some(name)),
        Some(_) => Err(Error::invalid("something stands behind a name in double quotes").at("value", value)),
    }
}

fn print_column(name: &str) -> String {
    let is_clear = name != "none" && name.trim() == name && !name.starts_with('"');
    if is_clear { name.to_string() } else { in_quotes(name) }
}

fn parse_limit(value: &str, parse: fn(&str) -> Result<u64>) -> Result<Option<u64>> {
    if value == "none" { Ok(None) } else { parse(value).map(Some) }
}

fn parse_within(value: &str, range: RangeInclusive<u64>) -> Result<u64> {
    let bytes = parse_bytes(value)?;
    if !range.contains(&bytes) {
        let hint = format!("{} to {}", print_bytes(*range.start()), print_bytes(*range.end()));
        return Err(Error::invalid(format!("{value} is out of range")).hint(hint));
    }
    Ok(bytes)
}

fn parse_count(value: &str) -> Result<u64> {
    let wrong = || Error::invalid(format!("`{value}` is not a number of snapshots")).hint("a whole number, at least 1");
    value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)
}

fn parse_interval_ms(value: &str) -> Result<u64> {
    match parse_duration_ms(value)? {
        ms if ms < SNAPSHOT_INTERVAL_MS_MIN => Err(Error::invalid(format!("{value} is out of range")).hint("at least 5s")),
        ms => Ok(ms),
    }
}

fn parse_assign(value: &str) -> Result<Assign> {
    match value {
        "sticky" => Ok(Assign::Sticky),
        "round-robin" => Ok(Assign::RoundRobin),
        _ => Err(Error::invalid(format!("`{value}` is not a way to assign buckets")).hint("one of sticky, round-robin")),
    }
}

fn parse_truth(value: &str) -> Result<bool> {
    value.parse().map_err(|_| Error::invalid(format!("`{value}` is neither true nor false")).hint("one of true, false"))
}

impl From<TableOptions> for BTreeMap<String, String> {
    fn from(options: TableOptions) -> Self {
        let explicit = options.describe().into_iter().filter(|(_, _, is_default)| !is_default);
        let mut stored = options.unknown.clone();
        stored.extend(explicit.map(|(option, value, _)| (option.name.to_string(), value)));
        stored
    }
}

impl TryFrom<BTreeMap<String, String>> for TableOptions {
    type Error = Error;

    fn try_from(stored: BTreeMap<String, String>) -> Result<Self> {
        let mut options = TableOptions::default();
        for (name, value) in stored {
            if OPTIONS.iter().any(|option| option.name == name) {
                options.set(&name, &value)?;
            } else {
                options.unknown.insert(name, value);
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
