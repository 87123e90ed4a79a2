//! One thread with a ring of its own, four groups in flight: the limit for many producers.
//!
//! Small records are copied into registered buffers, long ones go down from where they are. The ring sleeps in the kernel; a record that
//! comes while it sleeps wakes it through an eventfd that is read by the ring itself.

use super::COPY_BYTES_MAX;
use super::tape::Tape;
use crate::aligned::Aligned;
use crate::case::{Case, Load};
use crate::group::{GROUP_BYTES_MAX, Group, Groups};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Groups in flight.
const DEPTH: usize = 4;

/// What the completion of the eventfd is called; groups are called by their slot.
const BELL: u64 = u64::MAX;

/// The thread of the ring and what it works on.
pub struct Ring {
    groups: Arc<Groups>,
    thread: Option<JoinHandle<()>>,
}

impl Ring {
    /// Opens the tape and starts the thread; fails where rings are forbidden.
    pub fn open(dir: &Path, load: Load) -> io::Result<Box<dyn Case>> {
        let tape = Tape::open(dir, load.durable)?;
        let bell = Arc::new(eventfd()?);
        let groups = Arc::new(Groups::new({
            let bell = bell.clone();
            move || (&*bell).write_all(&1_u64.to_ne_bytes()).expect("an eventfd takes a number")
        }));
        let (started, start) = mpsc::channel();
        let thread = std::thread::spawn({
            let groups = groups.clone();
            move || match Committer::new(&tape, &groups, &bell) {
                Ok(mut committer) => {
                    started.send(Ok(())).expect("the opener waits");
                    if let Err(error) = committer.run() {
                        eprintln!("bare ring: {error}");
                    }
                    groups.close();
                }
                Err(error) => started.send(Err(error)).expect("the opener waits"),
            }
        });
        let ring = Ring { groups, thread: Some(thread) };
        start.recv().expect("the thread says how it started").map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        Ok(Box::new(ring))
    }
}

impl Case for Ring {
    fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
        self.groups.append(record)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.groups.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a committer does not panic");
        }
    }
}

fn eventfd() -> io::Result<File> {
    // SAFETY: the call takes no memory.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

struct Committer<'a> {
    ring: IoUring,
    tape: &'a Tape,
    groups: &'a Groups,
    bell: &'a File,
    /// Where the ring reads the eventfd to; boxed so that it does not move.
    rung: Box<[u8; 8]>,
    is_listening: bool,
    buffers: Vec<Aligned>,
    in_flight: [Option<Group>; DEPTH],
}

impl<'a> Committer<'a> {
    fn new(tape: &'a Tape, groups: &'a Groups, bell: &'a File) -> io::Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(16)?;
        let mut buffers: Vec<Aligned> = (0..DEPTH).map(|_| Aligned::zeroed(GROUP_BYTES_MAX)).collect();
        let pieces: Vec<libc::iovec> =
            buffers.iter_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }).collect();
        // SAFETY: the buffers live as long as the ring, in the same struct, and are never resized.
        unsafe { ring.submitter().register_buffers(&pieces)? };
        ring.submitter().register_files(&[tape.descriptor()])?;
        Ok(Committer { ring, tape, groups, bell, rung: Box::new([0; 8]), is_listening: false, buffers, in_flight: Default::default() })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some(slot) = self.in_flight.iter().position(Option::is_none)
                && let Some(group) = self.groups.take()
            {
                self.start(slot, group);
            }
            let is_idle = self.in_flight.iter().all(Option::is_none);
            if is_idle && self.groups.is_closed() {
                return Ok(());
            }
            let has_room = self.in_flight.iter().any(Option::is_none);
            if has_room {
                self.listen();
                if !self.groups.will_sleep() {
                    self.ring.submit()?;
                    continue;
                }
            }
            self.ring.submit_and_wait(1)?;
            self.groups.awake();
            self.collect()?;
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entry points at is kept until its completion: the group in its slot, the buffers and the bell's word in `self`.
        unsafe { self.ring.submission().push(&entry).expect("the queue is longer than what is ever in flight") };
    }

    fn start(&mut self, slot: usize, group: Group) {
        let (offset, bytes, flags) = (self.tape.claim(group.bytes()), group.bytes(), self.tape.flags());
        let first = group.pieces()[0];
        let is_copied = group.pieces().len() > 1 && first.iov_len < COPY_BYTES_MAX;
        let entry = if is_copied {
            group.copy_to(&mut self.buffers[slot]);
            let start = self.buffers[slot].as_ptr();
            opcode::WriteFixed::new(types::Fixed(0), start, bytes as u32, slot as u16).offset(offset).rw_flags(flags).build()
        } else if group.pieces().len() == 1 {
            opcode::Write::new(types::Fixed(0), first.iov_base.cast(), bytes as u32).offset(offset).rw_flags(flags).build()
        } else {
            let pieces = group.pieces();
            opcode::Writev::new(types::Fixed(0), pieces.as_ptr(), pieces.len() as u32).offset(offset).rw_flags(flags).build()
        };
        self.in_flight[slot] = Some(group);
        self.push(entry.user_data(slot as u64));
    }

    fn listen(&mut self) {
        if !self.is_listening {
            let read = opcode::Read::new(types::Fd(self.bell.as_raw_fd()), self.rung.as_mut_ptr(), 8).build();
            self.push(read.user_data(BELL));
            self.is_listening = true;
        }
    }

    fn collect(&mut self) -> io::Result<()> {
        let done: Vec<(u64, i32)> = self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (name, result) in done {
            if name == BELL {
                self.is_listening = false;
                continue;
            }
            let group = self.in_flight[name as usize].take().expect("a slot completes once");
            let is_whole = usize::try_from(result) == Ok(group.bytes());
            group.settle(is_whole);
            if !is_whole {
                return Err(io::Error::from_raw_os_error(-result));
            }
        }
        Ok(())
    }
}
