//! A bucket that another process writes, or nobody: read only.
//!
//! While its writer lives, the commit page says what is durable and the manifest which segments there are. Without a writer the log is recovered as a writer
//! would, but nothing is changed. Invariants: only durable rows are shown; a segment whose file may have been recycled is never trusted: the page's
//! start moves before that, and `Cursor` looks at it after every read. This module knows nothing of tables.

use std::path::PathBuf;
use std::sync::Arc;

use super::manifest::{FILE_NAME, State};
use super::resources::Resources;
use super::tree::{self, Keyed, Tree};
use super::{Address, Found, beyond_reach, find, here, ledger, lost_behind, owner_of, segments};
use crate::error::{Error, Kind, Result};
use crate::io::Entry;
use crate::io::page::{self, Gauges};
use crate::io::sync::{AtomicUsize, Mutex, Ordering};
use crate::log::recovery;
use crate::log::segment::Segment;
use crate::log::view::View;
use crate::lsm::levels::Levels;
use crate::lsm::run::{Run, RunMeta};

/// Looks at a slot that its writer changes, before the writer is taken for dead.
const LOOKS_MAX: u32 = 1 << 16;

/// How often a manifest is read again because a segment that it named was dropped meanwhile.
const FOLDS_MAX: u32 = 16;

/// How often a tree is brought up to a view that may not know the newest segments.
const REPLAYS_MAX: u32 = 16;

/// See the head of this module.
pub struct Follower {
    resources: Arc<Resources>,
    address: Address,
    view: Arc<View>,
    /// One at a time looks at the manifest. The last writer's epoch when its log was recovered: the log has not changed since, unless a later
    /// writer opened it.
    recovered: Mutex<Option<u32>>,
    keyed: Mutex<Option<Arc<Keyed>>>,
    /// The index over the log, made when it is first asked for.
    tree: Mutex<Option<Arc<Tree>>>,
    /// Memtables that it had when the manifest was last asked whether they are in runs; for who holds the tree.
    looked_at: AtomicUsize,
}

/// Bytes that are of no use, see [`Follower::leftovers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where they are.
    pub file: PathBuf,
    /// How many.
    pub bytes: u64,
    /// What they are.
    pub what: &'static str,
}

/// Who writes the store now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// Somebody, with this epoch.
    Live(u32),
    /// Somebody who opens the store, the first since the machine was started, after the one with this epoch or with it. What the page says is from before a power
    /// cut: older, or newer than what the log still has.
    Coming(u32),
    /// Nobody since the one with this epoch.
    Absent(u32),
}

impl Follower {
    /// Looks at the bucket for the first time.
    pub fn open(resources: &Arc<Resources>, address: Address, writer: WriterState, keyed: Option<Arc<Keyed>>) -> Result<Arc<Self>> {
        let view = Arc::new(View::new(Vec::new(), 0, 0, resources.recent.clone()));
        let (recovered, keyed, tree) = (Mutex::new(None), Mutex::new(keyed), Mutex::new(None));
        let looked_at = AtomicUsize::new(0);
        let follower = Arc::new(Follower { resources: resources.clone(), address, view, recovered, keyed, tree, looked_at });
        follower.refresh(writer)?;
        Ok(follower)
    }

    /// What readers see; call [`Follower::refresh`] to bring it up to date.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Brings the view up to date. Cheap when nothing changed.
    pub fn refresh(&self, writer: WriterState) -> Result<()> {
        let mut recovered = self.recovered.lock();
        let last = match writer {
            WriterState::Live(epoch) | WriterState::Coming(epoch) => epoch.saturating_sub(1),
            WriterState::Absent(epoch) => epoch,
        };
        let refreshed = match self.shown(writer) {
            Some(shown) => self.follow(shown.start, shown.end),
            None if *recovered == Some(last) => Ok(()),
            // What cannot be read now may be readable later.
            None => self.recover().map(|()| *recovered = self.view.damage().is_none().then_some(last)),
        };
        refreshed.map_err(|error| here(&self.address, error))
    }

