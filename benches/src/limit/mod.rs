//! The limits of the machine: the same bytes down the same kernel, with no format, no checksum and no order of acknowledgements.
//!
//! All write with direct I/O into a file whose blocks have been written before, which is the cheapest durable write there is.

pub mod floor;
pub mod hashed;
pub mod inline;
pub mod pool;
pub mod random;
pub mod reads;
pub mod ring;
pub mod runs;
pub mod tape;

use crate::case::{Contender, Open, Takes};

/// Each producer writes its own record with pwritev2 and RWF_DSYNC.
pub const INLINE: Contender<'static> = bare("bare inline", "pwritev2", &inline::Inline::open);

/// Two threads write groups with pwritev2 and RWF_DSYNC.
pub const POOL: Contender<'static> = bare("bare threads", "pwritev2", &pool::Threads::open);

/// One thread writes groups through a ring, four in flight.
pub const RING: Contender<'static> = bare("bare ring", "io_uring", &ring::Ring::open);

const fn bare(name: &'static str, driver: &'static str, open: Open<'static>) -> Contender<'static> {
    Contender { name, version: None, driver: Some(driver), takes: Takes::Record, in_flight: 1, keeps_files: true, open }
}

/// Groups of records shorter than this are copied into one buffer; longer records go down from where they are.
pub const COPY_BYTES_MAX: usize = 32 << 10;

/// Most producers whose own writes are the limit; above, the ring is.
const INLINE_PRODUCERS_MAX: usize = 4;

/// The limit that so many producers are held to, where rings may be used or not.
pub fn of(producers: usize, rings: bool) -> Contender<'static> {
    match producers {
        0..=INLINE_PRODUCERS_MAX => INLINE,
        _ if rings => RING,
        _ => POOL,
    }
}
