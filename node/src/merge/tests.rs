//! Every engine against a model that goes row by row, and the law that merging stretches first changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::{Groups, MergeFunction, Ref, Slot, merge_function};
use crate::error::{Kind, Result};
use crate::table::{ChangeType, ColumnType, Field, TableSchema};

mod done;
mod images;
mod kinds;
mod model;
mod nested;
mod over;
mod page;

/// A change of one key.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: i64,
    kind: ChangeType,
    number: Option<i64>,
    text: Option<String>,
    flag: Option<bool>,
    first: Option<i64>,
    second: Option<i64>,
}

type Stretch = (RecordBatch, Option<Vec<u8>>);

fn schema() -> TableSchema {
    let nullable = |name: &str, kind| Field::new(name, kind, true);
    TableSchema::new(vec![
        Field::new("key", ColumnType::Int64, false),
        nullable("number", ColumnType::Int64),
        nullable("text", ColumnType::Utf8),
        nullable("flag", ColumnType::Boolean),
        nullable("first", ColumnType::Int64),
        nullable("second", ColumnType::Int64),
    ])
    .unwrap()
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn engine(pairs: &[(&str, &str)]) -> Arc<dyn MergeFunction> {
    merge_function(&options(pairs), &schema(), &[1]).unwrap()
}

fn stretch(rows: &[Row]) -> Stretch {
    let numbers = |value: fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(rows.iter().map(value).collect::<Int64Array>()) };
    let columns: Vec<ArrayRef> = vec![
        numbers(|row| Some(row.key)),
        numbers(|row| row.number),
        Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
        numbers(|row| row.first),
        numbers(|row| row.second),
    ];
    let batch = RecordBatch::try_new(schema().arrow().clone(), columns).unwrap();
    let kinds = rows.iter().any(|row| row.kind != ChangeType::Insert).then(|| rows.iter().map(|row| row.kind.to_byte()).collect());
    (batch, kinds)
}

fn merge(function: &dyn MergeFunction, stretches: &[&Stretch], drop_deletes: bool) -> Stretch {
    try_merge(function, stretches, drop_deletes).unwrap()
}

fn try_merge(function: &dyn MergeFunction, stretches: &[&Stretch], drop_deletes: bool) -> Result<Stretch> {
    merge_behind(function, 0, stretches, drop_deletes)
}

/// As `try_merge`, where so many stretches are results of merging.
fn merge_behind(function: &dyn MergeFunction, merged: usize, stretches: &[&Stretch], drop_deletes: bool) -> Result<Stretch> {
    let mut keys: BTreeMap<i64, Vec<Ref>> = BTreeMap::new();
    for (slot, (batch, _)) in stretches.iter().enumerate() {
        let numbers = batch.column(0).as_primitive::<Int64Type>().values();
        numbers.iter().enumerate().for_each(|(row, key)| keys.entry(*key).or_default().push(Ref::new(slot, row)));
    }
    let slots = stretches.iter().enumerate();
    let slots: Vec<Slot<'_>> =
        slots.map(|(number, (batch, kinds))| Slot { columns: batch.into(), kinds: kinds.as_deref(), is_merged: number < merged }).collect();
    let order: Vec<Ref> = keys.values().flatten().copied().collect();
    let ends: Vec<u32> = keys
        .values()
        .scan(0, |end, rows| {
            *end += rows.len() as u32;
            Some(*end)
        })
        .collect();
    function.merge(Groups { slots: &slots, order: &order, ends: &ends })?.batch(&slots, drop_deletes)
}

