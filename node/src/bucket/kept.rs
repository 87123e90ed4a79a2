//! What snapshots keep of a bucket: the runs that have its rows up to an offset, for as long as the snapshot is there.
//!
//! A snapshot begins with a cut: one moment of all buckets of a table, behind which rows go to fresh memtables. Then each bucket flushes what was before it,
//! and keeps its runs. Invariants: the manifest keeps runs in the record that makes them end at the cut, or in a later one before they have more; the file of a
//! run goes once neither the tree nor a snapshot has it, and no reader of this process holds it. This module knows nothing of what snapshots a table has.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::manifest::{Edit, FILE_NAME, State};
use super::resources::Resources;
use super::tree::Tree;
use super::upkeep::TreeJob;
use super::{Bucket, here, ledger};
use crate::error::{Error, Result};
use crate::io::sync::{Mutex, Ordering};
use crate::log::commit::Log;
use crate::lsm::run::{Run, RunMeta, run_path};

/// A snapshot that was cut and whose runs are not kept yet.
#[derive(Clone, Copy)]
struct Wanted {
    snapshot_id: u64,
    end_offset: u64,
}

impl Wanted {
    fn edit(self) -> Edit {
        Edit::Kept { snapshot_id: self.snapshot_id, end_offset: self.end_offset }
    }
}

/// What a tree knows of snapshots.
#[derive(Default)]
pub struct Keeping {
    wanted: Mutex<Option<Wanted>>,
    /// Runs that only snapshots have, while readers of this process hold them.
    readers: Mutex<HashMap<u64, Weak<Run>>>,
}

impl Keeping {
    /// The edits of a flush of the rows in `from..to`, with those that keep runs for a snapshot that ends at either. For who does the bucket's upkeep.
    pub(super) fn with_flush(&self, from: u64, flushed: Edit, to: u64) -> Vec<Edit> {
        let wanted = *self.wanted.lock();
        let ending = |at: u64| wanted.filter(|wanted| wanted.end_offset == at).map(Wanted::edit);
        // A flush of nothing ends where it begins: then one of them is enough.
        let after = if from == to { None } else { ending(to) };
        ending(from).into_iter().chain([flushed]).chain(after).collect()
    }

    /// Such edits, up to an offset, are durable.
    pub(super) fn flushed_to(&self, to: u64) {
        self.wanted.lock().take_if(|wanted| wanted.end_offset <= to);
    }

    /// Whether readers hold runs that only snapshots have: the bucket must remember them.
    pub(super) fn is_read(&self) -> bool {
        self.readers.lock().values().any(|run| run.strong_count() > 0)
    }

    /// The snapshot under way comes to nothing.
    pub(super) fn forget(&self) {
        *self.wanted.lock() = None;
    }

    fn forget_one(&self, snapshot_id: u64) {
        self.wanted.lock().take_if(|wanted| wanted.snapshot_id == snapshot_id);
    }
}

/// A bucket that brings the rows before a cut into runs and keeps them. Dropped before it is done, nothing is kept, or what nobody knows of.
pub struct Keep {
    bucket: Arc<Bucket>,
    snapshot_id: u64,
    end_offset: u64,
    flush: Option<TreeJob>,
}

/// How far a [`Keep`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The manifest keeps the runs.
    Done,
    /// There is more to do.
    More,
    /// Somebody else flushes the bucket: it goes on when that is over.
    Busy,
}

impl Keep {
    /// The number of rows that were ever written before the cut: its offset in the log.
    pub fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Does a bounded piece of it.
    ///
    /// # Errors
    /// Conflict when the table was altered meanwhile; those of a flush.
    pub fn step(&mut self) -> Result<Kept> {
        if let Some(flush) = &mut self.flush {
            if !self.bucket.step(flush)? {
                self.flush = None;
            }
            return Ok(Kept::More);
        }
        if self.bucket.keep(self.snapshot_id, self.end_offset)? {
            return Ok(Kept::Done);
        }
        self.flush = self.bucket.begin_flush()?;
        Ok(if self.flush.is_some() { Kept::More } else { Kept::Busy })
    }

