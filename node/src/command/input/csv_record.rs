//! One csv record out of a stream of bytes (RFC 4180): cells, whether they were quoted, and how long the record is.
//!
//! Invariant: a record is taken whole or not at all, so that a piece of a stream can end anywhere.
//! An empty cell in quotes is not the same as one without: the one is a text, the other null. Knows nothing of types.

/// What the next bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A record of so many bytes, its line end included.
    Record(usize),
    /// A line without any cell, of so many bytes.
    Blank(usize),
    /// More bytes are needed.
    Incomplete,
    /// No record; the next line begins behind so many bytes.
    Bad(usize, String),
}

/// The cells of a record.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: Vec<u8>,
    /// End of each cell in `text`, and whether it was quoted.
    cells: Vec<(usize, bool)>,
}

impl Record {
    /// Cells of the last record taken: text, and whether it was quoted.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let starts = std::iter::once(0).chain(self.cells.iter().map(|(end, _)| *end));
        starts.zip(&self.cells).map(|(start, (end, quoted))| (&self.text[start..*end], *quoted))
    }

    /// How many cells the last record has.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Makes this the record of one empty cell.
    pub(super) fn one_empty_cell(&mut self) {
        self.text.clear();
        self.cells = vec![(0, false)];
    }

    /// Takes the record at the start of `bytes`; `last` says that nothing comes behind them.
    pub(super) fn take(&mut self, bytes: &[u8], last: bool) -> Taken {
        self.text.clear();
        self.cells.clear();
        if let Some(blank) = blank(bytes, last) {
            return blank;
        }
        let mut at = 0;
        loop {
            let cell = if bytes.get(at) == Some(&b'"') { self.quoted(bytes, at + 1, last) } else { self.plain(bytes, at, last) };
            let (end, quoted) = match cell {
                Ok((end, quoted)) => (end, quoted),
                Err(taken) => return taken,
            };
            self.cells.push((self.text.len(), quoted));
            match bytes.get(end) {
                Some(b',') => at = end + 1,
                Some(b'\n') => return Taken::Record(end + 1),
                Some(b'\r') => return Taken::Record(end + 2),
                _ => return Taken::Record(end),
            }
        }
    }

    /// A cell without quotes: where it ends.
    fn plain(&mut self, bytes: &[u8], start: usize, last: bool) -> Result<(usize, bool), Taken> {
        let mut end = start;
        loop {
            let rest = &bytes[end..];
            match rest.iter().position(|byte| matches!(byte, b',' | b'\n' | b'\r')) {
                Some(run) => end += run,
                None if last => end = bytes.len(),
                None => return Err(Taken::Incomplete),
            }
            match line_end(bytes, end, last) {
                LineEnd::Open => return Err(Taken::Incomplete),
                // A carriage return within a cell belongs to it.
                LineEnd::No if bytes.get(end) == Some(&b'\r') => end += 1,
                _ => break,
            }
        }
        self.text.extend_from_slice(&bytes[start..end]);
        Ok((end, false))
    }

    /// A cell in quotes, from behind the first: where the mark behind the last one is.
    fn quoted(&mut self, bytes: &[u8], start: usize, last: bool) -> Result<(usize, bool), Taken> {
        let mut at = start;
        loop {
            let Some(run) = bytes[at..].iter().position(|byte| *byte == b'"') else {
                return Err(if last { Taken::Bad(next_line(bytes), "a quote is not closed".into()) } else { Taken::Incomplete });
            };
            self.text.extend_from_slice(&bytes[at..at + run]);
            at += run + 1;
            match bytes.get(at) {
                Some(b'"') => {
                    self.text.push(b'"');
                    at += 1;
                }
                None if !last => return Err(Taken::Incomplete),
                None | Some(b',' | b'\n') => return Ok((at, true)),
                Some(_) => {
                    return match line_end(bytes, at, last) {
                        LineEnd::Yes => Ok((at, true)),
                        LineEnd::Open => Err(Taken::Incomplete),
                        // The rest of its line has to be there before it can be passed over.
                        LineEnd::No if !last && !bytes.contains(&b'\n') => Err(Taken::Incomplete),
                        LineEnd::No => Err(Taken::Bad(next_line(bytes), "text behind a closing quote".into())),
                    };
                }
            }
        }
    }
}

