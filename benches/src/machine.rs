//! What stands beside each number: kernel, file system, CPU time.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// User and system CPU seconds of this process so far.
pub fn cpu_s() -> f64 {
    // SAFETY: a rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is alive for the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// What the kernel calls the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: the call takes nothing and does not fail.
    unsafe { libc::gettid() as u32 }
}

/// CPU seconds of a thread so far.
pub fn cpu_of_thread_s(process: u32, thread: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"))?;
    let ns: Option<u64> = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Ok(ns.ok_or(io::ErrorKind::InvalidData)? as f64 / 1e9)
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is alive for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// User and system CPU seconds of another process so far.
pub fn cpu_of_process_s(process: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in brackets may hold anything; user and system time are the 14th and 15th field, the 12th and 13th behind the name.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).ok_or(io::ErrorKind::InvalidData);
    // SAFETY: the call takes a number only.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok((ticks(11)? + ticks(12)?) as f64 / ticks_per_s)
}

/// Bytes that this process had written to devices so far; `None` where the kernel does not count them.
pub fn written_bytes() -> Option<u64> {
    number_of(&std::fs::read_to_string("/proc/self/io").ok()?, "write_bytes:")
}

/// Begins to look for the most memory of this process from now on, and says how much it has now; `None` where the kernel does not tell.
pub fn forget_peak_memory() -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    memory_bytes("VmRSS:")
}

/// The most memory of this process since [`forget_peak_memory`].
pub fn peak_memory_bytes() -> Option<u64> {
    memory_bytes("VmHWM:")
}

fn memory_bytes(name: &str) -> Option<u64> {
    number_of(&std::fs::read_to_string("/proc/self/status").ok()?, name).map(|kib| kib << 10)
}

/// The first number behind a name at the begin of a line.
fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Puts a file out of the page cache, once all of it is on the device.
pub fn drop_cache(file: &File) -> io::Result<()> {
    file.sync_all()?;
    // SAFETY: the call takes numbers only.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Release of the kernel, as in `6.1.0`.
pub fn kernel() -> String {
    // SAFETY: a utsname is arrays of bytes, for which zero is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is alive for the call, which ends each array with a zero.
    unsafe {
        libc::uname(&mut name);
        CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

/// Name of the file system of a directory; its magic number when the name is not known here.
pub fn file_system(dir: &Path) -> String {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else { return "unknown".to_string() };
    // SAFETY: a statfs is plain numbers, for which zero is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: path and struct are alive for the call.
    if unsafe { libc::statfs(path.as_ptr(), &mut found) } != 0 {
        return "unknown".to_string();
    }
    match found.f_type {
        0xEF53 => "ext4".to_string(),
        0x5846_5342 => "xfs".to_string(),
        0x9123_683E => "btrfs".to_string(),
        0x0102_1994 => "tmpfs".to_string(),
        0x794C_7630 => "overlayfs".to_string(),
        0x2FC1_2FC1 => "zfs".to_string(),
        other => format!("{other:#x}"),
    }
}

#[test]
fn the_kernel_tells_of_this_process() {
    assert_eq!(number_of("a: 1\nb:\t 22 kB\n", "b:"), Some(22));
    if let Some(before) = forget_peak_memory() {
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let peak = peak_memory_bytes().unwrap();
        assert!(peak >= before.max(memory.len() as u64), "{peak} after {before}");
    }
}
