//! An open store: who may write it, its catalog, and the buckets in use.
//!
//! Invariants: one writer at a time, by a lock that the kernel gives back when a process dies; a change of the catalog is durable before it is visible;
//! a bucket is opened once and by its first use; one that is not closed leaves the map with its last handle ([`Bucket::end_if_idle`]), so that whoever
//! comes to hold an open bucket holds the only one of its directory. This module knows nothing of rows.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::catalog::{Catalog, Edit, FILE_NAME, PARTITIONS_MAX, SLOTS_MAX, STORE_SLOT, TableEntry};
use super::dropping::{check_there, dropped, left_directories};
use super::gate::{Gate, Gates};
use super::options::{Durability, IoPreference, Options};
use super::route::Turns;
use super::snapshots::{Snapshots, tend};
use super::table::CreateTable;
use super::{TABLES, bucket_dir};
use crate::bucket::follower::{Follower, WriterState};
use crate::bucket::ledger::{self, Ledger};
use crate::bucket::resources::{Limits, Resources};
use crate::bucket::tree::Keyed;
use crate::bucket::{Address, Bucket, SegmentPolicy};
use crate::error::{Error, Result};
use crate::io::page::{self, Head, Page, SLOT_BYTES};
use crate::io::probe::{self, Preference};
use crate::io::{Driver, File, Lock, Mode, Pool};
use crate::schedule::{Buckets, Schedule};
use crate::table::expiry::Expiry;
use crate::table::{TableName, TableSpec, did_you_mean};

/// One part in so many of the files that the process may have open is the store's: an embedder has files of its own, and a scan holds some beside those that are cached.
const FILES_SHARE: usize = 2;

/// Files that a store keeps open at least.
const FILES_OPEN_MIN: usize = 16;

/// Bytes of files that a store removes when it is closed: a device that is told of freed blocks takes 0.1 s for them.
const REMOVED_BYTES_MAX: u64 = 512 << 20;

const LOCK_NAME: &str = "LOCK";
const PAGE_NAME: &str = "commit.page";

/// Table, partition, bucket.
pub(super) type Key = (u32, u32, u32);

/// What only the writer of a store has.
struct Writing {
    ledger: Mutex<Ledger<Catalog>>,
    schedule: Mutex<Option<Schedule>>,
    /// In order, so that background work comes in the same order every time.
    buckets: Mutex<BTreeMap<Key, Arc<Bucket>>>,
    lock: Mutex<Option<Lock>>,
    /// Of each table with a writer.
    turns: Mutex<HashMap<u32, Arc<Turns>>>,
    gates: Gates,
    /// Of each table whose list was asked for.
    snapshots: Mutex<HashMap<u32, Arc<Snapshots>>>,
    /// The last table whose snapshots were looked after in this round.
    tended_to: Mutex<Option<u32>>,
    /// The last bucket that the walk for retention came to in this round.
    walked_to: Mutex<Option<Key>>,
    /// When the newest row of partitions was committed that the walk looked at.
    newest_seen: Mutex<HashMap<(u32, u32), i64>>,
}

/// What only a follower has.
struct Following {
    lock_file: File,
    followers: Mutex<HashMap<Key, Arc<Follower>>>,
    /// The store's word when the catalog was read.
    seen: AtomicU32,
    /// Whether the catalog was read while there was a writer.
    refreshing: Mutex<()>,
}

enum Role {
    Writer(Box<Writing>),
    Follower(Following),
}

/// See the head of this module.
pub(crate) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(crate) resources: Arc<Resources>,
    catalog: ArcSwap<Catalog>,
    closed: AtomicBool,
    role: Role,
}

/// The driver that the options ask for.
pub(super) fn driver(options: &Options) -> Result<Arc<dyn Driver>> {
    let preference = match options.io {
        IoPreference::Auto => Preference::Auto,
        IoPreference::Uring => Preference::Uring,
        IoPreference::Threads => Preference::Threads,
    };
    probe::choose(preference).map_err(|error| {
        let refused = Error::unavailable(format!("io_uring cannot be used: {error}")).caused_by(error);
        refused.hint("use `--io threads`, or let the store choose")
    })
}

