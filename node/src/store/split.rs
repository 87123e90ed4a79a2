//! Parts of a scan that are read apart: by other threads, or by other processes that get them as text.
//!
//! Invariant: the splits of a scan give together the rows that it would have given when they were made, each row once; a split that can no longer give its rows
//! is refused. This module knows nothing of where rows lie.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalog::TableEntry;
use super::snapshots::Version;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Result};
use crate::table::TableSpec;
use crate::table::expiry::Expiry;
use crate::table::key_range::KeyRange;

/// The version of the text of a split of rows as they are. Version 1 named partitions only, and did not say which runs it saw.
const VERSION: u32 = 2;

/// The version of the text of a split of a snapshot, which is not to be read by a program that knows of none.
const VERSION_OF_SNAPSHOTS: u32 = 3;

/// Splits that one scan is cut into at most.
pub const SPLITS_MAX: usize = 65_536;

/// A part of a scan: see [`super::ScanBuilder::splits`].
#[derive(Clone, Debug)]
pub struct Split {
    pub(super) text: Text,
    /// What this process holds of each piece, so that nothing of it goes; nothing after it came as text.
    pub(super) held: Vec<Held>,
    /// The table as a snapshot has it, likewise.
    pub(super) was: Option<Arc<TableSpec>>,
}

/// What the process that made a split holds of a piece of a table with a primary key.
#[derive(Clone)]
pub(super) struct Held(pub(super) Arc<Pinned>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", self.0.end())
    }
}

/// What a split says to whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) version: u32,
    /// The table's name, for errors.
    pub(super) table: String,
    pub(super) table_id: u32,
    /// The version of the schema.
    pub(super) schema: i16,
    /// The snapshot that it is of, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<u64>,
    /// About how many rows.
    pub(super) rows: u64,
    /// When it was, where rows expire: later ones do not for this scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) now_ms: Option<i64>,
    /// How rows expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expiry: Option<Expiry>,
    pub(super) pieces: Vec<Piece>,
}

/// A part of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    /// The partition's name, for errors, and its number: one that is made anew has the name, but another number.
    pub(super) partition: String,
    pub(super) partition_id: u32,
    pub(super) bucket: u32,
    pub(super) rows: PieceRows,
}

/// Which rows of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PieceRows {
    /// Those of a log with these offsets.
    Offsets(Range<u64>),
    /// Those of a tree, as rows of the log before an offset make them, with these keys.
    Keys {
        before: u64,
        #[serde(with = "hex")]
        range: KeyRange,
        /// The runs, where rows expire: what others are made of has lost what expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runs: Option<Vec<u64>>,
    },
}

impl Piece {
    /// Checks that its partition is still there.
    ///
    /// Errors: Conflict when it was dropped, whatever has its name now.
    pub(super) fn check_partition(&self, entry: &TableEntry) -> Result<()> {
        if entry.partitions.get(&self.partition_id).is_some_and(|partition| partition.name == self.partition) {
            return Ok(());
        }
        let dropped = Error::conflict("the partition of a split was dropped").at("partition", &self.partition);
        Err(dropped.hint("make the splits again"))
    }
}

impl Split {
    /// As text, for another process. A split of a snapshot can be read there as long as the snapshot is kept. One of rows as they are can be as long as what it sees is
    /// not merged with newer rows: until the next flush behind the offset at which the splits were made; where rows expire, until the next flush or compaction.
    ///
    /// Errors: Internal; a split has nothing that JSON cannot hold.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.text).map_err(|error| Error::internal("cannot write a split as JSON").caused_by(error))
    }

    /// From what [`Split::to_json`] wrote, here or elsewhere.
    ///
    /// Errors: Invalid for other text, and when a newer program wrote it.
    pub fn from_json(text: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| {
            Error::invalid("this is no split").hint("a split is a line that `aquifer scan --splits` prints").caused_by(error)
        };
        // The version first: a newer one may have other fields.
        let any: serde_json::Value = serde_json::from_str(text).map_err(wrong)?;
        if any.get("version").and_then(serde_json::Value::as_u64).is_some_and(|version| version > u64::from(VERSION_OF_SNAPSHOTS)) {
            return Err(Error::invalid("a newer program wrote this split").hint("upgrade this program"));
        }
        if any.get("version").and_then(serde_json::Value::as_u64).is_some_and(|version| version < u64::from(VERSION)) {
            return Err(
                Error::invalid("an older program wrote this split, which does not say all that it saw").hint("make the splits again")
            );
        }
        Ok(Split { text: serde_json::from_value(any).map_err(wrong)?, held: Vec::new(), was: None })
    }

    /// About how many rows it has, before rows of one key are merged.
    pub fn rows(&self) -> u64 {
        self.text.rows
    }

    /// The snapshot that it is of.
    pub(super) fn version(&self) -> Option<Version> {
        self.text.snapshot.map(Version::Snapshot)
    }

    /// Checks that the table, as it is or as a snapshot has it, is read as it was when the splits were made.
    pub(super) fn check_unaltered(&self, spec: &TableSpec) -> Result<()> {
        let text = &self.text;
        let is_merged = text.pieces.iter().any(|piece| matches!(piece.rows, PieceRows::Keys { .. }));
        if text.schema == spec.schema().version() && (!is_merged || text.expiry == Expiry::of(spec)?) {
            return Ok(());
        }
        let altered = Error::conflict("the table was altered after the splits were made").at("table", &spec.name);
        Err(altered.hint("make the splits again"))
    }

    /// Checks that it is one of this table, of its merged rows or else of its log.
    pub(super) fn check(&self, spec: &TableSpec, is_merged: bool) -> Result<()> {
        let text = &self.text;
        if text.table_id != spec.id {
            let other = Error::invalid("a split of another table").at("split of", &text.table).at("table", &spec.name);
            return Err(other.hint("a table that was dropped and made again is another one"));
        }
        if text.snapshot.is_none() {
            self.check_unaltered(spec)?;
        }
        let fits = |piece: &Piece| matches!(piece.rows, PieceRows::Keys { .. }) == is_merged && piece.bucket < spec.buckets;
        match text.pieces.iter().all(fits) {
            true => Ok(()),
            false => {
                let other = Error::invalid("a split of another kind of scan").at("table", &spec.name);
                Err(other.hint("splits of changes are read by a scan of changes, those of rows by a scan of rows"))
            }
        }
    }
}

