//! Makes the directory of a sealed segment again by walking its frames, when its file is lost or damaged.
//!
//! Invariant: the result is what the writer would have written, but of its writers only what they sent to this segment. Damage is an error
//! that names the place.

use super::producers::Producers;
use super::recovery::newer;
use super::segment::Segment;
use super::stored::damaged;
use super::window::{Found, Window};
use crate::error::{Error, Result};
use crate::format::directory::Directory;
use crate::format::frame::Frame;
use crate::format::log_batch::BatchHeader;
use crate::io::{Driver, File, Pool};

/// Walks `segment` from its first frame to its end.
pub fn directory(driver: &dyn Driver, file: &File, pool: &Pool, segment: &Segment) -> Result<Directory> {
    let mut directory = Directory::new(segment.id());
    each_frame(driver, file, pool, segment, |position, frame, bytes| directory.add_frame(position, frame, bytes))?;
    Ok(directory)
}

/// Adds the writers of the batches in `segment` to `producers`, those of the segments before it.
pub fn note_producers(driver: &dyn Driver, file: &File, pool: &Pool, segment: &Segment, producers: &mut Producers) -> Result<()> {
    each_frame(driver, file, pool, segment, |_, frame, bytes| {
        for span in &frame.batches {
            producers.note(&BatchHeader::read(&bytes[span.range()])?);
        }
        Ok(())
    })
}

fn each_frame(
    driver: &dyn Driver,
    file: &File,
    pool: &Pool,
    segment: &Segment,
    mut visit: impl FnMut(u64, &Frame, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut window = Window::new(driver, file, pool);
    let end = segment.sealed().map_or(segment.used_bytes(), |sealed| sealed.bytes);
    let mut offset = segment.base_offset().unwrap_or(0);
    let mut position = 0;
    while position < end {
        let found = window.frame(position, segment.id(), 0).map_err(|error| Error::io("read", segment.path(), error))?;
        let frame = match found {
            Found::Frame(frame) => frame,
            Found::Newer(version) => return Err(newer(version).at("segment", segment.path().display())),
            Found::End(_) => return Err(damaged(segment.path(), position, offset, "no frame where one should be")),
        };
        visit(position, &frame, window.bytes(position, frame.length))?;
        offset = offset.max(frame.head.first_offset);
        position += frame.length as u64;
    }
    Ok(())
}
