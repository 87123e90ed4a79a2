//! Rows by the first columns of their primary key.
//!
//! Invariant: the rows of a prefix are those that a scan with a filter for it gives. Only the buckets are read that the prefix decides; where it decides none,
//! all of them. This module knows nothing of where rows lie.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;

use super::alive::Alive;
use super::catalog::TableEntry;
use super::changes::{key_columns, key_spec};
use super::keyed::{Place, pin, steadily};
use super::lookup::LOOKUP_KEYS_MAX;
use super::snapshots::{Version, steadily_at};
use super::table::Table;
use crate::bucket::tree::Pinned;
use crate::error::{Error, Result};
use crate::lsm::run::key_bytes;
use crate::table::bucketing::BucketFunction;
use crate::table::key::encode_value;
use crate::table::key_range::{KeyRange, KeyRanges, RANGES_MAX};
use crate::table::partition::Partitioner;
use crate::table::{TableSpec, did_you_mean};

/// Rows that one prefix lookup finds at most.
pub const PREFIX_ROWS_MAX: usize = 1 << 20;

/// What was found for some prefixes of keys.
#[derive(Clone, Debug)]
pub struct PrefixRows {
    /// The rows, with the table's columns: those of the first prefix, then those of the second one. Of each they come bucket by bucket, in key order.
    pub rows: RecordBatch,
    /// How many rows each prefix has.
    pub counts: Vec<usize>,
}

/// Looks up the rows whose key begins with the values of `prefixes`, whose columns are the first ones of the primary key.
///
/// Errors: Invalid for a table without a primary key, for columns that no key begins with, or values that are none; those of reading.
pub(super) fn lookup_prefix(table: &Table, prefixes: &RecordBatch) -> Result<PrefixRows> {
    steadily(table, |entry, is_again| {
        let pin = |place| pin(table, entry, place, is_again).map(Some);
        lookup_in(table, entry, (&entry.spec, None), prefixes, pin)
    })
}

/// As [`lookup_prefix`], of the rows as a snapshot has them.
pub(super) fn lookup_prefix_at(table: &Table, prefixes: &RecordBatch, version: &Version) -> Result<PrefixRows> {
    steadily_at(table, version, false, |entry, at| {
        lookup_in(table, entry, (&at.spec, Some(at.time_ms())), prefixes, |place| at.pin(table, entry, place))
    })
}

/// Of the table as it is now, or at the moment that is given.
fn lookup_in(
    table: &Table,
    entry: &TableEntry,
    (spec, now_ms): (&TableSpec, Option<i64>),
    prefixes: &RecordBatch,
    pin: impl Fn(Place) -> Result<Option<Pinned>>,
) -> Result<PrefixRows> {
    if prefixes.num_rows() > LOOKUP_KEYS_MAX {
        let many = Error::exhausted(format!("{} prefixes in one lookup, at most {LOOKUP_KEYS_MAX}", prefixes.num_rows()));
        return Err(many.at("table", &table.name).hint("look them up in several calls"));
    }
    let prefix_spec = prefix_spec(spec, prefixes).map_err(|error| error.at("table", &table.name))?;
    let prefixes = key_columns(table, &prefix_spec, prefixes)?;
    let encoded = encode(&prefix_spec, &prefixes)?;
    // Each prefix is looked up once, however often it is asked for.
    let mut firsts: HashMap<&[u8], usize> = HashMap::new();
    let same: Vec<usize> = encoded.iter().enumerate().map(|(row, prefix)| *firsts.entry(prefix).or_insert(row)).collect();
    let alive = Alive::of(table, spec, now_ms)?;
    let mut found = Found { alive, batches: Vec::new(), places: vec![Vec::new(); encoded.len()], rows: 0 };
    for ((partition_id, bucket), mut rows) in places((entry, spec), &prefix_spec, &prefixes)? {
        rows.retain(|row| same[*row] == *row);
        rows.sort_unstable_by(|left, right| encoded[*left].cmp(&encoded[*right]));
        let Some(pinned) = pin(Place { partition_id, bucket })? else { continue };
        for rows in rows.chunks(RANGES_MAX) {
            let wanted: Vec<(&[u8], usize)> = rows.iter().map(|row| (&encoded[*row][..], *row)).collect();
            found.read(&pinned, &wanted).map_err(|error| error.at("table", &table.name).at("bucket", bucket))?;
        }
    }
    found.in_order(spec, &same)
}

/// The table as far as prefixes have its key.
fn prefix_spec(spec: &TableSpec, prefixes: &RecordBatch) -> Result<TableSpec> {
    if spec.primary_key.is_empty() {
        let keyless = Error::invalid("a table without a primary key has no keys to look up");
        return Err(keyless.hint("scan it with a filter, or create it with a primary key"));
    }
    let names: Vec<&str> = spec.primary_key.iter().filter_map(|id| spec.schema().field(*id)).map(|field| field.name.as_str()).collect();
    let asked = prefixes.schema();
    if let Some(other) = asked.fields().iter().find(|field| !names.contains(&field.name().as_str())) {
        let stranger = Error::invalid("a column is not part of the primary key").at("column", other.name());
        return Err(stranger.hint(did_you_mean(other.name(), names.iter().copied())));
    }
    let count = asked.fields().len();
    if count == 0 || names[..count.min(names.len())].iter().any(|name| asked.index_of(name).is_err()) {
        let given: Vec<&str> = asked.fields().iter().map(|field| field.name().as_str()).collect();
        let gap = Error::invalid("no key begins with these columns").at("columns", given.join(","));
        return Err(gap.hint(format!("the primary key is {}: give the first of them, or the first few", names.join(", "))));
    }
    let mut prefix = spec.clone();
    prefix.primary_key.truncate(count);
    key_spec(&prefix)
}

