//! The threads of a store on a real directory: who waits for whom, and what becomes of those who wait when a thread dies.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

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
        let open = buckets.clone();
        let schedule = Schedule::start(&resources, Arc::new(move || open.clone())).unwrap();
        Store { _dir: dir, resources, buckets, schedule }
    }

    /// Hands a small row to the ring.
    fn send(&self, bucket: usize) -> Result<Pending> {
        self.buckets[bucket].append(record(&self.resources, 1), false)
    }
}

/// The result of what must be decided soon.
fn soon(pending: &Pending) -> Result<()> {
    let begun = Instant::now();
    loop {
        match pending.poll() {
            Some(result) => return result,
            None => assert!(begun.elapsed() < Duration::from_secs(20), "somebody waits for ever"),
        }
        std::thread::yield_now();
    }
}

fn is_in(path: &Path, bucket: u32) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with(format!("b{bucket}")))
}

#[test]
fn rows_do_not_wait_for_a_segment_of_another_bucket() {
    let gate = Arc::new(AtomicU32::new(0));
    let closed = gate.clone();
    let store = Store::start(Arc::new(move |event, path| {
        while event == Event::Create
            && is_in(path, 1)
            && path.extension().is_some_and(|end| end == "log")
            && closed.load(Ordering::Acquire) == 0
        {
            wait(&closed, 0, Some(Duration::from_millis(1)));
        }
    }));
    soon(&store.send(0).unwrap()).unwrap();
    let waits = store.send(1).unwrap();
    for _ in 0..10 {
        soon(&store.send(0).unwrap()).unwrap();
    }
    assert!(waits.poll().is_none());
    gate.store(1, Ordering::Release);
    soon(&waits).unwrap();
}

#[test]
fn what_waits_for_a_segment_is_written_before_the_store_ends() {
    let mut store = Store::start(Arc::new(|event, _| {
        if event == Event::Create {
            std::thread::sleep(Duration::from_millis(20));
        }
    }));
    let waits: Vec<_> = (0..2).map(|bucket| store.send(bucket).unwrap()).collect();
    store.schedule.stop();
    waits.iter().for_each(|pending| soon(pending).unwrap());
}
