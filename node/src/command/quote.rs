//! Text of the user inside a message: short, in quotes, and nothing in it is obeyed by a terminal.
//!
//! Invariant: one line of printable characters. Knows nothing of messages.

/// Characters that are shown at most.
const SHOWN_CHARACTERS_MAX: usize = 80;

/// `text` in single quotes; control characters are escaped, what is too long is cut.
pub(crate) fn quote(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN_CHARACTERS_MAX).collect();
    let rest = if characters.next().is_some() { ".." } else { "" };
    format!("'{}{rest}'", printable(&shown))
}

/// `text` as it is, but for control characters, which are escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_short_and_plain() {
        assert_eq!(quote("it's \u{e9}"), "'it's \u{e9}'");
        assert_eq!(quote("\u{1b}[2J\n"), "'\\u{1b}[2J\\n'");
        assert_eq!(printable("{\"a\":\"it's\"}\t\u{9b}"), "{\"a\":\"it's\"}\\t\\u{9b}");
        assert_eq!(quote(&"x".repeat(80)), format!("'{}'", "x".repeat(80)));
        assert_eq!(quote(&"x".repeat(5000)), format!("'{}..'", "x".repeat(80)));
    }
}
