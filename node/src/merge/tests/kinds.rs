//! What `check_kinds` lets through never makes a merge fail, and what it refuses a merge refuses in the same words.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::merge::function::{RESTART, RETRACTED};

pub(super) type Pair = (&'static str, &'static str);

pub(super) const IGNORE_DELETE: Pair = ("ignore-delete", "true");

pub(super) fn maybe(options: &[Pair]) -> impl Strategy<Value = Option<Pair>> + use<> {
    proptest::option::of(proptest::sample::select(options.to_vec()))
}

fn partial_update() -> impl Strategy<Value = Vec<Pair>> {
    let group = proptest::sample::select(vec![&SUM_GROUP[..1], SUM_GROUP]);
    let default = maybe(&[("fields.default-aggregate-function", "last_value"), ("fields.default-aggregate-function", "max")]);
    let deletes = maybe(&[IGNORE_DELETE, ("partial-update.remove-record-on-delete", "true")]);
    (group, default, deletes).prop_map(|(group, default, deletes)| group.iter().copied().chain(default).chain(deletes).collect())
}

fn aggregation() -> impl Strategy<Value = Vec<Pair>> {
    let functions: Vec<Pair> = FUNCTIONS.iter().map(|function| ("fields.number.aggregate-function", *function)).collect();
    let text = ("fields.text.aggregate-function", "listagg");
    let plain = (proptest::sample::select(functions), maybe(&[("fields.text.ignore-retract", "true")]));
    let plain = plain.prop_map(move |(number, ignore): (Pair, _)| [number, text].into_iter().chain(ignore).collect::<Vec<Pair>>());
    let sequence = maybe(&[("fields.number.aggregate-function", "sum"), ("fields.number.aggregate-function", "min")]);
    let by_sequence = [("sequence.field", "first"), ("fields.default-aggregate-function", "last_value")];
    let by_sequence = sequence.prop_map(move |number| by_sequence.into_iter().chain(number).collect::<Vec<Pair>>());
    let deletes = maybe(&[IGNORE_DELETE, ("aggregation.remove-record-on-delete", "true")]);
    let all = (prop_oneof![3 => plain, 1 => by_sequence], deletes, maybe(&[("fields.number.ignore-retract", "true")]));
    all.prop_map(|(pairs, deletes, ignore)| {
        // What goes by a sequence cannot pass over retractions.
        let goes_by_sequence = pairs[0].0 == "sequence.field" && pairs.iter().all(|pair| !pair.0.starts_with("fields.number"));
        let ignore = ignore.filter(|_| !goes_by_sequence);
        [("merge-engine", "aggregation")].into_iter().chain(pairs).chain(deletes).chain(ignore).collect()
    })
}

/// Options of any engine, with what allows deletes and retractions or without.
pub(super) fn engines() -> impl Strategy<Value = Vec<Pair>> {
    let deduplicate = (maybe(&[IGNORE_DELETE]), maybe(&[("sequence.field", "first")]));
    let deduplicate = deduplicate.prop_map(|(ignore, sequence)| ignore.into_iter().chain(sequence).collect());
    let first_row = maybe(&[IGNORE_DELETE]).prop_map(|ignore| [("merge-engine", "first-row")].into_iter().chain(ignore).collect());
    prop_oneof![1 => deduplicate, 1 => first_row, 2 => partial_update(), 4 => aggregation()]
}

