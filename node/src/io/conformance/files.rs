//! Blocking calls.

use super::*;

pub(super) fn round_trip_of_many_sizes(stand: &Stand) {
    let file = stand.data("a");
    for (round, blocks) in [1usize, 2, 16, 257].into_iter().enumerate() {
        let (bytes, offset) = (blocks * BLOCK_BYTES, (round * 3 * BLOCK_BYTES) as u64);
        let pattern = stand.pattern(bytes, round as u8);
        stand.driver.write_at(&file, std::slice::from_ref(&pattern), offset, round % 2 == 0).unwrap();
        assert_eq!(stand.read(&file, offset, bytes).unwrap()[..], pattern[..]);
    }
    stand.driver.sync(&file).unwrap();
    let again = stand.driver.open(&stand.path("a"), Mode::Read, true).unwrap();
    assert_eq!(stand.driver.len(&again).unwrap(), (9 + 257) * BLOCK_BYTES as u64);
    assert_eq!(stand.read(&again, 9 * 4096, 257 * 4096).unwrap()[..], stand.pattern(257 * 4096, 3)[..]);
    assert!(again.is_aligned());
}

pub(super) fn pieces_lie_one_behind_the_other(stand: &Stand) {
    let file = stand.data("a");
    let whole = stand.pattern(PIECES_MAX * BLOCK_BYTES, 7);
    let pieces: Vec<_> = (0..PIECES_MAX).map(|index| whole.slice(index * BLOCK_BYTES..(index + 1) * BLOCK_BYTES)).collect();
    stand.driver.write_at(&file, &pieces, 8192, true).unwrap();
    assert_eq!(stand.read(&file, 8192, whole.len()).unwrap()[..], whole[..]);
    assert!(stand.read(&file, 0, 8192).unwrap().iter().all(|byte| *byte == 0), "a hole reads as zeros");
}

pub(super) fn reads_end_with_the_file(stand: &Stand) {
    let plain = stand.plain("a");
    let pattern = stand.pattern(13_001, 3);
    stand.driver.write_at(&plain, std::slice::from_ref(&pattern), 0, true).unwrap();
    let file = stand.driver.open(&stand.path("a"), Mode::Read, true).unwrap();
    assert_eq!(stand.read(&file, 0, 16_384).unwrap()[..], pattern[..]);
    assert_eq!(stand.read(&file, 12_288, 4096).unwrap()[..], pattern[12_288..]);
    assert_eq!(stand.read(&file, 4096, 65_536).unwrap()[..], pattern[4096..]);
    assert!(stand.read(&file, 16_384, 4096).unwrap().is_empty());
    assert!(stand.read(&file, 1 << 40, 4096).unwrap().is_empty());
    let mut queue = stand.queue(4);
    for (token, offset) in [0u64, 12_288, 16_384].into_iter().enumerate() {
        queue.submit(token as u64, a_read(&file, stand.pool.get(16_384), 16_384, offset)).unwrap();
    }
    let mut lengths: Vec<_> = drain(&mut *queue).into_iter().map(|done| (done.token, done.result.unwrap())).collect();
    lengths.sort();
    assert_eq!(lengths, [(0, 13_001), (1, 713), (2, 0)]);
}

