//! Rows of one key to one row: pure functions over columns, without per-row objects.
//!
//! Sorted sources are merged in two steps: [`order`] moves keys and 32-bit row references only, [`gather`] copies the columns once. Between them a
//! [`MergeFunction`] decides what becomes of the rows of each key. Nothing here knows files, logs or time.

pub mod deduplicate;
pub mod function;
pub mod gather;
pub mod order;
pub mod reference;

pub use function::{Column, Groups, MergeFunction, Merged, Slot};
pub use gather::gather;
pub use reference::Ref;
