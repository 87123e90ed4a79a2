//! The two rows of an update: in one batch of the log whatever fits into one, so that a crash leaves both or neither.

use super::*;

const MODES: [&str; 2] = ["input", "lookup"];

fn small_batches(changelog: &str) -> (Store, Table) {
    let store = Store::open_with(Sim::new(1, Faults::default()), DIR, options()).unwrap();
    let create = CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).option("changelog-producer", changelog);
    let table = store.create_table("t", create.option("batch.bytes.max", "4KiB")).unwrap();
    (store, table)
}

fn text(key: i64, bytes: usize) -> Write {
    (key, Some((Some(key), Some("x".repeat(bytes)))))
}

/// An update of each of these rows, as one who knows what was before writes it.
fn updates(before: &[Write], after: &[Write]) -> (Vec<Write>, Vec<ChangeType>) {
    let both = before.iter().zip(after).flat_map(|(before, after)| [before.clone(), after.clone()]);
    (both.collect(), [ChangeType::UpdateBefore, ChangeType::UpdateAfter].repeat(after.len()))
}

/// What the rows of each batch of the log are.
fn batches(table: &Table) -> Vec<Vec<String>> {
    table.changes().build().unwrap().map(|found| read(&found.unwrap().batch).into_iter().map(|(.., op)| op).collect()).collect()
}

#[test]
fn no_batch_ends_between_the_rows_of_an_update() {
    for changelog in MODES {
        let (_store, table) = small_batches(changelog);
        let mut writer = table.writer().unwrap();
        for turn in 0..6 {
            let with = |bytes: usize| (0..300).map(|key| text(key, bytes + key as usize % 7)).collect::<Vec<_>>();
            let (before, after) = (with(turn), with(turn + 1));
            writer.upsert(&rows(&before)).unwrap();
            let (writes, kinds) = updates(&before, &after);
            writer.apply(&rows(&writes), &kinds).unwrap();
        }
        let found = batches(&table);
        assert!(found.len() > 30, "{changelog}: {} batches", found.len());
        let pairs = found.iter().flatten().filter(|op| *op == "-U").count();
        assert!(pairs >= 6 * 300, "{changelog}: {pairs} updates");
        for ops in found {
            assert_ne!(ops.last().unwrap(), "-U", "{changelog}");
        }
    }
}

#[test]
fn an_update_that_is_too_large_for_a_batch_is_refused_whole() {
    for changelog in MODES {
        let (_store, table) = small_batches(changelog);
        let mut writer = table.writer().unwrap();
        writer.upsert(&rows(&[text(1, 2_500)])).unwrap();
        let (mut writes, mut kinds) = updates(&[text(1, 2_500)], &[text(1, 2_501)]);
        writes.insert(0, text(2, 10));
        kinds.insert(0, ChangeType::Insert);
        let logged = batches(&table);
        let refused = writer.apply(&rows(&writes), &kinds).unwrap_err();
        assert_eq!(refused.kind(), Kind::Exhausted, "{changelog}: {refused}");
        assert!(refused.to_string().contains("an update of "), "{refused}");
        if changelog == "input" {
            assert_eq!(refused.context().find(|(name, _)| *name == "row"), Some(("row", "1")), "where it begins");
            assert_eq!(batches(&table), logged, "nothing of them is written");
        }
        assert_eq!(looked_up(&table, 1..2)[&1].1.as_ref().map(String::len), Some(2_500), "{changelog}");
        // Without a row before, it fits.
        writer.apply(&rows(&[(1, None)]), &[ChangeType::Delete]).unwrap();
        writer.upsert(&rows(&[text(1, 2_501)])).unwrap();
        assert_eq!(looked_up(&table, 1..2)[&1].1.as_ref().map(String::len), Some(2_501), "{changelog}");
    }
}
