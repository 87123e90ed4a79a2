//! Directories of sealed segments, read when a scan needs them and kept for the next one, up to a limit.
//!
//! Invariant: a directory belongs to one segment id for ever. This module knows nothing of what is in them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::segments::index_path;
use crate::error::{Error, Kind, Result};
use crate::format::directory::{Directory, WriterState};
use crate::io::sync::Mutex;
use crate::io::{Driver, File, FileCache, Mode, Pool};
use crate::log::producers::{Producers, Sent};
use crate::log::segment::Segment;
use crate::log::walk;

/// Bytes of directories kept in memory.
const BYTES_MAX: usize = 32 << 20;

#[derive(Default)]
struct State {
    known: HashMap<u64, (Arc<Directory>, u64)>,
    bytes: usize,
    uses: u64,
}

/// What the file of a directory holds.
enum Read {
    /// What was written.
    Good(Directory, Vec<WriterState>),
    /// Something that cannot be read, and why.
    Bad(Error),
    /// There is no file.
    Missing,
}

/// See the head of this module.
pub struct Directories {
    driver: Arc<dyn Driver>,
    files: Arc<FileCache>,
    pool: Pool,
    state: Mutex<State>,
}

impl Directories {
    /// An empty cache.
    pub fn new(driver: Arc<dyn Driver>, files: Arc<FileCache>, pool: Pool) -> Self {
        Directories { driver, files, pool, state: Mutex::default() }
    }

    /// The directory of a sealed segment: from memory, from its file, or made again from the segment. Until its file is written, the segment has it.
    pub fn get(&self, segment: &Segment) -> Result<Arc<Directory>> {
        if let Some(known) = self.state.lock().touch(segment.id()) {
            return Ok(known);
        }
        let written = |segment: &Segment| match self.read(&index_path(segment.path()), segment.id())? {
            Read::Good(directory, _) => Ok(directory),
            Read::Missing | Read::Bad(_) => walk::directory(&*self.driver, &self.open(segment)?, &self.pool, segment),
        };
        let directory = Arc::new(unwritten(segment).map_or_else(|| written(segment), Ok)?);
        self.state.lock().insert(segment.id(), directory.clone());
        Ok(directory)
    }

    /// The writers as they were behind the last of these sealed segments. When the file of its directory is lost, they are those that the last one
    /// with a file remembers, and those of the batches behind it; without any, those that `kept` remembers, the log of the last segment that
    /// retention dropped.
    ///
    /// Errors: Corrupt when batches that must be read are damaged; Unavailable when a newer program wrote a directory; those of the device. Who has
    /// written is never forgotten because of them.
    pub fn producers(&self, sealed: &[Arc<Segment>], kept: Option<(u64, &Path)>) -> Result<Producers> {
        let mut producers = None;
        let mut behind = sealed.len();
        while let (None, Some(last)) = (&producers, behind.checked_sub(1)) {
            producers = self.remembered(sealed[last].id(), sealed[last].path())?;
            behind -= usize::from(producers.is_none());
        }
        if let (None, Some((id, path))) = (&producers, kept) {
            producers = self.remembered(id, path)?;
        }
        let mut producers = producers.unwrap_or_default();
        for segment in &sealed[behind..] {
            walk::note_producers(&*self.driver, &self.open(segment)?, &self.pool, segment, &mut producers)?;
        }
        Ok(producers)
    }

    /// The writers that the directory of a segment remembers; `None` when its file is lost or damaged.
    fn remembered(&self, segment_id: u64, log_path: &Path) -> Result<Option<Producers>> {
        match self.read(&index_path(log_path), segment_id)? {
            Read::Good(_, writers) => Ok(Some(remembered(&writers))),
            Read::Bad(error) if error.kind() != Kind::Corrupt => Err(error.at("file", index_path(log_path).display())),
            Read::Missing | Read::Bad(_) => Ok(None),
        }
    }

