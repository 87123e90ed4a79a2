//! Background work of an open store: which job next, and how much of it at a time.
//!
//! Threads: the ring's owner, one worker that reads the board (segments to prepare and to seal, memtables to flush) and looks after retention, and a few that
//! merge runs. Where one thread does everything (the simulator) there are none, and [`Schedule::pump`] does what is due. Invariants: of foreground work only rows without a segment wait
//! for the worker, and before everything else; its steps are bounded, and it yields to appends by resting between them.
//! This module decides when; `bucket` knows how.

mod compactors;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::bucket::committer::{Committer, closed};
use crate::bucket::resources::Resources;
use crate::error::{Error, Result};
use crate::io::sync::{AtomicBool, Ordering, wait};
use compactors::Compactors;
use worker::Worker;

/// How often the worker looks after every open bucket.
const INTERVAL: Duration = Duration::from_secs(5);

/// Failures of background work that are kept to be reported.
const FAILURES_MAX: usize = 16;

/// Long work, a bounded piece at each call: it says how long to rest before the next, `None` at the end. After an error it is not called again.
pub type Steps = Box<dyn FnMut() -> Result<Option<Duration>> + Send>;

/// The buckets of a store, as the floor above knows them.
pub struct Buckets {
    /// Those that are open.
    pub open: Box<dyn Fn() -> Vec<Arc<Bucket>> + Send + Sync>,
    /// Looks after the next of those that are not; `false` when all had their turn.
    pub walk: Box<dyn Fn() -> Result<bool> + Send + Sync>,
    /// Work on tables as a whole that is due now.
    pub tend: Box<dyn Fn() -> Result<Vec<Steps>> + Send + Sync>,
}

struct Shared {
    resources: Arc<Resources>,
    buckets: Buckets,
    stop: AtomicBool,
    failures: Mutex<Vec<Error>>,
    compactors: Compactors,
}

/// See the head of this module.
pub struct Schedule {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The worker where there is no thread for it.
    pumped: Mutex<Worker>,
}

impl Schedule {
    /// Starts the threads of a store.
    pub fn start(resources: &Arc<Resources>, buckets: Buckets) -> Result<Self> {
        let shared = Shared::new(resources, buckets);
        let mut schedule = Schedule { pumped: Mutex::new(Worker::new(&shared)), shared, threads: Vec::new() };
        if resources.driver.is_single_threaded() {
            *resources.pumped.lock() = Some(Committer::new(resources)?);
            return Ok(schedule);
        }
        let (sender, made) = std::sync::mpsc::channel();
        schedule.spawn("aquifer-commit", move |shared| own_the_ring(shared, &sender))?;
        schedule.spawn("aquifer-work", own_the_board)?;
        for _ in 0..compactors::threads() {
            schedule.shared.compactors.enter();
            schedule.spawn("aquifer-compact", compactors::compact)?;
        }
        made.recv().unwrap_or_else(|_| Err(Error::internal("the ring thread died at its start")))?;
        Ok(schedule)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Arc<Shared>) + Send + 'static) -> Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || body(&shared));
        let thread = thread.map_err(|error| Error::exhausted(format!("cannot start the thread {name}")).caused_by(error))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Does everything that is due, in the calling thread.
    pub fn pump(&self) -> Result<()> {
        let mut worker = self.pumped.lock();
        worker.look_after_all();
        while worker.turn()? {}
        Ok(())
    }

    /// Failures of background work since the last call. Foreground work is not affected by them.
    pub fn take_failures(&self) -> Vec<Error> {
        std::mem::take(&mut *self.shared.failures.lock())
    }

