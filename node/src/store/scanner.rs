//! Scans: rows of all buckets of a table, from somewhere on, some columns, some rows, bounded or following.
//!
//! Invariants: rows of a bucket come in order, none twice, none left out; no order holds between buckets; a bounded scan ends where each bucket ended
//! when it began. This module knows nothing of files: `Cursor` reads, `Reading` decodes.

mod adapting;

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use self::adapting::Adapting;
use super::catalog::{Catalog, TableEntry};
use super::dropping::{dropped, partition_dropped, why_gone};
use super::explain::{explain, fell_behind};
use super::keyed::{MergedScan, Wanted};
use super::open::Inner;
use super::part::Part;
use super::reading::{Extras, Reading};
use super::snapshots::{Version, until};
use super::span::{Bound, Positions, Span, source};
use super::split::{self, PieceRows, Place, SPLITS_MAX, Seen, Split, Whole};
use super::table::Table;
use crate::bucket::Bucket;
use crate::bucket::follower::Follower;
use crate::error::{Error, Kind, Result};
use crate::log::cursor::{Cursor, Next as CursorNext, Source, offset_at};
use crate::log::view::View;
use crate::table::partition::Partitioner;
use crate::table::rows::value_bytes;

/// Buckets of a scan that keep what they need to read ahead while they have nothing new; of more, each gives it back.
const READY_MAX: usize = 16;

/// Batches that such a scan takes from one bucket before the next has its turn: what was read ahead is given back then.
const TURN_BATCHES_MAX: usize = 64;

/// Places where one log can be cut into splits, about.
const PLACES_MAX: u64 = 1 << 16;

/// How long a following scan sleeps at most before it looks at the catalog and the writer's lock again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often a follower looks for a time while the writer drops segments.
const LOOKS_MAX: u32 = 16;

/// Where a scan begins in each bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest row that is kept.
    #[default]
    Earliest,
    /// Behind the newest row.
    Latest,
    /// At this offset.
    Offset(u64),
    /// At the first batch committed at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// A scan to be described. Made by [`Table::scan`].
#[derive(Clone)]
pub struct ScanBuilder {
    pub(super) table: Table,
    columns: Option<Vec<String>>,
    filter: Option<String>,
    part: Part,
    limit: Option<u64>,
    pub(super) start: Start,
    follow: bool,
    adapts: bool,
    pub(super) extras: Extras,
    pub(super) changes: bool,
    pub(super) at: Option<Version>,
    pub(super) from: Option<Bound>,
    pub(super) to: Option<Bound>,
    pub(super) rows_first: bool,
    pub(super) split: Option<Split>,
}

impl ScanBuilder {
    pub(super) fn new(table: Table) -> Self {
        let part = Part::default();
        ScanBuilder {
            table,
            columns: None,
            filter: None,
            part,
            limit: None,
            start: Start::Earliest,
            follow: false,
            adapts: false,
            extras: Extras::default(),
            changes: false,
            at: None,
            from: None,
            to: None,
            rows_first: false,
            split: None,
        }
    }

    /// Of the log of a table with a primary key, where [`ScanBuilder::new`] is of its rows as they are now.
    pub(super) fn of_changes(table: Table) -> Self {
        ScanBuilder { changes: true, extras: Extras { op: true, place: false }, ..ScanBuilder::new(table) }
    }

    /// Only these columns, in this order. Only their bytes are read where batches are large.
    #[must_use]
    pub fn columns<S: AsRef<str>>(mut self, columns: &[S]) -> Self {
        self.columns = Some(columns.iter().map(|column| column.as_ref().to_string()).collect());
        self
    }

    /// Only rows for which this holds, as in `price > 5 and country = 'CH'`. Of an update of which one row passes comes what it is to who sees no others: a `-D` of the row
    /// before, or a `+I` of the row after. Of changes as they were written, those that take rows away may have nothing but a key: only what this says of the key
    /// applies to them.
    #[must_use]
    pub fn filter(mut self, condition: &str) -> Self {
        self.filter = Some(condition.to_string());
        self
    }

    /// Only these buckets (of each partition that is read), so that an offset to start at names one row of each.
    #[must_use]
    pub fn buckets(mut self, buckets: &[u32]) -> Self {
        self.part.buckets = Some(buckets.to_vec());
        self
    }

