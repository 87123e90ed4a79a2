//! Reads a log from an offset on: from memory where the newest rows are, else from the segments, ahead of the reader.
//!
//! Invariants: batches come in offset order, none twice, none left out; nothing at or behind the view's end is shown; a stretch that was dropped while it was
//! read is noticed (its start has moved) and never shown. This module knows nothing of tables: a [`Plan`] tells it which bytes matter.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::pipeline::{self, Job, Pipeline};
use super::segment::Segment;
use super::stored::{Body, Stored, Wrong, behind, check_frame, damaged, take_batches};
use super::view::{Reader, View};
use super::window::{Found, Window};
use crate::error::{Error, Result};
use crate::format::Decoder;
use crate::format::directory::{self, BatchEntry, Directory, Entry, RunEntry};
use crate::format::frame::{self, FRAME_ALIGNMENT, Frame, Parsed};
use crate::io::{Driver, FileCache, Frozen, Pool, Role};

/// Entries of a directory looked at in one go.
const ENTRIES_MAX: usize = 64;

/// Of a large batch, this share of its bytes is wanted: then all of them are read, and its own checksum verified. Padding alone is a few percent.
const WHOLE_FROM: (usize, usize) = (7, 8);

/// Bytes that a window reads in one go where there is no directory yet.
const WALK_BYTES_MAX: u64 = 1 << 20;

/// Schema, statistics and rows of a batch: whether it may hold a wanted row.
pub type MayMatch = Arc<dyn Fn(i16, &[u8], u64) -> bool + Send + Sync>;

/// From a sealed segment to its directory.
pub type FindDirectory = Arc<dyn Fn(&Segment) -> Result<Arc<Directory>> + Send + Sync>;

/// Which of the stored bytes a reader needs.
#[derive(Clone)]
pub struct Plan {
    /// The decoder of the wanted columns of batches written with a schema.
    pub decoder: Arc<dyn Fn(i16) -> Result<Arc<Decoder>> + Send + Sync>,
    /// Whether a batch of a schema, with these statistics and so many rows, may hold a wanted row.
    pub may_match: MayMatch,
    /// Batches are read whole, with their heads, whatever of them the decoder needs.
    pub is_whole: bool,
}

/// How to get at segments.
#[derive(Clone)]
pub struct Source {
    /// The kernel.
    pub driver: Arc<dyn Driver>,
    /// Buffers.
    pub pool: Pool,
    /// Finds the directory of a sealed segment.
    pub directories: FindDirectory,
    /// Opens a segment's file.
    pub files: Arc<FileCache>,
    /// Bytes read ahead.
    pub bytes_max: usize,
}

/// What came next.
#[derive(Debug)]
pub enum Next {
    /// A batch.
    Batch(Stored),
    /// Nothing more is durable now.
    End,
    /// The rows before this offset are gone.
    Gone(u64),
    /// No frame where the next one should be. A follower's view may be old: bring it up to date and try again; otherwise this is the error.
    Lost(Error),
}

enum What {
    Run(RunEntry),
    /// Some buffers of a batch, with the checksum of each.
    Parts(Box<BatchEntry>, Vec<u32>),
    Whole(Box<BatchEntry>),
}

struct Ahead {
    segment: Arc<Segment>,
    pipeline: Pipeline<What>,
    /// Offset from which the next entries are planned.
    planned: u64,
}

/// See the head of this module.
pub struct Cursor {
    view: Reader,
    source: Source,
    plan: Plan,
    /// Offset of the next row.
    offset: u64,
    ready: VecDeque<Stored>,
    /// What is wrong behind the batches in `ready`.
    wrong: Option<Error>,
    ahead: Option<Ahead>,
    /// It has seen everything that was durable: what comes next may be in memory.
    is_at_end: bool,
}

impl Cursor {
    /// A cursor at `offset`.
    pub fn new(view: &Arc<View>, source: Source, plan: Plan, offset: u64) -> Self {
        Cursor { view: view.reader(), source, plan, offset, ready: VecDeque::new(), wrong: None, ahead: None, is_at_end: false }
    }

