//! Keeping a tree in shape: memtables are flushed to runs, runs are merged, what was replaced is removed.
//!
//! A [`TreeJob`] is driven in steps by whoever has time. Invariants: a run is durable under its name before the manifest names it, and in the manifest before a
//! reader sees it; a run leaves the manifest before its file goes; at most one flush and one compaction of a bucket are under way. This module decides nothing
//! about when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::manifest::Edit;
use super::tree::{Keyed, Pressure, Shape, Tree};
use super::work::Work;
use super::{Bucket, here};
use crate::error::{Error, Kind, Result};
use crate::io::sync::{AtomicBool, Ordering, wait};
use crate::lsm::build::{Build, Built, Site, Source, sources};
use crate::lsm::levels::Levels;
use crate::lsm::memtable::Memtable;
use crate::lsm::run::Run;
use crate::lsm::sorted::{Sorted, Sources};

/// How long a writer waits for flushes before it looks again whether the bucket is still open.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which runs are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those that are picked.
    Picked,
    /// All.
    All,
    /// All, to rows that say nothing but that they are there: another merge function goes on from them.
    Plain,
}

impl Extent {
    /// Whether deletes are dropped where nothing older is left. One that rows which come later must hear of goes only when somebody asks for it: what readers see
    /// does not depend on when the background merges.
    fn drops_deletes(self, keyed: &Keyed) -> bool {
        self != Extent::Picked || !keyed.function.keeps_deletes()
    }
}

enum What {
    Flush(Arc<Memtable>),
    /// Runs that stand together, older ones first.
    Compact(Vec<Arc<Run>>),
}

/// While it lives nobody else flushes the tree, or compacts it. Whoever has it may panic: the next one gets it.
struct Turn {
    tree: Arc<Tree>,
    is_taken: fn(&Tree) -> &AtomicBool,
}

impl Turn {
    /// `None` while somebody has it.
    fn take(tree: &Arc<Tree>, is_taken: fn(&Tree) -> &AtomicBool) -> Option<Self> {
        let was_taken = is_taken(tree).swap(true, Ordering::AcqRel);
        (!was_taken).then(|| Turn { tree: tree.clone(), is_taken })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        (self.is_taken)(&self.tree).store(false, Ordering::Release);
    }
}

/// A flush or a compaction under way. Dropped, it comes to nothing.
pub struct TreeJob {
    tree: Arc<Tree>,
    what: What,
    build: Option<Build>,
    turn: Option<Turn>,
}

impl TreeJob {
    fn new(turn: Turn, what: What, make: impl FnOnce() -> Result<Build>) -> Result<Self> {
        // From here on the drop says that it is over.
        let mut job = TreeJob { tree: turn.tree.clone(), what, build: None, turn: Some(turn) };
        job.build = Some(make()?);
        Ok(job)
    }
}

impl Drop for TreeJob {
    fn drop(&mut self) {
        self.build = None;
        self.turn = None;
        self.tree.ended();
    }
}

impl Bucket {
    /// Its tree, when its table has a primary key.
    pub fn tree(&self) -> Option<&Arc<Tree>> {
        self.tree.as_ref()
    }

    /// Begins to flush the oldest memtable that waits for it; `None` when none does, or one is being flushed.
    ///
    /// # Errors
    /// Exhausted when the device is full; others of the device.
    pub fn begin_flush(self: &Arc<Self>) -> Result<Option<TreeJob>> {
        let Some(tree) = self.tree.as_ref().filter(|tree| tree.wants_flush() && !self.is_closed()) else { return Ok(None) };
        let Some(turn) = Turn::take(tree, |tree| &tree.is_flushing) else { return Ok(None) };
        let Shape { keyed, levels } = &*tree.shape();
        // Another flush may have ended just now.
        if levels.memtables.len() < 2 {
            return Ok(None);
        }
        let oldest = levels.memtables[0].clone();
        let job = TreeJob::new(turn, What::Flush(oldest.clone()), || {
            let end = oldest.end_offset();
            self.settle()?;
            self.check_edits()?;
            let rows = self.sorted(keyed, &[], (&[], &[(oldest, end)]), levels.runs().is_empty(), Extent::Picked)?;
            Ok(self.build(keyed, u64::MAX, vec![Source::Rows(Box::new(rows))]))
        });
        if let Err(error) = &job {
            self.note_flush(tree, Some(error));
        }
        job.map(Some).map_err(|error| here(&self.address, error))
    }