    /// Only this partition, by its name, as in `country=CH/day=2026-01-31`.
    #[must_use]
    pub fn partition(mut self, name: &str) -> Self {
        self.part.partition = Some(name.to_string());
        self
    }

    /// At most so many rows in all.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// As the table was: of one with a primary key a snapshot, in the columns that it had then; of a log table the rows that were committed up to a time.
    #[must_use]
    pub fn at(mut self, version: Version) -> Self {
        self.at = Some(version);
        self
    }

    /// Where to begin.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Go on with rows as they become durable, without end.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// With the columns `_bucket`, `_offset`, `_timestamp` and `_op` behind the others, and `_partition` before them in a table with partitions.
    #[must_use]
    pub fn meta(mut self, meta: bool) -> Self {
        self.extras = Extras { place: meta, op: meta || self.changes };
        self
    }

    /// Only the rows of one of the [`ScanBuilder::splits`] of a scan of the same table.
    #[must_use]
    pub fn split(mut self, split: &Split) -> Self {
        self.split = Some(split.clone());
        self
    }

    /// Cuts the scan into at most so many parts of about as many rows, to be read by scans of their own: in other threads, or in other processes, which get them as
    /// text. Each is a stretch of buckets, and of a large bucket a part: of a table with a primary key some keys, of a log some offsets. Columns and
    /// filter are not part of a split; a filter here leaves out partitions, and says where rows are counted.
    ///
    /// Errors: as [`ScanBuilder::build`]; Invalid for no splits or more than [`super::SPLITS_MAX`], and for a scan that follows, has a limit, starts at a
    /// time, or reads a split.
    pub fn splits(self, count: usize) -> Result<Vec<Split>> {
        let wrong = |what: &str, hint: String| Err(Error::invalid(what.to_string()).at("table", &self.table.name).hint(hint));
        if count == 0 || count > SPLITS_MAX {
            return wrong("a scan is cut into one split or more", format!("1 to {SPLITS_MAX}"));
        }
        let is_log = self.changes || self.table.store.entry(self.table.id, &self.table.name)?.spec.primary_key.is_empty();
        let is_elsewhere = self.at.is_some() && is_log || self.from.is_some() || self.to.is_some() || self.rows_first;
        if self.follow || self.limit.is_some() || self.split.is_some() || is_elsewhere || matches!(self.start, Start::Timestamp(_)) {
            return wrong(
                "only a whole scan can be cut",
                "as the table is now, or at a snapshot, without a limit, not following, and not starting at a time".into(),
            );
        }
        let scanner = self.build()?;
        let entry = scanner.table.store.entry(scanner.table.id, &scanner.table.name)?;
        let wholes = match &scanner.merged {
            Some(merged) => merged.wholes(),
            None => scanner.lanes.iter().map(Lane::whole).collect(),
        };
        let of_log = Seen { spec: &entry.spec, now_ms: None, snapshot: None };
        split::cut(scanner.merged.as_ref().map_or(of_log, MergedScan::seen), wholes, count)
    }