    /// The index over the log, with all rows that the view has; `None` in a table without keys. It is made anew from the manifest when too much of the
    /// log is in memory, and with `is_lost`: a run that it names is gone.
    ///
    /// # Errors
    /// Corrupt for damaged runs or rows; those of the device.
    pub fn tree(&self, writer: WriterState, is_lost: bool) -> Result<Option<Arc<Tree>>> {
        let mut known = self.tree.lock();
        let Some(keyed) = self.keyed.lock().clone() else { return Ok(None) };
        if is_lost {
            *known = None;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let tree = match known.take() {
                Some(tree) if !self.is_behind(&tree)? => tree,
                _ => self.open_tree(&keyed).map_err(|error| here(&self.address, error))?,
            };
            match self.replay(&tree) {
                Ok(()) => {
                    *known = Some(tree.clone());
                    return Ok(Some(tree));
                }
                Err(error) if tries == REPLAYS_MAX || error.kind() != Kind::Corrupt => return Err(here(&self.address, error)),
                // Most often the writer has gone on to a segment that the view has not heard of, or dropped one while it was read.
                Err(_) => self.refresh_segments(writer)?,
            }
        }
    }

    /// Brings a tree up to the view's end. What was read of a segment that was dropped meanwhile does not count: then the tree is not to be used.
    fn replay(&self, tree: &Tree) -> Result<()> {
        let (from, end) = (tree.levels().active().end_offset(), self.view.end());
        tree.replay(&self.view)?;
        if from < end && self.kept_from().is_none_or(|kept_from| kept_from > from) {
            return Err(Error::corrupt("rows were dropped while they were read").at("offset", from));
        }
        match tree.levels().active().end_offset() {
            reached if reached < end => Err(Error::corrupt("rows that are durable are not found").at("offset", reached)),
            _ => Ok(()),
        }
    }

    /// The runs that the manifest keeps for a snapshot, and up to where they have rows; `None` when it keeps none. They can be read as long as they are held.
    ///
    /// # Errors
    /// NotFound when they went meanwhile; Corrupt for damaged ones; those of the device.
    pub fn kept(&self, snapshot_id: u64) -> Result<Option<(Vec<Arc<Run>>, u64)>> {
        let Some(kept) = self.manifest()?.and_then(|mut state| state.kept.remove(&snapshot_id)) else { return Ok(None) };
        let open = |meta: &RunMeta| Run::open(self.resources.reach(), &self.address.dir, *meta, true).map(Arc::new);
        let runs = kept.runs.iter().map(open).collect::<Result<_>>().map_err(|error| here(&self.address, error))?;
        Ok(Some((runs, kept.end_offset)))
    }

    /// Whether runs have rows by now that are in its memtables, and those are many, or the log has rows no more that it needs. What the writer has not flushed either stays
    /// in memory, however many memtables that fills here: made anew, it would be the same.
    fn is_behind(&self, tree: &Tree) -> Result<bool> {
        let levels = tree.levels();
        let memtables = levels.memtables.len();
        if levels.active().end_offset() < self.view.start() {
            return Ok(true);
        }
        if memtables <= tree::WAITING_MAX.max(self.looked_at.load(Ordering::Relaxed)) {
            return Ok(false);
        }
        self.looked_at.store(memtables, Ordering::Relaxed);
        Ok(self.state()?.flushed_to > levels.flushed_to)
    }

    /// Makes its tree that of a table that was altered, unless it is already.
    pub fn alter(&self, keyed: &Arc<Keyed>) {
        let mut tree = self.tree.lock();
        let mut known = self.keyed.lock();
        if known.as_ref().is_some_and(|known| known.generation < keyed.generation) {
            *known = Some(keyed.clone());
            *tree = None;
        }
    }

    fn open_tree(&self, keyed: &Arc<Keyed>) -> Result<Arc<Tree>> {
        self.looked_at.store(0, Ordering::Relaxed);
        let mut folds = 0;
        loop {
            let state = self.manifest()?.unwrap_or_default();
            folds += 1;
            match Tree::open(&self.resources, &self.address.dir, keyed.clone(), &state) {
                // Most often it was replaced since the manifest was read.
                Err(error) if error.kind() == Kind::NotFound && folds < FOLDS_MAX => {}
                opened => return opened,
            }
        }
    }

    /// What the manifest says now; nothing when there is none yet.
    ///
    /// # Errors
    /// Corrupt for a damaged manifest; those of the device.
    pub fn state(&self) -> Result<State> {
        Ok(self.manifest().map_err(|error| here(&self.address, error))?.unwrap_or_default())
    }

