//! Two threads that take groups in turn and write them with pwritev2: group commit where there is no ring.

use super::COPY_BYTES_MAX;
use super::tape::Tape;
use crate::aligned::Aligned;
use crate::case::{Case, Load};
use crate::group::{GROUP_BYTES_MAX, Groups};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

const THREADS: usize = 2;

/// The threads and what they work on.
pub struct Threads {
    groups: Arc<Groups>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Opens the tape and starts the threads.
    pub fn open(dir: &Path, load: Load) -> io::Result<Box<dyn Case>> {
        let (tape, groups) = (Arc::new(Tape::open(dir, load.durable)?), Arc::new(Groups::new(|| ())));
        let start = |_| {
            let (tape, groups) = (tape.clone(), groups.clone());
            std::thread::spawn(move || commit(&tape, &groups))
        };
        let threads = (0..THREADS).map(start).collect();
        Ok(Box::new(Threads { groups, threads }))
    }
}

fn commit(tape: &Tape, groups: &Groups) {
    let mut buffer = Aligned::zeroed(GROUP_BYTES_MAX);
    while let Some(group) = groups.take_or_wait() {
        let written = if group.pieces().len() > 1 && group.pieces()[0].iov_len < COPY_BYTES_MAX {
            group.copy_to(&mut buffer);
            tape.write(&[libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: group.bytes() }])
        } else {
            tape.write(group.pieces())
        };
        group.settle(written.is_ok());
    }
}

impl Case for Threads {
    fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
        self.groups.append(record)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.groups.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("a committer does not panic");
        }
    }
}
