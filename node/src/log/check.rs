//! Checks a segment: every checksum, and the order of offsets.
//!
//! Behind a frame that cannot be read the next one is looked for: frames begin at multiples of 4 KiB, each with the segment's id and a checksum. Invariant: what counts
//! as good was read with good checksums, and its offsets follow those of what was good before it. This module mends nothing.

use super::recovery::newer;
use super::segment::Segment;
use super::stored::{behind, damaged};
use super::window::{Found, Window};
use crate::error::{Error, Kind, Result};
use crate::format::directory::Directory;
use crate::format::frame::{FRAME_ALIGNMENT, Frame};
use crate::format::log_batch::{BatchHeader, first_offset};
use crate::io::{Driver, File, Pool};

/// What a check has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Batches with good checksums.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Offset of the first row that is not good, if there is one.
    pub damaged_from: Option<u64>,
}

/// Reads the frames of `segment` that begin before offset `end`. `wrong` hears of each that is damaged: where it stands, the offset of its first row, and that of the
/// next that can be read, where that is known; and of an error of the device, behind which nothing is read.
///
/// Returns what was good, and its directory up to the first damage.
pub fn check(
    (driver, file, pool): (&dyn Driver, &File, &Pool),
    segment: &Segment,
    end: u64,
    wrong: &mut dyn FnMut(Error),
) -> (Checked, Directory) {
    let mut check = Check {
        window: Window::new(driver, file, pool),
        segment,
        end,
        bytes_max: 0,
        position: 0,
        offset: segment.base_offset().unwrap_or(end),
        next: Next::Known,
        epoch: 0,
        checked: Checked::default(),
        directory: Directory::new(segment.id()),
        found: None,
        wrong,
    };
    let run = driver.len(file).map_err(|error| Error::io("look at", segment.path(), error)).and_then(|bytes| {
        check.bytes_max = bytes.min(segment.sealed().map_or(segment.capacity_bytes(), |sealed| sealed.bytes));
        check.run()
    });
    match run {
        Ok(()) => check.tell(Some(end)),
        Err(error) => {
            check.found(error);
            check.tell(None);
        }
    }
    (check.checked, check.directory)
}

/// How well the offset of the next row is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Something with a good checksum says so.
    Known,
    /// A damaged batch with this offset says so.
    Guessed(u64),
    /// It lies somewhere behind this one.
    Behind(u64),
}

struct Check<'a> {
    window: Window<'a>,
    segment: &'a Segment,
    end: u64,
    /// No frame begins behind these bytes.
    bytes_max: u64,
    position: u64,
    /// Of the next row.
    offset: u64,
    next: Next,
    epoch: u32,
    checked: Checked,
    directory: Directory,
    /// Damage that is not told yet: where its rows end may not be known.
    found: Option<Error>,
    wrong: &'a mut dyn FnMut(Error),
}

