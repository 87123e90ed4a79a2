//! Opening a log: read the segments that are not sealed up to the first bad frame.
//!
//! A frame counts when it carries the segment's id, an epoch not below that of the frame before it, the next offset, and good checksums of itself
//! and of every batch. The scan ends at the first that does not; what lies behind was never acknowledged, or lies behind damage when more was promised.
//! Invariant: what recovery accepts is on the device before anybody sees it. What was not promised may be in a cache only: a writer writes it again,
//! because a sync may say yes to what an earlier one has lost; a reader can only sync it.
//! A segment that is gone or cannot be read may hold rows: it is damage, behind which nothing is changed.
//! This module knows nothing of manifests; it is told the segments in order.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::producers::Producers;
use super::segment::{Sealed, Segment};
use super::stored::check_frame;
use super::window::{Found, Window};
use super::writer::Start;
use crate::error::{Error, Result};
use crate::format::frame::{self, Frame};
use crate::io::{BLOCK_BYTES, Driver, File, FileCache, Pool};

/// Bytes of one write when frames are written again.
const REWRITE_BYTES: u64 = 1 << 20;

/// What the scan goes on from.
#[derive(Debug)]
pub struct Known {
    /// Offset behind the last sealed segment.
    pub end_offset: u64,
    /// Last commit time of the last sealed segment.
    pub last_timestamp_ms: i64,
    /// Writers as the last sealed segment remembers them.
    pub producers: Producers,
    /// Rows before this offset were acknowledged, so they are on the device.
    pub promised_offset: u64,
}

/// How to get at the files.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// The kernel.
    pub driver: &'a dyn Driver,
    /// Open files.
    pub files: &'a FileCache,
    /// Buffers.
    pub pool: &'a Pool,
    /// Whether this is the writer: it erases what was lost.
    pub writable: bool,
}

impl Reach<'_> {
    fn open(&self, segment: &Segment) -> io::Result<File> {
        self.files.open(self.driver, segment.path(), true)
    }
}

/// What it means that a segment cannot be opened or read: damage when the file is gone or the device cannot read it.
///
/// Errors: any other failure is no more than that.
pub fn lost(action: &str, path: &Path, error: io::Error) -> Result<Error> {
    let is_lost = error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EIO);
    let failed = Error::io(action, path, error);
    if !is_lost {
        return Err(failed);
    }
    Ok(Error::corrupt(failed.message().to_string()).at("segment", path.display()).caused_by(failed))
}

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// Where the log goes on.
    pub start: Start,
    /// Segments that turned out to be full: another one follows with rows. Their seal is not in the manifest yet.
    pub sealed: Vec<Arc<Segment>>,
    /// The first frame that was not taken in, else where the next would have stood: the segment and the bytes from its start.
    pub end: Option<(Arc<Segment>, u64)>,
    /// A segment that is gone or cannot be read, and why: rows behind the end may be in it.
    pub lost: Option<Error>,
}

impl Recovered {
    /// Segments with rows that the manifest does not know as sealed, by offset.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        let active = self.start.active.iter().map(|(segment, _)| segment.clone());
        self.sealed.iter().cloned().chain(active).collect()
    }
}

/// Scans `open` segments, in any order: a prepared one that was too small for a batch is used after those prepared behind it.
///
/// Errors: Corrupt never (a bad frame is the end, a lost segment is told beside what was found); Unavailable when a newer program wrote the frames; those
/// of the device.
pub fn recover(reach: Reach<'_>, known: Known, open: Vec<Arc<Segment>>) -> Result<Recovered> {
    let Known { end_offset, last_timestamp_ms, producers, promised_offset } = known;
    let (open, lost) = in_log_order(reach, open)?;
    let mut scan =
        Scan { reach, offset: end_offset, timestamp_ms: last_timestamp_ms, epoch: 0, producers, promised_offset, refused: None, lost };
    let mut sealed = Vec::new();
    let mut active: Option<(Arc<Segment>, (i64, i64))> = None;
    let mut spare = VecDeque::new();
    for segment in open {
        let Some(timestamps_ms) = scan.segment(&segment)? else {
            spare.push_back(segment);
            continue;
        };
        if let Some((full, timestamps_ms)) = active.replace((segment.clone(), timestamps_ms)) {
            let end_offset = segment.base_offset().expect("it has frames");
            full.seal(Sealed { end_offset, bytes: full.used_bytes(), timestamps_ms });
            sealed.push(full);
        }
    }
    let Scan { offset, timestamp_ms, producers, refused, lost, .. } = scan;
    let end = refused.or_else(|| active.as_ref().map(|(segment, _)| (segment.clone(), segment.used_bytes())));
    Ok(Recovered { start: Start { next_offset: offset, last_timestamp_ms: timestamp_ms, producers, active, spare }, sealed, end, lost })
}

/// By the offset of the first frame; those without one behind the others. A lost one is left out, and why is told.
fn in_log_order(reach: Reach<'_>, open: Vec<Arc<Segment>>) -> Result<(Vec<Arc<Segment>>, Option<Error>)> {
    let mut by_offset = Vec::with_capacity(open.len());
    let mut why_lost = None;
    for segment in open {
        let read = reach.open(&segment).and_then(|file| first_offset(reach.driver, &file, reach.pool, segment.id()));
        match read {
            Ok(offset) => by_offset.push((offset.unwrap_or(u64::MAX), segment)),
            Err(error) => why_lost = Some(lost("read", segment.path(), error)?),
        }
    }
    by_offset.sort_by_key(|(offset, segment)| (*offset, segment.id()));
    Ok((by_offset.into_iter().map(|(_, segment)| segment).collect(), why_lost))
}

