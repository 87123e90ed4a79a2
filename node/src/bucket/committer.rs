//! The ring's owner: takes what many callers queued in many logs and keeps the device busy with it.
//!
//! One per store, usually on a thread of its own; where one thread does everything, whoever waits steps it. Invariant: a write stays in its
//! table until its completion came, and so do its buffers. The device is fed before anybody is woken.
//! This module knows nothing of what is in the frames.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Bucket;
use super::resources::Resources;
use super::work::Work;
use crate::error::{Error, Result};
use crate::io::sync::{AtomicBool, Mutex, Ordering};
use crate::io::{Bell, Completion, Frozen, Operation, Queue, Role, Wait};
use crate::log::commit::{Effects, Hand, Turn};
use crate::log::writer::Write;

/// Writes of all logs in flight at a time.
pub const WRITES_MAX: usize = 128;

/// Logs that wait for the ring thread, and how to wake it.
#[derive(Default)]
pub struct Calls {
    waiting: Mutex<Waiting>,
    bell: Mutex<Option<Bell>>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    buckets: VecDeque<Arc<Bucket>>,
    /// Logs for which others prepare a segment: they will call.
    provided_for: usize,
    /// Why nobody comes for them any more.
    ended: Option<Error>,
}

impl Calls {
    /// A log has something queued; `false` when nobody will come for it any more. The bucket remembers that it called, so it waits here once.
    pub fn call(&self, bucket: &Arc<Bucket>) -> bool {
        if !bucket.called.swap(true, Ordering::AcqRel) {
            let mut waiting = self.waiting.lock();
            if waiting.ended.is_some() {
                return false;
            }
            waiting.buckets.push_back(bucket.clone());
            drop(waiting);
            self.ring();
        }
        true
    }

    /// Nobody drives the ring from now on, for this reason: calls are refused, and those that came too late are given up.
    pub fn end(&self, reason: Error) {
        let late = {
            let mut waiting = self.waiting.lock();
            waiting.ended.get_or_insert(reason);
            std::mem::take(&mut waiting.buckets)
        };
        for bucket in late {
            bucket.called.store(false, Ordering::Release);
            bucket.give_up();
        }
    }

    /// Why nobody drives the ring, if so.
    pub(in crate::bucket) fn why_ended(&self) -> Option<Error> {
        self.waiting.lock().ended.as_ref().map(Error::replica)
    }

    fn provide(&self) {
        self.waiting.lock().provided_for += 1;
    }

    /// A log that the ring thread had a segment prepared for has called, or has nothing left to write.
    pub(in crate::bucket) fn provided(&self) {
        self.waiting.lock().provided_for -= 1;
        self.ring();
    }

    /// Whether somebody still drives the ring.
    pub fn is_driven(&self) -> bool {
        self.waiting.lock().ended.is_none()
    }

    /// The ring thread ends when everything queued is written.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = &*self.bell.lock() {
            bell.ring();
        }
    }
}

/// A write of a log that this thread has taken on. If it dies, or the queue fails, the log is abandoned.
struct InFlight {
    bucket: Arc<Bucket>,
    group: u64,
    /// It is still to be handed back.
    is_owed: bool,
    is_over: bool,
}

impl InFlight {
    fn new(bucket: &Arc<Bucket>, group: u64) -> Self {
        InFlight { bucket: bucket.clone(), group, is_owed: true, is_over: false }
    }

    fn finish(mut self, result: Result<Vec<Frozen>>) -> (Arc<Bucket>, Effects) {
        self.is_owed = false;
        let effects = self.bucket.log.finish(self.group, result, Hand::Ring);
        self.is_over = true;
        (self.bucket.clone(), effects)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_over {
            drop(self.bucket.log.abandon(self.is_owed.then_some(Hand::Ring)));
        }
    }
}

/// See the head of this module.
pub struct Committer {
    resources: Arc<Resources>,
    queue: Box<dyn Queue>,
    in_flight: HashMap<u64, InFlight>,
    next_token: u64,
    done: Vec<Completion>,
    /// Buckets that could start no write because the queue was full.
    backlog: VecDeque<Arc<Bucket>>,
}

impl Committer {
    /// Makes the queue; call it on the thread that will step it.
    pub fn new(resources: &Arc<Resources>) -> Result<Self> {
        let queue = resources
            .driver
            .queue(WRITES_MAX, Role::Pinned)
            .map_err(|error| Error::io("make a completion queue for", &resources.dir, error))?;
        *resources.calls.bell.lock() = Some(queue.bell());
        Ok(Committer {
            resources: resources.clone(),
            queue,
            in_flight: HashMap::new(),
            next_token: 0,
            done: Vec::new(),
            backlog: VecDeque::new(),
        })
    }

