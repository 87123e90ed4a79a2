//! Where a bench runs: a folder on the device to be measured, and the way to the kernel that is used there.
//!
//! Invariant: the folder is gone when the bench ends, however it ends, short of a kill.

use std::path::{Path, PathBuf};

use aquifer_node::store::{Durability, Options, Store};
use aquifer_node::{Error, Result};

use crate::command::interrupt;
use crate::command::outcome::tell;

/// See the head of this module.
pub(super) struct Ground {
    /// The folder.
    pub(super) dir: PathBuf,
    /// How stores are opened in it.
    pub(super) options: Options,
    /// The way to the kernel, by the name that reports have.
    pub(super) driver: &'static str,
    /// Whether rings are used.
    pub(super) rings: bool,
    /// Whether acknowledged means on the device.
    pub(super) durable: bool,
    /// The data directory, when it was made for the bench.
    made: Option<PathBuf>,
}

impl Ground {
    /// Makes the folder in a data directory.
    pub(super) fn make(data_dir: &Path, options: &Options) -> Result<Ground> {
        let made = (!data_dir.exists()).then(|| data_dir.to_path_buf());
        let dir = data_dir.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| Error::io("make", &dir, error))?;
        let mut ground =
            Ground { dir, options: options.clone(), driver: "", rings: true, durable: options.durability == Durability::Sync, made };
        ground.watch();
        let probe = Store::open(ground.dir.join("probe"), options.clone())?;
        ground.rings = probe.io().0 == "uring";
        ground.driver = if ground.rings { "io_uring" } else { "pwritev2" };
        probe.close()?;
        Ok(ground)
    }

    /// An interrupt ends the program at once, but not before the folder is removed.
    fn watch(&self) {
        interrupt::catch();
        let (dir, made) = (self.dir.clone(), self.made.clone());
        std::thread::spawn(move || {
            while !interrupt::came() {
                std::thread::park_timeout(interrupt::LOOK_EVERY);
            }
            remove(&dir, made.as_deref());
            std::process::exit(130);
        });
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.dir, self.made.as_deref());
    }
}

fn remove(dir: &Path, made: Option<&Path>) {
    // Whoever still writes there may make a file meanwhile: then the second time removes it.
    let removed = std::fs::remove_dir_all(dir).or_else(|_| std::fs::remove_dir_all(dir));
    if let Err(error) = removed {
        tell(format_args!("{} stays behind: {error}", dir.display()));
    }
    if let Some(made) = made {
        // It stays when somebody put something into it.
        let _ = std::fs::remove_dir(made);
    }
}

#[test]
fn nothing_stays_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let (new, old) = (scratch.path().join("new"), scratch.path().join("old"));
    std::fs::create_dir(&old).unwrap();
    for data_dir in [&new, &old] {
        let ground = Ground::make(data_dir, &Options::default()).unwrap();
        assert!(ground.dir.exists());
    }
    assert!(!new.exists());
    assert_eq!(std::fs::read_dir(&old).unwrap().count(), 0);
}
