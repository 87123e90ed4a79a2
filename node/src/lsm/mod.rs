//! The sorted runs of one bucket, over its log: a memtable, files of rows in key order, and one row for each key out of all of them.
//!
//! The tree is an index over the log: the log offset is the sequence number, and what is not flushed is read from the log again. Nothing here commits: what
//! was made is returned, and `bucket` writes it into its manifest. This floor knows nothing of the log's segments, of tables' names or of when work is done.

pub mod build;
pub mod builder;
mod fetch;
pub mod level;
pub mod levels;
pub mod lookup;
pub mod memory;
pub mod memtable;
pub mod pick;
pub mod rows;
pub mod run;
pub mod samples;
pub mod sections;
pub mod sorted;
pub mod tile;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
