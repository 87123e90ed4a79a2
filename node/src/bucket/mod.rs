//! One bucket: one log and the manifest that says what belongs to it.
//!
//! Only this floor commits truth: `log` returns what happened, the bucket makes it durable in its manifest and then visible. A bucket is opened when it is
//! first used. Invariants: a segment's file is durable under its name, and in the manifest, before a frame is written to it; a segment
//! leaves the manifest before its file may be used again.
//! This module knows nothing of tables, schemas or when background work is done.

pub mod budget;
pub mod committer;
pub mod directories;
pub mod encode;
pub mod follower;
pub mod images;
pub mod kept;
pub mod ledger;
pub mod manifest;
pub mod resources;
pub mod retention;
pub mod segments;
mod settled;
pub mod spare;
pub mod tree;
pub mod upkeep;
pub mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::io::page::{self, Gauges};
use crate::io::sync::{AtomicBool, AtomicU32, Mutex, Ordering, wait};
use crate::log::commit::{Effects, Herald, Log, Sink, Turn};
use crate::log::fate::Fate;
use crate::log::gather::Place;
use crate::log::producers::Producers;
use crate::log::recovery::{Known, Reach, Recovered, recover};
use crate::log::segment::Segment;
use crate::log::view::View;
use crate::log::writer::{Record, Writer};
use crate::table::expiry::Expiry;
use manifest::{Edit, Manifest, State};
use resources::Resources;
use tree::{Keyed, Tree};
use work::Work;

/// Directories whose names a new bucket makes besides its own: its partition, its table, `tables`, the store.
const DIRECTORIES_ABOVE: usize = 4;

/// How often a bucket that is being closed looks whether it is still written to.
const CLOSING_LOOK: Duration = Duration::from_micros(100);

/// Where a bucket lies and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its directory.
    pub dir: PathBuf,
    /// The table.
    pub table_id: u32,
    /// The partition; 0 in a table without partitions.
    pub partition_id: u32,
    /// The bucket.
    pub bucket: u32,
    /// Its slot in the commit page.
    pub slot: usize,
    /// The slot whose word wakes those who follow the table.
    pub table_slot: usize,
    /// Larger than those of all who had the slot before; 0 where none were counted.
    pub serial: u64,
}

/// Set in the owner of a slot that is told by its serial: what has none is older.
const BY_SERIAL: u64 = 1 << 62;

/// Set beside the owner in a slot whose rows may be in the page cache only: what it says is no promise after a power cut.
const UNSYNCED: u64 = 1 << 63;

/// Whose a slot is, synced or not.
fn owner_of(shown: &page::View) -> u64 {
    shown.owner & !UNSYNCED
}

impl Address {
    /// Marks the slot as this bucket's: slots change hands when tables and partitions are dropped, and then go to larger owners.
    pub fn owner(&self) -> u64 {
        match self.serial {
            0 => u64::from(self.table_id) << 32 | u64::from(self.partition_id),
            serial => BY_SERIAL | serial,
        }
    }

    /// Offset up to which rows were acknowledged, as far as the commit page knows; 0 when it knows nothing of this bucket.
    pub fn promised(&self, resources: &Resources) -> u64 {
        let view = resources.page.slot(self.slot).view();
        view.filter(|view| view.owner == self.owner()).map_or(0, |view| view.end)
    }
}

/// How segments of a bucket are made and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPolicy {
    /// Segments grow to this many bytes.
    pub bytes_max: u64,
    /// Rows older than this may go; `None` keeps them.
    pub retention_ms: Option<u64>,
    /// Oldest segments go when sealed ones hold more; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// Only rows that are in runs may go.
    pub has_tree: bool,
    /// When rows of a tree come to their end by themselves.
    pub expiry: Option<Expiry>,
}

/// A batch on its way to the device.
#[derive(Debug)]
#[must_use = "rows are durable once this says so"]
pub struct Pending {
    fate: Arc<Fate>,
    /// Offset of its first row.
    pub first_offset: u64,
    /// It was here before.
    pub duplicate: bool,
    awake: bool,
}

