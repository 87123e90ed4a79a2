//! The directories of the simulated disk: what the program sees and what survives a power cut.
//!
//! A change of names (create, rename, remove) is durable once its directory is synced. A power cut keeps, of every directory, the
//! changes up to some moment; a rename between two directories is kept in both or in neither.
//! This module knows nothing of the bytes in files.

use super::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Dir(u64),
}

/// Names by directory. A directory that nothing leads to is no more.
type Tree = BTreeMap<u64, BTreeMap<String, Node>>;

const ROOT: u64 = 0;

/// One change, atomic.
#[derive(Clone)]
struct Change(Vec<Edit>);

#[derive(Clone)]
struct Edit {
    dir: u64,
    name: String,
    node: Option<Node>,
}

/// All directories.
#[derive(Clone)]
pub(super) struct Names {
    live: Tree,
    durable: Tree,
    unsynced: Vec<Change>,
    next_dir: u64,
}

impl Names {
    pub(super) fn new() -> Names {
        let root = Tree::from([(ROOT, BTreeMap::new())]);
        Names { live: root.clone(), durable: root, unsynced: vec![], next_dir: ROOT + 1 }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(ROOT);
        for name in parts(path)? {
            let Node::Dir(dir) = node else { return Err(errno(libc::ENOTDIR)) };
            node = *self.live[&dir].get(name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(node)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir(_) => Err(errno(libc::EISDIR)),
        }
    }

    fn dir(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(errno(libc::ENOTDIR)),
        }
    }

    /// The directory of a path, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = *parts(path)?.last().ok_or_else(|| errno(libc::EISDIR))?;
        let dir = self.dir(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, name.to_string()))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, Node)>> {
        let dir = self.dir(path)?;
        Ok(self.live[&dir].iter().map(|(name, node)| (name.clone(), *node)).collect())
    }

    pub(super) fn create(&mut self, path: &Path, inode: u64) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        if self.live[&dir].contains_key(&name) {
            return Err(errno(libc::EEXIST));
        }
        self.change(vec![Edit { dir, name, node: Some(Node::File(inode)) }]);
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path) {
            Ok(Node::Dir(_)) => return Ok(()),
            Ok(Node::File(_)) => return Err(errno(libc::EEXIST)),
            Err(_) => {}
        }
        let (dir, name) = self.place(path)?;
        let made = self.next_dir;
        self.next_dir += 1;
        self.live.insert(made, BTreeMap::new());
        self.durable.insert(made, BTreeMap::new());
        self.change(vec![Edit { dir, name, node: Some(Node::Dir(made)) }]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.file(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if from == to {
            return Ok(());
        }
        if let Some(Node::Dir(_)) = self.live[&to.0].get(&to.1) {
            return Err(errno(libc::EISDIR));
        }
        let gone = Edit { dir: from.0, name: from.1, node: None };
        self.change(vec![gone, Edit { dir: to.0, name: to.1, node: Some(Node::File(inode)) }]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let (dir, name) = self.place(path)?;
        self.change(vec![Edit { dir, name, node: None }]);
        Ok(())
    }

    /// Removes one thing of the tree at `path`, leaves first; whether `path` itself is gone.
    pub(super) fn remove_leaf(&mut self, path: &Path) -> io::Result<bool> {
        let (mut dir, mut name) = self.place(path)?;
        let mut is_top = true;
        let mut node = Node::Dir(self.dir(path)?);
        while let Node::Dir(inner) = node {
            let Some((first, below)) = self.live[&inner].first_key_value() else { break };
            (dir, name, node, is_top) = (inner, first.clone(), *below, false);
        }
        self.change(vec![Edit { dir, name, node: None }]);
        Ok(is_top)
    }

    /// Makes the changes in a directory durable, with those in other directories that they rest on.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut wanted = BTreeSet::from([self.dir(path)?]);
        let mut kept = vec![false; self.unsynced.len()];
        for (keep, change) in kept.iter_mut().zip(&self.unsynced).rev() {
            if change.0.iter().any(|edit| wanted.contains(&edit.dir)) {
                *keep = true;
                wanted.extend(change.0.iter().map(|edit| edit.dir));
            }
        }
        self.settle(&kept);
        Ok(())
    }

    /// What a power cut leaves.
    pub(super) fn crash(mut self, random: &mut Random) -> Names {
        let mut stopped = BTreeSet::new();
        let mut kept = vec![false; self.unsynced.len()];
        let stops_one_in = [1, 2, 8, 0][random.below(4) as usize];
        for (keep, change) in kept.iter_mut().zip(&self.unsynced) {
            let dirs = change.0.iter().map(|edit| edit.dir);
            *keep = !dirs.clone().any(|dir| stopped.contains(&dir)) && !random.one_in(stops_one_in);
            if !*keep {
                stopped.extend(dirs);
            }
        }
        self.settle(&kept);
        self.unsynced.clear();
        self.live = self.durable.clone();
        self
    }

    /// Every file that a name leads to.
    pub(super) fn files(&self) -> BTreeSet<u64> {
        let mut files = BTreeSet::new();
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            for node in self.live[&dir].values() {
                match node {
                    Node::File(inode) => drop(files.insert(*inode)),
                    Node::Dir(inner) => dirs.push(*inner),
                }
            }
        }
        files
    }

    fn change(&mut self, edits: Vec<Edit>) {
        apply(&mut self.live, &edits);
        self.unsynced.push(Change(edits));
    }

    fn settle(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        let durable = &mut self.durable;
        self.unsynced.retain(|change| {
            let keep = *kept.next().expect("one decision a change");
            if keep {
                apply(durable, &change.0);
            }
            !keep
        });
    }
}

