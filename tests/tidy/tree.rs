//! The files of the repository: everything under the root but version control, editors' folders and what `.gitignore` names.

use super::code;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct File {
    /// From the root, with `/` between names.
    pub(crate) path: String,
    /// What it says; empty when it is not text.
    pub(crate) text: String,
    /// For Rust: `text` with comments and literals blanked, line for line; else empty.
    pub(crate) code: String,
}

impl File {
    /// A file as the rules see it.
    pub(crate) fn new(path: &str, text: &str) -> File {
        let code = if path.ends_with(".rs") { code::blank(text) } else { String::new() };
        File { path: path.to_string(), text: text.to_string(), code }
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(manifest).join("..")
}

/// All files, sorted by path.
pub(crate) fn read(root: &Path) -> Vec<File> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut files = Vec::new();
    walk(root, "", &|path| is_ignored(&ignored, path), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whether `.gitignore` or custom keeps a path out. Only whole paths (`/target`) and whole names (`target`) are understood.
fn is_ignored(ignored: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    if [".git", ".idea", ".vscode"].contains(&name) {
        return true;
    }
    ignored.lines().map(|line| line.trim().trim_end_matches('/')).any(|line| match line.strip_prefix('/') {
        Some(whole) => whole == path,
        None => line == name,
    })
}

fn walk(dir: &Path, prefix: &str, ignored: &dyn Fn(&str) -> bool, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("the repository can be listed") {
        let entry = entry.expect("the repository can be listed");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if ignored(&path) {
            continue;
        }
        if entry.file_type().expect("an entry has a type").is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, files);
        } else {
            let bytes = fs::read(entry.path()).expect("a source can be read");
            files.push(File::new(&path, &String::from_utf8(bytes).unwrap_or_default()));
        }
    }
}

#[test]
fn ignores_whole_paths_and_whole_names() {
    let ignored = "/target\n/benches/rivals/target/\ncorpus\n";
    assert!(is_ignored(ignored, "target"));
    assert!(is_ignored(ignored, "benches/rivals/target"));
    assert!(is_ignored(ignored, "tests/fuzz/corpus"));
    assert!(is_ignored(ignored, ".git"));
    assert!(!is_ignored(ignored, "node/target"));
    assert!(!is_ignored(ignored, "targets"));
}
