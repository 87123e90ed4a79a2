//! The tree of a bucket: an index over its log, and what a reader pins of it.
//!
//! Rows come here from the log, in order, before anybody hears that they are durable; after a restart they come from the log again, behind what runs hold.
//! Invariants: levels change under one lock, and after the manifest; all rows before a pinned end are in the pinned levels. This module decides nothing
//! about when memtables are flushed, and writes no manifest: see `upkeep`.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::buffer::Buffer;

use super::encode::Encoders;
use super::images::Imaging;
use super::kept::Keeping;
use super::manifest::State;
use super::resources::Resources;
use crate::error::{Error, Result};
use crate::format::Decoder;
use crate::format::frame::{self, BatchSpan, Parsed};
use crate::format::log_batch::BatchHeader;
use crate::io::page::Gauges;
use crate::io::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, wake_all};
use crate::log::cursor::{Cursor, Next, Plan};
use crate::log::stored::Body;
use crate::log::view::View;
use crate::log::writer::Durable;
use crate::lsm::levels::Levels;
use crate::lsm::lookup::{Found, lookup};
use crate::lsm::memtable::Memtable;
use crate::lsm::pick::Rules;
use crate::lsm::rows::Reader;
use crate::lsm::run::{Checked, Run};
use crate::lsm::samples::{Sample, samples};
use crate::lsm::sorted::Sorted;
use crate::merge::deduplicate::Deduplicate;
use crate::merge::{MergeFunction, merge_function};
use crate::table::key::Keys;
use crate::table::key_range::KeyRanges;
use crate::table::{Changelog, Generation, TableSchema, TableSpec};

/// Memtables that wait to be flushed; with more, writers wait.
pub const WAITING_MAX: usize = 3;

/// Runs from which on writers are slowed down, and those at which they are slowed down most.
const SLOWED_RUNS: Range<usize> = 20..60;

/// How long a writer waits at most for too many runs, per batch.
const SLOWED_MAX: Duration = Duration::from_millis(20);

/// How rows of a table are read and merged.
pub struct Keyed {
    /// From stored batches to rows of the table as it is now.
    pub reader: Arc<Reader>,
    /// What becomes of the rows of a key.
    pub function: Arc<dyn MergeFunction>,
    /// How rows become what stands in the log, where that is not the rows themselves. The function above only takes the newest then.
    pub images: Option<Imaging>,
    /// Whether runs are merged only when somebody asks for it.
    pub write_only: bool,
    /// Of the table that this was made of.
    pub generation: Generation,
}

impl Keyed {
    /// Of a table with a primary key.
    ///
    /// # Errors
    /// Invalid when the table has no key, or options that its merge engine does not have.
    pub fn new(spec: &Arc<TableSpec>) -> Result<Self> {
        let function = merge_function(&spec.merge, spec.schema(), &spec.primary_key)?;
        let reader = Arc::new(Reader::new(spec.clone())?);
        let (write_only, generation) = (spec.options.write_only, spec.generation());
        Ok(match spec.changelog()? {
            Changelog::Input => Keyed { reader, function, images: None, write_only, generation },
            Changelog::Lookup(image) => {
                let images = Some(Imaging { function, image, encoders: Encoders::new(spec)? });
                Keyed { reader, function: Arc::new(Deduplicate::default()), images, write_only, generation }
            }
        })
    }

    /// The version of the schema that rows come out in.
    pub fn version(&self) -> i16 {
        self.generation.schema
    }

    /// What checks rows before they are written.
    pub fn checks(&self) -> &dyn MergeFunction {
        self.images.as_ref().map_or(&*self.function, |images| &*images.function)
    }

    /// How some columns are read and merged, by their places in the table; with them come those of the key, and what the merge function needs for them.
    ///
    /// # Errors
    /// Invalid for a column that the table does not have.
    pub fn projected(&self, columns: &[usize]) -> Result<(Arc<Reader>, Arc<dyn MergeFunction>)> {
        let mut all = [columns, self.reader.keys().columns(), &self.function.needs(columns)].concat();
        all.sort_unstable();
        all.dedup();
        if all.len() == self.reader.schema().fields().len() {
            return Ok((self.reader.clone(), self.function.clone()));
        }
        Ok((self.reader.projected(&all)?, self.function.over(&all)))
    }
}

