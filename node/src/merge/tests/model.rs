//! The engines, row by row, as plainly as can be said.

use std::collections::BTreeMap;

use super::Row;
use crate::table::ChangeType;

fn is_retraction(row: &Row) -> bool {
    matches!(row.kind, ChangeType::Delete | ChangeType::UpdateBefore)
}

fn inserted(row: &Row) -> Row {
    Row { kind: ChangeType::Insert, ..row.clone() }
}

fn empty(key: i64) -> Row {
    Row { key, kind: ChangeType::Insert, number: None, text: None, flag: None, first: None, second: None }
}

fn by_key(history: &[Row]) -> BTreeMap<i64, Vec<&Row>> {
    let mut keys: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    history.iter().for_each(|row| keys.entry(row.key).or_default().push(row));
    keys
}

pub(super) fn deduplicate(history: &[Row], sequence_columns: usize, ignore: bool) -> Vec<Row> {
    let mut newest: BTreeMap<i64, &Row> = BTreeMap::new();
    let sequence = |row: &Row| [row.first, row.second][..sequence_columns].to_vec();
    for row in history.iter().filter(|row| !(ignore && is_retraction(row))) {
        let is_newer = newest.get(&row.key).is_none_or(|so_far| sequence(row) >= sequence(so_far));
        if is_newer {
            newest.insert(row.key, row);
        }
    }
    newest.into_values().filter(|row| !is_retraction(row)).map(inserted).collect()
}

pub(super) fn first_row(history: &[Row]) -> Vec<Row> {
    let mut rows: BTreeMap<i64, &Row> = BTreeMap::new();
    for row in history.iter().filter(|row| !is_retraction(row)) {
        rows.entry(row.key).or_insert(row);
    }
    rows.into_values().map(inserted).collect()
}

/// With `group`, `text` and the sum of `second` go by `first`.
pub(super) fn partial_update(history: &[Row], group: bool, remove: bool) -> Vec<Row> {
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    for row in history {
        if is_retraction(row) {
            if remove {
                rows.remove(&row.key);
            }
            continue;
        }
        let so_far = rows.entry(row.key).or_insert_with(|| empty(row.key));
        so_far.number = row.number.or(so_far.number);
        so_far.flag = row.flag.or(so_far.flag);
        if !group {
            so_far.text = row.text.clone().or(so_far.text.clone());
            so_far.first = row.first.or(so_far.first);
            so_far.second = row.second.or(so_far.second);
        } else if row.first.is_some() {
            if row.first >= so_far.first {
                so_far.first = row.first;
                so_far.text = row.text.clone();
            }
            so_far.second = total(so_far.second, row.second, false);
        }
    }
    rows.into_values().collect()
}

fn total(so_far: Option<i64>, value: Option<i64>, is_back: bool) -> Option<i64> {
    value.map_or(so_far, |value| Some(so_far.unwrap_or(0) + if is_back { -value } else { value }))
}

/// `number` by `function`, the others as the test's options say.
pub(super) fn aggregation(history: &[Row], function: &str, ignore: bool) -> Vec<Row> {
    let of_key = |(key, changes): (i64, Vec<&Row>)| {
        let said: Vec<&Row> = changes.iter().copied().filter(|row| !is_retraction(row)).collect();
        let mut texts: Vec<String> = Vec::new();
        for text in said.iter().filter_map(|row| row.text.clone()) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let flags: Vec<bool> = said.iter().filter_map(|row| row.flag).collect();
        Row {
            number: number(function, if ignore { &said } else { &changes }),
            text: (!texts.is_empty()).then(|| texts.join(",")),
            flag: (!flags.is_empty()).then(|| flags.iter().all(|flag| *flag)),
            first: said.first().and_then(|row| row.first),
            second: said.last().and_then(|row| row.second),
            ..empty(key)
        }
    };
    by_key(history).into_iter().map(of_key).collect()
}

fn number(function: &str, changes: &[&Row]) -> Option<i64> {
    let mut result = None;
    for (index, row) in changes.iter().enumerate() {
        let (value, is_back) = (row.number, is_retraction(row));
        result = match function {
            "sum" => total(result, value, is_back),
            "count" => total(result, Some(value.unwrap_or(1)), is_back),
            "product" => match (result, value, is_back) {
                (result, None, _) | (result @ Some(_), Some(0), true) => result,
                (Some(so_far), Some(value), true) => Some(so_far / value),
                (None, Some(_), true) => None,
                (so_far, Some(value), false) => Some(so_far.unwrap_or(1) * value),
            },
            "max" => result.max(value),
            "min" => result.into_iter().chain(value).min(),
            "last_value" => value.filter(|_| !is_back),
            "last_non_null_value" if value.is_some() => value.filter(|_| !is_back),
            "first_value" => {
                if index == 0 {
                    value
                } else {
                    result
                }
            }
            "first_non_null_value" => result.or(value),
            _ => result,
        };
    }
    result
}

/// `number` is the total, the others are those of the row with the largest `first`.
pub(super) fn aggregation_by_sequence(history: &[Row]) -> Vec<Row> {
    let of_key = |(key, changes): (i64, Vec<&Row>)| {
        let mut row = empty(key);
        for (index, change) in changes.into_iter().enumerate() {
            row.number = total(row.number, change.number, is_retraction(change));
            if index == 0 || change.first >= row.first {
                let said = Some(change).filter(|change| !is_retraction(change));
                row.first = change.first;
                row.text = said.and_then(|change| change.text.clone());
                row.flag = said.and_then(|change| change.flag);
                row.second = said.and_then(|change| change.second);
            }
        }
        row
    };
    by_key(history).into_iter().map(of_key).collect()
}

/// `first` is the oldest value, `second` the total, the others the newest but null; a delete begins anew.
pub(super) fn aggregation_with_removal(history: &[Row]) -> Vec<Row> {
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    for row in history {
        if is_retraction(row) {
            rows.remove(&row.key);
            continue;
        }
        let Some(so_far) = rows.get_mut(&row.key) else {
            rows.insert(row.key, inserted(row));
            continue;
        };
        so_far.number = row.number.or(so_far.number);
        so_far.text = row.text.clone().or(so_far.text.take());
        so_far.flag = row.flag.or(so_far.flag);
        so_far.second = total(so_far.second, row.second, false);
    }
    rows.into_values().collect()
}
