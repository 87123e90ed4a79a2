//! The limits of the machine: the same bytes down the same kernel, with no format, no checksum and no order of acknowledgements.
//!
//! All write with direct I/O into a file whose blocks have been written before, which is the cheapest durable write there is.

pub mod inline;
pub mod pool;
pub mod ring;
pub mod tape;

use crate::case::Contender;

/// Each producer writes its own record with pwritev2 and RWF_DSYNC.
pub const INLINE: Contender =
    Contender { name: "bare inline", version: None, driver: Some("pwritev2"), in_flight: 1, keeps_files: true, open: inline::Inline::open };

/// Two threads write groups with pwritev2 and RWF_DSYNC.
pub const POOL: Contender =
    Contender { name: "bare threads", version: None, driver: Some("pwritev2"), in_flight: 1, keeps_files: true, open: pool::Threads::open };

/// One thread writes groups through a ring, four in flight.
pub const RING: Contender =
    Contender { name: "bare ring", version: None, driver: Some("io_uring"), in_flight: 1, keeps_files: true, open: ring::Ring::open };

/// Groups of records shorter than this are copied into one buffer; longer records go down from where they are.
pub const COPY_BYTES_MAX: usize = 32 << 10;

/// Most producers whose own writes are the limit; above, the ring is.
const INLINE_PRODUCERS_MAX: usize = 4;

/// The limit that a load is held to.
pub fn of(producers: usize) -> Contender {
    if producers <= INLINE_PRODUCERS_MAX { INLINE } else { RING }
}
