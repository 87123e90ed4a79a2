//! A disk in memory, driven by one seed: it reorders, moves few bytes at a time, fails on demand, runs full, tears and crashes.
//!
//! No threads and no real time: calls that block let the simulation go on until they are done, so operations in flight progress in
//! between, and the same seed with the same calls gives the same run. [`Sim::crash_after`] cuts the power in the middle of operations
//! and [`Sim::reboot`] gives the disk that is left.
//! Invariant: what was reported durable is there after every crash, and nothing else may be relied on.

mod content;
mod faults;
mod names;
mod queue;
mod random;
mod world;

pub use faults::{Call, Faults};

use super::file::Handle;
use super::transfer;
use super::{Buffer, Clock, Driver, Entry, File, Frozen, Lock, Mode, Page, Queue, Role, page};
use names::{Node, errno};
use parking_lot::Mutex;
use queue::SimQueue;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use world::World;

/// The simulated disk, a [`Driver`]. Several users may share one, on one thread.
pub struct Sim {
    world: Arc<Mutex<World>>,
    clock: Clock,
}

impl Sim {
    /// An empty disk.
    pub fn new(seed: u64, faults: Faults) -> Arc<Sim> {
        Self::over(World::new(seed, faults))
    }

    fn over(world: World) -> Arc<Sim> {
        let clock = world.clock.clone();
        Arc::new(Sim { world: Arc::new(Mutex::new(world)), clock })
    }

    /// The next call of this kind on a path that contains `path_part` (all do contain the empty one) fails with `errno`.
    pub fn fail_next(&self, call: Call, path_part: &str, errno: i32) {
        self.world.lock().script.add(call, path_part, errno);
    }

    /// Sets the chances of errors from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.lock().faults = faults;
    }

    /// Cuts the power after so many more steps: from then on every call fails with "simulated crash".
    pub fn crash_after(&self, steps: u64) {
        let mut world = self.world.lock();
        world.crash_at = Some(world.steps + steps);
    }

    /// Whether the power is cut.
    pub fn is_crashed(&self) -> bool {
        let world = self.world.lock();
        world.crash_at.is_some_and(|at| world.steps >= at)
    }

    /// The disk after a power cut now (or where it crashed). What was in flight or unsynced persists by the sector, or not, as the seed
    /// wants; this instance fails every call from here on.
    pub fn reboot(&self, seed: u64) -> Arc<Sim> {
        self.restart(seed, true)
    }

    /// The disk after the death of the process only: the kernel ends what is in flight and keeps what is unsynced; locks are gone.
    pub fn kill(&self, seed: u64) -> Arc<Sim> {
        self.restart(seed, false)
    }

    fn restart(&self, seed: u64, power_cut: bool) -> Arc<Sim> {
        let mut world = self.world.lock();
        let next = world.restart(seed, power_cut);
        world.crash_at = Some(0);
        Self::over(next)
    }

    /// Pages that are mapped come to the disk as they are now: what a power cut may leave of them.
    pub fn write_pages_back(&self) {
        self.world.lock().write_pages_back();
    }

    /// Steps so far: every call and every event is one.
    pub fn steps(&self) -> u64 {
        self.world.lock().steps
    }

    /// A hash over everything that happened: equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.world.lock().trace
    }

    /// Lets time pass; operations in flight progress.
    pub fn advance(&self, by: Duration) -> io::Result<()> {
        self.world.lock().pass(by.as_nanos() as u64)
    }

    /// A call that changes a file.
    fn change(&self, call: Call, file: &File, change: impl FnOnce(&mut World) -> io::Result<()>) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(call, file.path())?;
        check_writable(file)?;
        change(&mut world)
    }
}

fn check_writable(file: &File) -> io::Result<()> {
    match file.handle() {
        Handle::Simulated { writable: true, .. } => Ok(()),
        _ => Err(errno(libc::EBADF)),
    }
}

