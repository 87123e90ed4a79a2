//! The command line as the user types it: verbs, options, help with examples.
//!
//! Invariant: what parses here is well formed, though it may name what does not exist.
//! Knows nothing of how a verb is carried out.

mod altered;
mod keyed;
mod snapshots;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::input::Format as InputFormat;
use super::output::Format as OutputFormat;
use super::store::{Version, parse_names};
pub(crate) use altered::{Alter, Drop, Rescale};
pub(crate) use keyed::{Compact, Delete, Lookup, Upsert};
pub(crate) use snapshots::{At, Snapshots};

/// A columnar log store on your NVMe: what is acknowledged is on the device, and can be tailed at once.
#[derive(Parser, Debug)]
#[command(name = "aquifer", version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Change one setting of the store; `aquifer config` lists them
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Try it:     aquifer demo shop --seconds 20
Settings:   flag, then environment (AQUIFER__SECTION__KEY), then --config FILE, then default
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 corrupt data found, 6 plugin failed, 130 interrupted, 143 terminated";

/// Options that every verb takes.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The data directory [default: ./aquifer-data, or $AQUIFER_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to reach the device [default: auto]
    #[arg(long, global = true, value_name = "DRIVER", value_parser = ["auto", "uring", "threads"])]
    pub(crate) io: Option<String>,
    /// When a row counts as written: on the device, or in the system's memory [default: sync]
    #[arg(long, global = true, value_name = "WHEN", value_parser = ["sync", "os"])]
    pub(crate) durability: Option<String>,
    /// How rows are printed, whatever --out is called; ndjson is json [default: as --out is named, else as set, else table on a terminal, else json lines]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Print rows to a file, in the format that its name ends with (.json, .jsonl, .ndjson, .csv, .arrow, .arrows, .parquet) unless --output says another [default: standard output]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// No progress, no summary
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Store settings behind the verb; `create` and `alter` have table options under the same name instead.
#[derive(Args, Debug, Default)]
pub(crate) struct Settings {
    /// Change one setting of the store; `aquifer config` lists them
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting, help_heading = "Global options")]
    pub(crate) set: Vec<(String, String)>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a data directory (other verbs that write make it too)
    #[command(after_help = "Example: aquifer --dir /data/shop init")]
    Init(Settings),
    /// Create a table
    #[command(after_help = "Examples:
  aquifer create clicks --like clicks.parquet --buckets 4
  aquifer create clicks --schema clicks.toml --partition-by country --bucket-key user_id --buckets 8 --set retention.ms=7d
  aquifer create customers --like customers.csv --primary-key id --set sequence.field=changed_at
  aquifer create sessions --like sessions.csv --primary-key id --set record-level.expire-time=7d --set record-level.time-field=seen_at
  aquifer create totals --schema totals.toml --primary-key user_id --merge aggregation --set fields.spent.aggregate-function=sum
  aquifer create stock --schema stock.toml --primary-key item --merge partial-update --changelog lookup

A table with a primary key takes upserts and deletes; --merge says what becomes of the rows of one key: deduplicate keeps the newest,
first-row the oldest, partial-update the newest values that are not null, aggregation what fields.COLUMN.aggregate-function makes of them.
With --changelog lookup old rows are read when rows are written, and the log says what became of each key: tail --changelog prints the rows
before and after each update, whatever was written; --set changelog.image=wal leaves the rows before out.

--like takes the columns of csv in their order and those of ndjson sorted by name; times in ndjson are texts. --schema says both exactly.

A schema file:
  [[field]]
  name = \"user_id\"
  type = \"int64\"
  nullable = false
  [[field]]
  name = \"price\"
  type = \"decimal128(10,2)\"

