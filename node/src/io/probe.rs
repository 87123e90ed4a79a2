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
        Err(error) if preference == Preference::Uring => Err(io::Error::new(error.kind(), why_not(&error))),
        Err(error) => Ok(Arc::new(System::new(Engine::Threads, why_not(&error)))),
    }
}

/// Why io_uring cannot be used, and what to do about it.
fn why_not(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match read("/proc/sys/kernel/io_uring_disabled").as_deref() {
            Some("1" | "2") => "io_uring is switched off on this machine: set the sysctl kernel.io_uring_disabled to 0".into(),
            _ => "io_uring is forbidden here, as the seccomp profiles of Docker and containerd do by default: allow io_uring_setup, \
                  io_uring_enter and io_uring_register in the profile"
                .into(),
        },
        Some(libc::ENOSYS) => "this kernel has no io_uring, or a sandbox hides it: use Linux 5.11 or later".into(),
        Some(libc::EINVAL) => "the io_uring of this kernel is too old: use Linux 5.11 or later".into(),
        Some(libc::ENOMEM) => "too little memory may be locked for io_uring: raise the limit (ulimit -l, LimitMEMLOCK)".into(),
        Some(libc::EMFILE | libc::ENFILE) => "too many files are open for io_uring: raise the limit (ulimit -n)".into(),
        _ => format!("io_uring does not work here: {error}"),
    }
}

/// How good a [`Fact`] is for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// Works, with less speed or room.
    Fair,
    /// A store here will fail, or lose what it acknowledged.
    Poor,
}

/// Something about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about, in one or two words.
    pub name: &'static str,
    /// What it is, and if it is not good, what to do.
    pub value: String,
    /// How good it is.
    pub health: Health,
}

/// What a store in `dir` (or, if that does not exist yet, in what is above it) depends on.
pub fn report(dir: &Path) -> Vec<Fact> {
    let dir = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    vec![kernel(), ring(), locked_memory(), direct(dir), file_system(dir), free_space(dir), open_files(), clock_source()]
}

fn fact(name: &'static str, health: Health, value: impl Into<String>) -> Fact {
    Fact { name, value: value.into(), health }
}

fn kernel() -> Fact {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    fact("kernel", Health::Good, format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine())))
}

fn ring() -> Fact {
    match uring::probe() {
        Ok(()) => fact("io_uring", Health::Good, "works"),
        Err(error) => fact("io_uring", Health::Fair, format!("{}; threads are used instead", why_not(&error))),
    }
}

fn locked_memory() -> Fact {
    let limit = rustix::process::getrlimit(Resource::Memlock).current;
    let health = if limit.is_none_or(|bytes| bytes >= 8 << 20) { Health::Good } else { Health::Fair };
    fact("locked memory", health, limit.map_or("no limit".into(), |bytes| format!("{} KiB may be locked", bytes >> 10)))
}

/// Tries direct I/O with a file of its own.
fn direct(dir: &Path) -> Fact {
    const NAME: &str = "direct I/O";
    let driver = System::new(Engine::Threads, "");
    let path = dir.join(format!(".aquifer-probe.{}", std::process::id()));
    let opened = driver.open(&path, Mode::Create, true).and_then(|file| {
        let _ = driver.remove(&path);
        let facts = rustix::fs::statx(super::system::descriptor(&file)?, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        Ok((file.is_direct(), facts))
    });
    match opened {
        Err(error) => fact(NAME, Health::Poor, format!("cannot make a file in {}: {error}", dir.display())),
        Ok((false, _)) => fact(NAME, Health::Fair, "this file system does not know it: the page cache is used"),
        Ok((true, facts)) if facts.stx_mask & StatxFlags::DIOALIGN.bits() == 0 || facts.stx_dio_offset_align == 0 => {
            fact(NAME, Health::Good, "works")
        }
        Ok((true, facts)) => {
            let (memory, offset) = (facts.stx_dio_mem_align, facts.stx_dio_offset_align);
            let health = if memory.max(offset) as usize > BLOCK_BYTES { Health::Poor } else { Health::Good };
            fact(NAME, health, format!("works, aligned to {offset} bytes ({memory} in memory)"))
        }
    }
}

/// Name, and what to know about it, of the file systems that are met. The numbers are those of statfs(2).
const FILE_SYSTEMS: [(u32, &str, Health); 10] = [
    (0xEF53, "ext4", Health::Good),
    (0x5846_5342, "xfs", Health::Good),
    (0xF2F5_2010, "f2fs", Health::Good),
    (0x9123_683E, "btrfs: copies on write, appends are slower", Health::Fair),
    (0x2FC1_2FC1, "zfs: copies on write, appends are slower", Health::Fair),
    (0x794C_7630, "overlayfs: put the store on a volume", Health::Fair),
    (0x6573_5546, "fuse: as durable as what is behind it", Health::Fair),
    (0x6969, "nfs: locks and syncs depend on the server", Health::Fair),
    (0xFF53_4D42, "cifs: locks and syncs depend on the server", Health::Fair),
    (0x0102_1994, "tmpfs: everything is lost when the machine stops", Health::Poor),
];

fn file_system(dir: &Path) -> Fact {
    const NAME: &str = "file system";
    match rustix::fs::statfs(dir) {
        Err(error) => fact(NAME, Health::Poor, format!("cannot look at {}: {error}", dir.display())),
        Ok(facts) => match FILE_SYSTEMS.iter().find(|(number, _, _)| *number == facts.f_type as u32) {
            Some((_, name, health)) => fact(NAME, *health, *name),
            None => fact(NAME, Health::Fair, format!("unknown, number {:#x}", facts.f_type)),
        },
    }
}

fn free_space(dir: &Path) -> Fact {
    const NAME: &str = "free space";
    match rustix::fs::statvfs(dir) {
        Err(error) => fact(NAME, Health::Poor, format!("cannot look at {}: {error}", dir.display())),
        Ok(facts) => {
            let mib = facts.f_bavail.saturating_mul(facts.f_frsize) >> 20;
            let health = match mib {
                0..64 => Health::Poor,
                64..1024 => Health::Fair,
                _ => Health::Good,
            };
            fact(NAME, health, format!("{mib} MiB"))
        }
    }
}

fn open_files() -> Fact {
    const NAME: &str = "open files";
    match rustix::process::getrlimit(Resource::Nofile).current {
        Some(limit) if limit < 1024 => fact(NAME, Health::Fair, format!("at most {limit}: raise the limit (ulimit -n)")),
        Some(limit) => fact(NAME, Health::Good, format!("at most {limit}")),
        None => fact(NAME, Health::Good, "no limit"),
    }
}

fn clock_source() -> Fact {
    const NAME: &str = "clock";
    match read("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        Some(source) if ["hpet", "acpi_pm", "jiffies"].contains(&source.as_str()) => {
            fact(NAME, Health::Fair, format!("{source}: every look at it is a system call"))
        }
        Some(source) => fact(NAME, Health::Good, source),
        None => fact(NAME, Health::Good, "unknown"),
    }
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
    fn the_report_is_whole_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let facts = report(&dir.path().join("not/yet"));
        let names: Vec<_> = facts.iter().map(|fact| fact.name).collect();
        let expected = ["kernel", "io_uring", "locked memory", "direct I/O", "file system", "free space", "open files", "clock"];
        assert_eq!(names, expected);
        assert!(facts.iter().all(|fact| !fact.value.is_empty()), "{facts:#?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        let nowhere = report(Path::new("/proc/self"));
        assert_eq!(nowhere[3].health, Health::Poor, "{nowhere:#?}");
    }
}