/// What the keys of each prefix begin with.
fn encode(prefix_spec: &TableSpec, prefixes: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let places = prefix_spec.primary_key.iter().filter_map(|id| prefix_spec.schema().index_of_id(*id));
    let columns: Vec<_> = places.map(|place| prefixes.column(place)).collect();
    let prefix = |row| {
        let mut bytes = Vec::new();
        for column in &columns {
            bytes.extend(encode_value(column, row)?);
        }
        Ok(bytes)
    };
    (0..prefixes.num_rows()).map(prefix).collect()
}

/// By partition and bucket the prefixes whose rows may be there.
fn places(
    (entry, spec): (&TableEntry, &TableSpec),
    prefix_spec: &TableSpec,
    prefixes: &RecordBatch,
) -> Result<BTreeMap<(u32, u32), Vec<usize>>> {
    let count = prefixes.num_rows();
    let has = |id: &i32| prefix_spec.primary_key.contains(id);
    let hashed = spec.hashed_columns();
    let buckets = match spec.buckets {
        1 => Some(vec![0; count]),
        _ if !hashed.is_empty() && hashed.iter().all(has) => {
            Some(BucketFunction::new(prefix_spec.schema(), &hashed, spec.buckets)?.buckets(prefixes)?)
        }
        _ => None,
    };
    let mut places: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    let mut add = |partition_id: u32, row: usize| match &buckets {
        Some(buckets) => places.entry((partition_id, buckets[row])).or_default().push(row),
        None => (0..spec.buckets).for_each(|bucket| places.entry((partition_id, bucket)).or_default().push(row)),
    };
    if !spec.partition_by.is_empty() && spec.partition_by.iter().all(|field| has(&field.source)) {
        let all: Vec<usize> = (0..count).collect();
        for (key, chosen) in Partitioner::new(prefix_spec.schema(), &spec.partition_by)?.split(prefixes)? {
            // Without the partition there is no row.
            let Some(partition_id) = entry.partition(key.name()) else { continue };
            chosen.pick(&all).into_iter().for_each(|row| add(partition_id, row));
        }
    } else {
        entry.partitions.keys().for_each(|partition_id| (0..count).for_each(|row| add(*partition_id, row)));
    }
    Ok(places)
}

/// What was found so far.
struct Found {
    alive: Option<Alive>,
    batches: Vec<RecordBatch>,
    /// Of each prefix its rows: the batch, and the row of it.
    places: Vec<Vec<(usize, usize)>>,
    rows: usize,
}

impl Found {
    /// Adds the rows of a bucket whose keys have these prefixes, which ascend.
    fn read(&mut self, pinned: &Pinned, wanted: &[(&[u8], usize)]) -> Result<()> {
        let ranges = KeyRanges::of(wanted.iter().map(|(prefix, _)| KeyRange::of_prefix(prefix.to_vec())).collect());
        let columns: Vec<usize> = (0..pinned.schema().fields().len()).collect();
        let mut sorted = pinned.rows(&columns, &ranges)?;
        let mut at = 0;
        while let Some(tile) = sorted.next_tile()? {
            let batch = tile.shown()?;
            let kept = self.alive.as_ref().and_then(|alive| alive.kept(&batch));
            for row in (0..tile.rows()).filter(|row| kept.as_ref().is_none_or(|kept| kept.value(*row))) {
                let mut number = [0; 8];
                let key = key_bytes(tile.key(row), &mut number);
                while !key.starts_with(wanted[at].0) && at + 1 < wanted.len() {
                    at += 1;
                }
                assert!(key.starts_with(wanted[at].0), "only keys with a prefix were asked for");
                self.places[wanted[at].1].push((self.batches.len(), row));
            }
            self.rows += tile.rows();
            if self.rows > PREFIX_ROWS_MAX {
                return Err(too_many());
            }
            self.batches.push(batch);
        }
        Ok(())
    }

    /// The rows in the order of the prefixes; `same` says for each prefix which one was looked up for it.
    fn in_order(self, spec: &TableSpec, same: &[usize]) -> Result<PrefixRows> {
        let counts: Vec<usize> = same.iter().map(|first| self.places[*first].len()).collect();
        let total: usize = counts.iter().sum();
        if total > PREFIX_ROWS_MAX {
            return Err(too_many());
        }
        if total == 0 {
            return Ok(PrefixRows { rows: RecordBatch::new_empty(spec.schema().arrow().clone()), counts });
        }
        let order: Vec<(usize, usize)> = same.iter().flat_map(|first| self.places[*first].iter().copied()).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = interleave_record_batch(&batches, &order);
        let rows = rows.map_err(|error| Error::exhausted("the rows are too large to be put together").caused_by(error))?;
        Ok(PrefixRows { rows, counts })
    }
}

fn too_many() -> Error {
    Error::exhausted(format!("more than {PREFIX_ROWS_MAX} rows have these prefixes")).hint("scan the table with a filter")
}
