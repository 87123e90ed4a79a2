//! The least that upserts cost: the rows into a log, sorted runs, one merge of them. The same bytes, with no index, no checksum and no concurrency.
//!
//! A batch goes into a file whose blocks have been written before, with direct I/O, and is durable when it is answered. What has come together is sorted by
//! key and written as a run; in the end all runs are merged, of each key the newest row stays. One thread does everything.
//! Invariant: what is left holds the newest row of each key, which is checked by its sum as with everybody else.

use super::runs::{Reader, Sink};
use crate::aligned::{Aligned, BLOCK_BYTES};
use crate::keyed::row::{KEY_BYTES, Rows, Sum};
use crate::keyed::{Batch, Contender, Form, Keyed, Load};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// See the head of this module.
pub const FLOOR: Contender<'static> =
    Contender { name: "bare floor", version: None, driver: Some("pwritev2"), form: Form::Rows, open: &Floor::open };

/// Bytes of rows that are sorted into one run.
const RUN_BYTES: usize = 64 << 20;

/// Bytes of a write of zeros before the clock starts.
const ZERO_BYTES: usize = 4 << 20;

struct Floor(Mutex<State>);

struct State {
    dir: PathBuf,
    durable: bool,
    log: File,
    log_bytes: u64,
    frame: Aligned,
    /// Rows that are in no run yet, one behind the other, and where each begins.
    memory: Vec<u8>,
    starts: Vec<(u64, u32)>,
    runs: Vec<PathBuf>,
    merged: Option<PathBuf>,
}

impl Floor {
    fn open(dir: &Path, load: &Load) -> io::Result<Box<dyn Keyed>> {
        let frame_bytes = (load.batch_rows * load.shape.row_bytes_max()).next_multiple_of(BLOCK_BYTES);
        let path = dir.join("log");
        let log = OpenOptions::new().read(true).write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path)?;
        let zeros = Aligned::zeroed(ZERO_BYTES);
        let log_bytes = (load.rows / load.batch_rows as u64 + 1) * frame_bytes as u64;
        for offset in (0..log_bytes).step_by(ZERO_BYTES) {
            log.write_all_at(&zeros, offset)?;
        }
        log.sync_all()?;
        // Touched before the clock starts, as the memory of everybody who keeps it: zeros would not be.
        let mut memory = vec![1; RUN_BYTES + frame_bytes];
        memory.clear();
        Ok(Box::new(Floor(Mutex::new(State {
            dir: dir.to_path_buf(),
            durable: load.durable,
            log,
            log_bytes: 0,
            frame: Aligned::zeroed(frame_bytes),
            memory,
            starts: Vec::new(),
            runs: Vec::new(),
            merged: None,
        }))))
    }
}

impl Keyed for Floor {
    fn upsert(&self, batch: &Batch) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.log(batch.rows())?;
        state.remember(batch.rows());
        if state.memory.len() >= RUN_BYTES { state.write_run() } else { Ok(()) }
    }

    fn settle(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.write_run()?;
        state.merge()
    }

    fn sum(&self) -> io::Result<Sum> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &state.merged else { return Err(io::Error::other("it is not settled")) };
        let (mut reader, mut sum) = (Reader::open(path)?, Sum::default());
        while let Some(row) = reader.row() {
            sum.add(row);
            reader.advance()?;
        }
        Ok(sum)
    }
}

impl State {
    /// The rows are on the device.
    fn log(&mut self, rows: &Rows) -> io::Result<()> {
        let bytes = rows.bytes();
        self.frame[..bytes].copy_from_slice(rows.as_bytes());
        let written = bytes.next_multiple_of(BLOCK_BYTES);
        let piece = libc::iovec { iov_base: self.frame.as_mut_ptr().cast(), iov_len: written };
        let flags = if self.durable { libc::RWF_DSYNC } else { 0 };
        // SAFETY: the piece lies in the frame, which is alive for the call.
        match usize::try_from(unsafe { libc::pwritev2(self.log.as_raw_fd(), &piece, 1, self.log_bytes as libc::off_t, flags) }) {
            Ok(count) if count == written => self.log_bytes += written as u64,
            Ok(count) => return Err(io::Error::other(format!("{count} of {written} bytes written"))),
            Err(_) => return Err(io::Error::last_os_error()),
        }
        Ok(())
    }

