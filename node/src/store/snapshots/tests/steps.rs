//! Snapshots as background work: one bucket a step, and none opened that has nothing to do with it.

use std::time::Duration;

use super::*;
use crate::schedule::Steps;

const BUCKETS: u32 = 6;

/// Work on the only table that is due now.
fn due(store: &Store) -> Option<Steps> {
    let mut work = tend(&store.0).unwrap();
    assert!(work.len() <= 1);
    work.pop()
}

/// What each bucket keeps runs for, by its manifest.
fn kept(sim: &Arc<Sim>) -> Vec<Vec<u64>> {
    let outside = outside(sim);
    let entry = outside.keyed_entry().unwrap();
    let follower = |bucket| outside.store.follower(&entry, 0, bucket).unwrap();
    (0..BUCKETS).map(|bucket| follower(bucket).state().unwrap().kept.keys().copied().collect()).collect()
}

fn is_open(store: &Store, bucket: u32) -> bool {
    let entry = store.table("t").unwrap().keyed_entry().unwrap();
    store.0.is_open((entry.spec.id, 0, bucket)).unwrap()
}

/// Whether a bucket was opened by this process, now or earlier.
fn was_opened(store: &Store, bucket: u32) -> bool {
    let entry = store.table("t").unwrap().keyed_entry().unwrap();
    let slot = store.0.address(&entry, 0, bucket).unwrap().slot;
    store.0.resources.page.slot(slot).view().is_some_and(|shown| shown.epoch == store.0.resources.epoch)
}

#[test]
fn a_step_of_expiry_releases_one_bucket_and_opens_none_that_keeps_nothing() {
    let (sim, store, table) = new(create(BUCKETS).option("snapshot.num-retained.min", "1").option("snapshot.time-retained", "1h"));
    // Rows of some buckets only.
    upsert(&table, &[(1, 1), (2, 2), (3, 3)]);
    table.create_snapshot(None).unwrap();
    upsert(&table, &[(1, 2), (2, 3), (3, 4)]);
    table.create_snapshot(None).unwrap();
    store.close().unwrap();
    sim.advance(Duration::from_secs(2 * 3600)).unwrap();
    let before = kept(&sim);
    let keeping: Vec<u32> = (0..BUCKETS).filter(|bucket| !before[*bucket as usize].is_empty()).collect();
    assert!(keeping.len() > 1 && keeping.len() < BUCKETS as usize, "{before:?}");
    let store = open(&sim);
    let mut steps = due(&store).expect("a snapshot has expired");
    let mut released = 0;
    while steps().unwrap().is_some() {
        let now = kept(&sim).iter().zip(&before).filter(|(now, before)| now != before).count();
        assert!(now <= released + 1, "more than one bucket in a step");
        assert!((0..BUCKETS).all(|bucket| !is_open(&store, bucket)), "none stays open");
        released = now;
    }
    assert_eq!(released, keeping.len());
    assert_eq!(ids(&store.table("t").unwrap()), [2]);
    for bucket in 0..BUCKETS {
        assert_eq!(was_opened(&store, bucket), keeping.contains(&bucket), "bucket {bucket}");
    }
    assert!(due(&store).is_none());
}

#[test]
fn a_snapshot_by_itself_opens_one_bucket_in_a_step() {
    let (sim, store, table) = new(create(BUCKETS).option("snapshot.interval.ms", "3600000"));
    upsert(&table, &(0..100).map(|key| (key, key)).collect::<Vec<_>>());
    store.close().unwrap();
    let store = open(&sim);
    let mut steps = due(&store).expect("there are rows and no snapshot");
    let mut opened = 0;
    while steps().unwrap().is_some() {
        let now = (0..BUCKETS).filter(|bucket| is_open(&store, *bucket)).count();
        assert!(now <= opened + 1, "more than one bucket in a step");
        opened = now;
    }
    assert_eq!(opened, BUCKETS as usize);
    let table = store.table("t").unwrap();
    assert_eq!(at(&table, Version::Snapshot(1)).unwrap(), (0..100).map(|key| (key, key)).collect());
}
