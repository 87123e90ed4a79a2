//! A folder for the data of one round: empty at first, gone at the end, and what removing it costs is not the next one's.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Does `work` in a folder of its own inside `dir`.
pub fn within<T>(dir: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let place = dir.join(format!("bench-data-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&place)?;
    let result = work(&place);
    std::fs::remove_dir_all(&place)?;
    File::open(dir)?.sync_all()?;
    result
}

#[test]
fn nothing_stays_behind() {
    let mut seen = Vec::new();
    for fails in [false, true] {
        let result = within(&std::env::temp_dir(), |dir| {
            std::fs::write(dir.join("a"), "a")?;
            seen.push(dir.to_path_buf());
            if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        });
        assert_eq!(result.is_err(), fails);
    }
    assert!(seen[0] != seen[1] && seen.iter().all(|dir| !dir.exists()));
}
