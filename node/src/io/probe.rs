//! Which driver fits this machine and why, and what else about the machine a store depends on.
//!
//! Invariant: a machine without io_uring is a normal machine: it gets threads and a reason, never an error or a panic.

use super::system::{Engine, System};
use super::{BLOCK_BYTES, Driver, Mode, uring};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::process::Resource;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Which driver to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// io_uring where it works, else threads.
    #[default]
    Auto,
    /// io_uring, or an error that says why not.
    Uring,
    /// Threads.
    Threads,
}

/// The driver for this machine: set-up, operations and one of them are tried. Fails only when io_uring was asked for and does not work.
pub fn choose(preference: Preference) -> io::Result<Arc<dyn Driver>> {
    if preference == Preference::Threads {
        return Ok(Arc::new(System::new(Engine::Threads, "threads were asked for")));
    }
    match uring::probe() {
        Ok(()) => Ok(Arc::new(System::new(Engine::Uring, "io_uring works"))),
        Err(error) if preference == Preference::Uring => Err(io::Error::new(error.kind(), reason(&error))),
        Err(error) => Ok(Arc::new(System::new(Engine::Threads, reason(&error)))),
    }
}

/// Why io_uring cannot be used, and what to do about it if that is known.
fn why_not(error: &io::Error) -> (String, Option<&'static str>) {
    let (what, advice) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match read("/proc/sys/kernel/io_uring_disabled").as_deref() {
            Some("1" | "2") => ("io_uring is switched off on this machine", "set the sysctl kernel.io_uring_disabled to 0"),
            _ => (
                "io_uring is forbidden here, as the seccomp profiles of Docker and containerd do by default",
                "allow io_uring_setup, io_uring_enter and io_uring_register in the profile",
            ),
        },
        Some(libc::ENOSYS) => ("this kernel has no io_uring, or a sandbox hides it", "use Linux 5.11 or later"),
        Some(libc::EINVAL) => ("the io_uring of this kernel is too old", "use Linux 5.11 or later"),
        Some(libc::ENOMEM) => ("too little memory may be locked for io_uring", "raise the limit (ulimit -l, LimitMEMLOCK)"),
        Some(libc::EMFILE | libc::ENFILE) => ("too many files are open for io_uring", "raise the limit (ulimit -n)"),
        _ => return (format!("io_uring does not work here: {error}"), None),
    };
    (what.into(), Some(advice))
}

/// [`why_not`] in one text.
fn reason(error: &io::Error) -> String {
    match why_not(error) {
        (what, Some(advice)) => format!("{what}: {advice}"),
        (what, None) => what,
    }
}

/// Something about this machine that a store depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFact {
    /// What it is about, in one or two words.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// What that means and what to do about it, unless it is as it should be.
    pub advice: Option<String>,
}

impl MachineFact {
    fn new(name: &'static str, value: impl Into<String>) -> Self {
        MachineFact { name, value: value.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        MachineFact { advice: Some(advice.into()), ..self }
    }

    fn advise_if(self, holds: bool, advice: &str) -> Self {
        if holds { self.advise(advice) } else { self }
    }
}

/// Locked memory that the rings' buffers can use.
const LOCKED_BYTES_MIN: u64 = 8 << 20;
/// Files that a store keeps open with default settings, with some room.
const OPEN_FILES_MIN: u64 = 1024;
/// Free bytes below which a store fills up soon.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// What a store in `dir` (or, if that does not exist yet, in what is above it) depends on. Leaves nothing behind.
pub fn examine_machine(dir: &Path) -> Vec<MachineFact> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let dir = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    vec![kernel(), ring(), locked_memory(), direct(dir), file_system(dir), free_space(dir), open_files(), clock_source()]
}

fn kernel() -> MachineFact {
    let name = rustix::system::uname();
    MachineFact::new("kernel", format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy()))
}

fn ring() -> MachineFact {
    const NAME: &str = "io_uring";
    let Err(error) = uring::probe() else { return MachineFact::new(NAME, "works") };
    let (what, advice) = why_not(&error);
    MachineFact::new(NAME, what)
        .advise(format!("threads are used instead{}", advice.map(|advice| format!("; {advice}")).unwrap_or_default()))
}

