//! A completion queue over io_uring.
//!
//! The kernel reads and writes the buffers of an operation until its completion has been seen: they live in a slot of the queue until
//! then, and dropping the queue waits. Short completions go on with the remainder. What the kernel returns from a wait says nothing
//! (a signal ends it with success and no completion): only the completion ring counts.
//! Invariant: an occupied slot has exactly one entry in the submission ring, in the kernel, or in the completion ring. So there are never
//! more completions than places for them, and nothing overflows.

use super::transfer::{self, Transfer};
use super::{Bell, Clock, Completion, Operation, Queue, Role, Wait, system};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most operations in flight in one queue.
const DEPTH_MAX: usize = 4096;

/// Most bytes of one entry, whose length has 32 bits.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// How often the kernel may be short of memory for a submission before that is an error.
const RETRIES_MAX: u32 = 1000;

/// Marks the entry that waits for the bell.
const BELL: u64 = u64::MAX;

/// The queue. A pinned one is made disabled, on any thread, and belongs to the thread that first hands something over or waits.
pub(crate) struct UringQueue {
    ring: IoUring,
    enabled: bool,
    slots: Vec<Option<Flight>>,
    free: Vec<usize>,
    /// Done without the kernel: refused or empty.
    finished: Vec<Completion>,
    chime: Arc<Chime>,
    /// Where the kernel puts the count of the eventfd.
    rings: Box<u64>,
    /// Whether a read of the eventfd is in the kernel or on its way.
    armed: bool,
    entry_bytes_max: usize,
    /// How often in a row the kernel was short of memory.
    shortages: u32,
    clock: Clock,
}

/// An operation that the kernel works on.
struct Flight {
    token: u64,
    operation: Operation,
    transfer: Transfer,
    vectors: Vec<libc::iovec>,
}

// SAFETY: the vectors point into the buffers that the operation in the same flight owns, and those may move between threads.
unsafe impl Send for Flight {}

struct Chime {
    eventfd: OwnedFd,
    rung: AtomicBool,
    /// Whether the user sleeps and the bell must wake it.
    sleeping: AtomicBool,
}

impl Chime {
    fn ring(&self) {
        // This store and the sleeper's look, and the sleeper's store and this swap, are in one order: one of both sees the other.
        self.rung.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        // Fails only when the count is full, and then the sleeper is awake.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

impl UringQueue {
    pub(crate) fn new(depth: usize, role: Role, call_bytes_max: usize, clock: Clock) -> io::Result<UringQueue> {
        let depth = depth.clamp(1, DEPTH_MAX);
        // One entry more, for the bell.
        let (ring, enabled) = build(depth as u32 + 1, role)?;
        let depth = depth.min(ring.params().sq_entries() as usize - 1);
        let chime = Chime {
            eventfd: rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?,
            rung: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
        };
        Ok(UringQueue {
            ring,
            enabled,
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            finished: Vec::new(),
            chime: Arc::new(chime),
            rings: Box::new(0),
            armed: false,
            entry_bytes_max: call_bytes_max.min(ENTRY_BYTES_MAX),
            shortages: 0,
            clock,
        })
    }

    /// Puts the next entry of a slot's operation into the submission ring.
    fn push(&mut self, slot: usize) {
        let flight = self.slots[slot].as_mut().expect("an occupied slot");
        let entry = flight.entry(self.entry_bytes_max).user_data(slot as u64);
        self.push_entry(&entry);
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        // SAFETY: the memory of the entry is owned by its slot, or by `rings` for the bell, until its completion is seen; `drop` waits.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("every slot and the bell have a place in the submission ring");
    }

    /// Asks the kernel to complete a read when the bell wakes the sleeper.
    fn arm(&mut self) {
        if !self.armed {
            self.armed = true;
            let memory = std::ptr::from_mut(&mut *self.rings).cast();
            let read = opcode::Read::new(types::Fd(self.chime.eventfd.as_raw_fd()), memory, 8).build();
            self.push_entry(&read.user_data(BELL));
        }
    }

    /// Takes what the kernel has completed; what was short goes into the submission ring again.
    fn harvest(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.finished);
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            if entry.user_data() == BELL {
                self.armed = false;
                continue;
            }
            let slot = entry.user_data() as usize;
            let flight = self.slots[slot].as_mut().expect("a completion of an occupied slot");
            match flight.advance(outcome(entry.result())) {
                None => self.push(slot),
                Some(result) => {
                    let Flight { token, operation, .. } = self.slots[slot].take().expect("an occupied slot");
                    self.free.push(slot);
                    done.push(Completion { token, result, operation });
                }
            }
        }
    }

