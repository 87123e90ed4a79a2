//! Files that are removed and may be large: they wait in a directory of their own until their blocks go back to the device, a few at a time.
//!
//! Invariants: what lies there has a number that no other file ever had, and belongs to nobody; what a crash leaves there is found by the next open. Files
//! of other names are removed at once, and stay if somebody puts them there. This module knows nothing of why a file was removed, or of when it is time for a step.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::sync::Mutex;
use super::{Driver, Entry, Remains};

/// Files of a tree that have no more go with their directories.
const AT_ONCE_BYTES: u64 = 64 << 10;

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    /// The one that is given back now.
    shrinking: Option<Remains>,
    is_made: bool,
}

/// See the head of this module.
#[derive(Debug)]
pub struct Removed {
    dir: PathBuf,
    state: Mutex<State>,
}

impl Removed {
    /// Those of a store, in `dir`. What an earlier owner left is a writer's to give back.
    ///
    /// # Errors
    /// Those of listing it.
    pub fn open(driver: &dyn Driver, dir: PathBuf, writable: bool) -> io::Result<Self> {
        let left = if writable { left(driver, &dir)? } else { Vec::new() };
        let waiting = left.into_iter().map(|entry| entry.name).collect();
        Ok(Removed { dir, state: Mutex::new(State { waiting, ..State::default() }) })
    }

    /// Removes a file. Its blocks go later, unless it cannot be moved.
    ///
    /// # Errors
    /// Those of removing it.
    pub fn take(&self, driver: &dyn Driver, path: &Path) -> io::Result<()> {
        match self.moved(driver, path) {
            true => Ok(()),
            false => driver.remove(path),
        }
    }

    /// Removes a directory and everything in it. Blocks of large files go later.
    ///
    /// # Errors
    /// Those of removing it; NotFound when there is none.
    pub fn take_tree(&self, driver: &dyn Driver, dir: &Path) -> io::Result<()> {
        let mut dirs = vec![dir.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            // What cannot be listed cannot be removed either, and that says why.
            for entry in driver.list(&dir).unwrap_or_default() {
                let path = dir.join(&entry.name);
                if entry.is_dir {
                    dirs.push(path);
                } else if entry.bytes > AT_ONCE_BYTES {
                    self.moved(driver, &path);
                }
            }
        }
        driver.remove_dir_all(dir)
    }

    fn moved(&self, driver: &dyn Driver, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_numbered(name)) else { return false };
        if !self.is_made(driver) || driver.rename(path, &self.dir.join(name)).is_err() {
            return false;
        }
        self.state.lock().waiting.push_back(name.to_string());
        true
    }

    fn is_made(&self, driver: &dyn Driver) -> bool {
        let was_made = self.state.lock().is_made;
        let is_made = was_made || driver.create_dir_all(&self.dir).is_ok();
        self.state.lock().is_made = is_made;
        is_made
    }

    /// Gives some blocks back, or all of a small file.
    ///
    /// # Errors
    /// Those of removing a file: it stays for the next open.
    pub fn step(&self, driver: &dyn Driver) -> io::Result<()> {
        // Without the lock: whoever has something removed does not wait for the device.
        let shrinking = self.state.lock().shrinking.take();
        if let Some(mut remains) = shrinking {
            if remains.step() {
                self.state.lock().shrinking = Some(remains);
            }
            return Ok(());
        }
        let next = self.state.lock().waiting.pop_front();
        let Some(name) = next else { return Ok(()) };
        match driver.remove_gently(&self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            removed => {
                self.state.lock().shrinking = removed.unwrap_or_default();
                Ok(())
            }
        }
    }

    /// Gives everything back at once: the device is full, or nobody is left to do it. Whether there was anything.
    pub fn clear(&self, driver: &dyn Driver) -> bool {
        let State { waiting, shrinking, is_made } = std::mem::take(&mut *self.state.lock());
        self.state.lock().is_made = is_made;
        // What cannot be removed now is found by the next open.
        waiting.iter().for_each(|name| _ = driver.remove(&self.dir.join(name)));
        !waiting.is_empty() || shrinking.is_some()
    }

    /// Whether nothing has blocks left.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && state.shrinking.is_none()
    }
}

