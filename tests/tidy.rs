//! The house rules that no compiler keeps: floors, seams, lengths, names, homes of `unsafe`, portable text.
//!
//! Each rule reads the files of the repository as text and returns its faults; the tests at the end of each module plant faults in
//! small strings, so that a rule that stopped looking is noticed. This test knows nothing of how the engine works.
#![allow(clippy::disallowed_methods, reason = "reads the source tree, which is no data of the engine")]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/seams.rs"]
mod seams;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use tree::File;

/// Runs a rule over the repository and fails with everything it found.
fn check(rule: impl Fn(&[File]) -> Vec<String>) {
    let faults = rule(&tree::read(&tree::root()));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_walk_finds_the_sources() {
    let files = tree::read(&tree::root());
    for known in ["node/src/lib.rs", "node/src/main.rs", "tests/tidy.rs", "Cargo.toml", ".ci/run"] {
        assert!(files.iter().any(|file| file.path == known), "{known} was not found");
    }
    assert!(!files.iter().any(|file| file.path.starts_with("target/")), "build products are not sources");
}

#[test]
fn each_module_knows_only_lower_floors() {
    check(floors::faults);
}

#[test]
fn the_program_knows_only_the_store() {
    check(floors::program_faults);
}

#[test]
fn only_seams_are_public_traits() {
    check(seams::faults);
}

#[test]
fn files_and_functions_are_short() {
    check(shape::length_faults);
}

#[test]
fn each_module_opens_with_what_it_is() {
    check(shape::head_faults);
}

#[test]
fn names_say_what_a_thing_is() {
    check(names::bag_faults);
}

#[test]
fn the_top_level_is_as_designed() {
    check(names::top_level_faults);
}

#[test]
fn unsafe_stays_at_home() {
    check(words::unsafe_faults);
}

#[test]
fn nothing_is_left_for_later() {
    check(words::unfinished_faults);
}

#[test]
fn no_test_sleeps() {
    check(words::sleep_faults);
}

#[test]
fn text_is_ascii() {
    check(text::ascii_faults);
}

#[test]
fn text_is_portable() {
    check(text::place_faults);
}

#[test]
fn locked_crates_come_from_the_public_index() {
    check(text::lock_faults);
}
