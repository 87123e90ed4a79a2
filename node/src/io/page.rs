//! A page of slots shared between processes: where each bucket stands, and a word to wait on.
//!
//! One process writes, any number map it read-only and sleep on a slot's word without polling. It is the only file that is ever mapped:
//! its blocks are reserved before and it never shrinks, so that no access can fault.
//! Invariant: a view of a slot is a state that its writer published, never a mixture of two. The first slot is the page's own: a head that says what
//! the file is, and a word. Format page: `docs/format/commit_page.md`. This module knows nothing of buckets.

use super::futex;
use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex::Flags;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

/// Bytes of a [`Slot`]: a cache line.
pub const SLOT_BYTES: usize = 64;

/// The first bytes of a page file.
pub const MAGIC: [u8; 4] = *b"AQPG";

/// The version of its layout, behind the magic.
pub const VERSION: u16 = 1;

/// The boot of a machine that does not number its starts.
pub const ANY_BOOT: u64 = 1;

/// The slot with the head: only its word is used as that of others. Where others have their start, it has the boot.
const HEAD_SLOT: usize = 0;

/// What the head of a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The page is new, or a power cut took its head.
    Missing,
    /// It is a page as this program has them.
    Known,
    /// A newer program has laid it out, in this version.
    Newer(u16),
    /// It is no page.
    Foreign,
}

/// One line of a [`Page`]: read by anybody, written through [`Page::publish`].
#[repr(C, align(64))]
#[derive(Default)]
pub struct Slot {
    end: AtomicU64,
    start: AtomicU64,
    word: AtomicU32,
    epoch: AtomicU32,
    /// Odd while the writer changes the slot.
    generation: AtomicU32,
    waiting: AtomicU32,
    owner: AtomicU64,
    memory_bytes: AtomicU64,
    stalled_ms: AtomicU64,
    damaged: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// Where the fields of a slot lie, for the test of the format page.
#[cfg(test)]
pub(crate) const FIELDS: [(usize, usize, &str); 10] = [
    (std::mem::offset_of!(Slot, end), 8, "end"),
    (std::mem::offset_of!(Slot, start), 8, "start"),
    (std::mem::offset_of!(Slot, word), 4, "word"),
    (std::mem::offset_of!(Slot, epoch), 4, "epoch"),
    (std::mem::offset_of!(Slot, generation), 4, "generation"),
    (std::mem::offset_of!(Slot, waiting), 4, "waiting"),
    (std::mem::offset_of!(Slot, owner), 8, "owner"),
    (std::mem::offset_of!(Slot, memory_bytes), 8, "memory bytes"),
    (std::mem::offset_of!(Slot, stalled_ms), 8, "stalled ms"),
    (std::mem::offset_of!(Slot, damaged), 8, "damaged"),
];

/// What a slot says. All zeros in a new page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// First offset that is there.
    pub start: u64,
    /// First offset that is not durable yet.
    pub end: u64,
    /// The opening of the store that published this.
    pub epoch: u32,
    /// Whose slot it is, as the writer numbers them, for slots that change hands.
    pub owner: u64,
}

/// Figures beside a slot's view, for whoever watches the writer: nothing is decided by them, and they may be of different moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Bytes of rows in memory that are not in runs yet.
    pub memory_bytes: u64,
    /// Milliseconds that writers were held back, in all.
    pub stalled_ms: u64,
    /// Memtables that wait to be flushed.
    pub waiting: u32,
    /// Places in files that were found damaged.
    pub damaged: u64,
}

