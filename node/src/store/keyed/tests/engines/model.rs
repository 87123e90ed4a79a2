//! The engines as plainly as can be said: row by row in the order of the log, one key at a time, on plain values.
//!
//! Shares no code with the engines, knows nothing of batches, flushes or runs. What it says is what docs/merge-engines.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plans::{Engine, Group, Plan, Retractions, Rule};
use super::rows::{Cells, Element, Kind, Row, Value, is_retraction};
use crate::store::ChangeType;

/// What is known of a key.
#[derive(Clone)]
struct State {
    cells: Cells,
    /// Whether the newest row took it away, which late rows must hear of.
    is_gone: bool,
    /// For each column, whether it has a first value, null or not.
    begun: Vec<bool>,
}

/// A table.
pub(super) struct Model {
    plan: Arc<Plan>,
    keys: BTreeMap<i64, State>,
    /// What the log says of each key.
    pub(super) log: BTreeMap<i64, Vec<(ChangeType, Cells)>>,
}

impl Model {
    /// An empty one.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Model { plan, keys: BTreeMap::new(), log: BTreeMap::new() }
    }

    /// The rows that readers see.
    pub(super) fn rows(&self) -> BTreeMap<i64, Cells> {
        self.keys.keys().filter_map(|key| Some((*key, self.shown(*key)?))).collect()
    }

    /// One step: a row, or the two rows of an update.
    pub(super) fn write(&mut self, step: &[Row]) {
        let key = step[0].key;
        let before = self.shown(key);
        for row in step {
            self.change(row);
            if !self.plan.has_images() {
                self.log.entry(key).or_default().push((row.kind, row.cells.clone()));
            }
        }
        if self.plan.has_images() {
            self.forget(key);
            let after = self.shown(key);
            self.note(key, before, after);
        }
    }

    /// Deletes are as if they had not been: nothing is known of the keys that they took away.
    pub(super) fn forget_deletes(&mut self) {
        self.keys.retain(|_, state| !state.is_gone);
    }

    /// Rows are merged in another way from now on. Those that are there stay as they are, and are the first of their keys.
    pub(super) fn alter(&mut self, plan: Arc<Plan>) {
        self.forget_deletes();
        self.keys.values_mut().for_each(|state| state.begun.fill(true));
        self.plan = plan;
    }

    /// The rows that readers see are all that is left, and what a new log begins with.
    pub(super) fn rescale(&mut self) {
        let rows = self.rows();
        let state = |cells: &Cells| State { cells: cells.clone(), is_gone: false, begun: vec![true; cells.len()] };
        self.keys = rows.iter().map(|(key, cells)| (*key, state(cells))).collect();
        self.log = rows.into_iter().map(|(key, cells)| (key, vec![(ChangeType::Insert, cells)])).collect();
    }

    fn note(&mut self, key: i64, before: Option<Cells>, after: Option<Cells>) {
        use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
        let log = self.log.entry(key).or_default();
        match (before, after) {
            (before, after) if before == after => {}
            (None, Some(after)) => log.push((Insert, after)),
            (Some(before), None) => log.push((Delete, before)),
            (Some(before), Some(after)) => {
                if self.plan.log == super::plans::Log::Lookup {
                    log.push((UpdateBefore, before));
                }
                log.push((UpdateAfter, after));
            }
            (None, None) => unreachable!("they are equal"),
        }
    }

    /// A row goes on from what its log says: the row as it is shown, and nothing else.
    fn forget(&mut self, key: i64) {
        match self.shown(key) {
            None => drop(self.keys.remove(&key)),
            Some(cells) => {
                let known = self.keys.get_mut(&key).expect("it is shown");
                known.cells = cells;
                // Of an aggregation the row does not say which columns were passed over. A group of partial-update that is silent has no sequence.
                if self.plan.engine == Engine::Aggregation {
                    known.begun.fill(true);
                }
            }
        }
    }

    /// The row of a key: decimals of too many digits are null.
    fn shown(&self, key: i64) -> Option<Cells> {
        let state = self.keys.get(&key).filter(|state| !state.is_gone)?;
        let show = |(cell, (_, kind)): (&Option<Value>, &(&str, Kind))| match (cell, kind) {
            (Some(Value::Decimal(number)), Kind::Decimal(digits, _)) if number.unsigned_abs() >= 10_u128.pow((*digits).into()) => None,
            _ => cell.clone(),
        };
        Some(state.cells.iter().zip(&self.plan.columns).map(show).collect())
    }

    fn change(&mut self, row: &Row) {
        if is_retraction(row.kind) && self.plan.retractions == Retractions::Ignored {
            return;
        }
        match self.plan.engine {
            Engine::Deduplicate => self.deduplicate(row),
            Engine::FirstRow => _ = self.keys.entry(row.key).or_insert_with(|| whole(row)),
            Engine::PartialUpdate => self.update(row),
            Engine::Aggregation => self.aggregate(row),
        }
    }

    fn deduplicate(&mut self, row: &Row) {
        let sequence = |cells: &Cells| sequence(cells, &self.plan.sequence);
        if self.keys.get(&row.key).is_none_or(|known| sequence(&row.cells) >= sequence(&known.cells)) {
            self.keys.insert(row.key, whole(row));
        }
    }

    fn update(&mut self, row: &Row) {
        match row.kind {
            ChangeType::Delete => return drop(self.keys.remove(&row.key)),
            ChangeType::UpdateBefore => return,
            _ => {}
        }
        let plan = self.plan.clone();
        let state = self.keys.entry(row.key).or_insert_with(|| nothing(row));
        let has_sequence = |cells: &Cells, group: &Group| sequence(cells, &group.sequence).iter().any(Option::is_some);
        // What came without a sequence, before the table was altered, says nothing beside what has one.
        for group in &plan.groups {
            if has_sequence(&row.cells, group) && !has_sequence(&state.cells, group) {
                group.members.iter().for_each(|column| (state.cells[*column], state.begun[*column]) = (None, false));
            }
        }
        for column in 0..row.cells.len() {
            let has = |group: &&Group| group.sequence.contains(&column) || group.members.contains(&column);
            let Some(group) = plan.groups.iter().find(has) else {
                state.cells[column] = row.cells[column].clone().or(state.cells[column].take());
                continue;
            };
            let said = sequence(&row.cells, &group.sequence);
            if said.iter().all(Option::is_none) || group.sequence.contains(&column) {
                continue;
            }
            let is_newest = said >= sequence(&state.cells, &group.sequence);
            match &plan.rules[column] {
                Some(rule) => step(plan.columns[column].1, rule, state, column, (&row.cells[column], is_newest, false)),
                None if is_newest => state.cells[column] = row.cells[column].clone(),
                None => {}
            }
        }
        // Behind the columns that go by them.
        for group in &plan.groups {
            let said = sequence(&row.cells, &group.sequence);
            if said.iter().any(Option::is_some) && said >= sequence(&state.cells, &group.sequence) {
                group.sequence.iter().for_each(|column| state.cells[*column] = row.cells[*column].clone());
            }
        }
    }

    fn aggregate(&mut self, row: &Row) {
        if row.kind == ChangeType::Delete && self.plan.retractions == Retractions::Remove {
            return drop(self.keys.remove(&row.key));
        }
        let plan = self.plan.clone();
        let is_new = !self.keys.contains_key(&row.key);
        let state = self.keys.entry(row.key).or_insert_with(|| nothing(row));
        let is_back = is_retraction(row.kind);
        let is_newest = is_new || sequence(&row.cells, &plan.sequence) >= sequence(&state.cells, &plan.sequence);
        for column in 0..row.cells.len() {
            match &plan.rules[column] {
                Some(rule) if is_back && rule.ignores => {}
                Some(rule) => step(plan.columns[column].1, rule, state, column, (&row.cells[column], is_newest, is_back)),
                None => {}
            }
        }
        if is_newest {
            plan.sequence.iter().for_each(|column| state.cells[*column] = row.cells[*column].clone());
        }
    }
}