    /// Whether runs should be merged; `each` says that every run counts for itself.
    ///
    /// # Errors
    /// Corrupt for damaged runs; those of the device.
    pub fn is_compaction_due(&self, state: &State, each: bool) -> Result<bool> {
        let rules = self.resources.rules;
        if state.runs.len() < rules.trigger {
            return Ok(false);
        }
        let open = |meta: &RunMeta| Run::open(self.resources.reach(), &self.address.dir, *meta, true).map(Arc::new);
        match state.runs.iter().map(open).collect() {
            Ok(runs) => Ok(Levels::new(runs, state.flushed_to, rules).picked(each).is_some()),
            // They were merged since the manifest was read.
            Err(error) if Error::kind(&error) == Kind::NotFound => Ok(false),
            Err(error) => Err(here(&self.address, error)),
        }
    }

    /// What is left of work that was never acknowledged, or not cleared away, each as a file, its bytes and what they are. The next writer of the bucket removes it or
    /// writes over it. Only right while nobody writes: it looks the same as work under way.
    ///
    /// # Errors
    /// Those of the device.
    pub fn leftovers(&self) -> Result<Vec<Leftover>> {
        let path = self.address.dir.join(FILE_NAME);
        let Resources { driver, pool, .. } = &*self.resources;
        // A damaged bucket is told elsewhere; nothing of it is removed.
        if self.view.damage().is_some() {
            return Ok(Vec::new());
        }
        let folded = ledger::read::<State>(&**driver, pool, &path).map_err(|error| here(&self.address, error))?;
        let (state, torn_bytes) = folded.map_or_else(Default::default, |folded| (folded.state, folded.torn_bytes));
        let orphans = segments::orphans(&**driver, &self.address.dir, &state).map_err(|error| here(&self.address, error))?;
        let orphan = |entry: Entry| Leftover {
            file: self.address.dir.join(entry.name),
            bytes: entry.bytes,
            what: "a file that the manifest of the bucket does not name",
        };
        let torn = Leftover { file: path, bytes: torn_bytes, what: "the manifest ends with an edit that was not written to its end" };
        Ok(std::iter::once(torn).filter(|torn| torn.bytes > 0).chain(orphans.into_iter().map(orphan)).collect())
    }

    /// The figures that the bucket's writer shows; `None` when nobody writes to it.
    pub fn gauges(&self, writer: WriterState) -> Option<Gauges> {
        self.shown(writer).map(|_| self.resources.page.slot(self.address.slot).gauges())
    }

    /// Reads the manifest again: the segments that the view knows are not all.
    pub fn refresh_segments(&self, writer: WriterState) -> Result<()> {
        let _one_at_a_time = self.recovered.lock();
        let looked = match self.shown(writer) {
            Some(shown) => self.fold(shown.start, shown.end),
            None => self.recover(),
        };
        looked.map_err(|error| here(&self.address, error))
    }

    /// What the commit page says of this bucket; `None` when nobody writes to it (or has not opened it yet).
    fn shown(&self, writer: WriterState) -> Option<page::View> {
        let WriterState::Live(epoch) = writer else { return None };
        let shown = self.resources.page.slot(self.address.slot).view()?;
        (owner_of(&shown) == self.address.owner() && shown.epoch == epoch).then_some(shown)
    }

    /// Offset of the oldest row whose bytes were still its own just now. A reader asks **after** it has read: what lies before may have been
    /// dropped, and its file used again. `None` when the slot has gone to a later table, so this one was dropped.
    pub fn kept_from(&self) -> Option<u64> {
        let slot = self.resources.page.slot(self.address.slot);
        let owner = self.address.owner();
        for _ in 0..LOOKS_MAX {
            match slot.view() {
                Some(shown) if owner_of(&shown) == owner => return Some(shown.start.max(self.view.start())),
                Some(shown) if owner_of(&shown) > owner => return None,
                // Still an earlier table's: no writer has opened this bucket, so nothing of it was dropped.
                Some(_) => break,
                None => std::hint::spin_loop(),
            }
        }
        Some(self.view.start())
    }

    fn follow(&self, start: u64, end: u64) -> Result<()> {
        let is_damaged = self.view.damage().is_some();
        if start == self.view.start() && end == self.view.end() && !is_damaged {
            return Ok(());
        }
        let known = self.view.segments();
        // What was dropped may have been followed by segments that the view has not heard of; what was lost may be there again.
        if is_damaged || known.is_empty() || start > self.view.start() {
            return self.fold(start, end);
        }
        self.view.refresh(known.to_vec(), start, end);
        Ok(())
    }

