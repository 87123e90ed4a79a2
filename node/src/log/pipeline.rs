//! Reads a stretch of a segment ahead of its reader: many reads in flight, results in order.
//!
//! The directory says what lies where, so only the bytes of the chosen columns are read of a large batch; ranges that are close to each other are
//! read in one go, because a short gap costs less than another read. Invariant: jobs come out in the order they went in; at most
//! [`DEPTH`] reads and a budget of bytes are in flight. This module knows nothing of offsets or of what is decoded.

use std::collections::VecDeque;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::io::{BLOCK_BYTES, Completion, File, Frozen, Operation, Pool, Queue, Wait};

/// Reads in flight.
pub const DEPTH: usize = 16;

/// Ranges with less than this between them are read together.
pub const GAP_BYTES_MAX: u64 = 16 << 10;

/// One range of the file in memory.
#[derive(Clone, Debug)]
struct Piece {
    start: u64,
    len: usize,
    bytes: Option<Frozen>,
}

/// A set of ranges that belong together.
#[derive(Debug)]
pub struct Job<T> {
    /// What the reader wants to remember of it.
    pub what: T,
    /// The file ended early: what is missing reads as zeros.
    pub short: Option<Error>,
    wanted: Vec<Range<u64>>,
    pieces: Vec<Piece>,
    missing: usize,
}

impl<T> Job<T> {
    /// The wanted ranges, in the order they were given, without a copy.
    pub fn parts(&self) -> Vec<Frozen> {
        self.wanted.iter().map(|range| self.part(range)).collect()
    }

    fn part(&self, range: &Range<u64>) -> Frozen {
        let after = self.pieces.partition_point(|piece| piece.start <= range.start);
        let piece = &self.pieces[after - 1];
        let bytes = piece.bytes.as_ref().expect("the job is complete");
        let start = (range.start - piece.start) as usize;
        bytes.slice(start..start + (range.end - range.start) as usize)
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len).sum()
    }
}

/// See the head of this module.
pub struct Pipeline<T> {
    queue: Box<dyn Queue>,
    pool: Pool,
    file: File,
    jobs: VecDeque<Job<T>>,
    /// Number of the job at the front.
    first: u64,
    /// Pieces not yet submitted: job number, piece.
    waiting: VecDeque<(u64, usize)>,
    bytes_ahead: usize,
    bytes_max: usize,
    done: Vec<Completion>,
}

impl<T> Pipeline<T> {
    /// A pipeline over `file` that holds about `bytes_max` bytes.
    pub fn new(queue: Box<dyn Queue>, pool: Pool, file: File, bytes_max: usize) -> Self {
        assert!(queue.capacity() >= 1, "a queue takes something");
        Pipeline {
            queue,
            pool,
            file,
            jobs: VecDeque::new(),
            first: 0,
            waiting: VecDeque::new(),
            bytes_ahead: 0,
            bytes_max,
            done: Vec::new(),
        }
    }

    /// Whether more may be put in.
    pub fn has_room(&self) -> bool {
        self.jobs.is_empty() || (self.bytes_ahead < self.bytes_max && self.waiting.len() < DEPTH)
    }

    /// Starts to read `wanted` (in any order, none empty, all within the file).
    pub fn push(&mut self, what: T, wanted: Vec<Range<u64>>) {
        let pieces = join(&wanted);
        let number = self.first + self.jobs.len() as u64;
        self.waiting.extend((0..pieces.len()).map(|piece| (number, piece)));
        let job = Job { what, short: None, wanted, missing: pieces.len(), pieces };
        self.bytes_ahead += job.bytes();
        self.jobs.push_back(job);
        self.submit();
    }

