//! The commit page within and between mappings.

use super::*;
use std::sync::atomic::AtomicBool;
use tempfile::tempdir;

fn view(end: u64) -> View {
    View { start: end / 2, end, epoch: end as u32, owner: end ^ 7 }
}

#[test]
fn a_reader_sees_what_the_writer_published() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    assert_eq!(Page::open_read_only(&path, 4096).unwrap_err().kind(), io::ErrorKind::NotFound);
    let writer = Page::create(&path, 4096).unwrap();
    let reader = Page::open_read_only(&path, 4096).unwrap();
    assert_eq!((reader.slots(), reader.slot(3).view()), (64, Some(View::default())));
    let word = reader.slot(3).word();
    writer.publish(3, view(10));
    assert_eq!(reader.slot(3).view(), Some(view(10)));
    assert_ne!(reader.slot(3).word(), word);
    assert_eq!(reader.slot(2).view(), Some(View::default()));
}

#[test]
fn making_it_again_keeps_and_grows_but_never_shrinks() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    Page::create(&path, 4096).unwrap().publish(1, view(5));
    let larger = Page::create(&path, 8192).unwrap();
    assert_eq!(larger.slot(1).view(), Some(view(5)));
    let smaller = Page::create(&path, 4096).unwrap();
    assert_eq!((smaller.slots(), std::fs::metadata(&path).unwrap().len()), (64, 8192));
    assert_eq!(Page::open_read_only(&path, 16_384).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(Page::create(&path, 100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
#[should_panic(expected = "opened read-only")]
fn a_reader_does_not_write() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    let _writer = Page::create(&path, 64).unwrap();
    Page::open_read_only(&path, 64).unwrap().publish(0, view(1));
}

#[test]
fn a_reader_sleeps_on_a_read_only_mapping_until_the_writer_wakes_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    let writer = Page::create(&path, 4096).unwrap();
    let reader = Page::open_read_only(&path, 4096).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            sender.send(rustix::thread::gettid()).unwrap();
            let mut rounds = 0;
            loop {
                let word = reader.slot(5).word();
                if reader.slot(5).view() == Some(view(9)) {
                    return rounds;
                }
                // A sleep that does not work returns at once, and the rounds run away.
                reader.wait(5, word, None);
                rounds += 1;
            }
        });
        let thread = receiver.recv().unwrap();
        while !is_in_futex(thread) {
            std::thread::yield_now();
        }
        writer.publish(5, view(9));
        writer.wake_all(5);
        assert!(waiter.join().unwrap() <= 2);
    });
}

fn is_in_futex(thread: rustix::thread::Pid) -> bool {
    let call = std::fs::read_to_string(format!("/proc/self/task/{}/syscall", thread.as_raw_nonzero()));
    call.is_ok_and(|call| call.starts_with(&format!("{} ", libc::SYS_futex)))
}

#[test]
fn a_wait_ends_when_the_word_moved_on_or_time_is_out() {
    let dir = tempdir().unwrap();
    let page = Page::create(&dir.path().join("commit.page"), 64).unwrap();
    let word = page.slot(0).word();
    page.wait(0, word.wrapping_add(1), None);
    page.wait(0, word, Some(Duration::from_millis(1)));
}

#[test]
fn views_are_never_mixed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    let writer = Page::create(&path, 64).unwrap();
    let reader = Page::open_read_only(&path, 64).unwrap();
    writer.publish(0, view(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for end in 0..200_000 {
                writer.publish(0, view(end));
            }
            stop.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !stop.load(Ordering::Acquire) {
            if let Some(seen) = reader.slot(0).view() {
                assert_eq!(seen, view(seen.end));
                assert!(seen.end >= last);
                last = seen.end;
            }
        }
    });
}

#[test]
fn a_writer_that_died_while_changing_is_healed_by_the_next() {
    let dir = tempdir().unwrap();
    let page = Page::create(&dir.path().join("commit.page"), 64).unwrap();
    page.slot(0).generation.store(7, Ordering::Relaxed);
    assert_eq!(page.slot(0).view(), None);
    page.publish(0, view(3));
    assert_eq!(page.slot(0).view(), Some(view(3)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "looks at the file itself")]
fn a_page_says_what_it_is() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    let page = Page::create(&path, 4096).unwrap();
    page.publish(3, view(10));
    let word = page.slot(3).word();
    assert_eq!(page.head(), Head::Missing);
    page.make_anew();
    assert_eq!((page.head(), page.slot(3).view()), (Head::Known, Some(View::default())));
    assert_ne!(page.slot(3).word(), word, "who sleeps on it looks again");
    assert_eq!(std::fs::read(&path).unwrap()[..8], [b'A', b'Q', b'P', b'G', 1, 0, 0, 0]);
    page.notify(0);
    assert_eq!(Page::open_read_only(&path, 4096).unwrap().head(), Head::Known);
    let head_of = |bytes: [u8; 8]| {
        std::fs::write(&path, [&bytes[..], &[0; 4088]].concat()).unwrap();
        Page::create(&path, 4096).unwrap().head()
    };
    assert_eq!(head_of(*b"AQPG\x09\x01\0\0"), Head::Newer(0x109));
    assert_eq!(head_of(*b"AQPG\0\0\0\0"), Head::Foreign);
    assert_eq!(head_of(*b"AQFR\x01\0\0\0"), Head::Foreign);
}

#[test]
fn a_page_tells_of_which_start_of_the_machine_it_is() {
    let dir = tempdir().unwrap();
    let page = Page::create(&dir.path().join("commit.page"), 64).unwrap();
    assert!(!page.is_of_boot(7) && !page.is_of_boot(ANY_BOOT), "nobody has said so");
    page.set_boot(7);
    assert!(page.is_of_boot(7) && page.is_of_boot(ANY_BOOT) && !page.is_of_boot(8));
    page.set_boot(ANY_BOOT);
    assert!(page.is_of_boot(7), "the writer did not know");
    page.make_anew();
    assert!(!page.is_of_boot(ANY_BOOT));
}

/// The first slots of the page of a store, with a word, a boot, and four buckets, as they were once written.
#[test]
fn a_page_is_read_as_ever() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("commit.page");
    let bytes = include_bytes!("../../../../tests/golden/v1/commit_page.bin");
    #[expect(clippy::disallowed_methods, reason = "a golden file is put where a page would be")]
    std::fs::write(&path, bytes).unwrap();
    let page = Page::open_read_only(&path, bytes.len()).unwrap();
    assert_eq!((page.head(), page.slot(0).word(), page.slots()), (Head::Known, 27, 12));
    assert!(page.is_of_boot(0x0807_0605_0403_0201) && !page.is_of_boot(0x0807_0605_0403_0202));
    let view = |end, start, epoch, serial| Some(View { start, end, epoch, owner: 1_u64 << 62 | serial });
    assert_eq!(page.slot(2).view(), view(90_000, 72_922, 14, 1));
    assert_eq!((page.slot(6).view(), page.slot(7).view()), (view(1, 0, 12, 3), view(14_386, 0, 14, 4)));
    assert_eq!((page.slot(8).view(), page.slot(11).word()), (view(2_692, 0, 14, 4), 1));
}
