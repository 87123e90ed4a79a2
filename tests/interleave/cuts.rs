//! Snapshots of two buckets, cut while somebody writes to one bucket only what was acknowledged by the other before.
//!
//! Each write to the first bucket is followed by one to the second. So no moment has more in the second: a snapshot that has was not cut at one moment.

use std::sync::Arc;

use aquifer_tests::bucket::Bucket;
use aquifer_tests::bucket::images::Step;
use aquifer_tests::bucket::kept::cut;
use aquifer_tests::io::sim::Faults;
use aquifer_tests::table::ChangeType;
use shuttle::thread;

use crate::bucket::{World, open_another};
use crate::device::strikes;
use crate::images::{one, sums};

/// Writes to each bucket.
const ROUNDS: u32 = 1;

/// Snapshots: enough that some are cut while the writer is at work.
const CUTS: u64 = 50;

fn run() {
    let keyed = sums();
    let world = World::new(Faults::default(), Some(keyed.clone()));
    let other = open_another(&world.resources, 1, Some(keyed.clone())).expect("a healthy disk");
    let buckets = [world.bucket.clone(), other];
    let spawn = |body: fn(&World)| {
        let world = world.clone();
        thread::spawn(move || body(&world))
    };
    let background = [spawn(World::drive), spawn(World::work)];
    let writer = {
        let (world, buckets) = (world.clone(), buckets.clone());
        thread::spawn(move || {
            let (rows, kinds) = (one(&keyed), [ChangeType::UpdateAfter.to_byte()]);
            for _ in 0..ROUNDS {
                for bucket in &buckets {
                    let changed = bucket.change(Step { keyed: &keyed, rows: &rows, kinds: &kinds }, strikes(2)).expect("a healthy disk");
                    changed.pending.wait(&world.resources).expect("a healthy disk");
                }
            }
        })
    };
    let cutter = thread::spawn(move || (1..=CUTS).for_each(|snapshot| check(&buckets, snapshot)));
    writer.join().expect("the writer");
    cutter.join().expect("who cuts");
    world.close();
    background.into_iter().for_each(|thread| thread.join().expect("the background"));
}

fn check(buckets: &[Arc<Bucket>], snapshot: u64) {
    let keeps = cut(buckets, snapshot).expect("no rows were lost");
    let ends: Vec<u64> = keeps.iter().map(|keep| keep.end_offset()).collect();
    assert!(ends[0] >= ends[1], "{ends:?}: what came first is not in the snapshot, and what came behind it is");
}

#[test]
fn a_snapshot_of_several_buckets_is_of_one_moment() {
    // The moment between two buckets is short: a writer gets from one to the other within it only where threads take turns all the time.
    shuttle::check_random(run, 100);
}