/// Offset of the first row of a segment, as its first frame tells it; `None` when it has no frame of its own yet.
pub fn first_offset(driver: &dyn Driver, file: &File, pool: &Pool, segment_id: u64) -> io::Result<Option<u64>> {
    let mut needed = BLOCK_BYTES;
    loop {
        let mut head = pool.get(needed);
        let read = driver.read_at(file, &mut head, needed, 0)?;
        match frame::parse(&head[..read], segment_id, 0) {
            frame::Parsed::Frame(frame) => return Ok(Some(frame.head.first_offset)),
            frame::Parsed::Short { needed: more } if more > needed && read == needed => needed = more.next_multiple_of(BLOCK_BYTES),
            _ => return Ok(None),
        }
    }
}

struct Scan<'a> {
    reach: Reach<'a>,
    offset: u64,
    timestamp_ms: i64,
    epoch: u32,
    producers: Producers,
    promised_offset: u64,
    refused: Option<(Arc<Segment>, u64)>,
    lost: Option<Error>,
}

impl Scan<'_> {
    /// Scans one segment; returns its commit times, or `None` when it has no frame of this log.
    fn segment(&mut self, segment: &Arc<Segment>) -> Result<Option<(i64, i64)>> {
        let file = self.reach.open(segment).map_err(|error| Error::io("open", segment.path(), error))?;
        let Reach { driver, pool, .. } = self.reach;
        let mut window = Window::new(driver, &file, pool);
        let mut timestamps_ms: Option<(i64, i64)> = None;
        let mut position = 0;
        let mut promised_bytes = 0;
        while position < segment.capacity_bytes() {
            let found = match window.frame(position, segment.id(), self.epoch) {
                Ok(found) => found,
                Err(error) => {
                    self.lost = Some(lost("read", segment.path(), error)?);
                    break;
                }
            };
            let frame = match found {
                Found::Frame(frame) => frame,
                Found::Newer(version) => return Err(newer(version).at("segment", segment.path().display())),
                Found::End(frame::Parsed::NotAFrame | frame::Parsed::Stale) => break,
                Found::End(_) => {
                    self.refuse(segment, position);
                    break;
                }
            };
            let bytes = window.bytes(position, frame.length);
            let Some((first_ms, last_ms)) = self.accept(&frame, bytes) else {
                self.refuse(segment, position);
                break;
            };
            segment.directory.lock().add_frame(position, &frame, bytes)?;
            segment.note_epoch(frame.head.epoch);
            if position == 0 {
                segment.begin(frame.head.first_offset);
            }
            position += frame.length as u64;
            segment.advance(position);
            if self.offset <= self.promised_offset {
                promised_bytes = position;
            }
            timestamps_ms = Some((timestamps_ms.map_or(first_ms, |(first, _)| first), last_ms));
        }
        if promised_bytes < position {
            self.make_durable(segment, &file, promised_bytes, position)?;
        }
        // A scan that ends before what was acknowledged, or at what it cannot read, has met damage: everything stays as it is.
        let is_sound = self.lost.is_none() && self.offset >= self.promised_offset;
        if timestamps_ms.is_none() && self.reach.writable && is_sound {
            self.erase_leftover(segment, &file)?;
        }
        Ok(timestamps_ms)
    }

    /// Makes what was read and not promised durable, `from` these bytes of the segment `to` those.
    fn make_durable(&self, segment: &Segment, file: &File, from: u64, to: u64) -> Result<()> {
        let Reach { driver, pool, writable, .. } = self.reach;
        if !writable {
            return driver.sync(file).map_err(|error| Error::io("sync", segment.path(), error));
        }
        let failed = |error| Error::io("write again what was not acknowledged in", segment.path(), error);
        let mut position = from;
        while position < to {
            let bytes = (to - position).min(REWRITE_BYTES) as usize;
            let mut buffer = pool.get(bytes);
            let read = driver.read_at(file, &mut buffer, bytes, position).map_err(failed)?;
            if read < bytes {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            driver.write_at(file, &[buffer.freeze()], position, true).map_err(failed)?;
            position += bytes as u64;
        }
        Ok(())
    }

    fn refuse(&mut self, segment: &Arc<Segment>, position: u64) {
        self.refused.get_or_insert_with(|| (segment.clone(), position));
    }

    /// A frame of this segment's own id whose predecessor was lost must not be taken for one of a later writer: its first block is overwritten.
    fn erase_leftover(&self, segment: &Segment, file: &File) -> Result<()> {
        let Reach { driver, pool, .. } = self.reach;
        let failed = |error| Error::io("erase a lost frame in", segment.path(), error);
        match Window::new(driver, file, pool).frame(0, segment.id(), 0).map_err(failed)? {
            Found::End(frame::Parsed::NotAFrame | frame::Parsed::Stale) => Ok(()),
            _ => driver.write_at(file, &[pool.zeros(BLOCK_BYTES)], 0, true).map_err(failed),
        }
    }

    /// Checks a frame against the log so far and takes it in; `None` when the log ends before it.
    fn accept(&mut self, frame: &Frame, bytes: &[u8]) -> Option<(i64, i64)> {
        let headers = check_frame(frame, bytes, self.offset).ok()?;
        let first_ms = headers.first()?.commit_timestamp;
        for header in &headers {
            self.timestamp_ms = self.timestamp_ms.max(header.commit_timestamp);
            self.producers.note(header);
        }
        self.offset = headers.last()?.next_offset() as u64;
        self.epoch = frame.head.epoch;
        Some((first_ms, self.timestamp_ms))
    }
}

pub(in crate::log) fn newer(version: u16) -> Error {
    Error::newer(format!("frames of version {version}, this program reads up to {}", frame::VERSION))
}