Types: bool, int8..int64, float32, float64, decimal128(p,s), date, time(unit), timestamp(unit), timestamp(unit, UTC), utf8,
binary, fixed_binary(n), list<t>, map<k, v>, struct<name: t, ...>; units s, ms, us, ns; ` not null` behind an inner type")]
    Create(Create),
    /// Change a table
    #[command(after_help = altered::ALTER_HELP)]
    Alter(Alter),
    /// Drop a table, or one of its partitions, with the rows
    #[command(after_help = altered::DROP_HELP)]
    Drop(Drop),
    /// Give a table another number of buckets
    #[command(after_help = altered::RESCALE_HELP)]
    Rescale(Rescale),
    /// List the tables
    #[command(after_help = "Example: aquifer list --output csv")]
    List(Settings),
    /// Columns, partitions, buckets and options of a table
    #[command(after_help = "Example: aquifer describe clicks")]
    Describe(Named),
    /// Write rows into a log table
    #[command(after_help = "Examples:
  aquifer append clicks --from clicks.parquet
  generate | aquifer append clicks --from - --format ndjson --acks
  aquifer append clicks --from clicks.csv --on-error skip

Text: csv has a header row; an empty cell is null, \"\" an empty text; binary is hex; lists, maps and structs are JSON.
A timestamp is a text like 2026-01-31T23:59:59Z, UTC if it has no offset and the column a zone,
or a whole number: the count since 1970 in the unit of the column. ndjson is one object a line.
Of a damaged parquet or arrow file, the batches before the damage are kept.")]
    Append(Append),
    /// Write rows into a table with a primary key, in place of those with the same key
    #[command(after_help = keyed::UPSERT_HELP)]
    Upsert(Upsert),
    /// Take rows away by their primary key
    #[command(after_help = keyed::DELETE_HELP)]
    Delete(Delete),
    /// Rows of a table by their primary key; exits 3 when none of the keys has one
    #[command(after_help = keyed::LOOKUP_HELP)]
    Lookup(Lookup),
    /// Rows as they become durable; of a table with a primary key, its changes
    #[command(after_help = "Examples:
  aquifer tail clicks --follow --from latest --columns user_id,price --where \"price > 100\"
  aquifer tail clicks --from timestamp:2026-01-31T12:00:00Z --meta --limit 10
  aquifer tail clicks --bucket 3 --from offset:1200 --follow
  aquifer tail customers --changelog --follow
  aquifer tail customers --changelog --from full --follow
  aquifer tail customers --changelog --from snapshot:3 --to snapshot:monday

The changes of a table with a primary key are the rows as they were written, each with its _op: +I, -U, +U or -D.
From `full` come all rows first, each as +I, then the changes behind them, without a gap and none twice; from `full:N` the rows of snapshot N.
With --where an update of which only the row before passes is shown as -D, one of which only the row after does as +I: what passes can be upserted elsewhere.
Where the changelog is `input`, a -D may have nothing but its key: -D and -U come if their key passes, whatever their other columns are.
From `snapshot:N` come the changes that it has not, to `snapshot:N` those that it has; N is a number or a tag. Both as long as the log has them.
An offset counts in each bucket: with several, name the one that it is of with --bucket (and --partition). A bucket that ends before
it begins at its end: rows that come to it later have smaller offsets, and are printed too.
When the table is altered meanwhile, --follow goes on: json lines have the new columns from the first row on that was written with them. Other
formats, and --columns, stay with the columns that they began with, which is said once on stderr: one that was dropped is null from then on; the
first row where it may not be null, or whose column was widened, ends the tail with exit code 4.")]
    Tail(Tail),
    /// The rows of a table now; of a table with a primary key, one for each key
    #[command(after_help = "Examples:
  aquifer scan clicks --columns user_id,price --where \"country = 'NL'\" --limit 20
  aquifer scan clicks --output parquet --out clicks.parquet
  aquifer scan customers --snapshot 3
  aquifer scan customers --as-of 2026-01-31T12:00:00Z
  aquifer scan sales --partition country=CH/ts_day=2026-01-31 --bucket 0 --bucket 1 --meta
  aquifer scan clicks --splits 4 | parallel aquifer scan clicks --columns user_id --split '{}'
  aquifer scan customers --snapshot monday --splits 4 | parallel aquifer scan customers --split '{}'

A condition has =, <>, <, <=, >, >=, between, in, like, ilike, is null, and, or, not, and values as in 5, 'text', 'it''s',
'2026-01-31T12:00:00Z', X'00ff', true, null, NaN, Infinity, -Infinity. It does not compute.
NaN is greater than all numbers and equal to itself: x > 5 holds for it. Numbers are compared exactly: no float32 is 0.1.
In double quotes stands the name of a column; it needs them if it is one of these words, or has blanks or signs in it.

