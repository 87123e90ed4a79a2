//! What a log gets of what became of rows, against a model that goes step by step.

use proptest::prelude::*;

use super::kinds::{Pair, engines};
use super::*;
use crate::merge::images::{Changes, Steps, Written, changes};
use crate::table::{Image, Keys};

type State = BTreeMap<i64, Row>;

/// What these rows make of a state, in the order in which they are written: for each step that changes something the row before and after.
fn expected(function: &dyn MergeFunction, state: &mut State, batch: &[Row]) -> Vec<(Option<Row>, Option<Row>)> {
    let mut steps: Vec<Vec<Row>> = Vec::new();
    for row in batch {
        match steps.last_mut() {
            Some(last) if last.len() == 1 && last[0].kind == ChangeType::UpdateBefore && last[0].key == row.key => last.push(row.clone()),
            _ => steps.push(vec![row.clone()]),
        }
    }
    let mut changes = Vec::new();
    for step in steps {
        let key = step[0].key;
        let before = state.get(&key).cloned();
        let old: Vec<Row> = before.iter().cloned().collect();
        let after = rows(&merge_behind(function, 1, &[&stretch(&old), &stretch(&step)], true).unwrap()).pop();
        match &after {
            Some(row) => drop(state.insert(key, row.clone())),
            None => drop(state.remove(&key)),
        }
        if before != after {
            changes.push((before, after));
        }
    }
    changes
}

/// The changes that the code makes of the same.
fn found(function: &dyn MergeFunction, image: Image, state: &State, batch: &[Row]) -> Changes {
    let (written, _) = stretch(batch);
    let kinds: Vec<u8> = batch.iter().map(|row| row.kind.to_byte()).collect();
    let keys = Keys::Numbers(batch.iter().map(|row| row.key as u64).collect());
    let written = Written { batch: &written, kinds: &kinds, keys: &keys };
    let steps = Steps::of(&written);
    // Rows before stand in a slot for each two of them, among others.
    let all: Vec<Row> = state.values().cloned().collect();
    let slots: Vec<Stretch> = all.chunks(2).map(stretch).collect();
    let slots: Vec<Slot<'_>> = slots.iter().map(|(batch, _)| Slot { columns: batch.into(), kinds: None, is_merged: true }).collect();
    let place = |key: i64| all.iter().position(|row| row.key == key).map_or(Ref::NONE, |at| Ref::new(at / 2, at % 2));
    let old: Vec<Ref> = steps.rows().map(|row| place(batch[row].key)).collect();
    changes(function, image, written, &steps, (&slots, &old)).unwrap()
}

fn as_changes(all: Vec<(Option<Row>, Option<Row>)>, image: Image) -> Vec<Row> {
    let of = |row: Option<Row>, kind| row.map(|row| Row { kind, ..row });
    let change = |(before, after): (Option<Row>, Option<Row>)| match (before.is_some(), after.is_some()) {
        (false, _) => [None, of(after, ChangeType::Insert)],
        (true, false) => [of(before, ChangeType::Delete), None],
        (true, true) => [of(before.filter(|_| image == Image::Full), ChangeType::UpdateBefore), of(after, ChangeType::UpdateAfter)],
    };
    all.into_iter().flat_map(change).flatten().collect()
}

fn check_history(pairs: &[Pair], history: &[Row], cuts: &[usize], image: Image) -> State {
    let function = engine(pairs);
    let mut state = State::new();
    let mut rest = history;
    for cut in cuts.iter().copied().chain([history.len()]) {
        let (batch, left) = rest.split_at(cut.min(rest.len()));
        rest = left;
        let changes = found(&*function, image, &state, batch);
        let kinds = changes.kinds.iter().map(|kind| ChangeType::from_byte(*kind).unwrap());
        let as_rows = rows(&(changes.batch.clone(), None)).into_iter().zip(kinds).map(|(row, kind)| Row { kind, ..row });
        assert_eq!(as_rows.collect::<Vec<_>>(), as_changes(expected(&*function, &mut state, batch), image), "{pairs:?}");
        for (row, written) in rows(&(changes.batch, None)).iter().zip(changes.rows) {
            assert_eq!(row.key, batch[written as usize].key);
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn are_what_changes_step_by_step(
        pairs in engines(),
        history in histories(ALL),
        upserts in histories(UPSERTS),
        cuts in proptest::collection::vec(0_usize..6, 0..6),
        image in proptest::sample::select(vec![Image::Full, Image::Wal]),
    ) {
        let kinds: Vec<u8> = history.iter().map(|row| row.kind.to_byte()).collect();
        if engine(&pairs).check_kinds(&kinds).is_ok() {
            check_history(&pairs, &history, &cuts, image);
        }
        let state = check_history(&pairs, &upserts, &cuts, image);
        let merged = rows(&merge(&*engine(&pairs), &[&stretch(&upserts)], true));
        prop_assert_eq!(state.into_values().collect::<Vec<_>>(), merged, "the table is the one that a merge of all rows gives");
    }

    #[test]
    fn leave_the_table_that_a_merge_of_all_rows_gives(history in histories(ALL), deleting in histories(DELETES), cuts in proptest::collection::vec(0_usize..6, 0..6)) {
        let ignore = ("ignore-delete", "true");
        let sum = [("merge-engine", "aggregation"), ("fields.default-aggregate-function", "last_value"), ("fields.number.aggregate-function", "sum")];
        let sum = [&sum[..], &[("fields.text.ignore-retract", "true"), ("fields.flag.ignore-retract", "true")]].concat();
        let removing = [SUM_GROUP, &[("partial-update.remove-record-on-delete", "true")]].concat();
        let cases: [(&[Pair], &[Row]); 5] = [
            (&[], &history),
            (&[ignore, ("sequence.field", "first")], &history),
            (&[("merge-engine", "first-row"), ignore], &history),
            (&sum, &history),
            (&removing, &deleting),
        ];
        for (pairs, history) in cases {
            let state = check_history(pairs, history, &cuts, Image::Full);
            let merged = rows(&merge(&*engine(pairs), &[&stretch(history)], true));
            prop_assert_eq!(state.into_values().collect::<Vec<_>>(), merged, "{:?}", pairs);
        }
    }
}

#[test]
fn a_key_that_comes_very_often_is_merged_row_by_row() {
    let row = |key: i64, number: i64| Row {
        key,
        kind: ChangeType::UpdateAfter,
        number: Some(number),
        text: None,
        flag: None,
        first: None,
        second: None,
    };
    let history: Vec<Row> = (0..3000).map(|number| row(i64::from(number % 7 == 0), number)).collect();
    let sum = [("merge-engine", "aggregation"), ("fields.number.aggregate-function", "sum")];
    let state = check_history(&sum, &history, &[1500], Image::Full);
    assert_eq!(state.values().map(|row| row.number.unwrap()).sum::<i64>(), 3000 * 2999 / 2);
}