    /// Does all of it.
    ///
    /// # Errors
    /// As [`Keep::step`]; Unavailable in a single thread when a flush is under way.
    pub fn finish(&mut self) -> Result<()> {
        loop {
            let tree = self.bucket.tree().expect("only trees are cut");
            let seen = tree.progress.load(Ordering::Acquire);
            match self.step()? {
                Kept::Done => return Ok(()),
                Kept::More => {}
                Kept::Busy => self.bucket.wait_for_another(self.bucket.tree().expect("only trees are cut"), seen)?,
            }
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(tree) = self.bucket.tree() {
            tree.keeping.forget_one(self.snapshot_id);
        }
    }
}

/// Cuts buckets of a table at one moment: a row that was acknowledged before is in the snapshot, one that is written afterwards is not, whatever bucket each went
/// to. One cut of a bucket at a time.
///
/// # Errors
/// What kept rows of a bucket from being indexed.
pub fn cut(buckets: &[Arc<Bucket>], snapshot_id: u64) -> Result<Vec<Keep>> {
    let logs: Vec<&Log> = buckets.iter().map(|bucket| &bucket.log).collect();
    Log::with_all(&logs, || buckets.iter().map(|bucket| bucket.cut(snapshot_id)).collect())
}

/// Whether opening the bucket in this directory for [`Bucket::release`] is worth while, by its manifest alone.
///
/// # Errors
/// Corrupt for a damaged manifest; those of the device.
pub fn keeps_any(resources: &Resources, dir: &Path, is_gone: impl Fn(u64) -> bool) -> Result<bool> {
    let folded = ledger::read::<State>(&*resources.driver, &resources.pool, &dir.join(FILE_NAME))?;
    Ok(folded.is_some_and(|folded| folded.state.kept.keys().any(|id| is_gone(*id))))
}

impl Bucket {
    /// For who holds the head of its log.
    fn cut(self: &Arc<Self>, snapshot_id: u64) -> Result<Keep> {
        let tree = self.tree().ok_or_else(|| Error::internal("a bucket without a tree has no snapshots"))?;
        if let Some(error) = tree.failure() {
            return Err(here(&self.address, error));
        }
        tree.rotate();
        let end_offset = tree.levels().active().first_offset();
        // A bucket that never had a row has no files, and keeps nothing.
        *tree.keeping.wanted.lock() = (end_offset > 0).then_some(Wanted { snapshot_id, end_offset });
        Ok(Keep { bucket: self.clone(), snapshot_id, end_offset, flush: None })
    }

    /// Keeps the runs for a snapshot if they end where it does; `false` when rows before its end are in no run yet.
    fn keep(&self, snapshot_id: u64, end_offset: u64) -> Result<bool> {
        let Some(tree) = &self.tree else { return Ok(false) };
        if end_offset == 0 {
            return Ok(true);
        }
        let _one_at_a_time = self.upkeep.lock();
        let (is_kept, flushed_to) = {
            let manifest = self.manifest.lock();
            let state = manifest.state();
            (state.kept.contains_key(&snapshot_id), state.flushed_to)
        };
        if is_kept {
            return Ok(true);
        }
        let wanted = *tree.keeping.wanted.lock();
        let Some(wanted) = wanted.filter(|wanted| wanted.snapshot_id == snapshot_id && !self.is_closed()) else {
            let changed = Error::conflict("the table was altered, or closed, while a snapshot of it was made");
            return Err(here(&self.address, changed).hint("try again"));
        };
        if flushed_to < end_offset {
            return Ok(false);
        }
        self.settle()?;
        self.edit(wanted.edit())?;
        tree.keeping.forget();
        Ok(true)
    }

    /// Whether it keeps runs for any snapshot.
    pub fn keeps_any(&self) -> bool {
        !self.manifest.lock().state().kept.is_empty()
    }

    /// The snapshots that it keeps runs for.
    pub fn kept_ids(&self) -> Vec<u64> {
        self.manifest.lock().state().kept.keys().copied().collect()
    }

