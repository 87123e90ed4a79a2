//! Functions of lists, maps and bitmaps against a model that goes row by row.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::array::{BinaryArray, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use proptest::collection::{btree_set, vec};
use proptest::option;
use roaring::{RoaringBitmap, RoaringTreemap};

use super::kinds::{IGNORE_DELETE, assert_agrees, maybe};
use super::*;
use crate::merge::roaring64;

/// A struct of `id` and `value`.
type Part = (Option<i64>, Option<i64>);

/// A change of one key.
#[derive(Clone, Debug)]
struct Change {
    key: i64,
    kind: ChangeType,
    items: Option<Vec<Option<i64>>>,
    entries: Option<Vec<(i64, Option<i64>)>>,
    parts: Option<Vec<Option<Part>>>,
    narrow: Option<BTreeSet<u32>>,
    wide: Option<BTreeSet<u64>>,
}

fn table() -> TableSchema {
    let nullable = |name: &str, kind| Field::new(name, kind, true);
    let part = ColumnType::Struct(vec![nullable("id", ColumnType::Int64), nullable("value", ColumnType::Int64)]);
    TableSchema::new(vec![
        Field::new("key", ColumnType::Int64, false),
        nullable("items", ColumnType::list(ColumnType::Int64, true)),
        nullable("entries", ColumnType::map(ColumnType::Int64, ColumnType::Int64, true)),
        nullable("parts", ColumnType::list(part, true)),
        nullable("narrow", ColumnType::Binary),
        nullable("wide", ColumnType::Binary),
    ])
    .unwrap()
}

fn function(pairs: &[(&str, &str)]) -> Arc<dyn MergeFunction> {
    merge_function(&options(pairs), &table(), &[1]).unwrap()
}

