//! The directory of a segment: where each large batch and each of its columns stands, and where runs of small ones do.
//!
//! It spares reading the heads of frames and batches: a scan plans the ranges of its columns from here alone. The log keeps it
//! in memory as it writes, and stores it beside a sealed segment; it can always be made again from the segment. In memory
//! entries stay as compact as in the file and are unpacked when they are looked at; beside them stand two numbers an entry
//! to search by. Format page: `docs/format/directory.md`. Knows nothing of files and of the types of columns.

mod entry;
mod writers;

pub use entry::{BatchEntry, Entry, RunEntry, checksum};
pub use writers::{WRITER_BATCHES_MAX, WriterBatch, WriterState};

use super::bytes::{Reader, put, u16_at, u32_at, u64_at};
use super::frame::{FRAME_ALIGNMENT, Frame};
use super::log_batch::BatchHeader;
use crate::error::{Error, Result};

/// "AQDX".
pub const MAGIC: u32 = u32::from_le_bytes(*b"AQDX");
/// The version this program writes, and the newest it reads.
pub const VERSION: u16 = 2;
/// The version in which large batches got checksums of their buffers.
const CHECKSUMS_SINCE: u16 = 2;
/// Where `magic` stands.
pub const MAGIC_AT: usize = 0;
/// Where `version` stands.
pub const VERSION_AT: usize = 4;
/// Where `segment id` stands.
pub const SEGMENT_ID_AT: usize = 8;
/// Where `entry count` stands.
pub const ENTRY_COUNT_AT: usize = 16;
/// Where `entry bytes` stands.
pub const ENTRY_BYTES_AT: usize = 20;
/// Where `writer count` stands.
pub const WRITER_COUNT_AT: usize = 24;
/// Where `writer bytes` stands.
pub const WRITER_BYTES_AT: usize = 28;
/// Where `crc32c` stands, over all of the file with this field zero.
pub const CRC_AT: usize = 32;
/// Bytes of the head.
pub const HEAD_BYTES: usize = 40;
/// A batch as long as this has an entry of its own. Shorter ones are read whole, in runs at least as long as this.
pub const BATCH_BYTES_MIN: usize = 64 << 10;

/// What entries are searched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    first_offset: u64,
    /// The greatest commit timestamp up to the end of this entry.
    timestamp_max: i64,
    /// Where the entry starts among the packed entries.
    at: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// As it was read, or the newest: an entry of an older one has less to say.
    version: u16,
    segment_id: u64,
    marks: Vec<Mark>,
    packed: Vec<u8>,
    /// The last entry while it may still grow; it is not among the packed ones.
    open: Option<RunEntry>,
    /// The offset behind the last row.
    next_offset: u64,
    /// The position behind the last frame.
    end: u64,
    /// The least commit timestamp.
    timestamp_min: i64,
}

impl Directory {
    /// The directory of a segment without frames.
    pub fn new(segment_id: u64) -> Self {
        Directory {
            version: VERSION,
            segment_id,
            marks: Vec::new(),
            packed: Vec::new(),
            open: None,
            next_offset: 0,
            end: 0,
            timestamp_min: i64::MAX,
        }
    }

    /// Adds the next frame of the segment, which stands at `position`. Of `bytes`, the frame, the heads of its batches are
    /// read, and of a lone large batch all.
    ///
    /// Errors with `Corrupt` when these cannot be read or the frame does not follow the last.
    pub fn add_frame(&mut self, position: u64, frame: &Frame, bytes: &[u8]) -> Result<()> {
        let misplaced = position < self.end || !position.is_multiple_of(FRAME_ALIGNMENT as u64);
        if misplaced || (self.end > 0 && frame.head.first_offset < self.next_offset) {
            return Err(Error::corrupt("a frame out of order").at("position", position).at("offset", frame.head.first_offset));
        }
        self.version = VERSION;
        let mut headers = Vec::with_capacity(frame.batches.len());
        for span in &frame.batches {
            let batch = bytes.get(span.range()).ok_or_else(|| Error::corrupt("a frame is cut off").at("position", position))?;
            headers.push(BatchHeader::read(batch).map_err(|error| error.at("position", position))?);
        }
        match (&frame.batches[..], &headers[..]) {
            ([span], [header]) if header.length >= BATCH_BYTES_MIN && header.rows > 0 => {
                let entry = BatchEntry::read(position, frame, *span, header, &bytes[span.range()])?;
                self.close_run();
                self.push(&Entry::Batch(Box::new(entry)));
            }
            _ => self.extend_run(RunEntry::read(position, frame, &headers)?),
        }
        Ok(())
    }