fn whole(row: &Row) -> State {
    State { cells: row.cells.clone(), is_gone: is_retraction(row.kind), begun: vec![true; row.cells.len()] }
}

fn nothing(row: &Row) -> State {
    State { cells: vec![None; row.cells.len()], is_gone: false, begun: vec![false; row.cells.len()] }
}

/// The sequence of a row. Null is smallest.
pub(super) fn sequence(cells: &Cells, columns: &[usize]) -> Vec<Option<i64>> {
    let number = |cell: &Option<Value>| match cell {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    columns.iter().map(|column| number(&cells[*column])).collect()
}

/// A value comes to a column, or is taken back from it.
fn step(kind: Kind, rule: &Rule, state: &mut State, column: usize, (value, is_newest, is_back): (&Option<Value>, bool, bool)) {
    let has_begun = std::mem::replace(&mut state.begun[column], true);
    let so_far = state.cells[column].take().map(|value| as_made(rule, value));
    state.cells[column] = match rule.function {
        "last_value" if is_newest => value.clone().filter(|_| !is_back),
        "last_value" => so_far,
        "first_value" if has_begun => so_far,
        "first_value" => value.clone(),
        // A row that is there counts one, though it came without a number.
        "count" => {
            let one = || Some(Value::Int(1));
            let known = if has_begun { so_far.or_else(one) } else { None };
            calculate(kind, "sum", known, value.clone().or_else(one).unwrap(), is_back)
        }
        function => match value {
            None => so_far,
            Some(value) => combine(kind, (function, rule), so_far, value.clone(), is_back),
        },
    };
}

/// A value that another function made, as this one would have made it of the same parts.
fn as_made(rule: &Rule, value: Value) -> Value {
    match (rule.function, value) {
        ("listagg", Value::Text(text)) if rule.distinct => join(rule, None, Value::Text(text)),
        ("collect", Value::List(list)) if rule.distinct => {
            put_together("collect", rule, None, Value::List(list), false).expect("it is there")
        }
        (function @ ("merge_map" | "nested_update"), Value::List(list)) => {
            put_together(function, rule, None, Value::List(list), false).expect("it is there")
        }
        (_, value) => value,
    }
}

fn combine(kind: Kind, (function, rule): (&str, &Rule), so_far: Option<Value>, value: Value, is_back: bool) -> Option<Value> {
    match function {
        "sum" | "product" => calculate(kind, function, so_far, value, is_back),
        "last_non_null_value" => Some(value).filter(|_| !is_back),
        "first_non_null_value" => so_far.or(Some(value)),
        "max" | "bool_or" => Some(so_far.filter(|best| !is_larger(&value, best)).unwrap_or(value)),
        "min" | "bool_and" => Some(so_far.filter(|best| !is_larger(best, &value)).unwrap_or(value)),
        "listagg" => Some(join(rule, so_far, value)),
        "rbm32" | "rbm64" => Some(unite(so_far, value)),
        _ => put_together(function, rule, so_far, value, is_back),
    }
}

fn calculate(kind: Kind, function: &str, so_far: Option<Value>, value: Value, is_back: bool) -> Option<Value> {
    let is_zero = matches!(value, Value::Int(0) | Value::Decimal(0)) || value == Value::Float(0.0_f64.to_bits());
    Some(match (function, so_far, value) {
        ("sum", None, Value::Int(value)) => Value::Int(wrap(kind, if is_back { value.wrapping_neg() } else { value })),
        ("sum", Some(Value::Int(total)), Value::Int(value)) => {
            Value::Int(wrap(kind, if is_back { total.wrapping_sub(value) } else { total.wrapping_add(value) }))
        }
        ("sum", None, Value::Decimal(value)) => Value::Decimal(if is_back { -value } else { value }),
        ("sum", Some(Value::Decimal(total)), Value::Decimal(value)) => Value::Decimal(if is_back { total - value } else { total + value }),
        ("sum", None, Value::Float(value)) => float(0.0, value, |zero, value| if is_back { zero - value } else { value }),
        ("sum", Some(Value::Float(total)), Value::Float(value)) => {
            float(f64::from_bits(total), value, |total, value| if is_back { total - value } else { total + value })
        }
        // Nothing says what a product was without zero, or before its first factor.
        (_, so_far, _) if is_back && (is_zero || so_far.is_none()) => return so_far,
        (_, None, value) => value,
        (_, Some(Value::Int(total)), Value::Int(value)) => {
            Value::Int(wrap(kind, if is_back { total.wrapping_div(value) } else { total.wrapping_mul(value) }))
        }
        (_, Some(Value::Decimal(total)), Value::Decimal(value)) => Value::Decimal(if is_back { total / value } else { total * value }),
        (_, Some(Value::Float(total)), Value::Float(value)) => {
            float(f64::from_bits(total), value, |total, value| if is_back { total / value } else { total * value })
        }
        (_, so_far, value) => panic!("{function} of {so_far:?} and {value:?}"),
    })
}

fn float(total: f64, value: u64, step: impl Fn(f64, f64) -> f64) -> Value {
    Value::Float(step(total, f64::from_bits(value)).to_bits())
}

/// A number as its column holds it.
fn wrap(kind: Kind, number: i64) -> i64 {
    if kind == Kind::Int8 { i64::from(number as i8) } else { number }
}

fn is_larger(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => one > other,
        (Value::Decimal(one), Value::Decimal(other)) => one > other,
        (Value::Text(one), Value::Text(other)) => one.as_bytes() > other.as_bytes(),
        (Value::Flag(one), Value::Flag(other)) => *one && !*other,
        (Value::Float(one), Value::Float(other)) => {
            let (one, other) = (f64::from_bits(*one), f64::from_bits(*other));
            one > other || one.is_nan() && !other.is_nan()
        }
        _ => panic!("{one:?} and {other:?} have no order"),
    }
}