--splits prints a line for each part of the scan. Each can be read apart, and all together are what the scan would have given then.
--columns, --where, --limit and --meta are not part of a line: they are given to each scan --split.
Of a table with a primary key they can be read until the next flush; then they are refused, and are to be made again. With --snapshot or --as-of
they can be read as long as that snapshot is kept, whatever is written meanwhile: give it a tag to be sure.
A snapshot shows the rows and the columns that there were. Of a log table, --as-of shows what was committed up to then.")]
    Scan(Scan),
    /// Snapshots of a table with a primary key: its rows as they were
    #[command(after_help = snapshots::HELP)]
    Snapshots(Snapshots),
    /// Bring what was written to a table with a primary key from its log into sorted runs, now
    #[command(after_help = "Example: aquifer flush customers

Rows are durable before; this makes the next start and the next lookup of them faster. It also happens by itself.")]
    Flush(Named),
    /// Merge sorted runs of a table with a primary key, now
    #[command(after_help = keyed::COMPACT_HELP)]
    Compact(Compact),
    /// Drop rows of the log and snapshots that are older or more than the table's options allow
    #[command(after_help = "Example: aquifer expire clicks

Rows leave a log by whole segments; of a table with a primary key only changes leave it, once they are in runs. Of a log table with
partitions, one goes whole once all of its rows are older than retention.ms. It also happens by itself.")]
    Expire(Named),
    /// Rows, bytes and segments of each bucket
    #[command(after_help = "Example: aquifer stats clicks")]
    Stats(MaybeNamed),
    /// The same figures as Prometheus text
    #[command(after_help = "Example: aquifer metrics > /var/lib/node_exporter/aquifer.prom")]
    Metrics(Settings),
    /// What this machine offers: kernel, io_uring (and why not), locked memory, direct I/O, file system, clock, free space
    #[command(after_help = "Example: aquifer --dir /data/shop doctor")]
    Doctor(Settings),
    /// Check every checksum and invariant; exits 5 if one fails
    #[command(after_help = "Example: aquifer verify clicks

Each damaged frame of a log and block of a run is a problem, of one file 100 are listed; offset and next_offset say which rows of the log are
lost: `tail TABLE --from offset:N` reads on behind them. What is left of work that was never acknowledged or not cleared away (files that no
manifest names, an edit that was not written to its end) is no damage: it is told on stderr and as `notes` of the JSON, while nobody
writes. Whoever writes next removes it or writes over it.")]
    Verify(MaybeNamed),
    /// The effective settings and where each comes from
    #[command(after_help = "Example: AQUIFER__OUTPUT=csv aquifer config")]
    Config(Settings),
    /// The whole story on generated data
    #[command(subcommand)]
    Demo(Demo),
    /// Measure the engine against the limits of this machine
    #[command(after_help = "Examples:
  aquifer bench list
  aquifer bench append --producers 1,16 --size 64KiB --json > append.json
  aquifer bench upsert --rows 1M --only uniform
  aquifer bench soak --seconds 600 --seed 7
  aquifer bench table append.json")]
    Bench(Bench),
}

/// A table by its name.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// `name` or `db.name`
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// One table, or all.
#[derive(Args, Debug)]
pub(crate) struct MaybeNamed {
    /// `name` or `db.name` [default: all tables]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `create`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("columns_from").required(true).args(["schema", "like"]))]
pub(crate) struct Create {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// The columns, from a TOML file
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) schema: Option<PathBuf>,
    /// The columns of a parquet, arrow, csv or ndjson file
    #[arg(long, value_name = "FILE")]
    pub(crate) like: Option<PathBuf>,
    /// How the file of --like is written [default: by its name and first bytes]
    #[arg(long, value_name = "FORMAT", requires = "like")]
    pub(crate) format: Option<InputFormat>,
    /// Partition by these columns, as in `country,day(ts)`; a name with a comma stands in double quotes, also as in `day("a,b")`
    #[arg(long, value_name = "COLUMNS", default_value = "", hide_default_value = true)]
    pub(crate) partition_by: String,
    /// Buckets of each partition, 1 to 65534: independent logs, each in order
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) buckets: u32,
    /// Rows with the same values here share a bucket [default: any bucket]
    #[arg(long, value_name = "COLUMNS", value_parser = names, default_value = "", hide_default_value = true)]
    pub(crate) bucket_key: Names,
    /// What tells one row from another; such a table takes upserts, not appends [default: nothing, a log table]
    #[arg(long, value_name = "COLUMNS", value_parser = names)]
    pub(crate) primary_key: Option<Names>,
    /// What becomes of rows with the same primary key: deduplicate, first-row, partial-update or aggregation [default: deduplicate]
    #[arg(long, value_name = "ENGINE", requires = "primary_key")]
    pub(crate) merge: Option<String>,
    /// What the log holds: the rows as they are written, or what became of each key, as -U, +U, +I, -D [default: input]
    #[arg(long, value_name = "MODE", requires = "primary_key", value_parser = ["input", "lookup"])]
    pub(crate) changelog: Option<String>,
    /// An option of the table
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// What becomes of the rows when one of them cannot be read or does not fit the table.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// Stop there: the rows before it are written, it and the rest are not
    Fail,
    /// Leave it out, say so on stderr, and go on
    Skip,
}

