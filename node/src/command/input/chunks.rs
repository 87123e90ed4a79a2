//! Bytes of a file or pipe, piece by piece; a pipe that has nothing says so instead of holding up its reader.
//!
//! Invariant: at most [`CHUNKS_MAX`] pieces of [`CHUNK_BYTES`] wait between a pipe and its reader. Knows nothing of formats.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use aquifer_node::{Error, Result};

/// Bytes of a piece at most.
const CHUNK_BYTES: usize = 128 << 10;

/// Pieces that wait at most.
const CHUNKS_MAX: usize = 8;

/// The next piece.
#[derive(Debug)]
pub(super) enum Chunk {
    Bytes(Vec<u8>),
    /// Nothing came in the time given.
    Idle,
    End,
}

enum Origin {
    File(File),
    Pipe(Receiver<io::Result<Vec<u8>>>),
}

pub(super) struct Chunks {
    origin: Origin,
    path: PathBuf,
    returned: Option<Vec<u8>>,
}

impl Chunks {
    /// Opens a file, a named pipe or, as `-`, standard input.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let origin = if path.as_os_str() == "-" {
            Origin::Pipe(pump(io::stdin()))
        } else {
            let failed = |error| Error::io("read", path, error);
            let file = File::open(path).map_err(failed)?;
            let kind = file.metadata().map_err(failed)?.file_type();
            if kind.is_dir() {
                return Err(Error::invalid("the input is a directory").at("file", path.display()).hint("name a file in it"));
            }
            if kind.is_file() { Origin::File(file) } else { Origin::Pipe(pump(file)) }
        };
        Ok(Chunks { origin, path: path.to_path_buf(), returned: None })
    }

    /// The next piece; a pipe is given `patience` to have one.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Chunk> {
        if let Some(chunk) = self.returned.take() {
            return Ok(Chunk::Bytes(chunk));
        }
        let read = match &mut self.origin {
            Origin::File(file) => read(file),
            Origin::Pipe(chunks) => match chunks.recv_timeout(patience) {
                Ok(read) => read,
                Err(RecvTimeoutError::Timeout) => return Ok(Chunk::Idle),
                Err(RecvTimeoutError::Disconnected) => return Ok(Chunk::End),
            },
        };
        match read {
            Ok(bytes) if bytes.is_empty() => Ok(Chunk::End),
            Ok(bytes) => Ok(Chunk::Bytes(bytes)),
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }

    /// The first bytes, which stay to be read: at least `least` of them unless it ends before.
    pub(super) fn peek(&mut self, least: usize) -> Result<&[u8]> {
        let mut start = Vec::new();
        while start.len() < least {
            match self.next(Duration::from_secs(1))? {
                Chunk::Bytes(bytes) => start.extend(bytes),
                Chunk::Idle => {}
                Chunk::End => break,
            }
        }
        Ok(self.returned.insert(start))
    }

    /// A file that can be sought in, with all of it: itself, or a nameless copy of the pipe.
    pub(super) fn into_file(mut self) -> Result<File> {
        if let Origin::File(_) = self.origin {
            return File::open(&self.path).map_err(|error| Error::io("read", &self.path, error));
        }
        let spool = std::env::temp_dir().join(format!("aquifer-input-{}", std::process::id()));
        let failed = |error| Error::io("spool the input to", &spool, error);
        let mut file = File::options().read(true).write(true).create_new(true).open(&spool).map_err(failed)?;
        std::fs::remove_file(&spool).map_err(failed)?;
        loop {
            match self.next(Duration::from_secs(1))? {
                Chunk::Bytes(bytes) => file.write_all(&bytes).map_err(failed)?,
                Chunk::Idle => {}
                Chunk::End => return Ok(file),
            }
        }
    }
}

fn read(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads on a thread of its own, which ends with the pipe or with whoever listens.
fn pump(source: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    std::thread::spawn(move || pass_on(source, &sender));
    receiver
}

fn pass_on(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let chunk = read(&mut source);
        let is_end = matches!(&chunk, Ok(bytes) if bytes.is_empty());
        let has_failed = chunk.is_err();
        if is_end || sender.send(chunk).is_err() || has_failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_idle_before_it_ends() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut chunks = Chunks { origin: Origin::Pipe(pump(reader)), path: "pipe".into(), returned: None };
        assert!(matches!(chunks.next(Duration::from_millis(1)).unwrap(), Chunk::Idle));
        writer.write_all(b"abc").unwrap();
        assert_eq!(chunks.peek(2).unwrap(), b"abc");
        assert!(matches!(chunks.next(Duration::from_secs(9)).unwrap(), Chunk::Bytes(bytes) if bytes == b"abc"));
        drop(writer);
        assert!(matches!(chunks.next(Duration::from_secs(9)).unwrap(), Chunk::End));
    }

    #[test]
    fn a_pipe_becomes_a_file_with_all_of_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut chunks = Chunks { origin: Origin::Pipe(pump(reader)), path: "pipe".into(), returned: None };
        std::thread::spawn(move || (0..100).for_each(|_| writer.write_all(&[7; 10_000]).unwrap()));
        chunks.peek(4).unwrap();
        assert_eq!(chunks.into_file().unwrap().metadata().unwrap().len(), 1_000_000);
    }
}