    fn remember(&mut self, rows: &Rows) {
        let mut at = self.memory.len();
        self.memory.extend_from_slice(rows.as_bytes());
        for row in rows.iter() {
            self.starts.push((key_of(row), at as u32));
            at += row.len();
        }
    }

    /// Sorts what is in memory; of each key the newest row goes into a run.
    fn write_run(&mut self) -> io::Result<()> {
        let ends_at = self.memory.len() as u32;
        // Rows are of different lengths, and where one ends is where the next began before they were sorted.
        let mut rows: Vec<(u64, u32, u32)> = Vec::with_capacity(self.starts.len());
        for (index, (key, start)) in self.starts.iter().enumerate() {
            let end = self.starts.get(index + 1).map_or(ends_at, |(_, next)| *next);
            rows.push((*key, *start, end - start));
        }
        rows.sort_unstable();
        let path = self.dir.join(format!("run-{}", self.runs.len()));
        let mut sink = Sink::create(&path)?;
        for (index, (key, start, bytes)) in rows.iter().enumerate() {
            let is_newest = rows.get(index + 1).is_none_or(|(next, _, _)| next != key);
            if is_newest {
                sink.push(&self.memory[*start as usize..(*start + *bytes) as usize])?;
            }
        }
        sink.finish()?;
        self.runs.push(path);
        self.memory.clear();
        self.starts.clear();
        Ok(())
    }

    /// Merges all runs into one file.
    fn merge(&mut self) -> io::Result<()> {
        let mut readers = self.runs.iter().map(|path| Reader::open(path)).collect::<io::Result<Vec<_>>>()?;
        // The least key first, and of equal keys the newest run.
        let first = |(run, reader): (usize, &Reader)| reader.row().map(|row| Reverse((key_of(row), Reverse(run))));
        let mut heap: BinaryHeap<_> = readers.iter().enumerate().filter_map(first).collect();
        let path = self.dir.join("merged");
        let mut sink = Sink::create(&path)?;
        let mut last = None;
        while let Some(mut least) = heap.peek_mut() {
            let Reverse((key, Reverse(run))) = *least;
            let reader = &mut readers[run];
            if last != Some(key) {
                sink.push(reader.row().expect("it has the row of this key"))?;
                last = Some(key);
            }
            reader.advance()?;
            match reader.row() {
                Some(row) => *least = Reverse((key_of(row), Reverse(run))),
                None => drop(PeekMut::pop(least)),
            }
        }
        sink.finish()?;
        self.merged = Some(path);
        Ok(())
    }
}

fn key_of(row: &[u8]) -> u64 {
    u64::from_be_bytes(*row.first_chunk::<KEY_BYTES>().expect("a row begins with its key"))
}

#[test]
fn it_holds_the_newest_row_of_each_key() {
    use crate::keyed::input::Input;
    use crate::keyed::keys::Keys;
    use crate::keyed::shape::Shape;
    let dir = std::env::temp_dir().join(format!("bench-floor-{}", std::process::id()));
    for shape in Shape::ALL {
        std::fs::create_dir_all(&dir).unwrap();
        let load = Load { shape, keys: Keys::Zipf, rows: 20_000, batch_rows: 700, durable: true, commit_rows: None, cache_bytes: None };
        let input = Input::make(&load, Form::Rows);
        match Floor::open(&dir, &load) {
            Ok(floor) => {
                for batch in &input.batches {
                    floor.upsert(batch).unwrap();
                }
                floor.settle().unwrap();
                assert_eq!(floor.sum().unwrap(), input.expected);
            }
            // No direct I/O on this machine.
            Err(error) => eprintln!("not tested: {error}"),
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
