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

/// How far the changelog was read, and what stood there: a round reads only what came since, and once at the end all is read and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Of each bucket, the offset behind its last change.
    pub(crate) ends: BTreeMap<i64, i64>,
    /// Of each bucket, a checksum over all its lines.
    sums: BTreeMap<i64, u64>,
}

impl Reading {
    /// Hands on each line that came since, every bucket's in order and without a gap.
    pub(crate) fn go_on(&mut self, place: Place<'_>, buckets: u32, mut each: impl FnMut(&str, &serde_json::Value)) {
        for bucket in 0..i64::from(buckets) {
            let end = self.ends.get(&bucket).copied().unwrap_or(0);
            let printed = place.done(&format!("tail t --changelog --meta --output json --bucket {bucket} --from offset:{end}"));
            self.take(&printed, &mut each);
        }
    }

    /// Hands on all lines, in one reading.
    pub(crate) fn of_all(place: Place<'_>, mut each: impl FnMut(&str, &serde_json::Value)) -> Self {
        let mut reading = Reading::default();
        reading.take(&place.done("tail t --changelog --meta --output json"), &mut each);
        reading
    }

    fn take(&mut self, printed: &str, each: &mut impl FnMut(&str, &serde_json::Value)) {
        for line in printed.lines() {
            let row = json(line);
            let [bucket, offset] = ["_bucket", "_offset"].map(|name| field(&row, name));
            assert_eq!(offset, self.ends.insert(bucket, offset + 1).unwrap_or(0), "offsets of bucket {bucket}");
            let sum = self.sums.entry(bucket).or_default();
            // FNV-1a: any other line, or the same ones in another order, gives another sum.
            *sum = line.bytes().fold(*sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)).wrapping_add(1);
            each(line, &row);
        }
    }

    /// Whether all is kept that was acknowledged.
    pub(crate) fn has(&self, acked: &BTreeMap<i64, i64>) -> bool {
        acked.iter().all(|(bucket, end)| self.ends.get(bucket).is_some_and(|kept| kept >= end))
    }
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

fn change(line: &str, row: &serde_json::Value) -> Change {
    let [bucket, offset, id, number] = ["_bucket", "_offset", "id", "number"].map(|name| field(row, name));
    assert_eq!(row["_op"], if is_delete(number) { "-D" } else { "+U" }, "{line}");
    Change { bucket, offset, id, number, is_delete: is_delete(number) }
}

/// What the changes so far make of an empty table.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    table: State,
    /// The number of each key's last change, which may have deleted it.
    newest: State,
    /// Numbers of changes that the last round kept without having acknowledged them.
    unsaid: BTreeSet<i64>,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        let before = self.newest.insert(change.id, change.number);
        assert!(before.is_none_or(|before| before < change.number), "in the order that they were fed, none twice: {change:?}");
        match change.is_delete {
            true => self.table.remove(&change.id),
            false => self.table.insert(change.id, change.number),
        };
    }

    /// Checks a scan during which `later` changes, perhaps, came: it has no less than these.
    fn check_scan(&self, scanned: &State, later: &[Change]) {
        for (id, number) in &self.table {
            let is_deleted = || later.iter().any(|change| change.id == *id && change.is_delete);
            let is_fresh = scanned.get(id).map_or_else(is_deleted, |found| found >= number);
            assert!(is_fresh, "a scan beside the writer shows what was acknowledged: key {id}, number {number}, {:?}", scanned.get(id));
        }
        for (id, found) in scanned {
            let newest = self.newest.get(id).copied().unwrap_or(0);
            assert!(*found >= newest, "a scan beside the writer shows key {id} as {found}, which {newest} replaced or deleted");
        }
    }
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

/// Checks what a round left, against what was there before and what it acknowledged.
fn check(place: Place<'_>, buckets: u32, seen: &Seen, reading: &mut Reading, model: &mut Model) {
    let mut new = Vec::new();
    reading.go_on(place, buckets, |line, row| new.push(change(line, row)));
    assert!(reading.has(&seen.acked), "{:?} acknowledged, {:?} kept", seen.acked, reading.ends);
    let numbers: BTreeSet<i64> = new.iter().map(|change| change.number).collect();
    // What the round before left behind its last acknowledgement may be news to a follower that came while the next writer began.
    let strange: Vec<_> = seen.followed.difference(&numbers).filter(|number| !model.unsaid.contains(number)).collect();
    assert!(strange.is_empty(), "the follower printed durable changes only, not {strange:?}");
    let is_unsaid = |change: &&Change| seen.acked.get(&change.bucket).is_none_or(|end| change.offset >= *end);
    model.unsaid = new.iter().filter(is_unsaid).map(|change| change.number).collect();
    let (acked, scanned) = &seen.scanned;
    let (before, later): (Vec<_>, Vec<_>) =
        new.into_iter().partition(|change| acked.get(&change.bucket).is_some_and(|end| change.offset < *end));
    before.iter().for_each(|change| model.apply(change));
    model.check_scan(scanned, &later);
    later.iter().for_each(|change| model.apply(change));
    assert_eq!(state(&place.done("scan t --output json")), model.table, "the table is what its changes make of it");
    let looked_up = place.run("lookup t --keys keys.csv --output json --quiet");
    assert_eq!(state(&String::from_utf8(looked_up.stdout).unwrap()), model.table, "and lookup agrees");
}

fn kill_again_and_again(ground: Ground, buckets: u32) {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place { dir: &store, ground };
    write_keys(dir.path());
    place.done(&format!("create t --schema t.toml --primary-key id --buckets {buckets} --set segment.bytes=1MiB"));
    let mut dice = Dice(std::process::id().into());
    let (mut reading, mut model, mut followed) = (Reading::default(), Model::default(), 0);
    for number in 1..=rounds() {
        let seen = round(place, number, &mut dice);
        followed += seen.followed.len();
        check(place, buckets, &seen, &mut reading, &mut model);
        println!("{ground:?}, {buckets} buckets, kill {number}: {:?} acknowledged, {:?} kept", seen.acked, reading.ends);
    }
    assert!(followed > 0, "the follower saw something");
    place.done("flush t");
    place.done("compact t --full");
    assert_eq!(state(&place.done("scan t --output json")), model.table, "merged into one run");
    let mut again = Model::default();
    let all = Reading::of_all(place, |line, row| again.apply(&change(line, row)));
    again.unsaid.clone_from(&model.unsaid);
    assert_eq!((all, again), (reading, model), "what was read before and after each kill is the whole changelog, to the byte");
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