    fn fold(&self, start: u64, end: u64) -> Result<()> {
        let mut folds = 0;
        loop {
            let Some(folded) = self.manifest()? else {
                let missing = || Error::corrupt("the manifest of a bucket that has rows is missing").at("offset", start);
                self.view.set_damage((end > start).then(|| beyond_reach(&self.address, missing())));
                return Ok(());
            };
            folds += 1;
            let (segments, lost) = self.segments(&folded, end)?;
            // Most often it was dropped since the manifest was read.
            if lost.is_some() && folds < FOLDS_MAX {
                continue;
            }
            let known_end = segments.last().and_then(|last| last.sealed()).map_or(end, |sealed| sealed.end_offset);
            self.view.set_damage(lost.map(|lost| beyond_reach(&self.address, lost_behind(lost, known_end, end))));
            // The manifest says what is dropped before the page does.
            let start = start.max(folded.start_offset);
            self.view.refresh(segments, start, end.max(start));
            return Ok(());
        }
    }

    fn manifest(&self) -> Result<Option<State>> {
        let path = self.address.dir.join(FILE_NAME);
        Ok(ledger::read::<State>(&*self.resources.driver, &self.resources.pool, &path)?.map(|folded| folded.state))
    }

    /// The segments of a live log: those in the manifest, as far as they hold rows before `end`. Beside them one that is lost, if any is.
    fn segments(&self, state: &State, end: u64) -> Result<(Vec<Arc<Segment>>, Option<Error>)> {
        let known = self.view.segments();
        let find = |id: u64| known.iter().find(|segment| segment.id() == id).cloned();
        let path = |id: u64| segments::log_path(&self.address.dir, id);
        let mut found = Vec::with_capacity(state.sealed.len() + 1);
        let mut why_lost = None;
        for sealed in &state.sealed {
            found.push(match find(sealed.segment_id).filter(|segment| segment.sealed().is_some()) {
                Some(segment) => segment,
                None => Arc::new(Segment::sealed_at(sealed.segment_id, path(sealed.segment_id), sealed.base_offset, sealed.sealed())),
            });
        }
        for (&id, &bytes) in &state.open {
            let segment = match find(id) {
                Some(segment) => segment,
                None => match self.first_offset(id) {
                    Err(error) => {
                        why_lost = Some(recovery::lost("read", &path(id), error)?);
                        continue;
                    }
                    Ok(Some(offset)) if offset < end && offset >= state.sealed_end() => {
                        let segment = Segment::prepared(id, path(id), bytes);
                        segment.begin(offset);
                        Arc::new(segment)
                    }
                    _ => continue,
                },
            };
            found.push(segment);
        }
        found.sort_by_key(|segment| segment.base_offset());
        Ok((found, why_lost))
    }

    /// Offset of the first row in an open segment; `None` when it has no frame yet.
    fn first_offset(&self, segment_id: u64) -> std::io::Result<Option<u64>> {
        let path = segments::log_path(&self.address.dir, segment_id);
        let Resources { driver, files, pool, .. } = &*self.resources;
        let file = files.open(&**driver, &path, true)?;
        recovery::first_offset(&**driver, &file, pool, segment_id)
    }

    /// Finds the end of a log that nobody writes.
    fn recover(&self) -> Result<()> {
        // Without a manifest there is nothing, unless rows were acknowledged.
        let mut state = self.manifest()?.unwrap_or_default();
        let mut found = find(&self.resources, &self.address, &state, false)?;
        // A writer may have come meanwhile and dropped what seems lost.
        for _ in 0..FOLDS_MAX {
            let Some(now) = self.manifest()?.filter(|now| found.damage.is_some() && *now != state) else { break };
            state = now;
            found = find(&self.resources, &self.address, &state, false)?;
        }
        let Found { sealed, recovered, damage } = found;
        self.view.set_damage(damage);
        let end = recovered.start.next_offset;
        let segments: Vec<Arc<Segment>> = sealed.into_iter().chain(recovered.segments()).collect();
        // The commit page may have told of rows in a segment that the view has not heard of.
        let known = self.view.segments();
        let knows_all = segments.iter().map(|segment| segment.id()).eq(known.iter().map(|segment| segment.id()));
        if !knows_all || end != self.view.end() || state.start_offset != self.view.start() {
            self.view.refresh(segments, state.start_offset, end);
        }
        Ok(())
    }
}
