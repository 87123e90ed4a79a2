//! The simulated disk: the same seed, power cuts, planted bugs.

use super::*;
use crate::io::{Completion, Operation, Page, Pool, Wait};
use std::collections::BTreeSet;

const BLOCK: u64 = 4096;

fn fill(pool: &Pool, blocks: usize, mark: u8) -> Frozen {
    let mut buffer = pool.get(blocks * BLOCK as usize);
    buffer.fill(mark);
    buffer.freeze()
}

/// A log as simple as can be: durable blocks in order, two in flight, acknowledged in order. Returns how many were acknowledged.
fn append_until_crash(sim: &Arc<Sim>, blocks: u64) -> io::Result<u64> {
    let pool = Pool::new(1 << 20);
    sim.create_dir_all(Path::new("/log"))?;
    sim.sync_dir(Path::new("/"))?;
    let file = sim.open(Path::new("/log/a"), Mode::Create, true)?;
    sim.sync(&file)?;
    sim.sync_dir(Path::new("/log"))?;
    let mut queue = sim.queue(2, Role::Pinned)?;
    let (mut done, mut finished, mut next, mut acked) = (Vec::new(), BTreeSet::new(), 0, 0);
    while acked < blocks {
        while next < blocks && queue.in_flight() < 2 {
            let pieces = vec![fill(&pool, 4, next as u8 + 1)];
            let _ = queue.submit(next, Operation::Write { file: file.clone(), pieces, offset: next * 4 * BLOCK, durable: true });
            next += 1;
        }
        if queue.wait(&mut done, Wait::Completion).is_err() {
            return Ok(acked);
        }
        for Completion { token, result, .. } in done.drain(..) {
            if result.is_err() {
                return Ok(acked);
            }
            finished.insert(token);
        }
        while finished.remove(&acked) {
            acked += 1;
        }
    }
    Ok(acked)
}

/// Which of the acknowledged blocks are not there.
fn lost(sim: &Sim, acked: u64) -> Vec<u64> {
    let pool = Pool::new(1 << 20);
    sim.set_faults(Faults::default());
    let Ok(file) = sim.open(Path::new("/log/a"), Mode::Read, true) else { return (0..acked).collect() };
    let is_lost = |block: &u64| {
        let mut buffer = pool.get(4 * BLOCK as usize);
        sim.read_at(&file, &mut buffer, 4 * BLOCK as usize, block * 4 * BLOCK).unwrap();
        buffer.len() != 4 * BLOCK as usize || buffer.iter().any(|byte| *byte != *block as u8 + 1)
    };
    (0..acked).filter(is_lost).collect()
}

/// Runs the log to a crash at step `at`; gives the lost blocks and the trace.
fn crash_run(seed: u64, at: u64, faults: &Faults) -> (Vec<u64>, u64) {
    let sim = Sim::new(seed, faults.clone());
    sim.crash_after(at);
    let acked = append_until_crash(&sim, 40).unwrap_or(0);
    let after = sim.reboot(seed ^ 0xA5);
    (lost(&after, acked), sim.trace() ^ after.trace())
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_every_step() {
    let whole = Sim::new(0, Faults::default());
    append_until_crash(&whole, 40).unwrap();
    assert!(whole.steps() > 80);
    for at in 0..whole.steps() {
        let (lost, _) = crash_run(at, at, &Faults::default());
        assert!(lost.is_empty(), "seed {at} lost {lost:?}");
    }
}

#[test]
fn with_errors_too() {
    for seed in 0..200 {
        let (lost, _) = crash_run(seed, 20 + seed, &Faults::failing());
        assert!(lost.is_empty(), "seed {seed} lost {lost:?}");
    }
}

#[test]
fn the_planted_bug_is_found() {
    let faults = Faults { lie_about_durability: true, ..Faults::default() };
    let found = (0..100).filter(|seed| !crash_run(*seed, 30 + seed / 2, &faults).0.is_empty()).count();
    assert!(found > 50, "{found} of 100");
}

#[test]
fn one_seed_is_one_run() {
    let mut traces = BTreeSet::new();
    for seed in 0..50 {
        let run = crash_run(seed, 100, &Faults::failing());
        assert_eq!(run, crash_run(seed, 100, &Faults::failing()), "seed {seed}");
        traces.insert(run.1);
    }
    assert_eq!(traces.len(), 50);
}

#[test]
fn completions_are_reordered() {
    let (sim, pool) = (Sim::new(5, Faults::default()), Pool::new(1 << 20));
    let file = sim.open(Path::new("/a"), Mode::Create, true).unwrap();
    let mut queue = sim.queue(16, Role::Movable).unwrap();
    for token in 0..16 {
        let pieces = vec![fill(&pool, 1, token as u8)];
        queue.submit(token, Operation::Write { file: file.clone(), pieces, offset: token * BLOCK, durable: true }).unwrap();
    }
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        queue.wait(&mut done, Wait::Completion).unwrap();
    }
    let tokens: Vec<_> = done.iter().map(|done| done.token).collect();
    assert!(!tokens.is_sorted() && tokens.len() == 16, "{tokens:?}");
}

