//! Where output goes: standard output, a file as it grows, or a file that appears when it is whole.
//!
//! Invariant: without `finish` a whole file never appears under its name. Knows nothing of formats.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use aquifer_node::{Error, Result};

use crate::command::outcome::Failure;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct Destination {
    writer: BufWriter<Box<dyn Write + Send>>,
    is_terminal: bool,
    /// A file under construction, and its name when it is done.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Destination {
    fn new(writer: Box<dyn Write + Send>) -> Self {
        Destination { writer: BufWriter::with_capacity(BUFFER_BYTES, writer), is_terminal: false, rename: None }
    }

    pub(super) fn standard_output() -> Self {
        let mut made = Self::new(Box::new(io::stdout()));
        made.is_terminal = io::stdout().is_terminal();
        made
    }

    /// A file that others may read while it grows.
    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io("write", path, error))?;
        Ok(Self::new(Box::new(file)))
    }

    /// A file that appears when it is whole; what is no plain file (a pipe, /dev/null) is written as it is.
    pub(super) fn whole_file(path: &Path) -> Result<Self> {
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Self::file(path);
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let mut made = Self::file(&partial)?;
        made.rename = Some((partial, path.to_path_buf()));
        Ok(made)
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes the rest and gives a whole file its name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(Failure::writing)?;
        if let Some((partial, path)) = self.rename.take() {
            std::fs::rename(&partial, &path).map_err(|error| Error::io("write", &path, error))?;
        }
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some((partial, _)) = self.rename.take() {
            // What failed before is reported; a leftover is only untidy.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Writes a line to standard output at once.
pub(crate) fn write_line(line: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes()).and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush()).map_err(Failure::writing)
}

/// Columns of the terminal behind standard output, if it is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