fn rows((batch, _): &Stretch) -> Vec<Row> {
    let number = |column: usize, row: usize| {
        let array = batch.column(column).as_primitive::<Int64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    let (texts, flags) = (batch.column(2).as_string::<i32>(), batch.column(3).as_boolean());
    (0..batch.num_rows())
        .map(|row| Row {
            key: number(0, row).unwrap(),
            kind: ChangeType::Insert,
            number: number(1, row),
            text: texts.is_valid(row).then(|| texts.value(row).to_string()),
            flag: flags.is_valid(row).then(|| flags.value(row)),
            first: number(4, row),
            second: number(5, row),
        })
        .collect()
}

/// Merged in whole, and at every cut first in parts.
fn check(pairs: &[(&str, &str)], history: &[Row], expected: &[Row], has_law: bool) {
    let function = engine(pairs);
    let whole = stretch(history);
    let visible = merge(&*function, &[&whole], true);
    assert_eq!(rows(&visible), expected, "{pairs:?}");
    over::check_over(&*function, &[&whole], &visible);
    for cut in 1..if has_law { history.len() } else { 0 } {
        let (old, new) = (stretch(&history[..cut]), stretch(&history[cut..]));
        let (merged_old, merged_new) = (merge(&*function, &[&old], false), merge(&*function, &[&new], false));
        for parts in [[&merged_old, &merged_new], [&merged_old, &new], [&old, &merged_new]] {
            assert_eq!(merge(&*function, &parts, true), visible, "{pairs:?} cut at {cut}");
            let again = merge(&*function, &parts, false);
            assert_eq!(merge(&*function, &[&again], true), visible, "{pairs:?} cut at {cut}, twice");
        }
        if cut == history.len() / 2 {
            over::check_over(&*function, &[&merged_old, &new], &visible);
        }
    }
}

fn histories(kinds: &'static [ChangeType]) -> impl Strategy<Value = Vec<Row>> {
    let small = || proptest::option::of(0_i64..4);
    let row = (0_i64..3, proptest::sample::select(kinds), small(), proptest::option::of("[ab]"), any::<Option<bool>>(), small(), small());
    let row = row.prop_map(|(key, kind, number, text, flag, first, second)| Row { key, kind, number, text, flag, first, second });
    proptest::collection::vec(row, 1..14)
}

const UPSERTS: &[ChangeType] = &[ChangeType::Insert];
const DELETES: &[ChangeType] = &[ChangeType::Insert, ChangeType::Insert, ChangeType::Insert, ChangeType::Delete];
const ALL: &[ChangeType] = &[ChangeType::Insert, ChangeType::UpdateAfter, ChangeType::UpdateBefore, ChangeType::Delete];

const SUM_GROUP: &[(&str, &str)] =
    &[("merge-engine", "partial-update"), ("fields.first.sequence-group", "text,second"), ("fields.second.aggregate-function", "sum")];

const FUNCTIONS: &[&str] =
    &["sum", "product", "count", "max", "min", "last_value", "last_non_null_value", "first_value", "first_non_null_value"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deduplicate(history in histories(ALL), columns in 0_usize..3, ignore: bool) {
        let pairs = [("sequence.field", ["", "first", "first,second"][columns]), ("ignore-delete", if ignore { "true" } else { "false" })];
        check(&pairs, &history, &model::deduplicate(&history, columns, ignore), true);
    }

    #[test]
    fn first_row(history in histories(ALL)) {
        check(&[("merge-engine", "first-row"), ("ignore-delete", "true")], &history, &model::first_row(&history), true);
    }

    #[test]
    fn partial_update(history in histories(UPSERTS), deleting in histories(DELETES), has_group: bool, remove: bool) {
        let pairs = if has_group { SUM_GROUP } else { &SUM_GROUP[..1] };
        check(pairs, &history, &model::partial_update(&history, has_group, false), true);
        let option = if remove { "partial-update.remove-record-on-delete" } else { "ignore-delete" };
        check(&[pairs, &[(option, "true")]].concat(), &deleting, &model::partial_update(&deleting, has_group, remove), true);
    }

    #[test]
    fn aggregation(upserts in histories(UPSERTS), all in histories(ALL), function in proptest::sample::select(FUNCTIONS)) {
        let mut pairs = vec![
            ("merge-engine", "aggregation"),
            ("fields.number.aggregate-function", function),
            ("fields.text.aggregate-function", "listagg"),
            ("fields.text.distinct", "true"),
            ("fields.text.ignore-retract", "true"),
            ("fields.flag.aggregate-function", "bool_and"),
            ("fields.flag.ignore-retract", "true"),
            ("fields.first.aggregate-function", "first_value"),
            ("fields.first.ignore-retract", "true"),
            ("fields.second.aggregate-function", "last_value"),
            ("fields.second.ignore-retract", "true"),
        ];
        check(&pairs, &upserts, &model::aggregation(&upserts, function, false), true);
        if matches!(function, "sum" | "count" | "product" | "last_value" | "last_non_null_value") {
            // What was taken back can be lost where the value does not say it.
            let has_law = !matches!(function, "product" | "last_non_null_value");
            check(&pairs, &all, &model::aggregation(&all, function, false), has_law);
        }
        pairs.push(("fields.number.ignore-retract", "true"));
        check(&pairs, &all, &model::aggregation(&all, function, true), true);
    }

    #[test]
    fn aggregation_with_removal(history in histories(DELETES)) {
        let pairs = [
            ("merge-engine", "aggregation"),
            ("aggregation.remove-record-on-delete", "true"),
            ("fields.first.aggregate-function", "first_value"),
            ("fields.second.aggregate-function", "sum"),
        ];
        check(&pairs, &history, &model::aggregation_with_removal(&history), true);
    }

    #[test]
    fn aggregation_by_sequence(history in histories(ALL)) {
        let pairs = [
            ("merge-engine", "aggregation"),
            ("sequence.field", "first"),
            ("fields.default-aggregate-function", "last_value"),
            ("fields.number.aggregate-function", "sum"),
        ];
        check(&pairs, &history, &model::aggregation_by_sequence(&history), true);
    }
}

#[test]
fn listagg_joins_with_the_delimiter() {
    let row = |text: Option<&str>| Row {
        key: 1,
        kind: ChangeType::Insert,
        number: None,
        text: text.map(str::to_string),
        flag: None,
        first: None,
        second: None,
    };
    let history = [row(Some("b; a")), row(None), row(Some("a")), row(Some("b"))];
    let base = [("merge-engine", "aggregation"), ("fields.text.aggregate-function", "listagg"), ("fields.text.list-agg-delimiter", "; ")];
    check(&base, &history, &[row(Some("b; a; a; b"))], true);
    check(&[&base[..], &[("fields.text.distinct", "true")]].concat(), &history, &[row(Some("b; a"))], true);
}

#[test]
fn what_an_engine_lacks_is_refused() {
    let delete = stretch(&[Row { key: 1, kind: ChangeType::Delete, number: Some(1), text: None, flag: None, first: None, second: None }]);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("merge-engine", "first-row")], "first-row"),
        (&[("merge-engine", "partial-update")], "partial-update"),
        (&[("merge-engine", "aggregation"), ("fields.number.aggregate-function", "max")], "max"),
    ];
    for (pairs, named) in cases {
        let slots = [Slot { columns: (&delete.0).into(), kinds: delete.1.as_deref(), is_merged: false }];
        let error = engine(pairs).merge(Groups { slots: &slots, order: &[Ref::new(0, 0)], ends: &[1] }).err().expect("refused");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains(named), "{error}");
    }
}

