//! What readers see of a log: its segments, its two ends, and the newest frames in memory.
//!
//! A live log and a follower of another process's log fill the same view. Invariants: `end` is durable, it only grows, and the segments cover
//! `[start, end)` before `end` says so. This module knows nothing of who writes, and does no I/O.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::fate::Deciding;
use super::segment::Segment;
use super::writer::Durable;
use crate::error::Error;
use crate::format::directory::Directory;
use crate::format::frame;
use crate::io::Frozen;
use crate::io::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Bytes of the newest frames that all logs of a store together keep in memory.
#[derive(Debug)]
pub struct RecentBudget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// Bytes of newest frames that one log keeps at most.
const LOG_BYTES_MAX: usize = 8 << 20;

/// As [`LOG_BYTES_MAX`], while nobody reads: then the memory serves the next batches better, while it is still in the processor's cache.
const UNREAD_BYTES_MAX: usize = 256 << 10;

impl RecentBudget {
    /// A budget for all logs of a store.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(RecentBudget { bytes_max, bytes: AtomicUsize::new(0) })
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "the budget of recent frames went below zero");
    }

    fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }
}

/// One frame in memory.
#[derive(Clone, Debug)]
pub struct Hot {
    /// The segment it was written to.
    pub segment_id: u64,
    /// Bytes from the start of the segment.
    pub position: u64,
    /// Its bytes.
    pub frame: Frozen,
}

#[derive(Debug)]
struct HotGroup {
    first_offset: u64,
    end_offset: u64,
    held_bytes: usize,
    frames: Vec<Hot>,
}

/// The newest frames of one log.
#[derive(Debug)]
struct Recent {
    groups: VecDeque<HotGroup>,
    bytes: usize,
    /// Something came since [`View::forget_if_idle`] looked.
    touched: bool,
}

/// See the head of this module.
#[derive(Debug)]
pub struct View {
    segments: ArcSwap<Vec<Arc<Segment>>>,
    start: AtomicU64,
    end: AtomicU64,
    recent: Mutex<Recent>,
    readers: AtomicUsize,
    budget: Arc<RecentBudget>,
    damage: ArcSwapOption<Error>,
}

/// A view that is read: while there is one, more of the newest frames are kept in memory.
#[derive(Debug)]
pub struct Reader(Arc<View>);

impl Deref for Reader {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl View {
    /// A view of the segments that recovery found.
    pub fn new(segments: Vec<Arc<Segment>>, start: u64, end: u64, budget: Arc<RecentBudget>) -> Self {
        assert!(start <= end, "start {start} behind end {end}");
        View {
            segments: ArcSwap::from_pointee(segments),
            start: AtomicU64::new(start),
            end: AtomicU64::new(end),
            recent: Mutex::new(Recent { groups: VecDeque::new(), bytes: 0, touched: false }),
            readers: AtomicUsize::new(0),
            budget,
            damage: ArcSwapOption::empty(),
        }
    }

    /// The view for one more reader.
    pub fn reader(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Reader(self.clone())
    }

    /// Offset of the oldest row that can be read.
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// Offset behind the last durable row.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Segments with rows, by offset.
    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    /// The segment that holds `offset`, if any does.
    pub fn segment_of(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let behind = segments.partition_point(|segment| segment.base_offset().is_some_and(|base| base <= offset));
        behind.checked_sub(1).map(|index| segments[index].clone())
    }

    /// Base offset of the segment behind this one, when there is one: this one holds no row from there on.
    pub fn base_behind(&self, segment: &Segment) -> Option<u64> {
        let segments = self.segments.load();
        let index = segments.iter().position(|known| known.id() == segment.id())?;
        segments.get(index + 1)?.base_offset()
    }

    /// The frames from the one that holds `offset` on to the end of its group, when they are still in memory.
    pub fn recent(&self, offset: u64) -> Option<Vec<Hot>> {
        let recent = self.recent.lock();
        let index = recent.groups.partition_point(|group| group.end_offset <= offset);
        let group = recent.groups.get(index)?;
        (group.first_offset <= offset).then(|| group.frames.clone())
    }

    /// Takes a durable group in, and gives its fate back to be decided. The caller holds the log's head, so groups come in order.
    pub fn publish(&self, durable: Durable) -> Deciding {
        let Durable { fate, segment, position, frames, first_offset, end_offset, .. } = durable;
        if position == 0 {
            // Retention trims without the head of the log: neither may undo what the other did.
            self.segments.rcu(|segments| segments.iter().chain([&segment]).cloned().collect::<Vec<_>>());
        }
        let mut at = position;
        let mut hot = Vec::with_capacity(frames.len());
        // What is held, not what is used of it: buffers are rounded up.
        let held_bytes = frames.iter().map(Frozen::capacity).sum();
        let mut directory = segment.directory.lock();
        for frame in frames {
            note(&mut directory, at, &frame);
            let next = at + frame.len() as u64;
            hot.push(Hot { segment_id: segment.id(), position: at, frame });
            at = next;
        }
        drop(directory);
        self.keep(HotGroup { first_offset, end_offset, held_bytes, frames: hot });
        let before = self.end.swap(end_offset, Ordering::Release);
        assert!(before <= end_offset, "the end of a log only grows");
        fate
    }

