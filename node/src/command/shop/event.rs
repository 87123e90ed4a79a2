//! One event of the shop, and events as a batch of the table.
//!
//! Invariant: rows come in the order of `sequence`, which counts what was sent; `event_id` repeats when an event was sent twice,
//! or again because it was not what it was said to be. Knows nothing of how events come about.

use std::sync::Arc;

use aquifer_node::{Error, Result};
use arrow::array::{ArrayRef, Decimal128Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// What a visitor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    View,
    Click,
    Cart,
    Purchase,
}

impl Deed {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Deed; 4] = [Deed::View, Deed::Click, Deed::Cart, Deed::Purchase];

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Deed::ALL.into_iter().find(|deed| deed.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Deed::View => "page_view",
            Deed::Click => "click",
            Deed::Cart => "cart",
            Deed::Purchase => "purchase",
        }
    }
}

/// A thing on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: u64,
    pub(super) category: &'static str,
    pub(super) price_cents: i128,
}

/// What the shop sends. Times are microseconds since the shop opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) sequence: u64,
    pub(super) event_id: u64,
    /// When it happened; a late event is sent after younger ones.
    pub(super) event_us: u64,
    pub(super) sent_us: u64,
    pub(super) deed: Deed,
    pub(super) user_id: u64,
    pub(super) session_id: u64,
    /// Steps of the visit before this one.
    pub(super) step: u32,
    pub(super) item: Option<Item>,
    pub(super) quantity: Option<i32>,
    pub(super) referrer: Option<&'static str>,
    pub(super) user_agent: &'static str,
    pub(super) country: &'static str,
}

/// The columns of the table of events.
pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name, data_type: &DataType, nullable| Field::new(name, data_type.clone(), nullable);
    Arc::new(Schema::new(vec![
        field("sequence", &DataType::Int64, false),
        field("event_id", &DataType::Int64, false),
        field("event_time", &time, false),
        field("sent_time", &time, false),
        field("type", &DataType::Utf8, false),
        field("user_id", &DataType::Int64, false),
        field("session_id", &DataType::Int64, false),
        field("step", &DataType::Int32, false),
        field("item_id", &DataType::Int64, true),
        field("category", &DataType::Utf8, true),
        field("price", &DataType::Decimal128(10, 2), true),
        field("quantity", &DataType::Int32, true),
        field("page", &DataType::Utf8, false),
        field("referrer", &DataType::Utf8, true),
        field("user_agent", &DataType::Utf8, false),
        field("country", &DataType::Utf8, false),
    ]))
}

/// Gathers events into batches.
pub(super) struct Batches {
    schema: SchemaRef,
    /// Microseconds since 1970 at which the shop opened.
    opened_us: i64,
}

impl Batches {
    pub(super) fn new(schema: SchemaRef, opened_us: i64) -> Self {
        Batches { schema, opened_us }
    }

    pub(super) fn batch(&self, events: &[Event]) -> Result<RecordBatch> {
        let integers = |value: fn(&Event) -> Option<u64>| {
            let mut column = Int64Builder::with_capacity(events.len());
            events.iter().for_each(|event| column.append_option(value(event).map(|value| value as i64)));
            Arc::new(column.finish()) as ArrayRef
        };
        let small = |value: fn(&Event) -> Option<i32>| {
            let mut column = Int32Builder::with_capacity(events.len());
            events.iter().for_each(|event| column.append_option(value(event)));
            Arc::new(column.finish()) as ArrayRef
        };
        let times = |value: fn(&Event) -> u64| {
            let mut column = TimestampMicrosecondBuilder::with_capacity(events.len());
            events.iter().for_each(|event| column.append_value(self.opened_us + value(event) as i64));
            Arc::new(column.finish().with_timezone("UTC")) as ArrayRef
        };
        let texts = |value: fn(&Event) -> Option<&'static str>| {
            let mut column = StringBuilder::with_capacity(events.len(), events.len() * 16);
            events.iter().for_each(|event| column.append_option(value(event)));
            Arc::new(column.finish()) as ArrayRef
        };
        let columns = vec![
            integers(|event| Some(event.sequence)),
            integers(|event| Some(event.event_id)),
            times(|event| event.event_us),
            times(|event| event.sent_us),
            texts(|event| Some(event.deed.name())),
            integers(|event| Some(event.user_id)),
            integers(|event| Some(event.session_id)),
            small(|event| Some(event.step as i32)),
            integers(|event| event.item.map(|item| item.id)),
            texts(|event| event.item.map(|item| item.category)),
            prices(events)?,
            small(|event| event.quantity),
            pages(events),
            texts(|event| event.referrer),
            texts(|event| Some(event.user_agent)),
            texts(|event| Some(event.country)),
        ];
        RecordBatch::try_new(self.schema.clone(), columns).map_err(wrong)
    }
}

fn prices(events: &[Event]) -> Result<ArrayRef> {
    let mut column = Decimal128Builder::with_capacity(events.len());
    events.iter().for_each(|event| column.append_option(event.item.map(|item| item.price_cents)));
    Ok(Arc::new(column.finish().with_precision_and_scale(10, 2).map_err(wrong)?))
}

fn pages(events: &[Event]) -> ArrayRef {
    use std::fmt::Write;
    let mut column = StringBuilder::with_capacity(events.len(), events.len() * 16);
    for event in events {
        let written = match (event.deed, event.item) {
            (Deed::Cart, _) => column.write_str("/cart"),
            (Deed::Purchase, _) => column.write_str("/checkout"),
            (_, Some(item)) => write!(column, "/{}/{}", item.category, item.id),
            (_, None) => column.write_str("/"),
        };
        written.expect("writing to memory does not fail");
        column.append_value("");
    }
    Arc::new(column.finish())
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("events do not make a batch: {error}"))
}
