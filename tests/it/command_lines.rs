//! The program as a user types it: the sessions in `tests/cli`, line by line. `TRYCMD=overwrite` writes what it says now, to be read before it is kept.

use crate::{program, scratch};

fn session(name: &str) {
    let dir = scratch::directory();
    let cases = trycmd::TestCases::new();
    cases.register_bin("aquifer", program::path());
    cases.env("AQUIFER_DIR", dir.path().join("store").to_str().expect("a path in UTF-8"));
    cases.env("COLUMNS", "100");
    cases.case(format!("cli/{name}.trycmd"));
}

#[test]
fn the_tour() {
    session("tour");
}

#[test]
fn partitions_and_buckets() {
    session("partitions");
}

#[test]
fn tables_with_a_primary_key() {
    session("keyed");
}

#[test]
fn snapshots() {
    session("snapshots");
}

#[test]
fn tables_that_change() {
    session("altered");
}

#[test]
fn parts_of_tables() {
    session("parts");
}

#[test]
fn what_became_of_each_key() {
    session("changelog");
}

#[test]
fn errors() {
    session("errors");
}

#[test]
fn help() {
    session("help");
}
