//! The examples of the engine run, and print what they promise.

use std::path::Path;

use crate::{program, scratch};

fn run(name: &str) -> String {
    run_in(scratch::directory().path(), name)
}

fn run_in(dir: &Path, name: &str) -> String {
    let output = program::example(name).arg(dir.join("store")).output().expect("the example runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn embed() {
    let dir = scratch::directory();
    let printed = run_in(dir.path(), "embed");
    assert!(printed.contains("\"/\"") && printed.contains("\"/checkout\"") && !printed.contains("cart"), "{printed}");
    let again = run_in(dir.path(), "embed");
    assert_eq!(again.matches("\"/checkout\"").count(), 2, "it can run again: {again}");
}

#[test]
fn follow() {
    assert_eq!(run("follow"), "1000 rows, sum 499500\n");
}

#[test]
fn numbered_writer() {
    let printed = run("numbered_writer");
    assert!(
        printed.starts_with("batch 2 is at offset 6, as before\nbatch 3 is at offset 9, as before\nbatch 4 is at offset 12\n"),
        "{printed}"
    );
    assert!(printed.ends_with("18 rows\n"), "{printed}");
}
