//! The same committer as the bare ring's, on tokio-uring: groups of the same records, four in flight, one thread.

use aquifer_benches::aligned::Aligned;
use aquifer_benches::case::{Case, Contender, Load, Takes};
use aquifer_benches::group::{GROUP_BYTES_MAX, Group, Groups};
use aquifer_benches::limit::COPY_BYTES_MAX;
use aquifer_benches::limit::tape::Tape;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;
use tokio_uring::buf::IoBuf;
use tokio_uring::fs::{File, OpenOptions};

/// One thread writes groups through tokio-uring, four in flight.
pub(crate) const TOKIO_RING: Contender<'static> = Contender {
    name: "tokio-uring",
    version: Some("0.5"),
    driver: Some("io_uring"),
    takes: Takes::Record,
    in_flight: 1,
    keeps_files: true,
    open: &TokioRing::open,
};

const DEPTH: usize = 4;

struct TokioRing {
    groups: Arc<Groups>,
    thread: Option<JoinHandle<()>>,
}

impl TokioRing {
    fn open(dir: &Path, load: Load) -> io::Result<Box<dyn Case>> {
        let tape = Tape::open(dir, load.durable)?;
        // The runtime panics where rings are forbidden, so that is found out before it starts.
        io_uring::IoUring::new(2).map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        let bell = Arc::new(Notify::new());
        let groups = Arc::new(Groups::new({
            let bell = bell.clone();
            move || bell.notify_one()
        }));
        let thread = std::thread::spawn({
            let groups = groups.clone();
            move || {
                let result = tokio_uring::start(commit(tape, &groups, &bell));
                if let Err(error) = result {
                    eprintln!("tokio-uring: {error}");
                }
                groups.close();
            }
        });
        Ok(Box::new(TokioRing { groups, thread: Some(thread) }))
    }
}

impl Case for TokioRing {
    fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
        self.groups.append(record)
    }
}

impl Drop for TokioRing {
    fn drop(&mut self) {
        self.groups.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a committer does not panic");
        }
    }
}

/// A record where its producer holds it, lent to the runtime until the group is settled.
struct Borrowed(libc::iovec);

// SAFETY: the producer keeps the record in place until its group is settled, which happens after the runtime gave this back.
unsafe impl IoBuf for Borrowed {
    fn stable_ptr(&self) -> *const u8 {
        self.0.iov_base.cast()
    }

    fn bytes_init(&self) -> usize {
        self.0.iov_len
    }

    fn bytes_total(&self) -> usize {
        self.0.iov_len
    }
}

/// A copy of small records, given back when written.
struct Copied(Aligned, usize);

// SAFETY: aligned memory does not move when its owner does.
unsafe impl IoBuf for Copied {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.1
    }

    fn bytes_total(&self) -> usize {
        self.1
    }
}

/// What the writes in flight share, all on one thread.
struct Shared {
    tape: Tape,
    file: File,
    buffers: RefCell<Vec<Aligned>>,
    in_flight: Cell<usize>,
    has_failed: Cell<bool>,
    done: Notify,
}

async fn commit(tape: Tape, groups: &Groups, bell: &Notify) -> io::Result<()> {
    // The crate knows no flags of a single write, so the file as a whole is opened for durable writes.
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(tape.path()).await?;
    let buffers = RefCell::new((0..DEPTH).map(|_| Aligned::zeroed(GROUP_BYTES_MAX)).collect());
    let shared = Rc::new(Shared { tape, file, buffers, in_flight: Cell::new(0), has_failed: Cell::new(false), done: Notify::new() });
    loop {
        if shared.has_failed.get() {
            return Err(io::Error::other("a write failed"));
        }
        if shared.in_flight.get() == DEPTH {
            shared.done.notified().await;
        } else if let Some(group) = groups.take() {
            shared.in_flight.set(shared.in_flight.get() + 1);
            tokio_uring::spawn(write(shared.clone(), group));
        } else if groups.is_closed() {
            break;
        } else if groups.will_sleep() {
            bell.notified().await;
        }
    }
    while shared.in_flight.get() > 0 {
        shared.done.notified().await;
    }
    Ok(())
}

async fn write(shared: Rc<Shared>, group: Group) {
    let offset = shared.tape.claim(group.bytes());
    let first = group.pieces()[0];
    let result = if group.pieces().len() > 1 && first.iov_len < COPY_BYTES_MAX {
        let mut buffer = shared.buffers.borrow_mut().pop().expect("a buffer for each write in flight");
        group.copy_to(&mut buffer);
        let (result, Copied(buffer, _)) = shared.file.write_at(Copied(buffer, group.bytes()), offset).submit().await;
        shared.buffers.borrow_mut().push(buffer);
        result
    } else if group.pieces().len() == 1 {
        shared.file.write_at(Borrowed(first), offset).submit().await.0
    } else {
        let pieces: Vec<Borrowed> = group.pieces().iter().map(|&piece| Borrowed(piece)).collect();
        shared.file.writev_at(pieces, offset).await.0
    };
    let is_whole = result.is_ok_and(|bytes| bytes == group.bytes());
    group.settle(is_whole);
    shared.has_failed.set(shared.has_failed.get() || !is_whole);
    shared.in_flight.set(shared.in_flight.get() - 1);
    shared.done.notify_one();
}