impl Check<'_> {
    fn run(&mut self) -> Result<()> {
        while self.offset < self.end {
            if self.position >= self.bytes_max {
                if self.next == Next::Known {
                    self.bad("a segment ends before its rows do");
                }
                break;
            }
            let what = match self.find()? {
                Found::Frame(frame) if self.is_good(&frame) => {
                    self.take(&frame);
                    continue;
                }
                Found::Frame(_) => Error::corrupt("the head of a frame has a bad checksum"),
                Found::Newer(version) => newer(version),
                Found::End(_) => Error::corrupt("no frame where one should be"),
            };
            match self.next {
                // It may be a part of what is damaged already.
                Next::Behind(_) => {}
                Next::Known | Next::Guessed(_) if what.kind() == Kind::Corrupt => self.bad(what.message()),
                Next::Known | Next::Guessed(_) => self.found(what.at("position", self.position)),
            }
            self.seek()?;
        }
        Ok(())
    }

    fn find(&mut self) -> Result<Found> {
        self.window.frame(self.position, self.segment.id(), self.epoch).map_err(|error| {
            let failed = Error::io("read", self.segment.path(), error);
            failed.at("segment", self.segment.path().display()).at("position", self.position).at("offset", self.offset)
        })
    }

    /// Whether its head is good.
    fn is_good(&self, frame: &Frame) -> bool {
        frame.verify(self.window.bytes(self.position, frame.length))
    }

    /// Goes on at the next frame with rows behind those that come next; at the end when there is none.
    fn seek(&mut self) -> Result<()> {
        let damaged = match self.next {
            Next::Known => self.offset,
            Next::Guessed(damaged) | Next::Behind(damaged) => damaged,
        };
        loop {
            self.position += FRAME_ALIGNMENT as u64;
            if self.position >= self.bytes_max {
                self.next = Next::Behind(damaged);
                return Ok(());
            }
            match self.find()? {
                Found::Frame(frame) if (damaged + 1..self.end).contains(&frame.head.first_offset) && self.is_good(&frame) => {
                    (self.offset, self.next) = (frame.head.first_offset, Next::Known);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Takes in a frame whose head is good.
    fn take(&mut self, frame: &Frame) {
        self.expect(frame.head.first_offset, "a frame");
        let bytes = self.window.bytes(self.position, frame.length);
        let judged: Vec<_> = frame.batches.iter().map(|span| judge(&bytes[span.range()])).collect();
        let is_added = match (self.checked.damaged_from, judged.iter().all(|(_, batch)| batch.is_ok())) {
            (None, true) => self.directory.add_frame(self.position, frame, bytes),
            _ => Ok(()),
        };
        self.checked.bytes += frame.length as u64;
        judged.into_iter().for_each(|(first, batch)| self.take_batch(first, batch));
        if let Err(error) = is_added {
            self.bad(error.message());
        }
        self.position += frame.length as u64;
        self.epoch = frame.head.epoch;
    }

    /// Takes in a batch by the offset of its first row, which the head of its frame vouches for.
    fn take_batch(&mut self, first: u64, judged: Result<BatchHeader, Judged>) {
        self.expect(first, "a batch");
        match judged {
            Ok(header) => {
                self.offset = header.next_offset() as u64;
                self.checked.batches += 1;
                self.checked.rows += header.rows as u64;
            }
            Err(Judged { what, next_offset }) => {
                self.bad(&what);
                let guessed = next_offset.filter(|next| (first + 1..=self.end).contains(next));
                (self.offset, self.next) = guessed.map_or((first + 1, Next::Behind(first)), |next| (next, Next::Guessed(first)));
            }
        }
    }

    /// A row at `first` comes next.
    fn expect(&mut self, first: u64, what: &str) {
        let follows = match self.next {
            Next::Known => first == self.offset,
            Next::Guessed(damaged) | Next::Behind(damaged) => first > damaged,
        };
        if !follows {
            self.bad(&format!("{what} with another offset than comes next"));
        }
        (self.offset, self.next) = (first, Next::Known);
        self.tell(Some(first));
    }

    fn bad(&mut self, what: &str) {
        // What else can be read, the others tell.
        self.found(damaged(self.segment.path(), self.position, self.offset, what).hint(""));
    }

    fn found(&mut self, error: Error) {
        self.tell(Some(self.offset));
        self.checked.damaged_from.get_or_insert(self.offset);
        self.found = Some(error.at("segment", self.segment.path().display()).at("offset", self.offset));
    }

    /// Tells of the damage that was found last, whose rows end at an offset.
    fn tell(&mut self, end: Option<u64>) {
        let Some(error) = self.found.take() else { return };
        (self.wrong)(match end {
            Some(end) => behind(error, end),
            None => error,
        });
    }
}

/// What is wrong with a batch, and the offset behind it as its head says, which may be wrong too.
struct Judged {
    what: String,
    next_offset: Option<u64>,
}

/// The offset of a batch's first row, and its head when all of it is good.
fn judge(batch: &[u8]) -> (u64, Result<BatchHeader, Judged>) {
    let header = BatchHeader::read(batch);
    let next_offset = header.as_ref().ok().map(|header| header.next_offset() as u64);
    let good = header.and_then(|header| header.verify(batch).map(|()| header));
    (first_offset(batch), good.map_err(|error| Judged { what: error.message().to_string(), next_offset }))
}