fn apply(tree: &mut Tree, edits: &[Edit]) {
    for Edit { dir, name, node } in edits {
        let names = tree.entry(*dir).or_default();
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}

/// The names on the way from the root; relative paths start there too.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = vec![];
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| errno(libc::EILSEQ))?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(errno(libc::EINVAL)),
        }
    }
    Ok(names)
}

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> &Path {
        Path::new(text)
    }

    fn with_dirs() -> Names {
        let mut names = Names::new();
        for dir in ["a", "b"] {
            names.create_dir(path(dir)).unwrap();
        }
        names.sync_dir(path("/")).unwrap();
        names
    }

    fn crashes(names: &Names) -> impl Iterator<Item = Names> {
        (0..60).map(|seed| names.clone().crash(&mut Random::new(seed)))
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_every_directory() {
        let mut names = with_dirs();
        for (number, name) in ["a/1", "b/1", "a/2", "b/2", "a/3"].into_iter().enumerate() {
            names.create(path(name), number as u64).unwrap();
        }
        let mut seen = BTreeSet::new();
        for after in crashes(&names) {
            let count = |dir| after.list(path(dir)).unwrap().iter().map(|(name, _)| name.clone()).collect::<String>();
            assert!("123".starts_with(&count("a")) && "12".starts_with(&count("b")));
            seen.insert((count("a"), count("b")));
        }
        assert!(seen.len() > 6, "{seen:?}");
    }

    #[test]
    fn synced_names_survive() {
        let mut names = with_dirs();
        names.create(path("a/1"), 1).unwrap();
        names.sync_dir(path("a")).unwrap();
        names.remove(path("a/1")).unwrap();
        names.sync_dir(path("a")).unwrap();
        names.create(path("a/2"), 2).unwrap();
        names.sync_dir(path("a")).unwrap();
        assert!(crashes(&names).all(|after| after.find(path("a/1")).is_err() && after.find(path("a/2")).is_ok()));
    }

    #[test]
    fn a_rename_is_kept_in_both_directories_or_in_neither() {
        let mut names = with_dirs();
        names.create(path("a/1"), 1).unwrap();
        names.sync_dir(path("a")).unwrap();
        names.rename(path("a/1"), path("b/1")).unwrap();
        let mut moved = 0;
        for after in crashes(&names) {
            assert!(after.find(path("a/1")).is_ok() != after.find(path("b/1")).is_ok());
            moved += usize::from(after.find(path("b/1")).is_ok());
        }
        assert!((1..60).contains(&moved));
        names.sync_dir(path("b")).unwrap();
        assert!(crashes(&names).all(|after| after.find(path("b/1")).is_ok()));
    }

    #[test]
    fn syncing_one_end_of_a_rename_syncs_what_it_rests_on() {
        let mut names = with_dirs();
        names.create(path("a/new"), 1).unwrap();
        names.rename(path("a/new"), path("b/1")).unwrap();
        names.sync_dir(path("b")).unwrap();
        assert!(crashes(&names).all(|after| after.find(path("a/new")).is_err() && after.find(path("b/1")).is_ok()));
    }

    #[test]
    fn what_lies_in_a_lost_directory_is_lost() {
        let mut names = Names::new();
        names.create_dir(path("a")).unwrap();
        names.create(path("a/1"), 1).unwrap();
        names.sync_dir(path("a")).unwrap();
        let kept = crashes(&names).filter(|after| after.files().contains(&1)).count();
        assert!((1..60).contains(&kept), "{kept}");
    }

    #[test]
    fn a_tree_goes_leaf_by_leaf() {
        let mut names = with_dirs();
        names.create_dir(path("a/x")).unwrap();
        for (number, name) in ["a/x/1", "a/2"].into_iter().enumerate() {
            names.create(path(name), number as u64).unwrap();
        }
        let steps = (1..).find(|_| names.remove_leaf(path("a")).unwrap()).unwrap();
        assert_eq!(steps, 4);
        assert!(names.find(path("a")).is_err() && names.find(path("b")).is_ok());
    }

    #[test]
    fn errors_are_those_of_the_kernel() {
        let mut names = with_dirs();
        names.create(path("a/1"), 1).unwrap();
        let code = |outcome: io::Result<()>| outcome.unwrap_err().raw_os_error().unwrap();
        assert_eq!(code(names.create(path("a/1"), 2)), libc::EEXIST);
        assert_eq!(code(names.create(path("z/1"), 2)), libc::ENOENT);
        assert_eq!(code(names.create(path("a/1/x"), 2)), libc::ENOTDIR);
        assert_eq!(code(names.remove(path("a"))), libc::EISDIR);
        assert_eq!(code(names.rename(path("a/9"), path("b/9"))), libc::ENOENT);
        assert_eq!(code(names.sync_dir(path("a/1"))), libc::ENOTDIR);
    }
}
