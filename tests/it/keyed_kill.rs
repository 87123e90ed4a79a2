//! `kill -9` in the middle of upserts: every acknowledged change is there afterwards, and the table is what its changes make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::any_rows::Dice;
use crate::program::{Ground, Place, Running};
use crate::scratch;

const TABLE: &str = "[[field]]\nname = \"id\"\ntype = \"int64\"\n[[field]]\nname = \"number\"\ntype = \"int64\"\n\
                     [[field]]\nname = \"text\"\ntype = \"utf8\"\n";

/// Keys that rows are spread over: each is corrected and deleted many times.
const KEYS: i64 = 499;

/// Numbers of one round's rows begin at its number times this.
pub(crate) const ROUND: i64 = 1_000_000_000;

/// So small that runs are made and merged while rows come.
pub(crate) const MEMTABLE: &str = "--set memtable.bytes.max=256KiB";

/// Rounds, from the environment.
pub(crate) fn rounds() -> i64 {
    std::env::var("AQUIFER_KILL_ROUNDS").ok().map_or(4, |rounds| rounds.parse().expect("a number of rounds"))
}

/// One line of the changelog.
#[derive(Clone, Debug)]
struct Change {
    bucket: i64,
    offset: i64,
    id: i64,
    number: i64,
    is_delete: bool,
}

/// Each key's row, by its number.
pub(crate) type State = BTreeMap<i64, i64>;

pub(crate) fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

pub(crate) fn field(line: &serde_json::Value, name: &str) -> i64 {
    line[name].as_i64().unwrap_or_else(|| panic!("{line} has {name}"))
}

fn id_of(number: i64) -> i64 {
    number * 31 % KEYS
}

fn is_delete(number: i64) -> bool {
    number % 10 == 9
}

/// Feeds changes from `first` on until the program is gone.
pub(crate) fn feed(upsert: &mut Running, first: i64) -> std::thread::JoinHandle<()> {
    let mut input = upsert.input.take().expect("once");
    std::thread::spawn(move || {
        for number in first.. {
            let (id, op) = (id_of(number), if is_delete(number) { "-D" } else { "+U" });
            if writeln!(input, "{{\"_op\":\"{op}\",\"id\":{id},\"number\":{number},\"text\":\"row {number}\"}}").is_err() {
                return;
            }
        }
    })
}

/// Up to where each bucket was acknowledged, as an acknowledgement says.
pub(crate) fn note(acked: &mut BTreeMap<i64, i64>, line: &str) {
    let ack = json(line);
    let changes = ack["changes"].as_i64().unwrap_or_else(|| field(&ack, "rows"));
    acked.insert(field(&ack, "bucket"), field(&ack, "first_offset") + changes);
}

/// The rows of `scan` or `lookup`, whose values belong together.
pub(crate) fn state(printed: &str) -> State {
    let mut state = State::new();
    for line in printed.lines() {
        let row = json(line);
        let (id, number) = (field(&row, "id"), field(&row, "number"));
        assert_eq!(row["text"], format!("row {number}"), "{line}");
        assert_eq!(id_of(number), id, "{line}");
        assert!(state.insert(id, number).is_none(), "key {id} is there twice");
    }
    state
}

/// All changes, each bucket's in order and without a gap.
fn changelog(place: Place<'_>) -> Vec<Change> {
    let mut next: BTreeMap<i64, i64> = BTreeMap::new();
    let printed = place.done("tail t --changelog --meta --output json");
    let change = |line: &str| {
        let row = json(line);
        let [bucket, offset, id, number] = ["_bucket", "_offset", "id", "number"].map(|name| field(&row, name));
        let expected = next.insert(bucket, offset + 1).unwrap_or(0);
        assert_eq!(offset, expected, "offsets of a bucket");
        assert_eq!(row["_op"], if is_delete(number) { "-D" } else { "+U" }, "{line}");
        Change { bucket, offset, id, number, is_delete: is_delete(number) }
    };
    printed.lines().map(change).collect()
}

/// What changes make of an empty table, up to where each bucket ends.
fn fold(log: &[Change], ends: Option<&BTreeMap<i64, i64>>) -> State {
    let mut state = State::new();
    for change in log.iter().filter(|change| ends.is_none_or(|ends| ends.get(&change.bucket).is_some_and(|end| change.offset < *end))) {
        match change.is_delete {
            true => state.remove(&change.id),
            false => state.insert(change.id, change.number),
        };
    }
    state
}

/// What one round saw before the kill.
struct Seen {
    acked: BTreeMap<i64, i64>,
    /// What was acknowledged before a scan began, and what that saw.
    scanned: (BTreeMap<i64, i64>, State),
    followed: BTreeSet<i64>,
}

/// Upserts, follows, scans, kills the writer after a while.
fn round(place: Place<'_>, round: i64, dice: &mut Dice) -> Seen {
    let mut follower = place.start("tail t --changelog --follow --from latest --columns number --output json");
    let batch_rows = [1, 7, 100, 2_000][dice.below(4) as usize];
    let mut upsert = place.start(&format!("upsert t --from - --format ndjson --op-column _op --acks --batch-rows {batch_rows} {MEMTABLE}"));
    let feeding = feed(&mut upsert, round * ROUND);
    let mut acked = BTreeMap::new();
    note(&mut acked, &upsert.line().1);
    let before = acked.clone();
    let scanned = (before, state(&place.done("scan t --output json")));
    let until = Instant::now() + Duration::from_micros(dice.below(100_000));
    while let Ok((_, line)) = upsert.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        note(&mut acked, &line);
    }
    upsert.kill();
    feeding.join().expect("the feeder");
    // A line that was cut off was not said.
    for (_, line) in upsert.lines.iter().filter(|(_, line)| line.ends_with('}')) {
        note(&mut acked, &line);
    }
    let mut followed = BTreeSet::new();
    while let Ok((_, line)) = follower.lines.recv_timeout(Duration::from_millis(50)) {
        assert!(followed.insert(field(&json(&line), "number")), "followed twice: {line}");
    }
    follower.kill();
    Seen { acked, scanned, followed }
}

