//! One column of a key's rows to one value, and what it means that a row takes its value back.
//!
//! Invariant: aggregating adjacent stretches and then their results gives the same, for floats but for rounding. It holds for retractions too where the
//! value itself says what was taken back (sum, count, last_value); the other functions take back only what stands before the retraction in the same merge, and
//! forget it then (docs/merge-engines.md, "What is seen").

use arrow::array::RecordBatch;

use super::aggregation::{NAME, OPTION};
use super::function::{Column, Groups, RETRACTED, place};
use super::reference::Ref;
use super::sequence::Sequence;
use super::{bitmaps, lists, numbers, pick, text};
use crate::error::{Error, Result};
use crate::table::{ChangeType, ColumnType};

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
    /// The newest value, also null; null where the newest row is a retraction.
    LastValue,
    /// The newest value but null; null where the newest row with a value is a retraction.
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
    /// The elements of all lists, oldest first; a retraction removes those that it lists.
    Collect {
        /// Whether equal elements come only once, at the first place.
        distinct: bool,
    },
    /// The entries of all maps, of each key the newest, at the key's first place; a retraction removes the keys that it has.
    MergeMap,
    /// The structs of all lists, of each nested key the newest, at the key's first place; a retraction removes the nested keys that it has.
    NestedUpdate {
        /// The places of the nested key's fields; with none all structs stay, and a retraction removes equal ones.
        key: Vec<usize>,
    },
    /// The union of serialized bitmaps of 32-bit numbers.
    Bitmap32,
    /// The union of serialized bitmaps of 64-bit numbers.
    Bitmap64,
}

impl Function {
    /// All names, as options write them.
    pub const NAMES: [&'static str; 17] = [
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
        "collect",
        "merge_map",
        "nested_update",
        "rbm32",
        "rbm64",
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
            Function::Collect { .. } => "collect",
            Function::MergeMap => "merge_map",
            Function::NestedUpdate { .. } => "nested_update",
            Function::Bitmap32 => "rbm32",
            Function::Bitmap64 => "rbm64",
        }
    }

    /// Whether a row can take its value back.
    pub fn has_retraction(&self) -> bool {
        use Function::*;
        matches!(self, Sum | Product | Count | LastValue | LastNonNullValue | Collect { .. } | MergeMap | NestedUpdate { .. })
    }

    /// Whether the result is the same in whatever order rows come, or a sequence that the result keeps says all about the order: only then do rows that
    /// are ordered by a sequence merge to the same whatever was merged before. The list of `collect` keeps the order in which rows came, which is the same
    /// whatever was merged before.
    pub fn takes_sequence(&self) -> bool {
        use Function::*;
        !matches!(self, LastNonNullValue | FirstValue | FirstNonNullValue | ListAgg { .. } | MergeMap | NestedUpdate { .. })
    }

    /// Whether the result depends on a sequence, where there is one.
    pub fn goes_by_sequence(&self) -> bool {
        *self == Function::LastValue
    }

    /// Whether it is one of columns of a type.
    pub fn takes_type(&self, kind: &ColumnType) -> bool {
        use ColumnType::*;
        let is_whole = matches!(kind, Int8 | Int16 | Int32 | Int64);
        let is_float = matches!(kind, Float32 | Float64);
        match self {
            Function::Sum => is_whole || is_float || matches!(kind, Decimal { .. }),
            // A product with digits behind the point would have to be rounded, and rounding depends on what was merged first.
            Function::Product => is_whole || is_float || matches!(kind, Decimal { scale: 0, .. }),
            Function::Count => is_whole,
            Function::Max | Function::Min => !kind.is_nested(),
            Function::BoolAnd | Function::BoolOr => *kind == Boolean,
            Function::ListAgg { .. } => *kind == Utf8,
            Function::LastValue | Function::LastNonNullValue | Function::FirstValue | Function::FirstNonNullValue => true,
            Function::Collect { .. } => matches!(kind, List(element) if has_identity(&element.kind)),
            Function::MergeMap => matches!(kind, Map { key, .. } if has_identity(&key.kind)),
            Function::NestedUpdate { key } => match kind {
                List(element) => match &element.kind {
                    Struct(_) if key.is_empty() => has_identity(&element.kind),
                    Struct(fields) => key.iter().all(|place| fields.get(*place).is_some_and(|field| has_identity(&field.kind))),
                    _ => false,
                },
                _ => false,
            },
            Function::Bitmap32 | Function::Bitmap64 => *kind == Binary,
        }
    }
}

/// Whether two values can be told to be equal: maps cannot, whose entries have no order.
fn has_identity(kind: &ColumnType) -> bool {
    !matches!(kind, ColumnType::Map { .. }) && kind.children().into_iter().all(|child| has_identity(&child.kind))
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
    /// The same for rows that have only `columns` of the table, if they have its own.
    pub fn over(&self, columns: &[usize]) -> Option<Aggregate> {
        place(columns, self.column).map(|column| Aggregate { column, ..self.clone() })
    }

    /// The value of each key; null for a key without rows. `sequence` says which row is newer.
    ///
    /// # Errors
    /// Invalid for a retraction that the function lacks, and for bytes that are no bitmap; Exhausted for a value that is too long for one array.
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
    pub fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        match self.function {
            Function::Bitmap32 | Function::Bitmap64 => {
                bitmaps::check(rows.column(self.column), &self.function).map_err(|error| error.at("column", &self.name))
            }
            _ => Ok(()),
        }
    }

    fn values(&self, groups: Groups<'_>, sequence: &Sequence) -> Result<Column> {
        use Function::*;
        Ok(match &self.function {
            Sum | Product | Count => Column::Built(numbers::fold(groups, self.column, &self.function)?),
            Collect { .. } | MergeMap | NestedUpdate { .. } => Column::Built(lists::put_together(groups, self.column, &self.function)?),
            Bitmap32 | Bitmap64 => {
                Column::Built(bitmaps::unite(groups, self.column, &self.function).map_err(|error| error.at("column", &self.name))?)
            }
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
