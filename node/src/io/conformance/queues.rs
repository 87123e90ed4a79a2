//! Completion queues.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn many_in_flight(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(16);
    let (mut done, mut next) = (Vec::new(), 0u64);
    while next < 100 || queue.in_flight() > 0 {
        while next < 100 {
            let piece = stand.pattern(3 * BLOCK_BYTES, next as u8);
            let pieces = vec![piece.slice(..BLOCK_BYTES), piece.slice(BLOCK_BYTES..)];
            if queue.submit(next, a_write(&file, pieces, next * 12_288, next % 2 == 0)).is_err() {
                break;
            }
            next += 1;
        }
        queue.wait(&mut done, Wait::Completion).unwrap();
    }
    let mut tokens: Vec<_> = done.iter().map(|done| (done.token, *done.result.as_ref().unwrap())).collect();
    tokens.sort();
    assert_eq!(tokens, (0..100).map(|token| (token, 12_288)).collect::<Vec<_>>());
    for token in 0..16 {
        queue.submit(token, a_read(&file, stand.pool.get(12_288), 12_288, (token * 5) * 12_288)).unwrap();
    }
    for Completion { token, result, operation } in drain(&mut *queue) {
        let Operation::Read { buffer, .. } = operation else { panic!("a read comes back as a read") };
        assert_eq!((result.unwrap(), buffer.len()), (12_288, 12_288));
        assert_eq!(buffer[..], stand.pattern(12_288, token as u8 * 5)[..]);
    }
}

pub(super) fn a_full_queue_gives_back(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(2);
    assert_eq!(queue.capacity(), 2);
    let operation = |token: u64| a_write(&file, vec![stand.pattern(4096, token as u8)], token * 4096, true);
    queue.submit(0, operation(0)).unwrap();
    queue.submit(1, operation(1)).unwrap();
    let Operation::Write { offset, .. } = queue.submit(2, operation(2)).unwrap_err() else { panic!("it comes back as it was") };
    assert_eq!((offset, queue.in_flight()), (8192, 2));
    queue.flush().unwrap();
    assert!(queue.submit(2, operation(2)).is_err(), "handing over makes no room");
    let mut done = Vec::new();
    queue.wait(&mut done, Wait::Completion).unwrap();
    assert!(!done.is_empty());
    queue.submit(2, operation(2)).unwrap();
    done.extend(drain(&mut *queue));
    assert_eq!(done.len(), 3);
}

pub(super) fn waiting_for_nothing(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(2);
    let mut done = Vec::new();
    queue.wait(&mut done, Wait::Completion).unwrap();
    queue.wait(&mut done, Wait::Nothing).unwrap();
    assert!(done.is_empty());
    queue.submit(1, a_write(&file, vec![stand.pattern(4096, 1)], 0, true)).unwrap();
    while done.is_empty() {
        queue.wait(&mut done, Wait::Nothing).unwrap();
    }
    assert_eq!((done[0].token, queue.in_flight()), (1, 0));
}

pub(super) fn refusals_are_completions(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(8);
    let block = stand.pattern(2 * BLOCK_BYTES, 1);
    queue.submit(0, a_write(&file, vec![block.slice(..512)], 0, true)).unwrap();
    queue.submit(1, a_write(&file, vec![block.slice(512..4608)], 0, true)).unwrap();
    queue.submit(2, a_write(&file, vec![block.slice(..4096)], 512, true)).unwrap();
    queue.submit(3, a_read(&file, stand.pool.get(4096), 100, 0)).unwrap();
    queue.submit(4, a_read(&file, stand.pool.get(4096), 8192, 0)).unwrap();
    queue.submit(5, a_write(&file, vec![block.clone(); PIECES_MAX + 1], 0, true)).unwrap();
    queue.submit(6, a_write(&file, vec![], 0, true)).unwrap();
    let mut done = drain(&mut *queue);
    done.sort_by_key(|done| done.token);
    for done in &done[..6] {
        assert_eq!(done.result.as_ref().unwrap_err().kind(), io::ErrorKind::InvalidInput, "{done:?}");
    }
    assert_eq!(*done[6].result.as_ref().unwrap(), 0);
    assert_eq!(stand.driver.len(&file).unwrap(), 0);
}