    /// Holds the file of a sealed segment's directory against what its frames say, up to where those are damaged. One that is missing can be made again and is no damage; one of
    /// a segment that is not in the manifest as sealed yet may still be on its way.
    ///
    /// Errors: Corrupt when they differ or the file is damaged, with the segment and its first offset; those of the device.
    pub fn check(&self, segment: &Segment, walked: &Directory, damaged_from: Option<u64>) -> Result<()> {
        if segment.sealed().is_none() || unwritten(segment).is_some() {
            return Ok(());
        }
        let path = index_path(segment.path());
        let wrong = match self.read(&path, segment.id())? {
            Read::Missing => None,
            Read::Bad(error) => Some((segment.base_offset(), error.message().to_string())),
            Read::Good(written, _) => {
                let differs = written.first_difference(walked);
                // An entry may have frames before the damage and behind it.
                let end = |offset| written.find_offset(offset).and_then(|index| written.entry(index)).map(|entry| entry.next_offset());
                let is_whole = |offset: &u64| damaged_from.is_none_or(|damaged| end(*offset).is_some_and(|end| end <= damaged));
                differs.filter(is_whole).map(|offset| (Some(offset), "the directory of a segment says other than its frames".to_string()))
            }
        };
        let Some((offset, what)) = wrong else { return Ok(()) };
        let wrong = Error::corrupt(what).at("file", path.display()).at("segment", segment.path().display());
        Err(wrong.at("offset", offset.unwrap_or(0)).hint("its rows can be read; without the file it is made again from the segment"))
    }

    fn open(&self, segment: &Segment) -> Result<File> {
        self.files.open(&*self.driver, segment.path(), true).map_err(|error| Error::io("open", segment.path(), error))
    }

    /// Forgets a segment that was dropped.
    pub fn forget(&self, segment_id: u64) {
        let mut state = self.state.lock();
        if let Some((directory, _)) = state.known.remove(&segment_id) {
            state.bytes -= directory.bytes();
        }
    }

    /// Reads the file of a directory.
    fn read(&self, path: &Path, segment_id: u64) -> Result<Read> {
        let file = match self.driver.open(path, Mode::Read, false) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Read::Missing),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let bytes = self.driver.len(&file).map_err(|error| Error::io("look at", path, error))? as usize;
        let mut buffer = self.pool.get(bytes.max(1));
        let read = self.driver.read_at(&file, &mut buffer, bytes, 0).map_err(|error| Error::io("read", path, error))?;
        Ok(match Directory::decode(segment_id, &buffer[..read]) {
            Ok((directory, writers)) => Read::Good(directory, writers),
            Err(error) => Read::Bad(error),
        })
    }
}

impl State {
    fn touch(&mut self, segment_id: u64) -> Option<Arc<Directory>> {
        self.uses += 1;
        let (directory, used) = self.known.get_mut(&segment_id)?;
        *used = self.uses;
        Some(directory.clone())
    }

    fn insert(&mut self, segment_id: u64, directory: Arc<Directory>) {
        self.bytes += directory.bytes();
        if let Some((before, _)) = self.known.insert(segment_id, (directory, self.uses)) {
            self.bytes -= before.bytes();
        }
        while self.bytes > BYTES_MAX && self.known.len() > 1 {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            let (directory, _) = oldest.and_then(|id| self.known.remove(&id)).expect("more than one");
            self.bytes -= directory.bytes();
        }
    }
}

/// The directory that a segment has in memory, if it is all of it.
fn unwritten(segment: &Segment) -> Option<Directory> {
    let directory = segment.directory.lock();
    segment.sealed().filter(|sealed| sealed.end_offset == directory.next_offset()).map(|_| directory.clone())
}

fn remembered(writers: &[WriterState]) -> Producers {
    let mut producers = Producers::default();
    for writer in writers {
        for batch in &writer.batches {
            let sent = Sent { sequence: batch.sequence, first_offset: batch.first_offset, rows: batch.offsets, group: 0 };
            producers.record(writer.writer_id, sent, writer.timestamp);
        }
    }
    producers
}