fn offsets<T>(lists: &[Option<Vec<T>>]) -> (OffsetBuffer<i32>, NullBuffer) {
    let lengths = lists.iter().map(|list| list.as_ref().map_or(0, Vec::len));
    (OffsetBuffer::from_lengths(lengths), lists.iter().map(Option::is_some).collect::<Vec<bool>>().into())
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn items(changes: &[Change]) -> ArrayRef {
    let lists: Vec<_> = changes.iter().map(|change| change.items.clone()).collect();
    let (offsets, nulls) = offsets(&lists);
    let DataType::List(field) = table().arrow().field(1).data_type().clone() else { unreachable!() };
    Arc::new(ListArray::new(field, offsets, numbers(lists.into_iter().flatten().flatten()), Some(nulls)))
}

fn entries(changes: &[Change]) -> ArrayRef {
    let maps: Vec<_> = changes.iter().map(|change| change.entries.clone()).collect();
    let (offsets, nulls) = offsets(&maps);
    let DataType::Map(field, _) = table().arrow().field(2).data_type().clone() else { unreachable!() };
    let DataType::Struct(fields) = field.data_type().clone() else { unreachable!() };
    let all: Vec<_> = maps.into_iter().flatten().flatten().collect();
    let columns = vec![numbers(all.iter().map(|entry| Some(entry.0))), numbers(all.iter().map(|entry| entry.1))];
    Arc::new(MapArray::new(field, offsets, StructArray::new(fields, columns, None), Some(nulls), false))
}

fn parts(changes: &[Change]) -> ArrayRef {
    let lists: Vec<_> = changes.iter().map(|change| change.parts.clone()).collect();
    let (offsets, nulls) = offsets(&lists);
    let DataType::List(field) = table().arrow().field(3).data_type().clone() else { unreachable!() };
    let DataType::Struct(fields) = field.data_type().clone() else { unreachable!() };
    let all: Vec<_> = lists.into_iter().flatten().flatten().collect();
    let column = |of: fn(Part) -> Option<i64>| numbers(all.iter().map(|part| part.and_then(of)));
    let valid: NullBuffer = all.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let values = StructArray::new(fields, vec![column(|part| part.0), column(|part| part.1)], Some(valid));
    Arc::new(ListArray::new(field, offsets, Arc::new(values), Some(nulls)))
}

fn narrow_bytes(numbers: &BTreeSet<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut bitmap: RoaringBitmap = numbers.iter().collect();
    bitmap.optimize();
    bitmap.serialize_into(&mut bytes).unwrap();
    bytes
}

fn wide_bytes(numbers: &BTreeSet<u64>) -> Vec<u8> {
    roaring64::encode(&mut numbers.iter().collect::<RoaringTreemap>())
}

fn stretch_of(changes: &[Change]) -> Stretch {
    let narrow = changes.iter().map(|change| change.narrow.as_ref().map(narrow_bytes));
    let wide = changes.iter().map(|change| change.wide.as_ref().map(wide_bytes));
    let columns: Vec<ArrayRef> = vec![
        numbers(changes.iter().map(|change| Some(change.key))),
        items(changes),
        entries(changes),
        parts(changes),
        Arc::new(narrow.collect::<BinaryArray>()),
        Arc::new(wide.collect::<BinaryArray>()),
    ];
    let kinds = changes.iter().any(|change| change.kind != ChangeType::Insert);
    let kinds = kinds.then(|| changes.iter().map(|change| change.kind.to_byte()).collect());
    (RecordBatch::try_new(table().arrow().clone(), columns).unwrap(), kinds)
}

/// Some changes as a slice of all, whose lists begin within their arrays.
fn part_of(changes: &[Change], rows: Range<usize>) -> Stretch {
    let (batch, kinds) = stretch_of(changes);
    (batch.slice(rows.start, rows.len()), kinds.map(|kinds| kinds[rows].to_vec()))
}

/// Adds to what is there, or takes from it, element by element: `same` tells whether two are one.
fn apply<T: Clone>(
    so_far: &mut Option<Vec<T>>,
    change: Option<&[T]>,
    is_back: bool,
    add: impl Fn(&mut Vec<T>, T),
    remove: impl Fn(&mut Vec<T>, &T),
) {
    let Some(change) = change else { return };
    if is_back {
        let Some(list) = so_far else { return };
        change.iter().for_each(|element| remove(list, element));
    } else {
        let list = so_far.get_or_insert_default();
        change.iter().for_each(|element| add(list, element.clone()));
    }
}

/// Puts in the place of what is the same, or behind all.
fn put<T>(list: &mut Vec<T>, element: T, same: impl Fn(&T) -> bool) {
    match list.iter().position(same) {
        Some(place) => list[place] = element,
        None => list.push(element),
    }
}

/// The options of a test, and the model by the same names.
#[derive(Clone, Copy, Debug)]
struct Settings {
    distinct: bool,
    nested_key: &'static str,
    ignore: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let key = proptest::sample::select(vec!["", "id", "id, value"]);
    (any::<bool>(), key, any::<bool>()).prop_map(|(distinct, nested_key, ignore)| Settings { distinct, nested_key, ignore })
}

impl Settings {
    fn pairs(&self, ignore_bitmaps: bool) -> Vec<(&'static str, &'static str)> {
        let mut pairs = vec![
            ("merge-engine", "aggregation"),
            ("fields.items.aggregate-function", "collect"),
            ("fields.items.distinct", if self.distinct { "true" } else { "false" }),
            ("fields.entries.aggregate-function", "merge_map"),
            ("fields.parts.aggregate-function", "nested_update"),
            ("fields.parts.nested-key", self.nested_key),
            ("fields.narrow.aggregate-function", "rbm32"),
            ("fields.wide.aggregate-function", "rbm64"),
        ];
        let all = ["fields.items.ignore-retract", "fields.entries.ignore-retract", "fields.parts.ignore-retract"];
        pairs.extend(all.iter().filter(|_| self.ignore).map(|name| (*name, "true")));
        let bitmaps = ["fields.narrow.ignore-retract", "fields.wide.ignore-retract"];
        pairs.extend(bitmaps.iter().filter(|_| ignore_bitmaps).map(|name| (*name, "true")));
        pairs
    }

    fn model(&self, history: &[Change]) -> Vec<Change> {
        let mut rows: BTreeMap<i64, Change> = BTreeMap::new();
        for change in history {
            let empty =
                Change { key: change.key, kind: ChangeType::Insert, items: None, entries: None, parts: None, narrow: None, wide: None };
            self.change(rows.entry(change.key).or_insert(empty), change);
        }
        rows.into_values().collect()
    }

    fn change(&self, row: &mut Change, change: &Change) {
        let is_back = matches!(change.kind, ChangeType::Delete | ChangeType::UpdateBefore);
        if !is_back {
            let union = |so_far: &mut Option<BTreeSet<u32>>| so_far.get_or_insert_default().extend(change.narrow.iter().flatten());
            change.narrow.is_some().then(|| union(&mut row.narrow));
            let union = |so_far: &mut Option<BTreeSet<u64>>| so_far.get_or_insert_default().extend(change.wide.iter().flatten());
            change.wide.is_some().then(|| union(&mut row.wide));
        } else if self.ignore {
            return;
        }
        let add_item = |list: &mut Vec<_>, item| {
            if !self.distinct || !list.contains(&item) {
                list.push(item);
            }
        };
        let remove_item = |list: &mut Vec<_>, item: &_| {
            list.iter().position(|other| other == item).map(|place| list.remove(place));
        };
        apply(&mut row.items, change.items.as_deref(), is_back, add_item, remove_item);
        let add_entry = |map: &mut Vec<(i64, Option<i64>)>, entry: (i64, Option<i64>)| put(map, entry, |other| other.0 == entry.0);
        let remove_entry = |map: &mut Vec<(i64, Option<i64>)>, entry: &(i64, Option<i64>)| map.retain(|other| other.0 != entry.0);
        apply(&mut row.entries, change.entries.as_deref(), is_back, add_entry, remove_entry);
        let said: Option<Vec<Part>> = change.parts.as_ref().map(|parts| parts.iter().flatten().copied().collect());
        let mut left = row.parts.take().map(|parts| parts.into_iter().flatten().collect());
        let same = |one: &Part, other: &Part| one.0 == other.0 && (self.nested_key == "id" || one.1 == other.1);
        let add_part = |list: &mut Vec<Part>, part: Part| match self.nested_key {
            "" => list.push(part),
            _ => put(list, part, |other| same(other, &part)),
        };
        apply(&mut left, said.as_deref(), is_back, add_part, |list, part| list.retain(|other| !same(other, part)));
        row.parts = left.map(|parts| parts.into_iter().map(Some).collect());
    }
}

fn changes(kinds: &'static [ChangeType]) -> impl Strategy<Value = Vec<Change>> {
    let small = || option::of(0_i64..3);
    let part = option::weighted(0.9, (small(), small()));
    let narrow = prop_oneof![btree_set(0_u32..6, 0..4), btree_set(0_u32..1 << 18, 0..4)];
    let wide = prop_oneof![btree_set(0_u64..6, 0..4), btree_set(any::<u64>(), 0..4)];
    let change = (
        0_i64..3,
        proptest::sample::select(kinds),
        option::weighted(0.8, vec(small(), 0..4)),
        option::weighted(0.8, vec((0_i64..4, small()), 0..4)),
        option::weighted(0.8, vec(part, 0..4)),
        option::weighted(0.8, narrow),
        option::weighted(0.8, wide),
    );
    let change =
        change.prop_map(|(key, kind, items, entries, parts, narrow, wide)| Change { key, kind, items, entries, parts, narrow, wide });
    vec(change, 1..10)
}

/// Merged in whole as the model says, and at every cut first in parts.
fn check_changes(pairs: &[(&str, &str)], history: &[Change], expected: &[Change], has_law: bool) {
    let function = function(pairs);
    let visible = merge(&*function, &[&stretch_of(history)], true);
    assert_eq!(visible.0, stretch_of(expected).0, "{pairs:?}");
    for cut in 1..if has_law { history.len() } else { 0 } {
        let (old, new) = (part_of(history, 0..cut), part_of(history, cut..history.len()));
        let (merged_old, merged_new) = (merge(&*function, &[&old], false), merge(&*function, &[&new], false));
        for parts in [[&merged_old, &merged_new], [&merged_old, &new], [&old, &merged_new]] {
            assert_eq!(merge(&*function, &parts, true), visible, "{pairs:?} cut at {cut}");
            let again = merge(&*function, &parts, false);
            assert_eq!(merge(&*function, &[&again], true), visible, "{pairs:?} cut at {cut}, twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn lists_maps_and_bitmaps(settings in settings(), upserts in changes(UPSERTS), all in changes(ALL)) {
        check_changes(&settings.pairs(false), &upserts, &settings.model(&upserts), true);
        // What was taken back can be lost where it does not stand in the same merge.
        check_changes(&settings.pairs(true), &all, &settings.model(&all), settings.ignore);
    }

    #[test]
    fn merged_rows_that_are_alone_stay_as_they_are(settings in settings(), rows in changes(UPSERTS), ignores: bool) {
        let mut rows = rows;
        rows.iter_mut().zip(0..).for_each(|(row, key)| row.key = key);
        let pairs: Vec<_> = settings.pairs(true).into_iter().chain(ignores.then_some(IGNORE_DELETE)).collect();
        done::check_done(&pairs, &*function(&pairs), &stretch_of(&rows).0);
    }

    #[test]
    fn kinds_that_pass_are_merged(
        settings in settings(),
        ignore_bitmaps: bool,
        deletes in maybe(&[IGNORE_DELETE, ("aggregation.remove-record-on-delete", "true")]),
        all in changes(&ChangeType::ALL),
    ) {
        let pairs: Vec<_> = settings.pairs(ignore_bitmaps).into_iter().chain(deletes).collect();
        let kinds: Vec<ChangeType> = all.iter().map(|change| change.kind).collect();
        assert_agrees(&pairs, &*function(&pairs), &kinds, |rows| stretch_of(&all[rows]));
    }

    #[test]
    fn collect_and_bitmaps_in_a_sequence_group(upserts in changes(UPSERTS)) {
        let schema = TableSchema::new(std::vec![
            Field::new("key", ColumnType::Int64, false),
            Field::new("version", ColumnType::Int64, true),
            Field::new("items", ColumnType::list(ColumnType::Int64, true), true),
            Field::new("wide", ColumnType::Binary, true),
        ]).unwrap();
        let pairs = options(&[
            ("merge-engine", "partial-update"),
            ("fields.version.sequence-group", "items,wide"),
            ("fields.items.aggregate-function", "collect"),
            ("fields.wide.aggregate-function", "rbm64"),
        ]);
        let function = merge_function(&pairs, &schema, &[1]).unwrap();
        let stretch = |changes: &[Change]| -> Stretch {
            let (batch, _) = stretch_of(changes);
            let version = numbers(changes.iter().map(|change| change.entries.as_ref()?.first()?.1));
            let columns = std::vec![batch.column(0).clone(), version, batch.column(1).clone(), batch.column(5).clone()];
            let columns: Vec<ArrayRef> = columns
                .into_iter()
                .zip(schema.arrow().fields())
                .map(|(column, field)| arrow::array::make_array(column.to_data().into_builder().data_type(field.data_type().clone()).build().unwrap()))
                .collect();
            (RecordBatch::try_new(schema.arrow().clone(), columns).unwrap(), None)
        };
        let visible = merge(&*function, &[&stretch(&upserts)], true);
        for cut in 1..upserts.len() {
            let (old, new) = (stretch(&upserts[..cut]), stretch(&upserts[cut..]));
            let parts = [&merge(&*function, &[&old], false), &merge(&*function, &[&new], false)];
            prop_assert_eq!(&merge(&*function, &parts, true), &visible);
        }
    }

    #[test]
    fn damaged_bitmaps_are_refused_before_a_merge(change in changes(UPSERTS), is_wide: bool, at: u16, byte: u8, cut: u16) {
        let sound = stretch_of(&change).0;
        let column = if is_wide { 5 } else { 4 };
        let values = sound.column(column).as_binary::<i32>();
        let damaged = values.iter().enumerate().map(|(row, value)| {
            let mut value = value?.to_vec();
            if row == 0 && !value.is_empty() {
                let at = usize::from(at) % value.len();
                value[at] = byte;
                value.truncate(value.len().saturating_sub(usize::from(cut) % 3));
            }
            Some(value)
        });
        let mut columns = sound.columns().to_vec();
        columns[column] = Arc::new(damaged.collect::<BinaryArray>());
        let damaged = RecordBatch::try_new(sound.schema(), columns).unwrap();
        let function = function(&Settings { distinct: false, nested_key: "", ignore: false }.pairs(false));
        match function.check_rows(&damaged) {
            Ok(()) => drop(merge(&*function, &[&(damaged, None), &(sound, None)], true)),
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Invalid);
                prop_assert_eq!(error.context().next(), Some(("row", "0")));
                let merged = try_merge(&*function, &[&(damaged, None), &(sound, None)], true).expect_err("a merge refuses it too");
                prop_assert_eq!((merged.kind(), merged.message()), (error.kind(), error.message()));
            }
        }
    }
}

#[test]
fn options_of_nested_columns_are_checked() {
    let aggregation = ("merge-engine", "aggregation");
    let nested = ("fields.parts.aggregate-function", "nested_update");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[aggregation, nested, ("fields.parts.nested-key", "idd")], "did you mean `id`?"),
        (&[aggregation, nested, ("fields.parts.nested-key", "id,id")], "named twice"),
        (&[aggregation, nested, ("fields.parts.nested-kay", "id")], "did you mean `fields.parts.nested-key`?"),
        (&[aggregation, ("fields.items.aggregate-function", "nested_update")], "no `nested_update` of list"),
        (&[aggregation, ("fields.parts.aggregate-function", "merge_map")], "no `merge_map` of list"),
        (&[aggregation, ("fields.items.aggregate-function", "rbm32")], "no `rbm32` of list"),
        (&[aggregation, ("fields.narrow.aggregate-function", "collect")], "no `collect` of binary"),
    ];
    for (pairs, said) in cases {
        let error = merge_function(&options(pairs), &table(), &[1]).err().unwrap_or_else(|| panic!("{pairs:?}"));
        assert_eq!(error.kind(), Kind::Invalid, "{pairs:?}");
        let text = format!("{} {}", error.message(), error.advice().unwrap_or_default());
        assert!(text.contains(said), "{pairs:?}: {text}");
    }
}