fn said(error: &Error) -> (String, Option<String>, Vec<(&'static str, String)>) {
    let context = error.context().map(|(name, value)| (name, value.to_string())).collect();
    (error.message().to_string(), error.advice().map(str::to_string), context)
}

/// Rows of one stretch, each a key of its own.
fn merge_apart(function: &dyn MergeFunction, stretch: &Stretch) -> Result<()> {
    let slots = [Slot { columns: (&stretch.0).into(), kinds: stretch.1.as_deref(), is_merged: false }];
    let order: Vec<Ref> = (0..stretch.0.num_rows()).map(|row| Ref::new(0, row)).collect();
    let ends: Vec<u32> = (1..=order.len() as u32).collect();
    function.merge(Groups { slots: &slots, order: &order, ends: &ends }).map(drop)
}

/// Merges in whole and at every cut, also what was merged before.
fn assert_merges(function: &dyn MergeFunction, rows: usize, stretch: impl Fn(Range<usize>) -> Stretch) {
    merge(function, &[&stretch(0..rows)], true);
    for cut in 1..rows {
        let (old, new) = (stretch(0..cut), stretch(cut..rows));
        let (merged_old, merged_new) = (merge(function, &[&old], false), merge(function, &[&new], false));
        for parts in [[&merged_old, &merged_new], [&merged_old, &new], [&old, &merged_new]] {
            let again = merge(function, &parts, false);
            merge(function, &[&again], true);
        }
    }
}

/// What passes is merged, and what is refused is refused in the words of a merge.
pub(super) fn assert_agrees(
    pairs: &[(&str, &str)],
    function: &dyn MergeFunction,
    kinds: &[ChangeType],
    stretch: impl Fn(Range<usize>) -> Stretch,
) {
    let kinds: Vec<u8> = kinds.iter().map(|kind| kind.to_byte()).collect();
    let refused = function.check_kinds(&kinds).err();
    if refused.is_none() {
        assert_merges(function, kinds.len(), &stretch);
    }
    let apart = merge_apart(function, &stretch(0..kinds.len())).err();
    assert_eq!(apart.as_ref().map(said), refused.as_ref().map(said), "{pairs:?}");
    if let Some(error) = refused {
        assert_eq!(error.kind(), Kind::Invalid);
        let engine = pairs.iter().find(|(name, _)| *name == "merge-engine").expect("it is not the default").1;
        assert!(error.message().contains(engine), "{error}");
    }
    // What passes alone passes together.
    let alone: Vec<u8> = kinds.into_iter().filter(|kind| function.check_kinds(&[*kind]).is_ok()).collect();
    assert!(function.check_kinds(&alone).is_ok(), "{pairs:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn kinds_that_pass_are_merged(pairs in engines(), history in histories(&ChangeType::ALL)) {
        let kinds: Vec<ChangeType> = history.iter().map(|row| row.kind).collect();
        assert_agrees(&pairs, &*engine(&pairs), &kinds, |rows| stretch(&history[rows]));
    }
}

#[test]
fn what_allows_a_delete_is_said() {
    let aggregation = [("merge-engine", "aggregation"), ("fields.number.aggregate-function", "max")];
    let removing = [&aggregation[..], &[("aggregation.remove-record-on-delete", "true")]].concat();
    let allowed = [&removing[..], &[("fields.number.ignore-retract", "true")]].concat();
    let (before, delete) = (ChangeType::UpdateBefore.to_byte(), ChangeType::Delete.to_byte());
    let cases: &[(&[Pair], u8, &str)] = &[
        (&[("merge-engine", "first-row")], delete, "ignore-delete"),
        (&[("merge-engine", "partial-update")], before, "partial-update.remove-record-on-delete"),
        (&aggregation, delete, "fields.number.ignore-retract"),
        (&removing, before, "fields.number.ignore-retract"),
    ];
    for (pairs, kind, option) in cases {
        let error = engine(pairs).check_kinds(&[0, *kind]).expect_err("refused");
        assert!(error.advice().unwrap_or_default().contains(option), "{error}");
        assert_eq!(error.context().next(), Some(("row", "1")));
    }
    assert!(engine(&removing).check_kinds(&[delete]).is_ok());
    assert!(engine(&allowed).check_kinds(&[delete, before]).is_ok());
}

#[test]
fn kinds_of_run_files_are_refused() {
    for name in super::super::engine::ENGINES {
        for kind in [5, RESTART, RETRACTED] {
            let error = engine(&[("merge-engine", name), ("ignore-delete", "true")]).check_kinds(&[1, kind]).expect_err(name);
            assert_eq!(error.kind(), Kind::Invalid);
        }
    }
}