enum LineEnd {
    Yes,
    No,
    /// A carriage return at the very end of what has come.
    Open,
}

/// Whether a line ends at `at`: a line feed, a carriage return and a line feed, or the end.
fn line_end(bytes: &[u8], at: usize, last: bool) -> LineEnd {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), None) if !last => LineEnd::Open,
        (Some(b'\n'), _) | (Some(b'\r'), Some(b'\n')) | (None, _) => LineEnd::Yes,
        _ => LineEnd::No,
    }
}

fn blank(bytes: &[u8], last: bool) -> Option<Taken> {
    match (bytes.first(), bytes.get(1)) {
        (Some(b'\n'), _) => Some(Taken::Blank(1)),
        (Some(b'\r'), Some(b'\n')) => Some(Taken::Blank(2)),
        (None, _) => Some(Taken::Incomplete),
        (Some(b'\r'), None) if !last => Some(Taken::Incomplete),
        _ => None,
    }
}

/// Where a reader that gives up on the record at the start of `bytes` goes on.
fn next_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(bytes: &str) -> (Taken, Vec<(String, bool)>) {
        let mut record = Record::default();
        let taken = record.take(bytes.as_bytes(), true);
        let cells = record.cells().map(|(text, quoted)| (String::from_utf8_lossy(text).into_owned(), quoted)).collect();
        (taken, cells)
    }

    #[test]
    fn cells_are_split_and_unquoted() {
        let (taken, found) = cells("a,\"b,\"\"\n\",,\"\"\r\nnext");
        assert_eq!(taken, Taken::Record(15));
        let expected = [("a", false), ("b,\"\n", true), ("", false), ("", true)];
        assert_eq!(found, expected.map(|(text, quoted)| (text.to_string(), quoted)));
        assert_eq!(cells("a\rb").1, [("a\rb".to_string(), false)]);
        assert_eq!(cells("a,").1.len(), 2);
        assert_eq!(cells("\r\nx").0, Taken::Blank(2));
    }

    #[test]
    fn bad_quotes_end_with_their_line() {
        assert!(matches!(cells("\"a\"b,c\nnext").0, Taken::Bad(7, _)));
        assert!(matches!(cells("\"open\nnext").0, Taken::Bad(6, _)));
        assert_eq!(Record::default().take(b"\"a\"b,1", false), Taken::Incomplete, "the rest of the line is still to come");
    }

    /// Quotes only what has to be.
    fn written(rows: &[Vec<String>], line_end: &str) -> String {
        let cell = |cell: &String| match cell.contains(['"', ',', '\r', '\n']) || cell.is_empty() {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(",") + line_end).collect()
    }

    proptest! {
        #[test]
        fn records_come_back_wherever_the_stream_is_cut(
            rows in prop::collection::vec(prop::collection::vec("a{0,3}|[a,\"\r\n]{0,4}", 1..4), 1..5),
            line_end in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let bytes = written(&rows, line_end);
            for cut in 0..=bytes.len() {
                let (mut at, mut known, mut read) = (0, cut, Vec::new());
                let mut record = Record::default();
                while at < bytes.len() {
                    match record.take(&bytes.as_bytes()[at..known], known == bytes.len()) {
                        Taken::Record(len) => {
                            read.push(record.cells().map(|(text, _)| String::from_utf8(text.to_vec()).unwrap()).collect::<Vec<_>>());
                            at += len;
                        }
                        Taken::Incomplete => known = bytes.len(),
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                prop_assert_eq!(&read, &rows);
            }
        }

        #[test]
        fn no_bytes_panic_or_stand_still(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n".to_vec()), 0..40), last: bool) {
            match Record::default().take(&bytes, last) {
                Taken::Record(len) | Taken::Blank(len) | Taken::Bad(len, _) => prop_assert!(0 < len && len <= bytes.len()),
                Taken::Incomplete => prop_assert!(!last || bytes.is_empty()),
            }
        }
    }
}
