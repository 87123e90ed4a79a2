//! Many blocks of a run at once: from the cache, and the others from the device, several reads in flight.
//!
//! Invariant: blocks come out in the order in which they were asked for. This module knows nothing of keys.

use std::sync::Arc;

use super::rows::{Chunk, Reader};
use super::run::Run;
use crate::error::{Error, Result};
use crate::io::{BLOCK_BYTES, Operation, Role, Wait};

/// Reads in flight.
const DEPTH: usize = 16;

/// Fewer blocks are read one after the other: a queue of its own would cost more than it saves.
const QUEUED_MIN: usize = 4;

impl Run {
    /// Blocks by their numbers, each once.
    ///
    /// # Errors
    /// As [`Run::block`].
    pub fn blocks(&self, reader: &Reader, numbers: &[usize]) -> Result<Vec<Arc<Chunk>>> {
        let mut found: Vec<Option<Arc<Chunk>>> = numbers.iter().map(|number| self.cached(reader, *number)).collect();
        let missing: Vec<usize> = (0..numbers.len()).filter(|place| found[*place].is_none()).collect();
        if missing.len() >= QUEUED_MIN {
            self.read_together(reader, numbers, &missing, &mut found)?;
        }
        let block = |(number, found): (&usize, Option<Arc<Chunk>>)| found.map_or_else(|| self.block(reader, *number), Ok);
        numbers.iter().zip(found).map(block).collect()
    }

    /// Reads those blocks whose places in `numbers` are `missing`.
    fn read_together(&self, reader: &Reader, numbers: &[usize], missing: &[usize], found: &mut [Option<Arc<Chunk>>]) -> Result<()> {
        let failed = |error| Error::io("read", self.path(), error);
        let (file, reach) = (self.file()?, self.reach());
        let mut queue = reach.driver.queue(DEPTH, Role::Movable).map_err(failed)?;
        let (mut next, mut done) = (missing.iter(), Vec::new());
        loop {
            while queue.in_flight() < queue.capacity().min(DEPTH)
                && let Some(&place) = next.next()
            {
                let block = self.index().blocks()[numbers[place]];
                let offset = block.position - block.position % BLOCK_BYTES as u64;
                let len = ((block.position - offset) as usize + block.length as usize).next_multiple_of(BLOCK_BYTES);
                let operation = Operation::Read { file: file.clone(), buffer: reach.pool.get(len), len, offset };
                assert!(queue.submit(place as u64, operation).is_ok(), "the queue had room");
            }
            if queue.in_flight() == 0 {
                return Ok(());
            }
            queue.wait(&mut done, Wait::Completion).map_err(failed)?;
            for completion in done.drain(..) {
                let place = completion.token as usize;
                let read = completion.result.map_err(failed)?;
                let Operation::Read { buffer, offset, .. } = completion.operation else { unreachable!("only reads are submitted") };
                let block = self.index().blocks()[numbers[place]];
                let start = (block.position - offset) as usize;
                if read < start + block.length as usize {
                    return Err(self.too_short(offset + read as u64));
                }
                let bytes = buffer.freeze().slice(start..start + block.length as usize);
                found[place] = Some(self.keep(reader, numbers[place], self.decode(reader, numbers[place], &bytes)?));
            }
        }
    }
}