    /// Begins to merge runs. `None` when there is nothing to merge, or runs are being merged.
    ///
    /// # Errors
    /// As [`Bucket::begin_flush`].
    pub fn begin_compaction(self: &Arc<Self>, extent: Extent) -> Result<Option<TreeJob>> {
        let Some(tree) = self.tree.as_ref().filter(|_| !self.is_closed()) else { return Ok(None) };
        let Some(turn) = Turn::take(tree, |tree| &tree.is_compacting) else { return Ok(None) };
        let Shape { keyed, levels } = &*tree.shape();
        let picked = match extent {
            Extent::Picked => tree.picked_of(levels),
            Extent::All => whole(levels, self.expires()),
            Extent::Plain => whole(levels, self.expires() || keyed.function.marks_retracted()),
        };
        let Some(picked) = picked else { return Ok(None) };
        let runs = levels.runs()[picked.clone()].to_vec();
        let is_oldest = picked.start == 0;
        let job = TreeJob::new(turn, What::Compact(runs.clone()), || {
            self.settle()?;
            self.check_edits()?;
            // Where rows expire, those of every run are looked at, and one run is what it was made of.
            let expires = self.expires();
            let drops = is_oldest && extent.drops_deletes(keyed);
            let may_move = |run: &Run| !(extent == Extent::Plain || expires || drops && run.meta().deletes > 0);
            let file_bytes = if expires { u64::MAX } else { levels.rules().file_bytes };
            let sources = sources(&runs, may_move, file_bytes, |merged| self.sorted(keyed, &runs, (merged, &[]), is_oldest, extent))?;
            Ok(self.build(keyed, file_bytes, sources))
        });
        job.map(Some).map_err(|error| here(&self.address, error))
    }

    fn build(&self, keyed: &Keyed, file_bytes: u64, sources: Vec<Source>) -> Build {
        let resources = self.resources.clone();
        let ids = Box::new(move || resources.next_segment_id());
        let (reach, schema) = (self.resources.reach(), keyed.reader.schema());
        Build::new(Site { reach, dir: &self.address.dir, ids, schema, file_bytes }, sources)
    }

    /// Some levels and memtables in order, for a job that has these runs, and with them the oldest rows or not.
    fn sorted(
        &self,
        keyed: &Keyed,
        runs: &[Arc<Run>],
        (levels, memtables): Sources<'_>,
        is_oldest: bool,
        extent: Extent,
    ) -> Result<Sorted> {
        let drop_deletes = is_oldest && extent.drops_deletes(keyed);
        let mut sorted = Sorted::new(keyed.reader.clone(), keyed.function.clone(), levels, memtables, drop_deletes);
        if extent == Extent::Plain {
            sorted = sorted.plain();
        }
        let expiry = self.policy.lock().expiry;
        let now_ms = self.resources.driver.clock().wall_ms();
        if let Some(expiry) = expiry.filter(|_| is_oldest && self.may_expire(keyed, runs, memtables)) {
            sorted = sorted.expiring(expiry, now_ms)?;
        }
        Ok(sorted)
    }

    /// Whether the rows of a job that has the oldest ones may be dropped when they have expired. Where the newest version of a key is the row, newer ones do not mind;
    /// else only where there were none when the clock was read: what expires is the row that all versions make together.
    fn may_expire(&self, keyed: &Keyed, runs: &[Arc<Run>], memtables: &[(Arc<Memtable>, u64)]) -> bool {
        let Some(tree) = &self.tree else { return false };
        let levels = tree.levels();
        let is_of_job = |memtable: &Arc<Memtable>| memtables.iter().any(|(known, _)| Arc::ptr_eq(known, memtable));
        keyed.function.goes_by_newest()
            || levels.runs().len() == runs.len() && levels.memtables.iter().all(|memtable| memtable.is_empty() || is_of_job(memtable))
    }

    /// Whether rows of the tree come to their end by themselves.
    fn expires(&self) -> bool {
        self.policy.lock().expiry.is_some()
    }

    /// Does a bounded piece of a job; `false` when it is done.
    ///
    /// # Errors
    /// Those of reading, of the merge function and of the device. The job comes to nothing then; a flush is tried again later.
    pub fn step(self: &Arc<Self>, job: &mut TreeJob) -> Result<bool> {
        if self.is_closed() {
            job.build = None;
            return Ok(false);
        }
        let Some(build) = &mut job.build else { return Ok(false) };
        let ended = match build.step() {
            Ok(true) => return Ok(true),
            Ok(false) => {
                let built = job.build.take().expect("it was there").finish();
                self.commit_or_remove(job, &built)
            }
            Err(error) => Err(error),
        };
        job.build = None;
        if ended.as_ref().is_err_and(|error| error.kind() == Kind::Exhausted) {
            // The next try has what removed files still take.
            self.resources.clear_removed();
        }
        if let What::Flush(_) = job.what {
            self.note_flush(&job.tree, ended.as_ref().err());
        }
        ended.map(|()| false).map_err(|error| here(&self.address, error))
    }

