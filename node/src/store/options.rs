//! What an embedder may choose when a store is opened. Few settings; the defaults are meant to be kept.
//!
//! Tables have options of their own (`retention.ms`, `compression`, ...), which are stored with them.

use crate::error::{Error, Result};
use crate::lsm::pick::Rules;
use crate::table::{did_you_mean, quantity};

/// Which way to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoPreference {
    /// io_uring where it is allowed, else system calls.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// System calls in the calling threads and a small pool.
    Threads,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The rows are on the device.
    #[default]
    Sync,
    /// The rows were handed to the operating system: they survive the process, not a power cut.
    Os,
}

/// Settings of an open store. `Options::default()` is right for most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which way to the kernel.
    pub io: IoPreference,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Segment files open at a time, at least 16.
    pub files_open_max: usize,
    /// Buckets open at a time; idle ones are closed beyond it.
    pub buckets_open_max: usize,
    /// Bytes of newest rows kept in memory for readers that follow.
    pub recent_bytes_max: usize,
    /// Bytes of idle buffers kept for reuse.
    pub pool_bytes_max: usize,
    /// Bytes that one writer may have unacknowledged before `send` waits.
    pub writer_bytes_max: usize,
    /// Bytes that one scanner reads ahead.
    pub scan_bytes_max: usize,
    /// Bytes of dropped segments kept to be used again.
    pub spare_bytes_max: u64,
    /// Bytes of rows of primary-key tables that are not in runs yet, all tables together.
    pub memtable_bytes_max: usize,
    /// Bytes of blocks of runs kept in memory.
    pub block_bytes_max: usize,
    /// Bytes of a file of merged rows, about: more become several files, with other keys each.
    pub run_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            io: IoPreference::Auto,
            durability: Durability::Sync,
            files_open_max: 512,
            buckets_open_max: 4096,
            recent_bytes_max: 32 << 20,
            pool_bytes_max: 32 << 20,
            writer_bytes_max: 16 << 20,
            scan_bytes_max: 16 << 20,
            spare_bytes_max: 256 << 20,
            memtable_bytes_max: 64 << 20,
            block_bytes_max: 64 << 20,
            run_bytes_max: Rules::default().file_bytes,
        }
    }
}

/// One setting as `aquifer config` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionEntry {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it is for.
    pub description: &'static str,
}

const DESCRIPTIONS: [(&str, &str); 12] = [
    ("io", "way to the kernel: auto, uring or threads"),
    ("durability", "acknowledged means: sync (on the device) or os (in the page cache)"),
    ("files.open.max", "segment files open at a time"),
    ("buckets.open.max", "buckets open at a time"),
    ("recent.bytes.max", "newest rows kept in memory for readers that follow"),
    ("pool.bytes.max", "idle buffers kept for reuse"),
    ("writer.bytes.max", "unacknowledged bytes of one writer before it waits"),
    ("scan.bytes.max", "bytes that one scanner reads ahead"),
    ("spare.bytes.max", "dropped segments kept to be used again"),
    ("memtable.bytes.max", "rows of primary-key tables that are not in runs yet"),
    ("block.bytes.max", "blocks of runs kept in memory"),
    ("run.bytes.max", "size of a file of merged rows, about"),
];

impl Options {
    /// Sets one by name, as `--set` does.
    ///
    /// Errors: Invalid for an unknown name (with the nearest) or a value that does not parse.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let bytes = || quantity::parse_bytes(value);
        match name {
            "io" => {
                self.io =
                    parse(name, value, &[("auto", IoPreference::Auto), ("uring", IoPreference::Uring), ("threads", IoPreference::Threads)])?
            }
            "durability" => self.durability = parse(name, value, &[("sync", Durability::Sync), ("os", Durability::Os)])?,
            "files.open.max" => self.files_open_max = count(name, value)?.max(16),
            "buckets.open.max" => self.buckets_open_max = count(name, value)?.max(1),
            "recent.bytes.max" => self.recent_bytes_max = bytes()? as usize,
            "pool.bytes.max" => self.pool_bytes_max = bytes()? as usize,
            "writer.bytes.max" => self.writer_bytes_max = bytes()? as usize,
            "scan.bytes.max" => self.scan_bytes_max = bytes()? as usize,
            "spare.bytes.max" => self.spare_bytes_max = bytes()?,
            "memtable.bytes.max" => self.memtable_bytes_max = bytes()? as usize,
            "block.bytes.max" => self.block_bytes_max = bytes()? as usize,
            "run.bytes.max" => self.run_bytes_max = bytes()?,
            _ => {
                return Err(Error::invalid(format!("unknown option {name}")).hint(did_you_mean(name, DESCRIPTIONS.map(|(known, _)| known))));
            }
        }
        Ok(())
    }

    /// All settings with their values.
    pub fn entries(&self) -> Vec<OptionEntry> {
        DESCRIPTIONS.map(|(name, description)| OptionEntry { name, value: self.get(name), description }).to_vec()
    }

    fn get(&self, name: &str) -> String {
        let bytes = |bytes: usize| quantity::print_bytes(bytes as u64);
        match name {
            "io" => format!("{:?}", self.io).to_lowercase(),
            "durability" => format!("{:?}", self.durability).to_lowercase(),
            "files.open.max" => self.files_open_max.to_string(),
            "buckets.open.max" => self.buckets_open_max.to_string(),
            "recent.bytes.max" => bytes(self.recent_bytes_max),
            "pool.bytes.max" => bytes(self.pool_bytes_max),
            "writer.bytes.max" => bytes(self.writer_bytes_max),
            "scan.bytes.max" => bytes(self.scan_bytes_max),
            "spare.bytes.max" => quantity::print_bytes(self.spare_bytes_max),
            "memtable.bytes.max" => bytes(self.memtable_bytes_max),
            "block.bytes.max" => bytes(self.block_bytes_max),
            "run.bytes.max" => quantity::print_bytes(self.run_bytes_max),
            _ => unreachable!("{name} is in the list"),
        }
    }
}

fn parse<T: Copy>(name: &str, value: &str, known: &[(&str, T)]) -> Result<T> {
    let found = known.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        Error::invalid(format!("{name} = {value} is not possible")).hint(format!("choose one of {}", words.join(", ")))
    })
}

fn count(name: &str, value: &str) -> Result<usize> {
    value.parse().map_err(|_| Error::invalid(format!("{name} = {value} is not a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_set_to_what_it_prints() {
        let mut options = Options::default();
        for entry in Options::default().entries() {
            options.set(entry.name, &entry.value).unwrap();
        }
        assert_eq!(options, Options::default());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = Options::default().set("files.open.mx", "3").unwrap_err();
        assert!(error.to_string().contains("files.open.max"), "{error}");
    }
}