/// What a tree consists of, and how its rows are read: they change together.
#[derive(Clone)]
pub struct Shape {
    /// How rows are read and merged.
    pub keyed: Arc<Keyed>,
    /// Memtables and runs.
    pub levels: Arc<Levels>,
}

/// What is wrong with the pace of writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    None,
    /// Compaction is behind: rows should come in more slowly, by this much a batch.
    Slow(Duration),
    /// Flushes are behind: rows have no place to go.
    Full,
}

/// See the head of this module.
pub struct Tree {
    resources: Arc<Resources>,
    shape: ArcSwap<Shape>,
    /// Held by whoever changes the shape.
    change: Mutex<()>,
    pub(super) is_flushing: AtomicBool,
    pub(super) is_compacting: AtomicBool,
    /// Replaced; removed once no reader of this process holds them.
    pub(super) dropped: Mutex<Vec<Arc<Run>>>,
    /// Runs that snapshots keep.
    pub(super) keeping: Keeping,
    /// Held by all who have pinned it.
    pins: Arc<()>,
    /// Changes when a flush or a compaction ends.
    pub(super) progress: AtomicU32,
    /// Why rows that are durable are not in the memtable.
    failed: Mutex<Option<Error>>,
    /// Whether the budget counts its memtables. Changed, and looked at, under the head of the log.
    is_counted: AtomicBool,
    /// Why the last flush came to nothing.
    flush_failed: Mutex<Option<Error>>,
    /// Nanoseconds that writers waited for flushes and compactions.
    pub(super) stalled_ns: AtomicU64,
    /// Whether runs are merged only when somebody asks for it, as the table says it now.
    write_only: AtomicBool,
    /// Whether rows come to their end by themselves: every run is merged with others some time then, so that they go.
    expires: AtomicBool,
}

impl Tree {
    /// The tree of the bucket in `dir` as its manifest has it, without the rows that only the log has: [`Tree::replay`] brings those.
    ///
    /// # Errors
    /// Corrupt for a damaged run; those of the device.
    pub fn open(resources: &Arc<Resources>, dir: &Path, keyed: Arc<Keyed>, state: &State) -> Result<Arc<Self>> {
        let reach = resources.reach();
        // A follower's runs may be replaced by the writer while they are read.
        let holds = resources.epoch == 0;
        let runs = state.runs.iter().map(|meta| Run::open(reach.clone(), dir, *meta, holds).map(Arc::new)).collect::<Result<Vec<_>>>()?;
        resources.memtables.enter();
        let write_only = AtomicBool::new(keyed.write_only);
        Ok(Arc::new(Tree {
            resources: resources.clone(),
            shape: ArcSwap::from_pointee(Shape { keyed, levels: Arc::new(Levels::new(runs, state.flushed_to, resources.rules)) }),
            change: Mutex::new(()),
            is_flushing: AtomicBool::new(false),
            is_compacting: AtomicBool::new(false),
            dropped: Mutex::default(),
            keeping: Keeping::default(),
            pins: Arc::default(),
            progress: AtomicU32::new(0),
            failed: Mutex::default(),
            is_counted: AtomicBool::new(true),
            flush_failed: Mutex::default(),
            stalled_ns: AtomicU64::new(0),
            write_only,
            expires: AtomicBool::new(false),
        }))
    }

    /// What it is now.
    pub fn shape(&self) -> Arc<Shape> {
        self.shape.load_full()
    }

    /// Whether its table was altered since it was made, or altered, itself.
    pub(super) fn is_older_than(&self, keyed: &Keyed) -> bool {
        self.shape.load().keyed.generation < keyed.generation
    }

    /// Its memtables and runs now.
    pub fn levels(&self) -> Arc<Levels> {
        self.shape.load().levels.clone()
    }

    /// How long writers have waited for it in all.
    pub fn stalled(&self) -> Duration {
        Duration::from_nanos(self.stalled_ns.load(Ordering::Relaxed))
    }

    /// What whoever watches the writer should know.
    pub fn gauges(&self) -> Gauges {
        let levels = self.levels();
        Gauges {
            memory_bytes: levels.memory_bytes() as u64,
            stalled_ms: self.stalled().as_millis() as u64,
            waiting: levels.memtables.len() as u32 - 1,
            damaged: 0,
        }
    }

    /// Replaces levels by what `make` makes of them.
    pub(super) fn change(&self, make: impl FnOnce(&Levels) -> Levels) {
        self.change_in(&self.shape, make);
    }

