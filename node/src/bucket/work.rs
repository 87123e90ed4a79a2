//! The board on which buckets write what should be done in the background. Whoever reads it decides when.
//!
//! Invariant: a piece of work stands on the board once, so that there are at most as many of a kind as open buckets. This module does no work and knows nothing of
//! who reads it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Bucket;
use crate::io::sync::{AtomicU32, Mutex, Ordering, wake_all};

/// Something to do for a bucket. What comes first here is taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Rows of the ring thread wait for a segment of at least this many bytes.
    Provide {
        /// Bytes of the group that waits.
        bytes: usize,
    },
    /// Segments are full: write their directories, tell the manifest.
    Seal,
    /// The next segment should be ready before it is needed.
    Prepare,
    /// A memtable waits to become a run.
    Flush,
    /// There are too many runs.
    Compact,
}

impl Work {
    /// Whether it makes a run, which takes long and much memory.
    pub fn makes_run(self) -> bool {
        matches!(self, Work::Flush | Work::Compact)
    }

    fn rank(self) -> usize {
        match self {
            Work::Provide { .. } => 0,
            Work::Seal => 1,
            Work::Prepare => 2,
            Work::Flush => 3,
            Work::Compact => 4,
        }
    }
}

#[derive(Default)]
struct List {
    /// By rank; each the oldest first.
    order: [VecDeque<(Arc<Bucket>, Work)>; 5],
    known: HashSet<(usize, Work)>,
    ended: bool,
}

/// See the head of this module.
#[derive(Default)]
pub struct Board {
    list: Mutex<List>,
    /// Counts what is posted, for the reader to sleep on.
    pub word: AtomicU32,
}

impl Board {
    /// Posts a piece of work, unless it stands there already; `false` when nobody reads the board any more.
    pub fn post(&self, bucket: &Arc<Bucket>, work: Work) -> bool {
        let mut list = self.list.lock();
        if list.ended {
            return false;
        }
        if list.known.insert((Arc::as_ptr(bucket) as usize, work)) {
            list.order[work.rank()].push_back((bucket.clone(), work));
            drop(list);
            self.ring();
        }
        true
    }

    /// Nobody reads the board from now on. What stands there can still be taken.
    pub fn end(&self) {
        self.list.lock().ended = true;
        self.ring();
    }

    /// Whether nobody reads the board any more.
    pub fn has_ended(&self) -> bool {
        self.list.lock().ended
    }

    /// Wakes the reader.
    pub fn ring(&self) {
        self.word.fetch_add(1, Ordering::Release);
        wake_all(&self.word);
    }

    /// Takes the most urgent piece of work, of several the oldest.
    pub fn take(&self) -> Option<(Arc<Bucket>, Work)> {
        self.take_if(|_| true)
    }

    /// As [`Board::take`], of the kinds that the taker has room for.
    pub fn take_if(&self, has_room: impl Fn(Work) -> bool) -> Option<(Arc<Bucket>, Work)> {
        let mut list = self.list.lock();
        let is_wanted = |queue: &&mut VecDeque<(Arc<Bucket>, Work)>| queue.front().is_some_and(|(_, work)| has_room(*work));
        let (bucket, work) = list.order.iter_mut().find(is_wanted)?.pop_front()?;
        list.known.remove(&(Arc::as_ptr(&bucket) as usize, work));
        Some((bucket, work))
    }

    /// Takes a [`Work::Provide`]; for those who have to see that the ring gets on.
    pub fn take_provide(&self) -> Option<(Arc<Bucket>, usize)> {
        let mut list = self.list.lock();
        let (bucket, work) = list.order[0].pop_front()?;
        list.known.remove(&(Arc::as_ptr(&bucket) as usize, work));
        let Work::Provide { bytes } = work else { unreachable!("the first rank has nothing else") };
        Some((bucket, bytes))
    }

    /// Pieces of work that wait.
    pub fn len(&self) -> usize {
        self.list.lock().order.iter().map(VecDeque::len).sum()
    }

    /// Whether some work of these kinds waits.
    pub fn has(&self, kind: impl Fn(Work) -> bool) -> bool {
        self.list.lock().order.iter().any(|queue| queue.front().is_some_and(|(_, work)| kind(*work)))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
