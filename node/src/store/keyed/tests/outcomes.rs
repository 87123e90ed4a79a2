//! Flushes and compactions that end otherwise than they should: in a panic, or in an edit of the manifest of which nobody knows whether it is true.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;

use super::*;
use crate::io::Driver;
use crate::io::sim::Call;
use crate::schedule::tests::planted::{Event, Planted};

/// Files of runs in the only bucket.
fn run_files(sim: &Arc<Sim>) -> usize {
    let mut dirs = vec![Path::new(DIR).join("tables")];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in sim.list(&dir).unwrap() {
            match entry.is_dir {
                true => dirs.push(dir.join(entry.name)),
                false => count += usize::from(entry.name.ends_with(".run")),
            }
        }
    }
    count
}

fn upsert(table: &Table, batch: &[(u8, i64)]) {
    table.writer().unwrap().upsert(&rows(batch)).unwrap();
}

/// A table with some runs, some rows in memory, and what it shows.
fn filled(store: &Store) -> (Table, BTreeMap<u8, i64>) {
    let table = store.create_table("t", create(1)).unwrap();
    for round in 0..4_u8 {
        upsert(&table, &(0..20).map(|key| (key + round, i64::from(round))).collect::<Vec<_>>());
        if round < 3 {
            store.flush("t").unwrap();
        }
    }
    let model = scanned(&table);
    (table, model)
}

#[test]
fn what_an_unknown_edit_was_about_goes_with_the_next_open_and_no_more_is_made() {
    for (is_compaction, power_cut, seed) in (0..40_u64).map(|case| (case % 2 == 0, case / 2 % 2 == 0, case)) {
        let sim = Sim::new(seed, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let (table, mut model) = filled(&store);
        let before = run_files(&sim);
        sim.fail_next(if seed % 3 == 0 { Call::Write } else { Call::Sync }, "b0/manifest", libc::EIO);
        for attempt in 0..5 {
            let ended = if is_compaction { store.compact("t", true) } else { store.flush("t") };
            let error = ended.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(run_files(&sim) <= before + 1, "attempt {attempt}: only the file that the manifest may name stays");
        }
        check(&table, &model);
        upsert(&table, &[(200, 7)]);
        model.insert(200, 7);
        check(&table, &model);
        drop((table, store));
        let sim = if power_cut { sim.reboot(seed) } else { sim.kill(seed) };
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let table = store.table("t").unwrap();
        check(&table, &model);
        upsert(&table, &[(201, 8)]);
        model.insert(201, 8);
        let runs = store.stats(Some("t")).unwrap()[0].tree.as_ref().unwrap().runs;
        assert_eq!(run_files(&sim), runs, "the first change removes what the manifest does not name");
        store.flush("t").unwrap();
        store.compact("t", true).unwrap();
        store.pump().unwrap();
        check(&table, &model);
        assert_eq!(run_files(&sim), 1);
        assert_eq!(store.verify(None, &mut |_| {}).unwrap().problems, []);
    }
}

#[test]
fn a_flush_and_a_compaction_that_panicked_leave_their_turn_to_the_next() {
    let sim = Sim::new(1, Faults::default());
    // Counts down; panics at one.
    let fuse = Arc::new(AtomicU32::new(0));
    let burning = fuse.clone();
    let hook = Arc::new(move |_: Event, path: &Path| {
        use std::sync::atomic::Ordering::SeqCst;
        let is_tree = path.extension().is_some_and(|extension| extension == "run") || path.ends_with("manifest");
        let burns = |left: u32| left.checked_sub(1);
        if is_tree && burning.fetch_update(SeqCst, SeqCst, burns) == Ok(1) {
            panic!("planted");
        }
    });
    let store = Store::open_with(Arc::new(Planted { inner: sim.clone(), hook }), DIR, options()).unwrap();
    let (table, model) = filled(&store);
    let mut panics = 0;
    for step in 1..6 {
        for does in [|store: &Store| store.flush("t"), |store: &Store| store.compact("t", true)] {
            fuse.store(step, std::sync::atomic::Ordering::SeqCst);
            panics += u32::from(catch_unwind(AssertUnwindSafe(|| does(&store))).is_err());
            fuse.store(0, std::sync::atomic::Ordering::SeqCst);
            check(&table, &model);
            does(&store).unwrap();
            check(&table, &model);
            upsert(&table, &[(0, model[&0])]);
        }
    }
    assert!(panics >= 6, "{panics}");
    store.flush("t").unwrap();
    store.compact("t", true).unwrap();
    check(&table, &model);
}
