//! Makes the directory of a sealed segment again by walking its frames, when its file is lost or damaged; checks a segment.
//!
//! Invariant: the result is what the writer would have written, but of its writers only what they sent to this segment. Damage is an error
//! that names the place.

use super::producers::Producers;
use super::recovery::newer;
use super::segment::Segment;
use super::stored::{check_frame, damaged};
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

/// What a check has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Batches with good checksums.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Reads the frames of `segment` that begin before offset `end`, and checks every checksum and the order of offsets.
///
/// Returns what was good, its directory, and what is wrong behind it: damage, or an error of the device.
pub fn check(driver: &dyn Driver, file: &File, pool: &Pool, segment: &Segment, end: u64) -> (Checked, Directory, Option<Error>) {
    let (mut checked, mut directory) = (Checked::default(), Directory::new(segment.id()));
    let wrong = check_into(driver, file, pool, segment, end, &mut checked, &mut directory).err();
    (checked, directory, wrong)
}

fn check_into(
    driver: &dyn Driver,
    file: &File,
    pool: &Pool,
    segment: &Segment,
    end: u64,
    checked: &mut Checked,
    directory: &mut Directory,
) -> Result<()> {
    let mut window = Window::new(driver, file, pool);
    let mut offset = segment.base_offset().unwrap_or(end);
    let (mut position, mut epoch) = (0, 0);
    while offset < end {
        let at = offset;
        let bad = |what: &str| damaged(segment.path(), position, at, what);
        let found = window.frame(position, segment.id(), epoch).map_err(|error| {
            let failed = Error::io("read", segment.path(), error);
            failed.at("segment", segment.path().display()).at("position", position).at("offset", at)
        })?;
        let frame = match found {
            Found::Frame(frame) => frame,
            Found::Newer(version) => return Err(newer(version).at("segment", segment.path().display())),
            Found::End(_) => return Err(bad("no frame where one should be")),
        };
        let bytes = window.bytes(position, frame.length);
        let headers = check_frame(&frame, bytes, offset).map_err(|what| bad(&what))?;
        directory.add_frame(position, &frame, bytes).map_err(|error| bad(error.message()))?;
        for header in headers {
            offset = header.next_offset() as u64;
            checked.batches += 1;
            checked.rows += header.rows as u64;
        }
        checked.bytes += frame.length as u64;
        position += frame.length as u64;
        epoch = frame.head.epoch;
    }
    Ok(())
}
