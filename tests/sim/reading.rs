//! Rows on their way out: everything at once, pieces of it, and on and on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::store::{Next, ScanBatch, Scanner, Start, Store};
use aquifer_node::{Error, Kind};

use crate::history::{DIR, History};
use crate::oracle::{Finding, Place};
use crate::rows::{self, Column};

/// A scan that follows, of the store's own process or of another.
pub(crate) struct Reader {
    table: u64,
    pub(crate) is_own: bool,
    scanner: Scanner,
    columns: Vec<Column>,
    from_earliest: bool,
    /// Where the logs began when it was made; one that is not here came later.
    starts: BTreeMap<Place, u64>,
    positions: BTreeMap<Place, u64>,
    /// It looked while the device failed; what it met there it may tell when the device is well again, if the store was opened anew meanwhile.
    met_failures: bool,
}

fn place_of(batch: &ScanBatch) -> Place {
    (batch.partition.to_string(), batch.bucket)
}

/// Takes in every row of every table; the end of each log.
pub(crate) fn read_everything(history: &mut History, store: &Store, when: &str) -> Finding<BTreeMap<(u64, Place), u64>> {
    let mut ends = BTreeMap::new();
    let tables: Vec<(u64, String)> = history.oracle.tables.values().map(|table| (table.number, table.name.clone())).collect();
    for (number, name) in tables {
        let failed = |error: Error| format!("{when}: table {name} cannot be read: {error}");
        let stats = store.stats(Some(&name)).map_err(failed)?;
        for stats in &stats {
            let place = (stats.partition.clone(), stats.bucket);
            history.oracle.starts_at(number, &place, stats.start_offset)?;
            history.oracle.ends_at(number, &place, stats.end_offset);
            ends.insert((number, place), stats.end_offset);
        }
        let mut positions: BTreeMap<Place, u64> = stats.iter().map(|s| ((s.partition.clone(), s.bucket), s.start_offset)).collect();
        let scanner = store.table(&name).and_then(|table| table.scan().build()).map_err(failed)?;
        for next in scanner {
            let next = next.map_err(failed)?;
            history.take_in(number, &next, None, &mut positions, None, when)?;
        }
        for stats in stats {
            let place = (stats.partition, stats.bucket);
            if positions[&place] != stats.end_offset {
                return Err(format!(
                    "{when}: table {name}, bucket {place:?} ends at {} and was read up to {}",
                    stats.end_offset, positions[&place]
                ));
            }
        }
        let model = &history.oracle.tables[&number];
        for (place, log) in &model.logs {
            let end = ends.get(&(number, place.clone())).copied().unwrap_or(0);
            if log.end() > end {
                return Err(format!("{when}: table {name}, bucket {place:?} ends at {end}, before {}", log.end()));
            }
        }
    }
    Ok(ends)
}

impl History {
    /// Holds a batch of a scan without filter against the oracle.
    fn take_in(
        &mut self,
        table: u64,
        next: &ScanBatch,
        columns: Option<&[Column]>,
        positions: &mut BTreeMap<Place, u64>,
        began_at: Option<u64>,
        says: &str,
    ) -> Finding {
        let place = place_of(next);
        let expected = positions.get(&place).copied().unwrap_or(next.first_offset);
        if next.first_offset != expected || next.next_offset - next.first_offset != next.batch.num_rows() as u64 {
            let (from, to, count) = (next.first_offset, next.next_offset, next.batch.num_rows());
            return Err(format!("{says}: table {table}, bucket {place:?}: {count} rows for {from}..{to} where {expected} comes next"));
        }
        positions.insert(place.clone(), next.next_offset);
        let rows = self.rows_of(table, next, columns, says)?;
        for (row, offset) in rows.into_iter().zip(next.first_offset..) {
            self.oracle.is_at(table, &place, offset, row, began_at, says)?;
        }
        Ok(())
    }

    fn rows_of(&self, table: u64, next: &ScanBatch, columns: Option<&[Column]>, says: &str) -> Finding<Vec<u64>> {
        let model = self.oracle.tables.get(&table).ok_or_else(|| format!("{says}: rows of a table that was dropped"))?;
        let columns = columns.unwrap_or(&model.columns);
        let is_dropped = |column: &Column| model.dropped.contains(&column.number);
        let place = place_of(next);
        rows::check(&next.batch, columns, is_dropped).map_err(|wrong| format!("{says}: table {table}, bucket {place:?}: {wrong}"))
    }

    fn known_ends(&self, table: u64) -> BTreeMap<Place, (u64, u64)> {
        self.oracle.tables[&table].logs.iter().map(|(place, log)| (place.clone(), (log.start, log.end()))).collect()
    }

    fn a_store(&mut self) -> Finding<Option<(Store, bool)>> {
        if self.random.one_in(2) {
            return Ok(self.store.clone().map(|store| (store, true)));
        }
        if self.follower.is_none() {
            match self.open_follower() {
                Ok(store) => self.follower = Some(store),
                Err(error) => return self.excuse("open to follow", &error).map(|()| None),
            }
        }
        Ok(self.follower.clone().map(|store| (store, false)))
    }