impl Pending {
    /// Waits until the rows are durable.
    ///
    /// Errors: those of the write that failed.
    pub fn wait(&self, resources: &Resources) -> Result<()> {
        resources.wait_for(&self.fate, self.awake)
    }

    /// When that was known, on the store's clock.
    pub fn known_at(&self) -> Option<Duration> {
        self.fate.woken_at()
    }

    /// The result, once there is one.
    pub fn poll(&self) -> Option<Result<()>> {
        self.fate.poll()
    }
}

/// See the head of this module.
pub struct Bucket {
    resources: Arc<Resources>,
    address: Address,
    policy: Mutex<SegmentPolicy>,
    /// The log.
    pub log: Log,
    manifest: Mutex<Manifest>,
    /// Sealed, but not yet in the manifest as such.
    to_seal: Mutex<Vec<Arc<Segment>>>,
    /// Held by whoever seals, drops or recycles segments: the worker and those who ask for it do so one after the other.
    upkeep: Mutex<()>,
    /// Dropped from the manifest; recycled once no reader holds them.
    dropped: Mutex<Vec<Arc<Segment>>>,
    /// What the commit page says; `None` once the slot is no longer this bucket's to write.
    shown: Arc<Mutex<Option<page::View>>>,
    closed: AtomicBool,
    /// See [`Bucket::settle`].
    settled: AtomicBool,
    /// A segment is being prepared ahead of need: the next is not asked for.
    prepares_ahead: AtomicBool,
    /// It waits for the ring thread already.
    pub(in crate::bucket) called: AtomicBool,
    /// The device failed to read its log when it was opened.
    was_unreadable: bool,
    /// The index over the log, when its rows have keys.
    tree: Option<Arc<Tree>>,
    /// Changes that the tree may not have yet; held by who makes some.
    ahead: Mutex<Option<images::Ahead>>,
}

impl Bucket {
    /// Opens a bucket for writing: folds its manifest, recovers its log. What was read only is not written to: thousands may be opened at once.
    ///
    /// Errors: Corrupt for a damaged manifest; those of the device. Damage in the log makes the log refuse rows, not the bucket refuse to open; with a tree, rows
    /// behind it are in no memtable.
    pub fn open(resources: &Arc<Resources>, address: Address, policy: SegmentPolicy, keyed: Option<Arc<Keyed>>) -> Result<Arc<Self>> {
        let driver = &*resources.driver;
        let manifest = Manifest::open(driver, &resources.pool, &address.dir, manifest::FILE_NAME, DIRECTORIES_ABOVE)?;
        let state = manifest.state();
        let Found { sealed, recovered, damage } = find(resources, &address, state, true)?;
        let was_unreadable = recovered.lost.as_ref().is_some_and(|lost| std::error::Error::source(lost).is_some());
        let (end, promised) = (recovered.start.next_offset, address.promised(resources));
        let to_seal = if damage.is_none() { recovered.sealed.clone() } else { Vec::new() };
        let mut segments = sealed;
        segments.extend(recovered.segments());
        let writer = Writer::new(recovered.start);
        let view = Arc::new(View::new(segments, state.start_offset, end, resources.recent.clone()));
        view.set_damage(damage);
        let place =
            Place { table_id: address.table_id, partition_id: address.partition_id, bucket: address.bucket, epoch: resources.epoch };
        let tree = keyed.map(|keyed| open_tree(resources, &address, keyed, state, &view)).transpose()?;
        let sink = tree.clone().map(|tree| -> Sink { Box::new(move |durable| tree.take(durable)) });
        // What was acknowledged stays promised, or the next open would take the gap for the end.
        let end = end.max(promised);
        let shown = page::View {
            start: state.start_offset,
            end,
            epoch: resources.epoch,
            owner: address.owner() | if resources.durable { 0 } else { UNSYNCED },
        };
        resources.page.publish(address.slot, shown);
        resources.page.show_gauges(address.slot, gauges(resources, &address, tree.as_deref()));
        let shown = Arc::new(Mutex::new(Some(shown)));
        let herald = herald(resources, address.slot, &shown);
        let log = Log::new(writer, view, place, resources.durable).with_sink(sink).with_herald(herald);
        if let Some(damage) = log.view().damage() {
            log.poison(damage);
        }
        let bucket = Arc::new(Bucket {
            resources: resources.clone(),
            policy: Mutex::new(policy),
            log,
            manifest: Mutex::new(manifest),
            to_seal: Mutex::new(to_seal),
            upkeep: Mutex::new(()),
            dropped: Mutex::new(Vec::new()),
            settled: AtomicBool::new(false),
            prepares_ahead: AtomicBool::new(false),
            called: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            shown,
            address,
            was_unreadable,
            tree,
            ahead: Mutex::default(),
        });
        if !bucket.to_seal.lock().is_empty() {
            bucket.resources.board.post(&bucket, Work::Seal);
        }
        if let Some(tree) = &bucket.tree {
            tree.set_expires(policy.expiry.is_some());
            resources.memtables.watch(&bucket);
            // Rows that the log had only may be more than there is room for.
            if resources.memtables.is_crowded() {
                bucket.log.with_writer(|_| tree.rotate());
            }
        }
        bucket.ask_for_upkeep();
        Ok(bucket)
    }

