//! Whether the tables of the dashboard hold what they must, and the items that sold best.
//!
//! Invariant: a row that is missing, wrong, there twice or too many lowers what was found below what was expected. Knows nothing of how
//! the tables are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_node::Result;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::Dashboard;
use super::happened::{COLUMNS, happened};
use super::recount::{Items, Recount, Users, fold_item, fold_user};
use super::rows::{ItemTotals, item_rows, texts, user_rows};
use crate::command::report::Report;
use crate::command::store::{ScanBuilder, Table};

/// Keys of a table that are looked up, about.
const SAMPLE: usize = 1000;

/// No item and no user has this number.
const NOBODY: i64 = 0;

/// Items that are shown.
const TOP: usize = 5;

/// Rows by their keys, as they were read.
type Keyed<R> = Vec<(i64, R)>;

/// What was looked at.
#[derive(Default)]
pub(in super::super) struct Audit {
    /// What, found, expected.
    pub(in super::super) checks: Vec<(&'static str, u64, u64)>,
    items: Keyed<ItemTotals>,
}

/// Holds the tables against the log, their changes, and themselves.
pub(in super::super) fn audit(clicks: &Table, dashboard: &Dashboard) -> Result<Audit> {
    let Dashboard { items, users } = dashboard;
    let (item_shown, user_shown) = (read(items.scan(), item_rows)?, read(users.scan(), user_rows)?);
    let (item_count, user_count) = recount(clicks)?;
    let mut checks = Vec::new();
    let mut check = |name, (found, expected): (u64, u64)| checks.push((name, found, expected));
    check("items as in the log", agree(&item_shown, item_count));
    check("users as in the log", agree(&user_shown, user_count));
    check("items as their changes say", agree(&item_shown, fold_items(items)?));
    check("users as their changes say", agree(&user_shown, fold_users(users)?));
    check("items looked up", look_up(items, "item_id", &item_shown, item_rows)?);
    check("users looked up", look_up(users, "user_id", &user_shown, user_rows)?);
    Ok(Audit { checks, items: item_shown })
}

/// The items that brought most.
pub(in super::super) fn top_items(audit: &Audit) -> Report {
    let mut best: Vec<_> = audit.items.iter().collect();
    best.sort_unstable_by_key(|(item_id, item)| (-item.revenue_cents, *item_id));
    let mut report = Report::new(["item", "views", "clicks", "carts", "purchases", "revenue"]);
    for (item_id, item) in best.into_iter().take(TOP) {
        let count = |number: i64| u64::try_from(number).unwrap_or(0).into();
        let [views, clicks, carts, purchases] = item.deeds.map(count);
        report.row([count(*item_id), views, clicks, carts, purchases, (item.revenue_cents as f64 / 100.0).into()]);
    }
    report
}

fn read<R>(scan: ScanBuilder, rows: fn(&RecordBatch) -> Result<Keyed<R>>) -> Result<Keyed<R>> {
    let mut all = Vec::new();
    for found in scan.build()? {
        all.extend(rows(&found?.batch)?);
    }
    Ok(all)
}

fn recount(clicks: &Table) -> Result<(Items, Users)> {
    let mut recount = Recount::default();
    for found in clicks.scan().columns(&COLUMNS).build()? {
        let found = found?;
        recount.take(found.bucket, happened(&found.batch)?);
    }
    Ok(recount.finish())
}

fn fold_items(items: &Table) -> Result<Items> {
    let mut folded = Items::new();
    for found in items.changes().build()? {
        let batch = found?.batch;
        let ops = texts(&batch, "_op")?;
        for (row, (item_id, change)) in item_rows(&batch)?.iter().enumerate() {
            fold_item(&mut folded, ops.value(row), *item_id, change)?;
        }
    }
    Ok(folded)
}

fn fold_users(users: &Table) -> Result<Users> {
    let mut folded = Users::new();
    for found in users.changes().build()? {
        user_rows(&found?.batch)?.into_iter().for_each(|(user_id, change)| fold_user(&mut folded, user_id, change));
    }
    Ok(folded)
}

/// How many rows are as they must be, of how many.
fn agree<R: PartialEq>(shown: &[(i64, R)], mut expected: BTreeMap<i64, R>) -> (u64, u64) {
    let all = shown.len().max(expected.len());
    // What was found once is not found again.
    let right = shown.iter().filter(|(key, row)| expected.remove(key).is_some_and(|expected| expected == *row)).count();
    (right as u64, all as u64)
}

/// Looks up some of the keys that a scan showed, and one that nobody has.
fn look_up<R: PartialEq>(table: &Table, key: &str, shown: &[(i64, R)], rows: fn(&RecordBatch) -> Result<Keyed<R>>) -> Result<(u64, u64)> {
    let sample: Vec<_> = shown.iter().step_by(shown.len() / SAMPLE + 1).collect();
    let numbers = Int64Array::from_iter_values(sample.iter().map(|(number, _)| *number).chain([NOBODY]));
    let schema = Schema::new(vec![Field::new(key, DataType::Int64, false)]);
    let keys = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers)])
        .map_err(|error| aquifer_node::Error::internal(format!("keys do not make a batch: {error}")))?;
    let found = table.lookup(&keys)?;
    let rows = rows(&found.rows)?;
    let is_right = |(place, wanted): &(&Option<usize>, Option<&&(i64, R)>)| place.map(|at| &rows[at]) == wanted.copied();
    let wanted = sample.iter().map(Some).chain([None]);
    Ok((found.places.iter().zip(wanted).filter(is_right).count() as u64, sample.len() as u64 + 1))
}
