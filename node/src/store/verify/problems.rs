//! What a check found that is not as it was written, so many of each file that somebody may read them.
//!
//! Invariant: what is not listed is counted, by one more line for each file. This module knows nothing of how damage is found.

use std::collections::HashMap;

use serde::Serialize;

use crate::error::Error;

/// Places of one file that are listed.
const LISTED_MAX: u64 = 100;

/// The number of the first that is not.
const FIRST_UNLISTED: u64 = LISTED_MAX + 1;

/// What stands in fields of its own, or is said by them.
const FIELDS: [&str; 7] = ["table", "bucket", "segment", "run", "position", "offset", "next_offset"];

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The table; empty for what is of no table that is known.
    pub table: String,
    /// The partition's name; empty in a table without partitions.
    pub partition: String,
    /// The bucket; `None` for what is of no single one.
    pub bucket: Option<u32>,
    /// The file, when it is a segment's or a run's.
    pub file: Option<String>,
    /// Where in the file the frame of a segment or the block of a run begins.
    pub position: Option<u64>,
    /// Offset of the first row that cannot be read.
    pub offset: Option<u64>,
    /// Offset of the first row behind those, where it is known.
    pub next_offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// A problem of no bucket.
pub(super) fn problem(error: &Error) -> Problem {
    let value = |name: &str| error.context().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let number = |name: &str| value(name).and_then(|value| value.parse().ok());
    let file = value("segment").or_else(|| value("run"));
    let mut what = error.message().to_string();
    for (name, value) in error.context() {
        let is_said = FIELDS.contains(&name) || name == "directory" && file.is_some();
        if !is_said {
            what.push_str(&format!(", {name} {value}"));
        }
    }
    // Whoever reads this does what the others are told to do.
    let advice = error.advice().map(|advice| advice.trim_end_matches(Error::VERIFY_LISTS).trim_end_matches("; "));
    if let Some(advice) = advice.filter(|advice| !advice.is_empty()) {
        what.push_str(&format!("; {advice}"));
    }
    Problem {
        table: String::new(),
        partition: String::new(),
        bucket: None,
        position: number("position"),
        offset: number("offset"),
        next_offset: number("next_offset"),
        file,
        what,
    }
}

/// The problems of a bucket, in the order in which they are found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    /// How many.
    pub(super) count: u64,
    /// Of each file so far.
    of_files: HashMap<String, u64>,
    /// The first of each file that is not listed.
    unlisted: Vec<Problem>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.count += 1;
        let Some(file) = problem.file.clone() else { return self.listed.push(problem) };
        let of_file = self.of_files.entry(file).or_default();
        *of_file += 1;
        match *of_file {
            ..=LISTED_MAX => self.listed.push(problem),
            FIRST_UNLISTED => self.unlisted.push(problem),
            _ => {}
        }
    }

    /// All that are listed, and a line for each file that has more.
    pub(super) fn into_lines(self) -> Vec<Problem> {
        let Problems { mut listed, of_files, unlisted, .. } = self;
        listed.extend(unlisted.into_iter().map(|first| {
            let count = first.file.as_ref().map_or(0, |file| of_files[file] - LISTED_MAX);
            Problem { next_offset: None, what: format!("and {count} more in this file, here the first of them: {}", first.what), ..first }
        }));
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_much_damage_is_listed_in_part_and_counted_in_full() {
        let mut problems = Problems::default();
        for number in 0..250 {
            problems.push(problem(&Error::corrupt("bad").at("segment", "a").at("position", number).at("offset", number)));
            problems.push(problem(&Error::corrupt("bad").at("run", "b").at("block", number)));
        }
        problems.push(problem(&Error::corrupt("bad").at("segment", "c")));
        assert_eq!(problems.count, 501);
        let lines = problems.into_lines();
        assert_eq!(lines.len(), 203);
        let [of_a, of_b] = &lines[201..] else { unreachable!() };
        assert_eq!((of_a.file.as_deref(), of_a.position, of_b.file.as_deref()), (Some("a"), Some(100), Some("b")));
        assert!(of_a.what.starts_with("and 150 more in this file"), "{of_a:?}");
    }

    #[test]
    fn a_problem_says_everything_once() {
        let error = Error::corrupt("bad").at("segment", "a").at("directory", "d").at("bytes", 7).at("next_offset", 9);
        let found = problem(&error.hint(format!("do this; {}", Error::VERIFY_LISTS)));
        assert_eq!((found.what.as_str(), found.next_offset), ("bad, bytes 7; do this", Some(9)));
        assert_eq!(problem(&Error::corrupt("bad").hint(Error::VERIFY_LISTS)).what, "bad");
    }
}