    /// Where it lies.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What readers see.
    pub fn view(&self) -> &Arc<View> {
        self.log.view()
    }

    /// Changes how segments are made and dropped from now on.
    pub fn set_policy(&self, policy: SegmentPolicy) {
        *self.policy.lock() = policy;
        if let Some(tree) = &self.tree {
            tree.set_expires(policy.expiry.is_some());
        }
    }

    /// Makes its tree that of a table that was altered, unless it is already.
    ///
    /// # Errors
    /// Those of reading its log; the tree is as it was then.
    pub fn alter(self: &Arc<Self>, keyed: &Arc<Keyed>) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        tree.set_write_only(keyed.write_only);
        {
            // Rows that the tree does not have yet would have the old columns.
            let _nothing_ahead = self.settle_images();
            let _one_at_a_time = self.upkeep.lock();
            let altered = self.log.with_writer(|_| match tree.is_older_than(keyed) {
                true => tree.alter(keyed.clone(), self.view()),
                false => Ok(()),
            });
            altered.map_err(|error| self.here(error))?;
        }
        self.ask_for_flush();
        Ok(())
    }

    /// Comes before anything is written or read that is of this generation of its table: the catalog tells of a change before the buckets have heard of it,
    /// and a tree cannot index rows of a schema that it does not know.
    ///
    /// # Errors
    /// As [`Bucket::alter`].
    pub fn keep_up(self: &Arc<Self>, keyed: &Arc<Keyed>) -> Result<()> {
        match &self.tree {
            Some(tree) if tree.is_older_than(keyed) => self.alter(keyed),
            _ => Ok(()),
        }
    }

    /// Takes a batch in and starts to write it. With `inline`, the calling thread writes it itself while the log is quiet, so the call takes as
    /// long as the write; without, it returns at once. A bucket with a tree has kept up with how the rows are read: see [`Bucket::keep_up`].
    ///
    /// Errors: as [`Log::submit`].
    pub fn append(self: &Arc<Self>, record: Record, inline: bool) -> Result<Pending> {
        self.settle()?;
        self.hold_back()?;
        let now_ms = self.resources.driver.clock().wall_ms();
        let (receipt, turn) = self.log.submit(record, now_ms, inline).map_err(|error| self.here(error))?;
        let awake = matches!(turn, Turn::Write(_));
        self.take(turn);
        Ok(Pending { fate: receipt.fate, first_offset: receipt.first_offset, duplicate: receipt.duplicate, awake })
    }

    /// Comes before the first change: makes the manifest durable as it was read, and removes what it does not name. A damaged bucket stays as it is.
    ///
    /// Errors: the damage; those of the device.
    pub fn settle(&self) -> Result<()> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut manifest = self.manifest.lock();
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(damage) = self.view().damage() {
            return Err(damage);
        }
        let Resources { driver, pool, .. } = &*self.resources;
        manifest.settle(&**driver, pool).map_err(|error| self.here(error))?;
        segments::remove_orphans(&self.resources, &self.address.dir, manifest.state()).map_err(|error| self.here(error))?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    fn take(self: &Arc<Self>, turn: Turn) {
        match turn {
            Turn::Done => {}
            Turn::CallRing => self.call(),
            Turn::Prepare { bytes } => {
                let effects = self.prepare_now(bytes);
                self.apply(effects);
            }
            Turn::Write(write) => {
                let Resources { driver, files, pool, .. } = &*self.resources;
                let effects = self.log.write_inline(write, &**driver, files, pool);
                self.apply(effects);
            }
        }
    }

    /// Tells everybody what a finished write means: followers through the page, producers through their fates, the background through the board.
    pub fn apply(self: &Arc<Self>, mut effects: Effects) {
        effects.wake(self.resources.driver.clock().monotonic());
        if effects.advanced {
            self.resources.page.notify(self.address.table_slot);
            self.show_gauges();
            self.ask_for_flush();
            self.forget_durable();
        }
        if !effects.sealed.is_empty() {
            self.to_seal.lock().append(&mut effects.sealed);
            self.resources.board.post(self, Work::Seal);
        }
        if effects.call_ring {
            self.call();
        }
        if effects.wants_segment && !self.prepares_ahead.load(Ordering::Acquire) {
            self.resources.board.post(self, Work::Prepare);
        }
    }

    fn ask_for_flush(self: &Arc<Self>) {
        if self.tree.as_ref().is_some_and(|tree| tree.wants_flush()) {
            self.resources.board.post(self, Work::Flush);
        }
    }

    /// Posts what its tree needs: after it was opened, and again when something came to nothing.
    pub fn ask_for_upkeep(self: &Arc<Self>) {
        self.ask_for_flush();
        if self.tree.as_ref().is_some_and(|tree| tree.wants_compaction()) {
            self.resources.board.post(self, Work::Compact);
        }
    }

    fn call(self: &Arc<Self>) {
        if !self.resources.calls.call(self) {
            self.called.store(false, Ordering::Release);
            self.give_up();
        }
    }

    /// Fails what is queued: nobody comes for it any more.
    pub(in crate::bucket) fn give_up(self: &Arc<Self>) {
        let reason = self.resources.calls.why_ended().unwrap_or_else(committer::closed);
        let mut effects = self.log.give_up(reason);
        effects.wake(self.resources.driver.clock().monotonic());
    }

    /// Refuses rows from now on, for this reason, and waits for those that are being written. Nothing is written to its directory or shown in its
    /// slot afterwards.
    pub fn close(&self, reason: Error) {
        self.closed.store(true, Ordering::Release);
        self.log.poison(reason);
        let nobody = AtomicU32::new(0);
        let is_driven = || !self.resources.driver.is_single_threaded() && self.resources.calls.is_driven();
        loop {
            let (inline, ring) = self.log.unfinished();
            if inline == 0 && (ring == 0 || !is_driven()) {
                break;
            }
            wait(&nobody, 0, Some(CLOSING_LOOK));
        }
        self.manifest.lock().close();
        *self.shown.lock() = None;
        if let Some(tree) = &self.tree {
            // Whoever has used it may hold it for ever.
            let _no_flush_ends = self.upkeep.lock();
            self.log.with_writer(|_| tree.leave_budget());
        }
    }

    /// Whether it was closed: background work for it has nothing to do and nothing to report.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends it when nobody else holds it and nobody notices; gives it back otherwise. Its handle is taken before it is looked at: who knows it by a weak one, and may
    /// act on it, holds it before that, and then it goes on, or never again.
    pub fn end_if_idle(bucket: Arc<Bucket>) -> Option<Arc<Bucket>> {
        if !bucket.is_idle() {
            return Some(bucket);
        }
        match Arc::try_unwrap(bucket) {
            Err(held) => Some(held),
            Ok(alone) if alone.is_idle() => None,
            Ok(busy) => {
                // Who held it a moment ago did something.
                let bucket = Arc::new(busy);
                if bucket.tree.is_some() {
                    bucket.resources.memtables.watch(&bucket);
                }
                Some(bucket)
            }
        }
    }

    /// Whether it can be ended without anybody noticing. One whose log takes nothing more stays: opened again by this process, it would go on with the
    /// same epoch, by which what a failed write left behind could not be told from new frames.
    fn is_idle(&self) -> bool {
        let busy = self.log.with_writer(|writer| writer.in_flight() + writer.queued() > 0 || writer.poison().is_some());
        // What its readers hold is known here only: opened again, it would take the files away.
        let is_read = self.tree.as_ref().is_some_and(|tree| tree.is_pinned() || !tree.dropped.lock().is_empty() || tree.keeping.is_read());
        !busy && !is_read && self.to_seal.lock().is_empty() && self.dropped.lock().is_empty()
    }

    /// Whether it may be whole when it is opened again: the device could not read it the first time, and nothing was written to it since.
    pub fn may_be_whole(&self) -> bool {
        self.was_unreadable && !self.settled.load(Ordering::Acquire)
    }

    /// Brings the commit page up to date.
    fn show(&self) {
        show(&self.resources, self.address.slot, &self.shown, self.view());
    }

    /// What whoever watches the writer should know.
    pub fn gauges(&self) -> Gauges {
        gauges(&self.resources, &self.address, self.tree.as_deref())
    }

    /// Shows how it is, unless the slot is no longer its own.
    pub fn show_gauges(&self) {
        let gauges = self.gauges();
        // Most logs have nothing to show.
        if self.tree.is_none() && gauges.damaged == 0 {
            return;
        }
        let shown = self.shown.lock();
        if shown.is_some() {
            self.resources.page.show_gauges(self.address.slot, gauges);
        }
    }

    /// Adds where to an error.
    fn here(&self, error: Error) -> Error {
        here(&self.address, error)
    }

    fn edit(&self, edit: Edit) -> Result<()> {
        self.edit_all(vec![edit])
    }

    /// Edits that hold together.
    fn edit_all(&self, edits: Vec<Edit>) -> Result<()> {
        self.manifest.lock().append(&*self.resources.driver, &self.resources.pool, edits).map_err(|error| self.here(error))
    }

    /// Whether the manifest takes edits. After one of which it is not known whether it is true it takes none: what is made then would only lie there until the next
    /// open, which finds out and removes what the manifest does not name.
    fn check_edits(&self) -> Result<()> {
        self.manifest.lock().refuse_after_failure().map_err(|error| self.here(error))
    }

    /// The folded manifest.
    pub fn state(&self) -> State {
        self.manifest.lock().state().clone()
    }
}

