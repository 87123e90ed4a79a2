//! Directories and stores that a test may spoil. They lie on the file system of the target folder, so that I/O is real.

use std::path::Path;

use aquifer_node::store::{Options, Store};
use tempfile::TempDir;

/// An empty directory that goes when the test ends.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder can be written")
}

/// The store in `dir`, to write.
pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, Options::default()).expect("the store opens")
}

/// The store in `dir`, to follow whoever writes it.
pub(crate) fn follow(dir: &Path) -> Store {
    Store::open_read_only(dir, Options::default()).expect("the store opens read-only")
}

/// Files under `dir` whose names end in `ending`, sorted.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}