    /// Starts the scan.
    ///
    /// Errors: Invalid for an unknown column (with the nearest), a filter that does not parse, a bucket that the table does not have, a
    /// partition of a table without, or a split of another table; NotFound for an unknown partition, or when the table was dropped; Conflict for a split whose
    /// rows are no longer there as they were.
    pub fn build(self) -> Result<Scanner> {
        self.check_ends()?;
        let ScanBuilder { table, columns, filter, part, limit, start, follow, adapts, extras, changes, split, at, from, to, rows_first } =
            self;
        let entry = table.store.entry(table.id, &table.name)?;
        part.check(&entry)?;
        let spec = entry.spec.clone();
        let is_merged = !spec.primary_key.is_empty() && !changes;
        if let Some(split) = &split {
            split.check(&spec, is_merged)?;
            if follow || start != Start::Earliest || part != Part::default() {
                let whole = Error::invalid("a split says by itself which rows it has").at("table", &table.name);
                return Err(whole.hint("choose buckets, a partition or a start when the splits are made"));
            }
        }
        if is_merged && (follow || extras.place || start != Start::Earliest) {
            let misplaced = Error::invalid("the rows of a table with a primary key have no offsets to start at or to follow");
            return Err(misplaced.at("table", &table.name).hint("read its changes: `Table::changes`, or `aquifer tail --changelog`"));
        }
        let of_split = split.as_ref().and_then(Split::version);
        let source = source(&table, at.as_ref().or(of_split.as_ref()), from.as_ref(), rows_first)?;
        let merged = match is_merged || rows_first {
            true => {
                let wanted =
                    Wanted { columns: columns.as_deref(), filter: filter.as_deref(), part: &part, split: split.as_ref(), limit, source };
                Some(MergedScan::new(&table, &wanted)?)
            }
            false => None,
        };
        let mut span = Span::new(&table, from.as_ref(), to.as_ref())?;
        if let Some(merged) = merged.as_ref().filter(|_| rows_first) {
            span.from = Some(merged.ends().collect());
        }
        let until_ms = match &at {
            Some(version) if !is_merged => until(&table, version, changes || follow)?,
            _ => i64::MAX,
        };
        let spec = merged.as_ref().map_or(spec, |merged| merged.spec().clone());
        let handle = table.clone();
        let newest = Arc::new(move || Ok(handle.store.newest_entry(handle.id, &handle.name)?.spec.clone()));
        let reading = Arc::new(Reading::new(spec, newest, columns.as_deref(), filter.as_deref(), extras)?);
        let adapting = (follow && adapts && columns.is_none()).then_some(Adapting { filter });
        let mut scanner = Scanner {
            reading,
            adapting,
            lanes: Vec::new(),
            known: HashSet::new(),
            turn: 0,
            batches_of_turn: 0,
            start,
            until_ms,
            span,
            rows_first,
            follow,
            limit,
            part,
            catalog: Arc::default(),
            table,
            merged,
        };
        match split {
            _ if scanner.merged.is_some() && !rows_first => {}
            Some(split) => scanner.add_pieces(&split)?,
            None => scanner.add_lanes(start)?,
        }
        Ok(scanner)
    }
}

/// Rows of one bucket, next to each other in its log unless a filter left some out.
#[derive(Clone, Debug)]
pub struct ScanBatch {
    /// The partition's name; empty in a table without partitions.
    pub partition: Arc<str>,
    /// The bucket.
    pub bucket: u32,
    /// Offset of the first stored row that this comes from.
    pub first_offset: u64,
    /// Offset behind the last stored row that this comes from: where to go on.
    pub next_offset: u64,
    /// When they were committed, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The rows.
    pub batch: RecordBatch,
}

impl ScanBatch {
    /// Bytes of the values of the rows.
    pub fn bytes(&self) -> u64 {
        value_bytes(&self.batch)
    }
}

/// What a scan has to say.
#[derive(Debug)]
pub enum Next {
    /// Rows; at least one.
    Batch(ScanBatch),
    /// A following scan has seen everything durable, and nothing came within the time-out.
    Waiting,
    /// A bounded scan has seen everything, or the limit is reached.
    End,
}

enum Origin {
    /// Written by this process; held so that the bucket stays open.
    Own(Arc<Bucket>),
    Followed(Arc<Follower>),
}

/// One bucket of a scan.
struct Lane {
    partition: Arc<str>,
    partition_id: u32,
    bucket: u32,
    cursor: Cursor,
    origin: Origin,
    /// A bounded scan ends here.
    end: u64,
    /// Earlier batches are left out: a directory's entry may begin with some.
    since_ms: i64,
    /// A batch was read.
    begun: bool,
}

/// A running scan. Iterate over a bounded one; call [`Scanner::next_within`] on one that follows.
pub struct Scanner {
    table: Table,
    reading: Arc<Reading>,
    adapting: Option<Adapting>,
    lanes: Vec<Lane>,
    known: HashSet<(u32, u32)>,
    turn: usize,
    /// Batches in a row from the bucket whose turn it is.
    batches_of_turn: usize,
    start: Start,
    /// Later batches are left out.
    until_ms: i64,
    span: Span,
    /// Changes come behind the rows.
    rows_first: bool,
    follow: bool,
    limit: Option<u64>,
    part: Part,
    catalog: Arc<Catalog>,
    /// The rows of a table with a primary key; behind them come the lanes, if there are any.
    merged: Option<MergedScan>,
}