    /// Finds out where its first row lies, so that the first wait is not longer than later ones: the directory of another process's open segment is
    /// made by reading it. What is wrong there, [`Cursor::next`] will say.
    pub fn locate(&mut self) {
        if let Some(segment) = self.view.segment_of(self.offset).filter(|segment| segment.sealed().is_none()) {
            self.learn(&segment);
        }
    }

    /// Reads another process's open segment into its directory, up to the cursor's offset or the segment's end.
    pub fn learn(&mut self, segment: &Arc<Segment>) {
        let known = |segment: &Segment| segment.directory.lock().next_offset();
        let mut before = known(segment);
        while before < self.offset && matches!(self.walk(segment, self.offset), Ok(None)) && known(segment) > before {
            before = known(segment);
        }
    }

    /// Offset of the next row.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.ready.clear();
        self.wrong = None;
        self.ahead = None;
    }

    /// Gives back what it holds to read ahead, until it is asked for more.
    pub fn rest(&mut self) {
        if self.ready.is_empty() && self.wrong.is_none() {
            self.ahead = None;
        }
    }

    /// The next batch before `end`. Its first row may lie before the cursor's offset when the cursor began within it.
    ///
    /// Errors: Corrupt for damaged bytes, naming segment, position and offset, again and again until it is sent elsewhere; those of the device.
    pub fn next(&mut self, end: u64) -> Result<Next> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                if stored.end_offset <= self.offset {
                    continue;
                }
                self.offset = stored.end_offset;
                return Ok(Next::Batch(stored));
            }
            if let Some(wrong) = self.wrong.take() {
                self.seek(self.offset);
                self.source.files.damages().note(&wrong);
                return Err(wrong);
            }
            let durable = self.view.end();
            let end = end.min(durable);
            if self.offset >= end {
                self.is_at_end = self.offset >= durable;
                let damage = self.view.damage().filter(|_| self.offset >= durable);
                return damage.map_or(Ok(Next::End), Err);
            }
            let start = self.view.start();
            if self.offset < start {
                self.seek(self.offset);
                return Ok(Next::Gone(start));
            }
            let filled = self.fill(end);
            // Whatever was read of a stretch that has been dropped meanwhile may be another segment's bytes.
            if self.offset < self.view.start() {
                self.seek(self.offset);
                continue;
            }
            match filled {
                Ok(None) => {}
                Ok(Some(lost)) => return Ok(Next::Lost(lost)),
                Err(error) => self.wrong = Some(error),
            }
        }
    }

    /// The reads that bring everything from here to `end`, in order, as long as nothing is in memory and no directory is missing.
    pub fn reads(&self, end: u64) -> Result<Vec<(Arc<Segment>, Range<u64>)>> {
        let mut reads = Vec::new();
        for segment in self.view.segments().iter() {
            let open = segment.open_directory().map(|directory| Arc::new(directory.clone()));
            let directory = open.map_or_else(|| (self.source.directories)(segment), Ok)?;
            let Some(first) = directory.find_offset(self.offset.max(segment.base_offset().unwrap_or(0))) else { continue };
            for entry in directory.entries(first).take_while(|entry| entry.first_offset() < end) {
                let Some((_, wanted)) = wanted(&self.plan, entry)? else { continue };
                reads.extend(pipeline::joined(&wanted).map(|range| (segment.clone(), range)));
            }
        }
        Ok(reads)
    }

    /// Puts something into `ready`, or moves the offset over what no filter can match.
    fn fill(&mut self, end: u64) -> Result<Option<Error>> {
        // What is read ahead is kept while it is of use: to begin again costs a queue.
        if (self.ahead.is_none() || std::mem::take(&mut self.is_at_end)) && self.fill_from_memory()? {
            self.ahead = None;
            return Ok(None);
        }
        let segment = match &self.ahead {
            Some(ahead) => ahead.segment.clone(),
            None => self.begin_segment()?,
        };
        self.plan_ahead(&segment, end)?;
        let ahead = self.ahead.as_mut().expect("a segment was begun");
        match ahead.pipeline.pop()? {
            Some(job) => self.take(&segment, job).map(|()| None),
            None if self.offset < ahead.planned => {
                self.offset = ahead.planned;
                Ok(None)
            }
            None => self.leave_or_walk(&segment, end),
        }
    }

    fn fill_from_memory(&mut self) -> Result<bool> {
        let Some(frames) = self.view.recent(self.offset) else { return Ok(false) };
        for hot in frames {
            match frame::parse(&hot.frame, hot.segment_id, 0) {
                Parsed::Frame(frame) => take_batches(&frame, &hot.frame, self.offset, false, &mut self.ready)?,
                other => return Err(Error::internal(format!("a frame in memory is {other:?}"))),
            }
        }
        Ok(!self.ready.is_empty())
    }

    fn begin_segment(&mut self) -> Result<Arc<Segment>> {
        let no_segment = || Error::internal(format!("no segment holds offset {}", self.offset));
        let segment = self.view.segment_of(self.offset).ok_or_else(no_segment)?;
        let file = self.source.files.open(&*self.source.driver, segment.path(), true);
        let file = file.map_err(|error| {
            let failed = Error::io("open", segment.path(), error).at("segment", segment.path().display()).at("offset", self.offset);
            self.or_behind_segment(failed, &segment)
        })?;
        let queue = self.source.driver.queue(pipeline::DEPTH, Role::Movable);
        let queue = queue.map_err(|error| Error::io("make a completion queue for", segment.path(), error))?;
        let pipeline = Pipeline::new(queue, self.source.pool.clone(), file, self.source.bytes_max);
        self.ahead = Some(Ahead { segment: segment.clone(), pipeline, planned: self.offset });
        Ok(segment)
    }

    /// Puts reads for the next entries of the directory into the pipeline, as far as there is room.
    fn plan_ahead(&mut self, segment: &Segment, end: u64) -> Result<()> {
        let Some(ahead) = &mut self.ahead else { return Ok(()) };
        while ahead.pipeline.has_room() && ahead.planned < end {
            let entries = match segment.open_directory() {
                Some(directory) => entries_from(&directory, ahead.planned),
                None => entries_from(&*(self.source.directories)(segment)?, ahead.planned),
            };
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                if !ahead.pipeline.has_room() || entry.first_offset() >= end {
                    return Ok(());
                }
                ahead.planned = entry.next_offset();
                if let Some((what, ranges)) = wanted(&self.plan, entry)? {
                    ahead.pipeline.push(what, ranges);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, segment: &Segment, job: Job<What>) -> Result<()> {
        let parts = job.parts();
        match job.what {
            // The frames of a run tell for themselves where it ends.
            What::Whole(large) | What::Parts(large, _) if job.short.is_some() => {
                return Err(self.damaged(segment, &large, "the file of a segment is cut off"));
            }
            What::Run(run) => self.take_run(segment, &run, &parts[0]),
            What::Whole(large) => {
                let stored = Stored::whole(&parts[0], true).map_err(|error| self.damaged(segment, &large, error.message()))?;
                if stored.first_offset != large.first_offset {
                    return Err(self.damaged(segment, &large, "another batch than the directory says"));
                }
                self.ready.push_back(stored);
            }
            What::Parts(large, checksums) => {
                let is_good = parts.iter().zip(&checksums).all(|(part, checksum)| directory::checksum(part) == *checksum);
                if !is_good {
                    return Err(self.damaged(segment, &large, "the checksum of a column does not match"));
                }
                self.ready.push_back(Stored {
                    first_offset: large.first_offset,
                    end_offset: large.first_offset + large.offsets,
                    timestamp_ms: large.timestamp,
                    schema_id: large.schema_id,
                    body: Body::Parts(large.layout, parts.iter().map(|part| part.arrow()).collect()),
                });
            }
        }
        Ok(())
    }

    /// Takes the batches of small frames. One that is damaged and has no row that is wanted is passed over.
    fn take_run(&mut self, segment: &Segment, run: &RunEntry, bytes: &Frozen) {
        let mut position = 0;
        while position < bytes.len() {
            let wrong = match self.take_frame(segment, &bytes.slice(position..bytes.len())) {
                Ok(length) => {
                    position += length;
                    continue;
                }
                Err(wrong) => wrong,
            };
            let next = next_frame(bytes, position, segment.id(), run.first_offset);
            if let Some((behind, _)) = next.filter(|(_, first_offset)| *first_offset <= self.offset) {
                position = behind;
                continue;
            }
            let offset = self.ready.back().map_or(self.offset, |last| last.end_offset);
            let next_offset = wrong.next_offset.or(next.map(|(_, first_offset)| first_offset)).unwrap_or(run.next_offset);
            self.wrong = Some(match frame::parse(&bytes[position..], segment.id(), 0) {
                Parsed::Newer(version) => super::recovery::newer(version).at("segment", segment.path().display()),
                _ => self.or_behind(damaged(segment.path(), run.position + position as u64, offset, wrong.error.message()), next_offset),
            });
            return;
        }
    }

    /// Takes the batches of the frame at the start of `bytes`; returns its length, or what is wrong with it.
    fn take_frame(&mut self, segment: &Segment, bytes: &Frozen) -> Result<usize, Wrong> {
        let bad = |what: &str| Wrong { error: Error::corrupt(what.to_string()), next_offset: None };
        let frame = match frame::parse(bytes, segment.id(), 0) {
            Parsed::Frame(frame) if frame.length <= bytes.len() => frame,
            other => return Err(bad(&describe(&other))),
        };
        let whole = bytes.slice(..frame.length);
        if !frame.verify(&whole) {
            return Err(bad("the head of a frame has a bad checksum"));
        }
        take_batches(&frame, &whole, self.offset, true, &mut self.ready).map(|()| frame.length)
    }

    /// What is wrong with a large batch.
    fn damaged(&self, segment: &Segment, large: &BatchEntry, what: &str) -> Error {
        let error = damaged(segment.path(), large.position, large.first_offset.max(self.offset), what);
        self.or_behind(error, large.first_offset + large.offsets)
    }

    /// Adds where rows can be read behind what is damaged, if any are durable there.
    fn or_behind(&self, error: Error, next_offset: u64) -> Error {
        if next_offset < self.view.end() { behind(error, next_offset) } else { error }
    }

    /// As [`Cursor::or_behind`], behind a segment.
    fn or_behind_segment(&self, error: Error, segment: &Segment) -> Error {
        match self.view.base_behind(segment) {
            Some(next_offset) => self.or_behind(error, next_offset),
            None => error,
        }
    }

    /// The directory has nothing more: the segment is read, or it is another process's and its directory is still to be made.
    fn leave_or_walk(&mut self, segment: &Arc<Segment>, end: u64) -> Result<Option<Error>> {
        let holder = self.view.segment_of(self.offset);
        if holder.is_some_and(|holder| holder.id() != segment.id()) {
            self.ahead = None;
            return Ok(None);
        }
        if let Some(sealed) = segment.sealed().filter(|sealed| sealed.end_offset <= self.offset) {
            self.ahead = None;
            let lost = damaged(segment.path(), sealed.bytes, self.offset, "its segment ends, and no other goes on");
            return Ok(Some(self.or_behind_segment(lost, segment)));
        }
        self.walk(segment, end)
    }

    /// Extends the directory of an open segment by reading the frames behind it, and takes their batches. Returns what is wrong when the first is not
    /// the one that comes next: a crash may have left anything behind the segment's true end, also whole frames of lost rows, so nothing is
    /// taken in before all of a frame was checked as recovery does.
    fn walk(&mut self, segment: &Arc<Segment>, end: u64) -> Result<Option<Error>> {
        let file = self.source.files.open(&*self.source.driver, segment.path(), true);
        let file = file.map_err(|error| Error::io("open", segment.path(), error))?;
        let end = self.view.base_behind(segment).map_or(end, |base| base.min(end));
        let mut directory = segment.directory.lock();
        let mut window = Window::new(&*self.source.driver, &file, &self.source.pool);
        if directory.next_offset() > self.offset {
            // Another reader of this process was here first.
            return Ok(None);
        }
        let from = directory.end();
        let mut offset = if from == 0 { segment.base_offset().unwrap_or(0) } else { directory.next_offset() };
        while offset < end && directory.end() - from < WALK_BYTES_MAX {
            let position = directory.end();
            let found = window.frame(position, segment.id(), segment.epoch()).map_err(|error| Error::io("read", segment.path(), error))?;
            let frame = take_in(&mut directory, segment, &found, &window, offset);
            let frame = match frame {
                Ok(frame) => frame,
                Err(lost) if position == from => {
                    self.ahead = None;
                    return Ok(Some(lost));
                }
                Err(_) => break,
            };
            offset = directory.next_offset();
            if offset > self.offset {
                let whole = self.source.pool.copy_of(window.bytes(position, frame.length)).freeze();
                take_batches(frame, &whole, self.offset, false, &mut self.ready)?;
            }
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.planned = ahead.planned.max(offset);
        }
        Ok(None)
    }
}

/// Adds what was found behind the end of a directory to it, if it is the frame that begins at `offset`; otherwise says what is wrong.
fn take_in<'a>(directory: &mut Directory, segment: &Segment, found: &'a Found, window: &Window<'_>, offset: u64) -> Result<&'a Frame> {
    let position = directory.end();
    let lost = |what: &str| damaged(segment.path(), position, offset, what);
    let frame = match found {
        Found::Frame(frame) => frame,
        Found::Newer(version) => return Err(super::recovery::newer(*version).at("segment", segment.path().display())),
        Found::End(parsed) => return Err(lost(&describe(parsed))),
    };
    let bytes = window.bytes(position, frame.length);
    check_frame(frame, bytes, offset).map_err(|what| lost(&what))?;
    directory.add_frame(position, frame, bytes).map_err(|error| lost(error.message()))?;
    segment.note_epoch(frame.head.epoch);
    Ok(frame)
}

/// Where the next good frame stands behind a bad one at `position`, and the offset of its first row, which lies behind `offset`.
fn next_frame(bytes: &[u8], position: usize, segment_id: u64, offset: u64) -> Option<(usize, u64)> {
    (position..bytes.len()).step_by(FRAME_ALIGNMENT).skip(1).find_map(|at| match frame::parse(&bytes[at..], segment_id, 0) {
        Parsed::Frame(frame) if frame.head.first_offset > offset && frame.verify(&bytes[at..]) => Some((at, frame.head.first_offset)),
        _ => None,
    })
}

/// Some entries from the one that holds `offset` on.
fn entries_from(directory: &Directory, offset: u64) -> Vec<Entry> {
    directory.find_offset(offset).map_or_else(Vec::new, |first| directory.entries(first).take(ENTRIES_MAX).collect())
}

/// Offset of the first entry with a batch committed at `time_ms` or later.
fn first_since(directory: &Directory, time_ms: i64) -> Option<u64> {
    directory.find_timestamp(time_ms).and_then(|index| directory.entry(index)).map(|entry| entry.first_offset())
}

/// What must be read of an entry; nothing when its statistics rule it out.
fn wanted(plan: &Plan, entry: Entry) -> Result<Option<(What, Vec<Range<u64>>)>> {
    let large = match entry {
        Entry::Run(run) => {
            let range = run.position..run.position + run.length;
            return Ok(Some((What::Run(run), vec![range])));
        }
        Entry::Batch(large) => large,
    };
    if !large.statistics.is_empty() && !(plan.may_match)(large.schema_id, &large.statistics, large.layout.rows as u64) {
        return Ok(None);
    }
    let decoder = (plan.decoder)(large.schema_id)?;
    let start = large.position + u64::from(large.batch.start);
    let buffers = decoder.needed(&large.layout)?;
    let planned: Vec<_> = buffers.iter().map(|buffer| large.layout.range(&large.layout.buffers[*buffer])).collect();
    let needed: usize = large.layout.body_start + planned.iter().map(|range| range.len()).sum::<usize>();
    let checksums = large.checksums.as_ref().map(|checksums| buffers.iter().map(|buffer| checksums[*buffer]).collect());
    let (Some(checksums), false) = (checksums, plan.is_whole || needed * WHOLE_FROM.1 >= large.batch.length as usize * WHOLE_FROM.0) else {
        let range = start..start + u64::from(large.batch.length);
        return Ok(Some((What::Whole(large), vec![range])));
    };
    let ranges = planned.iter().map(|range| start + range.start as u64..start + range.end as u64).collect();
    Ok(Some((What::Parts(large, checksums), ranges)))
}

fn describe(parsed: &Parsed) -> String {
    match parsed {
        Parsed::NotAFrame => "no frame where one should be".to_string(),
        Parsed::Stale => "a frame of another segment where one of this should be".to_string(),
        Parsed::Torn(what) => format!("a torn frame: {what}"),
        Parsed::Newer(version) => format!("a frame of the newer version {version}"),
        Parsed::Short { .. } | Parsed::Frame(_) => "a frame longer than its place".to_string(),
    }
}

/// Where to look for the first batch committed at `time_ms` or later: none lies before; the end of the log when there is none. Of a segment that another process
/// writes only the part that was read before has a directory: then it is where that part ends.
pub fn offset_at(view: &View, source: &Source, time_ms: i64) -> Result<u64> {
    let segments = view.segments();
    for (index, segment) in segments.iter().enumerate() {
        if segment.sealed().is_some_and(|sealed| sealed.timestamps_ms.1 < time_ms) {
            continue;
        }
        let found = match segment.open_directory() {
            Some(directory) => {
                let Some(base) = segment.base_offset() else { continue };
                let end = segments.get(index + 1).and_then(|next| next.base_offset()).unwrap_or(u64::MAX).min(view.end());
                let known_to = directory.next_offset().max(base);
                first_since(&directory, time_ms).or((known_to < end).then_some(known_to))
            }
            None => first_since(&*(source.directories)(segment)?, time_ms),
        };
        if let Some(offset) = found {
            return Ok(offset.max(view.start()));
        }
    }
    Ok(view.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Mode;
    use crate::io::sim::{Faults, Sim};
    use crate::log::segment::Sealed;
    use crate::log::view::RecentBudget;

    #[test]
    fn rows_behind_the_last_segment_that_a_follower_knows_are_lost_until_it_knows_more() {
        let driver = Sim::new(1, Faults::default());
        driver.open("/1.log".as_ref(), Mode::Create, false).unwrap();
        let sealed = Sealed { end_offset: 4, bytes: 4096, timestamps_ms: (0, 0) };
        let segment = Arc::new(Segment::sealed_at(1, "/1.log".into(), 0, sealed));
        let view = Arc::new(View::new(vec![segment], 0, 9, RecentBudget::new(0)));
        let source = Source {
            driver,
            pool: Pool::new(1 << 20),
            directories: Arc::new(|segment| Ok(Arc::new(Directory::new(segment.id())))),
            files: Arc::new(FileCache::new(1, Mode::Read)),
            bytes_max: 1 << 20,
        };
        let plan = Plan { decoder: Arc::new(|_| unreachable!("nothing is read")), may_match: Arc::new(|_, _, _| true), is_whole: false };
        let mut cursor = Cursor::new(&view, source, plan, 4);
        for _ in 0..2 {
            let next = cursor.next(9).unwrap();
            assert!(matches!(&next, Next::Lost(error) if error.to_string().contains("no other goes on")), "{next:?}");
        }
        assert_eq!(cursor.offset(), 4);
    }
}
