//! Makes the directory of a sealed segment again by walking its frames, when its file is lost or damaged.
//!
//! Invariant: the result is what the writer would have written, without its writers' histories. Damage is an error that names the place.

use super::recovery::newer;
use super::segment::Segment;
use super::stored::damaged;
use super::window::{Found, Window};
use crate::error::{Error, Result};
use crate::format::directory::Directory;
use crate::io::{Driver, File, Pool};

/// Walks `segment` from its first frame to its end.
pub fn directory(driver: &dyn Driver, file: &File, pool: &Pool, segment: &Segment) -> Result<Directory> {
    let mut directory = Directory::new(segment.id());
    let mut window = Window::new(driver, file, pool);
    let end = segment.sealed().map_or(segment.used_bytes(), |sealed| sealed.bytes);
    let mut position = 0;
    while position < end {
        let found = window.frame(position, segment.id(), 0).map_err(|error| Error::io("read", segment.path(), error))?;
        let frame = match found {
            Found::Frame(frame) => frame,
            Found::Newer(version) => return Err(newer(version).at("segment", segment.path().display())),
            Found::End(_) => {
                let offset = directory.next_offset().max(segment.base_offset().unwrap_or(0));
                return Err(damaged(segment.path(), position, offset, "no frame where one should be"));
            }
        };
        directory.add_frame(position, &frame, window.bytes(position, frame.length))?;
        position += frame.length as u64;
    }
    Ok(directory)
}