    /// The newest snapshot that it keeps runs for.
    pub fn last_kept(&self) -> Option<u64> {
        self.manifest.lock().state().kept.last_key_value().map(|(id, _)| *id)
    }

    /// What the manifest says of the runs that it keeps for a snapshot.
    pub fn kept_runs(&self, snapshot_id: u64) -> Vec<RunMeta> {
        self.manifest.lock().state().kept.get(&snapshot_id).map_or_else(Vec::new, |kept| kept.runs.clone())
    }

    /// Of runs that were replaced, those that no snapshot keeps. Of the others it is remembered who reads them. For who does the bucket's upkeep, before the
    /// levels change.
    pub(super) fn unless_kept(&self, tree: &Tree, replaced: &[Arc<Run>]) -> Vec<Arc<Run>> {
        let mut readers = tree.keeping.readers.lock();
        let manifest = self.manifest.lock();
        let (kept, free): (Vec<_>, Vec<_>) = replaced.iter().cloned().partition(|run| manifest.state().keeps_run(run.meta().id));
        readers.extend(kept.iter().map(|run| (run.meta().id, Arc::downgrade(run))));
        free
    }

    /// The runs that are kept for a snapshot, and up to where they have rows; `None` when none are. They stay as long as they are held.
    ///
    /// # Errors
    /// Corrupt for a damaged run; those of the device.
    pub fn kept(&self, snapshot_id: u64) -> Result<Option<(Vec<Arc<Run>>, u64)>> {
        let Some(tree) = &self.tree else { return Ok(None) };
        // Held until all are found, so that none is released or replaced meanwhile.
        let mut readers = tree.keeping.readers.lock();
        let kept = self.manifest.lock().state().kept.get(&snapshot_id).cloned();
        let Some(kept) = kept else { return Ok(None) };
        let levels = tree.levels();
        readers.retain(|_, run| run.strong_count() > 0);
        let mut find = |meta: &RunMeta| -> Result<Arc<Run>> {
            if let Some(known) = readers.get(&meta.id).and_then(Weak::upgrade) {
                return Ok(known);
            }
            if let Some(known) = levels.runs().iter().find(|run| run.meta().id == meta.id) {
                return Ok(known.clone());
            }
            let opened = Arc::new(Run::open(self.resources.reach(), &self.address.dir, *meta, false)?);
            readers.insert(meta.id, Arc::downgrade(&opened));
            Ok(opened)
        };
        let runs = kept.runs.iter().map(&mut find).collect::<Result<_>>().map_err(|error| here(&self.address, error))?;
        Ok(Some((runs, kept.end_offset)))
    }

    /// Keeps runs no longer for the snapshots that are gone; their files go with them unless they are needed otherwise.
    ///
    /// # Errors
    /// Those of the device. What was not removed goes when the bucket is opened again.
    pub fn release(&self, is_gone: impl Fn(u64) -> bool) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let _one_at_a_time = self.upkeep.lock();
        let kept: Vec<(u64, Vec<RunMeta>)> = self.manifest.lock().state().kept.iter().map(|(id, kept)| (*id, kept.runs.clone())).collect();
        // Asked with no lock of the manifest: who makes a snapshot holds the list and looks at manifests.
        let gone: Vec<(u64, Vec<RunMeta>)> = kept.into_iter().filter(|(id, _)| is_gone(*id)).collect();
        if gone.is_empty() || self.is_closed() {
            return Ok(());
        }
        self.settle()?;
        self.edit(Edit::Released { snapshot_ids: gone.iter().map(|(id, _)| *id).collect() })?;
        let mut runs: Vec<u64> = gone.iter().flat_map(|(_, runs)| runs.iter().map(|run| run.id)).collect();
        runs.sort_unstable();
        runs.dedup();
        let mut readers = tree.keeping.readers.lock();
        runs.retain(|id| !self.manifest.lock().state().has_run(*id));
        let mut removed = Ok(());
        for id in runs {
            match readers.remove(&id).and_then(|run| run.upgrade()) {
                Some(read) => tree.dropped.lock().push(read),
                None => removed = removed.and(self.remove_run(&run_path(&self.address.dir, id))),
            }
        }
        removed
    }
}
