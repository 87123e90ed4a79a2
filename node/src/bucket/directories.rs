//! Directories of sealed segments, read when a scan needs them and kept for the next one, up to a limit.
//!
//! Invariant: a directory belongs to one segment id for ever. This module knows nothing of what is in them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::segments::index_path;
use crate::error::{Error, Result};
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
        let unwritten = unwritten(segment);
        let directory = Arc::new(match unwritten.map_or_else(|| self.read_one(segment), |known| Ok(Some(known)))? {
            Some(directory) => directory,
            None => walk::directory(&*self.driver, &self.open(segment)?, &self.pool, segment)?,
        });
        self.state.lock().insert(segment.id(), directory.clone());
        Ok(directory)
    }

    /// The writers that a sealed segment remembers. When its file is lost, they are found in the segment's batches, as far as those go back.
    pub fn producers(&self, segment: &Segment) -> Result<Producers> {
        match self.read(&index_path(segment.path()), segment.id())? {
            Some((_, writers)) => Ok(remembered(&writers)),
            None => walk::producers(&*self.driver, &self.open(segment)?, &self.pool, segment),
        }
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

    fn read_one(&self, segment: &Segment) -> Result<Option<Directory>> {
        Ok(self.read(&index_path(segment.path()), segment.id())?.map(|(directory, _)| directory))
    }

    /// The directory in a file; `None` when the file is lost or damaged.
    fn read(&self, path: &Path, segment_id: u64) -> Result<Option<(Directory, Vec<WriterState>)>> {
        let Ok(file) = self.driver.open(path, Mode::Read, false) else { return Ok(None) };
        let bytes = self.driver.len(&file).map_err(|error| Error::io("look at", path, error))? as usize;
        let mut buffer = self.pool.get(bytes.max(1));
        let read = self.driver.read_at(&file, &mut buffer, bytes, 0).map_err(|error| Error::io("read", path, error))?;
        Ok(Directory::decode(segment_id, &buffer[..read]).ok())
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
