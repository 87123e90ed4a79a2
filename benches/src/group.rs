//! Group commit without anything else: producers hand in records and sleep, a committer takes whatever has come together.
//!
//! Shared by all bare committers, so that they differ in nothing but how they write. Invariant: a record is borrowed until the group it
//! went into is settled, and every group that is taken is settled.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Most bytes of a group, unless one record alone is longer.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// Most records of a group.
pub const GROUP_RECORDS_MAX: usize = 256;

const WAITING: u32 = 0;
const DURABLE: u32 = 1;
const FAILED: u32 = 2;

/// Records that go down in one write.
pub struct Group {
    /// The records where their producers hold them.
    pieces: Vec<libc::iovec>,
    bytes: usize,
    settled: Arc<AtomicU32>,
}

// SAFETY: the pieces point into memory that its producers keep until the group is settled, and the committer only reads it.
unsafe impl Send for Group {}

impl Group {
    /// The records, one behind the other.
    pub fn pieces(&self) -> &[libc::iovec] {
        &self.pieces
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the records into `target`, which must be long enough.
    pub fn copy_to(&self, target: &mut [u8]) {
        let mut at = 0;
        for piece in &self.pieces {
            // SAFETY: the producer keeps the record until this group is settled, which takes the group.
            let record = unsafe { std::slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len) };
            target[at..at + record.len()].copy_from_slice(record);
            at += record.len();
        }
    }

    /// Wakes the producers: their records are on the device, or are not.
    pub fn settle(self, durable: bool) {
        self.settled.store(if durable { DURABLE } else { FAILED }, Ordering::Release);
        futex(&self.settled, libc::FUTEX_WAKE, i32::MAX as u32);
    }
}

/// The groups that wait for a committer.
pub struct Groups {
    state: Mutex<State>,
    came: Condvar,
    committer_sleeps: AtomicBool,
    bell: Box<dyn Fn() + Send + Sync>,
}

struct State {
    queue: VecDeque<Group>,
    waiting_committers: usize,
    is_closed: bool,
}

impl Groups {
    /// No groups yet. `bell` wakes a committer that called [`Groups::will_sleep`].
    pub fn new(bell: impl Fn() + Send + Sync + 'static) -> Groups {
        let state = State { queue: VecDeque::new(), waiting_committers: 0, is_closed: false };
        Groups { state: Mutex::new(state), came: Condvar::new(), committer_sleeps: AtomicBool::new(false), bell: Box::new(bell) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a record and sleeps until it is on the device.
    pub fn append(&self, record: &[u8]) -> io::Result<()> {
        let piece = libc::iovec { iov_base: record.as_ptr().cast_mut().cast(), iov_len: record.len() };
        let mut state = self.lock();
        if state.is_closed {
            return Err(io::Error::other("the committer has stopped"));
        }
        let has_room = |group: &&mut Group| group.bytes + record.len() <= GROUP_BYTES_MAX && group.pieces.len() < GROUP_RECORDS_MAX;
        let settled = match state.queue.back_mut().filter(has_room) {
            Some(group) => {
                group.pieces.push(piece);
                group.bytes += record.len();
                group.settled.clone()
            }
            None => {
                let settled = Arc::new(AtomicU32::new(WAITING));
                state.queue.push_back(Group { pieces: vec![piece], bytes: record.len(), settled: settled.clone() });
                settled
            }
        };
        if state.waiting_committers > 0 {
            self.came.notify_one();
        }
        drop(state);
        if self.committer_sleeps.swap(false, Ordering::SeqCst) {
            (self.bell)();
        }
        while settled.load(Ordering::Acquire) == WAITING {
            futex(&settled, libc::FUTEX_WAIT, WAITING);
        }
        match settled.load(Ordering::Acquire) {
            DURABLE => Ok(()),
            _ => Err(io::Error::other("the write failed")),
        }
    }

    /// The oldest group, if there is one.
    pub fn take(&self) -> Option<Group> {
        self.lock().queue.pop_front()
    }

    /// The oldest group; sleeps until there is one. `None` once closed.
    pub fn take_or_wait(&self) -> Option<Group> {
        let mut state = self.lock();
        loop {
            if let Some(group) = state.queue.pop_front() {
                return Some(group);
            }
            if state.is_closed {
                return None;
            }
            state.waiting_committers += 1;
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting_committers -= 1;
        }
    }

    /// Says that the committer goes to sleep: the next record rings the bell. False when there is something to do instead.
    pub fn will_sleep(&self) -> bool {
        self.committer_sleeps.store(true, Ordering::SeqCst);
        let state = self.lock();
        if state.queue.is_empty() && !state.is_closed {
            return true;
        }
        self.committer_sleeps.store(false, Ordering::SeqCst);
        false
    }

    /// Says that the committer is awake again.
    pub fn awake(&self) {
        self.committer_sleeps.store(false, Ordering::SeqCst);
    }

    /// Whether no record will come any more.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Refuses further records, fails those that wait, and wakes the committers so that they end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let rest: Vec<Group> = state.queue.drain(..).collect();
        self.came.notify_all();
        drop(state);
        rest.into_iter().for_each(|group| group.settle(false));
        (self.bell)();
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word is alive for the call, and a null time-out means none.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, std::ptr::null::<libc::timespec>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_sleeps_until_its_group_is_settled() {
        let groups = Groups::new(|| ());
        std::thread::scope(|scope| {
            let first = scope.spawn(|| groups.append(&[1; 8]));
            let group = groups.take_or_wait().expect("open");
            assert_eq!(group.bytes(), 8);
            group.settle(true);
            assert!(first.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_failed_group_and_a_closed_queue_fail_their_producers() {
        let groups = Groups::new(|| ());
        std::thread::scope(|scope| {
            let failing = scope.spawn(|| groups.append(&[2; 8]));
            groups.take_or_wait().expect("open").settle(false);
            assert!(failing.join().unwrap().is_err());
        });
        groups.close();
        assert!(groups.append(&[3; 8]).is_err());
        assert!(groups.take_or_wait().is_none());
    }
}
