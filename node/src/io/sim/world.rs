//! The state of a simulation: disk, time, operations in flight.
//!
//! Everything that happens is a *step*; time passes only in steps, and operations in flight complete in the order of their seeded
//! latencies. From a step chosen by the test on, every call fails: the machine has lost its power in the middle of something.
//! Invariant: the same seed and the same calls give the same steps.

use super::content::Content;
use super::faults::{Call, Faults, Script};
use super::names::{Names, Node, errno};
use super::random::Random;
use crate::io::file::Handle;
use crate::io::page::{self, Slot};
use crate::io::transfer::{cut, total};
use crate::io::{BLOCK_BYTES, Clock, Completion, File, Frozen, Operation};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Microseconds that a call takes when it does not wait for the device.
const CALL_US: (u64, u64) = (1, 20);
/// Microseconds of a read, or of a write that need not be durable.
const MOVE_US: (u64, u64) = (10, 200);
/// Microseconds more until a write or a sync is durable.
const SYNC_US: (u64, u64) = (40, 800);
/// One in so many waits for the device takes ten times as long.
const SLOW_ONE_IN: u64 = 30;

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    pub(super) script: Script,
    pub(super) names: Names,
    pub(super) locks: BTreeMap<u64, u64>,
    pub(super) steps: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) trace: u64,
    pub(super) boot: u64,
    pub(super) power_cuts: u64,
    random: Random,
    contents: BTreeMap<u64, Content>,
    pages: BTreeMap<u64, Arc<[Slot]>>,
    /// What the disk has of them.
    written_back: BTreeMap<u64, Arc<[Slot]>>,
    /// Operations in flight by the time of their next event.
    in_flight: BTreeMap<(u64, u64), Job>,
    /// Completions that their queue has not taken yet.
    completed: BTreeMap<u64, Vec<Completion>>,
    next_number: u64,
}

struct Job {
    queue: u64,
    token: u64,
    operation: Operation,
    moved: usize,
}

