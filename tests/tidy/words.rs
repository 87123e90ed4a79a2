//! Words that may stand only in some places, or nowhere: `unsafe`, marks of unfinished work, sleeps in tests.

use super::code::{finds, line};
use super::tree::File;

/// Where `unsafe` may stand (a file, or a folder that ends in `/`), and why it must.
const UNSAFE_HOMES: [(&str, &str); 9] = [
    ("node/src/io/uring.rs", "hands buffers to the kernel through the ring and takes them back"),
    ("node/src/io/lock.rs", "fcntl takes a C structure for locks of an open file description"),
    ("node/src/io/buffer.rs", "allocates aligned memory and lends it as slices"),
    ("node/src/io/page.rs", "maps the commit page and waits on its futex words"),
    ("node/src/io/slab.rs", "maps large pages and cuts them into buffers"),
    ("node/src/format/stream.rs", "stores past the processor's caches"),
    ("node/src/merge/kernels.rs", "copies rows by references that were checked once for all columns"),
    ("tests/it/forbidden.rs", "puts a seccomp filter on a process between fork and exec"),
    ("benches/", "bare system calls are the limit that we are measured against"),
];

/// What an unfinished thing looks like.
const UNFINISHED: [&str; 4] = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];

/// Where a word stands, as `path:line`.
fn places(file: &File, word: &str) -> Vec<String> {
    finds(&file.code, word).map(|at| format!("{}:{}", file.path, line(&file.code, at))).collect()
}

/// `unsafe` away from its homes.
pub(crate) fn unsafe_faults(files: &[File]) -> Vec<String> {
    let at_home = |path: &str| UNSAFE_HOMES.iter().any(|(home, _)| path == *home || (home.ends_with('/') && path.starts_with(home)));
    let away = files.iter().filter(|file| !at_home(&file.path));
    away.flat_map(|file| places(file, "unsafe")).map(|place| format!("{place}: unsafe away from its homes")).collect()
}

/// Marks of unfinished work.
pub(crate) fn unfinished_faults(files: &[File]) -> Vec<String> {
    let found = |file, mark| places(file, mark).into_iter().map(move |place| format!("{place}: {mark}"));
    files.iter().flat_map(|file| UNFINISHED.iter().flat_map(move |mark| found(file, mark))).collect()
}

/// Sleeps in tests: a test waits for what it needs, not for a while.
pub(crate) fn sleep_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        let tests_from = match file.path.starts_with("tests/") || file.path.ends_with("tests.rs") {
            true => 0,
            false => file.code.find("#[cfg(test)]\nmod ").unwrap_or(file.code.len()),
        };
        for at in finds(&file.code, "thread::sleep").filter(|&at| at >= tests_from) {
            faults.push(format!("{}:{}: a test sleeps instead of waiting for what it needs", file.path, line(&file.code, at)));
        }
    }
    faults
}

#[test]
fn planted_unsafe_is_found() {
    let faults = |path, text| unsafe_faults(&[File::new(path, text)]).len();
    assert_eq!(faults("node/src/io/uring.rs", "unsafe { f() }"), 0);
    assert_eq!(faults("benches/src/ring.rs", "unsafe { f() }"), 0);
    assert_eq!(faults("node/src/log/mod.rs", "#![forbid(unsafe_code)] // unsafe\nlet s = \"unsafe\";"), 0);
    assert_eq!(faults("node/src/log/mod.rs", "unsafe { f() }\nunsafe impl Send for X {}"), 2);
}

#[test]
fn planted_unfinished_work_is_found() {
    let faults = |text| unfinished_faults(&[File::new("node/src/a.rs", text)]).len();
    assert_eq!(faults("// todo!()\nlet s = \"dbg!(\";"), 0);
    assert_eq!(faults("todo!(); unimplemented!(); dbg!(1);"), 3);
    assert_eq!(faults("#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}"), 2);
}

#[test]
fn planted_sleeps_are_found() {
    let faults = |path, text| sleep_faults(&[File::new(path, text)]).len();
    assert_eq!(faults("tests/it/kill.rs", "std::thread::sleep(d);"), 1);
    assert_eq!(faults("node/src/log/tests.rs", "use std::thread::sleep;"), 1);
    assert_eq!(faults("node/src/log/mod.rs", "#[cfg(test)]\nmod tests { fn f() { thread::sleep(d) } }"), 1);
    assert_eq!(faults("node/src/io/clock.rs", "thread::sleep(d);\n#[cfg(test)]\nmod tests {}"), 0);
}
