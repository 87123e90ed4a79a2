//! The log of one bucket: segments of frames, who writes them and when, what readers see.
//!
//! The journey of a batch: [`writer`] gives it an offset and a place, [`commit`] decides whose hand writes it, [`gather`] makes the frames, [`fate`] tells
//! those who wait, [`view`] shows it to readers. [`recovery`] finds the end again after a crash.
//! Invariant: acknowledged means durable, in order, without a gap. This floor knows nothing of manifests, tables or other buckets.

pub mod check;
pub mod commit;
pub mod cursor;
pub mod fate;
pub mod gather;
pub mod pipeline;
pub mod producers;
pub mod recovery;
pub mod segment;
pub mod stored;
pub mod view;
pub mod walk;
pub mod window;
pub mod writer;
