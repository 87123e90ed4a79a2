//! Columns that `--meta` adds to what is printed, when they come back in an input.
//!
//! Knows their names and how to leave them out, nothing of rows.

/// They tell where a row was, which is not for a writer to say.
const PLACES: [&str; 4] = ["_partition", "_bucket", "_offset", "_timestamp"];

/// What a row is: an upsert can read it.
const OP: &str = "_op";

/// What to do about a column of an input that the table has not, if `--meta` adds one of this name.
pub(crate) fn way_out(name: &str) -> Option<String> {
    let places = PLACES.join(", ");
    match name {
        _ if PLACES.contains(&name) => Some(format!(
            "--meta adds {places} and {OP}: scan or tail without it (upsert takes the {OP} of a changelog with --op-column {OP})"
        )),
        OP => Some(format!("--meta and changelogs add {OP}: name it with upsert --op-column {OP}, or print only the table's --columns")),
        _ => None,
    }
}
