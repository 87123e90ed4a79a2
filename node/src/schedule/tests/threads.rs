//! The threads of a store on a real directory: who waits for whom, and what becomes of those who wait when a thread dies.

use std::sync::atomic::AtomicU32;

use tempfile::{TempDir, tempdir};

use super::planted::{Event, Hook, Planted};
use super::*;
use crate::bucket::Pending;
use crate::io::probe::{Preference, choose};

/// A store's threads and two buckets of it.
struct Store {
    _dir: TempDir,
    resources: Arc<Resources>,
    buckets: Vec<Arc<Bucket>>,
    schedule: Schedule,
}

impl Store {
    fn start(hook: Hook) -> Store {
        let dir = tempdir().unwrap();
        let driver = Arc::new(Planted { inner: choose(Preference::Threads).unwrap(), hook });
        let resources = resources(driver, dir.path());
        let buckets: Vec<_> = (0..2).map(|number| bucket(&resources, number)).collect();
        let schedule = Schedule::start(&resources, all_open(buckets.clone())).unwrap();
        Store { _dir: dir, resources, buckets, schedule }
    }

    /// Hands a small row to the ring.
    fn send(&self, bucket: usize) -> Result<Pending> {
        self.buckets[bucket].append(record(&self.resources, 1), false)
    }
}

/// Looks until there is something to see.
fn soon<R>(look: impl Fn() -> Option<R>) -> R {
    let nobody = AtomicU32::new(0);
    for _ in 0..20_000 {
        if let Some(seen) = look() {
            return seen;
        }
        wait(&nobody, 0, Some(Duration::from_millis(1)));
    }
    panic!("somebody waits for ever");
}

/// The result of an append.
fn decided(pending: &Pending) -> Result<()> {
    soon(|| pending.poll())
}

fn is_segment(path: &Path, bucket: u32) -> bool {
    path.extension().is_some_and(|end| end == "log") && path.parent().is_some_and(|dir| dir.ends_with(format!("b{bucket}")))
}

/// Keeps somebody waiting until it is dropped.
struct Gate(Arc<AtomicU32>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.store(1, Ordering::Release);
    }
}

#[test]
fn rows_do_not_wait_for_a_segment_of_another_bucket() {
    let opened = Arc::new(AtomicU32::new(0));
    let seen = opened.clone();
    let store = Store::start(Arc::new(move |event, path| {
        while event == Event::Create && is_segment(path, 1) && seen.load(Ordering::Acquire) == 0 {
            wait(&seen, 0, Some(Duration::from_millis(1)));
        }
    }));
    let gate = Gate(opened);
    decided(&store.send(0).unwrap()).unwrap();
    let waits = store.send(1).unwrap();
    for _ in 0..10 {
        decided(&store.send(0).unwrap()).unwrap();
    }
    assert!(waits.poll().is_none());
    drop(gate);
    decided(&waits).unwrap();
}

#[test]
fn what_waits_for_a_segment_is_written_before_the_store_ends() {
    let mut store = Store::start(Arc::new(|event, _| {
        if event == Event::Create {
            wait(&AtomicU32::new(0), 0, Some(Duration::from_millis(20)));
        }
    }));
    let waits: Vec<_> = (0..2).map(|bucket| store.send(bucket).unwrap()).collect();
    store.schedule.stop();
    waits.iter().for_each(|pending| decided(pending).unwrap());
}

/// Panics at the first such event in a segment of the first bucket.
fn dies_at(at: Event) -> Hook {
    let is_over = AtomicBool::new(false);
    Arc::new(move |event, path| {
        if event == at && is_segment(path, 0) && !is_over.swap(true, Ordering::AcqRel) {
            panic!("planted");
        }
    })
}

/// What the only failure says.
fn failure(store: &Store) -> String {
    soon(|| store.schedule.take_failures().first().map(Error::to_string))
}

#[test]
fn nobody_waits_for_ever_for_a_ring_thread_that_died() {
    let store = Store::start(dies_at(Event::Submit));
    let waits: Vec<_> = (0..20).map_while(|number| store.send(number % 2).ok()).collect();
    assert!(decided(&waits[0]).is_err());
    waits.iter().for_each(|pending| drop(decided(pending)));
    let said = failure(&store);
    assert!(said.contains("aquifer-commit") && said.contains("planted"), "{said}");
    assert!(store.send(1).and_then(|pending| decided(&pending)).is_err(), "nobody writes what is queued");
}

#[test]
fn a_worker_that_died_leaves_its_work_to_others() {
    let store = Store::start(dies_at(Event::Create));
    assert!(decided(&store.send(0).unwrap()).is_err(), "its segment came to nothing");
    let said = failure(&store);
    assert!(said.contains("aquifer-work") && said.contains("planted"), "{said}");
    for bucket in 0..2 {
        decided(&store.send(bucket).unwrap()).unwrap();
    }
}

#[test]
fn a_caller_that_dies_in_its_write_leaves_nobody_waiting() {
    let is_over = AtomicBool::new(false);
    let store = Store::start(Arc::new(move |event, path| {
        if event == Event::Write
            && is_segment(path, 0)
            && std::thread::current().name() == Some("dies")
            && !is_over.swap(true, Ordering::AcqRel)
        {
            panic!("planted");
        }
    }));
    decided(&store.send(0).unwrap()).unwrap();
    let dies = || store.buckets[0].append(record(&store.resources, 1), true).map(drop);
    let died = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("dies".to_string()).spawn_scoped(scope, dies).unwrap();
        thread.join().is_err()
    });
    assert!(died);
    assert_eq!(store.buckets[0].log.unfinished(), (0, 0));
    assert!(store.send(0).is_err(), "what the device holds is not known");
    decided(&store.send(1).unwrap()).unwrap();
}
