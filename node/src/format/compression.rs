//! Compression of single Arrow buffers, as the Arrow IPC format says: the uncompressed length in 8 bytes and one LZ4 or Zstd
//! frame, or -1 and the bytes as they are when the frame would not be smaller. Knows nothing of what the bytes mean.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

use arrow::buffer::Buffer;
use arrow::ipc::CompressionType;

use super::bytes::{array, put};
use crate::error::{Error, Result};

/// Bytes before a compressed buffer.
pub const PREFIX_BYTES: usize = 8;
/// A buffer is refused when it says that it is longer than this without its compression.
pub const UNCOMPRESSED_BYTES_MAX: usize = 1 << 30;
/// The level that Zstd stands for when nobody says otherwise.
pub const ZSTD_LEVEL_DEFAULT: i32 = 3;
/// Compression contexts kept for reuse by one encoder or decoder.
const CONTEXTS_MAX: usize = 16;
/// No frame of either kind is shorter than 10 bytes, so with its prefix no buffer below this gets shorter.
const PAYS_BYTES_MIN: usize = PREFIX_BYTES + 10;
/// In place of the uncompressed length: the bytes behind it are not compressed.
const RAW: i64 = -1;

/// How the buffers of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstd frames at a level from 1 to 22; 3 is usual.
    Zstd(i32),
}

/// How the buffers of a stored batch are compressed, without the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// LZ4 frames.
    Lz4 = 1,
    /// Zstd frames.
    Zstd = 2,
}

impl Codec {
    /// All of them, by number.
    pub const ALL: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

    /// The name that Arrow's metadata has for it.
    pub(super) fn ipc(self) -> Option<CompressionType> {
        match self {
            Codec::None => None,
            Codec::Lz4 => Some(CompressionType::LZ4_FRAME),
            Codec::Zstd => Some(CompressionType::ZSTD),
        }
    }
}

impl Compression {
    /// The codec without its level.
    pub fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd(_) => Codec::Zstd,
        }
    }

    /// Errors with `Invalid` when the level is none.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Compression::Zstd(level) if !(1..=22).contains(&level) => {
                Err(Error::invalid("no such Zstd level").at("level", level).hint("choose a level from 1 to 22"))
            }
            _ => Ok(()),
        }
    }

    /// The most bytes that a buffer of `length` bytes takes.
    pub(super) fn bound(self, length: usize) -> usize {
        match self {
            _ if length == 0 => 0,
            Compression::None => length,
            // Header, end mark, and a length per block of at least 64 KiB; incompressible blocks are stored.
            Compression::Lz4 => PREFIX_BYTES + length + 32 + 8 * (length / (64 << 10) + 1),
            Compression::Zstd(_) => PREFIX_BYTES + zstd::zstd_safe::compress_bound(length),
        }
    }
}

/// Things that are dear to make and are used again.
struct Idle<T>(Mutex<Vec<T>>);

impl<T> Idle<T> {
    fn new() -> Self {
        Idle(Mutex::new(Vec::new()))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, item: T) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONTEXTS_MAX {
            idle.push(item);
        }
    }
}

/// Compresses buffers. Shared by threads.
pub(super) struct Compressor {
    compression: Compression,
    idle: Idle<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        compression.check()?;
        Ok(Compressor { compression, idle: Idle::new() })
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Writes `source` with its prefix at the start of `out`, which is as long as [`Compression::bound`] says; the bytes written.
    pub(super) fn compress(&self, source: &[u8], out: &mut [u8]) -> Result<usize> {
        if source.is_empty() {
            return Ok(0);
        }
        let packed = match self.compression {
            _ if source.len() < PAYS_BYTES_MIN => None,
            Compression::None => None,
            Compression::Lz4 => Some(compress_lz4(source, &mut out[PREFIX_BYTES..])?),
            Compression::Zstd(level) => Some(self.compress_zstd(level, source, &mut out[PREFIX_BYTES..])?),
        };
        match packed {
            Some(length) if length + PREFIX_BYTES <= source.len() => {
                put(out, 0, (source.len() as i64).to_le_bytes());
                Ok(PREFIX_BYTES + length)
            }
            _ => {
                put(out, 0, RAW.to_le_bytes());
                out[PREFIX_BYTES..PREFIX_BYTES + source.len()].copy_from_slice(source);
                Ok(PREFIX_BYTES + source.len())
            }
        }
    }

    fn compress_zstd(&self, level: i32, source: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut context = match self.idle.take() {
            Some(context) => context,
            None => zstd::bulk::Compressor::new(level).map_err(failed)?,
        };
        let length = context.compress_to_buffer(source, out).map_err(failed)?;
        self.idle.give(context);
        Ok(length)
    }
}

fn compress_lz4(source: &[u8], out: &mut [u8]) -> Result<usize> {
    let room = out.len();
    let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
    encoder.write_all(source).map_err(failed)?;
    let rest = encoder.finish().map_err(|error| Error::internal("cannot compress").caused_by(error))?;
    Ok(room - rest.len())
}

fn failed(error: std::io::Error) -> Error {
    Error::internal("cannot compress").caused_by(error)
}

/// Restores buffers. Shared by threads.
pub(super) struct Decompressor {
    idle: Idle<zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Decompressor { idle: Idle::new() }
    }

    /// The bytes that `stored` holds, compressed by `codec`. Where compression did not pay, they are not copied.
    pub(super) fn restore(&self, codec: Codec, stored: Buffer) -> Result<Buffer> {
        if stored.is_empty() {
            return Ok(stored);
        }
        let said = array(&stored, 0).map(i64::from_le_bytes).ok_or_else(|| bad("a compressed buffer is cut off"))?;
        if said == RAW {
            return Ok(stored.slice(PREFIX_BYTES));
        }
        let length = usize::try_from(said).ok().filter(|length| *length <= UNCOMPRESSED_BYTES_MAX);
        let length = length.ok_or_else(|| bad("a compressed buffer with a senseless length").at("bytes", said))?;
        let packed = &stored[PREFIX_BYTES..];
        let bytes = match codec {
            Codec::Zstd => self.restore_zstd(packed, length),
            _ => restore_lz4(packed, length),
        };
        let bytes = bytes.map_err(|error| bad("a compressed buffer cannot be restored").caused_by(error))?;
        if bytes.len() != length {
            return Err(bad("a compressed buffer is not as long as it says").at("bytes", length));
        }
        Ok(Buffer::from_vec(bytes))
    }

    fn restore_zstd(&self, packed: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
        let mut context = match self.idle.take() {
            Some(context) => context,
            None => zstd::bulk::Decompressor::new()?,
        };
        let mut bytes = Vec::with_capacity(length);
        context.decompress_to_buffer(packed, &mut bytes)?;
        self.idle.give(context);
        Ok(bytes)
    }
}

fn restore_lz4(packed: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    // One byte more than promised tells a frame that is too long.
    lz4_flex::frame::FrameDecoder::new(packed).take(length as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bad(message: &'static str) -> Error {
    Error::corrupt(message)
}
