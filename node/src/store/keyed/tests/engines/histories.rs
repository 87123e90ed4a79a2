//! Random histories: what is written to a table, in which batches, and what happens to the table in between.
//!
//! Where the result may depend on what was merged first (docs/merge-engines.md says where: functions that take back only what they still see, deletes by a
//! sequence that a full compaction forgets), rows are bent to what is promised. Invariant: a history that is bent is as random as the promise allows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use super::model::sequence;
use super::plans::{Dice, Engine, Plan, Retractions};
use super::rows::{Cells, Element, Kind, Row, Value, is_retraction};
use crate::store::ChangeType;

/// Keys that are written.
pub(super) const KEYS: Range<i64> = 0..5;

/// The key of a row that is much larger than all others together.
pub(super) const LARGE_KEY: i64 = 77;

/// Factors that a product gets at most, so that it never leaves 128 bits.
const FACTORS_MAX: usize = 24;

/// A row to be, or the two rows of an update: its key, and what the rest comes from.
pub(super) type Seed = (i64, u64);

/// What happens to a table.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write(Vec<Seed>),
    /// A row that makes the run that it comes to much larger than later ones, so that compactions leave that one alone.
    WriteLarge(u64),
    Flush,
    Compact {
        full: bool,
    },
    /// All rows into one run, which has no deletes.
    Settle,
    Pump,
    /// The way in which rows are merged changes.
    Alter(u64),
    Rescale(u32),
    Reopen,
    /// The power is cut; all that was written is durable.
    Crash(u64),
    Check,
}

/// Which deletes are still known to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    /// Those that are in no run, or none: nobody knows.
    Some,
    None,
}

impl Event {
    /// What it leaves of the deletes that were there.
    pub(super) fn leaves(&self) -> Left {
        match self {
            Event::Settle => Left::None,
            // To what is there already they change nothing.
            Event::Compact { full: true } | Event::Alter(_) | Event::Rescale(_) => Left::Some,
            _ => Left::All,
        }
    }
}

fn write(rows: Range<usize>) -> impl Strategy<Value = Event> {
    proptest::collection::vec((KEYS, any::<u64>()), rows).prop_map(Event::Write)
}

/// Histories of any shape, and of many small runs, some of which compactions merge.
pub(super) fn histories() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => write(1..6),
        4 => Just(Event::Flush),
        1 => Just(Event::Compact { full: false }),
        2 => Just(Event::Compact { full: true }),
        1 => Just(Event::Settle),
        1 => Just(Event::Pump),
        2 => any::<u64>().prop_map(Event::Alter),
        1 => (1_u32..4).prop_map(Event::Rescale),
        1 => Just(Event::Reopen),
        1 => any::<u64>().prop_map(Event::Crash),
        2 => Just(Event::Check),
    ];
    let mixed = proptest::collection::vec(event, 2..18);
    let flushed = (write(1..4), any::<u8>()).prop_map(|(write, chance)| match chance {
        0..=15 => vec![write, Event::Flush, Event::Reopen],
        16..=31 => vec![write, Event::Flush, Event::Check],
        _ => vec![write, Event::Flush],
    });
    let start = proptest::option::weighted(0.7, any::<u64>().prop_map(Event::WriteLarge));
    let many_runs =
        (start, proptest::collection::vec(flushed, 8..12), any::<bool>(), write(1..4)).prop_map(|(start, runs, pumps, last)| {
            let first = start.into_iter().flat_map(|write| [write, Event::Flush]);
            let compaction = if pumps { Event::Pump } else { Event::Compact { full: false } };
            first.chain(runs.into_iter().flatten()).chain([compaction, Event::Check, last]).collect()
        });
    prop_oneof![4 => mixed, 1 => many_runs]
}

/// What rows of a key were written.
#[derive(Default)]
struct Known {
    /// For each column the factors since the last boundary that were not taken back.
    factors: BTreeMap<usize, Vec<Value>>,
    factors_written: BTreeMap<usize, usize>,
    /// Columns with a value since the last boundary.
    fresh: BTreeSet<usize>,
    /// Columns with an older value.
    older: BTreeSet<usize>,
    /// The largest sequence, and whether it came with a retraction.
    newest: Option<(Vec<Option<i64>>, bool)>,
    /// The sequence of a delete that may be forgotten: what comes next is not older.
    floor: Option<Vec<Option<i64>>>,
}