/// The queue of calls that block.
const BLOCKING: u64 = 0;

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        World {
            clock: Clock::at_rest(),
            faults,
            script: Script::default(),
            names: Names::new(),
            locks: BTreeMap::new(),
            steps: 0,
            crash_at: None,
            trace: 0xCBF2_9CE4_8422_2325,
            boot: 0,
            power_cuts: 0,
            random: Random::new(seed),
            contents: BTreeMap::new(),
            pages: BTreeMap::new(),
            written_back: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            completed: BTreeMap::new(),
            next_number: 1,
        }
    }

    /// What the next start of the machine finds: after a power cut, or, without one, after the death of the process.
    pub(super) fn restart(&self, seed: u64, power_cut: bool) -> World {
        let mut next = World::new(seed, self.faults.clone());
        next.clock.advance(self.clock.monotonic() + Duration::from_secs(next.random.between(1, 60)));
        next.boot = self.boot + 1;
        next.power_cuts = self.power_cuts + u64::from(power_cut);
        next.next_number = self.next_number;
        next.names = self.names.clone();
        next.contents = self.contents.clone();
        for job in self.in_flight.values() {
            if let Operation::Write { file, pieces, offset, durable } = &job.operation {
                let Some(content) = inode(file).ok().and_then(|(inode, _)| next.contents.get_mut(&inode)) else { continue };
                let durable = *durable && !power_cut && !self.faults.lie_about_durability;
                write_pieces(content, pieces, *offset, job.moved..total(pieces), durable);
            }
        }
        for (inode, slots) in &self.pages {
            let written_back = self.written_back.get(inode).map_or(&[][..], |slots| slots);
            let copy = |(index, slot): (usize, &Slot)| match !power_cut || next.random.one_in(2) {
                true => slot.copy(),
                false => written_back.get(index).map_or_else(Slot::default, Slot::copy),
            };
            next.pages.insert(*inode, slots.iter().enumerate().map(copy).collect());
        }
        if !power_cut {
            next.written_back = self.written_back.clone();
        }
        if power_cut {
            next.names = next.names.crash(&mut next.random);
            let linked = next.names.files();
            next.contents.retain(|inode, _| linked.contains(inode));
            next.pages.retain(|inode, _| linked.contains(inode));
            let contents = std::mem::take(&mut next.contents);
            next.contents = contents.into_iter().map(|(inode, content)| (inode, content.crash(&mut next.random))).collect();
            let bytes_of = |inode: &u64| next.contents.get(inode).map_or(0, Content::bytes);
            // What is mapped behind the end of a file is nowhere.
            next.pages.retain(|inode, slots| bytes_of(inode) >= (slots.len() * page::SLOT_BYTES) as u64);
        }
        next
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// One step: fails from the crash on.
    fn step(&mut self, what: u64) -> io::Result<()> {
        if self.crash_at.is_some_and(|at| self.steps >= at) {
            return Err(io::Error::other("simulated crash"));
        }
        self.steps += 1;
        for part in [what, self.now_ns()] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0100_0000_01B3).rotate_left(17);
        }
        Ok(())
    }

    /// A call on a path: a step, some time in which others progress, and maybe an error.
    pub(super) fn call(&mut self, call: Call, path: &Path) -> io::Result<()> {
        self.step(call as u64)?;
        let waits = match call {
            Call::Sync | Call::SyncDir => self.latency_ns(SYNC_US),
            _ => self.random.between(CALL_US.0, CALL_US.1) * 1000,
        };
        self.pass(waits)?;
        match self.script.strike(&self.faults, &mut self.random, call, path) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn latency_ns(&mut self, (from_us, to_us): (u64, u64)) -> u64 {
        let slow = if self.random.one_in(SLOW_ONE_IN) { 10 } else { 1 };
        self.random.between(from_us * 1000, to_us * 1000) * slow
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.monotonic().as_nanos() as u64
    }

    /// Lets time pass, and everything happen that is due until then.
    pub(super) fn pass(&mut self, ns: u64) -> io::Result<()> {
        let until = self.now_ns().saturating_add(ns);
        while self.next_event_ns().is_some_and(|at| at <= until) {
            self.happen()?;
        }
        self.move_clock(until);
        Ok(())
    }

    /// When the next operation in flight makes progress.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn move_clock(&mut self, to_ns: u64) {
        self.clock.advance(Duration::from_nanos(to_ns.saturating_sub(self.now_ns())));
    }

    /// The next event: an operation moves some bytes, and completes with the last.
    pub(super) fn happen(&mut self) -> io::Result<()> {
        let Some((key, job)) = self.in_flight.first_key_value() else { return Ok(()) };
        let (key, what) = (*key, 1000 + job.queue * 7 + job.token);
        self.step(what)?;
        self.move_clock(key.0);
        let mut job = self.in_flight.remove(&key).expect("the first");
        match self.transfer(&mut job) {
            None => self.schedule(job),
            Some(result) => {
                if let (Operation::Read { buffer, .. }, Ok(bytes)) = (&mut job.operation, &result) {
                    buffer.set_len(*bytes);
                }
                let completion = Completion { token: job.token, result, operation: job.operation };
                self.completed.entry(job.queue).or_default().push(completion);
            }
        }
        Ok(())
    }

    /// The next event, if it comes before the deadline (else the clock moves there); whether there was one.
    pub(super) fn go_on(&mut self, deadline_ns: Option<u64>) -> io::Result<bool> {
        match self.next_event_ns() {
            Some(at) if deadline_ns.is_none_or(|deadline| at <= deadline) => {
                self.happen()?;
                Ok(true)
            }
            // On one thread nobody else can ring or complete: without a deadline nothing would ever happen.
            _ => {
                self.pass(deadline_ns.map_or(0, |deadline| deadline.saturating_sub(self.now_ns())))?;
                Ok(false)
            }
        }
    }

    fn schedule(&mut self, job: Job) {
        let mut waits = self.latency_ns(MOVE_US);
        if let Operation::Write { durable: true, .. } = job.operation {
            waits += self.latency_ns(SYNC_US);
        }
        let key = (self.now_ns() + waits, self.number());
        self.in_flight.insert(key, job);
    }

    /// Starts an operation.
    pub(super) fn start(&mut self, queue: u64, token: u64, operation: Operation) {
        self.schedule(Job { queue, token, operation, moved: 0 });
    }

    /// Completions of a queue.
    pub(super) fn take_completed(&mut self, queue: u64) -> Vec<Completion> {
        self.completed.remove(&queue).unwrap_or_default()
    }

    /// Does a write while the caller waits.
    pub(super) fn write(&mut self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()> {
        let token = self.number();
        let operation = Operation::Write { file: file.clone(), pieces: pieces.to_vec(), offset, durable };
        self.step(Call::Write as u64)?;
        self.start(BLOCKING, token, operation);
        loop {
            self.happen()?;
            if let Some(completion) = self.completed.remove(&BLOCKING).and_then(|mut done| done.pop()) {
                return completion.result.map(drop);
            }
        }
    }

    /// Does a read while the caller waits.
    pub(super) fn read(&mut self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut moved = 0;
        loop {
            self.step(Call::Read as u64)?;
            let waits = self.latency_ns(MOVE_US);
            self.pass(waits)?;
            if let Some(error) = self.script.strike(&self.faults, &mut self.random, Call::Read, file.path()) {
                return Err(error);
            }
            let part = self.part(file, into.len() - moved);
            let bytes = self.content(file)?.read(offset + moved as u64, &mut into[moved..moved + part]);
            moved += bytes;
            if bytes < part || moved == into.len() {
                return Ok(moved);
            }
        }
    }

    /// How many of the remaining bytes one transfer moves.
    fn part(&mut self, file: &File, left: usize) -> usize {
        let grain = if file.is_aligned() { BLOCK_BYTES } else { 1 };
        if left <= grain || !self.random.one_in(self.faults.short_one_in) {
            return left;
        }
        self.random.between(1, left.div_ceil(grain) as u64) as usize * grain
    }

    /// Moves some bytes; the outcome when these were the last.
    fn transfer(&mut self, job: &mut Job) -> Option<io::Result<usize>> {
        let (file, call) = match &job.operation {
            Operation::Read { file, .. } => (file.clone(), Call::Read),
            Operation::Write { file, .. } => (file.clone(), Call::Write),
        };
        let struck = self.script.strike(&self.faults, &mut self.random, call, file.path());
        match &mut job.operation {
            Operation::Read { buffer, len, offset, .. } => {
                if let Some(error) = struck {
                    return Some(Err(error));
                }
                let part = self.part(&file, *len - job.moved);
                buffer.set_len(*len);
                let bytes = match self.content(&file) {
                    Ok(content) => content.read(*offset + job.moved as u64, &mut buffer[job.moved..job.moved + part]),
                    Err(error) => return Some(Err(error)),
                };
                job.moved += bytes;
                (bytes < part || job.moved == *len).then_some(Ok(job.moved))
            }
            Operation::Write { pieces, offset, durable, .. } => {
                let (offset, len, durable) = (*offset, total(pieces), *durable && !self.faults.lie_about_durability);
                let part = self.part(&file, len - job.moved);
                let is_last = durable && job.moved + part == len;
                let unsynced = if is_last { self.script.scripted(Call::Sync, file.path()) } else { None };
                let outcome = match struck {
                    Some(error) => Err(error),
                    None => self.make_room(&file, offset + job.moved as u64, part),
                };
                match (outcome, self.content_and_random(&file)) {
                    (Err(error), Ok((content, random))) if error.raw_os_error() == Some(libc::EIO) => {
                        tear_pieces(content, pieces, offset, job.moved..len, random);
                        Some(Err(error))
                    }
                    (Err(error), _) | (Ok(()), Err(error)) => Some(Err(error)),
                    (Ok(()), Ok((content, _))) => {
                        write_pieces(content, pieces, offset, job.moved..job.moved + part, durable && unsynced.is_none());
                        job.moved += part;
                        (job.moved == len).then_some(unsynced.map_or(Ok(len), Err))
                    }
                }
            }
        }
    }

    /// Whether the disk has room for a write.
    fn make_room(&mut self, file: &File, offset: u64, len: usize) -> io::Result<()> {
        let growth = self.content(file)?.growth_bytes(offset, len);
        self.take(growth)
    }

    fn take(&self, growth_bytes: u64) -> io::Result<()> {
        match self.faults.capacity_bytes {
            Some(capacity) if growth_bytes > 0 && self.used_bytes() + growth_bytes > capacity => Err(errno(libc::ENOSPC)),
            _ => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        let linked = self.names.files();
        linked.iter().filter_map(|inode| self.contents.get(inode)).map(Content::allocated_bytes).sum()
    }

    pub(super) fn allocate(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        let growth = bytes.saturating_sub(self.content(file)?.allocated_bytes());
        self.take(growth)?;
        self.content(file)?.allocate(bytes);
        Ok(())
    }

    /// The content behind an open file.
    pub(super) fn content(&mut self, file: &File) -> io::Result<&mut Content> {
        self.content_and_random(file).map(|(content, _)| content)
    }

    fn content_and_random(&mut self, file: &File) -> io::Result<(&mut Content, &mut Random)> {
        let (inode, boot) = inode(file)?;
        match self.contents.get_mut(&inode) {
            Some(content) if boot == self.boot => Ok((content, &mut self.random)),
            _ => Err(errno(libc::EBADF)),
        }
    }

    /// A sync that failed: what was unsynced may be lost although later syncs succeed.
    pub(super) fn lose(&mut self, file: &File) {
        if let Ok((content, random)) = self.content_and_random(file) {
            content.lose(random);
        }
    }

    /// Makes a file.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let inode = self.number();
        self.names.create(path, inode)?;
        self.contents.insert(inode, Content::default());
        Ok(inode)
    }

    pub(super) fn bytes_of(&self, node: Node) -> u64 {
        match node {
            Node::File(inode) => self.contents.get(&inode).map_or(0, Content::bytes),
            Node::Dir(_) => 0,
        }
    }

    pub(super) fn write_pages_back(&mut self) {
        self.written_back = self.pages.iter().map(|(inode, slots)| (*inode, slots.iter().map(Slot::copy).collect())).collect();
    }

    /// The slots of a page file, made or grown when `writable`.
    pub(super) fn page(&mut self, path: &Path, bytes: usize, writable: bool) -> io::Result<Arc<[Slot]>> {
        let slots = page::slots_of(bytes)?;
        let inode = match self.names.file(path) {
            Err(error) if writable && error.kind() == io::ErrorKind::NotFound => self.create(path)?,
            found => found?,
        };
        let content = self.contents.get_mut(&inode).ok_or_else(|| errno(libc::EBADF))?;
        let have = self.pages.get(&inode).map_or(0, |page| page.len());
        match (writable, content.bytes() < bytes as u64 || have < slots) {
            (false, true) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (true, true) => {
                content.allocate(bytes as u64);
                let old = self.pages.get(&inode).map_or(&[][..], |page| page);
                let grown = (0..slots).map(|index| old.get(index).map_or_else(Slot::default, Slot::copy)).collect();
                self.pages.insert(inode, grown);
            }
            (_, false) => {}
        }
        Ok(self.pages[&inode].clone())
    }
}

/// Number of the file and of the start of the machine it was opened in.
pub(super) fn inode(file: &File) -> io::Result<(u64, u64)> {
    match file.handle() {
        Handle::Simulated { inode, boot, .. } => Ok((*inode, *boot)),
        Handle::System { .. } => Err(errno(libc::EBADF)),
    }
}

fn write_pieces(content: &mut Content, pieces: &[Frozen], offset: u64, window: Range<usize>, durable: bool) {
    let mut at = offset + window.start as u64;
    for part in cut(pieces, window) {
        content.write(at, part, durable);
        at += part.len() as u64;
    }
}

fn tear_pieces(content: &mut Content, pieces: &[Frozen], offset: u64, window: Range<usize>, random: &mut Random) {
    let mut at = offset + window.start as u64;
    for part in cut(pieces, window) {
        content.write_torn(at, part, random);
        at += part.len() as u64;
    }
}