/// A bucket before it is cut.
pub(super) struct Whole {
    pub(super) partition: String,
    pub(super) partition_id: u32,
    pub(super) bucket: u32,
    pub(super) held: Option<Held>,
    /// Where it can be cut: what lies from there on, and about how many rows before the next place.
    pub(super) places: Vec<(Place, u64)>,
    /// What all of it is.
    pub(super) rows: PieceRows,
}

/// Where a bucket can be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Offset(u64),
    Key(Vec<u8>),
}

/// What a scan that is cut is of.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The table as it is read.
    pub(super) spec: &'a TableSpec,
    /// When it is, where that decides which rows are shown.
    pub(super) now_ms: Option<i64>,
    /// The snapshot that is read.
    pub(super) snapshot: Option<u64>,
}

/// Cuts buckets into at most `count` stretches of about as many rows, in their order.
///
/// Errors: Invalid for options of the table that make no sense.
pub(super) fn cut(seen: Seen<'_>, buckets: Vec<Whole>, count: usize) -> Result<Vec<Split>> {
    let expiry = seen.now_ms.map_or(Ok(None), |_| Expiry::of(seen.spec))?;
    let was = seen.snapshot.map(|_| Arc::new(seen.spec.clone()));
    let total: u64 = buckets.iter().flat_map(|bucket| &bucket.places).map(|place| place.1).sum();
    let share = total.div_ceil(count as u64).max(1);
    let mut cutter = Cutter { seen, expiry, was, share, done: Vec::new(), pieces: Vec::new(), held: Vec::new(), rows: 0 };
    for bucket in buckets {
        cutter.add(bucket, count);
    }
    cutter.close();
    Ok(cutter.done)
}

struct Cutter<'a> {
    seen: Seen<'a>,
    expiry: Option<Expiry>,
    was: Option<Arc<TableSpec>>,
    share: u64,
    done: Vec<Split>,
    pieces: Vec<Piece>,
    held: Vec<Held>,
    rows: u64,
}

impl Cutter<'_> {
    fn add(&mut self, bucket: Whole, count: usize) {
        let mut rest = bucket.rows.clone();
        for (place, rows) in &bucket.places {
            if self.rows >= self.share && self.done.len() + 1 < count {
                if let Some(before) = split_off(&mut rest, place) {
                    self.push(&bucket, before);
                }
                self.close();
            }
            self.rows += rows;
        }
        self.push(&bucket, rest);
    }

    fn push(&mut self, bucket: &Whole, rows: PieceRows) {
        let Whole { partition, partition_id, bucket: number, .. } = bucket;
        self.pieces.push(Piece { partition: partition.clone(), partition_id: *partition_id, bucket: *number, rows });
        self.held.extend(bucket.held.clone());
    }

    fn close(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let held = std::mem::take(&mut self.held);
        let rows = std::mem::take(&mut self.rows);
        if pieces.is_empty() {
            return;
        }
        let Seen { spec, now_ms, snapshot } = self.seen;
        let version = if snapshot.is_some() { VERSION_OF_SNAPSHOTS } else { VERSION };
        let (table, table_id, schema, expiry) = (spec.name.to_string(), spec.id, spec.schema().version(), self.expiry);
        let text = Text { version, table, table_id, schema, snapshot, rows, now_ms, expiry, pieces };
        self.done.push(Split { text, held, was: self.was.clone() });
    }
}

/// Takes what is before a place off the front; `None` when nothing is.
fn split_off(rows: &mut PieceRows, place: &Place) -> Option<PieceRows> {
    match (rows, place) {
        (PieceRows::Offsets(offsets), Place::Offset(offset)) if *offset > offsets.start => {
            let before = offsets.start..*offset;
            offsets.start = *offset;
            Some(PieceRows::Offsets(before))
        }
        (PieceRows::Keys { before, range, runs }, Place::Key(key)) if *key > range.from => {
            let first = KeyRange { from: std::mem::replace(&mut range.from, key.clone()), to: Some(key.clone()) };
            Some(PieceRows::Keys { before: *before, range: first, runs: runs.clone() })
        }
        _ => None,
    }
}

/// Ranges of keys as text.
mod hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::table::key_range::KeyRange;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        from: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    }

    pub(super) fn serialize<S: Serializer>(range: &KeyRange, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Text { from: text(&range.from), to: range.to.as_ref().map(text) }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyRange, D::Error> {
        let Text { from, to } = Text::deserialize(deserializer)?;
        let bytes = |text: &String| {
            let pairs = text.as_bytes().chunks(2).map(|pair| {
                let digits =
                    std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
                digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())
            });
            pairs.collect::<Option<Vec<u8>>>().ok_or_else(|| D::Error::custom("a key is not hexadecimal"))
        };
        Ok(KeyRange { from: bytes(&from)?, to: to.as_ref().map(bytes).transpose()? })
    }
}
