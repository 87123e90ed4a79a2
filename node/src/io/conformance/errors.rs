//! Errors of the device, and signals.

use super::*;
use crate::io::sim::{Call, Faults, Sim};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The drivers over the kernel that this machine has.
fn real() -> impl Iterator<Item = Stand> {
    ["on_uring", "on_uring_short", "on_threads", "on_threads_short"].into_iter().filter_map(Stand::new)
}

fn code<T>(outcome: io::Result<T>) -> Option<i32> {
    outcome.err().and_then(|error| error.raw_os_error())
}

/// What a write of 8 KiB and a read of 4 KiB end with, by the blocking call and by a queue.
fn outcomes(stand: &Stand, file: &File, offset: u64, durable: bool) -> [Option<i32>; 4] {
    let piece = stand.pattern(8192, 1);
    let blocking_write = code(stand.driver.write_at(file, std::slice::from_ref(&piece), offset, durable));
    let blocking_read = code(stand.read(file, offset, 4096));
    let mut queue = stand.queue(2);
    queue.submit(0, a_write(file, vec![piece], offset, durable)).unwrap();
    let queued_write = code(drain(&mut *queue).pop().unwrap().result);
    queue.submit(1, a_read(file, stand.pool.get(4096), 4096, offset)).unwrap();
    let queued_read = code(drain(&mut *queue).pop().unwrap().result);
    [blocking_write, queued_write, blocking_read, queued_read]
}

#[test]
fn a_full_device_says_so() {
    for stand in real() {
        let full = stand.driver.open(Path::new("/dev/full"), Mode::Write, false).unwrap();
        let no_space = Some(libc::ENOSPC);
        assert_eq!(outcomes(&stand, &full, 0, true), [no_space, no_space, None, None]);
    }
    let sim = Sim::new(1, Faults { capacity_bytes: Some(16_384), ..Faults::default() });
    let stand = Stand::simulated(sim);
    let (file, no_space) = (stand.data("a"), Some(libc::ENOSPC));
    stand.driver.write_at(&file, &[stand.pattern(16_384, 1)], 0, true).unwrap();
    assert_eq!(outcomes(&stand, &file, 16_384, true), [no_space, no_space, None, None]);
    assert_eq!(outcomes(&stand, &file, 0, true), [None; 4], "what is there may be overwritten");
    assert_eq!(code(stand.driver.allocate(&file, 20_480)), no_space);
    stand.driver.remove(&stand.path("a")).unwrap();
    stand.driver.write_at(&stand.data("b"), &[stand.pattern(16_384, 1)], 0, true).unwrap();
}

#[test]
fn a_failing_device_says_so() {
    for stand in real() {
        // Nothing is mapped at the start of this process's memory: the kernel answers with EIO.
        let memory = stand.driver.open(Path::new("/proc/self/mem"), Mode::Write, false).unwrap();
        assert_eq!(outcomes(&stand, &memory, 0, false), [Some(libc::EIO); 4]);
    }
    let sim = Sim::new(1, Faults::default());
    let stand = Stand::simulated(sim.clone());
    let file = stand.data("a");
    stand.driver.write_at(&file, &[stand.pattern(16_384, 1)], 0, true).unwrap();
    for call in [Call::Write, Call::Write, Call::Read, Call::Read] {
        sim.fail_next(call, "store/a", libc::EIO);
    }
    assert_eq!(outcomes(&stand, &file, 0, true), [Some(libc::EIO); 4]);
    assert_eq!(outcomes(&stand, &file, 0, true), [None; 4]);
}

#[test]
fn durable_writes_work_where_the_kernel_does_not_know_the_flag() {
    for stand in real() {
        let (file, pattern) = (stand.data("a"), stand.pattern(65_536, 3));
        system::remember_to_sync_apart(&file);
        stand.driver.write_at(&file, std::slice::from_ref(&pattern), 0, true).unwrap();
        let mut queue = stand.queue(1);
        queue.submit(0, a_write(&file, vec![pattern.clone()], 65_536, true)).unwrap();
        assert_eq!(drain(&mut *queue).pop().unwrap().result.unwrap(), 65_536);
        assert_eq!(stand.read(&file, 65_536, 65_536).unwrap()[..], pattern[..]);
        // This file of the kernel refuses flags: the driver learns it and goes on without.
        let memory = stand.driver.open(Path::new("/proc/self/mem"), Mode::Write, false).unwrap();
        assert_eq!(outcomes(&stand, &memory, 0, true), [Some(libc::EIO); 4]);
        assert!(system::syncs_apart(&memory));
    }
}

#[test]
fn signals_are_not_errors() {
    uring::interrupt::install();
    for stand in real() {
        let (file, pattern) = (stand.data("a"), stand.pattern(65_536, 3));
        let ended = AtomicBool::new(false);
        let target = rustix::thread::gettid();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    uring::interrupt::send(target);
                    futex::wait(&std::sync::atomic::AtomicU32::new(0), 0, Some(Duration::from_micros(200)));
                }
            });
            let (mut queue, mut done) = (stand.driver.queue(4, Role::Pinned).unwrap(), Vec::new());
            for token in 0..40 {
                stand.driver.write_at(&file, std::slice::from_ref(&pattern), 0, true).unwrap();
                queue.submit(token, a_write(&file, vec![pattern.clone()], 65_536, true)).unwrap();
                done.clear();
                queue.wait(&mut done, Wait::Completion).unwrap();
                assert_eq!(done.len(), 1, "a signal is no completion");
            }
            let (clock, timeout) = (stand.driver.clock(), Duration::from_millis(50));
            let before = clock.monotonic();
            queue.wait(&mut done, Wait::BellOrCompletion(Some(timeout))).unwrap();
            assert!(clock.monotonic() >= before + timeout, "a signal is no time-out");
            ended.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_ring_under_signals_waits_for_the_completion() {
    uring::interrupt::install();
    let Some(stand) = Stand::new("on_uring") else { return };
    let path = stand.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let pipe = stand.driver.open(&path, Mode::Write, false).unwrap();
    let target = rustix::thread::gettid();
    let (mut queue, mut done) = (stand.queue(1), Vec::new());
    queue.submit(9, a_read(&pipe, stand.pool.get(4), 4, 0)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                uring::interrupt::send(target);
                futex::wait(&std::sync::atomic::AtomicU32::new(0), 0, Some(Duration::from_millis(1)));
            }
            // The rest comes apart: the read goes on after the first bytes.
            for bytes in [&b"ta"[..], b"il"] {
                rustix::io::write(system::descriptor(&pipe).unwrap(), bytes).unwrap();
            }
        });
        queue.wait(&mut done, Wait::Completion).unwrap();
    });
    let Operation::Read { buffer, .. } = &done[0].operation else { panic!("a read") };
    assert_eq!((done.len(), &buffer[..]), (1, &b"tail"[..]));
}