    /// The next job, complete; `None` when there is none.
    pub fn pop(&mut self) -> Result<Option<Job<T>>> {
        loop {
            self.submit();
            match self.jobs.front() {
                None => return Ok(None),
                Some(job) if job.missing == 0 => break,
                Some(_) => self.wait()?,
            }
        }
        let job = self.jobs.pop_front().expect("looked at above");
        self.first += 1;
        self.bytes_ahead -= job.bytes();
        self.submit();
        let flushed = self.queue.flush();
        flushed.map_err(|error| Error::io("read", self.file.path(), error))?;
        Ok(Some(job))
    }

    fn submit(&mut self) {
        while self.queue.in_flight() < self.queue.capacity().min(DEPTH) {
            let Some((number, index)) = self.waiting.pop_front() else { return };
            let piece = &self.jobs[(number - self.first) as usize].pieces[index];
            let operation =
                Operation::Read { file: self.file.clone(), buffer: self.pool.get(piece.len), len: piece.len, offset: piece.start };
            let refused = self.queue.submit(number << 16 | index as u64, operation);
            assert!(refused.is_ok(), "the queue had room");
        }
    }

    fn wait(&mut self) -> Result<()> {
        let mut done = std::mem::take(&mut self.done);
        let waited = self.queue.wait(&mut done, Wait::Completion);
        waited.map_err(|error| Error::io("read", self.file.path(), error))?;
        for completion in done.drain(..) {
            self.take(completion)?;
        }
        self.done = done;
        Ok(())
    }

    fn take(&mut self, completion: Completion) -> Result<()> {
        let Operation::Read { mut buffer, offset, len, .. } = completion.operation else { unreachable!("only reads are submitted") };
        let read = completion.result.map_err(|error| Error::io("read", self.file.path(), error))?;
        let (number, index) = (completion.token >> 16, (completion.token & 0xffff) as usize);
        let job = &mut self.jobs[(number - self.first) as usize];
        if read < len {
            let short = Error::corrupt(format!("{} ends {} bytes too early", self.file.path().display(), len - read));
            job.short.get_or_insert(short.at("position", offset));
            buffer.set_len(len);
            buffer[read..].fill(0);
        }
        job.pieces[index].bytes = Some(buffer.freeze());
        job.missing -= 1;
        Ok(())
    }
}

/// The reads that `wanted` is read by.
pub fn joined(wanted: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    join(wanted).into_iter().map(|piece| piece.start..piece.start + piece.len as u64)
}

/// Whole blocks that cover the ranges, close ones together, by position.
fn join(wanted: &[Range<u64>]) -> Vec<Piece> {
    let mut sorted: Vec<&Range<u64>> = wanted.iter().collect();
    sorted.sort_by_key(|range| range.start);
    let mut pieces: Vec<Piece> = Vec::new();
    for range in sorted {
        let start = range.start / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let end = range.end.next_multiple_of(BLOCK_BYTES as u64);
        match pieces.last_mut() {
            Some(last) if start <= last.start + last.len as u64 + GAP_BYTES_MAX => {
                last.len = last.len.max((end - last.start) as usize);
            }
            _ => pieces.push(Piece { start, len: (end - start) as usize, bytes: None }),
        }
    }
    assert!(pieces.len() < 1 << 16, "pieces of one job are numbered in 16 bits");
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(wanted: &[Range<u64>]) -> Vec<(u64, usize)> {
        join(wanted).into_iter().map(|piece| (piece.start, piece.len)).collect()
    }

    #[test]
    fn close_ranges_are_read_together_in_whole_blocks() {
        assert_eq!(joined(std::slice::from_ref(&(100..200))), [(0, 4096)]);
        assert_eq!(joined(&[5000..5001, 0..10]), [(0, 8192)]);
        assert_eq!(joined(&[0..4096, 4096 + GAP_BYTES_MAX..30_000]), [(0, 32_768)]);
        assert_eq!(joined(&[0..4096, 8192 + GAP_BYTES_MAX..30_000]), [(0, 4096), (24_576, 8192)]);
        assert_eq!(joined(&[0..40_960, 100..200]), [(0, 40_960)], "a range within another");
    }
}
