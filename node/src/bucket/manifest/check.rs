//! What a manifest can say at all.
//!
//! Invariant: what passes can be opened and appended to without a number that overflows or a segment that stands in two places. A good checksum says that
//! an edit is as it was written, not that it makes sense. This module knows nothing of files.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{OFFSETS_END, SealedSegment, State};
use crate::error::{Error, Result};
use crate::lsm::run::RunMeta;

/// No file is longer, and no run has more rows: sums of many do not overflow either.
const BYTES_MAX: u64 = 1 << 44;

pub(super) fn offset(offset: u64) -> Result<()> {
    within(offset < OFFSETS_END, "an offset that no row has").map_err(|error| error.at("offset", offset))
}

/// Bytes that frames of a segment take, in a file of so many.
pub(super) fn bytes(segment_id: u64, bytes: u64, file_bytes: u64) -> Result<()> {
    let sound = within(bytes <= file_bytes && file_bytes <= BYTES_MAX, "a segment is longer than its file, or than any file");
    sound.map_err(|error| error.at("segment", format!("{segment_id:x}")))
}

/// Rows of a sealed segment that follow those before `base_offset`.
pub(super) fn rows(segment_id: u64, rows: Range<u64>, begins_at: u64) -> Result<()> {
    let sound = within(!rows.is_empty() && rows.start == begins_at, "a segment does not follow the one before it");
    sound.and_then(|()| offset(rows.end)).map_err(|error| error.at("segment", format!("{segment_id:x}")))
}

pub(super) fn run(run: &RunMeta) -> Result<()> {
    let sound = run.index_at <= BYTES_MAX && run.rows <= BYTES_MAX && run.deletes <= run.rows;
    within(sound, "a run of more bytes or rows than a run has").map_err(|error| error.at("run", format!("{:x}", run.id)))
}

/// Checks that each run stands once, and each by itself.
pub(super) fn runs(runs: &[RunMeta]) -> Result<()> {
    let mut known = BTreeSet::new();
    runs.iter().try_for_each(|meta| {
        run(meta)?;
        within(known.insert(meta.id), "a run stands twice").map_err(|error| error.at("run", format!("{:x}", meta.id)))
    })
}

/// Checks a state as edits would make it.
pub(super) fn state(state: &State) -> Result<()> {
    offset(state.start_offset)?;
    offset(state.flushed_to)?;
    let mut begins_at = state.start_offset;
    let mut known: BTreeSet<u64> = state.open.keys().copied().collect();
    for segment in &state.sealed {
        let SealedSegment { segment_id, base_offset, end_offset, file_bytes, .. } = *segment;
        rows(segment_id, base_offset..end_offset, begins_at)?;
        bytes(segment_id, segment.bytes, file_bytes)?;
        within(known.insert(segment_id), "a segment stands twice").map_err(|error| error.at("segment", format!("{segment_id:x}")))?;
        begins_at = end_offset;
    }
    state.open.iter().try_for_each(|(id, file_bytes)| bytes(*id, 0, *file_bytes))?;
    runs(&state.runs)?;
    state.kept.iter().try_for_each(|(id, kept)| {
        let sound = within(kept.end_offset <= state.flushed_to, "a snapshot ends behind the rows in runs");
        sound.and_then(|()| runs(&kept.runs)).map_err(|error| error.at("snapshot", id))
    })
}

pub(super) fn within(sound: bool, refused: &str) -> Result<()> {
    if sound { Ok(()) } else { Err(Error::corrupt(refused)) }
}