    /// Steps until told to stop and nothing is left to write. After an error, or a panic, [`Committer::fail`] comes next.
    pub fn run(&mut self) -> Result<()> {
        while !self.is_done() {
            // Once told to stop only those who prepare segments ring again, and what called may turn out to have nothing to write.
            let calls = &self.resources.calls;
            let stops = calls.stop.load(Ordering::Acquire) && calls.waiting.lock().provided_for == 0;
            self.step(if stops { Wait::Completion } else { Wait::BellOrCompletion(None) })?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let calls = &self.resources.calls;
        let is_idle = self.in_flight.is_empty() && self.backlog.is_empty();
        if !is_idle || !calls.stop.load(Ordering::Acquire) {
            return false;
        }
        let waiting = calls.waiting.lock();
        waiting.buckets.is_empty() && waiting.provided_for == 0
    }

    /// Nobody drives the ring any more: whoever waits for it is told why.
    pub fn fail(&mut self, error: &Error) {
        self.resources.calls.end(error.replica());
        for (_, entry) in self.in_flight.drain() {
            let (bucket, effects) = entry.finish(Err(error.replica()));
            bucket.apply(effects);
        }
        self.backlog.drain(..).for_each(|bucket| bucket.give_up());
    }

    /// Starts what is queued, waits, finishes what is done. Returns whether anything was started or finished.
    pub fn step(&mut self, wait: Wait) -> Result<bool> {
        let started = self.start_called();
        let wait = if self.in_flight.is_empty() && wait == Wait::Completion { Wait::Nothing } else { wait };
        let mut done = std::mem::take(&mut self.done);
        self.queue.wait(&mut done, wait).map_err(|error| Error::io("wait for writes in", &self.resources.dir, error))?;
        let finished = !done.is_empty();
        let mut effects: Vec<(Arc<Bucket>, Effects)> = Vec::with_capacity(done.len());
        for completion in done.drain(..) {
            let entry = self.in_flight.remove(&completion.token).expect("a completion of ours");
            effects.push(finish(entry, completion));
        }
        self.done = done;
        self.backlog.extend(effects.iter().map(|(bucket, _)| bucket.clone()));
        self.start_backlog();
        let flushed = self.queue.flush();
        for (bucket, effects) in effects {
            bucket.apply(effects);
        }
        flushed.map_err(|error| Error::io("submit writes to", &self.resources.dir, error))?;
        Ok(started || finished)
    }

    fn start_called(&mut self) -> bool {
        let called = std::mem::take(&mut self.resources.calls.waiting.lock().buckets);
        called.iter().for_each(|bucket| bucket.called.store(false, Ordering::Release));
        self.backlog.extend(called);
        self.start_backlog()
    }

    /// Each stays in the backlog until its writes are started: if this thread dies over them, it is known whom to tell.
    fn start_backlog(&mut self) -> bool {
        let count = self.backlog.len();
        for _ in 0..count {
            let bucket = self.backlog[0].clone();
            let is_started = self.start_writes(&bucket);
            self.backlog.pop_front();
            if !is_started {
                self.backlog.push_back(bucket);
            }
        }
        count > 0
    }

    /// Starts writes of a log until it has enough in flight; `false` when the queue is full before.
    fn start_writes(&mut self, bucket: &Arc<Bucket>) -> bool {
        while self.queue.in_flight() < self.queue.capacity() {
            match bucket.log.ring_turn() {
                Turn::Write(write) => self.submit(bucket, write),
                Turn::Prepare { bytes } => self.have_provided(bucket, bytes),
                Turn::Done | Turn::CallRing => return true,
            }
        }
        false
    }

    /// Has a segment prepared by the worker: other logs do not wait for the file. Where there is none, this thread does so.
    fn have_provided(&self, bucket: &Arc<Bucket>, bytes: usize) {
        self.resources.calls.provide();
        let is_alone = self.resources.driver.is_single_threaded();
        if is_alone || !self.resources.board.post(bucket, Work::Provide { bytes }) {
            bucket.provide(bytes);
        }
    }

    fn submit(&mut self, bucket: &Arc<Bucket>, mut write: Write) {
        let entry = InFlight::new(bucket, write.group);
        let frames = bucket.log.gather(&mut write, &self.resources.pool);
        let opened = self.resources.files.open(&*self.resources.driver, write.segment.path(), true);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let error = Error::io("open", write.segment.path(), error);
                let (bucket, effects) = entry.finish(Err(error));
                return bucket.apply(effects);
            }
        };
        let token = self.next_token;
        self.next_token += 1;
        let durable = bucket.log.is_durable();
        let operation = Operation::Write { file, pieces: frames, offset: write.position, durable };
        let refused = self.queue.submit(token, operation);
        assert!(refused.is_ok(), "the queue had room");
        self.in_flight.insert(token, entry);
    }
}

/// Why nobody drives the ring of a store that was closed.
pub fn closed() -> Error {
    Error::unavailable("the store is closed").hint("open it again")
}

fn finish(entry: InFlight, completion: Completion) -> (Arc<Bucket>, Effects) {
    let Operation::Write { file, pieces, .. } = completion.operation else { unreachable!("the ring thread only writes") };
    let result: Result<Vec<Frozen>> = match completion.result {
        Ok(_) => Ok(pieces),
        Err(error) => Err(Error::io("write", file.path(), error)),
    };
    entry.finish(result)
}