    /// Ends the threads; what was queued is written first.
    pub fn stop(&mut self) {
        self.shared.resources.calls.stop();
        self.see_the_ring_off();
        self.shared.stop.store(true, Ordering::Release);
        self.shared.resources.board.ring();
        self.shared.compactors.ring();
        for thread in self.threads.drain(..) {
            // The last owner of a store may be the worker itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        self.shared.compactors.clear();
        while self.shared.resources.board.take().is_some() {}
        self.shared.resources.clear_removed();
        *self.shared.resources.pumped.lock() = None;
    }
}

impl Schedule {
    /// Waits until the ring thread has written everything. That may need segments, and who stops the store may be the worker itself.
    fn see_the_ring_off(&self) {
        let Resources { board, calls, .. } = &*self.shared.resources;
        if self.threads.is_empty() {
            return calls.end(closed());
        }
        loop {
            let seen = board.word.load(Ordering::Acquire);
            while let Some((bucket, bytes)) = board.take_provide() {
                bucket.provide(bytes);
            }
            if !calls.is_driven() {
                return;
            }
            wait(&board.word, seen, None);
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The ring is made on the thread that drives it; whoever starts the thread hears how that went.
fn own_the_ring(shared: &Arc<Shared>, made: &std::sync::mpsc::Sender<Result<()>>) {
    match Committer::new(&shared.resources) {
        Ok(mut committer) => {
            let _ = made.send(Ok(()));
            if let Err(error) = caught("aquifer-commit", || committer.run()) {
                committer.fail(&error);
                shared.failed(error);
            }
        }
        Err(error) => drop(made.send(Err(error))),
    }
    shared.resources.calls.end(closed());
    shared.resources.board.ring();
}

/// Without a worker the ring thread makes its segments itself; nothing is sealed or dropped until the store is opened again.
fn own_the_board(shared: &Arc<Shared>) {
    let worked = caught("aquifer-work", || {
        work(shared);
        Ok(())
    });
    let board = &shared.resources.board;
    board.end();
    while let Some((bucket, bytes)) = board.take_provide() {
        let _ = caught("aquifer-work", || {
            bucket.provide(bytes);
            Ok(())
        });
    }
    if let Err(error) = worked {
        shared.failed(error);
    }
}

/// Turns the panic of a thread into a failure. What it held is let go by guards.
fn caught(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let died = Error::internal(format!("the thread {name} died: {}", said.unwrap_or("it panicked")));
        Err(died.hint("close and open the store again; it recovers everything that was acknowledged"))
    })
}

fn work(shared: &Arc<Shared>) {
    let board = &shared.resources.board;
    let clock = shared.resources.driver.clock();
    let mut worker = Worker::new(shared);
    let mut looked_at = clock.monotonic();
    loop {
        let seen = board.word.load(Ordering::Acquire);
        // Rows that are not in runs are in the log: the next open flushes them.
        if shared.stop.load(Ordering::Acquire) && !board.has(|work| !work.makes_run()) {
            return;
        }
        if clock.monotonic().saturating_sub(looked_at) >= INTERVAL {
            looked_at = clock.monotonic();
            worker.look_after_all();
        }
        match worker.turn() {
            Ok(true) => {}
            Ok(false) => wait(&board.word, seen, Some(worker.rest().unwrap_or(INTERVAL))),
            Err(error) => shared.failed(error),
        }
    }
}

impl Shared {
    fn new(resources: &Arc<Resources>, buckets: Buckets) -> Arc<Self> {
        Arc::new(Shared {
            resources: resources.clone(),
            buckets,
            stop: AtomicBool::new(false),
            failures: Mutex::new(Vec::new()),
            compactors: Compactors::default(),
        })
    }

    /// What every open bucket needs from time to time; a seal that failed is tried again here.
    fn look_after(&self, bucket: &Arc<Bucket>) -> Result<()> {
        let now_ms = self.resources.driver.clock().wall_ms();
        let looked = bucket.seal().and_then(|_| bucket.retain(now_ms)).and_then(|_| bucket.recycle()).and_then(|_| bucket.recycle_runs());
        bucket.show_gauges();
        bucket.ask_for_upkeep();
        self.unless_closed(bucket, looked.map(|_| ()))
    }

    /// What becomes of work for a bucket that was closed meanwhile is nobody's concern.
    fn unless_closed(&self, bucket: &Bucket, result: Result<()>) -> Result<()> {
        if bucket.is_closed() { Ok(()) } else { result }
    }

    fn failed(&self, error: Error) {
        let mut failures = self.failures.lock();
        if failures.len() < FAILURES_MAX {
            failures.push(error);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
