//! Names of files and folders: none that means "the rest", and a top level that stays as designed.

use super::tree::File;
use std::collections::BTreeSet;

/// Names that say nothing about what is inside.
const BAGS: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "misc", "shared"];

/// Everything that may stand at the top: the parts, and the files that tools look for by name.
const TOP_LEVEL: [&str; 18] = [
    "node",
    "ffi",
    "plugins",
    "include",
    "tests",
    "benches",
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "clippy.toml",
    "deny.toml",
    ".cargo",
    ".ci",
    ".gitignore",
];

/// Files and folders that are named as bags.
pub(crate) fn bag_faults(files: &[File]) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for file in files {
        for name in file.path.split('/') {
            let stem = name.split('.').next().unwrap_or(name);
            let last = stem.rsplit(['_', '-']).next().unwrap_or(stem);
            if BAGS.contains(&stem) || (BAGS.contains(&last) && last != "shared" && last != "common") {
                faults.insert(format!("{}: `{name}` does not say what is inside", file.path));
            }
        }
    }
    faults.into_iter().collect()
}

/// Names at the top that the design does not know.
pub(crate) fn top_level_faults(files: &[File]) -> Vec<String> {
    let tops: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    tops.into_iter().filter(|top| !TOP_LEVEL.contains(top)).map(|top| format!("{top}: does not belong at the top level")).collect()
}

#[test]
fn planted_bags_are_found() {
    let faults = |path| bag_faults(&[File::new(path, "")]).len();
    assert_eq!(faults("node/src/io/buffer.rs"), 0);
    assert_eq!(faults("node/src/merge/longest_common.rs"), 0);
    assert_eq!(faults("node/src/utils/buffer.rs"), 1);
    assert_eq!(faults("node/src/io/helpers.rs"), 1);
    assert_eq!(faults("tests/it/test_util.rs"), 1);
    assert_eq!(faults("tests/common/mod.rs"), 1);
}

#[test]
fn planted_names_at_the_top_are_found() {
    let faults = |path| top_level_faults(&[File::new(path, "")]).len();
    assert_eq!(faults("node/src/lib.rs"), 0);
    assert_eq!(faults(".ci/run"), 0);
    assert_eq!(faults("scripts/build.sh"), 1);
    assert_eq!(faults("notes.txt"), 1);
}