    fn open_follower(&mut self) -> Result<Store, Error> {
        let options = aquifer_node::store::Options {
            recent_bytes_max: 0,
            scan_bytes_max: *self.random.pick(&[64 << 10, 16 << 20]),
            buckets_open_max: *self.random.pick(&[1, 3, 4096]),
            ..Default::default()
        };
        Store::open_read_only_with(self.sim.clone(), DIR, options)
    }

    /// The store as another process sees it.
    pub(crate) fn follow(&mut self) -> Finding<Store> {
        self.open_follower().map_err(|error| format!("open to follow: {error}"))
    }

    /// A bounded scan from somewhere, of some columns, maybe filtered.
    pub(crate) fn scan(&mut self) -> Finding {
        let tables: Vec<u64> = self.oracle.tables.keys().copied().collect();
        let Some((store, _)) = self.a_store()? else { return Ok(()) };
        if tables.is_empty() {
            return Ok(());
        }
        let table = *self.random.pick(&tables);
        let start = match self.random.below(4) {
            0 => Start::Latest,
            1 => match store_time(self) - self.random.below(10_000) as i64 {
                // One that lies before all rows brings all of them.
                time_ms if time_ms % 2 == 0 => Start::Timestamp(0),
                time_ms => Start::Timestamp(time_ms),
            },
            _ => Start::Earliest,
        };
        let above = self.random.one_in(2).then(|| self.random.below(self.oracle.rows_so_far() + 1));
        let name = self.oracle.tables[&table].name.clone();
        self.say(|| format!("scan table {table} from {start:?}, row >= {above:?}"));
        let ends = self.known_ends(table);
        let scanned = store.table(&name).and_then(|handle| {
            let mut scan = handle.scan().start(start).meta(true);
            if self.random.one_in(2) {
                scan = scan.columns(&["row", "key"]);
            }
            if let Some(above) = above {
                scan = scan.filter(&format!("row >= {above}"));
            }
            scan.build()?.collect::<Result<Vec<ScanBatch>, Error>>()
        });
        let batches = match scanned {
            Ok(batches) => batches,
            Err(error) => return self.excuse_scan(table, &error),
        };
        let mut seen = BTreeSet::new();
        for next in &batches {
            self.take_in_some(table, next, above, &mut seen)?;
        }
        if matches!(start, Start::Earliest | Start::Timestamp(0)) {
            self.nothing_is_missing(table, &ends, above, &seen)?;
        }
        Ok(())
    }

    fn take_in_some(&mut self, table: u64, next: &ScanBatch, above: Option<u64>, seen: &mut BTreeSet<(Place, u64)>) -> Finding {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        let place = place_of(next);
        let offsets = next.batch.column_by_name("_offset").ok_or("a scan with meta has no offsets")?;
        let offsets: Vec<u64> = offsets.as_primitive::<Int64Type>().values().iter().map(|offset| *offset as u64).collect();
        for (row, offset) in self.rows_of(table, next, None, "scan")?.into_iter().zip(offsets) {
            if above.is_some_and(|above| row < above) {
                return Err(format!("scan: row {row} passed the filter row >= {above:?}"));
            }
            if !(next.first_offset..next.next_offset).contains(&offset) || !seen.insert((place.clone(), offset)) {
                return Err(format!("scan: table {table}, bucket {place:?}: offset {offset} twice, or out of place"));
            }
            self.oracle.is_at(table, &place, offset, row, None, "scan")?;
        }
        Ok(())
    }

    /// Every row that was known before the scan and is kept was seen by it.
    fn nothing_is_missing(
        &self,
        table: u64,
        ends: &BTreeMap<Place, (u64, u64)>,
        above: Option<u64>,
        seen: &BTreeSet<(Place, u64)>,
    ) -> Finding {
        let model = &self.oracle.tables[&table];
        for (place, (_, end)) in ends {
            let first_seen = seen.range((place.clone(), 0)..).next().filter(|(found, _)| found == place).map(|(_, offset)| *offset);
            let start = if model.has_retention { first_seen.unwrap_or(*end) } else { 0 };
            for (offset, row) in model.logs[place].known.range(start..(*end).max(start)) {
                if above.is_none_or(|above| *row >= above) && !seen.contains(&(place.clone(), *offset)) {
                    return Err(format!("scan: table {table}, bucket {place:?}: row {row} at {offset} was left out"));
                }
            }
        }
        Ok(())
    }