pub(super) fn dropping_waits(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(8);
    for token in 0..8 {
        queue.submit(token, a_write(&file, vec![stand.pattern(4096, token as u8)], token * 4096, true)).unwrap();
    }
    queue.flush().unwrap();
    drop(queue);
    for token in 0..8 {
        assert_eq!(stand.read(&file, token * 4096, 4096).unwrap()[..], stand.pattern(4096, token as u8)[..]);
    }
    let before = stand.pool.held_bytes();
    let mut queue = stand.queue(8);
    for token in 0..8 {
        queue.submit(token, a_read(&file, stand.pool.get(1 << 20), 1 << 20, 0)).unwrap();
    }
    queue.flush().unwrap();
    let bell = queue.bell();
    drop(queue);
    bell.ring();
    assert_eq!(stand.pool.held_bytes(), before + (8 << 20), "the memory came back after the last read");
}

pub(super) fn what_was_not_handed_over_is_forgotten(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(8);
    queue.submit(1, a_write(&file, vec![stand.pattern(4096, 1)], 0, true)).unwrap();
    drop(queue);
    assert_eq!(stand.driver.len(&file).unwrap(), 0);
}

pub(super) fn the_bell(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(2);
    let (bell, mut done) = (queue.bell(), Vec::new());
    bell.ring();
    bell.clone().ring();
    queue.wait(&mut done, Wait::BellOrCompletion(None)).unwrap();
    assert!(done.is_empty(), "two rings before are one");
    bell.ring();
    queue.submit(1, a_write(&file, vec![stand.pattern(4096, 1)], 0, true)).unwrap();
    queue.wait(&mut done, Wait::Completion).unwrap();
    assert_eq!(done.len(), 1, "who waits for a completion does not heed the bell");
    queue.wait(&mut done, Wait::BellOrCompletion(None)).unwrap();
    assert_eq!(done.len(), 1, "but it is kept");
    if stand.driver.is_single_threaded() {
        return;
    }
    // Asleep, awake or between: no ring is lost.
    let (rung, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=2000 {
                rung.store(round, Ordering::SeqCst);
                bell.ring();
                while round % 3 != 0 && seen.load(Ordering::SeqCst) < round {
                    std::thread::yield_now();
                }
            }
        });
        while seen.load(Ordering::SeqCst) < 2000 {
            queue.wait(&mut done, Wait::BellOrCompletion(None)).unwrap();
            seen.store(rung.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    });
    assert_eq!(done.len(), 1);
}

pub(super) fn time_runs_out(stand: &Stand) {
    let (mut queue, mut done) = (stand.queue(2), Vec::new());
    let before = stand.driver.clock().monotonic();
    queue.wait(&mut done, Wait::BellOrCompletion(Some(Duration::from_millis(20)))).unwrap();
    assert!(stand.driver.clock().monotonic() >= before + Duration::from_millis(20));
    queue.wait(&mut done, Wait::BellOrCompletion(Some(Duration::ZERO))).unwrap();
    assert!(done.is_empty());
    let file = stand.data("a");
    queue.submit(1, a_write(&file, vec![stand.pattern(4096, 1)], 0, true)).unwrap();
    while done.is_empty() {
        queue.wait(&mut done, Wait::BellOrCompletion(Some(Duration::from_secs(3600)))).unwrap();
    }
}

pub(super) fn a_movable_queue_outlives_its_submitter(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.queue(16);
    let pattern = stand.pattern(1 << 20, 5);
    // Writes that make the file grow are done by threads of the kernel that end with the submitter.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for token in 0..16 {
                queue.submit(token, a_write(&file, vec![pattern.clone()], token << 20, true)).unwrap();
            }
            queue.flush().unwrap();
        });
    });
    for done in drain(&mut *queue) {
        assert_eq!(done.result.unwrap(), 1 << 20);
    }
    assert_eq!(stand.read(&file, 15 << 20, 1 << 20).unwrap()[..], pattern[..]);
}

pub(super) fn a_pinned_queue_belongs_to_its_first_user(stand: &Stand) {
    let file = stand.data("a");
    let mut queue = stand.driver.queue(4, Role::Pinned).unwrap();
    let pattern = stand.pattern(65_536, 5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (bell, mut done) = (queue.bell(), Vec::new());
            for token in 0..20 {
                queue.submit(token, a_write(&file, vec![pattern.clone()], 65_536 * token, true)).unwrap();
                queue.wait(&mut done, Wait::Completion).unwrap();
                bell.ring();
                queue.wait(&mut done, Wait::BellOrCompletion(None)).unwrap();
            }
            queue.submit(0, a_read(&file, stand.pool.get(65_536), 65_536, 65_536 * 19)).unwrap();
            done = drain(&mut *queue);
            drop(queue);
            let Operation::Read { buffer, .. } = &done[0].operation else { panic!("a read") };
            assert_eq!(buffer[..], pattern[..]);
        });
    });
}
