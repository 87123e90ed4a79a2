//! A device that is full, and one that cannot be written. A child has its own mounts, which go with it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Options, Store};

use crate::{child, rows, scratch, skip};

/// Runs `job` of this binary in a mount namespace of its own, after the shell commands `mounts` over `$DIR`. `None` when that is not possible here.
fn in_own_mounts(mounts: &str, job: &str, dir: &Path) -> Option<bool> {
    let ours = child::command(job, &[dir.to_str().expect("a path in UTF-8")]);
    let mut command = Command::new("unshare");
    command.arg("--mount").args((!is_root()).then_some("--map-root-user"));
    command.args(["sh", "-c", &format!("{{ {mounts}; }} || exit 77; exec \"$0\" \"$@\"")]).arg(ours.get_program()).args(ours.get_args());
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("DIR", dir);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().ok()?;
    match status.code() {
        Some(77) => None,
        Some(1) if !can_unshare() => None,
        code => Some(code == Some(0)),
    }
}

fn can_unshare() -> bool {
    let mut probe = Command::new("unshare");
    probe.arg("--mount").args((!is_root()).then_some("--map-root-user")).arg("true");
    probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

const NEEDS: &str = "the right to mount (root, or user namespaces)";

#[test]
fn a_full_device_refuses_rows_and_takes_them_again_when_there_is_room() {
    let dir = scratch::directory();
    match in_own_mounts("mount -t tmpfs -o size=24m none \"$DIR\"", "fill_device", dir.path()) {
        None => skip::needs(NEEDS),
        Some(went_well) => assert!(went_well, "see above"),
    }
}

/// A child's job, on a device of 24 MiB.
pub(crate) fn fill_device(dir: &str) {
    let dir = Path::new(dir);
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![1; 6 << 20]).unwrap();
    let store = scratch::open(dir);
    let create = CreateTable::like(rows::schema()).option("segment.bytes", "2MiB").option("batch.bytes.max", "1MiB");
    let table = store.create_table("t", create.clone()).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    // The last room may be with a segment that is being prepared ahead: rows are refused until it is ready, then taken once more.
    let mut refused_in_turn = 0;
    while refused_in_turn < 50 {
        match writer.append(&rows::batch(next..next + 3_000)) {
            Ok(_) => (next, refused_in_turn) = (next + 3_000, 0),
            Err(error) => {
                check_full(&error);
                refused_in_turn += 1;
            }
        }
    }
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..next);
    let rest = dir.join("rest");
    fill(&rest);
    // The catalog's last block may still take a few tables.
    let full = (0..50).find_map(|count| store.create_table(&format!("u{count}"), create.clone()).err());
    check_full(&full.expect("the catalog is full too"));

    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(&rest).unwrap();
    for _ in 0..10 {
        writer.append(&rows::batch(next..next + 3_000)).unwrap();
        next += 3_000;
    }
    store.create_table("after", create).unwrap();
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..next);
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    drop((writer, table));
    store.close().unwrap();
    let store = scratch::open(dir);
    store.table("after").unwrap();
    rows::assert_range(&rows::numbers(store.table("t").unwrap().scan().build().unwrap()), 0..next);
}

#[test]
fn a_full_device_holds_back_flushes_and_lets_them_go_on_when_there_is_room() {
    let dir = scratch::directory();
    match in_own_mounts("mount -t tmpfs -o size=96m none \"$DIR\"", "fill_device_under_tree", dir.path()) {
        None => skip::needs(NEEDS),
        Some(went_well) => assert!(went_well, "see above"),
    }
}

