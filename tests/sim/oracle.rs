//! What must be true: every row that was sent, where it was acknowledged or seen, and what may be in the log without having been acknowledged.
//!
//! A row is *sent*, then *at* an offset (acknowledged, or shown by a scan: both are promises) or, after a crash, *gone*, which is for ever.
//! Invariant: a log is told by its known offsets; what contradicts them is a violation, given back as text.

use std::collections::BTreeMap;

use crate::rows::{Column, key_of, part_of};

/// A finding: the store did what it must not do.
pub(crate) type Finding<T = ()> = Result<T, String>;

/// Partition name and bucket.
pub(crate) type Place = (String, u32);

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Sent,
    At(u64),
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Fact {
    table: u64,
    sender: u64,
    standing: Standing,
}

/// What is known of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Rows before this were dropped by retention.
    pub(crate) start: u64,
    /// Rows by offset.
    pub(crate) known: BTreeMap<u64, u64>,
    /// Rows before this were on the device when the log was last settled: no power cut takes them.
    on_device: u64,
    /// Rows sent since the last settlement, in order; whether they must form a prefix.
    sent: Vec<u64>,
}

impl Log {
    /// Offset behind the last known row.
    pub(crate) fn end(&self) -> u64 {
        self.known.last_key_value().map_or(self.start, |(last, _)| last + 1)
    }
}

/// Whether a table exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    /// It does.
    Certain,
    /// Its creation or its end was cut off.
    Doubtful,
}

/// One table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Tells it from all others, also of the same name.
    pub(crate) number: u64,
    /// Its name.
    pub(crate) name: String,
    /// Buckets.
    pub(crate) buckets: u32,
    /// The bucket of each key, when the key decides.
    pub(crate) bucket_of_key: Option<Vec<u32>>,
    /// Whether it has partitions.
    pub(crate) is_parted: bool,
    /// Whether its segments take rows of the largest size.
    pub(crate) is_large: bool,
    /// Whether rows may be dropped.
    pub(crate) has_retention: bool,
    /// Columns behind the four.
    pub(crate) columns: Vec<Column>,
    /// What the columns will be, if a change that was cut off took place.
    pub(crate) columns_perhaps: Option<Vec<Column>>,
    /// Numbers of columns that were dropped.
    pub(crate) dropped: Vec<u64>,
    /// Numbers of columns that were widened, or may have been.
    pub(crate) widened: Vec<u64>,
    /// Whether it exists.
    pub(crate) existence: Existence,
    /// Its logs.
    pub(crate) logs: BTreeMap<Place, Log>,
}

impl Table {
    /// The name of a row's partition.
    pub(crate) fn partition_of(&self, row: u64) -> String {
        if self.is_parted { format!("part={}", part_of(row)) } else { String::new() }
    }

    /// The bucket of a row, when it is not the writer's choice.
    pub(crate) fn bucket_of(&self, row: u64) -> Option<u32> {
        match &self.bucket_of_key {
            Some(buckets) => Some(buckets[key_of(row) as usize]),
            None => (self.buckets == 1).then_some(0),
        }
    }
}

/// See the head of this module.
#[derive(Default)]
pub(crate) struct Oracle {
    /// By number.
    pub(crate) tables: BTreeMap<u64, Table>,
    facts: BTreeMap<u64, Fact>,
    next_number: u64,
    /// Errors were possible since the last settlement: what is unacknowledged need not be a prefix.
    pub(crate) had_errors: bool,
    /// The power was cut while rows were acknowledged in the page cache: the last ones of each log may be lost.
    pub(crate) may_have_lost: bool,
}