    fn change_in(&self, shape: &ArcSwap<Shape>, make: impl FnOnce(&Levels) -> Levels) {
        let _one_at_a_time = self.change.lock();
        let Shape { keyed, levels } = &**shape.load();
        shape.store(Arc::new(Shape { keyed: keyed.clone(), levels: Arc::new(make(levels)) }));
    }

    /// Takes a group of the log that is durable. For the log's sink: one call at a time, in order.
    pub fn take(&self, durable: &Durable) {
        // Behind rows that are not here no others may be: a flush would count them all as being in runs.
        if self.failed.lock().is_some() {
            return;
        }
        for bytes in &durable.frames {
            let Parsed::Frame(parsed) = frame::parse(bytes, durable.segment.id(), 0) else { unreachable!("this process made it") };
            for span in &parsed.batches {
                // All batches of a frame share its memory: each has the part that it fills of what they fill together.
                let held_bytes = bytes.capacity() * span.length as usize / filled_bytes(&parsed.batches);
                if let Err(error) = self.add(&self.shape, &bytes.slice(span.range()).arrow(), held_bytes) {
                    self.failed.lock().get_or_insert(error);
                    return;
                }
            }
        }
    }

    /// Adds a batch to what readers see, or to what they will see.
    fn add(&self, to: &ArcSwap<Shape>, batch: &Buffer, held_bytes: usize) -> Result<()> {
        let first_offset = BatchHeader::read(batch)?.base_offset as u64;
        let Shape { keyed, levels } = &*to.load_full();
        let chunk = keyed.reader.chunk(batch)?;
        if !levels.active().has_room(chunk.rows()) {
            self.rotate_in(to);
        }
        let levels = to.load().levels.clone();
        let active = levels.active();
        let before = active.bytes();
        let added = active.add(first_offset, chunk, held_bytes);
        let bytes = active.bytes();
        if !self.is_counted() {
            return added;
        }
        self.resources.memtables.grow(before, bytes);
        added?;
        if self.resources.memtables.is_due(bytes) {
            self.rotate_in(to);
        }
        Ok(())
    }

    /// New rows go to another memtable; this one waits to be flushed. `false` when it has no rows. For who holds
    /// the head of the log, so that no rows come meanwhile.
    pub fn rotate(&self) -> bool {
        self.rotate_in(&self.shape)
    }

    fn rotate_in(&self, shape: &ArcSwap<Shape>) -> bool {
        let levels = shape.load().levels.clone();
        let has_rows = !levels.active().is_empty();
        if has_rows {
            if self.is_counted() {
                self.resources.memtables.note_waiting(levels.active().bytes());
            }
            self.change_in(shape, Levels::rotated);
        }
        has_rows
    }

    /// Adds the rows of the log that it does not have yet, up to the end of `view`.
    ///
    /// # Errors
    /// Corrupt for damaged rows, and for rows that the log no longer has; those of the device.
    pub fn replay(&self, view: &Arc<View>) -> Result<()> {
        self.replay_to(&self.shape, view)
    }

    fn replay_to(&self, to: &ArcSwap<Shape>, view: &Arc<View>) -> Result<()> {
        let shape = to.load_full();
        let (from, end) = (shape.levels.active().end_offset(), view.end());
        if from >= end {
            return Ok(());
        }
        let reader = shape.keyed.reader.clone();
        let decoders = move |schema_id| Ok(Arc::new(Decoder::new(reader.schema_at(schema_id)?.arrow())?));
        let plan = Plan { decoder: Arc::new(decoders), may_match: Arc::new(|_, _, _| true), is_whole: true };
        let mut cursor = Cursor::new(view, self.resources.source(), plan, from);
        loop {
            match cursor.next(end)? {
                Next::Batch(stored) => {
                    let Body::Whole(bytes) = &stored.body else { unreachable!("whole batches were asked for") };
                    self.add(to, bytes, bytes.len())?;
                }
                Next::End => return Ok(()),
                Next::Gone(start) => {
                    let gone = Error::corrupt("rows that are in no run were dropped from the log");
                    return Err(gone.at("offset", from).at("start", start));
                }
                Next::Lost(error) => return Err(error),
            }
        }
    }

