//! The worker: jobs done in bounded steps, so that none waits long for another.
//!
//! What stands on the board comes first. Work that takes long becomes a [`Job`]; unfinished jobs take turns, a step each. Those that load the device ask for
//! a rest after a step, in which the board is still served. Invariants: one turn is one piece of work from the board or one step of a job; few runs are in the making at
//! once, however many memtables wait. This module knows nothing of threads.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Shared, Steps};
use crate::bucket::Bucket;
use crate::bucket::segments::{Preparation, ZERO_STEP_BYTES};
use crate::bucket::upkeep::{Extent, TreeJob};
use crate::bucket::work::Work;
use crate::error::Result;

/// Zeroing proceeds at this many bytes a second while appends go on beside it: their p50 stays as alone.
const ZERO_BYTES_PER_SECOND: u64 = 100 << 20;

/// The rest after a step of zeroing.
const ZERO_REST: Duration = Duration::from_nanos(ZERO_STEP_BYTES as u64 * 1_000_000_000 / ZERO_BYTES_PER_SECOND);

/// The rest after some blocks of a removed file were given back: a step holds writes up for half a millisecond.
const SHRINK_REST: Duration = Duration::from_millis(2);

/// Buckets that are not open and are looked after at a time.
const WALK_BUCKETS: u32 = 64;

/// Flushes under way at once, and as many compactions where no thread is left for those: each holds a MiB of the run that it makes. The others wait on the board; with
/// more at once the device would be no faster, and the first memory would come back later.
pub(super) const RUNS_IN_THE_MAKING_MAX: usize = 4;

/// Work that takes many steps.
enum Job {
    /// The next segment of a bucket is zeroed; `None` once it is handed over or given up.
    Prepare(Arc<Bucket>, Option<Preparation>),
    /// A flush or a compaction of a bucket, as the board had it.
    Tree(Arc<Bucket>, Work, Option<Box<TreeJob>>),
    /// Buckets that were open when it began get what they need from time to time, one a step. Those closed meanwhile need nothing.
    LookAfter(VecDeque<Weak<Bucket>>),
    /// So many more buckets that are not open get what they need, one a step.
    Walk(u32),
    /// Work on a table as a whole; `None` once it is done.
    Table(Option<Steps>),
    /// Blocks of removed files are given back to the device; `false` once all are.
    Shrink(bool),
}

impl Job {
    /// Does a bounded piece of it and says how long to rest. A job goes on after an error unless it [`Job::is_done`].
    fn step(&mut self, shared: &Shared) -> Result<Duration> {
        match self {
            Job::Prepare(bucket, unfinished) => {
                let Some(mut preparation) = unfinished.take() else { return Ok(Duration::ZERO) };
                match preparation.step(&shared.resources) {
                    Ok(true) => *unfinished = Some(preparation),
                    Ok(false) => shared.unless_closed(bucket, bucket.finish_preparation(preparation))?,
                    Err(error) => {
                        bucket.give_up_preparation(preparation);
                        shared.unless_closed(bucket, Err(error))?;
                    }
                }
                Ok(if self.is_urgent() { Duration::ZERO } else { ZERO_REST })
            }
            Job::Tree(bucket, _, unfinished) => {
                let Some(mut job) = unfinished.take() else { return Ok(Duration::ZERO) };
                let stepped = bucket.step(&mut job);
                if let Ok(true) = stepped {
                    *unfinished = Some(job);
                }
                shared.unless_closed(bucket, stepped.map(|_| ()))?;
                Ok(Duration::ZERO)
            }
            Job::LookAfter(buckets) => {
                if let Some(bucket) = buckets.pop_front().and_then(|bucket| bucket.upgrade()) {
                    bucket.view().forget_if_idle();
                    shared.look_after(&bucket)?;
                }
                Ok(Duration::ZERO)
            }
            Job::Walk(left) => {
                *left -= 1;
                if !(shared.buckets.walk)()? {
                    *left = 0;
                }
                Ok(Duration::ZERO)
            }
            Job::Table(unfinished) => {
                let Some(mut steps) = unfinished.take() else { return Ok(Duration::ZERO) };
                let rest = steps()?;
                if rest.is_some() {
                    *unfinished = Some(steps);
                }
                Ok(rest.unwrap_or_default())
            }
            Job::Shrink(is_left) => {
                let shrunk = shared.resources.shrink();
                *is_left = shared.resources.has_removed();
                shrunk.map(|()| SHRINK_REST)
            }
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Job::Prepare(_, unfinished) => unfinished.is_none(),
            Job::Tree(_, _, unfinished) => unfinished.is_none(),
            Job::LookAfter(buckets) => buckets.is_empty(),
            Job::Walk(left) => *left == 0,
            Job::Table(unfinished) => unfinished.is_none(),
            Job::Shrink(is_left) => !is_left,
        }
    }

