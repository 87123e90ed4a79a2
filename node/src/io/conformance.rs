//! One suite for every driver: uring, threads (also on a file system without direct I/O, also with short calls) and sim.

mod errors;
mod files;
mod queues;

use super::system::{Engine, System};
use super::*;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// A driver and an empty directory.
struct Stand {
    driver: Arc<dyn Driver>,
    dir: PathBuf,
    pool: Pool,
    _temporary: Option<TempDir>,
}

const MEMORY_FILE_SYSTEM: &str = "/dev/shm";

/// Says `skipped: needs WHAT` on a line of its own, past the harness's capture. Fails where skips are forbidden.
fn needs(what: &str) -> Option<Stand> {
    assert!(std::env::var_os("AQUIFER_TESTS_FORBID_SKIPS").is_none(), "needs {what}, and skips are forbidden");
    let _ = writeln!(io::stdout().lock(), "\nskipped: needs {what}");
    None
}

impl Stand {
    /// `None` when this machine does not have it, which is said.
    fn new(kind: &str) -> Option<Stand> {
        let system = |engine| System::new(engine, "a test asked for it");
        if kind.starts_with("on_uring")
            && let Err(error) = uring::probe()
        {
            return needs(&format!("io_uring: {error}"));
        }
        let (driver, parent): (Arc<dyn Driver>, _) = match kind {
            "on_uring" => (Arc::new(system(Engine::Uring)), std::env::temp_dir()),
            "on_uring_short" => (Arc::new(system(Engine::Uring).with_call_bytes_max(4096)), std::env::temp_dir()),
            "on_threads" => (Arc::new(system(Engine::Threads)), std::env::temp_dir()),
            "on_threads_short" => (Arc::new(system(Engine::Threads).with_call_bytes_max(8192)), std::env::temp_dir()),
            "on_uring_memory" => (Arc::new(system(Engine::Uring)), MEMORY_FILE_SYSTEM.into()),
            "on_threads_memory" => (Arc::new(system(Engine::Threads)), MEMORY_FILE_SYSTEM.into()),
            "on_sim" => return Some(Self::simulated(sim::Sim::new(1, sim::Faults::default()))),
            kind => panic!("no driver {kind}"),
        };
        if !parent.is_dir() {
            return needs(MEMORY_FILE_SYSTEM);
        }
        let temporary = TempDir::new_in(parent).unwrap();
        let dir = temporary.path().to_path_buf();
        Some(Stand { driver, dir, pool: Pool::new(64 << 20), _temporary: Some(temporary) })
    }

    fn simulated(driver: Arc<sim::Sim>) -> Stand {
        let dir = PathBuf::from("/store");
        driver.create_dir_all(&dir).unwrap();
        Stand { driver, dir, pool: Pool::new(64 << 20), _temporary: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new file for direct I/O.
    fn data(&self, name: &str) -> File {
        self.driver.open(&self.path(name), Mode::Create, true).unwrap()
    }

    /// A new file that knows no alignment.
    fn plain(&self, name: &str) -> File {
        self.driver.open(&self.path(name), Mode::Create, false).unwrap()
    }

    /// Bytes that tell where they belong: no two blocks of 4 KiB are alike.
    fn pattern(&self, bytes: usize, mark: u8) -> Frozen {
        let mut buffer = self.pool.get(bytes);
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = mark ^ (index % 251) as u8 ^ (index / BLOCK_BYTES) as u8;
        }
        buffer.freeze()
    }

    fn read(&self, file: &File, offset: u64, len: usize) -> io::Result<Buffer> {
        let mut buffer = self.pool.get(len);
        let bytes = self.driver.read_at(file, &mut buffer, len, offset)?;
        assert_eq!(bytes, buffer.len(), "the buffer has the length of what was read");
        Ok(buffer)
    }

    fn queue(&self, depth: usize) -> Box<dyn Queue> {
        self.driver.queue(depth, Role::Movable).unwrap()
    }
}

fn a_write(file: &File, pieces: Vec<Frozen>, offset: u64, durable: bool) -> Operation {
    Operation::Write { file: file.clone(), pieces, offset, durable }
}

fn a_read(file: &File, buffer: Buffer, len: usize, offset: u64) -> Operation {
    Operation::Read { file: file.clone(), buffer, len, offset }
}

/// Waits until everything in flight is done.
fn drain(queue: &mut dyn Queue) -> Vec<Completion> {
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        queue.wait(&mut done, Wait::Completion).unwrap();
    }
    done
}

/// Runs the functions of the suite on one driver each, as tests of their own.
macro_rules! suite {
    ($($kind:ident)*) => { $(
        mod $kind {
            fn on_this(check: fn(&super::Stand)) {
                if let Some(stand) = super::Stand::new(stringify!($kind)) {
                    check(&stand);
                }
            }
            suite!(@tests files:
                round_trip_of_many_sizes, pieces_lie_one_behind_the_other, reads_end_with_the_file, misaligned_is_refused,
                what_cannot_be_is_refused, plain_files_know_no_alignment, lengths, names, a_directory_lists_sorted,
                locks_exclude_other_openings, reading_only, a_page_is_shared, cached_files);
            suite!(@tests queues:
                many_in_flight, a_full_queue_gives_back, waiting_for_nothing, refusals_are_completions, dropping_waits,
                what_was_not_handed_over_is_forgotten, the_bell, time_runs_out, a_movable_queue_outlives_its_submitter, a_pinned_queue_belongs_to_its_first_user);
        }
    )* };
    (@tests $group:ident: $($name:ident),*) => { $(
        #[test]
        fn $name() {
            on_this(super::$group::$name);
        }
    )* };
}

suite!(on_uring on_uring_short on_uring_memory on_threads on_threads_short on_threads_memory on_sim);
