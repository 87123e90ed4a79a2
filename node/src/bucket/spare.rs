//! Dropped segments that wait to be used again: their blocks are written already, so the next owner appends at full speed from the first frame.
//!
//! Invariant: a segment's file in `spare/` belongs to nobody; the id of its next owner makes its old frames unreadable. Files of other names stay.
//! This module knows nothing of who dropped or takes one.

use std::path::{Path, PathBuf};

use super::segments;
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
            let segments = entries.into_iter().filter(|entry| !entry.is_dir && segments::is_log_name(&entry.name));
            files.extend(segments.map(|entry| File { name: entry.name, bytes: entry.bytes }));
        }
        Ok(Spare { dir, bytes_max, files: Mutex::new(files) })
    }

    /// Takes a file to be used again; `false` when there is no room for it.
    pub fn give(&self, driver: &dyn Driver, path: &Path, bytes: u64) -> Result<bool> {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_string);
        let held: u64 = self.files.lock().iter().map(|file| file.bytes).sum();
        match name {
            Some(name) if held + bytes <= self.bytes_max => {
                let to = self.dir.join(&name);
                driver.rename(path, &to).map_err(|error| Error::io("rename", path, error))?;
                self.files.lock().push(File { name, bytes });
                Ok(true)
            }
            _ => Ok(false),
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
        if let Err(error) = driver.rename(&from, to) {
            self.files.lock().push(file);
            return Err(Error::io("rename", &from, error));
        }
        driver.sync_dir(&self.dir).map_err(|error| Error::io("sync", &self.dir, error))?;
        Ok(Some(file.bytes))
    }

    /// Removes everything, to give the space back to the device.
    pub fn clear(&self, driver: &dyn Driver) -> Result<u64> {
        let mut freed = 0;
        // Taken one by one: what cannot be removed is still known.
        let next = || self.files.lock().pop();
        while let Some(file) = next() {
            let path = self.dir.join(&file.name);
            if let Err(error) = driver.remove(&path) {
                self.files.lock().push(file);
                return Err(Error::io("remove", &path, error));
            }
            freed += file.bytes;
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, Sim};
    use crate::io::{Mode, Pool};

    #[test]
    fn only_segments_are_adopted() {
        let driver = Sim::new(1, Faults::default());
        let dir = Path::new("/store/spare");
        driver.create_dir_all(dir).unwrap();
        for name in ["0000000100000007.log", "photo.jpg", "7.log", "000000010000000G.log"] {
            let file = driver.open(&dir.join(name), Mode::Create, false).unwrap();
            driver.write_at(&file, &[Pool::new(1 << 20).copy_of(&[1; 4096]).freeze()], 0, true).unwrap();
        }
        let spare = Spare::open(&*driver, dir.to_path_buf(), 1 << 20, true).unwrap();
        assert_eq!(spare.clear(&*driver).unwrap(), 4096);
        let left: Vec<String> = driver.list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}
