//! The shape of a file: how long it is, how long its functions are, and that it opens with what it is.

use super::code::{finds, line, word};
use super::tree::File;

/// Longest file, tests in it included.
const FILE_LINES_MAX: usize = 800;

/// Longest body of a function, blank lines and comments not counted.
const FUNCTION_LINES_MAX: usize = 70;

/// Files and functions over the limits.
pub(crate) fn length_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
        }
        for (name, line, lines) in functions(&file.code) {
            if lines > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}", file.path));
            }
        }
    }
    faults
}

/// Rust files that do not open with `//!`.
pub(crate) fn head_faults(files: &[File]) -> Vec<String> {
    let headless = |file: &&File| file.is_rust() && !file.text.starts_with("//! ");
    files.iter().filter(headless).map(|file| format!("{}: does not open with `//! `", file.path)).collect()
}

/// Name, line and number of body lines of each function.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    for at in finds(code, "fn ") {
        let name = word(&code[at + "fn ".len()..]);
        if name.is_empty() {
            continue;
        }
        if let Some(body) = body(&code[at..]) {
            found.push((name, line(code, at), body.lines().filter(|line| !line.trim().is_empty()).count()));
        }
    }
    found
}

/// What stands between the braces of the function that starts here; `None` for a declaration.
fn body(code: &str) -> Option<&str> {
    let (mut depth, mut open) = (0_usize, None);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => {
                if c == '{' && depth == 0 {
                    open = Some(at + 1);
                }
                depth += 1;
            }
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if let (0, '}', Some(open)) = (depth, c, open) {
                    return Some(&code[open..at]);
                }
            }
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn bodies_are_counted_by_braces() {
    let code = "fn a<const N: usize>(x: [u8; N]) -> u8 {\n    if x {\n\n    }\n    0\n}\ntrait T {\n    fn b(&self);\n}\ntype F = fn (u8);";
    assert_eq!(functions(code), [("a", 1, 3)]);
}

#[test]
fn planted_lengths_are_found() {
    let function = |lines: usize| format!("//! x\nfn long() {{\n{}}}\n", "    work();\n".repeat(lines));
    let faults = |text: &str| length_faults(&[File::new("node/src/a.rs", text)]).len();
    assert_eq!(faults(&function(FUNCTION_LINES_MAX)), 0);
    assert_eq!(faults(&function(FUNCTION_LINES_MAX + 1)), 1);
    assert_eq!(faults(&"//!\n".repeat(FILE_LINES_MAX)), 0);
    assert_eq!(faults(&"//!\n".repeat(FILE_LINES_MAX + 1)), 1);
}

#[test]
fn planted_headless_file_is_found() {
    let faults = |text: &str| head_faults(&[File::new("node/src/a.rs", text)]).len();
    assert_eq!(faults("//! What it is.\n"), 0);
    assert_eq!(faults("use std::fs;\n//! Too late.\n"), 1);
    assert_eq!(faults(""), 1);
}