    /// Hands the submission ring over, and with `want` waits for a completion or the time-out. May return early, without a reason.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        let entered = match timeout {
            None => self.ring.submitter().submit_and_wait(want),
            Some(timeout) => {
                let timeout = types::Timespec::from(timeout.min(Duration::from_secs(u32::MAX.into())));
                self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&timeout))
            }
        };
        match entered {
            // Interrupted, out of time, or to be repeated once completions are taken: the caller looks at the completion ring.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => Ok(()),
            // Short of memory for a submission.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.shortages < RETRIES_MAX => {
                self.shortages += 1;
                std::thread::yield_now();
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => {
                self.shortages = 0;
                Ok(())
            }
        }
    }

    /// Hands over everything in the submission ring without waiting.
    fn hand_over(&mut self, done: &mut Vec<Completion>) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            self.enter(0, None)?;
            self.harvest(done);
        }
        Ok(())
    }

    /// Sleeps until a completion, the bell, or the time-out; whether to look again.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.arm();
        self.chime.sleeping.store(true, Ordering::SeqCst);
        if self.chime.rung.swap(false, Ordering::SeqCst) {
            self.chime.sleeping.store(false, Ordering::SeqCst);
            return Ok(false);
        }
        let outcome = self.enter(1, timeout);
        self.chime.sleeping.store(false, Ordering::SeqCst);
        outcome?;
        let rung = self.chime.rung.swap(false, Ordering::SeqCst);
        Ok(!rung && timeout != Some(Duration::ZERO))
    }
}

impl Queue for UringQueue {
    fn submit(&mut self, token: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight() == self.capacity() {
            return Err(operation);
        }
        if let Some(result) = without_kernel(&operation) {
            self.finished.push(Completion { token, result, operation });
            return Ok(());
        }
        let Some(slot) = self.free.pop() else { return Err(operation) };
        self.slots[slot] = Some(Flight::new(token, operation));
        self.push(slot);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut done = std::mem::take(&mut self.finished);
        let outcome = self.hand_over(&mut done);
        self.finished = done;
        outcome
    }

    fn wait(&mut self, done: &mut Vec<Completion>, wait: Wait) -> io::Result<()> {
        let before = done.len();
        let deadline = match wait {
            Wait::BellOrCompletion(Some(timeout)) => Some(self.clock.monotonic().saturating_add(timeout)),
            _ => None,
        };
        let mut looks_again = true;
        loop {
            self.harvest(done);
            let enough = done.len() > before || !looks_again || (wait == Wait::Completion && self.in_flight() == 0);
            if enough {
                return self.hand_over(done);
            }
            match wait {
                Wait::Nothing => {
                    looks_again = false;
                    self.enter(0, None)?;
                }
                Wait::Completion => self.enter(1, None)?,
                Wait::BellOrCompletion(_) => {
                    let left = deadline.map(|deadline| deadline.saturating_sub(self.clock.monotonic()));
                    looks_again = self.sleep(left)?;
                }
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.finished.len()
    }

    fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn bell(&self) -> Bell {
        let chime = self.chime.clone();
        Bell(Arc::new(move || chime.ring()))
    }
}

impl Drop for UringQueue {
    fn drop(&mut self) {
        let occupied = self.slots.len() - self.free.len() + usize::from(self.armed);
        let mut in_kernel = occupied - self.ring.submission().len();
        if self.armed {
            self.chime.wake();
        }
        while in_kernel > 0 {
            let taken = self.ring.completion().count();
            in_kernel -= taken;
            if taken > 0 {
                continue;
            }
            // What was not handed over stays so: nothing is submitted here.
            // SAFETY: no argument is passed.
            let waited = unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 1, GETEVENTS, None) };
            if waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // A pinned queue on a foreign thread. The kernel may still write to the buffers: they are never freed.
                std::mem::forget(std::mem::take(&mut self.slots));
                std::mem::forget(std::mem::take(&mut self.rings));
                return;
            }
        }
    }
}

const GETEVENTS: u32 = io_uring::EnterFlags::GETEVENTS.bits();

impl Flight {
    fn new(token: u64, operation: Operation) -> Flight {
        let (len, file) = match &operation {
            Operation::Read { file, len, .. } => (*len, file),
            Operation::Write { file, pieces, .. } => (transfer::total(pieces), file),
        };
        let transfer = Transfer::new(len, file.is_direct());
        Flight { token, operation, transfer, vectors: Vec::new() }
    }

