//! Rows of one key to one row: pure functions over columns, without per-row objects.
//!
//! Sorted sources are merged in two steps: `order` moves keys and 32-bit row references only, `gather` copies the columns once. Between them a
//! `MergeFunction` decides what becomes of the rows of each key. Nothing here knows files, logs or time.

pub mod aggregate;
pub mod aggregation;
pub mod deduplicate;
pub mod deletes;
pub mod engine;
pub mod first_row;
pub mod function;
pub mod gather;
pub mod images;
pub mod kernels;
pub mod names;
pub mod order;
pub mod outcome;
pub mod partial_update;
pub mod reference;
pub mod sequence;

mod bitmaps;
mod elements;
mod equal;
mod lists;
mod numbers;
mod pick;
pub(crate) mod roaring64;
mod text;

#[cfg(test)]
mod tests;

pub use engine::{changes_totals, is_merge_option, kept_value, merge_function, reads_values};
pub use function::{Column, Groups, MergeFunction, Merged, Slot};
pub use gather::gather;
pub use names::follow_columns;
pub use outcome::Outcome;
pub use reference::Ref;