    /// A run that the manifest does not name is removed at once: the job is tried again, under another name.
    fn commit_or_remove(self: &Arc<Self>, job: &TreeJob, built: &Built) -> Result<()> {
        let synced = self.resources.driver.sync_dir(&self.address.dir);
        let synced = synced.map_err(|error| Error::io("sync", &self.address.dir, error));
        let may_commit = synced.and_then(|()| self.check_edits());
        let is_begun = may_commit.is_ok();
        let committed = may_commit.and_then(|()| self.commit(job, built));
        if let Err(error) = &committed
            // After any other failed edit it is not known what the manifest says; the next open finds out.
            && (!is_begun || error.kind() == Kind::Exhausted)
        {
            built.made.iter().for_each(|run| _ = self.remove_run(run.path()));
        }
        committed
    }

    fn commit(self: &Arc<Self>, job: &TreeJob, built: &Built) -> Result<()> {
        let resources = &self.resources;
        let _one_at_a_time = self.upkeep.lock();
        let tree = &job.tree;
        match &job.what {
            What::Flush(memtable) => {
                let run = built.runs.first().cloned();
                // After the table was altered its memtables were made anew.
                let is_oldest = tree.levels().memtables.first().is_some_and(|oldest| Arc::ptr_eq(oldest, memtable));
                if !is_oldest {
                    return run.map_or(Ok(()), |run| self.remove_run(run.path()));
                }
                // What is in runs must not be lost from the log: its next rows take the offsets behind.
                self.sync_log(memtable.end_offset())?;
                let flushed = Edit::Flushed { run: run.as_ref().map(|run| run.meta()), flushed_to: memtable.end_offset() };
                self.edit_all(tree.keeping.with_flush(tree.levels().flushed_to, flushed, memtable.end_offset()))?;
                tree.keeping.flushed_to(memtable.end_offset());
                tree.change(|levels| levels.flushed(run));
                tree.flushed(memtable);
            }
            What::Compact(runs) => {
                let run_ids: Vec<u64> = runs.iter().map(|run| run.meta().id).collect();
                self.edit(Edit::Compacted { run_ids: run_ids.clone(), runs: built.runs.iter().map(|run| run.meta()).collect() })?;
                let is_moved = |run: &Arc<Run>| built.runs.iter().any(|kept| Arc::ptr_eq(kept, run));
                let replaced: Vec<Arc<Run>> = runs.iter().filter(|run| !is_moved(run)).cloned().collect();
                let replaced = self.unless_kept(tree, &replaced);
                tree.change(|levels| levels.compacted(&run_ids, &built.runs));
                tree.dropped.lock().extend(replaced);
            }
        }
        self.show_gauges();
        if tree.wants_flush() {
            resources.board.post(self, Work::Flush);
        }
        if tree.wants_compaction() {
            resources.board.post(self, Work::Compact);
        }
        Ok(())
    }

    pub(super) fn remove_run(&self, path: &Path) -> Result<()> {
        match self.resources.remove(path) {
            Err(error) if error.kind() != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the files of runs that were replaced, as soon as no reader of this process holds them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn recycle_runs(&self) -> Result<()> {
        let mut unlimited = u64::MAX;
        self.recycle_runs_within(&mut unlimited)
    }

    /// As [`Bucket::recycle_runs`], of no more bytes than are left: whoever opens the bucket next removes the others.
    ///
    /// # Errors
    /// Those of the device.
    pub fn recycle_runs_within(&self, bytes_left: &mut u64) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let (free, mut waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *tree.dropped.lock()).into_iter().partition(|run| Arc::strong_count(run) == 1);
        let mut removed = Ok(());
        for run in free {
            let bytes = run.meta().bytes();
            if bytes > *bytes_left {
                waiting.push(run);
                continue;
            }
            match self.remove_run(run.path()) {
                Ok(()) => *bytes_left -= bytes,
                Err(error) => {
                    waiting.push(run);
                    removed = Err(error);
                }
            }
        }
        tree.dropped.lock().append(&mut waiting);
        removed
    }

    /// Brings all rows that were durable when this was called into runs.
    ///
    /// # Errors
    /// As [`Bucket::step`].
    pub fn flush(self: &Arc<Self>) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        self.log.with_writer(|_| tree.rotate());
        let end = tree.levels().active().first_offset();
        while tree.levels().flushed_to < end && !self.is_closed() {
            let seen = tree.progress.load(Ordering::Acquire);
            match self.begin_flush()? {
                Some(mut job) => while self.step(&mut job)? {},
                None => self.wait_for_another(tree, seen)?,
            }
        }
        Ok(())
    }