    fn keep(&self, group: HotGroup) {
        let mut recent = self.recent.lock();
        self.budget.add(group.held_bytes);
        recent.bytes += group.held_bytes;
        recent.groups.push_back(group);
        recent.touched = true;
        let bytes_max = if self.readers.load(Ordering::Relaxed) > 0 { LOG_BYTES_MAX } else { UNREAD_BYTES_MAX };
        while recent.bytes > bytes_max || self.budget.is_over() {
            let Some(oldest) = recent.groups.pop_front() else { break };
            recent.bytes -= oldest.held_bytes;
            self.budget.subtract(oldest.held_bytes);
        }
    }

    /// Forgets the frames in memory when none came since the last call: the budget is for logs that are written to.
    pub fn forget_if_idle(&self) {
        let mut recent = self.recent.lock();
        if !std::mem::take(&mut recent.touched) {
            self.budget.subtract(std::mem::take(&mut recent.bytes));
            recent.groups.clear();
        }
    }

    /// Rows before `offset` can no longer be read; whole segments before it leave the view and are returned.
    pub fn trim(&self, offset: u64) -> Vec<Arc<Segment>> {
        assert!(offset >= self.start() && offset <= self.end(), "trim to {offset} within the log");
        self.start.store(offset, Ordering::Release);
        let is_gone = |segment: &&Arc<Segment>| segment.sealed().is_some_and(|sealed| sealed.end_offset <= offset);
        let gone = |segments: &[Arc<Segment>]| segments.iter().take_while(is_gone).count();
        // The log may begin a segment meanwhile.
        let before = self.segments.rcu(|segments| segments[gone(segments)..].to_vec());
        before[..gone(&before)].to_vec()
    }

    /// Replaces what a follower knows: new segments, both ends. The start moves first, so that who misses a segment finds that it was dropped.
    pub fn refresh(&self, segments: Vec<Arc<Segment>>, start: u64, end: u64) {
        self.start.fetch_max(start, Ordering::AcqRel);
        self.segments.store(Arc::new(segments));
        self.end.fetch_max(end, Ordering::AcqRel);
    }

    /// Why rows behind the end, which were acknowledged, cannot be read; `None` when there are none.
    pub fn damage(&self) -> Option<Error> {
        self.damage.load().as_ref().map(|error| error.replica())
    }

    /// See [`View::damage`].
    pub fn set_damage(&self, damage: Option<Error>) {
        self.damage.store(damage.map(Arc::new));
    }

    /// Bytes of memory that hold frames.
    pub fn recent_bytes(&self) -> usize {
        self.recent.lock().bytes
    }
}

/// Puts a frame of this process into the directory of its segment.
fn note(directory: &mut Directory, position: u64, bytes: &[u8]) {
    let frame::Parsed::Frame(parsed) = frame::parse(bytes, directory.segment_id(), 0) else { unreachable!("it was sealed by `gather`") };
    let noted = directory.add_frame(position, &parsed, bytes);
    assert!(noted.is_ok(), "a frame of this process is not in order: {noted:?}");
}

impl Drop for View {
    fn drop(&mut self) {
        let bytes = self.recent.lock().bytes;
        self.budget.subtract(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::log::segment::Sealed;

    #[test]
    fn a_segment_that_begins_while_others_are_dropped_stays() {
        const SEGMENTS: u64 = 20_000;
        let view = View::new(Vec::new(), 0, 0, RecentBudget::new(0));
        let segment = |id: u64| {
            let sealed = Sealed { end_offset: id + 1, bytes: 0, timestamps_ms: (0, 0) };
            Arc::new(Segment::sealed_at(id, PathBuf::from("segment"), id, sealed))
        };
        let publish = |id: u64| {
            let (fate, segment) = (Deciding::begin(), segment(id));
            let _ = view.publish(Durable {
                fate,
                segment,
                position: 0,
                frames: Vec::new(),
                first_offset: id,
                end_offset: id + 1,
                timestamp_ms: 0,
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..SEGMENTS).for_each(publish));
            while view.end() < SEGMENTS {
                view.trim(view.end().saturating_sub(2).max(view.start()));
            }
        });
        let kept: Vec<u64> = view.segments().iter().map(|segment| segment.id()).collect();
        assert_eq!(kept, (view.start()..SEGMENTS).collect::<Vec<_>>());
    }
}
