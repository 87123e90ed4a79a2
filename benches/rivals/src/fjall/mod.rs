//! fjall 3 with synchronous commits: `append` a log of records, `keyed` rows by their keys. No compression, as with everybody here.

mod append;
mod keyed;

use aquifer_benches::case::{self, Takes};
use aquifer_benches::keyed::{self as bench_of_keys, Form};

/// fjall with records.
pub const FJALL: case::Contender<'static> = case::Contender {
    name: "fjall",
    version: Some("3"),
    driver: None,
    takes: Takes::Payload,
    in_flight: 1,
    keeps_files: false,
    open: &append::open,
};

/// fjall with rows by their keys.
pub const KEYED: bench_of_keys::Contender<'static> =
    bench_of_keys::Contender { name: "fjall", version: Some("3"), driver: None, form: Form::Rows, open: &keyed::open };