    /// The entry that moves the next bytes.
    fn entry(&mut self, bytes_max: usize) -> squeue::Entry {
        let window = self.transfer.window(bytes_max);
        match &mut self.operation {
            Operation::Read { file, buffer, offset, .. } => {
                let at = *offset + window.start as u64;
                // SAFETY: the window ends within the length of the read, which was checked against the buffer's capacity.
                let memory = unsafe { buffer.start().add(window.start) };
                opcode::Read::new(descriptor(file), memory, window.len() as u32).offset(at).build()
            }
            Operation::Write { file, pieces, offset, durable } => {
                let at = *offset + window.start as u64;
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                self.vectors.clear();
                let parts = transfer::cut(pieces, window);
                self.vectors.extend(parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }));
                match &self.vectors[..] {
                    [one] => {
                        opcode::Write::new(descriptor(file), one.iov_base.cast(), one.iov_len as u32).offset(at).rw_flags(flags).build()
                    }
                    many => opcode::Writev::new(descriptor(file), many.as_ptr(), many.len() as u32).offset(at).rw_flags(flags).build(),
                }
            }
        }
    }

    /// Takes a result of the kernel; gives the outcome when this was the last.
    fn advance(&mut self, result: io::Result<usize>) -> Option<io::Result<usize>> {
        match &mut self.operation {
            Operation::Read { file, buffer, offset, .. } => {
                let end = self.transfer.read(result, *offset, || system::length(file))?;
                Some(end.inspect(|bytes| buffer.set_len(*bytes)))
            }
            Operation::Write { file, durable: true, .. } if result.as_ref().is_err_and(system::is_unsupported) => {
                system::remember_to_sync_apart(file);
                Some(system::execute(&mut self.operation, usize::MAX))
            }
            Operation::Write { .. } => self.transfer.wrote(result),
        }
    }
}

/// The outcome of what needs no entry: a misfit, nothing to move, or a durable write to a file that syncs apart.
fn without_kernel(operation: &Operation) -> Option<io::Result<usize>> {
    if let Err(error) = transfer::check(operation) {
        return Some(Err(error));
    }
    match operation {
        Operation::Read { file, .. } | Operation::Write { file, .. } if system::descriptor(file).is_err() => {
            Some(Err(io::Error::from_raw_os_error(libc::EBADF)))
        }
        Operation::Read { len: 0, .. } => Some(Ok(0)),
        Operation::Write { pieces, .. } if transfer::total(pieces) == 0 => Some(Ok(0)),
        _ => None,
    }
}

fn descriptor(file: &super::File) -> types::Fd {
    types::Fd(system::descriptor(file).expect("submit refuses files of another driver").as_raw_fd())
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()))
}

/// Makes a ring with the best set-up that this kernel knows, and says whether it is enabled already.
fn build(entries: u32, role: Role) -> io::Result<(IoUring, bool)> {
    let mut refusal = io::Error::from(io::ErrorKind::Unsupported);
    for rung in 0..3 {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        match (rung, role) {
            (0, Role::Pinned) => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all().setup_r_disabled();
            }
            (0 | 1, _) => {
                builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            _ => {}
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, (rung, role) != (0, Role::Pinned))),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = error,
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// Whether io_uring can be used here: set-up, the operations that are needed, and one of them done.
pub(crate) fn probe() -> io::Result<()> {
    let (mut ring, _) = build(4, Role::Movable)?;
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "a kernel before 5.11"));
    }
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    let needed = [opcode::Nop::CODE, opcode::Read::CODE, opcode::Write::CODE, opcode::Writev::CODE];
    if !needed.into_iter().all(|code| known.is_supported(code)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "an operation that is needed is missing"));
    }
    // SAFETY: it does nothing, with no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)?;
    for _ in 0..RETRIES_MAX {
        match ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
        if let Some(entry) = ring.completion().next() {
            return outcome(entry.result()).map(drop);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether one ring could not be made for want of something that others hold.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN))
}

/// Signals for tests: a handler that does nothing and, unlike most, does not restart calls.
#[cfg(test)]
pub(crate) mod interrupt {
    extern "C" fn ignore(_signal: libc::c_int) {}

    pub(crate) fn install() {
        // SAFETY: an all-zero sigaction is valid, and the handler does nothing, so it is safe at any moment.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
        }
    }

    pub(crate) fn send(thread: rustix::thread::Pid) {
        // SAFETY: sends a handled signal to a thread of this process; no memory is passed.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.as_raw_nonzero().get(), libc::SIGUSR1) };
    }
}

/// A seccomp filter for tests, as containers have one.
#[cfg(test)]
pub(crate) mod forbid {
    /// From here on io_uring_setup fails with `errno` on this thread.
    pub(crate) fn on_this_thread(errno: i32) {
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let mut program = [
            // The number of the call is the first word of seccomp_data.
            libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
            libc::sock_filter { code: JUMP_EQUAL, jt: 0, jf: 1, k: libc::SYS_io_uring_setup as u32 },
            libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | errno as u32 },
            libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the filter and its program live through the call, which copies them.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter), 0);
        }
    }
}