    /// A scan that follows.
    pub(crate) fn start_reader(&mut self) -> Finding {
        let tables: Vec<u64> = self.oracle.tables.keys().copied().collect();
        let Some((store, is_own)) = self.a_store()? else { return Ok(()) };
        if tables.is_empty() || self.readers.len() > 5 {
            return Ok(());
        }
        let table = *self.random.pick(&tables);
        let from_earliest = !self.random.one_in(3);
        let start = if from_earliest { Start::Earliest } else { Start::Latest };
        let (name, columns) = (self.oracle.tables[&table].name.clone(), self.oracle.tables[&table].columns.clone());
        let starts = self.known_ends(table).into_iter().map(|(place, (start, _))| (place, start)).collect();
        self.say(|| format!("follow table {table} from {start:?}, own process: {is_own}"));
        match store.table(&name).and_then(|table| table.scan().start(start).follow(true).build()) {
            Ok(scanner) => {
                let (positions, met_failures) = (BTreeMap::new(), self.weather.fails_now);
                self.readers.push(Reader { table, is_own, scanner, columns, from_earliest, starts, positions, met_failures });
                Ok(())
            }
            Err(error) => self.excuse_at(table, "follow", &error),
        }
    }

    /// Everybody who follows reads a little.
    pub(crate) fn poll_readers(&mut self) -> Finding {
        let mut readers = std::mem::take(&mut self.readers);
        for mut reader in readers.drain(..) {
            if self.poll(&mut reader)? {
                self.readers.push(reader);
            }
        }
        Ok(())
    }

    /// Whether the reader can go on.
    fn poll(&mut self, reader: &mut Reader) -> Finding<bool> {
        self.say(|| format!("poll a reader of table {}, own process: {}", reader.table, reader.is_own));
        reader.met_failures |= self.weather.fails_now;
        for _ in 0..self.random.between(1, 30) {
            let timeout = Duration::from_micros(self.random.below(2) * 500);
            match reader.scanner.next_within(Some(timeout)) {
                Ok(Next::Batch(next)) => self.take_next(reader, &next)?,
                Ok(Next::Waiting) => return self.has_seen_all(reader).map(|()| true),
                Ok(Next::End) => return Err("a scan that follows ended".to_string()),
                Err(error) => return self.excuse_reader(reader, &error).map(|()| false),
            }
        }
        Ok(true)
    }

    fn take_next(&mut self, reader: &mut Reader, next: &ScanBatch) -> Finding {
        let place = place_of(next);
        let at_start = !reader.positions.contains_key(&place);
        let has_retention = self.oracle.tables.get(&reader.table).is_some_and(|table| table.has_retention);
        if at_start && reader.from_earliest && !has_retention && next.first_offset != 0 {
            return Err(format!("a reader from the start begins at {} of {place:?}", next.first_offset));
        }
        let says = if reader.is_own { "followed" } else { "followed from outside" };
        // Only beside the writer does it hold segments that are dropped meanwhile.
        let began_at = reader.is_own.then(|| reader.starts.get(&place).copied().unwrap_or(0));
        let mut positions = std::mem::take(&mut reader.positions);
        let taken = self.take_in(reader.table, next, Some(&reader.columns), &mut positions, began_at, says);
        reader.positions = positions;
        taken
    }

    /// A reader that waits has seen all that is known to be durable.
    fn has_seen_all(&self, reader: &Reader) -> Finding {
        if self.sim.is_crashed() || self.weather.has_failed || !reader.from_earliest {
            return Ok(());
        }
        // Where it has seen nothing yet, rows may have been dropped before it came to them.
        let has_retention = self.oracle.tables[&reader.table].has_retention;
        let skipped = if has_retention { reader.scanner.positions() } else { HashMap::new() };
        for (place, (start, end)) in self.known_ends(reader.table) {
            let began_at = skipped.get(&(Arc::from(place.0.as_str()), place.1)).copied().unwrap_or(0);
            let position = reader.positions.get(&place).copied().unwrap_or(began_at);
            if position < end && end > start {
                return Err(format!(
                    "a reader of table {} (own: {}) waits at {position} of {place:?}, which ends at {end}",
                    reader.table, reader.is_own
                ));
            }
        }
        Ok(())
    }

    fn excuse_reader(&mut self, reader: &Reader, error: &Error) -> Finding {
        let model = self.oracle.tables.get(&reader.table);
        let dropped = model.is_none_or(|table| table.existence != crate::oracle::Existence::Certain);
        let widened = |old: &Column| !old.is_wide && model.is_some_and(|table| table.widened.contains(&old.number));
        // Values that a column held no room for when the scan began.
        if error.kind() == Kind::Conflict && reader.columns.iter().any(widened) {
            return Ok(());
        }
        let fell_behind = error.kind() == Kind::Invalid && model.is_some_and(|table| table.has_retention);
        if dropped && error.kind() == Kind::NotFound || fell_behind {
            return Ok(());
        }
        if reader.met_failures && !reader.is_own && error.kind() != Kind::Corrupt {
            return Ok(());
        }
        self.excuse(if reader.is_own { "next" } else { "next from outside" }, error)
    }
}

fn store_time(history: &History) -> i64 {
    use aquifer_node::io::Driver;
    history.sim.clock().wall_ms()
}