fn locked_memory() -> MachineFact {
    let limit = rustix::process::getrlimit(Resource::Memlock).current;
    MachineFact::new("memlock", limit.map_or("unlimited".into(), size))
        .advise_if(limit.is_some_and(|bytes| bytes < LOCKED_BYTES_MIN), "raise it: ulimit -l, or LimitMEMLOCK=infinity in the unit")
}

/// Tries direct I/O with a file of its own.
fn direct(dir: &Path) -> MachineFact {
    const NAME: &str = "direct I/O";
    let driver = System::new(Engine::Threads, "");
    let path = dir.join(format!(".aquifer-probe.{}", std::process::id()));
    let opened = driver.open(&path, Mode::Create, true).and_then(|file| {
        let _ = driver.remove(&path);
        let facts = rustix::fs::statx(super::system::descriptor(&file)?, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        Ok((file.is_direct(), facts))
    });
    let (is_direct, facts) = match opened {
        Ok(found) => found,
        Err(error) => {
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            let advice = if is_full { "free some space there" } else { "give this user the right to write there" };
            return MachineFact::new(NAME, format!("not tried: {error}")).advise(advice);
        }
    };
    if !is_direct {
        return MachineFact::new(NAME, "not on this file system")
            .advise("reads and writes go through the page cache; put the data on ext4 or xfs");
    }
    if facts.stx_mask & StatxFlags::DIOALIGN.bits() == 0 || facts.stx_dio_offset_align == 0 {
        return MachineFact::new(NAME, "works");
    }
    let (memory, offset) = (facts.stx_dio_mem_align, facts.stx_dio_offset_align);
    MachineFact::new(NAME, format!("works, aligned to {offset} bytes"))
        .advise_if(memory.max(offset) as usize > BLOCK_BYTES, "a store aligns to 4096 bytes: put it on a device that can do with that")
}

/// Name, and what to know about it, of the file systems that are met. The numbers are those of statfs(2).
const FILE_SYSTEMS: [(u32, &str, Option<&str>); 10] = [
    (0xEF53, "ext4", None),
    (0x5846_5342, "xfs", None),
    (0xF2F5_2010, "f2fs", None),
    (0x9123_683E, "btrfs", Some("it copies on write, which makes appends slower: ext4 and xfs do not")),
    (0x2FC1_2FC1, "zfs", Some("it copies on write, which makes appends slower: ext4 and xfs do not")),
    (0x794C_7630, "overlayfs", Some("put the store on a volume")),
    (0x6573_5546, "fuse", Some("locks and syncs are as good as what is behind it: a local disk is better")),
    (0x6969, "nfs", Some("locks and syncs depend on the server: a local disk is better")),
    (0xFF53_4D42, "cifs", Some("locks and syncs depend on the server: a local disk is better")),
    (0x0102_1994, "tmpfs", Some("what is written here is gone when the machine stops")),
];

fn file_system(dir: &Path) -> MachineFact {
    const NAME: &str = "file system";
    let number = match rustix::fs::statfs(dir) {
        Ok(facts) => facts.f_type as u32,
        Err(error) => return MachineFact::new(NAME, format!("unknown: {error}")),
    };
    match FILE_SYSTEMS.iter().find(|(known, _, _)| *known == number) {
        Some((_, name, advice)) => MachineFact { advice: advice.map(str::to_string), ..MachineFact::new(NAME, *name) },
        None => MachineFact::new(NAME, format!("unknown, number {number:#x}")),
    }
}

fn free_space(dir: &Path) -> MachineFact {
    const NAME: &str = "free space";
    match rustix::fs::statvfs(dir) {
        Err(error) => MachineFact::new(NAME, format!("unknown: {error}")),
        Ok(facts) => {
            let bytes = facts.f_bavail.saturating_mul(facts.f_frsize);
            MachineFact::new(NAME, size(bytes)).advise_if(bytes < FREE_BYTES_MIN, "free some: a full disk refuses rows")
        }
    }
}

/// Files that this process may have open.
pub fn files_open_limit() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX))
}

