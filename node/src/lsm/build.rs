//! From sorted rows to a new run, some thousand rows at a time.
//!
//! Used by flushes and compactions alike. Invariant: what is not finished leaves no file. This module knows nothing of manifests, and of when it is driven.

use std::path::Path;
use std::sync::Arc;

use super::builder::RunBuilder;
use super::rows::Reader;
use super::run::{Reach, Run};
use super::sorted::Sorted;
use crate::error::Result;

/// A run in the making.
pub struct Build {
    sorted: Sorted,
    builder: Option<RunBuilder>,
}

impl Build {
    /// Writes what `sorted` gives to run `id` in the directory of its bucket.
    ///
    /// # Errors
    /// Exhausted when the device is full; others of the device.
    pub fn new(reach: &Reach, dir: &Path, id: u64, reader: &Reader, sorted: Sorted) -> Result<Self> {
        Ok(Build { sorted, builder: Some(RunBuilder::new(reach, dir, id, reader.schema())?) })
    }

    /// Writes the next rows; `false` when all are written.
    ///
    /// # Errors
    /// Those of reading, of the merge function and of the device.
    pub fn step(&mut self) -> Result<bool> {
        let Some(tile) = self.sorted.next_tile()? else { return Ok(false) };
        let builder = self.builder.as_mut().expect("it is there until `finish`");
        builder.push(&tile)?;
        Ok(true)
    }

    /// The run, durable but for its name in the directory; `None` when all rows came to nothing.
    ///
    /// # Errors
    /// Those of the device.
    pub fn finish(mut self) -> Result<Option<Arc<Run>>> {
        let builder = self.builder.take().expect("it is there until `finish`");
        if builder.bytes() == 0 {
            builder.abandon();
            return Ok(None);
        }
        Ok(Some(Arc::new(builder.finish()?)))
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.abandon();
        }
    }
}
