//! From sorted rows to new runs, some thousand rows at a time.
//!
//! Used by flushes and compactions alike. Invariants: what is not finished leaves no file; runs come out by key, and no two of them have a key in common. This
//! module knows nothing of manifests, and of when it is driven.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::RunBuilder;
use super::level::{Level, spans};
use super::run::{Reach, Run};
use super::sections::{Part, parts};
use super::sorted::Sorted;
use crate::error::Result;
use crate::table::TableSchema;

/// What some runs are made of: of one part no key is in another, and they ascend.
pub enum Source {
    /// A run as it is.
    Moved(Arc<Run>),
    /// Rows.
    Rows(Box<Sorted>),
}

/// What a compaction of runs, older ones first, does with them: `sorted` merges levels, runs that `may_move` says so of stay as they are if they overlap nothing.
///
/// # Errors
/// Those of `sorted`.
pub fn sources(
    runs: &[Arc<Run>],
    may_move: impl Fn(&Run) -> bool,
    file_bytes: u64,
    sorted: impl Fn(&[Level]) -> Result<Sorted>,
) -> Result<Vec<Source>> {
    let source = |part| match part {
        Part::Moved(at) => Ok(Source::Moved(runs[at].clone())),
        Part::Merged(mut places) => {
            places.sort_unstable();
            let merged: Vec<Arc<Run>> = places.into_iter().map(|at| runs[at].clone()).collect();
            Ok(Source::Rows(Box::new(sorted(&Level::all(&merged, 0))?)))
        }
    };
    parts(&spans(runs), |at| may_move(&runs[at]), file_bytes).into_iter().map(source).collect()
}

/// Where runs are written, and how large they become.
pub struct Site<'a> {
    /// How to get at files.
    pub reach: Reach,
    /// The directory of the bucket.
    pub dir: &'a Path,
    /// Names for new runs.
    pub ids: Box<dyn Fn() -> u64 + Send>,
    /// The columns of their rows.
    pub schema: &'a TableSchema,
    /// Bytes from which on a run is followed by another one.
    pub file_bytes: u64,
}

/// What was made.
pub struct Built {
    /// All runs, by key.
    pub runs: Vec<Arc<Run>>,
    /// Those of them that are new: durable but for their names in the directory.
    pub made: Vec<Arc<Run>>,
}

/// Runs in the making.
pub struct Build {
    reach: Reach,
    dir: PathBuf,
    ids: Box<dyn Fn() -> u64 + Send>,
    schema: TableSchema,
    file_bytes: u64,
    sources: VecDeque<Source>,
    builder: Option<RunBuilder>,
    built: Built,
}

impl Build {
    /// Writes what `sources` give.
    pub fn new(site: Site<'_>, sources: Vec<Source>) -> Self {
        let Site { reach, dir, ids, schema, file_bytes } = site;
        let built = Built { runs: Vec::new(), made: Vec::new() };
        Build { reach, dir: dir.to_path_buf(), ids, schema: schema.clone(), file_bytes, sources: sources.into(), builder: None, built }
    }

    /// Writes the next rows; `false` when all are written.
    ///
    /// # Errors
    /// Those of reading, of the merge function and of the device; Exhausted when it is full.
    pub fn step(&mut self) -> Result<bool> {
        match self.sources.front_mut() {
            None => return Ok(false),
            Some(Source::Moved(run)) => self.built.runs.push(run.clone()),
            Some(Source::Rows(sorted)) => {
                if let Some(tile) = sorted.next_tile()? {
                    if self.builder.is_none() && tile.rows() > 0 {
                        self.builder = Some(RunBuilder::new(&self.reach, &self.dir, (self.ids)(), &self.schema)?);
                    }
                    if let Some(builder) = &mut self.builder {
                        builder.push(&tile)?;
                    }
                    let is_full = self.builder.as_ref().is_some_and(|builder| builder.bytes() >= self.file_bytes);
                    return if is_full { self.end_run().map(|()| true) } else { Ok(true) };
                }
                self.end_run()?;
            }
        }
        self.sources.pop_front();
        Ok(true)
    }

    fn end_run(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let run = Arc::new(builder.finish()?);
            self.built.runs.push(run.clone());
            self.built.made.push(run);
        }
        Ok(())
    }

    /// What was made, when all rows are written.
    pub fn finish(mut self) -> Built {
        assert!(self.sources.is_empty(), "all rows are written");
        std::mem::replace(&mut self.built, Built { runs: Vec::new(), made: Vec::new() })
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.abandon();
        }
        for run in &self.built.made {
            // What stays is found by the next open.
            let _ = self.reach.driver.remove(run.path());
        }
    }
}
