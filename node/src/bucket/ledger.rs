//! A file of edits that add up to a state: manifests and the catalog.
//!
//! Edits are appended in durable records and folded when the file is opened; once enough have gathered, the folded state takes their place
//! by a rewrite and a rename. Opening only reads; before the first edit the ledger is settled. Invariants: what is built upon is durable, also what
//! another open wrote and did not see acknowledged; an edit that failed is not in the file, or nothing more is written; after a failed sync nothing more is
//! written. docs/format/manifest.md has the bytes. This module knows nothing of what the edits mean.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};
use crate::format::manifest as records;
use crate::io::{Driver, File, Mode, Pool};

/// Edits after which the file is rewritten.
const EDITS_MAX: usize = 512;

/// What the edits of a ledger add up to.
pub trait LedgerState: Default + Clone {
    /// One change.
    type Edit: Serialize + DeserializeOwned;

    /// The number that tells this ledger's file from others.
    const KIND: u16;

    /// Adds an edit. An edit that contradicts the state, or makes one that nothing can be done with, is Corrupt.
    fn apply(&mut self, edit: Self::Edit) -> Result<()>;

    /// One edit that makes this state from nothing.
    fn folded(&self) -> Self::Edit;
}

/// A ledger as read.
#[derive(Debug)]
pub struct Folded<S> {
    /// What its edits add up to.
    pub state: S,
    valid_bytes: u64,
    /// Bytes behind the last record that are none: an edit that was never acknowledged.
    pub torn_bytes: u64,
    edits: usize,
    last: Box<[u8]>,
}

/// Reads and folds a ledger; `None` when there is none.
///
/// Errors: Corrupt for a bad record in the middle, Unavailable for one of a newer program; those of the device.
pub fn read<S: LedgerState>(driver: &dyn Driver, pool: &Pool, path: &Path) -> Result<Option<Folded<S>>> {
    let file = match driver.open(path, Mode::Read, false) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let bytes = driver.len(&file).map_err(|error| Error::io("look at", path, error))? as usize;
    let mut buffer = pool.get(bytes.max(1));
    let read = driver.read_at(&file, &mut buffer, bytes, 0).map_err(|error| Error::io("read", path, error))?;
    let found = records::fold::<S::Edit>(S::KIND, &buffer[..read]).map_err(|error| error.at("file", path.display()))?;
    let edits = found.edits.len();
    let mut state = S::default();
    for (index, edit) in found.edits.into_iter().enumerate() {
        state.apply(edit).map_err(|error| error.at("edit", index + 1).at("file", path.display()))?;
    }
    let last = Box::from(&buffer[found.last_record..found.valid_length]);
    let torn_bytes = if found.tail == records::Tail::Torn { read - found.valid_length } else { 0 } as u64;
    Ok(Some(Folded { state, valid_bytes: found.valid_length as u64, torn_bytes, edits, last }))
}

/// A ledger, open for writing. Its file is not kept open: thousands of buckets have one each, and edits are rare.
pub struct Ledger<S> {
    path: PathBuf,
    above: usize,
    state: S,
    valid_bytes: u64,
    edits: usize,
    /// Edits at which the next rewrite is tried.
    rewrite_at: usize,
    unsettled: Option<Unsettled>,
    failed: bool,
}

/// What stands between a ledger that was read and its first edit.
enum Unsettled {
    /// There is no file yet.
    Missing,
    /// The last record. Its write may have failed and left it where a power cut takes it, so it is written again: a sync may say yes to what
    /// an earlier one has lost.
    Last(Box<[u8]>),
}

impl<S: LedgerState> Ledger<S> {
    /// Reads the ledger `name` in `dir`; nothing is made or changed before it is settled. `above` directories over `dir` are new with it.
    pub fn open(driver: &dyn Driver, pool: &Pool, dir: &Path, name: &str, above: usize) -> Result<Self> {
        let path = dir.join(name);
        let ledger = |state, valid_bytes, edits, unsettled| Ledger {
            path: path.clone(),
            above,
            state,
            valid_bytes,
            edits,
            rewrite_at: EDITS_MAX,
            unsettled: Some(unsettled),
            failed: false,
        };
        Ok(match read(driver, pool, &path)? {
            Some(Folded { state, valid_bytes, edits, last, .. }) => ledger(state, valid_bytes, edits, Unsettled::Last(last)),
            None => ledger(S::default(), 0, 0, Unsettled::Missing),
        })
    }

    /// Makes durable what was read. Comes before the first edit, and before anything else is done that only holds if it is.
    ///
    /// Errors: as [`Ledger::append`].
    pub fn settle(&mut self, driver: &dyn Driver, pool: &Pool) -> Result<()> {
        self.refuse_after_failure()?;
        let Some(unsettled) = self.unsettled.take() else { return Ok(()) };
        let settled = self.settle_with(driver, pool, &unsettled);
        if let Err(error) = &settled {
            self.failed = error.kind() != Kind::Exhausted;
            self.unsettled = Some(unsettled);
        }
        settled
    }