fn here(address: &Address, error: Error) -> Error {
    error.at("bucket", address.bucket).at("directory", address.dir.display())
}

/// Why rows up to `promised`, which were acknowledged, or rows that nobody knows of cannot be read; `None` when all can.
fn damage(address: &Address, recovered: &Recovered, promised: u64) -> Option<Error> {
    let end = recovered.start.next_offset;
    let error = match &recovered.lost {
        Some(lost) => lost_behind(lost.replica(), end, promised),
        None if promised <= end => return None,
        None => {
            let error = Error::corrupt(format!("rows {end} to {} were acknowledged and cannot be read", promised - 1)).at("offset", end);
            match &recovered.end {
                Some((segment, position)) => error.at("segment", segment.path().display()).at("position", position),
                None => error,
            }
        }
    };
    Some(beyond_reach(address, error))
}

/// Adds which rows cannot be read, as far as that is known: those that were acknowledged behind the last good one, at `end`.
fn lost_behind(lost: Error, end: u64, promised: u64) -> Error {
    let lost = lost.at("offset", end);
    if promised > end { lost.at("rows_lost", format!("{end} to {}", promised - 1)) } else { lost }
}

/// Adds where to an error that says which rows cannot be read, what that means, and what is left to do: nothing mends a log.
fn beyond_reach(address: &Address, error: Error) -> Error {
    here(address, error).hint(format!(
        "rows before can be read: scan them into another table, and append the others there from where they came; this bucket takes no new rows; {}",
        Error::VERIFY_LISTS
    ))
}