/// `append`
#[derive(Args, Debug)]
pub(crate) struct Append {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// The rows; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) from: PathBuf,
    #[command(flatten)]
    pub(crate) feed: Feed,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// How rows are read and handed on.
#[derive(Args, Debug)]
pub(crate) struct Feed {
    /// How the rows are written [default: by the name and first bytes]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<InputFormat>,
    /// Rows of a batch at most
    #[arg(long, value_name = "N", default_value_t = super::input::BATCH_ROWS, value_parser = clap::value_parser!(u32).range(1..=super::input::BATCH_ROWS_MAX as i64))]
    pub(crate) batch_rows: u32,
    /// Rows per second at most, as in `5000/s`
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// When a row is bad: `fail` stops there and keeps exactly the rows before it, `skip` leaves it out and names it on stderr (of an update, both rows; a -U without its +U)
    #[arg(long, value_enum, default_value_t = OnError::Fail)]
    pub(crate) on_error: OnError,
    /// Print a JSON line for each acknowledged batch: rows, rows_total, bucket, first_offset, and changes where they are not as many
    #[arg(long)]
    pub(crate) acks: bool,
}

/// Where a tail starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The first row that is kept.
    Earliest,
    /// Behind the last row.
    Latest,
    /// This offset, in every bucket that is read.
    Offset(u64),
    /// The first batch committed at or after this moment, in milliseconds since 1970.
    TimestampMs(i64),
    /// The changes that a snapshot has not.
    Snapshot(Version),
    /// All rows, as they are now or at a snapshot, then the changes behind them.
    Full(Option<Version>),
}

/// `tail`
#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Start at `earliest`, `latest`, `offset:N`, `timestamp:T` (a time, or milliseconds since 1970), `snapshot:N`, `full` or `full:N`
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = from)]
    pub(crate) from: From,
    /// End with the changes that a snapshot has: `snapshot:N`
    #[arg(long, value_name = "WHERE", value_parser = to, conflicts_with = "follow")]
    pub(crate) to: Option<Version>,
    /// Do not end: wait for rows
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The changes of a table with a primary key; what else has none is refused
    #[arg(long)]
    pub(crate) changelog: bool,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `scan`
#[derive(Args, Debug)]
pub(crate) struct Scan {
    /// `name` or `db.name`
    pub(crate) table: String,
    /// Print no rows, but at most so many parts that are about as large, one a line: see --split
    #[arg(long, value_name = "N", conflicts_with = "split", value_parser = clap::value_parser!(u32).range(1..=super::store::SPLITS_MAX as i64))]
    pub(crate) splits: Option<u32>,
    /// Only the part of the scan that a line of --splits names
    #[arg(long, value_name = "LINE", conflicts_with_all = ["bucket", "partition"])]
    pub(crate) split: Option<String>,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) select: Select,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Which rows and columns.
#[derive(Args, Debug)]
pub(crate) struct Select {
    /// Only these columns; a name with a comma stands in double quotes
    #[arg(long, value_name = "COLUMNS", value_parser = names)]
    pub(crate) columns: Option<Names>,
    /// Only rows for which this holds, as in "a > 5 and b = 'x'"
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// Only this bucket; may be said again for more [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) bucket: Vec<u32>,
    /// Only this partition, as `aquifer describe` names it [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Add _bucket, _offset, _timestamp and _op, and _partition before them where there are partitions
    #[arg(long)]
    pub(crate) meta: bool,
}