fn check(place: Place<'_>, seen: &Seen) -> usize {
    let log = changelog(place);
    for (bucket, end) in &seen.acked {
        let kept = log.iter().filter(|change| change.bucket == *bucket).count() as i64;
        assert!(kept >= *end, "bucket {bucket}: acknowledged up to {end}, kept {kept}");
    }
    let numbers: BTreeSet<i64> = log.iter().map(|change| change.number).collect();
    assert_eq!(numbers.len(), log.len(), "no change twice");
    assert!(seen.followed.is_subset(&numbers), "the follower printed durable changes only");
    let (acked, scanned) = &seen.scanned;
    for (id, number) in fold(&log, Some(acked)) {
        let is_newer = |change: &Change| change.id == id && change.number > number && change.is_delete;
        let is_fresh = scanned.get(&id).map_or_else(|| log.iter().any(is_newer), |found| *found >= number);
        let history: Vec<_> = log.iter().filter(|change| change.id == id).collect();
        assert!(
            is_fresh,
            "{:?} {history:?} a scan beside the writer shows what was acknowledged: key {id}, number {number}",
            scanned.get(&id)
        );
    }
    let expected = fold(&log, None);
    assert_eq!(state(&place.done("scan t --output json")), expected, "the table is what its changes make of it");
    let looked_up = place.run("lookup t --keys keys.csv --output json --quiet");
    assert_eq!(state(&String::from_utf8(looked_up.stdout).unwrap()), expected, "and lookup agrees");
    log.len()
}

fn kill_again_and_again(ground: Ground, buckets: u32) {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place { dir: &store, ground };
    write_keys(dir.path());
    place.done(&format!("create t --schema t.toml --primary-key id --buckets {buckets} --set segment.bytes=1MiB"));
    let mut dice = Dice(std::process::id().into());
    let mut followed = 0;
    for number in 1..=rounds() {
        let seen = round(place, number, &mut dice);
        followed += seen.followed.len();
        let changes = check(place, &seen);
        println!("{ground:?}, {buckets} buckets, kill {number}: {:?} acknowledged, {changes} changes kept", seen.acked);
    }
    assert!(followed > 0, "the follower saw something");
    place.done("flush t");
    place.done("compact t --full");
    let expected = fold(&changelog(place), None);
    assert_eq!(state(&place.done("scan t --output json")), expected, "merged into one run");
    assert!(place.done("verify --output json").contains("\"problems\":[]"));
}

pub(crate) fn write_keys(dir: &Path) {
    std::fs::write(dir.join("t.toml"), TABLE).unwrap();
    let keys: String = (0..KEYS).map(|id| format!("{id}\n")).collect();
    std::fs::write(dir.join("keys.csv"), format!("id\n{keys}")).unwrap();
}

#[test]
fn acknowledged_upserts_outlive_the_writer() {
    kill_again_and_again(Ground::Free, 1);
}

#[test]
fn acknowledged_upserts_of_many_buckets_outlive_the_writer() {
    kill_again_and_again(Ground::Free, 3);
}

#[test]
fn also_without_io_uring() {
    kill_again_and_again(Ground::Threads, 2);
}

#[test]
fn corrections_in_three_batches_are_followed_looked_up_and_kept() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(
        dir.path().join("prices.toml"),
        "[[field]]\nname = \"item\"\ntype = \"utf8\"\n[[field]]\nname = \"price\"\ntype = \"int64\"\n",
    )
    .unwrap();
    place.done("create prices --schema prices.toml --primary-key item");
    let follower = place.start("tail prices --changelog --follow --output json");
    let mut upsert = place.start("upsert prices --from - --format csv --acks");
    let mut input = upsert.input.take().unwrap();
    writeln!(input, "item,price").unwrap();
    let mut expected = BTreeMap::new();
    for batch in [[("tea", 3), ("milk", 1)], [("milk", 2), ("rice", 7)], [("tea", 4), ("rice", 6)]] {
        for (item, price) in batch {
            writeln!(input, "{item},{price}").unwrap();
        }
        let mut acked = 0;
        while acked < 2 {
            acked += field(&json(&upsert.line().1), "rows");
        }
        for (item, price) in batch {
            let change = format!("{{\"item\":\"{item}\",\"price\":{price},\"_op\":\"+U\"}}");
            assert_eq!(follower.line().1, change, "the follower sees it while the writer lives");
            expected.insert(item, price);
        }
        assert_eq!(prices(&place.done("scan prices --output csv")), expected);
    }
    upsert.kill();
    assert_eq!(prices(&place.done("scan prices --output csv")), expected, "and afterwards");
    let looked_up = place.done("lookup prices --key item=rice --key item=milk --key item=none --output csv --quiet");
    assert_eq!(looked_up, "item,price\nrice,6\nmilk,2\n", "in the order of the keys");
    place.done("flush prices");
    assert_eq!(prices(&place.done("scan prices --output csv")), expected, "from a run");
}

fn prices(printed: &str) -> BTreeMap<&str, i64> {
    printed
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').expect("two cells"))
        .map(|(item, price)| (item, price.parse().unwrap()))
        .collect()
}
