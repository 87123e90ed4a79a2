//! The two tables of the dashboard: their columns and merge engines, and their rows as batches and back.
//!
//! Invariant: a row that is written says what one event adds; the tables merge. Knows nothing of when rows are written.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};

use super::super::event::Deed;
use super::happened::Happened;
use crate::command::store::CreateTable;

/// Buckets of each table.
const BUCKETS: u32 = 2;

/// Digits of a revenue, and how many of them are cents.
const REVENUE: (u8, i8) = (18, 2);

/// What became of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ItemTotals {
    /// Views, clicks, carts and purchases, as [`Deed::ALL`] has them.
    pub(super) deeds: [i64; 4],
    pub(super) revenue_cents: i128,
    /// Event time of the last one, in microseconds since 1970.
    pub(super) last_us: i64,
}

impl ItemTotals {
    /// What one event says of its item.
    pub(super) fn of(event: &Happened) -> Self {
        let deeds = Deed::ALL.map(|deed| i64::from(deed == event.deed));
        ItemTotals { deeds, revenue_cents: event.cents, last_us: event.time_us }
    }
}

/// What a user did last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastDeed {
    /// Event time in microseconds since 1970, and the number that keeps equal times in order.
    pub(super) at: (i64, i64),
    pub(super) action: String,
    pub(super) page: String,
    pub(super) item_id: Option<i64>,
}

impl LastDeed {
    pub(super) fn of(event: &Happened) -> Self {
        let (action, page) = (event.deed.name().to_string(), event.page.clone());
        LastDeed { at: (event.time_us, event.event_id), action, page, item_id: event.item_id }
    }
}

/// What is known of a user; without a last deed it says only whether they are a fraudster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UserState {
    pub(super) last: Option<LastDeed>,
    pub(super) events: i64,
    pub(super) is_fraudster: bool,
}

/// Items: all columns add up, and a correction takes back what it corrects.
pub(super) fn items_table() -> CreateTable {
    CreateTable::like(item_schema())
        .buckets(BUCKETS)
        .primary_key(&["item_id"])
        .option("merge-engine", "aggregation")
        .option("fields.default-aggregate-function", "sum")
        .option("fields.last_time.aggregate-function", "max")
        .option("fields.last_time.ignore-retract", "true")
}

/// Users: the youngest event says what was done last, however late it comes, and the flag has a writer of its own.
pub(super) fn users_table() -> CreateTable {
    CreateTable::like(user_schema())
        .buckets(BUCKETS)
        .primary_key(&["user_id"])
        .option("merge-engine", "partial-update")
        .option("fields.last_time,last_event_id.sequence-group", "last_action,last_page,last_item,events")
        .option("fields.events.aggregate-function", "sum")
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn item_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("item_id", DataType::Int64, false),
        Field::new("views", DataType::Int64, true),
        Field::new("clicks", DataType::Int64, true),
        Field::new("carts", DataType::Int64, true),
        Field::new("purchases", DataType::Int64, true),
        Field::new("revenue", DataType::Decimal128(REVENUE.0, REVENUE.1), true),
        Field::new("last_time", time(), true),
    ]))
}

fn user_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::Int64, false),
        Field::new("last_time", time(), true),
        Field::new("last_event_id", DataType::Int64, true),
        Field::new("last_action", DataType::Utf8, true),
        Field::new("last_page", DataType::Utf8, true),
        Field::new("last_item", DataType::Int64, true),
        Field::new("events", DataType::Int64, true),
        Field::new("is_fraudster", DataType::Boolean, true),
    ]))
}

/// Rows of `items` as a batch.
pub(super) fn item_batch(rows: &[(i64, ItemTotals)]) -> Result<RecordBatch> {
    let integers = |value: &dyn Fn(&(i64, ItemTotals)) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let mut columns = vec![integers(&|row| row.0)];
    columns.extend((0..Deed::ALL.len()).map(|deed| integers(&|row| row.1.deeds[deed])));
    let revenues = Decimal128Array::from_iter_values(rows.iter().map(|row| row.1.revenue_cents));
    columns.push(Arc::new(revenues.with_precision_and_scale(REVENUE.0, REVENUE.1).map_err(wrong)?));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1.last_us));
    columns.push(Arc::new(times.with_timezone("UTC")));
    RecordBatch::try_new(item_schema(), columns).map_err(wrong)
}

/// Rows of `users` as a batch.
pub(super) fn user_batch(rows: &[(i64, UserState)]) -> Result<RecordBatch> {
    let last = || rows.iter().map(|(_, user)| user.last.as_ref());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(last().map(|last| Some(last?.at.0)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(last().map(|last| Some(last?.at.1)).collect::<Int64Array>()),
        Arc::new(last().map(|last| Some(last?.action.as_str())).collect::<StringArray>()),
        Arc::new(last().map(|last| Some(last?.page.as_str())).collect::<StringArray>()),
        Arc::new(last().map(|last| last?.item_id).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(_, user)| user.last.is_some().then_some(user.events)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(_, user)| user.is_fraudster.then_some(true)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(user_schema(), columns).map_err(wrong)
}

/// A batch of `items` as rows.
pub(super) fn item_rows(batch: &RecordBatch) -> Result<Vec<(i64, ItemTotals)>> {
    let ids = numbers::<Int64Type>(batch, "item_id")?;
    let [views, clicks, carts, purchases] = ["views", "clicks", "carts", "purchases"].map(|name| numbers::<Int64Type>(batch, name));
    let deeds = [views?, clicks?, carts?, purchases?];
    let (revenues, times) = (numbers::<Decimal128Type>(batch, "revenue")?, numbers::<TimestampMicrosecondType>(batch, "last_time")?);
    let row = |row: usize| {
        let deeds = deeds.map(|column| column.value(row));
        (ids.value(row), ItemTotals { deeds, revenue_cents: revenues.value(row), last_us: times.value(row) })
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// A batch of `users` as rows.
pub(super) fn user_rows(batch: &RecordBatch) -> Result<Vec<(i64, UserState)>> {
    let (ids, times) = (numbers::<Int64Type>(batch, "user_id")?, numbers::<TimestampMicrosecondType>(batch, "last_time")?);
    let (event_ids, items) = (numbers::<Int64Type>(batch, "last_event_id")?, numbers::<Int64Type>(batch, "last_item")?);
    let (actions, pages) = (texts(batch, "last_action")?, texts(batch, "last_page")?);
    let events = numbers::<Int64Type>(batch, "events")?;
    let flags = column(batch, "is_fraudster")?.as_boolean_opt().ok_or_else(|| unlike("is_fraudster"))?;
    let row = |row: usize| {
        let last = times.is_valid(row).then(|| LastDeed {
            at: (times.value(row), event_ids.value(row)),
            action: actions.value(row).to_string(),
            page: pages.value(row).to_string(),
            item_id: items.is_valid(row).then(|| items.value(row)),
        });
        let events = if events.is_valid(row) { events.value(row) } else { 0 };
        (ids.value(row), UserState { last, events, is_fraudster: flags.is_valid(row) && flags.value(row) })
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// A column of numbers, by its name.
pub(super) fn numbers<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>> {
    column(batch, name)?.as_primitive_opt().ok_or_else(|| unlike(name))
}

/// A column of texts, by its name.
pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(batch, name)?.as_string_opt().ok_or_else(|| unlike(name))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::internal("a column was not read").at("column", name))
}

fn unlike(name: &str) -> Error {
    Error::internal("a column has another type").at("column", name)
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("rows of the dashboard do not make a batch: {error}"))
}
