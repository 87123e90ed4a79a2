//! Names of partitions: `c=x/ts_day=2026-01-01`, as Hive, Paimon and Iceberg write them.
//!
//! Invariant: the parts can be had back: what would be mistaken for a separator or for the null partition is escaped as `%XX`.

/// What stands for null.
pub(super) const NULL: &str = "__DEFAULT_PARTITION__";
/// What Paimon escapes in names, besides control characters.
const ESCAPED: &str = "\"#%'*/:=?\\{}[]^";

/// Appends one part; `None` is null.
pub(super) fn push_part(name: &mut String, field: &str, value: Option<&str>) {
    if !name.is_empty() {
        name.push('/');
    }
    escape(name, field);
    name.push('=');
    match value {
        None => name.push_str(NULL),
        // A text that looks like null is not null.
        Some(text) if text == NULL => name.push_str(&NULL.replacen('_', "%5F", 1)),
        Some(text) => escape(name, text),
    }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_ascii_control() || ESCAPED.contains(character) {
            out.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
}

/// The values of a name whose fields are exactly `fields`; `None` if they are not.
pub(super) fn split_parts<'a>(name: &str, fields: impl ExactSizeIterator<Item = &'a str>) -> Option<Vec<Option<String>>> {
    if fields.len() == 0 {
        return name.is_empty().then(Vec::new);
    }
    if name.split('/').count() != fields.len() {
        return None;
    }
    let parse = |(part, field): (&str, &str)| {
        let (found, value) = part.split_once('=')?;
        let known = unescape(found)? == field;
        let value = if value == NULL { None } else { Some(unescape(value)?) };
        known.then_some(value)
    };
    name.split('/').zip(fields).map(parse).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let byte = u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok().filter(u8::is_ascii)?;
        out.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Some(out)
}
