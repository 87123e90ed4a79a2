//! Texts joined with a delimiter, each once if wanted.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};

use super::function::Groups;
use super::reference::Ref;
use crate::error::{Error, Result};

/// The texts of each key, oldest first; null where all are. With `distinct` a part between delimiters comes once, at its first place.
///
/// # Errors
/// Exhausted when the texts are too long for one array.
pub(super) fn join(groups: Groups<'_>, column: usize, delimiter: &str, distinct: bool) -> Result<ArrayRef> {
    let sources: Vec<&StringArray> = groups.slots.iter().map(|slot| slot.column(column).as_string::<i32>()).collect();
    let text = |row: &Ref| sources[row.slot()].is_valid(row.row()).then(|| sources[row.slot()].value(row.row()));
    let total: usize = groups.order.iter().filter_map(text).map(|text| text.len() + delimiter.len()).sum();
    if total > i32::MAX as usize {
        let error = Error::exhausted(format!("{total} bytes of text in one column of a merge"));
        return Err(error.hint("shorter texts, or fewer versions of a row"));
    }
    let mut out = StringBuilder::with_capacity(groups.ends.len(), total);
    let mut joined = String::new();
    for group in groups.iter() {
        joined.clear();
        let mut seen = HashSet::new();
        let mut is_first = true;
        let mut push = |part: &str| {
            joined.push_str(if is_first { "" } else { delimiter });
            joined.push_str(part);
            is_first = false;
        };
        let is_done = groups.is_done(group);
        for text in group.iter().filter_map(text) {
            match distinct && !is_done {
                true => text.split(delimiter).filter(|part| seen.insert(*part)).for_each(&mut push),
                false => push(text),
            }
        }
        out.append_option((!is_first).then_some(joined.as_str()));
    }
    Ok(Arc::new(out.finish()))
}
