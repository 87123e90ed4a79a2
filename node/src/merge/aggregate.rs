//! One column of a key's rows to one value, and what it means that a row takes its value back.
//!
//! Invariant: aggregating adjacent stretches and then their results gives the same, for floats but for rounding. It holds for retractions too where the
//! value itself says what was taken back (sum, count, last_value); the other functions take back only what stands in the same merge.

use arrow::array::RecordBatch;

use super::aggregation::{NAME, OPTION};
use super::function::{Column, Groups, RETRACTED};
use super::reference::Ref;
use super::sequence::Sequence;
use super::{numbers, pick, text};
use crate::error::{Error, Result};
use crate::table::ChangeType;

/// How values become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// The total; whole numbers wrap around at the end of their type.
    Sum,
    /// The product; whole numbers wrap around at the end of their type. A retraction divides.
    Product,
    /// The total, where null counts one: a row that leaves the column out is counted.
    Count,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The newest value, also null; null once a row takes it back.
    LastValue,
    /// The newest value but null; null once a row takes a value back.
    LastNonNullValue,
    /// The oldest value, also null.
    FirstValue,
    /// The oldest value but null.
    FirstNonNullValue,
    /// Texts, oldest first, with a delimiter between them.
    ListAgg {
        /// What stands between two.
        delimiter: String,
        /// Whether a text between delimiters comes only once, at its first place.
        distinct: bool,
    },
    /// Whether no value is false.
    BoolAnd,
    /// Whether a value is true.
    BoolOr,
}

impl Function {
    /// All names, as options write them.
    pub const NAMES: [&'static str; 12] = [
        "sum",
        "product",
        "count",
        "max",
        "min",
        "last_value",
        "last_non_null_value",
        "first_value",
        "first_non_null_value",
        "listagg",
        "bool_and",
        "bool_or",
    ];

    /// The name, as options write it.
    pub fn name(&self) -> &'static str {
        match self {
            Function::Sum => "sum",
            Function::Product => "product",
            Function::Count => "count",
            Function::Max => "max",
            Function::Min => "min",
            Function::LastValue => "last_value",
            Function::LastNonNullValue => "last_non_null_value",
            Function::FirstValue => "first_value",
            Function::FirstNonNullValue => "first_non_null_value",
            Function::ListAgg { .. } => "listagg",
            Function::BoolAnd => "bool_and",
            Function::BoolOr => "bool_or",
        }
    }

    /// Whether a row can take its value back.
    pub fn has_retraction(&self) -> bool {
        use Function::*;
        matches!(self, Sum | Product | Count | LastValue | LastNonNullValue)
    }

    /// Whether the result is the same in whatever order rows come, or a sequence that the result keeps says all about the order: only then do rows that
    /// are ordered by a sequence merge to the same whatever was merged before.
    pub fn takes_sequence(&self) -> bool {
        use Function::*;
        !matches!(self, LastNonNullValue | FirstValue | FirstNonNullValue | ListAgg { .. })
    }
}

/// A column that is aggregated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Its place.
    pub column: usize,
    /// Its name, for errors.
    pub name: String,
    /// How.
    pub function: Function,
    /// Rows that take back what they say are passed over.
    pub ignore_retract: bool,
}

impl Aggregate {
    /// The value of each key; null for a key without rows. `sequence` says which row is newer.
    ///
    /// # Errors
    /// Invalid for a retraction that the function lacks; Exhausted for a text that is too long for one array.
    pub fn merge(&self, groups: Groups<'_>, sequence: &Sequence) -> Result<Column> {
        if groups.slots.iter().all(|slot| slot.kinds.is_none()) {
            return self.values(groups, sequence);
        }
        if self.ignore_retract {
            let (order, ends) = without_retractions(groups);
            return self.values(Groups { slots: groups.slots, order: &order, ends: &ends }, sequence);
        }
        if let Some(row) = groups.order.iter().find(|row| groups.slots[row.slot()].is_retraction(row.row())) {
            self.check_retraction(groups.slots[row.slot()].kind(row.row()), row.row())?;
        }
        self.values(groups, sequence)
    }

    /// Whether a row of this kind can take back what it says.
    ///
    /// # Errors
    /// Invalid where it cannot.
    pub fn check_retraction(&self, kind: u8, row: usize) -> Result<()> {
        if self.ignore_retract || self.function.has_retraction() {
            return Ok(());
        }
        let kind = ChangeType::from_byte(kind).unwrap_or(ChangeType::Delete);
        let message = format!("the merge engine `{NAME}` takes no {kind}: `{}` has no way to take a value back", self.function.name());
        let error = Error::invalid(message).at("row", row).at("column", &self.name);
        Err(error.hint(format!("set `fields.{}.ignore-retract` or {OPTION} = true", self.name)))
    }

    /// Checks the values that the function reads.
    ///
    /// # Errors
    /// Invalid for one that it cannot read.
    pub fn check_rows(&self, _rows: &RecordBatch) -> Result<()> {
        Ok(())
    }

    fn values(&self, groups: Groups<'_>, sequence: &Sequence) -> Result<Column> {
        use Function::*;
        Ok(match &self.function {
            Sum | Product | Count => Column::Built(numbers::fold(groups, self.column, &self.function)?),
            ListAgg { delimiter, distinct } => Column::Built(text::join(groups, self.column, delimiter, *distinct)?),
            Max | BoolOr => Column::Picked(pick::largest(groups, self.column)),
            Min | BoolAnd => Column::Picked(pick::smallest(groups, self.column)),
            LastValue => Column::Picked(pick::last(groups, sequence)),
            LastNonNullValue => Column::Picked(pick::last_value(groups, self.column)),
            FirstValue => Column::Picked(pick::first(groups)),
            FirstNonNullValue => Column::Picked(pick::first_value(groups, self.column)),
        })
    }
}

fn without_retractions(groups: Groups<'_>) -> (Vec<Ref>, Vec<u32>) {
    let (mut order, mut ends) = (Vec::with_capacity(groups.order.len()), Vec::with_capacity(groups.ends.len()));
    let slots = groups.slots;
    for group in groups.iter() {
        let says = |row: &&Ref| !slots[row.slot()].is_retraction(row.row()) && slots[row.slot()].kind(row.row()) != RETRACTED;
        order.extend(group.iter().filter(says));
        ends.push(order.len() as u32);
    }
    (order, ends)
}