    /// The table was altered: rows that are not in runs are taken from the log again, as it is now. Readers see those that were here before until all are. For who
    /// holds the head of the log, so that no rows come meanwhile, and does the bucket's upkeep, so that no flush or compaction ends meanwhile.
    ///
    /// # Errors
    /// As [`Tree::replay`]; the tree is as it was then.
    pub(super) fn alter(&self, keyed: Arc<Keyed>, view: &Arc<View>) -> Result<()> {
        let before = self.levels();
        let empty = Arc::new(Levels::new(before.runs().to_vec(), before.flushed_to, *before.rules()));
        let after = ArcSwap::from_pointee(Shape { keyed, levels: empty });
        let filled = self.replay_to(&after, view);
        let after = after.into_inner();
        let gone = if filled.is_ok() { &before } else { &after.levels };
        let (bytes, waiting_bytes) = (gone.memory_bytes(), gone.waiting_bytes());
        if filled.is_ok() {
            // The memtable that ends where the snapshot does is no more.
            self.keeping.forget();
            let _one_at_a_time = self.change.lock();
            self.shape.store(after);
            // It has all rows that are durable.
            *self.failed.lock() = None;
        }
        if self.is_counted() {
            self.resources.memtables.give_back(bytes, waiting_bytes);
        }
        filled
    }

    /// What a reader sees now: every row before an offset that is no less than the end of `view`, each key once.
    ///
    /// # Errors
    /// What kept rows from being taken in.
    pub fn pin(&self, view: &View) -> Result<Pinned> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let Shape { keyed, levels } = Shape::clone(&self.shape());
        // The active memtable may grow, but once it is another's turn it does not. What is in runs is durable, whatever the view says yet.
        let end = view.end().min(levels.active().end_offset()).max(levels.flushed_to);
        Ok(Pinned { keyed, levels, end, _pin: Some(self.pins.clone()) })
    }

    /// Whether a reader has pinned it: opened again meanwhile, the bucket would not know whose runs it merges and takes away.
    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pins) > 1
    }

    /// Bytes of memtables.
    pub(super) fn memory_bytes(&self) -> usize {
        self.levels().memory_bytes()
    }

    /// Bytes of memtables that wait to be flushed.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.levels().waiting_bytes()
    }

    /// Whether a memtable waits to be flushed.
    pub fn wants_flush(&self) -> bool {
        self.levels().memtables.len() > 1
    }

    /// The runs to be merged next.
    pub(super) fn picked(&self) -> Option<Range<usize>> {
        self.picked_of(&self.levels())
    }

    /// Those of its levels at some moment.
    pub(super) fn picked_of(&self, levels: &Levels) -> Option<Range<usize>> {
        levels.picked(self.expires.load(Ordering::Relaxed))
    }

    /// Whether runs should be merged, by whoever does it.
    pub fn is_compaction_due(&self) -> bool {
        self.picked().is_some()
    }

    /// Whether runs should be merged in the background.
    pub fn wants_compaction(&self) -> bool {
        !self.write_only.load(Ordering::Relaxed) && self.is_compaction_due()
    }

    /// Whether runs are merged only when somebody asks for it: the table was altered.
    pub(super) fn set_write_only(&self, write_only: bool) {
        self.write_only.store(write_only, Ordering::Relaxed);
    }

    /// Whether rows come to their end by themselves: the table was opened, or altered.
    pub(super) fn set_expires(&self, expires: bool) {
        self.expires.store(expires, Ordering::Relaxed);
    }

    /// How writers should go on.
    pub fn pressure(&self) -> Pressure {
        let levels = self.levels();
        if levels.memtables.len() > WAITING_MAX + 1 {
            return Pressure::Full;
        }
        // Nobody would merge the runs meanwhile.
        if self.write_only.load(Ordering::Relaxed) {
            return Pressure::None;
        }
        match levels.levels().len().saturating_sub(SLOWED_RUNS.start) {
            0 => Pressure::None,
            over => Pressure::Slow(SLOWED_MAX.mul_f64((over as f64 / SLOWED_RUNS.len() as f64).min(1.0))),
        }
    }

    /// Why rows that are durable are not here, if some are not.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failed.lock().as_ref().map(Error::replica)
    }

    /// What came of the last flush.
    pub(super) fn note_flush(&self, error: Option<&Error>) {
        *self.flush_failed.lock() = error.map(Error::replica);
    }

    /// Why the last flush came to nothing, if it did.
    pub(super) fn why_not_flushed(&self) -> Option<Error> {
        self.flush_failed.lock().as_ref().map(Error::replica)
    }

    /// Whether the last flush came to nothing.
    pub(super) fn is_failing(&self) -> bool {
        self.flush_failed.lock().is_some()
    }

    /// A flush or a compaction ended, well or not.
    pub(super) fn ended(&self) {
        self.progress.fetch_add(1, Ordering::Release);
        wake_all(&self.progress);
    }

    /// The memory of memtables is given back.
    pub(super) fn flushed(&self, memtable: &Memtable) {
        self.resources.memtables.give_back(memtable.bytes(), memtable.bytes());
    }

    fn is_counted(&self) -> bool {
        self.is_counted.load(Ordering::Relaxed)
    }

    /// Nobody flushes its memtables any more: what they take is the concern of who still holds them. For who holds the head of the log and does the
    /// bucket's upkeep, or is the last to hold it.
    pub(super) fn leave_budget(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            let levels = self.levels();
            self.resources.memtables.leave(levels.memory_bytes(), levels.waiting_bytes());
        }
    }
}