/// Brings the slot of a bucket up to date, unless it is no longer the bucket's.
fn show(resources: &Resources, slot: usize, shown: &Mutex<Option<page::View>>, view: &View) {
    let mut shown = shown.lock();
    let Some(shown) = &mut *shown else { return };
    shown.start = view.start();
    shown.end = shown.end.max(view.end());
    resources.page.publish(slot, *shown);
}

fn gauges(resources: &Resources, address: &Address, tree: Option<&Tree>) -> Gauges {
    let damaged = resources.files.damages().below(&address.dir);
    Gauges { damaged, ..tree.map_or_else(Gauges::default, |tree| tree.gauges()) }
}

fn herald(resources: &Arc<Resources>, slot: usize, shown: &Arc<Mutex<Option<page::View>>>) -> Herald {
    let (resources, shown) = (resources.clone(), shown.clone());
    Box::new(move |view| show(&resources, slot, &shown, view))
}

/// The tree of a bucket with all the rows that its log has. Damage in the log is the log's to tell.
fn open_tree(resources: &Arc<Resources>, address: &Address, keyed: Arc<Keyed>, state: &State, view: &Arc<View>) -> Result<Arc<Tree>> {
    let tree = Tree::open(resources, &address.dir, keyed, state).map_err(|error| here(address, error))?;
    match tree.replay(view) {
        Err(error) if view.damage().is_none() => Err(here(address, error)),
        _ => Ok(tree),
    }
}