fn open_files() -> MachineFact {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    MachineFact::new("open files", limit.map_or("unlimited".into(), |count| count.to_string()))
        .advise_if(limit.is_some_and(|count| count < OPEN_FILES_MIN), "raise it: ulimit -n 65536")
}

fn clock_source() -> MachineFact {
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap_or("unknown".into());
    let is_slow = ["hpet", "acpi_pm", "jiffies"].contains(&source.as_str());
    MachineFact::new("clock", source)
        .advise_if(is_slow, "every look at it is a system call: boot with tsc or kvm-clock if the machine has it")
}

fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{:.1} {name}", bytes as f64 / unit as f64))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Operation, Pool, Role, Wait};

    /// Runs on a thread on which io_uring_setup fails with `errno`.
    fn where_setup_fails<T: Send>(errno: i32, run: impl FnOnce() -> T + Send) -> T {
        let forbidden = || {
            uring::forbid::on_this_thread(errno);
            run()
        };
        std::thread::scope(|scope| scope.spawn(forbidden).join().unwrap())
    }

    #[test]
    fn without_io_uring_there_are_threads_and_a_reason() {
        for (errno, word) in
            [(libc::EPERM, "seccomp"), (libc::ENOSYS, "Linux 5.11"), (libc::ENOMEM, "ulimit -l"), (libc::EINVAL, "too old")]
        {
            let (chosen, refused) = where_setup_fails(errno, || (choose(Preference::Auto).unwrap(), choose(Preference::Uring).err()));
            assert_eq!(chosen.name(), "threads");
            assert!(chosen.reason().contains(word), "{}", chosen.reason());
            assert!(refused.unwrap().to_string().contains(word));
        }
        assert_eq!(choose(Preference::Threads).unwrap().name(), "threads");
    }

    #[test]
    fn a_queue_without_a_ring_is_a_queue() {
        let dir = tempfile::tempdir().unwrap();
        where_setup_fails(libc::ENOMEM, || {
            let driver = System::new(Engine::Uring, "a test asked for it");
            let file = driver.open(&dir.path().join("a"), Mode::Create, true).unwrap();
            let mut queue = driver.queue(4, Role::Pinned).unwrap();
            let pieces = vec![Pool::new(0).get(4096).freeze()];
            queue.submit(1, Operation::Write { file, pieces, offset: 0, durable: true }).unwrap();
            let mut done = vec![];
            queue.wait(&mut done, Wait::Completion).unwrap();
            assert_eq!(*done[0].result.as_ref().unwrap(), 4096);
        });
    }

    #[test]
    fn the_examination_is_whole_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let facts = examine_machine(&dir.path().join("not/yet"));
        let names: Vec<_> = facts.iter().map(|fact| fact.name).collect();
        let expected = ["kernel", "io_uring", "memlock", "direct I/O", "file system", "free space", "open files", "clock"];
        assert_eq!(names, expected);
        assert!(facts.iter().all(|fact| !fact.value.is_empty()), "{facts:#?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_hinders_a_file_is_not_laid_on_io_uring() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (examine_machine(dir.path()), examine_machine(Path::new("/proc/self")));
        assert_eq!(good[1], bad[1]);
        assert!(bad[3].value.starts_with("not tried") && bad[3].advice.as_ref().unwrap().contains("right to write"), "{bad:#?}");
    }

    #[test]
    fn a_ring_that_fails_is_advised_by_its_error() {
        for (errno, word) in [(libc::EPERM, "seccomp"), (libc::ENOMEM, "ulimit -l"), (libc::EMFILE, "ulimit -n"), (libc::EIO, "os error 5")]
        {
            let found = where_setup_fails(errno, ring);
            let advice = found.advice.unwrap();
            assert!(advice.starts_with("threads are used instead"), "{advice}");
            let text = format!("{}; {advice}", found.value);
            assert!(text.contains(word) && (errno == libc::EPERM || !text.contains("seccomp")), "{text}");
        }
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([size(100), size(8 << 20), size(3 << 29)], ["100 B", "8.0 MiB", "1.5 GiB"]);
    }
}