    /// Puts small frames behind others as long as the run is short.
    fn extend_run(&mut self, run: RunEntry) {
        match &mut self.open {
            Some(open) if open.end() == run.position && open.length < BATCH_BYTES_MIN as u64 => {
                open.join(&run);
                let joined = *open;
                self.note(&Entry::Run(joined));
            }
            _ => {
                self.close_run();
                self.mark(&Entry::Run(run));
                self.open = Some(run);
            }
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.open.take() {
            Entry::Run(run).write(&mut self.packed);
        }
    }

    fn push(&mut self, entry: &Entry) {
        self.mark(entry);
        entry.write(&mut self.packed);
    }

    fn mark(&mut self, entry: &Entry) {
        assert!(self.packed.len() <= u32::MAX as usize, "a directory of {} bytes", self.packed.len());
        let timestamp_max = self.marks.last().map_or(i64::MIN, |mark| mark.timestamp_max);
        self.marks.push(Mark { first_offset: entry.first_offset(), timestamp_max, at: self.packed.len() as u32 });
        self.note(entry);
    }

    /// Keeps what is known of the whole in step with the last entry.
    fn note(&mut self, entry: &Entry) {
        if let Some(mark) = self.marks.last_mut() {
            mark.timestamp_max = mark.timestamp_max.max(entry.timestamps().1);
        }
        self.timestamp_min = self.timestamp_min.min(entry.timestamps().0);
        self.next_offset = entry.next_offset();
        self.end = entry.end();
    }

    /// The segment it belongs to.
    pub fn segment_id(&self) -> u64 {
        self.segment_id
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether the segment has no frames.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Offset of the first row, if there is one.
    pub fn first_offset(&self) -> Option<u64> {
        self.marks.first().map(|mark| mark.first_offset)
    }

    /// The offset behind the last row; 0 without rows.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The position behind the last frame.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The least and the greatest commit timestamp, if there is one.
    pub fn timestamps(&self) -> Option<(i64, i64)> {
        self.marks.last().map(|mark| (self.timestamp_min, mark.timestamp_max))
    }

    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.packed.capacity() + self.marks.capacity() * size_of::<Mark>()
    }

    /// The entry of this number.
    pub fn entry(&self, index: usize) -> Option<Entry> {
        let mark = self.marks.get(index)?;
        if let (Some(run), true) = (&self.open, index + 1 == self.marks.len()) {
            return Some(Entry::Run(*run));
        }
        // Packed entries were written or checked here.
        Some(Entry::read(&mut Reader { rest: &self.packed[mark.at as usize..] }).expect("a packed entry can be read"))
    }

    /// The entries from this number on.
    pub fn entries(&self, from: usize) -> impl Iterator<Item = Entry> + '_ {
        (from..self.len()).filter_map(|index| self.entry(index))
    }

    /// The entry that holds `offset` or, in a gap, the one before it. `None` outside of the segment.
    pub fn find_offset(&self, offset: u64) -> Option<usize> {
        let after = self.marks.partition_point(|mark| mark.first_offset <= offset);
        if offset >= self.next_offset { None } else { after.checked_sub(1) }
    }

    /// The first entry with a row that is not older than `timestamp`.
    pub fn find_timestamp(&self, timestamp: i64) -> Option<usize> {
        let index = self.marks.partition_point(|mark| mark.timestamp_max < timestamp);
        (index < self.marks.len()).then_some(index)
    }

    /// Where the first entry begins that `other` does not have, or has other than this; `None` when both say the same, as far as an entry of an older
    /// version says it.
    pub fn first_difference(&self, other: &Directory) -> Option<u64> {
        let (mut own, mut others) = (self.entries(0), other.entries(0));
        loop {
            match (own.next(), others.next()) {
                (None, None) => return None,
                (Some(Entry::Batch(a)), Some(Entry::Batch(b))) if a.agrees(&b) => {}
                (Some(Entry::Run(a)), Some(Entry::Run(b))) if a == b => {}
                (a, b) => return a.iter().chain(&b).map(Entry::first_offset).min(),
            }
        }
    }