fn join(rule: &Rule, so_far: Option<Value>, value: Value) -> Value {
    let text = |value: Value| if let Value::Text(text) = value { text } else { panic!("{value:?}") };
    let mut parts: Vec<String> = so_far.into_iter().map(text).collect();
    let text = text(value);
    if !rule.distinct {
        parts.push(text);
        return Value::Text(parts.join(rule.delimiter));
    }
    let mut known: Vec<String> = parts.iter().flat_map(|part| part.split(rule.delimiter)).map(str::to_string).collect();
    for part in text.split(rule.delimiter) {
        if !known.iter().any(|known| known == part) {
            known.push(part.to_string());
        }
    }
    Value::Text(known.join(rule.delimiter))
}

fn unite(so_far: Option<Value>, value: Value) -> Value {
    let bits = |value: Value| if let Value::Bits(bits) = value { bits } else { panic!("{value:?}") };
    Value::Bits(so_far.into_iter().chain([value]).flat_map(bits).collect::<BTreeSet<u64>>())
}

fn put_together(function: &str, rule: &Rule, so_far: Option<Value>, value: Value, is_back: bool) -> Option<Value> {
    let list = |value: Value| if let Value::List(list) = value { list } else { panic!("{value:?}") };
    let said: Vec<Element> = list(value).into_iter().filter(|element| function != "nested_update" || element.is_some()).collect();
    let same = |one: &Element, other: &Element| match (function, rule.nested_key) {
        ("merge_map", _) | ("nested_update", "id") => one.map(|pair| pair.0) == other.map(|pair| pair.0),
        _ => one == other,
    };
    if is_back && so_far.is_none() {
        return None;
    }
    let mut all = so_far.map(list).unwrap_or_default();
    for element in said {
        let place = all.iter().position(|known| same(known, &element));
        match (function, place) {
            ("collect", Some(place)) if is_back => _ = all.remove(place),
            _ if is_back => all.retain(|known| !same(known, &element)),
            ("collect", Some(_)) if rule.distinct => {}
            ("nested_update", Some(_)) if rule.nested_key.is_empty() => all.push(element),
            ("merge_map" | "nested_update", Some(place)) => all[place] = element,
            _ => all.push(element),
        }
    }
    Some(Value::List(all))
}
