//! Where output goes: standard output, a file as it grows, or a file that appears when it is whole.
//!
//! Invariant: without `finish` a whole file never appears under its name. Knows nothing of formats.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aquifer_node::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Timespec};

use crate::command::outcome::Failure;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Names that are tried for a file under construction.
const NAMES_MAX: u32 = 1000;

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
        // Not opened again, which would empty a file that the shell appends to.
        if is_standard_output(path) {
            return Ok(Self::standard_output());
        }
        let file = File::create(path).map_err(|error| Error::io("write", path, error))?;
        Ok(Self::new(Box::new(file)))
    }

    /// A file that appears when it is whole. Links stay, and so does the mode of a file that is replaced; what is no plain file
    /// (a pipe, /dev/null) is written as it is.
    pub(super) fn whole_file(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("write", path, error);
        let replaced = match path.metadata() {
            Ok(metadata) if metadata.is_file() && !is_standard_output(path) => metadata,
            // A link to nothing is no name to be taken either.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Self::partial(path, path, None),
            _ => return Self::file(path),
        };
        if replaced.permissions().readonly() {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        OpenOptions::new().write(true).open(path).map_err(failed)?;
        Self::partial(path, &path.canonicalize().map_err(failed)?, Some(&replaced))
    }

    /// A new file beside `target` that takes its name in the end; errors name `path`, as the user does.
    fn partial(path: &Path, target: &Path, replaced: Option<&Metadata>) -> Result<Self> {
        let failed = |error| Error::io("write", path, error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(replaced.map_or(0o666, Metadata::mode));
        let (file, partial) = (0..NAMES_MAX)
            .map(|number| target.with_file_name(format!(".aquifer-{}-{number}.partial", std::process::id())))
            .map(|name| (options.open(&name), name))
            .find(|(opened, _)| !opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists))
            .ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))?;
        let file = file.map_err(failed)?;
        let mode = replaced.map(|replaced| file.set_permissions(replaced.permissions()));
        let mut made = Self::new(Box::new(file));
        made.rename = Some((partial, target.to_path_buf()));
        mode.transpose().map_err(failed)?;
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

/// Whoever reads standard output at the other end of a pipe or a socket.
pub(crate) struct Reader(());

impl Reader {
    /// `None` for a file, a terminal or a device: nobody goes away there.
    pub(crate) fn of_standard_output() -> Option<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(io::stdout()).ok()?.st_mode);
        matches!(kind, FileType::Fifo | FileType::Socket).then_some(Reader(()))
    }

    /// Whether what is written would reach nobody. Does not wait.
    pub(crate) fn is_gone(&self) -> bool {
        let stdout = io::stdout();
        let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
        poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

/// Whether the path leads to what standard output is, as /dev/stdout does.
fn is_standard_output(path: &Path) -> bool {
    match (path.metadata(), rustix::fs::fstat(io::stdout())) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.st_dev, open.st_ino),
        _ => false,
    }
}

/// Writes a file with this text.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    let mut destination = Destination::whole_file(path)?;
    destination.write_all(text.as_bytes()).map_err(Failure::writing)?;
    destination.finish()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(path: &Path, text: &str) -> Result<()> {
        let mut destination = Destination::whole_file(path)?;
        destination.write_all(text.as_bytes()).unwrap();
        destination.finish().unwrap();
        Ok(())
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_through_its_link_and_nothing_else_is_touched() {
        let scratch = tempfile::tempdir_in(".").unwrap();
        let (file, link, other) = (scratch.path().join("x.csv"), scratch.path().join("link"), scratch.path().join("x.csv.partial"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&other, "of the user").unwrap();
        symlink("x.csv", &link).unwrap();
        write(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&other).unwrap(), "of the user");
        drop(Destination::whole_file(&file).unwrap());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "what is not finished leaves nothing");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_link_to_nothing_and_a_device_stay_what_they_are() {
        let scratch = tempfile::tempdir_in(".").unwrap();
        let (link, null) = (scratch.path().join("link"), scratch.path().join("null"));
        symlink("made.csv", &link).unwrap();
        symlink("/dev/null", &null).unwrap();
        write(&link, "rows").unwrap();
        write(&null, "rows").unwrap();
        assert!(link.is_symlink() && null.is_symlink());
        assert_eq!(fs::read_to_string(scratch.path().join("made.csv")).unwrap(), "rows");
    }

    #[test]
    fn a_file_without_write_permission_is_refused_by_its_name() {
        let scratch = tempfile::tempdir_in(".").unwrap();
        let file = scratch.path().join("x.csv");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        let error = write(&file, "new").unwrap_err().to_string();
        assert!(error.contains("/x.csv: ") && !error.contains("partial"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        let error = write(&scratch.path().join("none/y.csv"), "new").unwrap_err().to_string();
        assert!(error.contains("/none/y.csv: ") && !error.contains("partial"), "{error}");
    }
}
