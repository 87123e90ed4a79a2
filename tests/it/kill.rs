//! `kill -9` at any moment: every acknowledged row is there afterwards, and so is everything that a tail printed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::any_rows::Dice;
use crate::program::{Ground, Place, Running};
use crate::{forbidden, scratch};

/// Numbers of one round's rows begin at its number times this.
const ROUND: i64 = 1_000_000_000;

/// Rounds, from the environment.
fn rounds() -> i64 {
    std::env::var("AQUIFER_KILL_ROUNDS").ok().map_or(10, |rounds| rounds.parse().expect("a number of rounds"))
}

/// What one round saw before the kill.
#[derive(Default)]
struct Seen {
    acked: i64,
    printed: BTreeSet<i64>,
}

fn field(line: &str, name: &str) -> i64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    value[name].as_i64().unwrap_or_else(|| panic!("{line} has {name}"))
}

/// Feeds rows from `first` on until the program is gone.
fn feed(append: &mut Running, first: i64) -> std::thread::JoinHandle<()> {
    let mut input = append.input.take().expect("once");
    std::thread::spawn(move || {
        for number in first.. {
            if writeln!(input, "{{\"number\":{number},\"text\":\"row {number}\"}}").is_err() {
                return;
            }
        }
    })
}

/// Appends, tails, kills the writer after a while; everything that both said.
fn round(place: Place<'_>, round: i64, dice: &mut Dice) -> Seen {
    let first = round * ROUND;
    let tail = place.start(&format!("tail t --follow --from latest --columns number --output json --where number>={first}"));
    let batch_rows = [1, 7, 100, 2_000][dice.below(4) as usize];
    let mut append = place.start(&format!("append t --from - --format ndjson --acks --batch-rows {batch_rows}"));
    let feeding = feed(&mut append, first);
    let mut seen = Seen::default();
    // Sometimes before the first answer, sometimes long after.
    if dice.below(8) > 0 {
        seen.acked = field(&append.line().1, "rows_total");
    }
    let until = Instant::now() + Duration::from_micros(dice.below(60_000));
    while let Ok((_, line)) = append.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        seen.acked = field(&line, "rows_total");
    }
    append.kill();
    feeding.join().expect("the feeder");
    // A line that was cut off was not said.
    for (_, line) in append.lines.iter().filter(|(_, line)| line.ends_with('}')) {
        seen.acked = field(&line, "rows_total");
    }
    finish_tail(tail, &mut seen);
    seen
}

/// Ends the tail some time after the writer; what it printed.
fn finish_tail(mut tail: Running, seen: &mut Seen) {
    while let Ok((_, line)) = tail.lines.recv_timeout(Duration::from_millis(20)) {
        assert!(seen.printed.insert(field(&line, "number")), "printed twice: {line}");
    }
    tail.kill();
    for (_, line) in tail.lines.iter().filter(|(_, line)| line.ends_with('}')) {
        seen.printed.insert(field(&line, "number"));
    }
}

/// The rows of a round that are there now: each once, in order within its bucket, none but those that were fed before.
fn check(place: Place<'_>, round: i64, seen: &Seen) -> usize {
    let first = round * ROUND;
    let printed = place.done(&format!("scan t --columns number,text --output json --where number>={first}"));
    let by_bucket = place.done(&format!("tail t --columns number --meta --output json --where number>={first}"));
    let found: BTreeSet<i64> = printed
        .lines()
        .map(|line| {
            let number = field(line, "number");
            assert!(line.contains(&format!("row {number}\"")), "a wrong value: {line}");
            number
        })
        .collect();
    assert_eq!(found.len(), printed.lines().count(), "round {round}: a row is there twice");
    let lost: Vec<i64> = (first..first + seen.acked).filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "round {round}: {} acknowledged, lost {lost:?}", seen.acked);
    let lost: Vec<&i64> = seen.printed.difference(&found).collect();
    assert!(lost.is_empty(), "round {round}: printed by the tail and lost: {lost:?}");
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for line in by_bucket.lines() {
        let number = field(line, "number");
        let before = last.insert(field(line, "_bucket"), number);
        assert!(before.is_none_or(|before| before < number), "round {round}: order in a bucket: {before:?} then {number}");
    }
    found.len()
}

fn kill_again_and_again(ground: Ground, buckets: u32, rounds: i64) {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place { dir: &store, ground };
    std::fs::write(
        dir.path().join("t.toml"),
        "[[field]]\nname = \"number\"\ntype = \"int64\"\n[[field]]\nname = \"text\"\ntype = \"utf8\"\n",
    )
    .unwrap();
    // Small segments, so that kills meet rolls, seals and retention too.
    let set = "--set segment.bytes=1MiB --set retention.bytes=32MiB --set bucket.assign=round-robin";
    place.done(&format!("create t --schema t.toml --buckets {buckets} {set}"));
    let mut dice = Dice(std::process::id().into());
    let (mut acked, mut printed, mut found) = (0, 0, 0);
    for number in 1..=rounds {
        let seen = round(place, number, &mut dice);
        acked += seen.acked;
        printed += seen.printed.len();
        found += check(place, number, &seen);
    }
    println!("{ground:?}, {buckets} buckets: {rounds} kills, {acked} rows acknowledged, {printed} printed by tails, {found} found");
    assert!(acked > 0 && printed > 0, "the rounds did something: {acked}, {printed}");
    let report = place.done("verify --output json");
    assert!(report.contains("\"problems\":[]"), "{report}");
}

#[test]
fn acknowledged_rows_outlive_the_writer() {
    kill_again_and_again(Ground::Free, 1, rounds());
}

#[test]
fn acknowledged_rows_of_many_buckets_outlive_the_writer() {
    kill_again_and_again(Ground::Free, 3, (rounds() + 1) / 2);
}

#[test]
fn also_without_io_uring() {
    kill_again_and_again(Ground::Threads, 2, (rounds() + 1) / 2);
    if forbidden::is_possible() {
        kill_again_and_again(Ground::Forbidden, 2, (rounds() + 1) / 2);
    }
}

#[test]
fn a_tail_goes_on_with_the_next_writer() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"number\"\ntype = \"int64\"\n").unwrap();
    place.done("create t --schema t.toml");
    let tail = place.start("tail t --follow --output json");
    for number in 0..5 {
        let mut append = place.start("append t --from - --format ndjson --acks");
        writeln!(append.input.as_ref().unwrap(), "{{\"number\":{number}}}").unwrap();
        append.line();
        assert_eq!(field(&tail.line().1, "number"), number, "the tail sees it while the writer lives");
        append.kill();
    }
    assert!(tail.lines.recv_timeout(Duration::from_millis(50)).is_err(), "and nothing twice");
}
