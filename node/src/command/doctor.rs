//! `doctor`: what this machine offers to a store, and what to do about what it lacks.
//!
//! Invariant: leaves nothing behind. Knows the store by its door: whether io_uring works is asked by opening one with it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::outcome::Outcome;
use super::report::{Cell, Report};
use super::session::Session;
use super::store::{Options, Store};

/// Locked memory that registered buffers can use.
const MEMLOCK_BYTES: u64 = 8 << 20;
/// Files that a store keeps open with default settings, with some room.
const FILES: u64 = 1024;
/// Free bytes below which a store fills up soon.
const FREE_BYTES: u64 = 1 << 30;

struct Finding {
    name: &'static str,
    value: String,
    /// What is wrong and what to do, if something is.
    advice: Option<String>,
}

impl Finding {
    fn new(name: &'static str, value: impl Into<String>) -> Self {
        Finding { name, value: value.into(), advice: None }
    }

    fn advise(mut self, when: bool, advice: &str) -> Self {
        if when {
            self.advice = Some(advice.to_string());
        }
        self
    }
}

pub(crate) fn doctor(session: &Session) -> Outcome {
    let dir = nearest(&session.config.dir);
    let mut report = Report::new(["check", "value", "ok", "advice"]);
    for found in [kernel(), ring(&dir), memlock(), files(), direct(&dir), file_system(&dir), free_space(&dir), clock()] {
        report.row([found.name.into(), found.value.into(), found.advice.is_none().into(), Cell::from(found.advice)]);
    }
    session.print(&report)
}

/// The data directory, or the directory in which it would be made.
fn nearest(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    Finding::new("kernel", format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy()))
}

/// A directory of this process in `dir`, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(dir: &Path) -> std::io::Result<Self> {
        let path = dir.join(format!(".aquifer-doctor-{}", std::process::id()));
        std::fs::create_dir(&path).map(|()| Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ring(dir: &Path) -> Finding {
    let name = "io_uring";
    let scratch = match Scratch::make(dir) {
        Ok(scratch) => scratch,
        Err(error) => return Finding::new(name, format!("not tried: {error}")).advise(true, "give this user the right to write there"),
    };
    let mut options = Options::default();
    let opened = options.set("io", "uring").and_then(|()| Store::open(&scratch.0, options)).and_then(|store| store.close());
    match opened {
        Ok(()) => Finding::new(name, "works"),
        Err(error) => Finding::new(name, error.message()).advise(
            true,
            "threads are used instead; allow io_uring (kernel.io_uring_disabled=0; in a container a seccomp profile that permits it)",
        ),
    }
}

fn memlock() -> Finding {
    let limit = getrlimit(Resource::Memlock).current;
    let too_low = limit.is_some_and(|bytes| bytes < MEMLOCK_BYTES);
    Finding::new("memlock", limit.map_or("unlimited".into(), size))
        .advise(too_low, "raise it: ulimit -l, or LimitMEMLOCK=infinity in the unit")
}

fn files() -> Finding {
    let limit = getrlimit(Resource::Nofile).current;
    let too_low = limit.is_some_and(|count| count < FILES);
    Finding::new("open files", limit.map_or("unlimited".into(), |count| count.to_string())).advise(too_low, "raise it: ulimit -n 65536")
}

fn direct(dir: &Path) -> Finding {
    let name = "direct I/O";
    let path = dir.join(format!(".aquifer-doctor-direct-{}", std::process::id()));
    let outcome = write_direct(&path);
    let _ = std::fs::remove_file(&path);
    match outcome {
        Ok(()) => Finding::new(name, "works"),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Finding::new(name, "not on this file system")
            .advise(true, "reads and writes go through the page cache; put the data on ext4 or xfs"),
        Err(error) => Finding::new(name, format!("not tried: {error}")).advise(true, "give this user the right to write there"),
    }
}

/// Writes one block past the page cache.
fn write_direct(path: &Path) -> std::io::Result<()> {
    const BLOCK: usize = 4096;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path)?;
    let memory = vec![0_u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    file.write_all(&memory[start..start + BLOCK])
}

fn file_system(dir: &Path) -> Finding {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = |line: &str| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), format!("{kind} on {device}, mounted at {point}"), kind.to_string()))
    };
    let found = mounts.lines().filter_map(mounted).max_by_key(|(length, ..)| *length);
    let (value, kind) = found.map_or(("unknown".to_string(), String::new()), |(_, value, kind)| (value, kind));
    let network = kind.starts_with("nfs") || kind == "cifs" || kind.starts_with("fuse");
    Finding::new("file system", value)
        .advise(kind == "tmpfs", "what is written here is gone with the machine")
        .advise(network, "a store wants a local disk: locks and syncs may not hold here")
}

fn free_space(dir: &Path) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(found) => {
            let bytes = found.f_bavail * found.f_frsize;
            Finding::new("free space", size(bytes)).advise(bytes < FREE_BYTES, "free some: a full disk refuses rows")
        }
        Err(error) => Finding::new("free space", format!("unknown: {error}")),
    }
}

fn clock() -> Finding {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap_or("unknown".into());
    let source = source.trim().to_string();
    let slow = source == "hpet" || source == "acpi_pm";
    Finding::new("clock", source).advise(slow, "reading this clock is slow: boot with tsc or kvm-clock if the machine has it")
}

fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{:.1} {name}", bytes as f64 / unit as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&directory.path().join("a/b")), directory.path());
    }

    #[test]
    fn nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        direct(directory.path());
        ring(directory.path());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([size(100), size(8 << 20), size(3 << 29)], ["100 B", "8.0 MiB", "1.5 GiB"]);
    }
}