impl Scanner {
    /// The columns that come out.
    pub fn schema(&self) -> SchemaRef {
        self.merged.as_ref().filter(|_| !self.rows_first).map_or(self.reading.schema(), MergedScan::schema).clone()
    }

    /// The next rows. Waits for them up to `timeout` (for ever without one) when the scan follows.
    ///
    /// Errors: Invalid when the start lies outside the log; Corrupt for damaged bytes, with where they are; NotFound when the table was dropped.
    pub fn next_within(&mut self, timeout: Option<Duration>) -> Result<Next> {
        if self.limit == Some(0) {
            return Ok(Next::End);
        }
        if let Some(merged) = &mut self.merged {
            match merged.next().map_err(|error| error.at("table", &self.table.name))? {
                Some(mut rows) => {
                    if self.rows_first {
                        rows.batch = self.reading.inserted(&rows.batch)?;
                    }
                    return Ok(Next::Batch(self.within_limit(rows)));
                }
                None if self.rows_first => self.merged = None,
                None => return Ok(Next::End),
            }
        }
        let clock = self.table.store.resources.driver.clock().clone();
        let deadline = timeout.map(|timeout| clock.monotonic().saturating_add(timeout));
        loop {
            let word = self.table_word()?;
            if let Some(batch) = self.next_ready()? {
                return Ok(Next::Batch(batch));
            }
            if !self.follow {
                return Ok(Next::End);
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(clock.monotonic()));
            if left == Some(Duration::ZERO) {
                return Ok(Next::Waiting);
            }
            let (slot, word) = word;
            self.table.store.resources.page.wait(slot, word, Some(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN))));
        }
    }

    fn within_limit(&mut self, mut found: ScanBatch) -> ScanBatch {
        if let Some(limit) = &mut self.limit {
            found.batch = found.batch.slice(0, found.batch.num_rows().min(*limit as usize));
            *limit -= found.batch.num_rows() as u64;
        }
        found
    }

    /// The reads of segment files, as path and bytes, that a bounded scan makes from where it is: to hold it to the limit of the device.
    #[doc(hidden)]
    pub fn reads(&self) -> Result<Vec<(PathBuf, Range<u64>)>> {
        let mut reads = Vec::new();
        for lane in &self.lanes {
            let of_lane = lane.cursor.reads(lane.end)?;
            reads.extend(of_lane.into_iter().map(|(segment, range)| (segment.path().to_path_buf(), range)));
        }
        Ok(reads)
    }

    /// The offset of the next row, or the next change, of each bucket that is read, by the name of its partition (empty in a table without) and its number.
    pub fn positions(&self) -> Positions {
        // Behind rows, changes begin where the rows end.
        let merged = self.merged.iter().flat_map(MergedScan::ends);
        self.lanes.iter().map(|lane| ((lane.partition.clone(), lane.bucket), lane.cursor.offset())).chain(merged).collect()
    }

    /// The word that changes with every commit to the table, read before looking for rows.
    fn table_word(&mut self) -> Result<(usize, u32)> {
        let store = &self.table.store;
        let catalog = store.catalog()?;
        let slot = catalog.tables.get(&self.table.id).ok_or_else(|| dropped(&catalog, &self.table.name))?.slot;
        let word = store.resources.page.slot(slot).word();
        if self.follow && !Arc::ptr_eq(&catalog, &self.catalog) {
            self.add_lanes(Start::Earliest)?;
        }
        if self.follow {
            self.refresh_followers()?;
        }
        Ok((slot, word))
    }

    fn refresh_followers(&self) -> Result<()> {
        if self.table.store.is_writable() {
            return Ok(());
        }
        let writer = self.table.store.writer_state()?;
        for lane in &self.lanes {
            if let Origin::Followed(follower) = &lane.origin
                && let Err(error) = follower.refresh(writer)
                // What becomes of the lanes of a partition that was dropped is decided when the catalog is looked at next.
                && why_gone(&self.table, lane.partition_id, &lane.partition).is_none()
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out what was dropped.
    ///
    /// Errors: NotFound when rows of it were not read yet, or it is the partition that the scan is of.
    fn drop_lanes(&mut self, entry: &TableEntry) -> Result<()> {
        let mut lost = None;
        let is_named = self.part.partition.is_some();
        self.lanes.retain(|lane| {
            let is_there = entry.partitions.contains_key(&lane.partition_id);
            if !is_there && (is_named || lane.cursor.offset() < lane.origin.view().end()) {
                lost.get_or_insert_with(|| partition_dropped(&entry.spec.name, &lane.partition));
            }
            is_there
        });
        lost.map_or(Ok(()), |lost| Err(lost.hint("scan again without it")))
    }

    /// Opens the buckets that the scan does not have yet. An offset counts in each; where the log does not reach it yet, the scan begins at its end, unless no bucket
    /// has it.
    fn add_lanes(&mut self, start: Start) -> Result<()> {
        let store = self.table.store.clone();
        self.catalog = store.catalog()?;
        let entry = store.entry(self.table.id, &self.table.name)?;
        self.drop_lanes(&entry)?;
        self.reading.refresh(&entry.spec);
        let partitioner = Partitioner::new(entry.spec.schema(), &entry.spec.partition_by)?;
        let mut beyond = Vec::new();
        for (&partition_id, partition) in &entry.partitions {
            let name: Arc<str> = Arc::from(partition.name.as_str());
            if !self.part.has_partition(&name) || !name.is_empty() && !self.reading.may_hold(&partitioner, &name)? {
                continue;
            }
            for bucket in (0..entry.spec.buckets).filter(|bucket| self.part.has_bucket(*bucket)).collect::<Vec<_>>() {
                if !self.known.insert((partition_id, bucket)) {
                    continue;
                }
                let place = (name.clone(), bucket);
                if self.span.is_empty(&place) {
                    continue;
                }
                let (origin, view) = origin(&store, &entry, partition_id, bucket)?;
                if let Some(offset) = self.span.start(&place) {
                    if offset < view.start() {
                        return Err(Span::dropped(&self.table, bucket, offset, view.start()));
                    }
                    self.lanes.push(self.lane((name.clone(), partition_id), bucket, origin, view, Start::Offset(offset))?);
                    continue;
                }
                let start = match start {
                    Start::Offset(offset) if offset > view.end() => {
                        beyond.push(self.out_of_range(bucket, offset, &view));
                        Start::Latest
                    }
                    start => start,
                };
                let lane = self.lane((name.clone(), partition_id), bucket, origin, view, start)?;
                self.lanes.push(lane);
            }
        }
        if beyond.len() == self.lanes.len() && !beyond.is_empty() {
            return Err(beyond.swap_remove(0));
        }
        Ok(())
    }

    /// The pieces of a log that a split has.
    fn add_pieces(&mut self, split: &Split) -> Result<()> {
        let store = self.table.store.clone();
        let entry = store.entry(self.table.id, &self.table.name)?;
        let partitioner = Partitioner::new(entry.spec.schema(), &entry.spec.partition_by)?;
        for piece in &split.text.pieces {
            let PieceRows::Offsets(offsets) = &piece.rows else { unreachable!("the split was checked") };
            let name: Arc<str> = Arc::from(piece.partition.as_str());
            piece.check_partition(&entry)?;
            let partition_id = piece.partition_id;
            if offsets.is_empty() || !name.is_empty() && !self.reading.may_hold(&partitioner, &name)? {
                continue;
            }
            let (origin, view) = origin(&store, &entry, partition_id, piece.bucket)?;
            if offsets.end > view.end() {
                let unknown = Error::unavailable(format!("rows up to offset {} are not known here", offsets.end));
                return Err(unknown.at("table", &self.table.name).at("bucket", piece.bucket).at("end", view.end()).hint("try again"));
            }
            let mut lane = self.lane((name, partition_id), piece.bucket, origin, view, Start::Offset(offsets.start))?;
            lane.end = offsets.end;
            self.lanes.push(lane);
        }
        Ok(())
    }

    fn lane(&self, (partition, partition_id): (Arc<str>, u32), bucket: u32, origin: Origin, view: Arc<View>, start: Start) -> Result<Lane> {
        let store = &self.table.store;
        let source = store.resources.source();
        let end = self.span.end(&(partition.clone(), bucket), if self.follow { u64::MAX } else { view.end() });
        let offset = match start {
            Start::Earliest => view.start(),
            Start::Latest => view.end(),
            Start::Offset(offset) => offset,
            Start::Timestamp(time_ms) => match &origin {
                Origin::Own(_) => offset_at(&view, &source, time_ms)?,
                Origin::Followed(follower) => offset_followed(store, follower, &source, time_ms)?,
            },
        };
        if offset < view.start() || offset > view.end() {
            return Err(self.out_of_range(bucket, offset, &view));
        }
        let since_ms = if let Start::Timestamp(time_ms) = start { time_ms } else { i64::MIN };
        let plan = self.reading.plan();
        let mut cursor = Cursor::new(&view, source, plan, offset);
        if let Origin::Followed(_) = origin {
            cursor.locate();
        }
        Ok(Lane { partition, partition_id, bucket, cursor, origin, end, since_ms, begun: false })
    }

    /// Why a bucket has no row to begin with at an offset.
    fn out_of_range(&self, bucket: u32, offset: u64, view: &View) -> Error {
        // Rows behind the end were acknowledged, and that may be one of them.
        if let Some(damage) = view.damage().filter(|_| offset > view.end()) {
            return damage.at("table", &self.table.name);
        }
        let outside = Error::invalid(format!("offset {offset} is out of range"));
        let range = format!("bucket {bucket} has offsets {} to {}", view.start(), view.end());
        outside.at("table", &self.table.name).at("bucket", bucket).hint(format!("{range}; start at `earliest` or within them"))
    }

    /// Rows that can be had without waiting, from one bucket after the other. A scan that follows leaves a bucket that always has more.
    fn next_ready(&mut self) -> Result<Option<ScanBatch>> {
        let batches_max = match self.follow {
            true if self.lanes.len() > READY_MAX => TURN_BATCHES_MAX,
            true => 1,
            false => usize::MAX,
        };
        let mut ended = 0;
        while ended < self.lanes.len() {
            let turn = self.turn % self.lanes.len();
            let found = self.next_of(turn)?;
            self.batches_of_turn += 1;
            if found.is_none() || self.batches_of_turn >= batches_max {
                if self.lanes.len() > READY_MAX {
                    self.lanes[turn].cursor.rest();
                }
                (self.turn, self.batches_of_turn) = (turn + 1, 0);
            }
            if found.is_some() {
                return Ok(found);
            }
            ended += 1;
        }
        Ok(None)
    }

    fn next_of(&mut self, index: usize) -> Result<Option<ScanBatch>> {
        let mut refreshed_at = None;
        loop {
            let lane = &mut self.lanes[index];
            let from = lane.cursor.offset();
            let next = match lane.next() {
                Err(error) if error.kind() == Kind::Conflict && self.adapt(index, from)? => continue,
                Ok(CursorNext::Batch(stored)) if self.reading.is_older_than(stored.schema_id) && self.adapt(index, from)? => continue,
                next => next,
            };
            let lane = &mut self.lanes[index];
            let next = next.map_err(|error| explain(&self.table, (lane.partition_id, &lane.partition, lane.bucket), error))?;
            let stored = match next {
                CursorNext::Batch(stored) => stored,
                CursorNext::End => return Ok(None),
                CursorNext::Gone(start)
                    if !lane.begun && self.span.from.is_none() && matches!(self.start, Start::Earliest | Start::Timestamp(_)) =>
                {
                    lane.cursor.seek(start);
                    continue;
                }
                CursorNext::Gone(start) => return Err(fell_behind(&self.table, lane.bucket, from, start)),
                CursorNext::Lost(error) => match &lane.origin {
                    Origin::Followed(follower) if refreshed_at != Some(from) => {
                        refreshed_at = Some(from);
                        follower.refresh_segments(self.table.store.writer_state()?)?;
                        continue;
                    }
                    _ => return Err(explain(&self.table, (lane.partition_id, &lane.partition, lane.bucket), error)),
                },
            };
            lane.begun = true;
            if stored.timestamp_ms > self.until_ms {
                // Commit times of a bucket only grow.
                lane.end = from;
                return Ok(None);
            }
            if stored.timestamp_ms < lane.since_ms {
                continue;
            }
            // Small batches come together, also those behind the end.
            if stored.first_offset >= lane.end {
                return Ok(None);
            }
            let to = stored.end_offset.min(lane.end);
            let rows = self.reading.rows(&stored, (&lane.partition, lane.bucket), from.max(stored.first_offset)..to);
            let rows = rows.map_err(|error| explain(&self.table, (lane.partition_id, &lane.partition, lane.bucket), error))?;
            let Some(batch) = rows else { continue };
            let found = ScanBatch {
                partition: lane.partition.clone(),
                bucket: lane.bucket,
                first_offset: from.max(stored.first_offset),
                next_offset: to,
                timestamp_ms: stored.timestamp_ms,
                batch,
            };
            return Ok(Some(self.within_limit(found)));
        }
    }
}

impl Origin {
    fn view(&self) -> &Arc<View> {
        match self {
            Origin::Own(bucket) => bucket.view(),
            Origin::Followed(follower) => follower.view(),
        }
    }
}

impl Lane {
    /// The bucket, to be cut into splits.
    fn whole(&self) -> Whole {
        let offsets = self.cursor.offset()..self.end;
        let step = (self.end - offsets.start).div_ceil(PLACES_MAX).max(1);
        let places = offsets.clone().step_by(step as usize).map(|offset| (Place::Offset(offset), step.min(offsets.end - offset)));
        Whole {
            partition: self.partition.to_string(),
            partition_id: self.partition_id,
            bucket: self.bucket,
            held: None,
            places: places.collect(),
            rows: PieceRows::Offsets(offsets),
        }
    }

    /// What comes next. The bytes of a log that another process writes count only when they were not dropped meanwhile: their file may have been
    /// used again while it was read.
    fn next(&mut self) -> Result<CursorNext> {
        let from = self.cursor.offset();
        let next = self.cursor.next(self.end);
        let Origin::Followed(follower) = &self.origin else { return next };
        let Some(kept_from) = follower.kept_from() else { return Err(Error::not_found("the slot of the bucket is another table's")) };
        let is_end = matches!(next, Ok(CursorNext::End));
        if !is_end && from < kept_from {
            self.cursor.seek(from);
            return Ok(CursorNext::Gone(kept_from));
        }
        match next {
            // The view has not heard yet that a segment before these rows was dropped.
            Err(error) if error.kind() == Kind::NotFound => Ok(CursorNext::Lost(error)),
            next => next,
        }
    }
}

/// A bucket to read, as this process has it.
fn origin(store: &Inner, entry: &TableEntry, partition_id: u32, bucket: u32) -> Result<(Origin, Arc<View>)> {
    if store.is_writable() {
        let open = store.bucket(entry, partition_id, bucket)?;
        let view = open.view().clone();
        return Ok((Origin::Own(open), view));
    }
    let follower = store.follower(entry, partition_id, bucket)?;
    follower.refresh(store.writer_state()?)?;
    let view = follower.view().clone();
    Ok((Origin::Followed(follower), view))
}

/// As [`offset_at`], where segments may be dropped, and their files used again, while their directories are read: what was read then does not count.
fn offset_followed(store: &Inner, follower: &Follower, source: &Source, time_ms: i64) -> Result<u64> {
    let mut looks = 0;
    loop {
        looks += 1;
        let start = follower.view().start();
        let found = offset_at(follower.view(), source, time_ms);
        match follower.kept_from() {
            Some(kept_from) if kept_from > start && looks < LOOKS_MAX => follower.refresh_segments(store.writer_state()?)?,
            _ => return found,
        }
    }
}

impl Iterator for Scanner {
    type Item = Result<ScanBatch>;

    /// Rows until the end of a bounded scan; a following one waits for more and ends only at its limit.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_within(None) {
                Ok(Next::Batch(batch)) => return Some(Ok(batch)),
                Ok(Next::End) => return None,
                Ok(Next::Waiting) => {}
                Err(error) => {
                    self.limit = Some(0);
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scanner({}, {} buckets)", self.table.name, self.lanes.len())
    }
}
