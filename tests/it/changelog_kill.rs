//! `kill -9` in the middle of upserts into a table whose log says what became of each key: what is kept of the log always fits together, and is the table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::any_rows::Dice;
use crate::keyed_kill::{MEMTABLE, ROUND, Reading, State, feed, field, note, rounds, state, write_keys};
use crate::program::{Ground, Place};
use crate::scratch;

/// Applies a change to a table, and checks it against the row before it.
fn apply(table: &mut State, line: &str, row: &serde_json::Value) {
    let [id, number] = ["id", "number"].map(|name| field(row, name));
    assert_eq!(row["text"], format!("row {number}"), "the whole row: {line}");
    match row["_op"].as_str() {
        Some("+I") => assert_eq!(table.insert(id, number), None, "{line}"),
        Some("-U" | "-D") => assert_eq!(table.remove(&id), Some(number), "the row before: {line}"),
        Some("+U") => assert_eq!(table.insert(id, number), None, "behind its -U: {line}"),
        other => panic!("{other:?}: {line}"),
    }
}

fn kill_again_and_again(ground: Ground, buckets: u32) {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place { dir: &store, ground };
    write_keys(dir.path());
    place.done(&format!("create t --schema t.toml --primary-key id --changelog lookup --buckets {buckets} --set segment.bytes=1MiB"));
    let mut dice = Dice(std::process::id().into());
    let (mut reading, mut table) = (Reading::default(), State::new());
    for round in 1..=rounds() {
        let batch_rows = [1, 7, 100, 2_000][dice.below(4) as usize];
        let mut upsert =
            place.start(&format!("upsert t --from - --format ndjson --op-column _op --acks --batch-rows {batch_rows} {MEMTABLE}"));
        let feeding = feed(&mut upsert, round * ROUND);
        let mut acked = BTreeMap::new();
        note(&mut acked, &upsert.line().1);
        // Beside the writer too.
        reading.go_on(place, buckets, |line, row| apply(&mut table, line, row));
        assert!(reading.has(&acked), "{acked:?} acknowledged, {:?} shown", reading.ends);
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
        reading.go_on(place, buckets, |line, row| apply(&mut table, line, row));
        assert!(reading.has(&acked), "{acked:?} acknowledged, {:?} kept", reading.ends);
        assert_eq!(state(&place.done("scan t --output json")), table, "the table is what its changes make of it");
        let looked_up = place.run("lookup t --keys keys.csv --output json --quiet");
        assert_eq!(state(&String::from_utf8(looked_up.stdout).unwrap()), table, "and lookup agrees");
        println!("{ground:?}, {buckets} buckets, kill {round}: {acked:?} acknowledged, {:?} kept", reading.ends);
    }
    place.done("flush t");
    place.done("compact t --full");
    assert_eq!(state(&place.done("scan t --output json")), table, "merged into one run");
    let mut again = State::new();
    let all = Reading::of_all(place, |line, row| apply(&mut again, line, row));
    assert_eq!((all, again), (reading, table), "what was read before and after each kill is the whole changelog, to the byte");
    assert!(place.done("verify --output json").contains("\"problems\":[]"));
}

#[test]
fn what_became_of_each_key_outlives_the_writer() {
    kill_again_and_again(Ground::Free, 2);
}
