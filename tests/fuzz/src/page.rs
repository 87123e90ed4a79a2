//! The commit page: what its head and its slots say.

use std::path::PathBuf;
use std::sync::LazyLock;

use aquifer_node::io::page::{ANY_BOOT, Head, Page, SLOT_BYTES, View};

/// Slots of the page, the first of which has the head.
const SLOTS: usize = 4;

static PATH: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("aquifer-page-{}", std::process::id())));

/// Maps the bytes as a page, reads all of it, and makes it anew where a writer would; whether it was a page.
pub fn run(data: &[u8]) -> bool {
    let mut bytes = [0; SLOTS * SLOT_BYTES];
    let count = data.len().min(bytes.len());
    bytes[..count].copy_from_slice(&data[..count]);
    std::fs::write(&*PATH, bytes).expect("a place for a page");
    let reader = Page::open_read_only(&PATH, bytes.len()).expect("it is there");
    let writer = Page::create(&PATH, bytes.len()).expect("it is there");
    std::fs::remove_file(&*PATH).expect("it is there");
    let head = reader.head();
    for index in 0..SLOTS {
        let slot = reader.slot(index);
        let _ = (slot.view(), slot.word(), slot.gauges());
    }
    let _ = [0, ANY_BOOT, 7, u64::MAX].map(|boot| reader.is_of_boot(boot));
    if head != Head::Known {
        writer.make_anew();
        assert_eq!((reader.head(), reader.slot(1).view()), (Head::Known, Some(View::default())), "a page that was made anew is empty");
    }
    let (before, view) = (reader.slot(2).word(), View { start: 1, end: 2, epoch: 3, owner: 4 });
    writer.publish(2, view);
    assert_eq!(reader.slot(2).view(), Some(view), "what was published can be seen, whatever stood there");
    assert_ne!(reader.slot(2).word(), before, "who waits sees that something changed");
    writer.set_boot(7);
    assert!(reader.is_of_boot(7), "of the start that was set");
    head == Head::Known
}