#[test]
fn a_write_in_flight_tears() {
    let mut kinds = BTreeSet::new();
    for seed in 0..80 {
        let (sim, pool) = (Sim::new(seed, Faults::default()), Pool::new(1 << 20));
        let file = sim.open(Path::new("/a"), Mode::Create, true).unwrap();
        sim.write_at(&file, &[fill(&pool, 4, 1)], 0, true).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        sim.crash_after(1);
        assert!(sim.write_at(&file, &[fill(&pool, 4, 2)], 0, true).is_err());
        let after = sim.reboot(seed);
        let file = after.open(Path::new("/a"), Mode::Read, true).unwrap();
        let mut buffer = pool.get(16_384);
        after.read_at(&file, &mut buffer, 16_384, 0).unwrap();
        assert!(buffer.chunks(512).all(|sector| sector == [sector[0]; 512]));
        kinds.insert((buffer.contains(&1), buffer.contains(&2)));
    }
    assert_eq!(kinds.len(), 3, "whole, torn and lost: {kinds:?}");
}

#[test]
fn after_the_crash_every_call_fails() {
    let (sim, pool) = (Sim::new(1, Faults::default()), Pool::new(0));
    let path = Path::new("/a");
    let file = sim.open(path, Mode::Create, false).unwrap();
    let mut queue = sim.queue(1, Role::Pinned).unwrap();
    assert!(!sim.is_crashed());
    sim.crash_after(0);
    assert!(sim.is_crashed());
    let _ = queue.submit(1, Operation::Read { file: file.clone(), buffer: pool.get(1), len: 1, offset: 0 });
    let outcomes = [
        sim.open(path, Mode::Read, false).map(drop),
        sim.list(Path::new("/")).map(drop),
        sim.create_dir_all(Path::new("/b")),
        sim.rename(path, Path::new("/b")),
        sim.remove(path),
        sim.remove_dir_all(Path::new("/")),
        sim.sync_dir(Path::new("/")),
        sim.len(&file).map(drop),
        sim.set_len(&file, 1),
        sim.allocate(&file, 1),
        sim.read_at(&file, &mut pool.get(1), 1, 0).map(drop),
        sim.write_at(&file, &[pool.get(1).freeze()], 0, true),
        sim.sync(&file),
        sim.lock(&file).map(drop),
        sim.is_locked(&file).map(drop),
        sim.page(path, 64, true).map(drop),
        queue.flush(),
        queue.wait(&mut vec![], Wait::Nothing),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().to_string(), "simulated crash");
    }
    drop(queue);
    let after = sim.reboot(2);
    assert!(after.len(&file).is_err(), "files of before are closed");
}

#[test]
fn locks_and_unsynced_names_go_with_the_power() {
    let sim = Sim::new(1, Faults::default());
    let path = Path::new("/LOCK");
    let file = sim.open(path, Mode::Create, false).unwrap();
    let _lock = sim.lock(&file).unwrap().unwrap();
    let killed = sim.kill(2);
    let again = killed.open(path, Mode::Write, false).unwrap();
    assert!(!killed.is_locked(&again).unwrap());
    let kept = (0..40).filter(|seed| killed.reboot(*seed).open(path, Mode::Read, false).is_ok()).count();
    assert!((1..40).contains(&kept), "{kept} of 40");
}

#[test]
fn the_death_of_the_process_alone_loses_nothing() {
    for seed in 0..40 {
        let (sim, pool) = (Sim::new(seed, Faults::default()), Pool::new(0));
        let file = sim.open(Path::new("/a"), Mode::Create, true).unwrap();
        sim.write_at(&file, &[fill(&pool, 4, 1)], 0, false).unwrap();
        let after = sim.kill(seed);
        let file = after.open(Path::new("/a"), Mode::Read, true).unwrap();
        let mut buffer = pool.get(16_384);
        assert_eq!(after.read_at(&file, &mut buffer, 16_384, 0).unwrap(), 16_384);
        assert!(buffer.iter().all(|byte| *byte == 1));
    }
}