/// A child's job, on a device of 96 MiB.
pub(crate) fn fill_device_under_tree(dir: &str) {
    let dir = Path::new(dir);
    let options = Options { memtable_bytes_max: 1 << 20, ..Options::default() };
    let store = Store::open(dir, options.clone()).unwrap();
    let create = CreateTable::like(rows::schema()).primary_key(&["number"]).option("segment.bytes", "16MiB");
    let table = store.create_table("t", create).unwrap();
    let mut writer = table.writer().unwrap();
    let mut next = 0;
    // The log is in its third segment, of 16 MiB, and has room where runs have none.
    while store.stats(None).unwrap()[0].bytes < 6 << 20 {
        writer.upsert(&rows::batch(next..next + 1_000)).unwrap();
        next += 1_000;
    }
    store.compact("t", true).unwrap();
    let filler = dir.join("filler");
    fill(&filler);
    let error = loop {
        match writer.upsert(&rows::batch(next..next + 1_000)) {
            Ok(_) => next += 1_000,
            Err(error) => break error,
        }
    };
    check_full(&error);
    check_full(&writer.upsert(&rows::batch(next..next + 1_000)).unwrap_err());
    let found = store.stats(None).unwrap().remove(0).tree.unwrap();
    let writing = found.writer.unwrap();
    assert!(writing.flushes_waiting > 0 && writing.memtable_bytes > 0, "the figures say why: {found:?}");
    for table in [&table, &scratch::follow(dir).table("t").unwrap()] {
        rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..next);
        assert_eq!(table.lookup(&rows::batch(next - 2..next + 2)).unwrap().rows.num_rows(), 2);
    }

    std::fs::remove_file(&filler).unwrap();
    rows::eventually("room", || writer.upsert(&rows::batch(next..next + 1_000)).ok());
    next += 1_000;
    for _ in 0..20 {
        writer.upsert(&rows::batch(next..next + 1_000)).unwrap();
        next += 1_000;
    }
    store.compact("t", true).unwrap();
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    rows::eventually("replaced runs to go", || (scratch::files(&dir.join("tables"), ".run").len() == 1).then_some(()));
    rows::assert_range(&rows::numbers(table.scan().build().unwrap()), 0..next);
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
    drop((writer, table));
    store.close().unwrap();
    let store = Store::open(dir, options).unwrap();
    rows::assert_range(&rows::numbers(store.table("t").unwrap().scan().build().unwrap()), 0..next);
}

/// Takes all room that is left.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

fn check_full(error: &aquifer_node::Error) {
    assert_eq!(error.kind(), Kind::Exhausted, "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
}

#[test]
fn a_full_device_makes_no_half_store() {
    let dir = scratch::directory();
    match in_own_mounts("mount -t tmpfs -o size=1m none \"$DIR\"", "open_on_full_device", dir.path()) {
        None => skip::needs(NEEDS),
        Some(went_well) => assert!(went_well, "see above"),
    }
}

/// A child's job, on a device of 1 MiB: smaller than the commit page.
pub(crate) fn open_on_full_device(dir: &str) {
    check_full(&Store::open(dir, Options::default()).map(|_| ()).unwrap_err());
    check_full(&Store::open(dir, Options::default()).map(|_| ()).unwrap_err());
}

#[test]
fn a_read_only_directory_can_be_read() {
    let dir = scratch::directory();
    {
        let store = scratch::open(dir.path());
        let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
        table.writer().unwrap().append(&rows::batch(0..100)).unwrap();
    }
    let mounts = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,ro,bind \"$DIR\"";
    match in_own_mounts(mounts, "use_read_only", dir.path()) {
        None => skip::needs(NEEDS),
        Some(went_well) => assert!(went_well, "see above"),
    }
}

/// A child's job, on a directory that is mounted read-only.
pub(crate) fn use_read_only(dir: &str) {
    let error = Store::open(dir, Options::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    assert!(error.to_string().contains("can be written"), "{error}");
    let store = scratch::follow(Path::new(dir));
    rows::assert_range(&rows::numbers(store.table("t").unwrap().scan().build().unwrap()), 0..100);
    assert!(store.verify(None, &mut |_| {}).unwrap().problems.is_empty());
}
