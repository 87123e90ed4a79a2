//! Nothing of its own: the tests of Aquifer as a whole are the targets named in `Cargo.toml`.
