//! Appended edits: the form of a bucket's manifest and of the catalog. A file is records one behind the other; a record is
//! a head and a JSON array of edits, which take effect together.
//!
//! A record is one write, and the next is written only when it is durable. So only the last can be torn: it was never
//! acknowledged and is cut off. A bad record with a good one behind it is damage. Format page: `docs/format/manifest.md`.
//! Knows nothing of what edits mean, and folds bytes, not files.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bytes::{put, u16_at, u32_at};
use crate::error::{Error, Result};

/// "AQM" and a byte that no UTF-8 holds, so that no payload looks like a head.
pub const MAGIC: u32 = u32::from_le_bytes(*b"AQM\xff");
/// The version this program writes, and the newest it reads.
pub const VERSION: u16 = 1;
/// Where `magic` stands.
pub const MAGIC_AT: usize = 0;
/// Where `version` stands. All versions have the same head.
pub const VERSION_AT: usize = 4;
/// Where `kind` stands.
pub const KIND_AT: usize = 6;
/// Where `length` stands: the bytes of the payload.
pub const LENGTH_AT: usize = 8;
/// Where `crc32c` stands, over the head before it and the payload.
pub const CRC_AT: usize = 12;
/// Bytes of the head.
pub const HEAD_BYTES: usize = 16;
/// A payload is at most this long.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// How a file of edits ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Behind its last record, or with zeros.
    Clean,
    /// With a record that was not written to its end. It is to be written over.
    Torn,
}

/// What a file of edits says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<E> {
    /// All edits in order.
    pub edits: Vec<E>,
    /// Bytes up to the end of the last good record; the next is to be written there.
    pub valid_length: usize,
    /// Where the last good record begins; 0 when there is none.
    pub last_record: usize,
    /// What follows them.
    pub tail: Tail,
}

/// The record that appends `edits` to a file of this `kind` (a number that tells kinds of files apart).
///
/// Errors with `Exhausted` when the record is longer than [`PAYLOAD_BYTES_MAX`].
pub fn record<E: Serialize>(kind: u16, edits: &[E]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD_BYTES];
    serde_json::to_writer(&mut bytes, edits).map_err(|error| Error::internal("an edit cannot be written").caused_by(error))?;
    let length = bytes.len() - HEAD_BYTES;
    if length > PAYLOAD_BYTES_MAX {
        return Err(Error::exhausted("too much for one record of a manifest").at("bytes", length).at("limit", PAYLOAD_BYTES_MAX));
    }
    put(&mut bytes, MAGIC_AT, MAGIC.to_le_bytes());
    put(&mut bytes, VERSION_AT, VERSION.to_le_bytes());
    put(&mut bytes, KIND_AT, kind.to_le_bytes());
    put(&mut bytes, LENGTH_AT, (length as u32).to_le_bytes());
    let crc = checksum(&bytes);
    put(&mut bytes, CRC_AT, crc.to_le_bytes());
    Ok(bytes)
}

/// Reads a file of edits of this `kind`.
///
/// Errors with `Corrupt` and the position when a bad record has good ones behind it, the file is of another kind or is somebody else's; with
/// `Unavailable` when a newer program wrote it.
pub fn fold<E: DeserializeOwned>(kind: u16, bytes: &[u8]) -> Result<Folded<E>> {
    let mut folded = Folded { edits: Vec::new(), valid_length: 0, last_record: 0, tail: Tail::Clean };
    loop {
        let rest = &bytes[folded.valid_length..];
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(folded);
        }
        let Some(found) = Record::read(rest) else {
            if Record::any_in(&rest[1..]) {
                return Err(Error::corrupt("a record of a manifest is damaged").at("position", folded.valid_length));
            }
            // A first record that was torn has its magic, or nothing yet.
            let begins = rest.iter().zip(MAGIC.to_le_bytes()).all(|(found, magic)| *found == magic || *found == 0);
            if folded.valid_length == 0 && !begins {
                let foreign = Error::corrupt("this file is not one of edits");
                return Err(
                    foreign.hint("it was not written here: nothing was changed; use another directory, or put the right file in its place")
                );
            }
            folded.tail = Tail::Torn;
            return Ok(folded);
        };
        folded.edits.extend(found.edits(kind).map_err(|error| error.at("position", folded.valid_length))?);
        folded.last_record = folded.valid_length;
        folded.valid_length += HEAD_BYTES + found.payload.len();
    }
}

/// A record whose checksum matches.
struct Record<'a> {
    version: u16,
    kind: u16,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, if there is a whole one.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        if u32_at(bytes, MAGIC_AT)? != MAGIC {
            return None;
        }
        let length = u32_at(bytes, LENGTH_AT)? as usize;
        let record = bytes.get(..HEAD_BYTES.checked_add(length).filter(|_| length <= PAYLOAD_BYTES_MAX)?)?;
        if checksum(record) != u32_at(record, CRC_AT)? {
            return None;
        }
        Some(Record { version: u16_at(record, VERSION_AT)?, kind: u16_at(record, KIND_AT)?, payload: &record[HEAD_BYTES..] })
    }

    /// Whether a whole record starts anywhere in `bytes`.
    fn any_in(bytes: &[u8]) -> bool {
        let magic = MAGIC.to_le_bytes();
        (0..bytes.len()).any(|at| bytes[at..].starts_with(&magic) && Record::read(&bytes[at..]).is_some())
    }

    fn edits<E: DeserializeOwned>(&self, kind: u16) -> Result<Vec<E>> {
        if self.version > VERSION {
            return Err(Error::newer("a manifest of a newer version").at("version", self.version).at("supported", VERSION));
        }
        if self.kind != kind {
            return Err(Error::corrupt("a manifest of another kind").at("kind", self.kind).at("expected", kind));
        }
        serde_json::from_slice(self.payload).map_err(|error| {
            // The checksum matches, so this is what was written.
            let refused = match error.is_data() {
                true => Error::newer("an edit that this program does not know: a newer program wrote it"),
                false => Error::corrupt("an edit that is not JSON"),
            };
            refused.caused_by(error)
        })
    }
}

/// crc32c over the head up to the checksum, and the payload.
fn checksum(record: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&record[..CRC_AT]);
    digest.update(&record[HEAD_BYTES..]);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests;
