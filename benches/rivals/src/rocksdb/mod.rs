//! RocksDB through its C interface, as the system has it; where it was missing when this was built, it takes no part and says so.
//!
//! `library` is what this takes of it, `append` a log of records, `keyed` rows by their keys.

#[cfg(has_rocksdb)]
mod append;
#[cfg(has_rocksdb)]
mod keyed;
#[cfg(has_rocksdb)]
mod library;

use aquifer_benches::case::{self, Takes};
use aquifer_benches::keyed::{self as bench_of_keys, Form};

/// RocksDB with synchronous writes of records.
pub const ROCKSDB: case::Contender<'static> = case::Contender {
    name: "rocksdb",
    version: option_env!("ROCKSDB_VERSION"),
    driver: None,
    takes: Takes::Payload,
    in_flight: 1,
    keeps_files: false,
    #[cfg(has_rocksdb)]
    open: &append::open,
    #[cfg(not(has_rocksdb))]
    open: &|_, _| Err(missing()),
};

/// RocksDB with rows by their keys.
pub const KEYED: bench_of_keys::Contender<'static> = bench_of_keys::Contender {
    name: "rocksdb",
    version: option_env!("ROCKSDB_VERSION"),
    driver: None,
    form: Form::Rows,
    #[cfg(has_rocksdb)]
    open: &keyed::open,
    #[cfg(not(has_rocksdb))]
    open: &|_, _| Err(missing()),
};

#[cfg(not(has_rocksdb))]
fn missing() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Unsupported, "needs librocksdb-dev and pkg-config when this is built")
}
