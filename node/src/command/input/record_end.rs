//! Where a record ends that is too long to be held: its bytes pass piece by piece and are forgotten.
//!
//! Invariant: finds the end that a reader of the whole record finds, wherever the pieces are cut. Knows nothing of cells' contents.

/// Where in the record the last piece ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordEnd {
    /// A record that ends with its line.
    Line,
    /// csv, before the first byte of a cell.
    Cell,
    /// csv, in a cell without quotes, or behind the closing quote of one with quotes.
    Plain,
    /// csv, in a cell with quotes, where lines do not end.
    Quoted,
    /// csv, behind a quote in a cell with quotes: the last one, or the first of two that stand for one.
    Quote,
}

impl RecordEnd {
    /// Looks through the next piece: the number of its bytes that belong to the record, line end included, if it ends there.
    pub(super) fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Quoted, b'"') => Self::Quote,
                (Self::Quoted, _) | (Self::Cell | Self::Quote, b'"') => Self::Quoted,
                (_, b'\n') => return Some(at + 1),
                (Self::Line, _) => Self::Line,
                (_, b',') => Self::Cell,
                _ => Self::Plain,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv_record::{Record, Taken};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_where_a_reader_of_the_whole_record_finds_it(
            bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n".to_vec()), 1..40),
            cut in 0_usize..40,
        ) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut end = RecordEnd::Cell;
            let found = end.find(head).or_else(|| end.find(tail).map(|len| head.len() + len));
            match Record::default().take(&bytes, false) {
                Taken::Record(len) | Taken::Blank(len) => prop_assert_eq!(found, Some(len)),
                Taken::Incomplete => prop_assert_eq!(found, None),
                Taken::Bad(..) => {}
            }
        }
    }

    #[test]
    fn a_line_ends_within_quotes_too() {
        assert_eq!(RecordEnd::Line.find(b"{\"a,"), None);
        assert_eq!(RecordEnd::Line.find(b"\"\n}"), Some(2));
    }
}