impl Driver for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn is_single_threaded(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, mode: Mode, direct: bool) -> io::Result<File> {
        let mut world = self.world.lock();
        world.call(if mode == Mode::Create { Call::Create } else { Call::Open }, path)?;
        let inode = if mode == Mode::Create { world.create(path)? } else { world.names.file(path)? };
        let (boot, opening, writable) = (world.boot, world.number(), mode != Mode::Read);
        Ok(File::new(path.to_path_buf(), direct, Handle::Simulated { boot, inode, opening, writable }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.world.lock();
        world.call(Call::Look, dir)?;
        let names = world.names.list(dir)?;
        let entry = |(name, node)| Entry { name, bytes: world.bytes_of(node), is_dir: matches!(node, Node::Dir(_)) };
        Ok(names.into_iter().map(entry).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut above: Vec<_> = dir.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        above.reverse();
        for path in above {
            if !matches!(world.names.find(path), Ok(Node::Dir(_))) {
                world.call(Call::Create, path)?;
            }
            world.names.create_dir(path)?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(Call::Rename, to)?;
        world.names.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(Call::Remove, path)?;
        world.names.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        loop {
            world.call(Call::Remove, dir)?;
            if world.names.remove_leaf(dir)? {
                return Ok(());
            }
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(Call::SyncDir, dir)?;
        world.names.sync_dir(dir)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        let mut world = self.world.lock();
        world.call(Call::Look, file.path())?;
        Ok(world.content(file)?.bytes())
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.change(Call::Resize, file, |world| {
            world.content(file)?.set_len(bytes);
            Ok(())
        })
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.change(Call::Resize, file, |world| world.allocate(file, bytes))
    }

    fn read_at(&self, file: &File, buffer: &mut Buffer, len: usize, offset: u64) -> io::Result<usize> {
        transfer::check_read(file, buffer, len, offset)?;
        let mut world = self.world.lock();
        world.content(file)?;
        buffer.set_len(len);
        let bytes = world.read(file, buffer, offset)?;
        buffer.set_len(bytes);
        Ok(bytes)
    }

    fn write_at(&self, file: &File, pieces: &[Frozen], offset: u64, durable: bool) -> io::Result<()> {
        transfer::check_write(file, pieces, offset)?;
        if transfer::total(pieces) == 0 {
            return Ok(());
        }
        let mut world = self.world.lock();
        world.content(file)?;
        check_writable(file)?;
        world.write(file, pieces, offset, durable)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut world = self.world.lock();
        world.content(file)?;
        match world.call(Call::Sync, file.path()) {
            Ok(()) => {
                world.content(file)?.sync();
                Ok(())
            }
            Err(error) => {
                if error.raw_os_error().is_some() {
                    world.lose(file);
                }
                Err(error)
            }
        }
    }

    fn lock(&self, file: &File) -> io::Result<Option<Lock>> {
        let mut world = self.world.lock();
        world.call(Call::Look, file.path())?;
        world.content(file)?;
        check_writable(file)?;
        let Handle::Simulated { inode, opening, .. } = file.handle() else { return Err(errno(libc::EBADF)) };
        if *world.locks.entry(*inode).or_insert(*opening) != *opening {
            return Ok(None);
        }
        Ok(Some(Lock(Box::new(Held { world: self.world.clone(), inode: *inode }))))
    }

    fn is_locked(&self, file: &File) -> io::Result<bool> {
        let mut world = self.world.lock();
        world.call(Call::Look, file.path())?;
        world.content(file)?;
        let Handle::Simulated { inode, opening, .. } = file.handle() else { return Err(errno(libc::EBADF)) };
        Ok(world.locks.get(inode).is_some_and(|holder| holder != opening))
    }

    fn page(&self, path: &Path, bytes: usize, writable: bool) -> io::Result<Page> {
        let mut world = self.world.lock();
        world.call(Call::Look, path)?;
        let slots = world.page(path, bytes, writable)?;
        let shared = self.world.clone();
        let pump = move |timeout: Option<Duration>| {
            let mut world = shared.lock();
            let until = timeout.map(|timeout| world.now_ns().saturating_add(timeout.as_nanos() as u64));
            // A crash shows at the next call; who waits with a time-out until then does not wait for ever.
            if world.go_on(until).is_err() {
                world.move_clock(until.unwrap_or(0));
            }
        };
        Ok(Page::simulated(slots, writable, Box::new(pump)))
    }

    fn queue(&self, depth: usize, _role: Role) -> io::Result<Box<dyn Queue>> {
        let number = self.world.lock().number();
        Ok(Box::new(SimQueue::new(self.world.clone(), number, depth)))
    }

    fn boot(&self) -> u64 {
        page::ANY_BOOT + 1 + self.world.lock().power_cuts
    }

    fn reason(&self) -> &str {
        "a test asked for it"
    }
}

/// Gives the lock back when dropped.
struct Held {
    world: Arc<Mutex<World>>,
    inode: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.world.lock().locks.remove(&self.inode);
    }
}

#[cfg(test)]
mod tests;