/// The error for a name that is not in the catalog.
pub(super) fn no_such_table(catalog: &Catalog, name: &TableName) -> Error {
    let names: Vec<String> = catalog.shown().map(|entry| entry.spec.name.to_string()).collect();
    let near = did_you_mean(&name.to_string(), names.iter().map(String::as_str));
    let error = Error::not_found(format!("there is no table {name}"));
    if near.is_empty() { error.hint("`aquifer list` shows all tables") } else { error.hint(near) }
}

fn limits(options: &Options) -> Limits {
    Limits {
        files_open_max: options.files_open_max.min(probe::files_open_limit() / FILES_SHARE).max(FILES_OPEN_MIN),
        pool_bytes_max: options.pool_bytes_max,
        recent_bytes_max: options.recent_bytes_max,
        spare_bytes_max: options.spare_bytes_max,
        scan_bytes_max: options.scan_bytes_max,
        memtable_bytes_max: options.memtable_bytes_max,
        block_bytes_max: options.block_bytes_max,
        run_bytes_max: options.run_bytes_max,
    }
}

impl Inner {
    pub(super) fn open(driver: Arc<dyn Driver>, dir: &Path, options: Options) -> Result<Arc<Self>> {
        driver.create_dir_all(dir).map_err(|error| Error::io("make", dir, error))?;
        let (_, lock) = take_lock(&*driver, dir)?;
        let pool = Pool::new(1 << 20);
        let mut ledger: Ledger<Catalog> = Ledger::open(&*driver, &pool, dir, FILE_NAME, 1)?;
        let tables = dir.join(TABLES);
        driver.create_dir_all(&tables).map_err(|error| Error::io("make", &tables, error))?;
        let left = left_directories(&*driver, dir, ledger.state())?;
        let page = map_page(&*driver, dir, ledger.state().epoch == 0)?;
        let epoch = ledger.state().epoch + 1;
        let unfinished = ledger.state().tables.values().filter(|entry| entry.replaces.is_some());
        let dropped = unfinished.map(|entry| Edit::TableDropped { table_id: entry.spec.id });
        let edits = std::iter::once(Edit::Opened { epoch }).chain(dropped).collect();
        ledger.append(&*driver, &pool, edits)?;
        // Whoever trusts the page from now on knows of this opening.
        page.notify(STORE_SLOT);
        page.set_boot(driver.boot());
        let durable = options.durability == Durability::Sync;
        let resources = Resources::new(driver, page, dir.to_path_buf(), epoch, durable, limits(&options))?;
        for table in left {
            resources.remove_tree(&table)?;
        }
        let catalog = ArcSwap::from_pointee(ledger.state().clone());
        let writing = Writing {
            ledger: Mutex::new(ledger),
            schedule: Mutex::new(None),
            buckets: Mutex::new(BTreeMap::new()),
            lock: Mutex::new(Some(lock)),
            turns: Mutex::default(),
            gates: Gates::default(),
            snapshots: Mutex::default(),
            tended_to: Mutex::new(None),
            walked_to: Mutex::new(None),
            newest_seen: Mutex::default(),
        };
        let inner = Arc::new(Inner {
            dir: dir.to_path_buf(),
            options,
            resources,
            catalog,
            closed: AtomicBool::new(false),
            role: Role::Writer(Box::new(writing)),
        });
        let weak = Arc::downgrade(&inner);
        let (walking, tending) = (weak.clone(), weak.clone());
        let buckets = Buckets {
            open: Box::new(move || weak.upgrade().map_or_else(Vec::new, |inner| inner.open_buckets())),
            walk: Box::new(move || walking.upgrade().map_or(Ok(false), |inner| inner.walk())),
            tend: Box::new(move || tending.upgrade().map_or_else(|| Ok(Vec::new()), |inner| tend(&inner))),
        };
        let schedule = Schedule::start(&inner.resources, buckets)?;
        *inner.writing()?.schedule.lock() = Some(schedule);
        Ok(inner)
    }

