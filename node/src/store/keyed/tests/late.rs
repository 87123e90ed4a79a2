//! Rows that come late to a table whose rows go by a sequence: what a delete took away stays away, whenever memtables are flushed and runs are merged.

use std::time::Duration;

use super::*;
use crate::io::Driver;

/// The sequence is `value`.
fn sequenced(buckets: u32) -> CreateTable {
    create(buckets).option("sequence.field", "value")
}

/// Writes rows of a key with their sequence; without `true` they take it away.
fn write(table: &Table, changes: &[(u8, i64, bool)]) {
    let batch: Vec<(u8, i64)> = changes.iter().map(|(key, sequence, _)| (*key, *sequence)).collect();
    let kind = |stays: bool| if stays { ChangeType::UpdateAfter } else { ChangeType::Delete };
    let kinds: Vec<ChangeType> = changes.iter().map(|(_, _, stays)| kind(*stays)).collect();
    table.writer().unwrap().apply(&rows(&batch), &kinds).unwrap();
}

/// Rows in the runs of a bucket, and how many of them are deletes.
fn in_runs(table: &Table) -> (u64, u64) {
    let entry = table.store.entry(table.id, &table.name).unwrap();
    let levels = table.store.bucket(&entry, 0, 0).unwrap().tree().unwrap().levels();
    levels.runs().iter().map(|run| run.meta()).fold((0, 0), |(rows, deletes), meta| (rows + meta.rows, deletes + meta.deletes))
}

#[derive(Clone, Debug)]
enum Act {
    Write(Vec<(u8, i64, bool)>),
    Flush,
    Compact,
    Pump,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => proptest::collection::vec((0_u8..40, 0_i64..50, any::<bool>()), 1..30).prop_map(Act::Write),
        4 => Just(Act::Flush),
        2 => Just(Act::Compact),
        1 => Just(Act::Pump),
        1 => Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_deleted_stays_away_whatever_is_flushed_and_merged(acts in acts(), buckets in 1_u32..3) {
        let sim = Sim::new(1, Faults::default());
        let mut store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        store.create_table("t", sequenced(buckets)).unwrap();
        // Of each key the largest sequence, the later one of equals.
        let mut newest: BTreeMap<u8, (i64, bool)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Write(changes) => {
                    write(&store.table("t").unwrap(), &changes);
                    for (key, sequence, stays) in changes {
                        let known = newest.entry(key).or_insert((sequence, stays));
                        *known = if sequence >= known.0 { (sequence, stays) } else { *known };
                    }
                }
                Act::Flush => store.flush("t").unwrap(),
                Act::Compact => store.compact("t", false).unwrap(),
                Act::Pump => store.pump().unwrap(),
                Act::Reopen => {
                    store.close().unwrap();
                    store = Store::open_with(sim.clone(), DIR, options()).unwrap();
                }
            }
            let model = newest.iter().filter(|(_, (_, stays))| *stays).map(|(key, (sequence, _))| (*key, *sequence)).collect();
            check(&store.table("t").unwrap(), &model);
        }
    }
}

#[test]
fn a_delete_with_a_sequence_goes_when_all_runs_are_merged_on_demand() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", sequenced(1)).unwrap();
    write(&table, &[(1, 5, true), (2, 5, true), (1, 7, false)]);
    store.flush("t").unwrap();
    assert_eq!(in_runs(&table), (2, 1), "also where there was no run yet");
    for round in 0..20 {
        write(&table, &[(3, 10 + round, false), (4, round, true), (1, 6, true)]);
        store.flush("t").unwrap();
        store.compact("t", false).unwrap();
        check(&table, &BTreeMap::from([(2, 5), (4, round)]));
    }
    store.compact("t", true).unwrap();
    assert_eq!(in_runs(&table), (2, 0));
    write(&table, &[(1, 6, true)]);
    check(&table, &BTreeMap::from([(1, 6), (2, 5), (4, 19)]));
}

#[test]
fn rows_in_memory_hear_of_a_delete_before_it_goes() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", sequenced(1)).unwrap();
    write(&table, &[(1, 5, false), (2, 5, true)]);
    store.flush("t").unwrap();
    write(&table, &[(1, 4, true), (3, 1, true)]);
    store.compact("t", true).unwrap();
    check(&table, &BTreeMap::from([(2, 5), (3, 1)]));
    assert_eq!(in_runs(&table), (2, 0));
}

#[test]
fn a_run_of_nothing_but_such_deletes_is_no_work_without_end() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let table = store.create_table("t", sequenced(1)).unwrap();
    for sequence in 0..12 {
        write(&table, &[(1, sequence, false), (2, sequence, false)]);
        store.flush("t").unwrap();
        store.compact("t", false).unwrap();
        store.pump().unwrap();
    }
    assert_eq!(in_runs(&table), (2, 2));
    check(&table, &BTreeMap::new());
    store.compact("t", true).unwrap();
    assert_eq!(in_runs(&table), (0, 0));
}

#[test]
fn such_a_delete_expires_as_rows_do() {
    let sim = Sim::new(1, Faults::default());
    let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
    let create = sequenced(1).option("record-level.time-field", "value").option("record-level.expire-time", "100s");
    let table = store.create_table("t", create).unwrap();
    let now = sim.clock().wall_ms() / 1_000;
    write(&table, &[(1, now, false), (2, now + 500, false), (3, now + 500, true)]);
    store.flush("t").unwrap();
    sim.clock().advance(Duration::from_secs(200));
    // The background merges when it has a reason to.
    while in_runs(&table) != (2, 1) {
        assert!(in_runs(&table).0 < 100, "{:?}", in_runs(&table));
        write(&table, &[(3, now + 500, true)]);
        store.flush("t").unwrap();
        store.compact("t", false).unwrap();
    }
    write(&table, &[(2, now + 400, true)]);
    check(&table, &BTreeMap::from([(3, now + 500)]));
}