#[test]
fn options_that_make_no_engine_are_refused() {
    let aggregation = ("merge-engine", "aggregation");
    let partial = ("merge-engine", "partial-update");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("merge-engine", "agregation")], "did you mean `aggregation`?"),
        (&[("merge-engin", "deduplicate")], "did you mean `merge-engine`?"),
        (&[("sequence.field", "firts")], "did you mean `first`?"),
        (&[("sequence.field", "key")], "part of the key"),
        (&[("ignore-delete", "yes")], "not true or false"),
        (&[("fields.number.aggregate-function", "sum")], "has no option"),
        (&[aggregation, ("fields.number.aggregate-function", "summ")], "did you mean `sum`?"),
        (&[aggregation, ("fields.numbr.aggregate-function", "sum")], "did you mean `number`?"),
        (&[aggregation, ("fields.number.agregate-function", "sum")], "did you mean `fields.number.aggregate-function`?"),
        (&[aggregation, ("fields.text.aggregate-function", "sum")], "no `sum` of utf8"),
        (&[aggregation, ("fields.default-aggregate-function", "bool_or")], "no `bool_or` of int64"),
        (&[aggregation, ("sequence.field", "first")], "cannot go by a sequence"),
        (
            &[
                aggregation,
                ("sequence.field", "first"),
                ("fields.default-aggregate-function", "last_value"),
                ("fields.text.ignore-retract", "true"),
            ],
            "cannot pass over retractions beside `sequence.field`",
        ),
        (&[partial, ("sequence.field", "first")], "sequence-group"),
        (&[partial, ("sequence.field", "first")], "by which sequence each of its columns came"),
        (&[partial, ("fields.number.aggregate-function", "sum")], "needs a sequence group"),
        (&[partial, ("fields.first.sequence-group", "text"), ("fields.second.sequence-group", "text")], "two sequences"),
        (&[partial, ("fields..sequence-group", "text")], "has no sequence"),
        (&[("sequence.field", "first,")], "unknown column ``"),
        (&[("sequence.field", "\"first")], "does not end"),
        (&[aggregation, ("fields. number.aggregate-function", "sum")], "unknown column ` number`"),
        (&[partial, ("ignore-delete", "true"), ("partial-update.remove-record-on-delete", "true")], "exclude each other"),
    ];
    for (pairs, said) in cases {
        let error = merge_function(&options(pairs), &schema(), &[1]).err().unwrap_or_else(|| panic!("{pairs:?}"));
        assert_eq!(error.kind(), Kind::Invalid, "{pairs:?}");
        let text = format!("{} {}", error.message(), error.advice().unwrap_or_default());
        assert!(text.contains(said), "{pairs:?}: {text}");
    }
}