impl Slot {
    /// The figures that were shown last.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            stalled_ms: self.stalled_ms.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
        }
    }

    /// What was last published; `None` while the writer changes it, or when it died doing so: wait, then look again.
    pub fn view(&self) -> Option<View> {
        let generation = load_word(&self.generation);
        let view = View {
            start: self.start.load(Ordering::Relaxed),
            end: self.end.load(Ordering::Relaxed),
            epoch: self.epoch.load(Ordering::Relaxed),
            owner: self.owner.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (generation.is_multiple_of(2) && self.generation.load(Ordering::Relaxed) == generation).then_some(view)
    }

    /// The word that changes with every publication. Read it **before** the view, then wait on what was read.
    pub fn word(&self) -> u32 {
        load_word(&self.word)
    }

    /// The same in other memory, for the simulator.
    pub(crate) fn copy(&self) -> Slot {
        let copy = Slot::default();
        copy.end.store(self.end.load(Ordering::Relaxed), Ordering::Relaxed);
        copy.start.store(self.start.load(Ordering::Relaxed), Ordering::Relaxed);
        copy.owner.store(self.owner.load(Ordering::Relaxed), Ordering::Relaxed);
        copy.word.store(self.word.load(Ordering::Relaxed), Ordering::Relaxed);
        copy.epoch.store(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        copy.generation.store(self.generation.load(Ordering::Relaxed), Ordering::Relaxed);
        copy
    }

    fn publish(&self, view: View) {
        // A writer that died while changing left an odd number: this heals it.
        let changing = self.generation.load(Ordering::Relaxed) | 1;
        self.generation.store(changing, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(view.start, Ordering::Relaxed);
        self.end.store(view.end, Ordering::Relaxed);
        self.epoch.store(view.epoch, Ordering::Relaxed);
        self.owner.store(view.owner, Ordering::Relaxed);
        self.generation.store(changing.wrapping_add(1), Ordering::Release);
        self.word.store(self.word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// An acquiring load that is also allowed on read-only memory, where only relaxed loads are.
fn load_word(word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// A fixed number of slots in shared memory. Clones share the mapping.
#[derive(Clone)]
pub struct Page(Arc<Memory>);

enum Memory {
    Mapped(Mapping),
    Simulated { slots: Arc<[Slot]>, writable: bool, pump: Pump },
}

/// Lets the simulation go on instead of sleeping, for at most so long.
pub(crate) type Pump = Box<dyn Fn(Option<Duration>) + Send + Sync>;

impl Page {
    /// Maps the page file to write, made if it does not exist. What an existing one holds is kept: others may be mapping it.
    pub fn create(path: &Path, bytes: usize) -> io::Result<Page> {
        let slots = slots_of(bytes)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Reserved blocks: storing to a hole of a mapped file on a full disk is a fatal signal, this is an error.
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, bytes)?,
            Err(error) => return Err(error.into()),
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        Ok(Page(Arc::new(Memory::Mapped(Mapping::new(&file, slots, protection)?))))
    }

    /// Maps an existing page file of at least `bytes` to read.
    pub fn open_read_only(path: &Path, bytes: usize) -> io::Result<Page> {
        let slots = slots_of(bytes)?;
        let file = OpenOptions::new().read(true).open(path)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("a page file shorter than {bytes} bytes")));
        }
        Ok(Page(Arc::new(Memory::Mapped(Mapping::new(&file, slots, ProtFlags::READ)?))))
    }

    /// A page in the simulator's memory.
    pub(crate) fn simulated(slots: Arc<[Slot]>, writable: bool, pump: Pump) -> Page {
        Page(Arc::new(Memory::Simulated { slots, writable, pump }))
    }

    /// What the file says it is.
    pub fn head(&self) -> Head {
        let head = self.slot(HEAD_SLOT).end.load(Ordering::Relaxed).to_ne_bytes();
        let version = u16::from_le_bytes([head[4], head[5]]);
        match head {
            [0, 0, 0, 0, 0, 0, 0, 0] => Head::Missing,
            _ if head[..4] != MAGIC => Head::Foreign,
            _ if version > VERSION => Head::Newer(version),
            _ if version == VERSION => Head::Known,
            _ => Head::Foreign,
        }
    }

    /// Empties every slot and writes the head. The words move on, whatever they were. Panics when the page was opened read-only.
    pub fn make_anew(&self) {
        for index in 0..self.slots() {
            self.publish(index, View::default());
        }
        let mut head = [0; 8];
        head[..4].copy_from_slice(&MAGIC);
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        self.slot(HEAD_SLOT).end.store(u64::from_ne_bytes(head), Ordering::Release);
    }

    /// Says that what stands here is of this start of the machine: its writer, or the one before it, has opened the store since. Who sees that sees what the writer
    /// did before. Panics when the page was opened read-only.
    pub fn set_boot(&self, boot: u64) {
        assert!(self.is_writable(), "a page that was opened read-only is not written to");
        self.slot(HEAD_SLOT).start.store(boot, Ordering::Release);
    }

    /// Whether what stands here was written since the machine, which has this boot, was started, as far as is known. Else a power cut may have left an
    /// older state of each slot, and a newer one than that of files.
    pub fn is_of_boot(&self, boot: u64) -> bool {
        let written = self.slot(HEAD_SLOT).start.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        written == boot || written == ANY_BOOT || written != 0 && boot == ANY_BOOT
    }

    /// How many slots.
    pub fn slots(&self) -> usize {
        self.all().len()
    }

    /// One slot. Panics when there is none of that number.
    pub fn slot(&self, index: usize) -> &Slot {
        &self.all()[index]
    }

    /// Publishes a new state of a slot and moves its word on; [`Page::wake_all`] wakes who waits. One publisher a slot at a time.
    /// Panics when the page was opened read-only.
    pub fn publish(&self, index: usize, view: View) {
        assert!(self.is_writable(), "a page that was opened read-only is not written to");
        self.slot(index).publish(view);
    }

    /// Shows figures beside the view of a slot; wakes nobody. Panics when the page was opened read-only.
    pub fn show_gauges(&self, index: usize, gauges: Gauges) {
        assert!(self.is_writable(), "a page that was opened read-only is not written to");
        let slot = self.slot(index);
        slot.memory_bytes.store(gauges.memory_bytes, Ordering::Relaxed);
        slot.stalled_ms.store(gauges.stalled_ms, Ordering::Relaxed);
        slot.waiting.store(gauges.waiting, Ordering::Relaxed);
        slot.damaged.store(gauges.damaged, Ordering::Relaxed);
    }

    /// Moves the word of a slot on and wakes every waiter of it, in all processes. Any number of threads may.
    pub fn notify(&self, index: usize) {
        assert!(self.is_writable(), "a page that was opened read-only is not written to");
        self.slot(index).word.fetch_add(1, Ordering::Release);
        self.wake_all(index);
    }

    /// Sleeps while the word of a slot is `expected`, until woken, a signal, or the time-out. The caller looks again in every case.
    /// In the simulator it lets the simulation go on a step and returns.
    pub fn wait(&self, index: usize, expected: u32, timeout: Option<Duration>) {
        let slot = self.slot(index);
        match &*self.0 {
            Memory::Mapped(_) => futex::sleep(&slot.word, Flags::empty(), expected, timeout),
            Memory::Simulated { pump, .. } => {
                if slot.word() == expected {
                    pump(timeout);
                }
            }
        }
    }

    /// Wakes every waiter of a slot, in all processes.
    pub fn wake_all(&self, index: usize) {
        if let Memory::Mapped(_) = &*self.0 {
            // Waking fails on no valid word; without waiters it wakes nobody.
            let _ = rustix::thread::futex::wake(&self.slot(index).word, Flags::empty(), i32::MAX as u32);
        }
    }

    fn is_writable(&self) -> bool {
        match &*self.0 {
            Memory::Mapped(mapping) => mapping.writable,
            Memory::Simulated { writable, .. } => *writable,
        }
    }

    fn all(&self) -> &[Slot] {
        match &*self.0 {
            Memory::Mapped(mapping) => mapping.all(),
            Memory::Simulated { slots, .. } => slots,
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} slots)", self.slots())
    }
}

pub(crate) fn slots_of(bytes: usize) -> io::Result<usize> {
    match bytes {
        0 => Err(io::Error::new(io::ErrorKind::InvalidInput, "a page without slots")),
        bytes if bytes % SLOT_BYTES != 0 => Err(io::Error::new(io::ErrorKind::InvalidInput, "a page of broken slots")),
        bytes => Ok(bytes / SLOT_BYTES),
    }
}

/// Writes zeros behind the end of a file, up to `bytes`.
fn fill(file: &std::fs::File, bytes: usize) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let have = file.metadata()?.len();
    let missing = (bytes as u64).saturating_sub(have) as usize;
    file.write_all_at(&vec![0; missing], have)
}

/// A shared mapping of a whole number of slots.
struct Mapping {
    start: NonNull<Slot>,
    slots: usize,
    writable: bool,
}

// SAFETY: a mapping has no thread affinity, and all access to it is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &std::fs::File, slots: usize, protection: ProtFlags) -> io::Result<Mapping> {
        let bytes = slots * SLOT_BYTES;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).expect("mmap does not map at null");
        Ok(Mapping { start, slots, writable: protection.contains(ProtFlags::WRITE) })
    }

    fn all(&self) -> &[Slot] {
        // SAFETY: the mapping is this long, aligned to a page, lives as long as `self`, is backed by a file that never shrinks, and any
        // bits are a valid Slot. Other processes change it through atomics only; no store goes to a read-only mapping (publish asserts).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.slots) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no reference to it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.slots * SLOT_BYTES) };
    }
}

#[cfg(test)]
mod tests;