fn refused(outcome: io::Result<()>) {
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

pub(super) fn misaligned_is_refused(stand: &Stand) {
    let file = stand.data("a");
    let block = stand.pattern(2 * BLOCK_BYTES, 1);
    let write = |piece: Frozen, offset| stand.driver.write_at(&file, &[piece], offset, true);
    refused(write(block.slice(..BLOCK_BYTES), 512));
    refused(write(block.slice(..512), 0));
    refused(write(block.slice(512..512 + BLOCK_BYTES), 0));
    let read = |len, offset| stand.read(&file, offset, len).map(drop);
    refused(read(BLOCK_BYTES, 100));
    refused(read(100, 0));
    assert_eq!(stand.driver.len(&file).unwrap(), 0, "nothing was written");
}

pub(super) fn what_cannot_be_is_refused(stand: &Stand) {
    let file = stand.data("a");
    let block = stand.pattern(BLOCK_BYTES, 1);
    refused(stand.driver.write_at(&file, &vec![block.clone(); PIECES_MAX + 1], 0, false));
    refused(stand.driver.write_at(&file, &[block], (i64::MAX as u64) & !4095, false));
    refused(stand.driver.read_at(&file, &mut stand.pool.get(1), 8192, 0).map(drop));
    assert_eq!(stand.driver.len(&file).unwrap(), 0);
    stand.driver.write_at(&file, &[], 0, true).unwrap();
    assert_eq!(stand.read(&file, 0, 0).unwrap().len(), 0);
}

pub(super) fn plain_files_know_no_alignment(stand: &Stand) {
    let file = stand.plain("a");
    let text = stand.pool.copy_of(b"append, tail, project").freeze();
    stand.driver.write_at(&file, &[text.slice(..6), text.slice(6..)], 3, true).unwrap();
    stand.driver.write_at(&file, &[text.slice(8..12)], 100_001, false).unwrap();
    assert_eq!(stand.read(&file, 3, 21).unwrap()[..], text[..]);
    assert_eq!(stand.read(&file, 100_001, 50).unwrap()[..], b"tail"[..]);
    assert_eq!(stand.driver.len(&file).unwrap(), 100_005);
    assert!(!file.is_aligned() && !file.is_direct());
}

pub(super) fn lengths(stand: &Stand) {
    let file = stand.data("a");
    stand.driver.write_at(&file, &[stand.pattern(8192, 1)], 0, false).unwrap();
    stand.driver.set_len(&file, 4096).unwrap();
    stand.driver.set_len(&file, 12_288).unwrap();
    let after = stand.read(&file, 0, 65_536).unwrap();
    assert_eq!((after.len(), &after[..4096]), (12_288, &stand.pattern(4096, 1)[..]));
    assert!(after[4096..].iter().all(|byte| *byte == 0), "new bytes are zeros");
    stand.driver.allocate(&file, 4096).unwrap();
    assert_eq!(stand.driver.len(&file).unwrap(), 12_288, "reserving does not cut");
    stand.driver.allocate(&file, 1 << 20).unwrap();
    stand.driver.allocate(&file, 0).unwrap();
    assert_eq!(stand.driver.len(&file).unwrap(), 1 << 20);
    assert_eq!(stand.read(&file, 0, 4096).unwrap()[..], stand.pattern(4096, 1)[..]);
}

pub(super) fn names(stand: &Stand) {
    let kind = |outcome: io::Result<File>| outcome.unwrap_err().kind();
    let (a, b) = (stand.path("a"), stand.path("b"));
    assert_eq!(kind(stand.driver.open(&a, Mode::Read, true)), io::ErrorKind::NotFound);
    assert_eq!(kind(stand.driver.open(&a, Mode::Write, true)), io::ErrorKind::NotFound);
    stand.driver.write_at(&stand.data("a"), &[stand.pattern(4096, 1)], 0, true).unwrap();
    assert_eq!(kind(stand.driver.open(&a, Mode::Create, true)), io::ErrorKind::AlreadyExists);
    let old = stand.data("b");
    stand.driver.rename(&a, &b).unwrap();
    stand.driver.sync_dir(&stand.dir).unwrap();
    assert_eq!(kind(stand.driver.open(&a, Mode::Read, true)), io::ErrorKind::NotFound);
    let new = stand.driver.open(&b, Mode::Write, true).unwrap();
    assert_eq!(stand.driver.len(&new).unwrap(), 4096);
    assert_eq!(stand.driver.len(&old).unwrap(), 0, "who has it open keeps the old one");
    stand.driver.remove(&b).unwrap();
    assert_eq!(stand.driver.remove(&b).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(stand.driver.rename(&a, &b).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(stand.read(&new, 0, 4096).unwrap()[..], stand.pattern(4096, 1)[..], "a removed file lives while it is open");
    assert!(stand.driver.sync_dir(&stand.path("none")).is_err());
}

pub(super) fn a_directory_lists_sorted(stand: &Stand) {
    let inner = stand.path("tables/1/p0");
    stand.driver.create_dir_all(&inner).unwrap();
    stand.driver.create_dir_all(&inner).unwrap();
    for name in ["z", "B", "a10", "a2"] {
        let file = stand.plain(&format!("tables/1/p0/{name}"));
        stand.driver.set_len(&file, name.len() as u64).unwrap();
    }
    let entry = |name: &str, bytes, is_dir| Entry { name: name.into(), bytes, is_dir };
    let expected = [entry("B", 1, false), entry("a10", 3, false), entry("a2", 2, false), entry("z", 1, false)];
    assert_eq!(stand.driver.list(&inner).unwrap(), expected);
    assert_eq!(stand.driver.list(&stand.path("tables/1")).unwrap(), [entry("p0", 0, true)]);
    stand.driver.remove_dir_all(&stand.path("tables")).unwrap();
    assert_eq!(stand.driver.list(&stand.dir).unwrap(), []);
    assert_eq!(stand.driver.list(&inner).unwrap_err().kind(), io::ErrorKind::NotFound);
}

pub(super) fn locks_exclude_other_openings(stand: &Stand) {
    let first = stand.plain("LOCK");
    let second = stand.driver.open(&stand.path("LOCK"), Mode::Write, false).unwrap();
    let follower = stand.driver.open(&stand.path("LOCK"), Mode::Read, false).unwrap();
    assert!(!stand.driver.is_locked(&follower).unwrap());
    let lock = stand.driver.lock(&first).unwrap().expect("nobody has it");
    assert!(stand.driver.lock(&second).unwrap().is_none());
    assert!(stand.driver.is_locked(&follower).unwrap());
    drop((second, first));
    assert!(stand.driver.is_locked(&follower).unwrap(), "the guard keeps the file open");
    drop(lock);
    assert!(!stand.driver.is_locked(&follower).unwrap());
    let third = stand.driver.open(&stand.path("LOCK"), Mode::Write, false).unwrap();
    assert!(stand.driver.lock(&third).unwrap().is_some());
}

pub(super) fn reading_only(stand: &Stand) {
    stand.driver.write_at(&stand.data("a"), &[stand.pattern(4096, 1)], 0, true).unwrap();
    let file = stand.driver.open(&stand.path("a"), Mode::Read, true).unwrap();
    assert!(stand.driver.write_at(&file, &[stand.pattern(4096, 2)], 0, false).is_err());
    assert!(stand.driver.set_len(&file, 0).is_err());
    assert!(stand.driver.lock(&file).is_err());
    let mut queue = stand.queue(1);
    queue.submit(1, a_write(&file, vec![stand.pattern(4096, 2)], 0, true)).unwrap();
    assert!(drain(&mut *queue)[0].result.is_err());
    assert_eq!(stand.read(&file, 0, 4096).unwrap()[..], stand.pattern(4096, 1)[..]);
}

pub(super) fn a_page_is_shared(stand: &Stand) {
    let path = stand.path("commit.page");
    assert_eq!(stand.driver.page(&path, 4096, false).unwrap_err().kind(), io::ErrorKind::NotFound);
    let writer = stand.driver.page(&path, 4096, true).unwrap();
    let reader = stand.driver.page(&path, 4096, false).unwrap();
    let view = page::View { start: 3, end: 9, epoch: 2, owner: 77 };
    let word = reader.slot(63).word();
    writer.publish(63, view);
    writer.wake_all(63);
    reader.wait(63, word, None);
    reader.wait(63, reader.slot(63).word(), Some(Duration::from_millis(1)));
    assert_eq!(stand.driver.page(&path, 4096, true).unwrap().slot(63).view(), Some(view));
    assert_eq!(reader.slot(63).view(), Some(view));
    assert_eq!(stand.driver.page(&path, 8192, false).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(stand.driver.list(&stand.dir).unwrap()[0].bytes, 4096);
}

pub(super) fn cached_files(stand: &Stand) {
    for name in ["a", "b", "c"] {
        stand.data(name);
    }
    let cache = FileCache::new(2, Mode::Read);
    let open = |name: &str| cache.open(&*stand.driver, &stand.path(name), true).unwrap();
    let is_same = |a: &File, b: &File| std::ptr::eq(a.path(), b.path());
    let a = open("a");
    drop(open("b"));
    assert!(is_same(&a, &open("a")));
    drop(open("c"));
    assert_eq!(cache.len(), 2);
    assert!(is_same(&a, &open("a")), "b was used longer ago");
    let (_b, _c) = (open("b"), open("c"));
    assert_eq!(cache.len(), 2, "all are in use: the last is its user's alone");
    cache.invalidate(&stand.path("a"));
    assert!(!is_same(&a, &open("a")));
    assert!(cache.open(&*stand.driver, &stand.path("none"), true).is_err());
}