struct Found {
    sealed: Vec<Arc<Segment>>,
    recovered: Recovered,
    damage: Option<Error>,
}

/// The segments of a bucket: the sealed ones as the manifest tells, the others by reading them.
fn find(resources: &Resources, address: &Address, state: &State, writable: bool) -> Result<Found> {
    let path = |id: u64| segments::log_path(&address.dir, id);
    let sealed: Vec<Arc<Segment>> = state
        .sealed
        .iter()
        .map(|known| Arc::new(Segment::sealed_at(known.segment_id, path(known.segment_id), known.base_offset, known.sealed())))
        .collect();
    let open = state.open.iter().map(|(&id, &bytes)| Arc::new(Segment::prepared(id, path(id), bytes))).collect();
    let promised_offset = address.promised(resources);
    let dropped = state.last_dropped.map(|id| (id, path(id)));
    let producers = resources.directories.producers(&sealed, dropped.as_ref().map(|(id, path)| (*id, path.as_path())));
    let (producers, unknown) = match producers {
        // Rows are read all the same. New ones might be repeats.
        Err(error) if error.kind() == Kind::Corrupt => (Producers::default(), Some(error)),
        producers => (producers?, None),
    };
    let known = Known {
        end_offset: state.sealed_end(),
        last_timestamp_ms: state.sealed.last().map_or(i64::MIN, |last| last.timestamps_ms.1),
        producers,
        promised_offset,
    };
    let reach = Reach { driver: &*resources.driver, files: &resources.files, pool: &resources.pool, writable };
    let recovered = recover(reach, known, open)?;
    let damage = damage(address, &recovered, promised_offset).or_else(|| unknown.map(|error| beyond_reach(address, error)));
    Ok(Found { sealed, recovered, damage })
}