/// `demo`
#[derive(Subcommand, Debug)]
pub(crate) enum Demo {
    /// A shop: visitors, purchases, and fraudsters to be caught while they click
    #[command(after_help = "Example: aquifer demo shop --seconds 20 --rate 20000/s")]
    Shop(Shop),
}

/// `demo shop`
#[derive(Args, Debug)]
pub(crate) struct Shop {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Events per second
    #[arg(long, value_name = "N/s", default_value = "10000/s", value_parser = rate)]
    pub(crate) rate: f64,
    /// The same seed makes the same shop
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Keep the data in this directory, which must not exist or be empty [default: that of --dir, if it is given]
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `bench`
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// A case, `list`, or `table`
    pub(crate) name: String,
    /// With `table`: what cases printed with --json, a run a file
    #[arg(value_name = "FILE.json")]
    pub(crate) files: Vec<PathBuf>,
    /// Seconds measured in a round, where time ends it
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Bytes of a batch (append) or of the log (project) [default: 4KiB,64KiB,1MiB, or 1GiB]
    #[arg(long, value_name = "BYTES,..", value_delimiter = ',', value_parser = bytes)]
    pub(crate) size: Vec<usize>,
    /// Threads that append
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1, 2, 4, 16, 128], value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) producers: Vec<u32>,
    /// Rounds; each case runs once in each [default: 5; upsert 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Rows of the table, as in 500k or 10M [default: upsert 10M, open 5M, lookup and scan 2M, mixed 1M, soak 100k keys]
    #[arg(long, value_name = "N", value_parser = rows)]
    pub(crate) rows: Option<u64>,
    /// The same seed does the same (soak)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How often the process that is killed was started before
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) turn: u64,
    /// Only what has one of these in its name, as in 'zipf' (upsert, lookup, scan)
    #[arg(long, value_name = "TEXT,..", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// One JSON line a case
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the ratios
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Names of columns in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

fn names(text: &str) -> Result<Names, String> {
    parse_names(text).map(Names).map_err(|error| error.to_string())
}

fn setting(text: &str) -> Result<(String, String), String> {
    pair(text).map(|(key, value)| (key, value.trim().to_string()))
}

/// Blanks around the value stay: what it is for decides whether they are part of it.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// Rows a second: the least is nine rows a day, so that the next is never due behind the end of all clocks.
const RATE_MIN: f64 = 1e-4;
const RATE_MAX: f64 = 1e12;

fn rate(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix("/s").unwrap_or(text).replace('_', "");
    let (digits, factor) = match digits.as_bytes().last() {
        Some(b'k' | b'K') => (&digits[..digits.len() - 1], 1e3),
        Some(b'm' | b'M') => (&digits[..digits.len() - 1], 1e6),
        _ => (digits.as_str(), 1.0),
    };
    match digits.parse::<f64>() {
        Ok(value) if (RATE_MIN..=RATE_MAX).contains(&(value * factor)) => Ok(value * factor),
        _ => Err("expected rows a second, 0.0001 to 1e12, as in 5000/s or 50k/s".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds)).ok_or_else(|| "expected seconds, 0.01 to 3600".into())
}

fn bytes(text: &str) -> Result<usize, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("expected bytes, as in 4096, 64KiB, 1MiB or 1GiB".into()),
    };
    let count = text[..end].parse::<usize>().ok().filter(|count| *count > 0);
    count.and_then(|count| count.checked_mul(1 << shift)).ok_or_else(|| "expected bytes above zero".into())
}

/// Rows that a bench keeps in memory before its clock starts.
const ROWS_MAX: u64 = 1_000_000_000;

fn rows(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let rows = digits.parse::<u64>().ok().and_then(|rows| rows.checked_mul(factor)).filter(|rows| (1..=ROWS_MAX).contains(rows));
    rows.ok_or_else(|| "expected rows, 1 to 1000M, as in 5000, 500k or 10M".into())
}