    /// Somebody else's job of this kind is under way.
    pub(super) fn wait_for_another(&self, tree: &Tree, seen: u32) -> Result<()> {
        if self.resources.driver.is_single_threaded() {
            // It is this thread's own, and goes on when the background is given time.
            return Err(here(&self.address, Error::unavailable("a flush or a compaction is under way").hint("try again later")));
        }
        wait(&tree.progress, seen, Some(LOOK_AGAIN));
        Ok(())
    }

    /// Merges runs until none is left to be picked; when `full`, all those that are there now into one.
    ///
    /// # Errors
    /// As [`Bucket::step`].
    pub fn compact(self: &Arc<Self>, full: bool) -> Result<()> {
        self.compact_to(if full { Extent::All } else { Extent::Picked })
    }

    /// Merges runs until none is left to be picked; or all those that are there now, once: more may come for as long as rows do.
    ///
    /// # Errors
    /// As [`Bucket::step`].
    pub(super) fn compact_to(self: &Arc<Self>, extent: Extent) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        if extent == Extent::All && tree.shape().keyed.function.keeps_deletes() {
            // Rows that were there before its deletes go hear of them.
            self.flush()?;
        }
        // What has expired in a single run goes, as what its rows say does.
        let is_left = || match extent {
            Extent::Picked => tree.picked().is_some(),
            Extent::All => whole(&tree.levels(), self.expires()).is_some(),
            Extent::Plain => whole(&tree.levels(), self.expires() || tree.shape().keyed.function.marks_retracted()).is_some(),
        };
        while is_left() && !self.is_closed() {
            let seen = tree.progress.load(Ordering::Acquire);
            match self.begin_compaction(extent)? {
                Some(mut job) => {
                    while self.step(&mut job)? {}
                    if extent != Extent::Picked {
                        break;
                    }
                }
                None if is_left() => self.wait_for_another(tree, seen)?,
                None => {}
            }
        }
        self.recycle_runs()
    }

    /// What came of the last flush is for those who wait for it.
    fn note_flush(&self, tree: &Tree, error: Option<&Error>) {
        tree.note_flush(error);
        self.resources.memtables.ring();
    }

    pub(super) fn note_stall(&self, tree: &Tree, waited: Duration) {
        tree.stalled_ns.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        self.show_gauges();
    }

    /// Comes before rows are taken in: holds writers back while flushes or compactions are behind.
    ///
    /// # Errors
    /// Why earlier rows could not be indexed; why the last flush came to nothing, when rows have no place to go.
    pub(super) fn hold_back(self: &Arc<Self>) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        if let Some(error) = tree.failure() {
            return Err(error);
        }
        self.wait_for_memory(tree)?;
        let clock = self.resources.driver.clock();
        let is_alone = self.resources.driver.is_single_threaded();
        loop {
            let (seen, started) = (tree.progress.load(Ordering::Acquire), clock.monotonic());
            match tree.pressure() {
                Pressure::None => return Ok(()),
                Pressure::Slow(_) if is_alone => return self.compact(false),
                Pressure::Slow(pause) => {
                    wait(&tree.progress, seen, Some(pause));
                    self.note_stall(tree, clock.monotonic() - started);
                    return Ok(());
                }
                Pressure::Full if is_alone => self.flush()?,
                Pressure::Full => {
                    if let Some(error) = tree.why_not_flushed() {
                        // By the next rows there may be room.
                        self.resources.board.post(self, Work::Flush);
                        return Err(self.here(error));
                    }
                    if self.is_closed() || !self.resources.board.post(self, Work::Flush) {
                        return Ok(());
                    }
                    wait(&tree.progress, seen, Some(LOOK_AGAIN));
                    self.note_stall(tree, clock.monotonic() - started);
                }
            }
        }
    }
}

/// All runs, when merging them may change anything; `alone` says that it may where there is one.
fn whole(levels: &Levels, alone: bool) -> Option<std::ops::Range<usize>> {
    let oldest = levels.levels().first();
    let may_drop = oldest.is_some_and(|level| alone || level.runs().iter().any(|run| run.meta().deletes > 0));
    (levels.levels().len() > 1 || may_drop).then_some(0..levels.runs().len())
}