/// Bytes of all batches of a frame.
fn filled_bytes(batches: &[BatchSpan]) -> usize {
    batches.iter().map(|span| span.length as usize).sum::<usize>().max(1)
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.leave_budget();
    }
}

/// What a reader sees of a tree.
pub struct Pinned {
    keyed: Arc<Keyed>,
    levels: Arc<Levels>,
    end: u64,
    /// The tree's.
    _pin: Option<Arc<()>>,
}

impl Pinned {
    /// What some runs have, which hold rows of the log before `end`.
    pub fn of_runs(keyed: Arc<Keyed>, runs: Vec<Arc<Run>>, end: u64) -> Self {
        Pinned { keyed, levels: Arc::new(Levels::new(runs, end, Rules::default())), end, _pin: None }
    }

    /// Offset in the log up to which rows count.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The columns that come out.
    pub fn schema(&self) -> &TableSchema {
        self.keyed.reader.schema()
    }

    /// What its rows are read and merged by.
    pub fn generation(&self) -> Generation {
        self.keyed.generation
    }

    /// Its runs, older ones first.
    pub fn run_ids(&self) -> impl Iterator<Item = u64> {
        self.levels.runs().iter().map(|run| run.meta().id)
    }

    /// Whether these are its runs.
    pub fn has_runs(&self, run_ids: &[u64]) -> bool {
        self.run_ids().eq(run_ids.iter().copied())
    }

    /// The same as it was when the log ended at an earlier offset.
    ///
    /// # Errors
    /// Conflict when newer rows were merged with older ones meanwhile; Unavailable when the log is not known up to there.
    pub fn before(self, end: u64) -> Result<Pinned> {
        if end < self.levels.flushed_to {
            let merged = Error::conflict(format!("what rows before offset {end} made was merged with newer rows"));
            return Err(merged.at("flushed to", self.levels.flushed_to));
        }
        if end > self.end {
            return Err(Error::unavailable(format!("rows up to offset {end} are not known here")).at("end", self.end).hint("try again"));
        }
        Ok(Pinned { end, ..self })
    }

    /// Where the rows with these keys lie, about.
    pub fn samples(&self, ranges: &KeyRanges) -> Vec<Sample> {
        samples(&self.levels, self.end, ranges)
    }

    /// Checks every run but those that were checked before: what was good of each. `wrong` hears of what is damaged.
    pub fn check(&self, before: &mut HashSet<u64>, wrong: &mut dyn FnMut(Error)) -> Vec<Checked> {
        let unchecked = self.levels.runs().iter().filter(|run| before.insert(run.meta().id));
        unchecked.map(|run| run.check(&self.keyed.reader, wrong)).collect()
    }

    /// Rows by key.
    ///
    /// # Errors
    /// Those of reading and of the merge function.
    pub fn lookup(&self, keys: &Keys) -> Result<Found> {
        lookup(&self.keyed.reader, &*self.keyed.function, &self.levels, self.end, keys)
    }

    /// The rows with these keys, in key order, one for each key: these columns of them, by their places in the table, and others that are needed for
    /// them.
    ///
    /// # Errors
    /// Invalid for a column that the table does not have.
    pub fn rows(&self, columns: &[usize], ranges: &KeyRanges) -> Result<Sorted> {
        let (reader, function) = self.keyed.projected(columns)?;
        let memtables: Vec<_> = self.levels.memtables.iter().map(|memtable| (memtable.clone(), self.end)).collect();
        Sorted::within(reader, function, (self.levels.levels(), &memtables), ranges, true)
    }
}
