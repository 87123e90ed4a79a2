//! Places in files that were found damaged since they were opened: somebody who watches the store is told how many there are.
//!
//! Invariant: a place that is met again counts once, and with its file it is forgotten. This module knows nothing of what the files hold.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Kind};

/// Places that are remembered; of more it is known only that there are so many.
const PLACES_MAX: usize = 1 << 16;

/// See the head of this module.
#[derive(Debug, Default)]
pub struct Damages {
    places: Mutex<HashMap<PathBuf, BTreeSet<u64>>>,
    /// How many, so that who finds none needs no lock.
    count: AtomicUsize,
}

impl Damages {
    /// Remembers the place that an error names, if it is one of damage in a file.
    pub fn note(&self, error: &Error) {
        let value = |name: &str| error.context().find(|(known, _)| *known == name).map(|(_, value)| value);
        let Some(path) = value("segment").or_else(|| value("run")).filter(|_| error.kind() == Kind::Corrupt) else { return };
        let position = value("position").and_then(|position| position.parse().ok()).unwrap_or(0);
        if self.count.load(Ordering::Relaxed) < PLACES_MAX {
            let mut places = self.places.lock();
            if places.entry(PathBuf::from(path)).or_default().insert(position) {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many there are below a directory.
    pub fn below(&self, dir: &Path) -> u64 {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // As errors name it.
        let dir = PathBuf::from(dir.display().to_string());
        self.places.lock().iter().filter(|(path, _)| path.starts_with(&dir)).map(|(_, places)| places.len() as u64).sum()
    }

    /// Forgets those of files that went.
    pub(super) fn forget(&self, is_gone: impl Fn(&Path) -> bool) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut places = self.places.lock();
        places.retain(|path, _| !is_gone(path));
        self.count.store(places.values().map(BTreeSet::len).sum(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_once_and_until_its_file_goes() {
        let damages = Damages::default();
        let of = |name: &'static str, file: &str, position: u64| Error::corrupt("bad").at(name, file).at("position", position);
        for (name, file, position) in [("segment", "/b0/a", 0), ("segment", "/b0/a", 0), ("segment", "/b0/a", 9), ("run", "/b1/b", 0)] {
            damages.note(&of(name, file, position));
        }
        damages.note(&Error::corrupt("of no file"));
        damages.note(&Error::unavailable("later").at("run", "/b1/c"));
        let below = |dir: &str| damages.below(Path::new(dir));
        assert_eq!((below("/b0"), below("/b1"), below("/"), below("/b")), (2, 1, 3, 0));
        damages.forget(|path| path == Path::new("/b0/a"));
        assert_eq!((below("/b0"), below("/")), (0, 1));
    }
}
