//! Seams: the few places where one of several implementations is put in. Every other public trait is a door nobody asked for.

use super::code::{finds, line, word};
use super::tree::File;

/// The traits that make the seams.
const SEAMS: [&str; 7] = ["Driver", "Queue", "LedgerState", "MergeFunction", "LakeWriter", "LakeCommitter", "TieringPolicy"];

/// Public traits that are no seam, and traits with a single implementation.
pub(crate) fn faults(files: &[File]) -> Vec<String> {
    let engine: Vec<&File> = files.iter().filter(|file| file.is_rust() && file.path.starts_with("node/src/")).collect();
    let mut faults = Vec::new();
    for file in &engine {
        for at in finds(&file.code, "trait ") {
            let name = word(&file.code[at + "trait ".len()..]);
            let place = format!("{}:{}: trait `{name}`", file.path, line(&file.code, at));
            if is_public(&file.code[..at]) && !SEAMS.contains(&name) {
                faults.push(format!("{place} is public and no seam"));
            }
            // None at all is a seam whose sides are not built yet.
            if engine.iter().map(|file| implementations(&file.code, name)).sum::<usize>() == 1 {
                faults.push(format!("{place} has a single implementation"));
            }
        }
    }
    faults
}

fn is_public(before: &str) -> bool {
    let before = before.trim_end_matches("unsafe ");
    before.ends_with("pub ")
}

/// How often `name` is implemented; once in a macro counts as more than once.
fn implementations(code: &str, name: &str) -> usize {
    let mut count = 0;
    for at in finds(code, name) {
        let after = code[at + name.len()..].split('{').next().unwrap_or_default();
        let after = if after.starts_with('<') { after.split_once("> ").map_or("", |(_, rest)| rest) } else { after.trim_start() };
        let head = code[..at].rsplit(['{', '}', ';']).next().unwrap_or_default();
        if let Some(target) = after.strip_prefix("for ")
            && finds(head, "impl").next().is_some()
        {
            count += if target.starts_with('$') { 2 } else { 1 };
        }
    }
    count
}

#[cfg(test)]
fn found(text: &str) -> Vec<String> {
    faults(&[File::new("node/src/io/mod.rs", text)])
}

#[test]
fn seams_and_small_private_traits_are_fine() {
    assert_eq!(found("pub trait Driver: Send {}\nimpl Driver for A {}\nimpl Driver for B {}"), [""; 0]);
    assert_eq!(found("pub trait Queue {}"), [""; 0], "not built yet");
    assert_eq!(found("trait Number {}\nmacro_rules! m { ($t:ty) => { impl Number for $t {} } }"), [""; 0]);
    assert_eq!(found("trait Own<T> {}\nimpl Own<u8> for A {}\nimpl<T> Own<Vec<T>> for B {}"), [""; 0]);
    assert_eq!(found("fn f(x: &dyn Driver) { for y in x {} }"), [""; 0]);
}

#[test]
fn planted_traits_are_found() {
    assert_eq!(found("pub trait Listener {}\nimpl Listener for A {}\nimpl Listener for B {}").len(), 1, "public and no seam");
    assert_eq!(found("pub trait Driver {}\nimpl Driver for Only {}").len(), 1, "one side only");
    assert_eq!(found("trait Extension {}\nimpl Extension for Only {}").len(), 1, "one implementation");
    assert_eq!(found("pub unsafe trait Raw {}").len(), 1, "public and unsafe");
}