fn from(text: &str) -> Result<From, String> {
    let wrong = || "expected earliest, latest, offset:N, timestamp:T, snapshot:N, full or full:N".to_string();
    match text.split_once(':') {
        None if text == "earliest" => Ok(From::Earliest),
        None if text == "latest" => Ok(From::Latest),
        None if text == "full" => Ok(From::Full(None)),
        Some(("full", version)) => snapshots::version(version).map(|version| From::Full(Some(version))),
        Some(("snapshot", version)) => snapshots::version(version).map(From::Snapshot),
        Some(("offset", number)) => number.parse().map(From::Offset).map_err(|_| wrong()),
        Some(("timestamp", time)) => time_ms(time).map(From::TimestampMs),
        _ => Err(wrong()),
    }
}

fn to(text: &str) -> Result<Version, String> {
    match text.split_once(':') {
        Some(("snapshot", version)) => snapshots::version(version),
        _ => Err("expected snapshot:N".into()),
    }
}

/// A time, or milliseconds since 1970.
fn time_ms(text: &str) -> Result<i64, String> {
    let forms = "expected 2026-01-31, 2026-01-31T23:59, 2026-01-31T23:59:59.123Z or the like, also with an offset as in +01:00 (UTC without), \
                 or milliseconds since 1970";
    text.parse().or_else(|_| super::time_text::parse_timestamp(text, 3, true)).map_err(|_| forms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound_and_every_verb_has_an_example() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for verb in
            command.get_subcommands().flat_map(|verb| if verb.has_subcommands() { verb.get_subcommands().collect() } else { vec![verb] })
        {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("aquifer "), "{} has no example", verb.get_name());
        }
    }

    #[test]
    fn set_belongs_to_the_store_before_create_and_to_the_table_behind_it() {
        let typed = ["aquifer", "--set", "a.b=1", "create", "t", "--like", "x.parquet", "--set", "c.d=2"];
        let arguments = Arguments::try_parse_from(typed).unwrap();
        assert_eq!(arguments.set, [("a.b".to_string(), "1".to_string())]);
        let Verb::Create(create) = arguments.verb else { panic!("not create") };
        assert_eq!(create.set, [("c.d".to_string(), "2".to_string())]);
    }

    #[test]
    fn places_to_start_are_understood_or_refused() {
        assert_eq!(from("latest"), Ok(From::Latest));
        assert_eq!(from("offset:7"), Ok(From::Offset(7)));
        assert_eq!(from("timestamp:1500"), Ok(From::TimestampMs(1500)));
        assert_eq!(from("timestamp:1970-01-01T00:00:01.5Z"), Ok(From::TimestampMs(1500)));
        assert_eq!(from("snapshot:7"), Ok(From::Snapshot(Version::Snapshot(7))));
        assert_eq!(from("full"), Ok(From::Full(None)));
        assert_eq!(from("full:monday"), Ok(From::Full(Some(Version::Tag("monday".into())))));
        for wrong in ["", "full:", "snapshot", "offset:-1", "offset", "timestamp:soon", "yesterday"] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_answered_with_the_forms_of_one() {
        for wrong in ["2026-11-30T20", "yesterday", "2026-11-30T20:00+1", ""] {
            let said = time_ms(wrong).unwrap_err();
            assert!(said.contains("2026-01-31T23:59,") && said.contains("milliseconds since 1970"), "{said}");
        }
        assert_eq!(time_ms("1970-01-01T00:00"), Ok(0));
    }

    #[test]
    fn rates_and_sizes_take_the_usual_suffixes() {
        assert_eq!(rate("50k/s"), Ok(50_000.0));
        assert_eq!(rate("12.5"), Ok(12.5));
        assert!(rate("0/s").is_err() && rate("fast").is_err() && rate("inf").is_err());
        assert_eq!(rate("0.0001/s"), Ok(RATE_MIN));
        assert!(rate("1e-20/s").is_err() && rate("1e300m").is_err() && rate("nan").is_err() && rate("-1").is_err());
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!((rows("7"), rows("500k"), rows("10M")), (Ok(7), Ok(500_000), Ok(10_000_000)));
        assert!(rows("0").is_err() && rows("2000M").is_err() && rows("k").is_err() && rows("99999999999999999999M").is_err());
        assert!(bytes("0").is_err() && bytes("4GB").is_err() && bytes("99999999999999999999").is_err());
    }
}