    fn settle_with(&self, driver: &dyn Driver, pool: &Pool, unsettled: &Unsettled) -> Result<()> {
        let path = &self.path;
        let dir = path.parent().expect("a file in a directory");
        match unsettled {
            Unsettled::Missing => {
                driver.create_dir_all(dir).map_err(|error| Error::io("make", dir, error))?;
                make_empty(driver, path)?;
            }
            Unsettled::Last(last) => {
                let file = driver.open(path, Mode::Write, false).map_err(|error| Error::io("open", path, error))?;
                let position = self.valid_bytes - last.len() as u64;
                let record = pool.copy_of(last).freeze();
                driver.write_at(&file, &[record], position, true).map_err(|error| Error::io("write", path, error))?;
            }
        }
        // A rewrite that was cut off leaves its file.
        remove_if_there(driver, &next_path(path))?;
        // A second edit is only written once the names are durable; before it, an open or a rewrite may have been cut off in between.
        if self.edits <= 1 {
            for dir in dir.ancestors().take(1 + self.above) {
                // Above a relative name stands the working directory.
                let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
                driver.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
            }
        }
        Ok(())
    }

    /// Whether there is no file: nothing was ever written.
    pub fn is_missing(&self) -> bool {
        matches!(self.unsettled, Some(Unsettled::Missing))
    }

    /// Errors: Unavailable once an edit has failed for good.
    pub fn refuse_after_failure(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        let refused = Error::unavailable(format!("{} takes no more edits after a failed write", self.path.display()));
        Err(refused.hint("close and open the store again"))
    }

    /// The folded state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Makes edits durable, all or none, then true.
    ///
    /// Errors: Exhausted when the device is full (it may be tried again), else Unavailable, and then for good. Corrupt for edits that
    /// could not be read again: they are not written.
    pub fn append(&mut self, driver: &dyn Driver, pool: &Pool, edits: Vec<S::Edit>) -> Result<()> {
        self.settle(driver, pool)?;
        let bytes = records::record(S::KIND, &edits)?;
        let count = edits.len();
        let mut after = self.state.clone();
        edits.into_iter().try_for_each(|edit| after.apply(edit)).map_err(|error| error.at("file", self.path.display()))?;
        let record = pool.copy_of(&bytes).freeze();
        let file = driver.open(&self.path, Mode::Write, false).map_err(|error| Error::io("open", &self.path, error))?;
        if let Err(error) = driver.write_at(&file, &[record], self.valid_bytes, true) {
            return Err(self.take_back(driver, &file, Error::io("write", &self.path, error)));
        }
        self.valid_bytes += bytes.len() as u64;
        self.edits += count;
        self.state = after;
        if self.edits > self.rewrite_at {
            self.rewrite(driver, pool);
        }
        Ok(())
    }

    /// What becomes of an edit whose write failed. On a full device it may be whole in the file nevertheless: it is cut off, or whoever opens the
    /// ledger next would take for true what its caller takes for failed. If that cannot be done, the device is not what stands in the way any more.
    fn take_back(&mut self, driver: &dyn Driver, file: &File, error: Error) -> Error {
        self.failed = true;
        if error.kind() != Kind::Exhausted {
            return error;
        }
        let cut = driver.set_len(file, self.valid_bytes).and_then(|()| driver.sync(file));
        self.failed = cut.is_err();
        match cut {
            Ok(()) => error,
            Err(cut) => {
                let kept = format!("the device is full, and what was written of an edit cannot be taken back ({cut})");
                Error::unavailable(kept).at("file", self.path.display()).hint("make room, close and open the store again").caused_by(error)
            }
        }
    }

    /// Takes no more edits.
    pub fn close(&mut self) {
        self.failed = true;
    }

    /// Puts the folded state in the place of its edits. They are durable whatever comes of it: when the new file cannot be written they stay
    /// as they are, and it is tried again later; when it may have taken their place, the next open finds out.
    fn rewrite(&mut self, driver: &dyn Driver, pool: &Pool) {
        let next = next_path(&self.path);
        let folded = records::record(S::KIND, &[self.state.folded()]);
        let written = folded.and_then(|bytes| write_whole(driver, pool, &next, &bytes).map(|()| bytes.len() as u64));
        let Ok(bytes) = written else {
            // What is left of it is removed by the next try at the latest.
            let _ = driver.remove(&next);
            self.rewrite_at = self.edits + EDITS_MAX;
            return;
        };
        let replaced = driver.rename(&next, &self.path).and_then(|()| driver.sync_dir(self.path.parent().expect("a file in a directory")));
        self.failed = replaced.is_err();
        self.valid_bytes = bytes;
        self.edits = 1;
        self.rewrite_at = EDITS_MAX;
    }
}

fn next_path(path: &Path) -> PathBuf {
    path.with_extension("next")
}

/// Writes a new file and makes its bytes durable; an old one of that name is left from a try that failed.
fn write_whole(driver: &dyn Driver, pool: &Pool, path: &Path, bytes: &[u8]) -> Result<()> {
    remove_if_there(driver, path)?;
    let written = driver.open(path, Mode::Create, false).and_then(|file| {
        driver.write_at(&file, &[pool.copy_of(bytes).freeze()], 0, true)?;
        driver.sync(&file)
    });
    written.map_err(|error| Error::io("write", path, error))
}

/// Makes the file. One without a record is left by a settling that was cut off.
fn make_empty(driver: &dyn Driver, path: &Path) -> Result<()> {
    match driver.open(path, Mode::Create, false) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("make", path, error)),
        _ => Ok(()),
    }
}

fn remove_if_there(driver: &dyn Driver, path: &Path) -> Result<()> {
    match driver.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