    /// Rows may soon wait for it: it does not rest.
    fn is_urgent(&self) -> bool {
        match self {
            Job::Prepare(bucket, Some(preparation)) => bucket.log.with_writer(|writer| writer.room_bytes() < preparation.left_bytes()),
            // Writers may soon wait for it, and what loads the device is its own to pace.
            Job::Tree(..) => true,
            Job::Prepare(_, None) | Job::LookAfter(_) | Job::Walk(_) | Job::Table(_) | Job::Shrink(_) => false,
        }
    }
}

/// See the head of this module.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// Unfinished, in the order of their turns.
    jobs: VecDeque<Job>,
    pub(super) rests_until: Duration,
}

impl Worker {
    /// A worker with nothing to do.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Worker { shared: shared.clone(), jobs: VecDeque::new(), rests_until: Duration::ZERO }
    }

    /// Does the next piece; `false` when nothing is due now.
    ///
    /// Errors: that piece failed. The others are not affected.
    pub(super) fn turn(&mut self) -> Result<bool> {
        let has_room = |work: Work| !work.makes_run() || self.under_way(work) < RUNS_IN_THE_MAKING_MAX;
        if let Some((bucket, work)) = self.shared.resources.board.take_if(has_room) {
            self.begin(bucket, work)?;
            return Ok(true);
        }
        if self.shared.resources.has_removed() && !self.jobs.iter().any(|job| matches!(job, Job::Shrink(_))) {
            self.jobs.push_back(Job::Shrink(true));
        }
        let Some(mut job) = self.next_job() else { return Ok(false) };
        let stepped = job.step(&self.shared);
        if !job.is_done() {
            self.jobs.push_back(job);
        }
        let rest = stepped?;
        if !rest.is_zero() && !self.shared.resources.driver.is_single_threaded() {
            self.rests_until = self.now() + rest;
        }
        Ok(true)
    }

    fn begin(&mut self, bucket: Arc<Bucket>, work: Work) -> Result<()> {
        match work {
            Work::Provide { bytes } => {
                bucket.provide(bytes);
                Ok(())
            }
            // A log that is kept by size has just outgrown it: what it drops now is its next segment.
            Work::Seal => self.shared.look_after(&bucket),
            Work::Prepare => {
                let begun = bucket.prepare_ahead();
                if let Ok(Some(preparation)) = begun {
                    self.jobs.push_back(Job::Prepare(bucket, Some(preparation)));
                    return Ok(());
                }
                self.shared.unless_closed(&bucket, begun.map(|_| ()))
            }
            Work::Flush => self.begin_tree_job(&bucket, work, bucket.begin_flush()),
            Work::Compact if self.shared.compactors.take_on(&bucket) => Ok(()),
            Work::Compact => self.begin_tree_job(&bucket, work, bucket.begin_compaction(Extent::Picked)),
        }
    }

    /// How many flushes, or compactions, are begun and not done.
    pub(super) fn under_way(&self, work: Work) -> usize {
        self.jobs.iter().filter(|job| matches!(job, Job::Tree(_, kind, _) if *kind == work)).count()
    }

    fn begin_tree_job(&mut self, bucket: &Arc<Bucket>, work: Work, begun: Result<Option<TreeJob>>) -> Result<()> {
        let begun = begun.map(|job| self.jobs.extend(job.map(|job| Job::Tree(bucket.clone(), work, Some(Box::new(job))))));
        self.shared.unless_closed(bucket, begun)
    }

    fn next_job(&mut self) -> Option<Job> {
        match self.rest() {
            None => self.jobs.pop_front(),
            Some(_) => self.jobs.iter().position(Job::is_urgent).and_then(|urgent| self.jobs.remove(urgent)),
        }
    }

    /// Begins to look after all open buckets, and some of the others.
    pub(super) fn look_after_all(&mut self) {
        let open = (self.shared.buckets.open)().iter().map(Arc::downgrade).collect();
        self.jobs.retain(|job| !matches!(job, Job::LookAfter(_) | Job::Walk(_)));
        self.jobs.extend([Job::LookAfter(open), Job::Walk(WALK_BUCKETS)]);
        // What was found in an earlier round is done before tables are looked at again.
        if self.jobs.iter().any(|job| matches!(job, Job::Table(_))) {
            return;
        }
        match (self.shared.buckets.tend)() {
            Ok(work) => self.jobs.extend(work.into_iter().map(|steps| Job::Table(Some(steps)))),
            Err(error) => self.shared.failed(error),
        }
    }

    /// How long it still rests; `None` when nothing keeps it from going on, or nothing waits for it.
    pub(super) fn rest(&self) -> Option<Duration> {
        let rest = self.rests_until.saturating_sub(self.now());
        (!rest.is_zero() && !self.jobs.is_empty()).then_some(rest)
    }

    fn now(&self) -> Duration {
        self.shared.resources.driver.clock().monotonic()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            if let Job::Prepare(bucket, Some(preparation)) = job {
                bucket.give_up_preparation(preparation);
            }
        }
    }
}