impl Oracle {
    /// A number that was never given.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The number of the next row that will be sent, roughly: no row was given it or one above it.
    pub(crate) fn rows_so_far(&self) -> u64 {
        self.facts.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// A row is about to be sent.
    pub(crate) fn send(&mut self, table: u64, sender: u64, row: u64) {
        let known = self.facts.get(&row).map(|fact| fact.standing);
        if known.is_some_and(|standing| standing != Standing::Gone) {
            // One that is under way keeps its turn among those that were sent.
            return;
        }
        self.facts.entry(row).or_insert(Fact { table, sender, standing: Standing::Sent }).standing = Standing::Sent;
        let table = self.tables.get_mut(&table).expect("rows go to tables that exist");
        if let Some(bucket) = table.bucket_of(row) {
            let place = (table.partition_of(row), bucket);
            table.logs.entry(place).or_default().sent.push(row);
        }
    }

    /// A row that failed is sent once more, perhaps behind rows that were sent after it.
    pub(crate) fn send_again(&mut self, sender: u64, row: u64) {
        self.facts.get_mut(&row).expect("it was sent").sender = sender;
    }

    /// Where a row is known to be.
    pub(crate) fn offset_of(&self, row: u64) -> Option<u64> {
        match self.facts.get(&row)?.standing {
            Standing::At(offset) => Some(offset),
            Standing::Sent | Standing::Gone => None,
        }
    }

    /// The store says that this row is durable at this offset. Who says so may have begun when the log had rows from `began_at` on: such a one may know of
    /// rows that were dropped since. `None` says that it begins now.
    pub(crate) fn is_at(&mut self, table: u64, place: &Place, offset: u64, row: u64, began_at: Option<u64>, says: &str) -> Finding {
        let here = || format!("{says}: table {table}, bucket {place:?}, offset {offset}, row {row}");
        let Some(fact) = self.facts.get_mut(&row) else { return Err(format!("{}: never sent", here())) };
        let Some(model) = self.tables.get_mut(&table) else { return Err(format!("{}: the table is dropped", here())) };
        if fact.table != table {
            return Err(format!("{}: it was sent to table {}", here(), fact.table));
        }
        if model.partition_of(row) != place.0 || model.bucket_of(row).is_some_and(|bucket| bucket != place.1) {
            return Err(format!("{}: it belongs elsewhere", here()));
        }
        let log = model.logs.entry(place.clone()).or_default();
        match (log.known.get(&offset), fact.standing) {
            (Some(known), _) if *known != row => Err(format!("{}: row {known} was there", here())),
            (Some(_), _) => Ok(()),
            (None, Standing::At(other)) => Err(format!("{}: it is at {other} too", here())),
            (None, Standing::Gone) => Err(format!("{}: it was gone after a crash", here())),
            // Rows may have been dropped by retention before their answer was taken, and a reader beside the writer holds the segment that it reads.
            (None, Standing::Sent) if offset < began_at.map_or(log.start, |began_at| began_at.min(log.start)) => {
                Err(format!("{}: before the start {}", here(), log.start))
            }
            (None, Standing::Sent) => {
                fact.standing = Standing::At(offset);
                log.known.insert(offset, row);
                Ok(())
            }
        }
    }

    /// The log begins here now.
    pub(crate) fn starts_at(&mut self, table: u64, place: &Place, start: u64) -> Finding {
        let Some(table) = self.tables.get_mut(&table) else { return Ok(()) };
        let log = table.logs.entry(place.clone()).or_default();
        if start < log.start {
            return Err(format!("table {}, bucket {place:?}: the start went back from {} to {start}", table.number, log.start));
        }
        if start > log.start && !table.has_retention {
            return Err(format!("table {}, bucket {place:?}: rows {} to {start} were dropped without retention", table.number, log.start));
        }
        log.start = start;
        Ok(())
    }

    /// A log was just found to end here. After a power cut its last rows may be lost if none of them had to be on the device; they are gone.
    pub(crate) fn ends_at(&mut self, table: u64, place: &Place, end: u64) {
        let Some(log) = self.tables.get_mut(&table).and_then(|table| table.logs.get_mut(place)) else { return };
        if self.may_have_lost && end >= log.on_device {
            for row in log.known.split_off(&end).into_values() {
                self.facts.get_mut(&row).expect("it was sent").standing = Standing::Gone;
            }
        }
    }

    /// Everything in a log was just read after a crash, its end is `end`: what was not there is gone.
    pub(crate) fn settle(&mut self, table: u64, place: &Place, end: u64) -> Finding {
        let had_errors = self.had_errors;
        let Some(model) = self.tables.get_mut(&table) else { return Ok(()) };
        let log = model.logs.entry(place.clone()).or_default();
        let here = format!("table {table}, bucket {place:?}");
        log.on_device = end;
        if log.end() > end {
            return Err(format!("{here}: rows {end} to {} were acknowledged or seen and are lost", log.end()));
        }
        if let Some(hole) = (log.start..end).find(|offset| !log.known.contains_key(offset)) {
            return Err(format!("{here}: nothing at offset {hole} of {} to {end}", log.start));
        }
        let mut last_of: BTreeMap<u64, u64> = BTreeMap::new();
        for (offset, row) in &log.known {
            let sender = self.facts[row].sender;
            if let Some(before) = last_of.insert(sender, *row).filter(|before| before > row) {
                return Err(format!("{here}: at offset {offset} row {row} stands behind the later row {before} of the same sender"));
            }
        }
        let mut missing = None;
        for row in std::mem::take(&mut log.sent) {
            let fact = self.facts.get_mut(&row).expect("it was sent");
            match (fact.standing, missing) {
                // A table with retention may have dropped rows before anybody saw them.
                (Standing::At(offset), Some(missing)) if !had_errors && log.start == 0 => {
                    return Err(format!("{here}: row {row} at {offset} is there, row {missing} that was sent before is not"));
                }
                (Standing::At(_) | Standing::Gone, _) => {}
                (Standing::Sent, _) => {
                    missing = missing.or(Some(row));
                    fact.standing = Standing::Gone;
                }
            }
        }
        Ok(())
    }

    /// All logs are settled: rows that a writer could put anywhere and that are nowhere are gone too.
    pub(crate) fn settle_rest(&mut self) {
        for fact in self.facts.values_mut() {
            if fact.standing == Standing::Sent {
                fact.standing = Standing::Gone;
            }
        }
        self.had_errors = false;
        self.may_have_lost = false;
    }

    /// Takes a table out.
    pub(crate) fn drop_table(&mut self, number: u64) {
        self.tables.remove(&number);
    }
}
