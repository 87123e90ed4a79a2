//! The one error of the engine: a kind that tells the caller what to do, a message that says what
//! and where, and a hint that says how to get out of it.
//!
//! Expected outcomes (end of a scan, an absent key) are values, never errors. Whoever handles an error logs it, once.
//! This module knows nothing of the rest of the engine.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request is wrong as it stands: change it.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// Somebody else holds or changed it: look again, then decide.
    Conflict,
    /// Not now: reopen or retry later.
    Unavailable,
    /// A limit is reached: free something or raise the limit.
    Exhausted,
    /// Stored bytes are not what was written.
    Corrupt,
    /// A user's module failed.
    Plugin,
    /// A defect of this program.
    Internal,
}

impl Kind {
    /// The word that programs match on: `INVALID`, `NOT_FOUND`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Invalid => "INVALID",
            Kind::NotFound => "NOT_FOUND",
            Kind::Conflict => "CONFLICT",
            Kind::Unavailable => "UNAVAILABLE",
            Kind::Exhausted => "EXHAUSTED",
            Kind::Corrupt => "CORRUPT",
            Kind::Plugin => "PLUGIN",
            Kind::Internal => "INTERNAL",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: kind, message, where (named values), hint, source.
///
/// Prints as one line: `message, table shop.clicks, bucket 3; free space on the device`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of every fallible call of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Ends the hint of an error that one damaged place was met: it may not be the only one.
    pub const VERIFY_LISTS: &str = "`aquifer verify` lists everything that is damaged";

    /// An error of `kind`; prefer the constructors named after the kinds.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), context: Vec::new(), hint: None, source: None }))
    }

    /// The request is wrong as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// What was named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Somebody else holds or changed it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A newer program wrote what this one does not know. The request is not wrong: once this program is upgraded, the same one will do.
    pub fn newer(message: impl Into<String>) -> Self {
        Self::unavailable(message).hint("upgrade this program")
    }

    /// A limit is reached.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Kind::Exhausted, message)
    }

    /// Stored bytes are not what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// A defect of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// A failed call to the operating system on `path`, with the kind and the hint that its code deserves.
    pub fn io(action: &str, path: &Path, error: io::Error) -> Self {
        let (kind, hint) = classify(&error);
        let made = Self::new(kind, format!("cannot {action} {}: {}", path.display(), plain(&error))).caused_by(error);
        match hint {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }

    /// Adds a named value that says where: `.at("bucket", 3)`.
    #[must_use]
    pub fn at(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        if !self.0.context.iter().any(|(known, _)| *known == name) {
            self.0.context.push((name, value.to_string()));
        }
        self
    }

    /// As [`Error::at`], in the place of a value of that name: what is known here is said in other terms than where it went wrong.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        self.without(name).at(name, value)
    }

    /// Without a named value: what it says is not true of what the caller knows.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.context.retain(|(known, _)| *known != name);
        self
    }

    /// Says what to do about it. An empty hint says nothing.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What went wrong, without where and what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The named values that say where.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// What to do about it, if there is advice.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// A copy for another waiter of the same failure; the source stays with the first.
    #[must_use]
    pub fn replica(&self) -> Self {
        let Inner { kind, message, context, hint, .. } = &*self.0;
        Error(Box::new(Inner { kind: *kind, message: message.clone(), context: context.clone(), hint: hint.clone(), source: None }))
    }
}

/// The message of the operating system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

fn classify(error: &io::Error) -> (Kind, Option<&'static str>) {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound => (Kind::NotFound, None),
        AlreadyExists => (Kind::Conflict, None),
        StorageFull | QuotaExceeded => (Kind::Exhausted, Some("free space on the device, then go on")),
        FileTooLarge => (Kind::Exhausted, Some("raise the limit on file sizes")),
        // The request is not wrong: once it is permitted, the same one will do.
        PermissionDenied => (Kind::Unavailable, Some("give this user the right to read and write there")),
        ReadOnlyFilesystem => (Kind::Invalid, Some("choose a directory that can be written")),
        NotADirectory => (Kind::Invalid, Some("name a directory")),
        OutOfMemory => (Kind::Exhausted, Some("lower the memory budgets of the store")),
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            (Kind::Exhausted, Some("raise the limit on open files (ulimit -n) or lower `files.open.max`"))
        }
        _ => (Kind::Unavailable, None),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (name, value) in &self.0.context {
            write!(f, ", {name} {value}")?;
        }
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, " (because {source})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_where_and_what_to_do_on_one_line() {
        let error = Error::exhausted("no space left").at("table", "shop.clicks").at("bucket", 3).hint("free space");
        assert_eq!(error.to_string(), "no space left, table shop.clicks, bucket 3; free space");
        assert_eq!(error.kind(), Kind::Exhausted);
        assert_eq!(Error::invalid("no").hint("").to_string(), "no");
    }

    #[test]
    fn the_innermost_place_wins() {
        let error = Error::corrupt("bad frame").at("offset", 7).at("offset", 9);
        assert_eq!(error.to_string(), "bad frame, offset 7");
    }

    #[test]
    fn a_full_disk_is_a_limit_and_says_so() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::io("write", Path::new("x"), full);
        assert_eq!(error.kind(), Kind::Exhausted);
        assert!(error.to_string().contains("free space"), "{error}");
        assert!(!error.to_string().contains("os error"), "{error}");
    }

    #[test]
    fn what_the_system_forbids_is_no_wrong_request() {
        let kind = |code| Error::io("write", Path::new("x"), io::Error::from_raw_os_error(code)).kind();
        assert_eq!([kind(libc::EACCES), kind(libc::EPERM)], [Kind::Unavailable; 2]);
        // Another directory has to be named.
        assert_eq!([kind(libc::EROFS), kind(libc::ENOTDIR)], [Kind::Invalid; 2]);
    }
}
