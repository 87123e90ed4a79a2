//! Bytes on disk: frames, log batches, the directory of a segment, the index of a run, manifest records.
//!
//! Everything here works on slices and Arrow buffers. It knows nothing of files, threads, clocks or tables, and it never
//! trusts a byte: decoders are total, they answer with an error of kind `Corrupt` instead of panicking.
//! One page with a byte table for each format stands in `docs/format/`.

mod arrays;
pub mod bloom;
mod body;
mod bytes;
pub mod compression;
pub mod decode;
pub mod directory;
pub mod encode;
pub mod frame;
pub mod log_batch;
pub mod manifest;
mod message;
pub mod run_index;
mod shape;
pub mod statistics;
mod stream;
mod template;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_native;
#[cfg(test)]
mod measure;
#[cfg(test)]
pub(crate) mod pages;
#[cfg(test)]
mod samples;

pub use bloom::Bloom;
pub use body::Columns;
pub use compression::Compression;
pub use decode::Decoder;
pub use directory::Directory;
pub use encode::{BatchMeta, Encoder, Layout};
pub use message::{BodyLayout, Node, Span};
pub use run_index::RunIndex;

/// Arrow buffers in a frame start at multiples of this, so that they can be used where they lie.
pub const BODY_ALIGNMENT: usize = 64;

// Arrow buffers are copied as they lie in memory, and every format here is little-endian.
const _: () = assert!(cfg!(target_endian = "little"));
