//! Rust as the rules read it: comments become spaces and literals become quotes, so that only code is left, on its own lines.

/// Blanks comments and literals; lines and columns stay.
pub(crate) fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let after_word = at > 0 && is_word(chars[at - 1]);
        let (len, fill) = match piece(&chars[at..], after_word) {
            Piece::Code => (1, None),
            Piece::Comment(len) => (len, Some(' ')),
            Piece::Literal(len) => (len, Some('"')),
        };
        out.extend(chars[at..at + len].iter().map(|&c| if c == '\n' { c } else { fill.unwrap_or(c) }));
        at += len;
    }
    out
}

enum Piece {
    Code,
    Comment(usize),
    Literal(usize),
}

fn piece(rest: &[char], after_word: bool) -> Piece {
    let second = rest.get(1);
    match rest[0] {
        '/' if second == Some(&'/') => Piece::Comment(rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())),
        '/' if second == Some(&'*') => Piece::Comment(block_comment(rest)),
        '"' => Piece::Literal(quoted(rest)),
        '\'' if second == Some(&'\\') => Piece::Literal(3 + rest[3..].iter().position(|&c| c == '\'').map_or(rest.len() - 3, |n| n + 1)),
        '\'' if rest.get(2) == Some(&'\'') => Piece::Literal(3),
        'r' | 'b' | 'c' if !after_word => raw(rest).map_or(Piece::Code, Piece::Literal),
        _ => Piece::Code,
    }
}

/// Length of a block comment, which may hold others.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of a string with escapes.
fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a raw string (`r"..."`, `br#"..."#`), if this is one.
fn raw(rest: &[char]) -> Option<usize> {
    let mark = rest.iter().take(2).position(|&c| c == 'r')?;
    let hashes = rest[mark + 1..].iter().take_while(|&&c| c == '#').count();
    let open = mark + 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| rest[*at] == '"' && rest[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    Some((open + 1..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes))
}

/// Whether a character can stand in a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name at the start of `code`; empty when there is none.
pub(crate) fn word(code: &str) -> &str {
    &code[..code.find(|c| !is_word(c)).unwrap_or(code.len())]
}

/// Where `name` stands alone in `code`, not as a part of another name.
pub(crate) fn finds<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let ends_in_word = name.ends_with(is_word);
    code.match_indices(name).map(|(at, _)| at).filter(move |&at| {
        let joined = ends_in_word && code[at + name.len()..].starts_with(is_word);
        !code[..at].ends_with(is_word) && !joined
    })
}

/// The line number of a position, from 1.
pub(crate) fn line(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn comments_and_literals_are_blanked() {
    assert_eq!(blank("a // b {\nc"), "a       \nc");
    assert_eq!(blank("a /* b /* c */ d */ e"), "a                   e");
    assert_eq!(blank(r#"f("\" {", y)"#), r#"f("""""", y)"#);
    assert_eq!(blank("br#\"a\"b\"# + r\"c\""), "\"\"\"\"\"\"\"\"\" + \"\"\"\"");
    assert_eq!(blank("'{' '\\'' '\\u{41}' &'a str"), "\"\"\" \"\"\"\" \"\"\"\"\"\"\"\" &'a str");
    assert_eq!(blank("r#fn = attr\"x\""), "r#fn = attr\"\"\"");
}

#[test]
fn names_are_found_whole() {
    assert_eq!(finds("unsafe_code unsafe { notunsafe }", "unsafe").collect::<Vec<_>>(), [12]);
    assert_eq!(finds("mycrate::a crate::b", "crate::").collect::<Vec<_>>(), [11]);
    assert_eq!(word("abc_1::x"), "abc_1");
    assert_eq!(line("a\nb\nc", 4), 3);
}
