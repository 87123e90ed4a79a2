//! Many blocks of a run at once: from the cache, and the others from the device, several reads in flight.
//!
//! Neighbours are read together. Of many blocks that a full cache lacks most go past it: they would only push each other out, and copying them there costs more
//! than looking at them. Invariant: blocks come out in the order in which they were asked for. This module knows nothing of keys.

use std::ops::Range;
use std::sync::Arc;

use super::rows::{Chunk, Reader};
use super::run::Run;
use crate::error::{Error, Result};
use crate::io::{BLOCK_BYTES, Frozen, Operation, Queue, Role, Wait};

/// Reads in flight at most. More are handed over when half of them are done, all at once: each hand-over rings at the device, and wakes this thread again.
const DEPTH: usize = 32;

/// Fewer blocks are read one after the other: a queue of its own would cost more than it saves.
const QUEUED_MIN: usize = 4;

/// Bytes of neighbouring blocks that one read brings at most, unless one alone has more.
const READ_BYTES_MAX: u64 = 128 << 10;

/// From so many missing blocks on, a full cache keeps few of them.
const PAST_CACHE_MIN: usize = 64;

/// One of so many is kept all the same, so that the cache follows what is asked for.
const KEPT_OF: usize = 8;

/// What blocks are read through: a queue, which is made when it is needed first, and has nothing in flight between calls.
#[derive(Default)]
pub(super) struct Lane(Option<Box<dyn Queue>>);

/// Blocks that are looked for together.
struct Wanted<'a> {
    numbers: &'a [usize],
    found: Vec<Option<Arc<Chunk>>>,
    /// Places in `numbers` of those that the cache lacks.
    missing: Vec<usize>,
    is_past_cache: bool,
}

impl Run {
    /// Blocks by their numbers, each once, read through `lane`.
    ///
    /// # Errors
    /// As [`Run::block`].
    pub(super) fn blocks(&self, reader: &Reader, numbers: &[usize], lane: &mut Lane) -> Result<Vec<Arc<Chunk>>> {
        let found: Vec<Option<Arc<Chunk>>> = numbers.iter().map(|number| self.cached(reader, *number)).collect();
        let missing: Vec<usize> = (0..numbers.len()).filter(|place| found[*place].is_none()).collect();
        let is_past_cache = missing.len() >= PAST_CACHE_MIN && self.reach().blocks.is_full();
        let mut wanted = Wanted { numbers, found, missing, is_past_cache };
        if wanted.missing.len() >= QUEUED_MIN {
            let read = self.read_together(reader, &mut wanted, lane);
            if read.is_err() {
                // What is still in flight comes to nobody.
                lane.0 = None;
            }
            read?;
        }
        let block = |(number, found): (&usize, Option<Arc<Chunk>>)| found.map_or_else(|| self.block(reader, *number), Ok);
        numbers.iter().zip(wanted.found).map(block).collect()
    }

    /// Reads the missing ones.
    fn read_together(&self, reader: &Reader, wanted: &mut Wanted<'_>, lane: &mut Lane) -> Result<()> {
        let failed = |error| Error::io("read", self.path(), error);
        let (file, reach) = (self.file()?, self.reach());
        let queue = match &mut lane.0 {
            Some(queue) => queue,
            none => none.insert(reach.driver.queue(DEPTH, Role::Movable).map_err(failed)?),
        };
        let (mut next, mut done) = (0, Vec::new());
        let mut stretches: Vec<Range<usize>> = Vec::new();
        loop {
            let depth = queue.capacity().min(DEPTH);
            let has_room = queue.in_flight() <= depth / 2;
            while has_room && queue.in_flight() < depth && next < wanted.missing.len() {
                let stretch = next..self.stretch_end(wanted, next);
                let (start, end) = self.span(wanted, &stretch);
                let len = ((end - start) as usize).next_multiple_of(BLOCK_BYTES);
                let operation = Operation::Read { file: file.clone(), buffer: reach.pool.get(len), len, offset: start };
                assert!(queue.submit(stretches.len() as u64, operation).is_ok(), "the queue had room");
                next = stretch.end;
                stretches.push(stretch);
            }
            if queue.in_flight() == 0 {
                return Ok(());
            }
            queue.wait(&mut done, Wait::Completion).map_err(failed)?;
            for completion in done.drain(..) {
                let stretch = stretches[completion.token as usize].clone();
                let read = completion.result.map_err(failed)?;
                let Operation::Read { buffer, offset, .. } = completion.operation else { unreachable!("only reads are submitted") };
                if offset + (read as u64) < self.span(wanted, &stretch).1 {
                    return Err(self.too_short(offset + read as u64));
                }
                self.take_stretch(reader, wanted, stretch, (offset, buffer.freeze()))?;
            }
        }
    }

    /// Where the neighbours end that are read together with the missing block `first`.
    fn stretch_end(&self, wanted: &Wanted<'_>, first: usize) -> usize {
        let number = |missing: usize| wanted.numbers[wanted.missing[missing]];
        let mut end = first + 1;
        while end < wanted.missing.len() && number(end) == number(end - 1) + 1 {
            let (start, behind) = self.span(wanted, &(first..end + 1));
            if behind - start > READ_BYTES_MAX {
                break;
            }
            end += 1;
        }
        end
    }

    /// Where missing blocks stand that are neighbours: from the start of a page of the file.
    fn span(&self, wanted: &Wanted<'_>, stretch: &Range<usize>) -> (u64, u64) {
        let block = |missing: usize| self.index().blocks()[wanted.numbers[wanted.missing[missing]]];
        let (first, last) = (block(stretch.start), block(stretch.end - 1));
        (first.position - first.position % BLOCK_BYTES as u64, last.position + u64::from(last.length))
    }

    /// Decodes missing blocks out of what was read at `offset`.
    fn take_stretch(&self, reader: &Reader, wanted: &mut Wanted<'_>, stretch: Range<usize>, (offset, bytes): (u64, Frozen)) -> Result<()> {
        for missing in stretch {
            let place = wanted.missing[missing];
            let number = wanted.numbers[place];
            let block = self.index().blocks()[number];
            let start = (block.position - offset) as usize;
            let bytes = bytes.slice(start..start + block.length as usize);
            wanted.found[place] = Some(match wanted.is_past_cache && missing % KEPT_OF != 0 {
                true => Arc::new(self.decode(reader, number, &bytes.arrow())?),
                false => self.decode_to_keep(reader, number, &bytes)?,
            });
        }
        Ok(())
    }
}