/// Files that wait in `dir` since an earlier owner died.
///
/// # Errors
/// Those of listing it.
pub fn left(driver: &dyn Driver, dir: &Path) -> io::Result<Vec<Entry>> {
    match driver.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => Ok(listed?.into_iter().filter(|entry| !entry.is_dir && is_numbered(&entry.name)).collect()),
    }
}

/// Whether a file is named as segments, runs and their directories are: by a number that is used once.
fn is_numbered(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    stem.len() == 16 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Faults, Sim};
    use crate::io::{Mode, Pool};

    const TREE: &str = "/store/tables/7";

    fn make(driver: &dyn Driver, path: &str, bytes: usize) {
        let path = Path::new(path);
        driver.create_dir_all(path.parent().unwrap()).unwrap();
        let file = driver.open(path, Mode::Create, false).unwrap();
        driver.write_at(&file, &[Pool::new(1 << 20).zeros(bytes)], 0, true).unwrap();
    }

    fn names(driver: &dyn Driver, dir: &str) -> Vec<String> {
        driver.list(Path::new(dir)).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    }

    fn open(driver: &dyn Driver) -> Removed {
        Removed::open(driver, "/store/removed".into(), true).unwrap()
    }

    #[test]
    fn large_files_of_a_tree_wait_for_their_turn_and_survive_a_crash() {
        let sim = Sim::new(1, Faults::default());
        make(&*sim, &format!("{TREE}/p0/b0/0000000100000001.log"), 1 << 20);
        make(&*sim, &format!("{TREE}/p0/b1/0000000100000002.run"), 1 << 20);
        make(&*sim, &format!("{TREE}/p0/b1/0000000100000003.index"), 4096);
        make(&*sim, &format!("{TREE}/p0/b1/manifest"), 1 << 20);
        open(&*sim).take_tree(&*sim, Path::new(TREE)).unwrap();
        assert!(names(&*sim, "/store/tables").is_empty());
        assert_eq!(names(&*sim, "/store/removed"), ["0000000100000001.log", "0000000100000002.run"]);
        make(&*sim, "/store/removed/photo.jpg", 1);
        let sim = sim.kill(2);
        let removed = open(&*sim);
        let mut left = Vec::new();
        while !removed.is_empty() {
            removed.step(&*sim).unwrap();
            left.push(names(&*sim, "/store/removed").len());
        }
        assert_eq!(left, [2, 1], "one at a time, and not what somebody else has there");
    }

    #[test]
    fn what_cannot_be_moved_goes_at_once() {
        let sim = Sim::new(1, Faults::default());
        let path = "/store/tables/7/p0/b0/0000000100000001.run";
        make(&*sim, path, 1 << 20);
        sim.fail_next(crate::io::sim::Call::Rename, "removed", libc::ENOSPC);
        let removed = open(&*sim);
        removed.take(&*sim, Path::new(path)).unwrap();
        assert!(removed.is_empty() && names(&*sim, "/store/tables/7/p0/b0").is_empty());
        assert_eq!(removed.take(&*sim, Path::new(path)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_full_device_gets_everything_at_once() {
        let sim = Sim::new(1, Faults::default());
        let removed = open(&*sim);
        for number in 1..4 {
            let path = format!("/store/{number:016x}.run");
            make(&*sim, &path, 1 << 20);
            removed.take(&*sim, Path::new(&path)).unwrap();
        }
        assert!(removed.clear(&*sim) && removed.is_empty() && names(&*sim, "/store/removed").is_empty());
        assert!(!removed.clear(&*sim));
    }
}
