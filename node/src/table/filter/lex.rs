//! The tokens of a filter, with where they stand.

use super::{FILTER_LENGTH_MAX, Literal};
use crate::error::{Error, Result};
use crate::table::literal::parse_hex;

/// Why a condition that computes is refused, and what to do instead.
pub(super) const NO_ARITHMETIC: &str = "a filter does not compute: compare a column with a value that is worked out before, as in a > 1";

/// Characters shown on each side of a mistake.
const EXCERPT_CHARACTERS: usize = 30;

/// The word for more than every number.
pub(super) const INFINITY: &str = "infinity";

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word: a column or a keyword.
    Word(String),
    /// A quoted name: always a column.
    Name(String),
    /// A number, a text or bytes.
    Literal(Literal),
    /// One of `( ) , = <> < <= > >=`.
    Symbol(&'static str),
    End,
}

impl Token {
    /// Whether a value can end with it.
    fn is_value(&self) -> bool {
        matches!(self, Token::Word(_) | Token::Name(_) | Token::Literal(_) | Token::Symbol(")"))
    }

    /// How an error calls it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Name(name) => format!("\"{name}\""),
            Token::Literal(Literal::Number(text)) => text.clone(),
            Token::Literal(Literal::Text(text)) => format!("'{text}'"),
            Token::Literal(_) => "bytes".to_string(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_string(),
        }
    }
}

/// Longer symbols first, each with what it means.
const SYMBOLS: &[(&str, &str)] = &[
    ("<=", "<="),
    (">=", ">="),
    ("<>", "<>"),
    ("!=", "<>"),
    ("==", "="),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("(", "("),
    (")", ")"),
    (",", ","),
];

/// An error at the byte `at` of `text`: its position in characters, and the place marked by `^`.
pub(super) fn mistake(text: &str, at: usize, what: &str) -> Error {
    let (before, after) = text.split_at(at.min(text.len()));
    let start = before.char_indices().rev().nth(EXCERPT_CHARACTERS - 1).map_or(0, |(index, _)| index);
    let end = after.char_indices().nth(EXCERPT_CHARACTERS).map_or(after.len(), |(index, _)| index);
    let (left, right) = (if start > 0 { "..." } else { "" }, if end < after.len() { "..." } else { "" });
    Error::invalid(format!("cannot parse the filter: {what}")).at("position", before.chars().count() + 1).hint(format!(
        "look at ^ in: {left}{}^{}{right}",
        &before[start..],
        &after[..end]
    ))
}

/// All tokens with the byte where each starts; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    if text.len() > FILTER_LENGTH_MAX {
        return Err(Error::invalid(format!("a filter of {} bytes is too long", text.len())).hint(format!("at most {FILTER_LENGTH_MAX}")));
    }
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut at = 0;
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else { break };
        let is_behind_value = tokens.last().is_some_and(|(_, token)| token.is_value());
        let (token, length) = next(text, at, rest, first).map_err(|error| match first {
            '+' | '-' if is_behind_value => mistake(text, at, NO_ARITHMETIC),
            _ => error,
        })?;
        tokens.push((at, token));
        at += length;
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

/// The token that starts with `first`, and its length in bytes.
fn next(text: &str, at: usize, rest: &str, first: char) -> Result<(Token, usize)> {
    if let Some((symbol, meaning)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return Ok((Token::Symbol(meaning), symbol.len()));
    }
    let open = |what: &str| mistake(text, at, what);
    match first {
        '\'' => {
            let (value, length) = quoted(rest, '\'').ok_or_else(|| open("this quote is never closed"))?;
            Ok((Token::Literal(Literal::Text(value)), length))
        }
        'x' | 'X' if rest[1..].starts_with('\'') => {
            let (value, length) = quoted(&rest[1..], '\'').ok_or_else(|| open("this quote is never closed"))?;
            let bytes = parse_hex(&value).ok_or_else(|| open("these are not hexadecimal digits, two a byte"))?;
            Ok((Token::Literal(Literal::Bytes(bytes)), length + 1))
        }
        '"' | '`' => {
            let (name, length) = quoted(rest, first).ok_or_else(|| open("this quote is never closed"))?;
            Ok((Token::Name(name), length))
        }
        '0'..='9' | '.' | '-' | '+' => {
            let length = number_length(rest).or_else(|| infinity_length(rest)).ok_or_else(|| open("this is not a number"))?;
            Ok((Token::Literal(Literal::Number(rest[..length].to_string())), length))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
            Ok((Token::Word(rest[..length].to_string()), length))
        }
        '*' | '/' | '%' => Err(open(NO_ARITHMETIC)),
        '&' => Err(open("write `and`, not `&`")),
        '|' => Err(open("write `or`, not `|`; texts are not joined")),
        _ => Err(open(&format!("nothing starts with `{first}`"))),
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '$' | '@')
}

/// The text between quotes, where a doubled quote is one, and the bytes with the quotes.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut at = quote.len_utf8();
    loop {
        let end = at + rest[at..].find(quote)?;
        value.push_str(&rest[at..end]);
        at = end + quote.len_utf8();
        if !rest[at..].starts_with(quote) {
            return Some((value, at));
        }
        value.push(quote);
        at += quote.len_utf8();
    }
}

/// The bytes of an infinity with a sign; without one it is a word.
fn infinity_length(rest: &str) -> Option<usize> {
    let word = rest.get(1..1 + INFINITY.len())?;
    let length = 1 + word.len();
    (word.eq_ignore_ascii_case(INFINITY) && !rest[length..].starts_with(is_word)).then_some(length)
}

/// The bytes of `[-+]digits[.digits][e[-+]digits]`, if a word does not follow.
fn number_length(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let whole = digits(at);
    at += whole;
    let mut count = whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += 1 + fraction;
        count += fraction;
    }
    if count == 0 {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        let exponent = digits((at + 1 + sign).min(bytes.len()));
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    let ends = !rest[at..].starts_with(is_word);
    ends.then_some(at)
}
