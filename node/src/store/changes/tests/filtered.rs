//! The changes that pass a filter make of an empty table what a scan with the filter shows, and never half an update.

use super::*;
use crate::store::Start;

const FILTERS: [&str; 4] = ["number > 0", "text = 'a' or number is null", "key < 6 and not text = 'b'", "number > 100"];

/// Applies the changes of these scans, which pass a filter, to a new table: what becomes of it.
fn piped(store: &Store, name: &str, scans: Vec<crate::store::ScanBuilder>) -> BTreeMap<i64, Row> {
    let copy = store.create_table(name, CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).buckets(2)).unwrap();
    let mut writer = copy.writer().unwrap();
    let mut known: BTreeMap<i64, Row> = BTreeMap::new();
    for found in scans.into_iter().flat_map(|scan| scan.build().unwrap()) {
        let batch = found.unwrap().batch;
        let changes = read(&batch);
        for (key, row, op) in &changes {
            match op.as_str() {
                "+I" => assert!(known.insert(*key, row.clone()).is_none(), "key {key} came twice"),
                "+U" => assert!(known.insert(*key, row.clone()).is_none(), "its -U took it away"),
                _ => assert_eq!(known.remove(key).as_ref(), Some(row), "what goes of key {key} was there"),
            }
        }
        let kinds: Vec<ChangeType> = changes.iter().map(|(.., op)| op.parse().unwrap()).collect();
        writer.apply(&batch.project(&[0, 1, 2]).unwrap(), &kinds).unwrap();
    }
    let made = scanned(&copy);
    assert_eq!(made, known);
    store.drop_table(name).unwrap();
    made
}

fn filtered(table: &Table, filter: &str) -> BTreeMap<i64, Row> {
    table.scan().filter(filter).build().unwrap().flat_map(|found| read(&found.unwrap().batch)).map(|(key, row, _)| (key, row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn filtered_changes_make_the_filtered_table(
        deeds in deeds(),
        engine in proptest::sample::select(Engine::ALL.to_vec()),
        buckets in 1_u32..3,
        parts in 1_usize..5,
    ) {
        let mut world = World::new(engine, "full", buckets);
        deeds.iter().for_each(|deed| world.take(deed));
        world.flush();
        let table = world.store.table("t").unwrap();
        for filter in FILTERS {
            let changes = || table.changes().filter(filter);
            prop_assert_eq!(piped(&world.store, "copy", vec![changes()]), filtered(&table, filter), "{}", filter);
            // The parts of a bucket may end within an update; they say of its rows what the whole does.
            let in_parts = table.changes().splits(parts).unwrap();
            let of_part = |split| changes().split(split).build().unwrap().flat_map(|found| read(&found.unwrap().batch));
            let mut cut: Vec<_> = in_parts.iter().flat_map(of_part).collect();
            let mut whole: Vec<_> = changes().build().unwrap().flat_map(|found| read(&found.unwrap().batch)).collect();
            // No order holds between buckets.
            cut.sort_by_key(|(key, ..)| *key);
            whole.sort_by_key(|(key, ..)| *key);
            prop_assert_eq!(cut, whole, "{}", filter);
        }
    }
}

#[test]
fn an_update_of_which_one_row_passes_is_a_row_that_came_or_went() {
    use ChangeType::{UpdateAfter, UpdateBefore};
    for mode in ["input", "lookup"] {
        let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
        let create = CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).option("changelog-producer", mode);
        let table = store.create_table("t", create).unwrap();
        let mut writer = table.writer().unwrap();
        writer.upsert(&rows(&[number(1, 1), number(2, 9)])).unwrap();
        let update = [number(1, 1), number(1, 8), number(2, 9), number(2, 2), number(1, 8), number(1, 7)];
        writer.apply(&rows(&update), &[UpdateBefore, UpdateAfter].repeat(3)).unwrap();
        let said = |filter: &str, start: u64| -> Vec<(i64, Option<i64>, String)> {
            let changes = table.changes().filter(filter).start(Start::Offset(start)).build().unwrap();
            changes.flat_map(|found| read(&found.unwrap().batch)).map(|(key, row, op)| (key, row.0, op)).collect()
        };
        let change = |key, number, op: &str| (key, Some(number), op.to_string());
        let expected = match mode {
            "lookup" => vec![change(1, 8, "+I"), change(2, 9, "-D"), change(1, 8, "-U"), change(1, 7, "+U")],
            // As they are written, rows that go need have nothing but a key.
            _ => vec![change(1, 1, "-U"), change(1, 8, "+U"), change(2, 9, "-D"), change(1, 8, "-U"), change(1, 7, "+U")],
        };
        assert_eq!(said("number > 5", 2), expected, "{mode}");
        let within = if mode == "lookup" { change(1, 8, "+I") } else { change(1, 8, "+U") };
        assert_eq!(said("number > 5", 3)[0], within, "{mode}: begun within an update");
        assert_eq!(said("key = 2", 2), [change(2, 9, "-U"), change(2, 2, "+U")], "{mode}");
    }
}
