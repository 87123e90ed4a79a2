//! A pull parser over one JSON text: the caller knows which value it wants.
//!
//! Invariant: moves forward only, never past the end; numbers stay text, so that no digit is lost.
//! Knows nothing of Arrow.

use std::borrow::Cow;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Token {
    /// As an error says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Token::Null => "null",
            Token::Bool => "true or false",
            Token::Number => "a number",
            Token::Text => "a text",
            Token::List => "a list",
            Token::Object => "an object",
        }
    }
}

pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Json { text, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn wrong(&mut self, expected: &str) -> String {
        match self.byte() {
            None => format!("not JSON: expected {expected}, but it ends"),
            Some(_) => {
                let found = self.text.get(self.at..).and_then(|rest| rest.chars().next()).unwrap_or('?');
                format!("not JSON: expected {expected}, found '{}' at byte {}", found.escape_debug(), self.at + 1)
            }
        }
    }

    /// What comes next, without taking it.
    pub(super) fn peek(&mut self) -> Result<Token, String> {
        Ok(match self.byte() {
            Some(b'n') => Token::Null,
            Some(b't' | b'f') => Token::Bool,
            Some(b'-' | b'0'..=b'9') => Token::Number,
            Some(b'"') => Token::Text,
            Some(b'[') => Token::List,
            Some(b'{') => Token::Object,
            _ => return Err(self.wrong("a value")),
        })
    }

    /// Takes a mark if it comes next.
    pub(super) fn skip(&mut self, mark: u8) -> bool {
        let found = self.byte() == Some(mark);
        self.at += usize::from(found);
        found
    }

    /// Takes a mark that has to come next.
    pub(super) fn expect(&mut self, mark: u8) -> Result<(), String> {
        match self.skip(mark) {
            true => Ok(()),
            false => Err(self.wrong(&format!("'{}'", char::from(mark)))),
        }
    }

    /// Behind the last value there is nothing.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => Err(self.wrong(word)),
        }
    }

    /// Takes `null`.
    pub(super) fn null(&mut self) -> Result<(), String> {
        self.word("null")
    }

    /// Takes `true`, `false` or a number as it is written.
    pub(super) fn plain(&mut self) -> Result<&'a str, String> {
        let start = self.at;
        match self.byte() {
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            _ => self.number()?,
        }
        Ok(self.text[start..self.at].trim_start())
    }

    fn digits(&mut self) -> Result<usize, String> {
        let bytes = &self.text.as_bytes()[self.at..];
        match bytes.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => Err(self.wrong("a digit")),
            count => {
                self.at += count;
                Ok(count)
            }
        }
    }

    fn next_is(&self, marks: &[u8]) -> bool {
        self.text.as_bytes().get(self.at).is_some_and(|byte| marks.contains(byte))
    }

    fn number(&mut self) -> Result<(), String> {
        self.at += usize::from(self.next_is(b"-"));
        let leading_zero = self.next_is(b"0");
        if self.digits()? > 1 && leading_zero {
            return Err(format!("not JSON: a number begins with 0 before byte {}", self.at + 1));
        }
        if self.next_is(b".") {
            self.at += 1;
            self.digits()?;
        }
        if self.next_is(b"eE") {
            self.at += 1;
            self.at += usize::from(self.next_is(b"+-"));
            self.digits()?;
        }
        Ok(())
    }

    /// Takes a text; borrowed when it has no escape.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, String> {
        self.expect(b'"')?;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let from = self.at;
            let rest = &self.text.as_bytes()[from..];
            let run = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            self.at += run;
            if let Some(text) = &mut unescaped {
                text.push_str(&self.text[from..self.at]);
            }
            match rest.get(run) {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(unescaped.map_or_else(|| Cow::Borrowed(&self.text[start..end]), Cow::Owned));
                }
                Some(b'\\') => {
                    let mut text = unescaped.take().unwrap_or_else(|| self.text[start..self.at].to_string());
                    self.at += 1;
                    text.push(self.escape()?);
                    unescaped = Some(text);
                }
                Some(_) => return Err(format!("not JSON: a control character in a text at byte {}", self.at + 1)),
                None => return Err("not JSON: a text does not end".into()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let Some(letter) = self.text.as_bytes().get(self.at).copied() else {
            return Err("not JSON: a text does not end".into());
        };
        let known = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(format!("not JSON: an unknown escape at byte {}", self.at + 1)),
        };
        self.at += 1;
        Ok(known)
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        self.at += if value.is_some() { 4 } else { 0 };
        value.ok_or_else(|| format!("not JSON: \\u wants four hex digits at byte {}", self.at + 1))
    }

    /// One character of one or, outside the first plane, two escapes.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if let Some(known) = char::from_u32(first) {
            return Ok(known);
        }
        let lone = format!("not JSON: half a surrogate pair before byte {}", self.at + 1);
        if !(0xd800..0xdc00).contains(&first) || !self.text[self.at..].starts_with("\\u") {
            return Err(lone);
        }
        self.at += 2;
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(lone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_unescaped() {
        assert_eq!(Json::new(r#" "plain""#).text().unwrap(), "plain");
        assert_eq!(Json::new(r#""a\n\"\u00e9\ud83d\ude00z""#).text().unwrap(), "a\n\"\u{e9}\u{1f600}z");
        for wrong in [r#""open"#, r#""\x""#, r#""\u12""#, r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, "\"\n\"", "\"\\"] {
            assert!(Json::new(wrong).text().is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(Json::new(" 12345678901234567890.10 ,").plain(), Ok("12345678901234567890.10"));
        assert_eq!(Json::new("-0.5e+10").plain(), Ok("-0.5e+10"));
        for wrong in ["-", "01", "1.", "1e", "truth", ""] {
            assert!(Json::new(wrong).plain().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn texts_agree_with_another_reader(text in "\\PC*|[a\\x00-\\x7f\"\\\\]*") {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Json::new(&written).text().unwrap(), text.clone());
            let strict: Option<String> = serde_json::from_str(&format!("\"{text}\"")).ok();
            let quoted = format!("\"{text}\"");
            let mut ours = Json::new(&quoted);
            let read = ours.text().ok().map(Cow::into_owned).filter(|_| ours.end().is_ok());
            prop_assert_eq!(read, strict);
        }

        #[test]
        fn numbers_agree_with_another_reader(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
            let mut ours = Json::new(&text);
            let taken = ours.plain().is_ok() && ours.end().is_ok();
            prop_assert_eq!(taken, serde_json::from_str::<f64>(&text).is_ok());
        }
    }
}