    pub(super) fn open_read_only(driver: Arc<dyn Driver>, dir: &Path, options: Options) -> Result<Arc<Self>> {
        let nothing = || {
            let error = Error::not_found(format!("there is no store in {}", dir.display()));
            error.hint("name its directory with `--dir`, or make one with `aquifer init`")
        };
        let open = |name: &str| match driver.open(&dir.join(name), Mode::Read, false) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(nothing()),
            opened => opened.map_err(|error| Error::io("open", &dir.join(name), error)),
        };
        let lock_file = open(LOCK_NAME)?;
        let page_path = dir.join(PAGE_NAME);
        let page = driver.page(&page_path, SLOTS_MAX * SLOT_BYTES, false).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if open(FILE_NAME).is_err() => nothing(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => {
                let what = if error.kind() == std::io::ErrorKind::NotFound { "missing" } else { "cut off" };
                let missing = Error::not_found(format!("the commit page of the store is {what}")).at("file", page_path.display());
                missing.hint("open the store for writing, as with `aquifer init`: a writer makes it anew")
            }
            _ => Error::io("map", &page_path, error),
        })?;
        match page.head() {
            // Without a head it says nothing, as after a power cut; the next writer makes it anew.
            Head::Known | Head::Missing => {}
            Head::Newer(version) => return Err(newer_page(version, &page_path)),
            Head::Foreign => {
                let foreign = Error::corrupt("this is no commit page").at("file", page_path.display());
                return Err(foreign.hint("open the store for writing: a writer makes it anew"));
            }
        }
        let resources = Resources::new(driver.clone(), page, dir.to_path_buf(), 0, true, limits(&options))?;
        let seen = AtomicU32::new(resources.page.slot(STORE_SLOT).word());
        let catalog = read_catalog(&resources, dir)?.ok_or_else(nothing)?;
        let following = Following { lock_file, followers: Mutex::new(HashMap::new()), seen, refreshing: Mutex::new(()) };
        Ok(Arc::new(Inner {
            dir: dir.to_path_buf(),
            options,
            resources,
            catalog: ArcSwap::from_pointee(catalog),
            closed: AtomicBool::new(false),
            role: Role::Follower(following),
        }))
    }

    pub(super) fn is_writable(&self) -> bool {
        matches!(self.role, Role::Writer(_))
    }

    fn writing(&self) -> Result<&Writing> {
        match &self.role {
            Role::Writer(writing) => Ok(writing),
            Role::Follower(_) => Err(Error::invalid("the store is open read-only").hint("open it with `Store::open` to change it")),
        }
    }

    /// The catalog, brought up to date. Every call comes by here.
    ///
    /// Errors: Unavailable when the store is closed.
    pub(super) fn catalog(&self) -> Result<Arc<Catalog>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(&self.dir));
        }
        if let Role::Follower(following) = &self.role {
            self.refresh_catalog(following, false)?;
        }
        Ok(self.catalog.load_full())
    }

    /// Reads the catalog again when its word has changed. A change is durable a moment before the word says so: with `must_read` it is read anyway.
    fn refresh_catalog(&self, following: &Following, must_read: bool) -> Result<()> {
        let _one_at_a_time = following.refreshing.lock();
        let word = self.resources.page.slot(STORE_SLOT).word();
        if (must_read || word != following.seen.load(Ordering::Acquire))
            && let Some(catalog) = read_catalog(&self.resources, &self.dir)?
        {
            self.catalog.store(Arc::new(catalog));
            following.seen.store(word, Ordering::Release);
        }
        Ok(())
    }

    /// A table of the catalog.
    pub(super) fn entry(&self, table_id: u32, name: &TableName) -> Result<Arc<TableEntry>> {
        let catalog = self.catalog()?;
        catalog.tables.get(&table_id).cloned().ok_or_else(|| dropped(&catalog, name))
    }

    /// A table's entry that knows every schema version of which a row is durable.
    pub(super) fn newest_entry(&self, table_id: u32, name: &TableName) -> Result<Arc<TableEntry>> {
        self.newest_catalog()?;
        self.entry(table_id, name)
    }

    /// The catalog with every change that is durable, also those that its word does not tell yet.
    pub(super) fn newest_catalog(&self) -> Result<Arc<Catalog>> {
        if let Role::Follower(following) = &self.role {
            self.refresh_catalog(following, true)?;
        }
        self.catalog()
    }

    /// The file of the catalog, and the bytes at its end that are no whole edit, if there are any.
    pub(super) fn torn_catalog(&self) -> Result<Option<(PathBuf, u64)>> {
        let path = self.dir.join(FILE_NAME);
        let read = ledger::read::<Catalog>(&*self.resources.driver, &self.resources.pool, &path)?;
        Ok(read.map(|folded| folded.torn_bytes).filter(|bytes| *bytes > 0).map(|bytes| (path, bytes)))
    }

    /// Makes a change of the catalog durable, then visible. The change is made from the newest state, under its lock.
    pub(super) fn change<R>(&self, make: impl FnOnce(&Catalog) -> Result<(Vec<Edit>, R)>) -> Result<R> {
        let writing = self.writing()?;
        let mut ledger = writing.ledger.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(&self.dir));
        }
        let (edits, made) = make(ledger.state())?;
        if !edits.is_empty() {
            ledger.append(&*self.resources.driver, &self.resources.pool, edits)?;
        }
        self.catalog.store(Arc::new(ledger.state().clone()));
        drop(ledger);
        self.resources.page.notify(STORE_SLOT);
        Ok(made)
    }

    pub(super) fn create_table(&self, name: &TableName, create: CreateTable) -> Result<u32> {
        let now_ms = self.resources.driver.clock().wall_ms();
        self.change(|catalog| {
            if catalog.find(name).is_some() {
                return Err(Error::conflict(format!("table {name} exists already")).hint("choose another name, or drop it first"));
            }
            let spec = create.spec(name, catalog.next_table_id, now_ms.max(0) as u64)?;
            let id = spec.id;
            Ok((catalog.new_table(spec, None)?, id))
        })
    }

    /// The id of a table's partition, made if it does not exist.
    pub(super) fn partition(&self, table_id: u32, table: &TableName, name: &str) -> Result<u32> {
        if let Some(id) = self.entry(table_id, table)?.partition(name) {
            return Ok(id);
        }
        self.change(|catalog| {
            let entry = catalog.tables.get(&table_id).ok_or_else(|| dropped(catalog, table))?;
            if let Some(id) = entry.partition(name) {
                return Ok((Vec::new(), id));
            }
            if entry.partitions.len() >= PARTITIONS_MAX {
                let full = Error::exhausted(format!("table {table} has {PARTITIONS_MAX} partitions, the most that one may have"));
                return Err(full.hint("partition by a coarser unit"));
            }
            let (partition_id, created) = catalog.new_partition(entry, name)?;
            Ok((vec![created], partition_id))
        })
    }

    /// Takes buckets out of use: nobody finds them here any more.
    pub(super) fn take_buckets(&self, which: RangeInclusive<Key>) -> Result<Vec<Arc<Bucket>>> {
        Ok(self.writing()?.buckets.lock().extract_if(which, |_, _| true).map(|(_, bucket)| bucket).collect())
    }

    /// Forgets what writers of a table share: it is gone.
    pub(super) fn forget_writers(&self, table_id: u32) -> Result<()> {
        let writing = self.writing()?;
        writing.turns.lock().remove(&table_id);
        writing.gates.forget(table_id);
        if let Some(snapshots) = writing.snapshots.lock().remove(&table_id) {
            snapshots.close();
        }
        Ok(())
    }

    pub(super) fn address(&self, entry: &TableEntry, partition_id: u32, bucket: u32) -> Result<Address> {
        let partition = entry.partitions.get(&partition_id);
        let partition = partition.ok_or_else(|| Error::internal(format!("table {} has no partition {partition_id}", entry.spec.name)))?;
        Ok(Address {
            dir: bucket_dir(&self.dir, entry.spec.id, partition_id, bucket),
            table_id: entry.spec.id,
            partition_id,
            bucket,
            slot: partition.slot + bucket as usize,
            table_slot: entry.slot,
            serial: partition.serial,
        })
    }

    /// A bucket, open for writing.
    pub(super) fn bucket(&self, entry: &TableEntry, partition_id: u32, bucket: u32) -> Result<Arc<Bucket>> {
        let writing = self.writing()?;
        let mut buckets = writing.buckets.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(&self.dir));
        }
        // The entry may be from before a drop, which takes the open buckets, under this lock, after it has changed the catalog.
        let catalog = self.catalog.load();
        check_there(&catalog, entry, partition_id)?;
        // Or from before an alteration, which reaches the buckets that are open.
        let entry = catalog.tables.get(&entry.spec.id).map_or(entry, |entry| entry);
        let key = (entry.spec.id, partition_id, bucket);
        if let Some(open) = buckets.get(&key).filter(|open| !open.may_be_whole()) {
            return Ok(open.clone());
        }
        if buckets.len() >= self.options.buckets_open_max {
            let unused: Vec<(Key, Arc<Bucket>)> = buckets.extract_if(.., |_, bucket| Arc::strong_count(bucket) == 1).collect();
            buckets.extend(unused.into_iter().filter_map(|(key, bucket)| Some((key, Bucket::end_if_idle(bucket)?))));
        }
        let address = self.address(entry, partition_id, bucket)?;
        let open = keyed(&entry.spec).and_then(|keyed| Bucket::open(&self.resources, address, segment_policy(&entry.spec), keyed));
        let open = open.map_err(|error| error.at("table", &entry.spec.name))?;
        self.release_left(entry, &open);
        buckets.insert(key, open.clone());
        Ok(open)
    }

    /// The lists of snapshots that were asked for, by table.
    pub(super) fn snapshots(&self) -> Result<&Mutex<HashMap<u32, Arc<Snapshots>>>> {
        Ok(&self.writing()?.snapshots)
    }

    /// The last table whose snapshots were looked after.
    pub(super) fn tended_to(&self) -> Result<&Mutex<Option<u32>>> {
        Ok(&self.writing()?.tended_to)
    }

    /// Where the log of a bucket ends, as far as is known without opening it.
    pub(super) fn end_seen(&self, entry: &TableEntry, partition_id: u32, bucket: u32) -> Result<u64> {
        let open = self.writing()?.buckets.lock().get(&(entry.spec.id, partition_id, bucket)).cloned();
        match open {
            Some(open) => Ok(open.view().end()),
            None => Ok(self.address(entry, partition_id, bucket)?.promised(&self.resources)),
        }
    }

    /// The turns that writers of a table take. They begin anywhere: at the moment of the first writer.
    pub(super) fn turns(&self, table_id: u32) -> Result<Arc<Turns>> {
        let mut turns = self.writing()?.turns.lock();
        let clock = self.resources.driver.clock();
        let seed = || clock.monotonic().as_nanos() as u64 ^ (clock.wall_ms() as u64) << 20;
        Ok(turns.entry(table_id).or_insert_with(|| Arc::new(Turns::new(seed()))).clone())
    }

    /// Where the rows of a table's writers pass.
    pub(super) fn gate(&self, table_id: u32) -> Result<Arc<Gate>> {
        Ok(self.writing()?.gates.of(table_id))
    }

    /// Whether a bucket is open for writing.
    pub(super) fn is_open(&self, key: Key) -> Result<bool> {
        Ok(self.writing()?.buckets.lock().contains_key(&key))
    }

    /// Closes a bucket again that was opened for a moment, unless somebody else came for it.
    pub(super) fn let_go(&self, key: Key, bucket: Arc<Bucket>) -> Result<()> {
        let mut buckets = self.writing()?.buckets.lock();
        let is_known = buckets.get(&key).is_some_and(|open| Arc::ptr_eq(open, &bucket));
        if is_known {
            buckets.remove(&key);
            buckets.extend(Bucket::end_if_idle(bucket).map(|bucket| (key, bucket)));
        }
        Ok(())
    }

    /// The catalog as this process last saw it.
    pub(super) fn catalog_seen(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Moves the walk on to the key that `next` finds; `None` begins a new round, or the store is closed.
    pub(super) fn walk_on<T>(&self, next: impl FnOnce(Option<Key>) -> Option<(Key, T)>) -> Result<Option<(Key, T)>> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut walked_to = self.writing()?.walked_to.lock();
        let found = next(*walked_to);
        *walked_to = found.as_ref().map(|(key, _)| *key);
        Ok(found)
    }

    /// When the newest row of a partition was committed, as the walk last saw it.
    pub(super) fn newest_seen(&self, partition: (u32, u32)) -> Result<Option<i64>> {
        Ok(self.writing()?.newest_seen.lock().get(&partition).copied())
    }

    /// Remembers it.
    pub(super) fn see_newest(&self, partition: (u32, u32), newest_ms: i64) -> Result<()> {
        let mut seen = self.writing()?.newest_seen.lock();
        if seen.len() >= SLOTS_MAX {
            seen.clear();
        }
        seen.insert(partition, newest_ms);
        Ok(())
    }

    /// A bucket of a store that is open read-only.
    pub(super) fn follower(&self, entry: &TableEntry, partition_id: u32, bucket: u32) -> Result<Arc<Follower>> {
        let Role::Follower(following) = &self.role else { return Err(Error::internal("a writer does not follow itself")) };
        let key = (entry.spec.id, partition_id, bucket);
        if let Some(known) = following.followers.lock().get(&key) {
            return Ok(known.clone());
        }
        let (address, writer) = (self.address(entry, partition_id, bucket)?, self.writer_state()?);
        let follower = keyed(&entry.spec).and_then(|keyed| Follower::open(&self.resources, address, writer, keyed));
        let follower = follower.map_err(|error| error.at("table", &entry.spec.name))?;
        let mut followers = following.followers.lock();
        if followers.len() >= self.options.buckets_open_max {
            followers.retain(|_, follower| Arc::strong_count(follower) > 1);
        }
        Ok(followers.entry(key).or_insert(follower).clone())
    }

    /// Who writes the store that this process follows.
    pub(super) fn writer_state(&self) -> Result<WriterState> {
        let Role::Follower(following) = &self.role else { return Ok(WriterState::Live(self.resources.epoch)) };
        // Before the catalog is looked at: where this is so, no other than the writer that it names has written to the page.
        let is_of_boot = self.resources.page.is_of_boot(self.resources.driver.boot());
        let locked = self.resources.driver.is_locked(&following.lock_file);
        let locked = locked.map_err(|error| Error::io("look at the lock of", &self.dir, error))?;
        self.refresh_catalog(following, false)?;
        let epoch = self.catalog.load().epoch;
        Ok(match locked {
            true if is_of_boot => WriterState::Live(epoch),
            true => WriterState::Coming(epoch),
            false => WriterState::Absent(epoch),
        })
    }

    /// New options reach the open buckets of a table.
    pub(super) fn apply_policy(&self, spec: &TableSpec) -> Result<()> {
        let keyed = keyed(spec)?;
        // Not under the lock of the map: a bucket may wait for the device, and the device for who looks at the map. One that is opened meanwhile is opened as the
        // catalog has it now.
        let open = self.open_buckets_of(spec.id)?;
        open.iter().for_each(|bucket| bucket.set_policy(segment_policy(spec)));
        // One that cannot be altered now is tried again by whoever reads or writes it.
        let mut altered = Ok(());
        for (bucket, keyed) in open.iter().zip(keyed.iter().cycle()) {
            altered = altered.and(bucket.alter(keyed));
        }
        altered
    }

    /// The buckets of a table that are open for writing.
    pub(super) fn open_buckets_of(&self, table_id: u32) -> Result<Vec<Arc<Bucket>>> {
        let buckets = self.writing()?.buckets.lock();
        Ok(buckets.range((table_id, 0, 0)..=(table_id, u32::MAX, u32::MAX)).map(|(_, bucket)| bucket.clone()).collect())
    }

    fn open_buckets(&self) -> Vec<Arc<Bucket>> {
        self.writing().map_or_else(|_| Vec::new(), |writing| writing.buckets.lock().values().cloned().collect())
    }

    pub(super) fn pump(&self) -> Result<()> {
        match &*self.writing()?.schedule.lock() {
            Some(schedule) => schedule.pump(),
            None => Err(closed(&self.dir)),
        }
    }

    pub(super) fn take_failures(&self) -> Vec<Error> {
        let failures = |writing: &Writing| writing.schedule.lock().as_ref().map(Schedule::take_failures);
        self.writing().ok().and_then(failures).unwrap_or_default()
    }

    pub(super) fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        if let Role::Writer(writing) = &self.role {
            let schedule = writing.schedule.lock().take();
            drop(schedule);
            let buckets: Vec<_> = std::mem::take(&mut *writing.buckets.lock()).into_values().collect();
            self.remove_replaced(&buckets);
            for bucket in buckets {
                bucket.close(closed(&self.dir));
            }
            for snapshots in std::mem::take(&mut *writing.snapshots.lock()).into_values() {
                snapshots.close();
            }
            // Whoever changes the catalog now is done before the next owner comes.
            writing.ledger.lock().close();
            writing.lock.lock().take();
        }
        self.wake_scanners();
        Ok(())
    }

    /// Removes the runs that were replaced since somebody last looked after the buckets, as far as that takes no time: the next writer removes the others.
    fn remove_replaced(&self, buckets: &[Arc<Bucket>]) {
        let mut bytes_left = REMOVED_BYTES_MAX;
        // What cannot be removed is left, too.
        buckets.iter().for_each(|bucket| _ = bucket.recycle_runs_within(&mut bytes_left));
        // Nobody is left to give blocks back bit by bit.
        self.resources.clear_removed();
    }

    /// Scanners that wait find that the store is closed.
    fn wake_scanners(&self) {
        for entry in self.catalog.load().tables.values() {
            match self.is_writable() {
                true => self.resources.page.notify(entry.slot),
                false => self.resources.page.wake_all(entry.slot),
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

fn closed(dir: &Path) -> Error {
    Error::unavailable(format!("the store in {} is closed", dir.display())).hint("open it again")
}

pub(super) fn segment_policy(spec: &TableSpec) -> SegmentPolicy {
    // A newer program may have asked to keep them.
    let may_drop = spec.options.check_known().is_ok();
    SegmentPolicy {
        bytes_max: spec.options.segment_bytes,
        retention_ms: spec.options.retention_ms.filter(|_| may_drop),
        retention_bytes: spec.options.retention_bytes.filter(|_| may_drop),
        has_tree: !spec.primary_key.is_empty(),
        // It was checked with the table.
        expiry: Expiry::of(spec).ok().flatten().filter(|_| may_drop),
    }
}

/// How rows of a table with a primary key are merged; `None` for a log table.
pub(super) fn keyed(spec: &TableSpec) -> Result<Option<Arc<Keyed>>> {
    match spec.primary_key.is_empty() {
        true => Ok(None),
        false => Keyed::new(&Arc::new(spec.clone())).map(|keyed| Some(Arc::new(keyed))),
    }
}

fn take_lock(driver: &dyn Driver, dir: &Path) -> Result<(File, Lock)> {
    let path = dir.join(LOCK_NAME);
    let file = match driver.open(&path, Mode::Create, false) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => driver.open(&path, Mode::Write, false),
        made => made,
    };
    let file = file.map_err(|error| Error::io("open", &path, error))?;
    match driver.lock(&file).map_err(|error| Error::io("lock", &path, error))? {
        Some(lock) => Ok((file, lock)),
        None => {
            let held = Error::conflict(format!("{} is open for writing in another process", dir.display()));
            Err(held.hint("close that one, or read while it writes: readers need no lock"))
        }
    }
}

/// The commit page of a writer. One that does not say what it is promises nothing: it is made anew, unless nobody has ever opened this store.
///
/// Errors: Invalid when a newer program made it; Conflict for somebody's file of its name in a directory that is no store yet; those of the device.
fn map_page(driver: &dyn Driver, dir: &Path, is_new: bool) -> Result<Page> {
    let path = dir.join(PAGE_NAME);
    let page = driver.page(&path, SLOTS_MAX * SLOT_BYTES, true).map_err(|error| Error::io("map", &path, error))?;
    match page.head() {
        Head::Known => {}
        Head::Foreign if is_new => {
            let foreign = Error::conflict("a file of this name stands where a new store would have its own").at("file", path.display());
            return Err(foreign.hint("make the store in a directory of its own"));
        }
        Head::Missing | Head::Foreign => {
            // Its length only: readers find it whole after a power cut, whatever it says then.
            let synced = driver.open(&path, Mode::Write, false).and_then(|file| driver.sync(&file));
            synced.map_err(|error| Error::io("sync", &path, error))?;
            page.make_anew();
        }
        Head::Newer(version) => return Err(newer_page(version, &path)),
    }
    Ok(page)
}

fn newer_page(version: u16, path: &Path) -> Error {
    Error::newer("a commit page of a newer version").at("version", version).at("supported", page::VERSION).at("file", path.display())
}

fn read_catalog(resources: &Resources, dir: &Path) -> Result<Option<Catalog>> {
    let read = ledger::read::<Catalog>(&*resources.driver, &resources.pool, &dir.join(FILE_NAME))?;
    Ok(read.map(|folded| folded.state))
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::io::sim::{Faults, Sim};
    use crate::store::alter::{Change, alter};

    /// The worker and the budget of memtables know buckets by weak handles.
    #[test]
    fn who_comes_to_hold_a_bucket_holds_the_one_that_is_open() {
        let options = Options { buckets_open_max: 1, ..Options::default() };
        let store = Inner::open(Sim::new(1, Faults::default()), Path::new("/store"), options).unwrap();
        let name: TableName = "t".parse().unwrap();
        let columns = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
        let id = store.create_table(&name, CreateTable::like(columns).primary_key(&["number"]).buckets(2)).unwrap();
        let entry = store.entry(id, &name).unwrap();
        let known: Mutex<Weak<Bucket>> = Mutex::default();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut tries: u32 = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let weak = known.lock().clone();
                    // At another moment each time.
                    tries = tries.wrapping_add(1);
                    (0..tries.wrapping_mul(7919) % 4096).for_each(|_| std::hint::spin_loop());
                    let Some(held) = weak.upgrade() else { continue };
                    // Whoever lets go of it now is done before the map can be looked at.
                    let open = store.writing().unwrap().buckets.lock().get(&(id, 0, held.address().bucket)).cloned();
                    assert!(open.is_some_and(|open| Arc::ptr_eq(&open, &held)), "a bucket that was let go of came back to life");
                }
            });
            for number in (0..20_000).map(|opening| opening % 2) {
                if holder.is_finished() {
                    break;
                }
                let bucket = store.bucket(&entry, 0, number).unwrap();
                *known.lock() = Arc::downgrade(&bucket);
                // One way in which it goes; the other is that another one is opened.
                if number == 0 {
                    store.let_go((id, 0, number), bucket).unwrap();
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_change_that_its_word_does_not_tell_yet_is_found_by_who_asks_for_the_newest() {
        let sim = Sim::new(1, Faults::default());
        let dir = Path::new("/store");
        let store = Inner::open(sim.clone(), dir, Options::default()).unwrap();
        let columns = Schema::new(vec![Field::new("number", DataType::Int64, false)]);
        let name: TableName = "t".parse().unwrap();
        let id = store.create_table(&name, CreateTable::like(Arc::new(columns))).unwrap();
        let outside = Inner::open_read_only(sim, dir, Options::default()).unwrap();
        alter(&store, &name, &[Change::add_column("more int64").unwrap()]).unwrap();
        let Role::Follower(following) = &outside.role else { unreachable!("it is open read-only") };
        following.seen.store(outside.resources.page.slot(STORE_SLOT).word(), Ordering::Release);
        let columns = |entry: Result<Arc<TableEntry>>| entry.unwrap().spec.schema().fields().len();
        assert_eq!(columns(outside.entry(id, &name)), 1);
        assert_eq!(columns(outside.newest_entry(id, &name)), 2);
    }
}
