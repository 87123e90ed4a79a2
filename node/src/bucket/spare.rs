//! Dropped segments that wait to be used again: their blocks are written already, so the next owner appends at full speed from the first frame.
//!
//! Invariant: a file in `spare/` belongs to nobody; the id of its next owner makes its old frames unreadable.
//! This module knows nothing of who dropped or takes one.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::Driver;
use crate::io::sync::Mutex;

#[derive(Debug)]
struct File {
    name: String,
    bytes: u64,
}

/// See the head of this module.
#[derive(Debug)]
pub struct Spare {
    dir: PathBuf,
    bytes_max: u64,
    files: Mutex<Vec<File>>,
}

impl Spare {
    /// The spare segments of a store. A writer makes the directory.
    pub fn open(driver: &dyn Driver, dir: PathBuf, bytes_max: u64, writable: bool) -> Result<Self> {
        let mut files = Vec::new();
        if writable {
            driver.create_dir_all(&dir).map_err(|error| Error::io("make", &dir, error))?;
            let entries = driver.list(&dir).map_err(|error| Error::io("list", &dir, error))?;
            files.extend(entries.into_iter().map(|entry| File { name: entry.name, bytes: entry.bytes }));
        }
        Ok(Spare { dir, bytes_max, files: Mutex::new(files) })
    }

    /// Gives a file away: kept for reuse under the budget, else removed.
    pub fn give(&self, driver: &dyn Driver, path: &Path, bytes: u64) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_string);
        let held: u64 = self.files.lock().iter().map(|file| file.bytes).sum();
        match name {
            Some(name) if held + bytes <= self.bytes_max => {
                let to = self.dir.join(&name);
                driver.rename(path, &to).map_err(|error| Error::io("rename", path, error))?;
                self.files.lock().push(File { name, bytes });
                Ok(())
            }
            _ => driver.remove(path).map_err(|error| Error::io("remove", path, error)),
        }
    }

    /// Moves the largest file of at least `bytes_min` and at most `bytes_max` to `to`; returns its length, or `None` when there is none.
    pub fn take(&self, driver: &dyn Driver, bytes_min: u64, bytes_max: u64, to: &Path) -> Result<Option<u64>> {
        let file = {
            let mut files = self.files.lock();
            let fits = |(_, file): &(usize, &File)| (bytes_min..=bytes_max).contains(&file.bytes);
            let largest = files.iter().enumerate().filter(fits).max_by_key(|(_, file)| file.bytes).map(|(index, _)| index);
            let Some(found) = largest else { return Ok(None) };
            files.swap_remove(found)
        };
        let from = self.dir.join(&file.name);
        driver.rename(&from, to).map_err(|error| Error::io("rename", &from, error))?;
        driver.sync_dir(&self.dir).map_err(|error| Error::io("sync", &self.dir, error))?;
        Ok(Some(file.bytes))
    }

    /// Removes everything, to give the space back to the device.
    pub fn clear(&self, driver: &dyn Driver) -> Result<u64> {
        let files = std::mem::take(&mut *self.files.lock());
        let mut freed = 0;
        for file in files {
            let path = self.dir.join(&file.name);
            driver.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
            freed += file.bytes;
        }
        Ok(freed)
    }
}
