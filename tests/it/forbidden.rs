//! A process in which the system forbids io_uring, as containers do: a seccomp filter that refuses its three calls.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::program::{Ground, Place};
use crate::{scratch, skip};

/// Loads a word of the call: its number stands first.
const LOAD_NUMBER: (u32, u32) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);

const fn step((code, k): (u32, u32), jump_true: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: 0, k }
}

const fn refuse_if(number: i64, steps_to_refusal: u8) -> libc::sock_filter {
    step((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32), steps_to_refusal)
}

/// The same numbers on every architecture.
const FILTER: [libc::sock_filter; 6] = [
    step(LOAD_NUMBER, 0),
    refuse_if(libc::SYS_io_uring_setup, 3),
    refuse_if(libc::SYS_io_uring_enter, 2),
    refuse_if(libc::SYS_io_uring_register, 1),
    step((libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW), 0),
    step((libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32), 0),
];

/// The process that `command` starts, and its children, may not use io_uring.
pub(crate) fn forbid_io_uring(command: &mut Command) {
    let install = || {
        let mut filter = FILTER;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: two system calls with arguments as documented; the filter lives until they return. Nothing is allocated between fork and exec.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program)) != 0
        };
        if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure only makes system calls, which may be made between fork and exec.
    unsafe { command.pre_exec(install) };
}

/// Whether the system lets a process forbid itself something; else the test is skipped.
pub(crate) fn is_possible() -> bool {
    let mut probe = Command::new("true");
    forbid_io_uring(&mut probe);
    let possible = probe.status().is_ok_and(|status| status.success());
    if !possible {
        skip::needs("seccomp filters");
    }
    possible
}

#[test]
fn the_program_falls_back_and_says_why() {
    if !is_possible() {
        return;
    }
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let forbidden = Place { dir: &store, ground: Ground::Forbidden };
    forbidden.done("init");
    let doctor = forbidden.done("doctor");
    assert!(doctor.contains("threads"), "{doctor}");
    let error = forbidden.fails(1, "--io uring list");
    assert!(error.contains("io_uring") && error.contains("--io threads"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