    /// The bytes of the file, with a snapshot of the writers at the end of the segment.
    pub fn encode(&self, writers: &[WriterState]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend_from_slice(&self.packed);
        if let Some(run) = self.open {
            Entry::Run(run).write(&mut bytes);
        }
        let entries_end = bytes.len();
        writers.iter().for_each(|writer| writer.write(&mut bytes));
        let writer_bytes = bytes.len() - entries_end;
        put(&mut bytes, MAGIC_AT, MAGIC.to_le_bytes());
        put(&mut bytes, VERSION_AT, self.version.to_le_bytes());
        put(&mut bytes, SEGMENT_ID_AT, self.segment_id.to_le_bytes());
        put(&mut bytes, ENTRY_COUNT_AT, (self.marks.len() as u32).to_le_bytes());
        put(&mut bytes, ENTRY_BYTES_AT, ((entries_end - HEAD_BYTES) as u32).to_le_bytes());
        put(&mut bytes, WRITER_COUNT_AT, (writers.len() as u32).to_le_bytes());
        put(&mut bytes, WRITER_BYTES_AT, (writer_bytes as u32).to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes);
        put(&mut bytes, CRC_AT, crc.to_le_bytes());
        bytes
    }

    /// Reads the file of the directory of `segment_id`. Bytes behind its end are ignored.
    ///
    /// Errors with `Corrupt` when it is damaged or belongs to another segment, with `Unavailable` when a newer program wrote
    /// it. Either way it can be made again.
    pub fn decode(segment_id: u64, bytes: &[u8]) -> Result<(Self, Vec<WriterState>)> {
        let (version, counts, entries, writers) = sections(segment_id, bytes)?;
        let mut directory = Directory { version, ..Directory::new(segment_id) };
        let mut reader = Reader { rest: entries };
        for _ in 0..counts.0 {
            let entry = Entry::read(&mut reader).filter(|entry| {
                (version >= CHECKSUMS_SINCE || !entry.has_checksums())
                    && entry.position() >= directory.end
                    && (directory.is_empty() || entry.first_offset() >= directory.next_offset)
            });
            let entry = entry.ok_or_else(|| bad("an entry of a directory makes no sense").at("entry", directory.len()))?;
            directory.push(&entry);
        }
        // What was packed again must be what was read, so that nothing in it is of a form that is not known here.
        if directory.packed != entries {
            return Err(bad("a directory with entries of an unknown form"));
        }
        Ok((directory, WriterState::read_all(counts.1, writers).ok_or_else(|| bad("the writers in a directory make no sense"))?))
    }
}

type Counts = (usize, usize);

/// Version, counts, and bytes of entries and writers, checked against the checksum.
fn sections(segment_id: u64, bytes: &[u8]) -> Result<(u16, Counts, &[u8], &[u8])> {
    let short = || bad("a directory is cut off");
    if u32_at(bytes, MAGIC_AT) != Some(MAGIC) {
        return Err(bad("no directory where one should be"));
    }
    let version = u16_at(bytes, VERSION_AT).ok_or_else(short)?;
    if version > VERSION {
        return Err(Error::newer("a directory of a newer version").at("version", version).at("supported", VERSION));
    }
    let size = |at| u32_at(bytes, at).map(|size| size as usize).ok_or_else(short);
    let entries_end = HEAD_BYTES.checked_add(size(ENTRY_BYTES_AT)?).ok_or_else(short)?;
    let end = entries_end.checked_add(size(WRITER_BYTES_AT)?).ok_or_else(short)?;
    let file = bytes.get(..end).ok_or_else(short)?;
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&file[..CRC_AT]);
    digest.update(&[0; 4]);
    digest.update(&file[CRC_AT + 4..]);
    if Some(digest.finalize() as u32) != u32_at(file, CRC_AT) {
        return Err(bad("the checksum of a directory does not match"));
    }
    let found = u64_at(file, SEGMENT_ID_AT).ok_or_else(short)?;
    if found != segment_id {
        return Err(bad("the directory of another segment").at("segment", found).at("expected", segment_id));
    }
    Ok((version, (size(ENTRY_COUNT_AT)?, size(WRITER_COUNT_AT)?), &file[HEAD_BYTES..entries_end], &file[entries_end..]))
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message).hint("it is made again from the segment")
}

#[cfg(test)]
pub(super) mod tests;
