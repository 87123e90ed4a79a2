//! Lists of names as a user types them: `a, b, "c,d"`. In double quotes stands what has a comma or quotes in it, these doubled.
//!
//! Invariant: what is printed parses back. Knows nothing of what the names are of.

use crate::error::{Error, Result};

/// The names in a list; none in a blank one.
///
/// # Errors
/// Invalid for quotes that do not end, or that something else than a comma follows.
pub fn parse_names(text: &str) -> Result<Vec<String>> {
    parse_list(text, parse_name)
}

/// Names as [`parse_names`] takes them.
pub fn print_names(names: &[String]) -> String {
    names.iter().map(|name| print_name(name)).collect::<Vec<_>>().join(",")
}

/// The items of a list; `item` gives the one that a text begins with, and what is behind it.
pub(super) fn parse_list<'a, T>(text: &'a str, mut item: impl FnMut(&'a str) -> Result<(T, &'a str)>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    // Behind a comma at the end there is an item too, which is empty.
    while !rest.is_empty() || !all.is_empty() {
        let (found, behind) = item(rest)?;
        all.push(found);
        match behind.trim_start().strip_prefix(',') {
            Some(behind) => rest = behind.trim_start(),
            None if behind.trim().is_empty() => break,
            None => return Err(Error::invalid("expected a comma behind a name in double quotes").at("list", format!("`{text}`"))),
        }
    }
    Ok(all)
}

fn parse_name(text: &str) -> Result<(String, &str)> {
    if let Some(quoted) = quoted_name(text)? {
        return Ok(quoted);
    }
    let (name, behind) = text.split_at(text.find(',').unwrap_or(text.len()));
    Ok((name.trim().to_string(), behind))
}

/// The name in double quotes that a text begins with, and what is behind it; `None` when it begins otherwise.
///
/// # Errors
/// Invalid for quotes that do not end.
pub fn quoted_name(text: &str) -> Result<Option<(String, &str)>> {
    let Some(mut rest) = text.strip_prefix('"') else { return Ok(None) };
    let mut name = String::new();
    while let Some((before, behind)) = rest.split_once('"') {
        name.push_str(before);
        let Some(more) = behind.strip_prefix('"') else { return Ok(Some((name, behind))) };
        name.push('"');
        rest = more;
    }
    Err(Error::invalid("a name in double quotes does not end").at("list", format!("`{text}`")))
}

fn print_name(name: &str) -> String {
    match name.is_empty() || name.trim() != name || name.contains([',', '"']) {
        true => in_quotes(name),
        false => name.to_string(),
    }
}

/// A name in double quotes, as [`quoted_name`] takes it.
pub(super) fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_commas_stand_in_quotes() {
        let list = |text: &str| parse_names(text).unwrap();
        assert_eq!(list("a, b"), ["a", "b"]);
        assert_eq!(list(r#""a,b",c, "d ""e""" , f"g "#), ["a,b", "c", "d \"e\"", "f\"g"]);
        assert_eq!((list(" "), list("a,")), (vec![], vec!["a".to_string(), String::new()]));
        for (wrong, why) in [(r#"b,"a"#, "does not end"), (r#""a"b"#, "expected a comma"), (r#""a" b,c"#, "expected a comma")] {
            let error = parse_names(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(names in prop::collection::vec("[ab,\" ]{0,4}", 0..4)) {
            prop_assert_eq!(parse_names(&print_names(&names)).unwrap(), names);
        }
    }
}