#[test]
fn a_failed_sync_is_not_healed_by_the_next() {
    let mut lost = 0;
    for seed in 0..40 {
        let (sim, pool) = (Sim::new(seed, Faults::default()), Pool::new(0));
        let file = sim.open(Path::new("/a"), Mode::Create, true).unwrap();
        sim.write_at(&file, &[fill(&pool, 1, 1)], 0, true).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        sim.write_at(&file, &[fill(&pool, 1, 2)], 0, false).unwrap();
        sim.fail_next(Call::Sync, "", libc::EIO);
        assert_eq!(sim.sync(&file).unwrap_err().raw_os_error(), Some(libc::EIO));
        sim.sync(&file).unwrap();
        let after = sim.reboot(seed);
        let file = after.open(Path::new("/a"), Mode::Read, true).unwrap();
        let mut buffer = pool.get(4096);
        after.read_at(&file, &mut buffer, 4096, 0).unwrap();
        lost += usize::from(buffer.contains(&1));
    }
    assert!(lost > 5, "{lost} of 40");
}

#[test]
fn scripted_errors_strike_once_and_where_they_should() {
    let sim = Sim::new(1, Faults::default());
    let code = |outcome: io::Result<()>| outcome.unwrap_err().raw_os_error();
    sim.fail_next(Call::Create, "b", libc::ENOSPC);
    sim.fail_next(Call::Rename, "", libc::EIO);
    sim.fail_next(Call::SyncDir, "", libc::EIO);
    sim.open(Path::new("/a"), Mode::Create, false).unwrap();
    assert_eq!(code(sim.open(Path::new("/b"), Mode::Create, false).map(drop)), Some(libc::ENOSPC));
    sim.open(Path::new("/b"), Mode::Create, false).unwrap();
    assert_eq!(code(sim.rename(Path::new("/a"), Path::new("/c"))), Some(libc::EIO));
    sim.rename(Path::new("/a"), Path::new("/c")).unwrap();
    assert_eq!(code(sim.sync_dir(Path::new("/"))), Some(libc::EIO));
    sim.sync_dir(Path::new("/")).unwrap();
}

#[test]
fn a_writer_and_a_follower_share_the_disk() {
    let (sim, pool) = (Sim::new(3, Faults::default()), Pool::new(0));
    let path = Path::new("/commit.page");
    let page: Page = sim.page(path, 64, true).unwrap();
    let file = sim.open(Path::new("/a"), Mode::Create, true).unwrap();
    let follower = sim.open(Path::new("/a"), Mode::Read, true).unwrap();
    let seen = sim.page(path, 64, false).unwrap();
    let mut queue = sim.queue(1, Role::Pinned).unwrap();
    let pieces = vec![fill(&pool, 1, 7)];
    queue.submit(1, Operation::Write { file, pieces, offset: 0, durable: true }).unwrap();
    queue.flush().unwrap();
    // The follower's wait lets the writer's operation go on.
    let mut done = Vec::new();
    while done.is_empty() {
        seen.wait(0, seen.slot(0).word(), None);
        queue.wait(&mut done, Wait::Nothing).unwrap();
    }
    page.publish(0, page::View { end: 4096, ..Default::default() });
    assert_eq!(seen.slot(0).view().unwrap().end, 4096);
    let mut buffer = pool.get(4096);
    sim.read_at(&follower, &mut buffer, 4096, 0).unwrap();
    assert_eq!(buffer[..], [7; 4096]);
    let ends: BTreeSet<_> =
        (0..20).filter_map(|seed| sim.reboot(seed).page(path, 64, false).ok()).map(|page| page.slot(0).view().unwrap().end).collect();
    assert_eq!(ends, BTreeSet::from([0, 4096]), "a page is not synced: it may come back as zeros");
}

#[test]
fn time_passes_only_in_steps() {
    let sim = Sim::new(1, Faults::default());
    let before = sim.clock().wall_ms();
    sim.advance(Duration::from_secs(5)).unwrap();
    assert_eq!(sim.clock().wall_ms(), before + 5000);
    let after = sim.reboot(1);
    assert!(after.clock().wall_ms() > sim.clock().wall_ms());
}