/// Makes rows of seeds.
pub(super) struct Writing {
    plan: Arc<Plan>,
    /// Rows since the same boundary are surely merged together.
    epoch: i64,
    keys: BTreeMap<i64, Known>,
}

impl Writing {
    /// For an empty table.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Writing { plan, epoch: 0, keys: BTreeMap::new() }
    }

    /// From here on rows may be merged apart from those before, and deletes be left of them or not.
    pub(super) fn boundary(&mut self, deletes: Left) {
        self.epoch += 1;
        for known in self.keys.values_mut() {
            known.factors.clear();
            known.older.append(&mut known.fresh);
            match (deletes, &known.newest) {
                (Left::All, _) => {}
                (Left::None, _) => {
                    known.newest.take_if(|(_, is_gone)| *is_gone);
                    known.floor = None;
                }
                (Left::Some, Some((sequence, true))) => known.floor = Some(sequence.clone()),
                (Left::Some, _) => {}
            }
        }
    }

    /// Rows are merged in another way from now on: see [`Event::Alter`].
    pub(super) fn alter(&mut self, plan: Arc<Plan>) {
        self.plan = plan;
        for known in self.keys.values_mut() {
            (known.newest, known.floor) = (None, None);
        }
    }

    /// The rows of a step.
    pub(super) fn step(&mut self, (key, seed): Seed) -> Vec<Row> {
        use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
        let mut dice = Dice(seed);
        let kinds: &[ChangeType] = match dice.within(0, 99) {
            0..20 if self.plan.takes(Delete) => &[Delete],
            20..40 if self.plan.takes(UpdateBefore) => &[UpdateBefore, UpdateAfter],
            40..70 => &[UpdateAfter],
            _ => &[Insert],
        };
        let mut rows: Vec<Row> = kinds.iter().map(|kind| Row { key, kind: *kind, cells: self.cells(*kind, &mut dice) }).collect();
        if !self.plan.has_images() {
            let mut known = self.keys.remove(&key).unwrap_or_default();
            for at in 0..rows.len() {
                let (row, rest) = rows[at..].split_first_mut().expect("it is not the end");
                self.bend(&mut known, row, rest.first());
            }
            self.keys.insert(key, known);
        }
        rows
    }

    /// A row of much text.
    pub(super) fn large(&mut self, seed: u64) -> Row {
        let mut row = Row { key: LARGE_KEY, kind: ChangeType::Insert, cells: self.cells(ChangeType::Insert, &mut Dice(seed)) };
        let text = self.plan.columns.iter().position(|(_, kind)| *kind == Kind::Text).expect("there is one");
        row.cells[text] = Some(Value::Text("large".repeat(10_000)));
        row
    }

    fn cells(&self, kind: ChangeType, dice: &mut Dice) -> Cells {
        let is_back = self.plan.takes_back(kind);
        let cell = |column| if dice.happens(20) { None } else { Some(self.value(column, is_back, dice)) };
        (0..self.plan.columns.len()).map(cell).collect()
    }

    fn value(&self, column: usize, is_back: bool, dice: &mut Dice) -> Value {
        let function = self.plan.function(column);
        let is_product = function == Some("product");
        match self.plan.columns[column].1 {
            Kind::Int64 if is_product => Value::Int(dice.choose(&[-2, -1, 0, 1, 1, 2, 3, 3])),
            Kind::Int64 => Value::Int(dice.within(0, 5)),
            Kind::Int8 => Value::Int(dice.within(-128, 127)),
            Kind::Decimal(..) if is_product => Value::Decimal(dice.within(-3, 9).into()),
            Kind::Decimal(digits, _) => {
                let largest = if dice.happens(50) { 9 } else { 10_i64.pow(digits.into()) - 1 };
                Value::Decimal(dice.within(-largest, largest).into())
            }
            Kind::Float => Value::Float(float(function, dice).to_bits()),
            Kind::Text => Value::Text(dice.choose(&["", "a", "b", "b,a", "c;a", "d, b, d", "z"]).to_string()),
            Kind::Flag => Value::Flag(dice.happens(50)),
            Kind::Items => self.list(dice, |number, _| Some((Some(number?), None)), is_back),
            Kind::Entries => {
                self.list(dice, |number, dice| Some((Some(number.unwrap_or(1)), dice.happens(80).then(|| dice.within(0, 2)))), is_back)
            }
            Kind::Parts => self.list(dice, part, is_back),
            Kind::Narrow => bits(dice, 1 << 18),
            Kind::Wide => bits(dice, i64::MAX),
        }
    }

    /// A list of elements that each come from a number, or from none. What is taken back has numbers that stand nowhere but in rows since the last boundary.
    fn list(&self, dice: &mut Dice, element: impl Fn(Option<i64>, &mut Dice) -> Element, is_back: bool) -> Value {
        let count = dice.within(0, 3);
        let elements = (0..count).map(|_| {
            let is_free = self.plan.has_images() || !is_back && dice.happens(50);
            let number =
                if is_free { dice.happens(85).then(|| dice.within(0, 3)) } else { Some(100 + 10 * self.epoch + dice.within(0, 2)) };
            element(number, dice)
        });
        Value::List(elements.collect())
    }

    /// Makes of a row of the input what is promised.
    fn bend(&self, known: &mut Known, row: &mut Row, next: Option<&Row>) {
        if self.plan.engine == Engine::Deduplicate && self.plan.retractions == Retractions::Plain {
            self.bend_sequence(known, row);
        }
        if row.kind == ChangeType::Delete && self.plan.retractions == Retractions::Remove {
            known.factors.clear();
            return;
        }
        let is_back = self.plan.takes_back(row.kind);
        let followed = |column: usize| next.is_some_and(|next| next.cells[column].is_some());
        for column in 0..row.cells.len() {
            let cell = &mut row.cells[column];
            match self.plan.function(column) {
                _ if is_back && self.plan.rules[column].as_ref().is_some_and(|rule| rule.ignores) => continue,
                Some("product") => self.bend_factor(known, column, cell, is_back),
                // Where another value follows at once it does not matter which one was taken back.
                Some("last_non_null_value") if is_back && known.older.contains(&column) && !followed(column) => *cell = None,
                _ => {}
            }
            if row.cells[column].is_some() {
                known.fresh.insert(column);
            }
        }
    }

    fn bend_sequence(&self, known: &mut Known, row: &mut Row) {
        let columns = &self.plan.sequence;
        if let Some(floor) = known.floor.take().filter(|floor| sequence(&row.cells, columns) < *floor) {
            for (column, number) in columns.iter().zip(floor) {
                row.cells[*column] = number.map(Value::Int);
            }
        }
        let sequence = sequence(&row.cells, columns);
        if known.newest.as_ref().is_none_or(|(newest, _)| sequence >= *newest) {
            known.newest = Some((sequence, is_retraction(row.kind)));
        }
    }

    /// A factor is taken back as it came; of numbers that wrap around none is.
    fn bend_factor(&self, known: &mut Known, column: usize, cell: &mut Option<Value>, is_back: bool) {
        let factors = known.factors.entry(column).or_default();
        let written = known.factors_written.entry(column).or_default();
        if is_back {
            *cell = cell.take().and_then(|_| factors.pop());
        } else if *written == FACTORS_MAX {
            *cell = None;
        } else if let Some(factor) = cell {
            *written += 1;
            if self.plan.columns[column].1 != Kind::Int8 {
                factors.push(factor.clone());
            }
        }
    }
}

/// Sums and products of these are exact.
fn float(function: Option<&str>, dice: &mut Dice) -> f64 {
    match function {
        Some("product") => dice.choose(&[-2.0, -0.5, 0.5, 1.0, 2.0, 4.0]),
        Some("sum") => dice.within(-9, 9) as f64 / 4.0,
        _ => dice.choose(&[-1.5, 0.0, 0.25, 3.0, f64::NAN, f64::INFINITY]),
    }
}

fn part(number: Option<i64>, dice: &mut Dice) -> Element {
    let value = dice.happens(80).then(|| dice.within(0, 2));
    match number {
        None if dice.happens(50) => None,
        number => Some((number, value)),
    }
}

fn bits(dice: &mut Dice, largest: i64) -> Value {
    let largest = if dice.happens(60) { 6 } else { largest };
    let count = dice.within(0, 4);
    Value::Bits((0..count).map(|_| dice.within(0, largest - 1) as u64).collect())
}
