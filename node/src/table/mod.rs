//! What a table is: its schema and how that evolves, its keys, buckets and partitions, its options, its filters.
//!
//! Everything here is a pure function of values: no I/O, no clock, no bytes on disk but the JSON of the catalog.
//! Field ids, never names or positions, say which column is which once data is written.

pub mod bucketing;
pub mod change;
pub mod changelog;
pub mod conform;
pub mod evolution;
pub mod expiry;
pub mod filter;
pub mod key;
pub mod key_range;
pub mod mapping;
pub mod name;
pub mod options;
pub mod partition;
pub mod quantity;
pub mod schema;
pub mod spec;
pub mod stored;
pub mod types;

mod adopt;
mod binary_row;
mod calendar;
mod cast;
pub mod digits;
mod literal;
mod names;
mod nearest;
#[cfg(test)]
pub(crate) mod pages;
pub mod rows;
mod scalar;
mod schema_file;
mod statistics;

pub use adopt::supported;
pub use bucketing::BucketFunction;
pub use calendar::print_utc_ms;
pub use change::ChangeType;
pub use changelog::{Changelog, Image};
pub use conform::conform;
pub use evolution::{Change, Position};
pub use filter::{Bound, Filter};
pub use key::{KeyEncoder, KeyRef, Keys};
pub use key_range::{KeyRange, KeyRanges};
pub use literal::{parse_value, print_value};
pub use mapping::Mapping;
pub use name::TableName;
pub use names::{parse_names, print_names, quoted_name};
pub use nearest::did_you_mean;
pub use options::{Assign, Compression, OptionDoc, Statistics, TableOptions};
pub use partition::{PartitionField, PartitionKey, Partitioner, Transform};
pub use rows::{Rows, group_rows};
pub use scalar::{Scalar, ScalarRef};
pub use schema::{Field, TableSchema};
pub use schema_file::parse_schema_file;
pub use spec::{Generation, TableSpec};
pub use statistics::ColumnStatistics;
pub use types::ColumnType;
